"""All contenders, by the names that they have on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.contenders.contender import Contender
from bench.contenders.haraka import Haraka
from bench.contenders.ours import Guerrilla
from bench.contenders.peer import Peer
from bench.contenders.programs import Program
from bench.contenders.sink import Sink

#: Whom the others are compared with, where it takes part.
STOCK = "stock"
BESIDE = "beside"


def contenders(
    log_level: str, beside: Path | None, peers: Sequence[tuple[tuple[str, int], int]]
) -> Mapping[str, Contender]:
    """
    :param log_level: of guerrilla_tw.
    :param beside: another checkout of guerrilla_tw, if it takes part.
    :param peers: host and port, and process, of servers that run already.
    :returns: every contender, in the order of the table.
    """
    known: list[Contender] = [
        Guerrilla("ours", "guerrilla_tw", log_level=log_level),
        Guerrilla(
            "ours-all",
            "guerrilla_tw, all cores",
            log_level=log_level,
            settings={"processes": 0},
        ),
        Program(STOCK, "twisted.mail", "twisted_mail"),
        Program("aiosmtpd", "aiosmtpd", "aiosmtpd_server", needed=["aiosmtpd"]),
        Program(
            "uvloop",
            "aiosmtpd, uvloop",
            "aiosmtpd_server",
            "--uvloop",
            needed=["aiosmtpd", "uvloop"],
        ),
        Haraka(),
        Sink(),
    ]
    if beside is not None:
        title = f"guerrilla_tw in {beside.name}"
        known.insert(1, Guerrilla(BESIDE, title, root=beside, log_level=log_level))
    known += (Peer(place, pid) for place, pid in peers)
    return {contender.name: contender for contender in known}
