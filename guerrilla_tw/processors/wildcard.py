"""Wildcard: which recipients there are, by patterns."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Mapping

import msgspec
from twisted.internet.defer import Deferred

from guerrilla_tw.backends.chain import initialize_with, process_with
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.backends.results import NO_SUCH_USER, Result
from guerrilla_tw.config import ConfigError
from guerrilla_tw.interfaces import IBackendService, Task
from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.mail.patterns import Patterns, host_pattern
from guerrilla_tw.reading import read_file

# Octets: some millions of patterns.
_LARGEST_FILE = 256 * 2**20
_PATTERN = re.compile(r'([^\s@"]+)@([^\s@"]+)')
# In the form that hosts are compared in.
_HOST = re.compile(r"[a-z0-9_*-]+(?:\.[a-z0-9_*-]+)*|\[[0-9a-f:.]+\]")


class WildcardConfig(msgspec.Struct, frozen=True):
    """
    Settings. One of them at least must be there.

    :param wildcard_recipients: patterns of recipients, such as ``*@example.com`` or
        ``sales+*@*.example.org``.
    :param wildcard_file: path of a file with more of them, one on a line.
    """

    wildcard_recipients: tuple[str, ...] = ()
    wildcard_file: str = ""

    def __post_init__(self) -> None:
        if not self.wildcard_recipients and not self.wildcard_file:
            raise ConfigError(
                "names nobody, and there is no wildcard_file either", "wildcard_recipients"
            )
        if not self.wildcard_file.isprintable():
            raise ConfigError("holds a control character", "wildcard_file")


class Recipients:
    """The recipients that there are."""

    def __init__(self) -> None:
        # Hosts -> local parts.
        self._hosts: Patterns[Patterns[bool]] = Patterns()

    def add(self, pattern: str) -> None:
        """
        Let there be the recipients that a pattern describes.

        :param pattern: local part and host, in any case; ``*`` stands for any characters of the one
            or the other. The local part is compared without quotes. The host may have A-labels or
            U-labels, or be an address literal.
        :raises ValueError: it is not of this form. The text names it.
        """
        parts = _PATTERN.fullmatch(pattern)
        if parts is None:
            raise ValueError(f"{pattern!r} is not of the form user@host, with * for any characters")
        host = host_pattern(parts[2])
        if not _HOST.fullmatch(host):
            raise ValueError(f"{pattern!r}: what follows the @ is no host")
        self._hosts.setdefault(host, Patterns()).setdefault(parts[1].lower(), True)

    def __contains__(self, address: Address) -> bool:
        host = address.ascii_host.lower() if address.ip is None else f"[{address.ip}]"
        user = address.user.lower()
        return any(any(users.find(user)) for users in self._hosts.find(host))


def wildcard(svc: IBackendService) -> Decorator:
    """
    Accept the recipients that fit a pattern, and no others.

    That is what it does in ``validate_process``; in ``save_process`` it lets everything pass.
    """
    config = svc.extract_config(svc.config, WildcardConfig)
    recipients = Recipients()
    for index, pattern in enumerate(config.wildcard_recipients):
        try:
            recipients.add(pattern.strip())
        except ValueError as error:
            path = f"backend_config.wildcard_recipients[{index}]"
            raise ConfigError(str(error), path) from None

    def read(_: Mapping[str, object]) -> Deferred[None]:
        return svc.defer_to_worker(_read_file, config.wildcard_file, recipients)

    def check(envelope: Envelope, task: Task) -> Result | None:
        if task is Task.VALIDATE_RCPT and envelope.rcpt_to[-1] not in recipients:
            return NO_SUCH_USER
        return None

    if config.wildcard_file:
        svc.declare_file(config.wildcard_file)
        svc.add_initializer(initialize_with(read))
    if not svc.is_named_in("validate_process"):
        svc.warn("has no effect, since validate_process does not name it")
    return process_with(svc, check, nonblocking=True)


def _read_file(path: str, recipients: Recipients) -> None:
    """
    Read patterns: in UTF-8, one on a line, with blank lines and lines of comment behind a ``#``.

    :raises ConfigError: it cannot be read, a line of it is not a pattern, or it holds none.
    """
    setting = "backend_config.wildcard_file"
    try:
        lines = read_file(path, _LARGEST_FILE).removeprefix(BOM_UTF8).splitlines()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", setting) from None
    is_empty = True
    for number, line in enumerate(lines, 1):
        try:
            pattern = line.decode("utf-8").strip()
            if pattern and not pattern.startswith("#"):
                recipients.add(pattern)
                is_empty = False
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: {error}", setting) from None
    if is_empty:
        raise ConfigError(f"{path} holds no pattern", setting)
