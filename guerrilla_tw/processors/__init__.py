"""The processors that come with the daemon."""

from collections.abc import Mapping
from types import MappingProxyType

#: Name in lower case -> dotted name of the constructor, imported when a chain names it.
BUILTIN: Mapping[str, str] = MappingProxyType(
    {
        "compressor": "guerrilla_tw.processors.compressor.compressor",
        "debugger": "guerrilla_tw.processors.debugger.debugger",
        "fastcgi": "guerrilla_tw.processors.fastcgi.fastcgi",
        # go-guerrilla has it under both names.
        "guerrilladbredis": "guerrilla_tw.processors.guerrilla_db_redis.guerrilla_db_redis",
        "guerrillaredisdb": "guerrilla_tw.processors.guerrilla_db_redis.guerrilla_db_redis",
        "hasher": "guerrilla_tw.processors.hasher.hasher",
        "header": "guerrilla_tw.processors.header.header",
        "headersparser": "guerrilla_tw.processors.headers_parser.headers_parser",
        "maildir": "guerrilla_tw.processors.maildir.maildir",
        "mysql": "guerrilla_tw.processors.sql.mysql",
        "redis": "guerrilla_tw.processors.redis.redis",
        "sql": "guerrilla_tw.processors.sql.sql",
        "wildcard": "guerrilla_tw.processors.wildcard.wildcard",
    }
)
