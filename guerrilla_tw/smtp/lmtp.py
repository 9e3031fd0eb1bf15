"""LMTP (RFC 2033): for mail that is handed on inside of a site, with a reply a recipient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from guerrilla_tw.smtp.esmtp import GuerrillaESMTP


class GuerrillaLMTP(GuerrillaESMTP):
    """A session in LMTP: LHLO in place of HELO and EHLO, and a reply for each recipient."""

    is_lmtp = True

    def tell_result(self, recipients: int, reply: bytes, answers: Sequence[bytes]) -> None:
        """RFC 2033 section 4.2."""
        if answers:
            for answer in answers:
                self.reply(answer)
        else:
            self.refuse_message(recipients, reply)

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
