"""
How much memory large messages take: one at a time, and from many clients at once.

The chain, HeadersParser|Hasher|Header, does not load them; they go to temporary files, for which
the disk must have room. What is shown is how much the resident memory of the server has grown at
its peak. Linux only.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench import proc
from bench.client import Client
from bench.contenders.contender import Server
from bench.contenders.ours import Guerrilla
from bench.limits import allow_clients

MIB = 2**20
HEADER = b"Subject: a large message\r\n\r\n"
PIECE = (b"x" * 62 + b"\r\n") * (MIB // 64)
# Growth by one message, and by many beyond max_inflight_bytes.
ONE_LIMIT = 32 * MIB
MANY_LIMIT = 64 * MIB
# That the disk must have left.
_SPARE = 1024 * MIB

Sender = Callable[[Client, int], None]


def send_by_data(client: Client, pieces: int) -> None:
    """Send a message by DATA."""
    client.begin_message()
    client.say(b"DATA\r\n" + HEADER, b"354")
    for _ in range(pieces):
        client.say(PIECE)
    client.say(b".\r\n", b"250")


def send_by_chunk(client: Client, pieces: int) -> None:
    """Send a message by BDAT, in one chunk."""
    client.begin_message()
    client.say(b"BDAT %d LAST\r\n" % (len(HEADER) + pieces * len(PIECE)) + HEADER)
    for _ in range(pieces):
        client.say(PIECE)
    client.expect(b"250")


def send_by_chunks(client: Client, pieces: int) -> None:
    """Send a message by BDAT, in chunks of a MiB."""
    client.begin_message(b"BODY=BINARYMIME")
    client.say(b"BDAT %d\r\n" % len(HEADER) + HEADER, b"250")
    for _ in range(pieces):
        client.say(b"BDAT %d\r\n" % len(PIECE) + PIECE, b"250")
    client.say(b"BDAT 0 LAST\r\n", b"250")


SENDERS: dict[str, Sender] = {
    "DATA": send_by_data,
    "BDAT, one chunk": send_by_chunk,
    "BDAT, chunks of 1 MiB": send_by_chunks,
}


def measure(
    name: str, send: Sender, clients: int, pieces: int, inflight: int, limit: int, directory: str
) -> bool:
    """
    Send messages at once from clients, a message from each, and print a line.

    :param pieces: MiB of a message.
    :param inflight: the server's ``max_inflight_bytes``.
    :param limit: octets that its memory may grow by.
    :param directory: for its temporary files.
    :returns: whether it stays below the limit.
    """
    room = shutil.disk_usage(directory).free
    needed = clients * pieces * MIB + _SPARE
    if room < needed:
        raise SystemExit(f"{directory} has room for {room:,} octets, {needed:,} are needed")
    settings = {"spill_dir": directory, "max_inflight_bytes": inflight}
    server = {"max_size": pieces * MIB + len(HEADER)}
    ours = Guerrilla("ours", "guerrilla_tw", server=server, settings=settings)
    with ours.running(clients=clients) as daemon:
        # What every message needs, be it small, is there then.
        _send_from_all(daemon, send, 1, min(pieces, 2))
        before = proc.resident(daemon.pid)
        proc.forget_peak(daemon.pid)
        began = time.monotonic()
        _send_from_all(daemon, send, clients, pieces)
        seconds = time.monotonic() - began
        growth = proc.peak(daemon.pid) - before
    figures = f"{clients:9}{pieces:9}{seconds:10.1f}{growth / MIB:10.1f}{limit / MIB:10.0f}"
    print(f"{name:24}{figures}", flush=True)
    return growth < limit


def _send_from_all(daemon: Server, send: Sender, clients: int, pieces: int) -> None:
    """Connect all of them, then send from all of them."""
    connected = [Client(daemon.port) for _ in range(clients)]
    with ThreadPoolExecutor(clients) as threads:
        for done in [threads.submit(send, client, pieces) for client in connected]:
            done.result()
    for client in connected:
        client.socket.close()


def main() -> None:
    """Measure all. The status is 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default, text in (
        ("--one", 1024, "MiB of a message that is alone"),
        ("--many", 50, "MiB of each message, of many"),
        ("--clients", 100, "how many send them"),
        ("--inflight", 64, "MiB of max_inflight_bytes for them"),
    ):
        parser.add_argument(
            name, type=int, default=default, metavar="N", help=f"{text}; default: {default}"
        )
    parser.add_argument(
        "--directory", default=tempfile.gettempdir(), help="for the temporary files"
    )
    options = parser.parse_args()
    if min(options.one, options.many, options.clients, options.inflight) < 1:
        parser.error("all numbers must be at least 1")
    allow_clients(options.clients)
    inflight = options.inflight * MIB
    met = []
    print(f"{'':24}{'clients':>9}{'MiB':>9}{'seconds':>10}{'grown MiB':>10}{'limit':>10}")
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        for name, send in SENDERS.items():
            met.append(measure(name, send, 1, options.one, inflight, ONE_LIMIT, directory))
        for name, send in SENDERS.items():
            limit = inflight + MANY_LIMIT
            met.append(
                measure(name, send, options.clients, options.many, inflight, limit, directory)
            )
    sys.exit(not all(met))


if __name__ == "__main__":
    main()
