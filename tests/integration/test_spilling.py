"""Messages that are too large for memory, and a disk that has no room for them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.integration.client import MESSAGE, Client, queue_id
from tests.integration.daemon_process import DaemonTestCase, Process, wait_until
from tests.integration.programs import run_program

LINE = b".line %07d " + b"\xe4" * 60 + b"\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"".join(LINE % number for number in range(70_000))


def files_open(process: Process, directory: Path) -> list[str]:
    """:returns: the files below a directory that a process has open, whether unlinked or not."""
    descriptors = Path(f"/proc/{process.pid}/fd")
    paths = [os.readlink(descriptor) for descriptor in descriptors.iterdir()]
    return [path for path in paths if path.startswith(f"{directory}/")]


class SpillTests(DaemonTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.spill_directory = self.directory / "spill"

    def start_spilling(self) -> Process:
        """Start a daemon that keeps next to nothing in memory."""
        return self.start(spill_size=1000, spill_dir=str(self.spill_directory))

    def test_five_megabytes(self) -> None:
        if not os.path.exists("/proc/self/fd"):
            self.skipTest("this system does not show which files a process has open")
        self.spill_directory.mkdir()
        process = self.start_spilling()
        self.assertGreater(len(LARGE), 5 * 10**6)
        with Client(process.port()) as client:
            client.hello()
            for line in ("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>", "DATA"):
                client.command(line)
            stuffed = LARGE.replace(b"\n.", b"\n..") + b".\r\n"
            client.write(stuffed[:2000])
            wait_until(lambda: files_open(process, self.spill_directory))
            self.assertEqual(os.listdir(self.spill_directory), [])
            client.write(stuffed[2000:])
            queued = queue_id(client.reply())
            # While the client stays: it may have nothing more to send.
            wait_until(lambda: not files_open(process, self.spill_directory))
            self.assertEqual(client.command("NOOP")[:3], "250")
        # Not assertEqual: it would take minutes to show how megabytes differ.
        self.assertTrue(self.stored()[queued].endswith(b"\r\n" + LARGE))
        self.assert_clean(process)

    def assert_only_small_messages_are_taken(self, process: Process, cause: str) -> None:
        """
        The large one is refused for now, on a connection that lives.

        :param cause: that the one line of the log has.
        """
        with Client(process.port()) as client:
            client.hello()
            self.assertRegex(client.deliver(LARGE), r"^452 4\.3\.1 ")
            queued = queue_id(client.deliver(MESSAGE))
            self.assertEqual(client.command("QUIT")[:3], "221")
        self.assertEqual(list(self.stored()), [queued])
        process.terminate()
        process.finish()
        complaints = re.findall(r"(?m)^[^ ]+ \[.*#(?!info)[a-z]+\] .*$", process.output)
        self.assertEqual(len(complaints), 1, process.output)
        self.assertRegex(complaints[0], rf"#warn\] message .*{cause}")
        self.assertNotIn("Traceback", process.output)

    def test_directory_does_not_exist(self) -> None:
        process = self.launch("--config", self.write_config(spill_dir=str(self.spill_directory)))
        self.assertEqual(process.finish(), 1)
        cause = f"{self.spill_directory} is not a directory that can be written to"
        self.assertEqual(process.output, f"test.json: spill_dir: {cause}\n")

    def test_directory_has_gone(self) -> None:
        self.spill_directory.mkdir()
        process = self.start_spilling()
        self.spill_directory.rmdir()
        self.assert_only_small_messages_are_taken(process, "No such file or directory")

    def test_full_disk(self) -> None:
        self.spill_directory.mkdir()
        path = str(self.spill_directory)
        mounted = run_program("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", path)
        if mounted.returncode:
            self.skipTest(f"no small disk can be had: {mounted.stdout}")
        self.addCleanup(run_program, "umount", path)
        self.assert_only_small_messages_are_taken(self.start_spilling(), "No space left on device")
