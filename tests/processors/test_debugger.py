"""Debugger: what passes through the chain."""

from __future__ import annotations

import time
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import ConfigError
from guerrilla_tw.interfaces import Task
from tests.processors.support import Chain, make_envelope


class LogTests(SynchronousTestCase):
    def test_one_line_a_message(self) -> None:
        chain = Chain(self, "HeadersParser|Debugger", log_received_mails=True)
        envelope = chain.save(make_envelope(b"Subject: hi\r\n\r\nsecret\r\n"))
        self.assertEqual(
            chain.lines(),
            [
                f"{envelope.queued_id}: from 'alice@example.com' to ['bob@example.org'],"
                " 23 octets, subject 'hi'"
            ],
        )
        self.assertEqual(chain.pool.visits, 0)

    def test_silent_by_default(self) -> None:
        chain = Chain(self, "HeadersParser|Debugger")
        chain.save(make_envelope())
        self.assertEqual(chain.lines(), [])

    def test_hostile_values_stay_on_the_line(self) -> None:
        chain = Chain(self, "HeadersParser|Debugger", log_received_mails=True)
        subject = b"Subject: {queued_id} %s \x1b[2J =?utf-8?q?=0D=0A=E2=80=A8forged?=\r\n\r\n"
        chain.save(make_envelope(subject, (b'<"{x} %s"@example.org>',), b"<>"))
        (line,) = chain.lines()
        self.assertTrue(line.isprintable(), line)
        self.assertIn("{queued_id} %s", line)
        self.assertIn('"{x} %s"@example.org', line)
        self.assertIn("from '' to", line)

    def test_long_subject_is_cut(self) -> None:
        chain = Chain(self, "HeadersParser|Debugger", log_received_mails=True)
        chain.save(make_envelope(b"Subject: " + b"x" * 100_000 + b"\r\n\r\n"))
        self.assertLess(len(chain.lines()[0]), 1000)

    def test_recipient_check_is_passed_on(self) -> None:
        chain = Chain(self, "Debugger", log_received_mails=True, sleep_seconds=3000)
        self.assertEqual(chain.process(make_envelope(), Task.VALIDATE_RCPT).enhanced, "2.1.5")
        self.assertEqual(chain.lines(), [])


class SleepTests(SynchronousTestCase):
    def test_sleeps_in_a_thread(self) -> None:
        chain = Chain(self, "Debugger", sleep_seconds=1.5)
        with mock.patch.object(time, "sleep") as sleep:
            chain.save(make_envelope())
        sleep.assert_called_once_with(1.5)
        self.assertEqual(chain.pool.visits, 1)


class SettingsTests(SynchronousTestCase):
    def test_wrong(self) -> None:
        for setting, value in (
            ("sleep_seconds", -1),
            ("sleep_seconds", 3601),
            ("sleep_seconds", "1"),
            ("log_received_mails", "yes"),
        ):
            with self.assertRaises(ConfigError) as caught:
                Chain(self, "Debugger", **{setting: value})
            self.assertEqual(caught.exception.path, f"backend_config.{setting}")
