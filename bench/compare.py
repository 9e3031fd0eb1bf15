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
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SESSIONS = 20
SMTP_SOURCE = shutil.which("smtp-source", path=os.environ.get("PATH", "") + ":/usr/sbin")

CONFIG = {
    # Tells where it listens; in this chain there is no line for a message.
    "log_file": "stderr",
    "allowed_hosts": ["."],
    "backend_config": {"save_process": "HeadersParser|Hasher|Header"},
    "servers": [{"is_enabled": True, "listen_interface": "127.0.0.1:0"}],
}
TWISTD = "from twisted.scripts.twistd import run; run()"
OURS = ("-c", TWISTD, "-n", "--pidfile=", "guerrilla", "--config", "config.json")


@dataclass(frozen=True)
class Server:
    """
    What is measured.

    :param name: for the table.
    :param arguments: of Python, to start it.
    :param root: of the checkout that guerrilla_tw is imported from.
    """

    name: str
    arguments: tuple[str, ...]
    root: Path


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
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "config.json").write_text(json.dumps(CONFIG))
        with subprocess.Popen(  # noqa: S603  (the command is ours)
            [sys.executable, *server.arguments],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(server.root)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process.pid, _port(process)
            finally:
                process.terminate()


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if match := re.search(r"listening on .*:([0-9]+)", line):
            return int(match[1])
    raise SystemExit(f"a server did not start:\n{said}")


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
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    if SMTP_SOURCE is None:
        parser.error("smtp-source is not installed; Debian has it in the package postfix")
    print(f"{'microseconds a message':38}{'min':>10}{'median':>10}{'max':>10}{'ratio':>8}")
    if arguments.beside is None:
        peer = Server("twisted.mail", (str(HERE / "stock_server.py"),), HERE.parent)
    else:
        peer = Server("the other", OURS, arguments.beside.resolve())
    for load in LOADS:
        compare(load, arguments.rounds, [Server("guerrilla_tw", OURS, HERE.parent), peer])


if __name__ == "__main__":
    main()
