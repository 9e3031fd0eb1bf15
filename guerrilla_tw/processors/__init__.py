"""The processors that come with the daemon."""

from collections.abc import Mapping
from types import MappingProxyType

#: Name in lower case -> dotted name of the constructor, imported when a chain names it.
BUILTIN: Mapping[str, str] = MappingProxyType(
    {
        "compressor": "guerrilla_tw.processors.compressor.compressor",
        "debugger": "guerrilla_tw.processors.debugger.debugger",
        "hasher": "guerrilla_tw.processors.hasher.hasher",
        "header": "guerrilla_tw.processors.header.header",
        "headersparser": "guerrilla_tw.processors.headers_parser.headers_parser",
        "sql": "guerrilla_tw.processors.sql.sql",
    }
)
