"""Haraka, of Node.js, which ``make bench`` has npm install."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.contenders.contender import Contender, Place
from bench.generator.spec import IMPLICIT
from bench.sending import ROOT

#: Where npm has put it.
PROGRAM = ROOT / "build" / "haraka" / "node_modules" / "Haraka" / "bin" / "haraka"

_ACCEPT = """\
exports.hook_rcpt = (next) => next(OK)
exports.hook_queue = (next) => next(OK)
"""
# It makes its own where there are none, which takes minutes. These are of RFC 3526, group 14.
_DH_PARAMETERS = """\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA///////////JD9qiIWjCNMTGYouA3BzRKQJOCIpnzHQCC76mOxOb
IlFKCHmONATd75UZs806QxswKwpt8l8UN0/hNW1tUcJF5IW1dmJefsb0TELppjft
awv/XLb0Brft7jhr+1qJn6WunyQRfEsf5kkoZlHs5Fs9wgB8uKFjvwWY2kg2HFXT
mmkWP6j9JM9fg2VdI9yjrZYcYvNWIIVSu57VKQdwlpZtZww1Tkq8mATxdGwIyhgh
fDKQXkYuNs474553LBgOhgObJ4Oi7Aeij7XFXfBvTFLJ3ivL9pVYFxg5lUl86pVq
5RXSJhiY+gUQFXKOWoqsqmj//////////wIBAg==
-----END DH PARAMETERS-----
"""


class Haraka(Contender):
    """Haraka with a plugin that accepts all and keeps nothing, in one process."""

    def __init__(self) -> None:
        super().__init__("haraka", "Haraka")

    def missing(self) -> str:
        """See :meth:`.Contender.missing`."""
        if shutil.which("node") is None:
            return "node is not installed"
        return "" if PROGRAM.exists() else f"{PROGRAM.parents[3]} is empty (make bench fills it)"

    def command(self, place: Place) -> Sequence[str | Path]:
        """See :meth:`.Contender.command`."""
        for name, text in _files(place).items():
            path = place.directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        if place.tls:
            # It reads no files but those of its own directory, under these names.
            shutil.copy(place.key, place.directory / "config" / "tls_key.pem")
            shutil.copy(place.certificate, place.directory / "config" / "tls_cert.pem")
        return ["node", PROGRAM, "-c", place.directory]


def _files(place: Place) -> Mapping[str, str]:
    plugins = ["tls", "accept"] if place.tls else ["accept"]
    smtps_port = place.port if place.tls == IMPLICIT else 0
    # What is in its own file is not there by default.
    connection = (PROGRAM.parents[1] / "config" / "connection.ini").read_text(encoding="utf-8")
    return {
        "plugins/accept.js": _ACCEPT,
        "config/plugins": "\n".join([*plugins, ""]),
        "config/me": "bench\n",
        "config/smtp.ini": f"listen=127.0.0.1:{place.port}\nsmtps_port={smtps_port}\n",
        "config/log.ini": "[main]\nlevel=warn\nformat=default\n",
        # Our largest message is larger than what it takes otherwise.
        "config/connection.ini": re.sub(r"(?m)^bytes=.*$", "bytes=1073741824", connection),
        "config/dhparams.pem": _DH_PARAMETERS,
    }
