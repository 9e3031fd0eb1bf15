"""The lines that the documentation shows are those that are written."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

from twisted.logger import LogEvent, LogLevel
from twisted.trial.unittest import SynchronousTestCase, TestCase

from guerrilla_tw import Guerrilla
from guerrilla_tw.logs.lines import JSONLines, TextLines
from tests.docs.blocks import DOCS, find_blocks
from tests.logs.support import set_time_zone

_WHEN = datetime.datetime(2026, 11, 24, 3, 24, 49, 53113, datetime.timezone.utc)
_EVENT: LogEvent = {
    "log_time": _WHEN.timestamp(),
    "log_level": LogLevel.info,
    "log_namespace": "guerrilla_tw",
    "log_format": "listening on {interface}",
    "interface": "127.0.0.1:2525",
}


def block(beginning: str) -> str:
    """:returns: the text of a block."""
    [text] = [
        block.text
        for block in find_blocks(DOCS / "logging.rst")
        if block.text.startswith(beginning)
    ]
    return text


class DocumentedTests(SynchronousTestCase):
    def test_text(self) -> None:
        set_time_zone(self, "CET-1")
        self.assertEqual(TextLines()(_EVENT), block("2026"))

    def test_json(self) -> None:
        self.assertEqual(JSONLines()(_EVENT), block('{"time"').replace("\n ", ""))


class RealLineTests(TestCase):
    """A daemon's own line is the one that is shown; only the time and the port are its own."""

    async def first_line(self, log_format: str) -> str:
        path = Path(self.mktemp())
        daemon = Guerrilla(
            {
                "log_file": str(path),
                "log_format": log_format,
                "allowed_hosts": ["."],
                "backend_config": {"save_process": "HeadersParser|Debugger"},
                "servers": [{"is_enabled": True, "listen_interface": "127.0.0.1:0"}],
            }
        )
        await daemon.startService()
        await daemon.stopService()
        lines = path.read_text().splitlines()
        return next(line for line in lines if "listening on" in line)

    async def test_text(self) -> None:
        line = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:2525", await self.first_line("text"))
        self.assertEqual(line.partition(" ")[2], block("2026").rstrip().partition(" ")[2])

    async def test_json(self) -> None:
        line = await self.first_line("json")
        fields, shown = (
            json.loads(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:2525", text))
            for text in (line, block('{"time"'))
        )
        times = [each.pop("time") for each in (fields, shown)]
        self.assertEqual(fields, shown)
        self.assertEqual([len(time) for time in times], [len("2026-11-24T03:24:49.053113Z")] * 2)
