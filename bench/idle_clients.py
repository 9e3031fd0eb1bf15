"""
What clients cost that only sit there, and whether the others suffer from them.

First, many clients say EHLO and nothing more: the resident memory of each, whether one more is
served, and whether all are let go with 421 in time. Second, slow clients send an octet a second,
half of them of a command and half of data, while ordinary ones send messages: what becomes of the
time that a message takes. With and without slow clients take turns. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from multiprocessing.synchronize import Event

from bench import proc
from bench.client import Client
from bench.contenders.contender import Server
from bench.contenders.ours import Guerrilla
from bench.limits import allow_clients

# Of an idle client, in KiB.
MEMORY_LIMIT = 8
# Of the median with slow clients to that without.
LATENCY_LIMIT = 2
ORDINARY_CLIENTS = 20
# Seconds that ordinary clients send for, each time.
PHASE = 3.0
# Seconds that an ordinary client waits after each message, and how the table calls that.
PAUSES = {"at ten a second": 0.1, "back to back": 0.0}
MESSAGE = b"Subject: a message\r\n\r\n" + b"A line of its text.\r\n" * 100 + b".\r\n"
# Slow clients take their turns in as many groups each second.
_GROUPS = 100


def _ours(timeout: int) -> Guerrilla:
    """:param timeout: of clients, in seconds."""
    return Guerrilla("ours", "guerrilla_tw", server={"timeout": timeout})


def measure_idle(count: int, timeout: int) -> bool:
    """:returns: whether an idle client costs less than the limit."""
    with _ours(timeout).running(clients=count) as daemon:
        _send_message(daemon)
        before = proc.resident(daemon.pid)
        began = time.monotonic()
        clients = [Client(daemon.port) for _ in range(count)]
        connected = time.monotonic()
        memory = (proc.resident(daemon.pid) - before) / 1024 / count
        if proc.open_files(daemon.pid) < count:
            raise SystemExit("some were let go before all were there; try a longer --timeout")
        _say("idle clients", f"{count:,}")
        _say("took to connect", f"{connected - began:.1f} s")
        _say("resident memory of each", f"{memory:.1f} KiB", f"below {MEMORY_LIMIT} KiB")
        _say("one more sends a message in", f"{_send_message(daemon) * 1000:.1f} ms")
        for client in clients:
            client.expect(b"421")
            if not client.has_ended():
                raise SystemExit("the server went on after 421")
        ended = time.monotonic()
        waited = f"{ended - connected:.1f} s"
        _say("all read 421 and the end, after", waited, f"timeout {timeout} s")
        _say("resident memory left", f"{(proc.resident(daemon.pid) - before) / 2**20:.1f} MiB")
    return memory < MEMORY_LIMIT


def _send_message(daemon: Server) -> float:
    """:returns: seconds, from the connection to the end of it."""
    began = time.monotonic()
    client = Client(daemon.port)
    client.begin_message()
    client.say(b"DATA\r\n", b"354")
    client.say(MESSAGE, b"250")
    client.say(b"QUIT\r\n", b"221")
    client.socket.close()
    return time.monotonic() - began


def measure_slow(count: int, rounds: int) -> bool:
    """:returns: whether the latency of ordinary clients stays within the limit."""
    met = True
    with _ours(timeout=600).running(clients=count) as daemon:
        for name, pause in PAUSES.items():
            without: list[float] = []
            beside: list[float] = []
            for _ in range(rounds):
                without.append(_median_latency(daemon.port, pause))
                with _slow_clients(daemon.port, count):
                    beside.append(_median_latency(daemon.port, pause))
            ratio = statistics.median(beside) / statistics.median(without)
            met = met and ratio < LATENCY_LIMIT
            _say(f"{ORDINARY_CLIENTS} clients, {name}", _in_ms(without))
            _say(f"the same beside {count:,} slow ones", _in_ms(beside))
            _say("ratio of the medians", f"{ratio:.2f}", f"below {LATENCY_LIMIT}")
    return met


def _in_ms(figures: list[float]) -> str:
    figures = [figure * 1000 for figure in figures]
    spread = f"{min(figures):.2f} to {max(figures):.2f}"
    return f"{statistics.median(figures):.2f} ms ({spread})"


def _median_latency(port: int, pause: float) -> float:
    """:returns: seconds from MAIL to the reply to the message."""

    async def send_from_all() -> list[list[float]]:
        # Not all at the same moment.
        delays = [pause * index / ORDINARY_CLIENTS for index in range(ORDINARY_CLIENTS)]
        return await asyncio.gather(*(_send(port, delay, pause) for delay in delays))

    return statistics.median(chain.from_iterable(asyncio.run(send_from_all())))


async def _send(port: int, delay: float, pause: float) -> list[float]:
    await asyncio.sleep(delay)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    writer.write(b"HELO client.example.com\r\n")
    await reader.readline()
    figures = []
    end = time.monotonic() + PHASE
    while time.monotonic() < end:
        began = time.monotonic()
        writer.write(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
        await reader.readuntil(b"354 ")
        await reader.readline()
        writer.write(MESSAGE)
        reply = await reader.readline()
        if not reply.startswith(b"250"):
            raise SystemExit(f"the server said {reply!r} to a message")
        figures.append(time.monotonic() - began)
        await asyncio.sleep(pause)
    writer.close()
    return figures


@contextmanager
def _slow_clients(port: int, count: int) -> Iterator[None]:
    """Have slow clients, in a process of their own."""
    ready, done = multiprocessing.Event(), multiprocessing.Event()
    process = multiprocessing.Process(target=_be_slow, args=(port, count, ready, done), daemon=True)
    process.start()
    try:
        if not ready.wait(60):
            raise SystemExit("the slow clients could not connect")
        yield
        if not process.is_alive():
            raise SystemExit("the slow clients were let go")
    finally:
        done.set()
        process.join()


def _be_slow(port: int, count: int, ready: Event, done: Event) -> None:
    clients = [Client(port) for _ in range(count)]
    for client in clients[::2]:
        client.say(b"NOOP ")
    for client in clients[1::2]:
        client.begin_message()
        client.say(b"DATA\r\n", b"354")
    ready.set()
    began = time.monotonic()
    turn = 0
    while not done.wait(max(0, began + turn / _GROUPS - time.monotonic())):
        for client in clients[turn % _GROUPS :: _GROUPS]:
            client.say(b"x")
        turn += 1


def _say(what: str, figure: str, limit: str = "") -> None:
    print(f"{what:36}{figure:28}{limit}".rstrip(), flush=True)


def main() -> None:
    """Measure both. The status is 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--idle", type=int, default=10_000, metavar="N", help="default: 10000")
    parser.add_argument("--slow", type=int, default=2_000, metavar="N", help="default: 2000")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument(
        "--timeout", type=int, default=30, metavar="SECONDS", help="of idle clients; default: 30"
    )
    options = parser.parse_args()
    if min(options.idle, options.slow, options.rounds, options.timeout) < 1:
        parser.error("all of them must be at least 1")
    allow_clients(max(options.idle, options.slow + ORDINARY_CLIENTS) + 1)
    met = [
        measure_idle(options.idle, options.timeout),
        measure_slow(options.slow, options.rounds),
    ]
    sys.exit(not all(met))


if __name__ == "__main__":
    main()
