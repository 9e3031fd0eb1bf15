"""
Processor time that a message costs here and in twisted.mail's stock ESMTP server, or in another
checkout of guerrilla_tw.

Both run one process each and store nothing; guerrilla_tw runs HeadersParser|Hasher|Header. The
servers take turns, a fresh process for each round, which is warmed up first. The figures are of
the server alone, user and system time from /proc, so it is Linux only. The load comes from
smtp-source (Debian's postfix package) over 20 connections.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SESSIONS = 20
SMTP_SOURCE = shutil.which("smtp-source", path=os.environ.get("PATH", "") + ":/usr/sbin")

CONFIG = {
    "log_file": "stderr",
    "allowed_hosts": ["."],
    "backend_config": {"save_process": "HeadersParser|Hasher|Header"},
}
TWISTD = "from twisted.scripts.twistd import run; run()"
OURS = ("-c", TWISTD, "-n", "--pidfile=", "guerrilla", "--config", "config.json")
# Seconds until a server must answer.
PATIENCE = 30


@dataclass(frozen=True)
class Server:
    """
    What is measured.

    :param name: for the table.
    :param arguments: of Python, to start it; its port on 127.0.0.1 is in ``config.json``,
        and in the environment as ``PORT``.
    :param root: of the checkout that guerrilla_tw is imported from.
    :param log_level: of guerrilla_tw. A line for each message is of ``info``.
    """

    name: str
    arguments: tuple[str, ...]
    root: Path
    log_level: str = "info"


@dataclass(frozen=True)
class Load:
    """
    What smtp-source is asked to send.

    :param name: for the table.
    :param size: octets of a message.
    :param messages: how many.
    :param kept: whether messages follow each other on a connection.
    """

    name: str
    size: int
    messages: int
    kept: bool

    def send(self, port: int, messages: int) -> None:
        """Send messages to 127.0.0.1, and fail unless all of them are accepted."""
        assert SMTP_SOURCE is not None
        options = ["-d"] if self.kept else []
        options += ["-s", str(SESSIONS), "-m", str(messages), "-l", str(self.size)]
        options += ["-f", "a@example.com", "-t", "b@example.com", "-M", "client.example.com"]
        command = [SMTP_SOURCE, *options, f"127.0.0.1:{port}"]
        subprocess.run(command, check=True)  # noqa: S603  (the command is ours)


LOADS = (
    Load("2 KB, same connection", 2_000, 5_000, kept=True),
    Load("2 KB, new connection", 2_000, 5_000, kept=False),
    Load("1 MB, same connection", 1_000_000, 200, kept=True),
)


@contextmanager
def running(server: Server) -> Iterator[tuple[int, int]]:
    """Run a server for a while. It gives the process id and the port."""
    port = _free_port()
    # At some levels it does not tell where it listens, so it is told.
    places = [{"is_enabled": True, "listen_interface": f"127.0.0.1:{port}"}]
    config = {**CONFIG, "log_level": server.log_level, "servers": places}
    with tempfile.TemporaryDirectory() as directory, open(f"{directory}/log", "w+") as log:
        Path(directory, "config.json").write_text(json.dumps(config))
        with subprocess.Popen(  # noqa: S603  (the command is ours)
            [sys.executable, *server.arguments],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(server.root), "PORT": str(port)},
            stdout=subprocess.DEVNULL,
            # A file: it never makes the server wait, however much there is to tell.
            stderr=log,
        ) as process:
            try:
                if not _answers(process, port):
                    log.seek(0)
                    raise SystemExit(f"a server did not start:\n{log.read()}")
                yield process.pid, port
            finally:
                process.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            if client.recv(3) == b"220":
                return True
        time.sleep(0.05)
    return False


def processor_seconds(pid: int) -> float:
    """:returns: user and system time that a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(server: Server, load: Load) -> float:
    """:returns: microseconds of processor time a message."""
    with running(server) as (pid, port):
        load.send(port, load.messages // 10)
        before = processor_seconds(pid)
        load.send(port, load.messages)
        return (processor_seconds(pid) - before) / load.messages * 1e6


def compare(load: Load, rounds: int, servers: Sequence[Server]) -> None:
    """Measure one load and print a line for each server; the first one's also has the ratio."""
    figures: dict[Server, list[float]] = {server: [] for server in servers}
    for _ in range(rounds):
        for server, results in figures.items():
            results.append(measure(server, load))
    ours, peer = (statistics.median(results) for results in figures.values())
    for server, results in figures.items():
        spread = (min(results), statistics.median(results), max(results))
        columns = "".join(f"{figure:10,.0f}" for figure in spread)
        ratio = f"{ours / peer:8.2f}" if server is servers[0] else ""
        print(f"{load.name:24}{server.name:14}{columns}{ratio}", flush=True)


def main() -> None:
    """Measure all loads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="measure each N times (default: 5)"
    )
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="DIRECTORY",
        help="compare with another checkout of guerrilla_tw, and not with twisted.mail",
    )
    parser.add_argument(
        "--log-level", default="info", help="of ours; info has a line for a message (the default)"
    )
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    if SMTP_SOURCE is None:
        parser.error("smtp-source is not installed; Debian has it in the package postfix")
    print(f"{'microseconds a message':38}{'min':>10}{'median':>10}{'max':>10}{'ratio':>8}")
    if arguments.beside is None:
        peer = Server("twisted.mail", (str(HERE / "stock_server.py"),), HERE.parent)
    else:
        peer = Server("the other", OURS, arguments.beside.resolve(), arguments.log_level)
    ours = Server("guerrilla_tw", OURS, HERE.parent, arguments.log_level)
    for load in LOADS:
        compare(load, arguments.rounds, [ours, peer])


if __name__ == "__main__":
    main()
