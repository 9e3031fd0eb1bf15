"""The command line of the benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

_EPILOG = """\
experiments:
  compare    every server under every load: what a message costs, and how long it takes (default)
  latency    the same at half of what each server can take, and at half of what stock can
  memory     what idle clients hold, in every server
  chains     guerrilla_tw with each store; hand-overs to threads are counted
  batching   what it brings to write messages in batches, beside the time of an fsync
  processes  guerrilla_tw in two processes beside one, and how clients are divided
  growth     what a unit of work costs as clients, sizes, recipients and workers grow
  costs      each part of a message's way by itself, in memory: commands, chain, threads, lines

examples:
  python -m bench --quick                            an impression, in two minutes
  python -m bench --contenders ours,stock --loads kept,new --rounds 5
  python -m bench --beside ../before                 this checkout beside another
  python -m bench --peer 127.0.0.1:2525 --pid 4711   beside a server that runs
  python -m bench growth --json growth.json --svg growth.svg

Read the columns so: "us a message" is processor time of the server, user and system, that of its
children included; "core" is the share of a processor that server and load had, and "others" what
everything else had. Where "no time left" says load, a faster load would have shown a faster server;
the cost of a message is right all the same. "preempted" is how often the server was taken from its
processor, in a thousand messages: where that or "others" is high, measure again in a quieter hour.
"""

EXPERIMENTS = ("compare", "latency", "memory", "chains", "batching", "processes", "growth", "costs")


class Options(argparse.Namespace):
    """What is asked for. Names are as on the command line."""

    experiment: str
    contenders: list[str]
    loads: list[str]
    chains: list[str]
    rounds: int
    quick: bool
    listed: bool
    beside: Path | None
    peers: list[tuple[str, int]]
    pids: list[int]
    log_level: str
    store: str
    json: Path | None
    svg: Path | None
    rst: bool


def _names(text: str) -> Sequence[str]:
    return text.split(",")


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not host:port")
    return host.strip("[]"), int(port)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not at least 1")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """:returns: what reads the command line."""
    arguments = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures what a message costs, here and elsewhere. Servers take turns, each\n"
        "is started afresh for its turn, and warmed up; figures are medians. Linux only.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
    )
    add = arguments.add_argument
    add("experiment", nargs="?", choices=EXPERIMENTS, default="compare", help="see below")
    add(
        "--list",
        action="store_true",
        dest="listed",
        help="list contenders, loads and chains; measure nothing",
    )
    add("--quick", action="store_true", help="one short round of a few loads")
    add("--rounds", type=_positive, metavar="N", help="measure each N times (5; 1 if --quick)")
    add(
        "--contenders",
        type=_names,
        metavar="A,B",
        help="only these servers (compare, latency, memory)",
    )
    add(
        "--loads",
        type=_names,
        metavar="A,B",
        help="only these loads (all but memory, batching, growth)",
    )
    add("--chains", type=_names, metavar="A,B", help="only these chains (chains)")
    add("--beside", type=Path, metavar="DIR", help="have another checkout of guerrilla_tw, too")
    add("--log-level", default="info", help="of guerrilla_tw; info has a line for each message")
    add(
        "--peer",
        type=_place,
        action="append",
        default=[],
        dest="peers",
        metavar="HOST:PORT",
        help="have a server that runs already, too; it must be on this machine",
    )
    add(
        "--pid",
        type=_positive,
        action="append",
        default=[],
        dest="pids",
        metavar="N",
        help="process of the --peer",
    )
    stores = ("mysql", "postgresql")
    add("--store", choices=stores, default=stores[0], help="to write to (batching)")
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    add("--svg", type=Path, metavar="FILE", help="draw a picture there")
    add("--rst", action="store_true", help="print reStructuredText, for the documentation")
    return arguments
