"""The processors that come with the daemon."""

from collections.abc import Mapping
from types import MappingProxyType

#: Name -> dotted name of the constructor, imported when a chain names it.
BUILTIN: Mapping[str, str] = MappingProxyType(
    {
        "Compressor": "guerrilla_tw.processors.compressor.compressor",
        "Debugger": "guerrilla_tw.processors.debugger.debugger",
        "FastCGI": "guerrilla_tw.processors.fastcgi.processor.fastcgi",
        # go-guerrilla has it under both names.
        "GuerrillaDbRedis": "guerrilla_tw.processors.guerrilla_db_redis.guerrilla_db_redis",
        "GuerrillaRedisDB": "guerrilla_tw.processors.guerrilla_db_redis.guerrilla_db_redis",
        "Hasher": "guerrilla_tw.processors.hasher.hasher",
        "Header": "guerrilla_tw.processors.header.header",
        "HeadersParser": "guerrilla_tw.processors.headers_parser.headers_parser",
        "MailDir": "guerrilla_tw.processors.maildir.processor.maildir",
        "MySql": "guerrilla_tw.processors.sql.processor.mysql",
        "Redis": "guerrilla_tw.processors.redis.processor.redis",
        "Sql": "guerrilla_tw.processors.sql.processor.sql",
        "Wildcard": "guerrilla_tw.processors.wildcard.wildcard",
    }
)
