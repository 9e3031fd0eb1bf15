"""``processes``: several processes that serve, and the one that looks after them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

from tests.integration import test_life, test_shutdown
from tests.integration.client import MESSAGE, Client, queue_id
from tests.integration.daemon_process import (
    BACKGROUND,
    FOREGROUND,
    LISTENING,
    MODULE,
    DaemonTestCase,
    Process,
    answers,
    free_port,
    wait_until,
)
from tests.integration.programs import DEADLINE, unusable

SERVES = r"worker [0-9]+ serves, process ([0-9]+)"
# A chain that needs no store, with a line for each message.
CHAIN = {"save_process": "HeadersParser|Hasher|Header"}
# A processor with much to say, by threads and at the end.
TALKING_PLUGIN = """
from guerrilla_tw import ProcessorPlugin
talker = ProcessorPlugin("Talker", "talking.talker")
"""
TALKING = """
from guerrilla_tw import initialize_with, process_with, shutdown_with
from twisted.internet.defer import gatherResults

def talker(svc):
    def talk():
        for number in range(100):
            svc.log.info("by a thread {number}", number=number)

    def begin(config):
        return gatherResults([svc.defer_to_worker(talk) for _ in range(5)])

    svc.add_initializer(initialize_with(begin))
    svc.add_shutdowner(shutdown_with(lambda: svc.log.info("the last word")))
    return process_with(svc, lambda envelope, task: None)
"""


def is_alive(pid: int) -> bool:
    """:returns: whether there is such a process, and it has not ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def listens(pid: int) -> bool:
    """:returns: whether a process has a socket that listens."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = {f"socket:[{line.split()[9]}]" for line in lines if line.split()[3] == "0A"}
    return any(_target(link) in listening for link in Path(f"/proc/{pid}/fd").iterdir())


def kill(pid: int) -> None:
    """End a process, if it has not ended."""
    if is_alive(pid):
        os.kill(pid, signal.SIGKILL)


def holds(pid: int, client: Client) -> bool:
    """:returns: whether a process has the other end of a client's connection."""
    address = f":{client.port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, _, _, _, _, _, _, inode, *_ = line.split()
        if remote.endswith(address):
            links = Path(f"/proc/{pid}/fd").iterdir()
            return any(_target(link) == f"socket:[{inode}]" for link in links)
    return False


def holders(port: int, pids: list[int], clients: list[Client]) -> Counter[int]:
    """:returns: how many of the clients each process has."""
    opened = {_target(link): pid for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()}
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, _, _, _, _, _, inode, *_ = line.split()
        if local.endswith(f":{port:04X}"):
            found[int(remote[-4:], 16)] = opened.get(f"socket:[{inode}]", 0)
    return Counter(found[client.port] for client in clients)


def _target(link: Path) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(link)
    return ""


class ProcessesTestCase(DaemonTestCase):
    processes = 2

    def workers(self, text: str) -> list[int]:
        """
        :param text: of the log.
        :returns: the process ids of those that serve, or have served.
        """
        return [int(pid) for pid in re.findall(SERVES, text)]

    def start_two(self, **changes: object) -> tuple[Process, list[int]]:
        """:returns: a daemon in the foreground, and its workers."""
        process = self.start(**changes)
        return process, self.workers(process.output)

    @contextlib.contextmanager
    def client_of(self, pid: int, port: int) -> Iterator[Client]:
        """Have a client who was greeted by a certain worker."""
        with contextlib.ExitStack() as others:
            while True:
                client = Client(port)
                self.assertEqual(client.hello()[:3], "250")
                if holds(pid, client):
                    break
                others.enter_context(client)
            with client:
                yield client

    def hang_up(self, process: Process, expected: str) -> str:
        """Send SIGHUP. :returns: the line that comes of it."""
        before = len(process.output)
        os.kill(process.pid, signal.SIGHUP)
        wait_until(lambda: re.search(expected, process.output[before:]))
        found = re.search(rf".*{expected}.*", process.output[before:])
        assert found is not None
        return found[0]

    def assert_ends(self, process: Process) -> None:
        process.terminate()
        self.assertEqual(process.finish(), -signal.SIGTERM)
        self.assertFalse(any(map(is_alive, self.workers(process.output))))


