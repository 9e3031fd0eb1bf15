"""What every one of these programs is told."""

from __future__ import annotations

import argparse

#: Clients that the kernel keeps until they are accepted, as many as it does for guerrilla_tw.
BACKLOG = 1024


class Options(argparse.Namespace):
    """
    :ivar port: to listen on, on 127.0.0.1.
    :ivar tls: ``starttls``, ``implicit`` or empty.
    :ivar key: file of the key, in PEM.
    :ivar certificate: file of the certificate, in PEM.
    :ivar uvloop: for aiosmtpd: whether it has that event loop.
    """

    port: int
    tls: str
    key: str
    certificate: str
    uvloop: bool


def parser(text: str | None) -> argparse.ArgumentParser:
    """:returns: what reads the arguments."""
    arguments = argparse.ArgumentParser(description=text)
    arguments.add_argument("port", type=int)
    arguments.add_argument("tls", nargs="?", default="", choices=["", "starttls", "implicit"])
    arguments.add_argument("key", nargs="?", default="")
    arguments.add_argument("certificate", nargs="?", default="")
    return arguments
