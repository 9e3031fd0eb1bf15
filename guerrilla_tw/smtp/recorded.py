"""What a connection keeps of itself for the journal, and when it has a line written."""

from __future__ import annotations

from collections.abc import Sequence

from guerrilla_tw.mail.address import Address
from guerrilla_tw.smtp import journal, replies
from guerrilla_tw.smtp.server import Server


class Recorded:
    """
    A connection that the journal tells of; see :class:`.journal.Session`.

    :param server: whose client this is.
    :param remote_ip: the address of who is connected; empty if it has none. A PROXY header
        changes it.
    """

    # Class attributes are what most connections never change: CPython keeps objects with few
    # attributes of their own small, and there may be thousands of idle clients.
    ending = journal.LEFT
    cause = ""
    proxy_ip = ""
    tls_version: str | None = None
    spoke_early = False
    taken = 0
    refusals = 0
    # Lines about refusals.
    _told_refusals = 0

    def __init__(self, server: Server, remote_ip: str) -> None:
        self.server = server
        self.settings = server.settings
        self.remote_ip = remote_ip
        self._began = server.clock.seconds()
        self._closing = False

    # For the subclass to override

    @property
    def client_ip(self) -> str:
        """The address of the client as far as it is known; empty if there is none."""
        return self.remote_ip

    @property
    def helo(self) -> str:
        """What the client called itself; empty before it did."""
        return ""

    @property
    def mail_from(self) -> Address | None:
        """The sender of the transaction; None if there is no transaction."""
        return None

    # For the subclass to use

    def end_as(self, ending: str, cause: str = "") -> None:
        """
        Remember how the connection ends, unless that is settled already.

        :param ending: one of the names in :mod:`.journal`.
        :param cause: more of it in words.
        """
        if self.ending == journal.LEFT:
            self.ending = ending
            self.cause = cause

    def log_end(self) -> None:
        """Log the connection, which has ended."""
        self.server.journal.connection(self, self.server.clock.seconds() - self._began)

    def log_refusal(
        self,
        verb: bytes,
        argument: bytes,
        reply: bytes,
        *,
        rcpt_to: Sequence[Address] = (),
        cause: str = "",
    ) -> None:
        """
        Log that a command was refused, unless there were enough lines of that.

        :param rcpt_to: whom it named.
        :param cause: what an operator should know of it.
        """
        self.refusals += 1
        ours = self.server.journal
        if self._told_refusals > journal.MOST_REFUSALS or not ours.tells(cause):
            return
        self._told_refusals += 1
        if self._told_refusals > journal.MOST_REFUSALS:
            ours.no_more_refusals(self, cause)
        else:
            ours.refusal(self, verb, argument, reply, rcpt_to=rcpt_to, cause=cause)

    def log_message(
        self,
        arrival: journal.Arrival,
        reply: bytes | None,
        answers: Sequence[bytes] = (),
        cause: str = "",
    ) -> None:
        """
        Log what became of a message.

        :param reply: the answer; None if nobody knows.
        :param answers: for each recipient, where there are such.
        :param cause: what an operator should know of it.
        """
        if any(map(replies.accepts, answers or (reply or b"",))):
            self.taken += 1
        server = self.server
        if server.journal.tells(cause):
            server.journal.message(
                self,
                arrival,
                reply,
                answers,
                seconds=server.clock.seconds() - arrival.began,
                told=not self._closing,
                cause=cause,
            )