class Sender(Thread):
    """Delivers one message after the other until the server or the test has enough."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.accepted: list[str] = []
        self.last = ""
        self.stop = Event()
        self.client = Client(port)

    def run(self) -> None:
        with self.client as client:
            client.hello()
            while not self.stop.is_set():
                self.last = client.deliver(MESSAGE)
                if not self.last.startswith("250"):
                    return
                self.accepted.append(queue_id(self.last))


class WorkerTests(ProcessesTestCase):
    def test_as_many_as_there_are_processors(self) -> None:
        process = self.start(processes=0, backend_config=CHAIN)
        expected = len(os.sched_getaffinity(0))
        self.assertEqual(len(set(self.workers(process.output))), expected)
        self.assert_ends(process)
        self.assert_clean_but_for_chain(process)

    def test_what_lies_around_is_no_module_of_theirs(self) -> None:
        """The console script of twistd looks for none in the current directory, either."""
        (self.directory / "bin").mkdir()
        script = self.directory / "bin" / "twistd"
        script.write_text("from twisted.scripts.twistd import run\n\nrun()\n")
        for name in ("guerrilla_tw", "runpy", "msgspec"):
            (self.directory / f"{name}.py").write_text("raise SystemExit('led astray')")
        command = (sys.executable, str(script), "--nodaemon", "--pidfile=")
        config = self.write_config(backend_config=CHAIN)
        process = self.launch("--config", config, command=command)
        process.wait_for(rf"(?s){SERVES}.*{SERVES}")
        self.assert_ends(process)
        self.assert_clean_but_for_chain(process)

    def assert_clean_but_for_chain(self, process: Process) -> None:
        (line,) = re.findall(r".*#warn\].*", process.output)
        self.assertIn("NO PROCESSOR STORES MAIL", line)

    def test_under_python_m_twisted(self) -> None:
        process = self.launch("--config", self.write_config(), command=MODULE)
        port = process.port()
        for pid in self.workers(process.output):
            with self.client_of(pid, port) as client:
                queue_id(client.deliver(MESSAGE))
        self.assertEqual(len(self.stored()), 2)
        process.terminate()
        process.finish()
        self.assertFalse(any(map(is_alive, self.workers(process.output))))

    def test_killed_under_load(self) -> None:
        """It costs the connections that it had, and nothing that was answered with 250."""
        process, (killed, other) = self.start_two()
        port = process.port()
        senders = [Sender(port) for _ in range(8)]
        for pid in (killed, other):
            while not any(holds(pid, sender.client) for sender in senders):
                senders.append(Sender(port))
        survivors = [sender for sender in senders if holds(other, sender.client)]
        for sender in senders:
            sender.start()
        wait_until(lambda: all(len(sender.accepted) > 3 for sender in senders))
        os.kill(killed, signal.SIGKILL)
        process.wait_for(rf"worker [0-9]+, process {killed}, has ended: killed by SIGKILL")
        process.wait_for(rf"(?s){SERVES}.*{SERVES}.*{SERVES}")
        before = [len(sender.accepted) for sender in survivors]
        wait_until(lambda: all(len(s.accepted) > n for s, n in zip(survivors, before)))  # noqa: B905
        newest = self.workers(process.output)[-1]
        with self.client_of(newest, port) as client:
            accepted = [queue_id(client.deliver(MESSAGE))]
        for sender in senders:
            sender.stop.set()
            sender.join(DEADLINE)
            accepted += sender.accepted
        lost = [sender for sender in senders if not sender.last.startswith("250")]
        self.assertEqual([sender for sender in lost if sender in survivors], [])
        self.assertLessEqual(set(accepted), set(self.stored()))
        # Stored, and killed before that could be said.
        self.assertLessEqual(len(set(self.stored()) - set(accepted)), len(lost))
        self.assert_ends(process)

    def test_again_and_again(self) -> None:
        process, (first, _) = self.start_two(backend_config=CHAIN)
        os.kill(first, signal.SIGKILL)
        process.wait_for("worker 1 is started again in 1 s")
        process.wait_for(r"(?s)again in 1 s.*worker 1 serves")
        os.kill(self.workers(process.output)[-1], signal.SIGSEGV)
        process.wait_for("has ended: killed by SIGSEGV")
        process.wait_for("worker 1 is started again in 2 s")
        # It ends while one is awaited.
        self.assert_ends(process)

    def test_that_was_told_to_end(self) -> None:
        """Its clients are told, and another follows."""
        process, (first, _) = self.start_two(backend_config=CHAIN)
        with self.client_of(first, process.port()) as client:
            os.kill(first, signal.SIGTERM)
            self.assertRegex(client.reply(), r"^421 4\.3\.2 ")
        process.wait_for(rf"process {first}, has ended: status 0")
        process.wait_for(rf"(?s){SERVES}.*{SERVES}.*{SERVES}")
        self.assert_ends(process)

    def test_all_are_told_to_end(self) -> None:
        """As by Ctrl-C, or by a service manager: workers twice, and that is for once."""
        process, workers = self.start_two()
        with self.client_of(workers[0], process.port()) as client:
            client.command("MAIL FROM:<a@example.com>")
            client.command("RCPT TO:<b@example.com>")
            client.command("DATA")
            process.terminate()
            wait_until(lambda: not listens(workers[0]))
            os.kill(workers[0], signal.SIGTERM)
            client.write(MESSAGE + b".\r\n")
            queue_id(client.reply())
        self.assertEqual(process.finish(), -signal.SIGTERM)
        self.assert_clean(process)

    def test_supervisor_is_killed(self) -> None:
        process, workers = self.start_two(backend_config=CHAIN)
        port = process.port()
        with self.client_of(workers[0], port) as client:
            process.kill()
            self.assertRegex(client.reply(), r"^421 4\.3\.2 ")
        wait_until(lambda: not any(map(is_alive, workers)))
        self.assertFalse(answers(port))


class CrowdTests(ProcessesTestCase):
    """What holds for all processes together."""

    def greeted(self, port: int, stack: contextlib.ExitStack, count: int) -> list[Client]:
        """
        Have clients come at once.

        :returns: those who may stay.
        """
        came = [stack.enter_context(Client(port)) for _ in range(count)]
        return [client for client in came if client.reply().startswith("220")]

    def fill(self, port: int, stack: contextlib.ExitStack, there: list[Client], most: int) -> None:
        """Have clients come until so many may stay."""

        def is_full() -> bool:
            there.extend(self.greeted(port, stack, 1))
            return len(there) == most

        wait_until(is_full)

    def test_max_clients(self) -> None:
        process, (first, second) = self.start_two(backend_config=CHAIN, max_clients=7)
        port = process.port()
        with contextlib.ExitStack() as stack:
            there = self.greeted(port, stack, 30)
            # Of two that come in the same moment both may be sent away, and somebody comes again.
            self.fill(port, stack, there, 7)
            self.assertEqual(self.greeted(port, stack, 30), [])
            had = holders(port, [first, second], there)
            self.assertGreater(min(had[first], had[second]), 0)
            # Who is no more is not counted.
            os.kill(first, signal.SIGKILL)
            process.wait_for(f"process {first}, has ended")
            more: list[Client] = []
            self.fill(port, stack, more, had[first])
            self.assertEqual(self.greeted(port, stack, 30), [])
            process.wait_for(rf"(?s){SERVES}.*{SERVES}.*{SERVES}")
            self.assertEqual(self.greeted(port, stack, 30), [])
            for client in more:
                client.command("QUIT")
            more.clear()
            self.fill(port, stack, more, had[first])
            self.assertEqual(self.greeted(port, stack, 30), [])
        self.assert_ends(process)

    def test_shared_out(self) -> None:
        """No worse than 60 to 40, whether clients come at once or one after the other."""
        process, workers = self.start_two(backend_config=CHAIN)
        port = process.port()
        for at_once in (40, 1):
            shares = []
            # A system that has no time for one of the processes is not to blame.
            for _ in range(3):
                with contextlib.ExitStack() as stack:
                    clients: list[Client] = []
                    while len(clients) < 40:
                        clients += self.greeted(port, stack, at_once)
                    shares.append(max(holders(port, workers, clients).values()))
            self.assertLessEqual(min(shares), 24)
        self.assert_ends(process)

    def test_one_that_hangs(self) -> None:
        """The others take its clients."""
        process, (first, second) = self.start_two(backend_config=CHAIN)
        port = process.port()
        os.kill(first, signal.SIGSTOP)
        try:
            with contextlib.ExitStack() as stack:
                clients = self.greeted(port, stack, 50)
                self.assertEqual(holders(port, [first, second], clients), {second: 50})
        finally:
            os.kill(first, signal.SIGCONT)
        with self.client_of(first, port) as client:
            queue_id(client.deliver(MESSAGE))
        self.assert_ends(process)


class ReloadTests(ProcessesTestCase):
    def test_in_force_everywhere(self) -> None:
        port = free_port()
        where = f"127.0.0.1:{port}"
        process, workers = self.start_two(max_size=1000, listen_interface=where)
        self.write_config(max_size=2000, listen_interface=where)
        with self.client_of(workers[0], port) as client:
            self.hang_up(process, "reloaded: ")
            self.assertIn("552", client.command("MAIL FROM:<> SIZE=1500"))
            for pid in workers:
                with self.client_of(pid, port) as other:
                    self.assertEqual(other.command("MAIL FROM:<> SIZE=1500")[:3], "250")
        self.assert_ends(process)
        self.assert_clean(process)

    def test_place_that_is_another(self) -> None:
        old, new = free_port(), free_port()
        process, workers = self.start_two(listen_interface=f"127.0.0.1:{old}")
        with self.client_of(workers[0], old) as client:
            self.write_config(listen_interface=f"127.0.0.1:{new}")
            self.hang_up(process, "reloaded: ")
            self.assertFalse(answers(old))
            queue_id(client.deliver(MESSAGE))
        for pid in workers:
            with self.client_of(pid, new) as client:
                queue_id(client.deliver(MESSAGE))
        # A place that was left is free again.
        self.write_config(listen_interface=f"127.0.0.1:{old}")
        self.hang_up(process, "reloaded: ")
        self.assertEqual(process.output.count(f"] {LISTENING} 127.0.0.1:{old}"), 2)
        for pid in workers:
            with self.client_of(pid, old) as client:
                queue_id(client.deliver(MESSAGE))
        self.assert_ends(process)
        self.assert_clean(process)

    def test_store_that_cannot_be_opened(self) -> None:
        """A worker finds that out, and none of them changes anything."""
        port, new = free_port(), free_port()
        process, workers = self.start_two(listen_interface=f"127.0.0.1:{port}")
        self.write_config(sql_dsn="missing/mail.sqlite3", listen_interface=f"127.0.0.1:{new}")
        line = self.hang_up(process, "reload refused")
        self.assertRegex(line, r"reload refused, nothing has changed: test\.json: Sql: ")
        self.assertFalse(answers(new))
        for pid in workers:
            with self.client_of(pid, port) as client:
                queue_id(client.deliver(MESSAGE))
        self.write_config(listen_interface=f"127.0.0.1:{new}")
        self.hang_up(process, "reloaded: ")
        self.assertTrue(answers(new))
        self.assert_ends(process)

    def test_place_that_overlaps(self) -> None:
        """Workers have the old one, and the kernel does not let anybody have both."""
        port = free_port()
        process, _ = self.start_two(listen_interface=f"127.0.0.1:{port}", backend_config=CHAIN)
        self.write_config(listen_interface=f"0.0.0.0:{port}", backend_config=CHAIN)
        line = self.hang_up(process, "reload refused")
        self.assertRegex(line, rf"in use: 127\.0\.0\.1:{port} is; let it go by a reload before")
        self.write_config(listen_interface=f"127.0.0.1:{free_port()}", backend_config=CHAIN)
        self.hang_up(process, "reloaded: ")
        self.write_config(listen_interface=f"0.0.0.0:{port}", backend_config=CHAIN)
        self.hang_up(process, "reloaded: ")
        self.assertTrue(answers(port))
        self.assert_ends(process)

    def test_number_of_processes(self) -> None:
        process, _ = self.start_two(backend_config=CHAIN)
        self.write_config(backend_config=CHAIN, processes=3)
        line = self.hang_up(process, "reload refused")
        self.assertIn("test.json: processes: a reload cannot change it; restart", line)
        self.assert_ends(process)

    def test_worker_that_is_about_to_end(self) -> None:
        """It is not to change any more, and the others do not wait for its clients."""
        port = free_port()
        where = f"127.0.0.1:{port}"
        process, (first, _) = self.start_two(listen_interface=where)
        with self.client_of(first, port) as client:
            client.command("MAIL FROM:<a@example.com>")
            client.command("RCPT TO:<b@example.com>")
            client.command("DATA")
            os.kill(first, signal.SIGTERM)
            wait_until(lambda: not listens(first))
            line = self.hang_up(process, "reload refused")
            self.assertIn("a worker is about to end; try again", line)
            client.write(MESSAGE + b".\r\n")
            queue_id(client.reply())
        process.wait_for(rf"(?s){SERVES}.*{SERVES}.*{SERVES}")
        self.hang_up(process, "reloaded: ")
        self.assert_ends(process)

    def test_worker_that_is_away(self) -> None:
        """It begins with what is in force by then."""
        port = free_port()
        where = f"127.0.0.1:{port}"
        process, (first, second) = self.start_two(listen_interface=where, max_size=1000)
        os.kill(first, signal.SIGKILL)
        process.wait_for("is started again in")
        self.write_config(listen_interface=where, max_size=2000)
        self.hang_up(process, "reloaded: ")
        process.wait_for(rf"(?s)reloaded: .*{SERVES}")
        for pid in (second, self.workers(process.output)[-1]):
            with self.client_of(pid, port) as client:
                self.assertEqual(client.command("MAIL FROM:<> SIZE=1500")[:3], "250")
        self.assert_ends(process)


class LogTests(ProcessesTestCase):
    """Each line is there once, wherever lines go."""

    def deliver_to_each(self, port: int, workers: list[int]) -> list[str]:
        """:returns: queue ids."""
        accepted = []
        for pid in workers:
            with self.client_of(pid, port) as client:
                accepted.append(queue_id(client.deliver(MESSAGE)))
        return accepted

    def assert_once(self, accepted: list[str], text: str) -> None:
        for message in accepted:
            self.assertEqual(text.count(f"queued_id={message}"), 1, text)
        self.assertEqual(text.count("NO PROCESSOR STORES MAIL"), 1, text)
        self.assertEqual(text.count(LISTENING), 1, text)

    def test_streams(self) -> None:
        for log_file in ("stderr", "stdout"):
            process, workers = self.start_two(log_file=log_file, backend_config=CHAIN)
            accepted = self.deliver_to_each(process.port(), workers)
            self.assert_ends(process)
            self.assert_once(accepted, "".join(getattr(process, log_file)))
            self.assert_once(accepted, process.output)

    def test_file(self) -> None:
        log = self.directory / "log"
        port = free_port()
        process = self.launch(
            "--config",
            self.write_config(
                log_file="log", backend_config=CHAIN, listen_interface=f"127.0.0.1:{port}"
            ),
        )
        wait_until(lambda: log.exists() and LISTENING in log.read_text())
        workers = self.workers(log.read_text())
        accepted = self.deliver_to_each(port, workers)
        log.rename(self.directory / "log.1")
        os.kill(process.pid, signal.SIGUSR1)
        wait_until(log.exists)
        # Each worker has the new file when it has answered the supervisor; that is not told.
        wait_until(lambda: all(self._has_open(pid, log) for pid in workers))
        later = self.deliver_to_each(port, workers)
        self.assert_ends(process)
        self.assert_once(accepted, (self.directory / "log.1").read_text())
        for message in later:
            self.assertEqual(log.read_text().count(f"queued_id={message}"), 1)
        self.assertEqual(process.output, "")

    def _has_open(self, pid: int, file: Path) -> bool:
        return any(_target(link) == str(file) for link in Path(f"/proc/{pid}/fd").iterdir())

    def in_the_background(self, *options: str) -> str:
        """:returns: all that is in ``twistd.log`` in the end."""
        port, log = free_port(), self.directory / "twistd.log"
        config = self.write_config(
            backend_config=CHAIN, listen_interface=f"127.0.0.1:{port}", pid_file="pid"
        )
        process = self.launch("--config", config, command=(*BACKGROUND[:-1], *options))
        self.assertEqual((process.finish(), process.output), (0, ""))
        pid = int((self.directory / "pid").read_text())
        self.addCleanup(kill, pid)
        workers = self.workers(log.read_text())
        self.assertEqual(len(workers), 2)
        accepted = self.deliver_to_each(port, workers)
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not any(map(is_alive, [pid, *workers])))
        text = log.read_text()
        self.assert_once(accepted, text)
        return text

    def test_background(self) -> None:
        """twistd.log is ours there, which the workers open."""
        self.assertNotIn("[-]", self.in_the_background())

    def test_handed_over_by_threads_and_at_the_end(self) -> None:
        plugins = self.directory / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "talking_plugin.py").write_text(TALKING_PLUGIN)
        (self.directory / "talking.py").write_text(TALKING)
        config = self.write_config(
            backend_config={"save_process": "Talker", "save_workers_size": 5}
        )
        command = (*MODULE, "--log-file=said", "--log-format=text")
        process = self.launch("--config", config, command=command)
        said = self.directory / "said"
        wait_until(lambda: said.exists() and LISTENING in said.read_text())
        process.terminate()
        process.finish()
        text = said.read_text()
        self.assertEqual(text.count("by a thread"), 2 * 500)
        self.assertEqual(text.count("the last word"), 2)

    def test_twistds_log(self) -> None:
        """What workers have to say is handed to the process that has it."""
        self.assertIn("Server Shut Down", self.in_the_background("--logfile=twistd.log"))


class SigtermTests(test_shutdown.SigtermTests):
    processes = 2


class NotifyTests(test_life.NotifyTests):
    processes = 2


class BackgroundTests(test_life.BackgroundTests):
    processes = 2


class SecondSignalTests(ProcessesTestCase):
    def test_ends_the_workers_at_once(self) -> None:
        process, workers = self.start_two(backend_config=CHAIN)
        with self.client_of(workers[0], process.port()) as client:
            client.command("MAIL FROM:<a@example.com>")
            client.command("RCPT TO:<b@example.com>")
            client.command("DATA")
            process.terminate()
            wait_until(lambda: not answers(process.port()))
            process.terminate()
            self.assertEqual(client.reply(), "")
        self.assertEqual(process.finish(), -signal.SIGTERM)
        wait_until(lambda: not any(map(is_alive, workers)))


class PrivilegesTests(test_life.PrivilegesTests):
    """A worker is started when root's rights are gone, and may be at any time."""

    processes = 2

    def setUp(self) -> None:
        super().setUp()
        self.python = python_of_everybody()

    def launch(self, *arguments: str, command: tuple[str, ...] = FOREGROUND) -> Process:  # type: ignore[override]
        return super().launch(*arguments, command=(*self.python, *command[1:]))

    def test_worker_that_follows_has_the_key(self) -> None:
        """Which only root may read."""
        process, port = self.start_and_change_user()
        for pid in re.findall(SERVES, self.log()):
            self.assertEqual(Path(f"/proc/{pid}").stat().st_uid, self.user.pw_uid)
            os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: len(re.findall(SERVES, self.log())) == 4)
        self.assert_serves(port)
        process.terminate()
        self.assertEqual(process.finish(), -signal.SIGTERM)


def python_of_everybody() -> list[str]:
    """:returns: how a command begins that everybody may run, with our modules."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    modules = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    system = shutil.which(version, path="/usr/bin:/usr/local/bin") or ""
    for python in (sys.executable, system):
        command = ["env", f"PYTHONPATH={modules}", python, "-c", "import twisted, msgspec, OpenSSL"]
        if python and not subprocess.run(command, user="nobody", capture_output=True).returncode:
            found = os.pathsep.join([str(test_life.__file__).partition("/tests/")[0], modules])
            return ["env", f"PYTHONPATH={found}", python]
    unusable("no Python of this version that everybody may run")
