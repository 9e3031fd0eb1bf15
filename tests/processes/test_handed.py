"""Sockets that came from another process."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.internet.task import Clock

from guerrilla_tw.processes.fair_share import FairShare
from guerrilla_tw.processes.handed import HandedSockets
from tests.processes.test_crowd import CrowdTestCase


class HandedTests(CrowdTestCase):
    def setUp(self) -> None:
        super().setUp()
        member = self.members[0]
        self.handed = HandedSockets(member, FairShare(member, Clock()))

    def test_not_for_what_a_processor_starts(self) -> None:
        """It would keep the place when the daemon is no more, and answer nobody."""
        path = Path(self.mktemp())
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            descriptor = os.dup(listening.fileno())
        # As it is when it has come.
        os.set_inheritable(descriptor, True)
        self.handed.take(f"unix:{path}", descriptor, 0)
        taken = self.handed.socket_for(f"unix:{path}").socket
        self.addCleanup(taken.close)
        self.assertFalse(taken.get_inheritable())
