"""How a message gets into Maildirs: whole or not at all, into all of them or none."""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count

from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors.maildir.directories import CUR, NEW, TMP, Directories
from guerrilla_tw.processors.maildir.path import Mailbox

_MODE = 0o600
# A host's name has more octets nowhere.
_LONGEST_HOST = 64
_ODD_OCTET = re.compile(rb"[^A-Za-z0-9._-]")


class DeliveryError(Exception):
    """
    A message is in no mailbox. The text is one line and says why.

    :param mailbox: that it could not be written into.
    :param where: it is, for people.
    :param cause: the error.

    .. attribute:: errno

        Of the error; 0 if it has none.

    .. attribute:: mailbox

        As given.
    """

    def __init__(self, mailbox: Mailbox, where: str, cause: OSError) -> None:
        super().__init__(f"{where}: {cause_text(cause)}")
        self.mailbox = mailbox
        self.errno = cause.errno or 0


def cause_text(error: OSError) -> str:
    """:returns: what an error says, also where it is not the system's own."""
    return error.strerror or str(error) or type(error).__name__


class UniqueNames:
    """
    Names for files that no other delivery uses, on this host or another one.

    The time, what tells deliveries at that time apart, the host: Maildir's rules, as
    https://cr.yp.to/proto/maildir.html has them.
    """

    def __init__(self) -> None:
        # Threads share it: a call of next() is atomic.
        self._numbers = count(1)

    def make(self) -> str:
        """:returns: a name of less than 200 octets, without ``/`` and ``:``."""
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        return (
            f"{seconds}.M{nanoseconds // 1000}P{os.getpid()}Q{next(self._numbers)}"
            f"R{secrets.token_hex(8)}.{file_host_name(socket.gethostname())}"
        )


def file_host_name(host: str) -> str:
    """
    Make a host's name a part of a file's.

    :returns: ``/``, ``:`` and other odd octets as a backslash and three octal digits.
    """
    octets = os.fsencode(host)[:_LONGEST_HOST] or b"localhost"
    return _ODD_OCTET.sub(lambda odd: b"\\%03o" % odd[0][0], octets).decode("ascii")


def with_lf(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """
    Make each CR LF an LF.

    :param pieces: octets, divided anywhere, also between CR and LF.
    """
    held = b""
    for piece in pieces:
        piece = held + piece
        held = b"\r" if piece.endswith(b"\r") else b""
        yield piece[: len(piece) - len(held)].replace(b"\r\n", b"\n")
    yield held


def lasting_name(envelope: Envelope) -> str:
    """
    Name the file of a message that may be delivered twice: a second delivery finds it.

    :returns: the same for every delivery of the message on this host; empty if it has no time.
    """
    if envelope.received_at is None:
        return ""
    microseconds = int(envelope.received_at * 10**6)
    return (
        f"{microseconds // 10**6}.M{microseconds % 10**6}Q{envelope.queued_id}"
        f".{file_host_name(socket.gethostname())}"
    )


class _Copy:
    """A mailbox's own copy of a message: the file's name, and which part it is in."""

    def __init__(self, mailbox: Mailbox, name: str, lasting: str) -> None:
        self.mailbox = mailbox
        self.name = name
        self.lasting = lasting
        self.part = TMP


class Delivery:
    """
    Delivers messages. Safe for threads.

    Directories are opened anew for each step, and closed after it, so that the number of open
    files does not grow with that of recipients.

    :param directories: of the mailboxes.
    :param is_there: the mailboxes that are not made when mail comes.
    :param crlf: whether lines in files end with CR LF, and not with LF.
    """

    def __init__(self, directories: Directories, is_there: Collection[Mailbox], crlf: bool) -> None:
        self._directories = directories
        self._is_there = is_there
        self._crlf = crlf
        self._names = UniqueNames()

    def deliver(self, envelope: Envelope, mailboxes: Iterable[Mailbox], seconds: float) -> None:
        """
        Deliver a message.

        When it returns, each mailbox has the message on the disk. When it raises, none has it,
        except that a reader may have been quick to take what another mailbox had no room for.

        :param mailboxes: none of them twice.
        :param seconds: after which no file is begun, and none is given to readers.
        :raises DeliveryError: it cannot be done, or not in time.
        """
        until = time.monotonic() + seconds
        lasting = lasting_name(envelope)
        copies = []
        for mailbox in mailboxes:
            name = self._names.make()
            copy = _Copy(mailbox, name, lasting or name)
            with self._blaming(copy):
                if not (envelope.may_be_stored and lasting and self._has(mailbox, lasting)):
                    copies.append(copy)
        with ExitStack() as undo:
            for copy in copies:
                undo.callback(self._remove, copy)
                with self._blaming(copy):
                    _check_time(until)
                    self._write(copy, envelope)
                    # After the last one all of them get it, however long that takes.
                    _check_time(until)
            for copy in copies:
                with self._blaming(copy):
                    self._publish(copy)
            undo.pop_all()

    def _write(self, copy: _Copy, envelope: Envelope) -> None:
        """Write a copy where no reader looks."""
        if copy.mailbox not in self._is_there:
            self._directories.make(copy.mailbox)
        pieces = envelope.delivered_pieces()
        # With O_EXCL it is a new file, whatever its user has put there.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with ExitStack() as opened:
            tmp = opened.enter_context(self._directories.open(copy.mailbox, TMP))
            descriptor = os.open(copy.name, flags, _MODE, dir_fd=tmp)
            file = opened.enter_context(os.fdopen(descriptor, "wb"))
            file.writelines(pieces if self._crlf else with_lf(pieces))
            file.flush()
            os.fchown(descriptor, *copy.mailbox.owner)
            os.fsync(descriptor)

    def _publish(self, copy: _Copy) -> None:
        """Give a copy to the readers; they need not open it to learn its size."""
        with ExitStack() as opened:
            tmp = opened.enter_context(self._directories.open(copy.mailbox, TMP))
            new = opened.enter_context(self._directories.open(copy.mailbox, NEW))
            size = os.stat(copy.name, dir_fd=tmp, follow_symlinks=False).st_size
            name = f"{copy.lasting},S={size}"
            os.rename(copy.name, name, src_dir_fd=tmp, dst_dir_fd=new)
            copy.name, copy.part = name, NEW
            os.fsync(new)

    def _has(self, mailbox: Mailbox, lasting: str) -> bool:
        """:returns: whether a message is in a mailbox, where it was delivered or read."""
        for part in (NEW, CUR):
            with suppress(FileNotFoundError), self._directories.open(mailbox, part) as directory:
                # Behind it are the size and what a reader thinks of the message.
                names = (name.partition(",")[0].partition(":")[0] for name in os.listdir(directory))
                if lasting in names:
                    return True
        return False

    def _remove(self, copy: _Copy) -> None:
        with suppress(OSError), self._directories.open(copy.mailbox, copy.part) as directory:
            os.unlink(copy.name, dir_fd=directory)

    @contextmanager
    def _blaming(self, copy: _Copy) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = self._directories.name(copy.mailbox)
            raise DeliveryError(copy.mailbox, where, error) from error


def _check_time(until: float) -> None:
    if time.monotonic() >= until:
        raise TimeoutError("it takes too long")
