"""The lines that the documentation shows are those that are written."""

from __future__ import annotations

import datetime
import json

from twisted.logger import LogEvent, LogLevel
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.logs.lines import JSONLines, TextLines
from tests.docs.blocks import DOCS, find_blocks
from tests.logs.support import set_time_zone

_WHEN = datetime.datetime(2026, 11, 24, 3, 24, 49, 53113, datetime.timezone.utc)
_EVENT: LogEvent = {
    "log_time": _WHEN.timestamp(),
    "log_level": LogLevel.info,
    "log_namespace": "guerrilla_tw",
    "log_format": "listening on {host}:{port}",
    "host": "127.0.0.1",
    "port": 2525,
}


class DocumentedTests(SynchronousTestCase):
    def block(self, beginning: str) -> str:
        """:returns: the text of a block."""
        [text] = [
            block.text
            for block in find_blocks(DOCS / "logging.rst")
            if block.text.startswith(beginning)
        ]
        return text

    def test_text(self) -> None:
        set_time_zone(self, "CET-1")
        self.assertEqual(TextLines()(_EVENT), self.block("2026"))

    def test_json(self) -> None:
        self.assertEqual(json.loads(JSONLines()(_EVENT)), json.loads(self.block('{"time"')))
