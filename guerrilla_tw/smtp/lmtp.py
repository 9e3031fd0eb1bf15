"""LMTP (RFC 2033): for mail that is handed on inside of a site, with a reply a recipient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from guerrilla_tw.interfaces import IRecipientResults, IResult
from guerrilla_tw.smtp import replies
from guerrilla_tw.smtp.esmtp import GuerrillaESMTP


class GuerrillaLMTP(GuerrillaESMTP):
    """A session in LMTP: LHLO in place of HELO and EHLO, and a reply for each recipient."""

    is_lmtp = True

    def tell_result(self, recipients: int, result: IResult | None) -> None:
        """RFC 2033 section 4.2."""
        if IRecipientResults.providedBy(result):
            for recipient in result.recipients:
                self.reply(replies.from_result(recipient))
        else:
            self.refuse_message(recipients, replies.from_result(result))

    def refuse_message(self, recipients: int, reply: bytes) -> None:
        """RFC 2033 section 4.2."""
        for _ in range(recipients):
            self.refuse(reply)

    commands: ClassVar[Mapping[bytes, Callable[[GuerrillaESMTP, bytes], None]]] = {
        # RFC 2033 section 4.1: it says what EHLO says.
        b"LHLO": GuerrillaESMTP.do_EHLO,
        **{
            verb: command
            for verb, command in GuerrillaESMTP.commands.items()
            if verb not in (b"HELO", b"EHLO")
        },
    }
