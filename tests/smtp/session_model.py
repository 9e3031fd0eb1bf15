"""A small model of a session: what it must answer to each command, and what it must store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

# Settings of the server.
TIMEOUT: Final = 30
MAX_ERRORS: Final = 5
MAX_SIZE: Final = 20_000
# What becomes of the backend's answers, for a recipient and for a message.
_RECIPIENT_REPLIES: Final = {"yes": "250 2.1.5", "never": "550 5.1.1", "later": "452 4.2.2"}
_MESSAGE_REPLIES: Final = {"yes": "250 2.0.0", "never": "554 5.6.0", "later": "452 4.3.1"}
_LOCAL_ERROR: Final = "451 4.3.0"


@dataclass
class Message:
    """A transaction, as the model sees it."""

    sender: str
    binary: bool = False
    recipients: list[str] = field(default_factory=list)
    refused: bool = False
    deferred: bool = False
    chunks: bytes | None = None
    failure: str = ""

    @property
    def has_chunks(self) -> bool:
        """Whether there was a chunk, be it refused."""
        return self.chunks is not None or bool(self.failure)


class Model:
    """
    What a session must do: a state, and one thing after the other.

    :ivar expected: the replies that are due, code and enhanced code of each.
    :ivar stored: what the backend must have been given: protocol, sender, recipients, data.
    :ivar backend: how it answers: "yes", "never", "later", "fails"; or "pending", for not yet.
    :ivar in_hand: octets of the message that the backend has and has not answered.
    """

    def __init__(self) -> None:
        self.expected = ["220 mx.example.com"]
        self.stored: list[object] = []
        # What was sent and not looked at, because an answer or the client's reading is waited for.
        self.waiting: deque[Callable[[], None]] = deque()
        self.answer: Callable[[str], None] | None = None
        self.backend = "yes"
        self.in_hand = 0
        self.congested = self.closed = self.secret = self.shaking = False
        self.errors = 0
        self.now = 0.0
        self.deadline = float(TIMEOUT)
        self._start_anew()
        self.was_refused_data = False

    def _start_anew(self) -> None:
        self.protocol = ""
        self.message: Message | None = None
        # None, or the message so far while it comes by DATA.
        self.data: bytes | None = None

    # How things follow each other

    def sent(self, *actions: Callable[[], None]) -> None:
        """The client has sent what has these effects, once their turn has come."""
        if not self.closed:
            self.waiting.extend(actions)
            self.advance()

    def advance(self) -> None:
        """Do what can be done now."""
        while self.waiting and self.is_idle:
            self.waiting.popleft()()
            self.deadline = self.now + TIMEOUT

    @property
    def is_idle(self) -> bool:
        """Whether what is sent now is looked at now."""
        return self.answer is None and not (self.congested or self.closed)

    def close(self) -> None:
        self.closed = True
        self.waiting.clear()

    def say(self, reply: str) -> None:
        self.expected.append(reply)
        if reply[:3] in ("500", "501", "502", "503", "504", "555") and reply[4:8] == "5.5.":
            self.errors += 1
            if self.errors > MAX_ERRORS:
                self.expected.append("421 4.7.0")
                self.close()

    def ask(self, replies: dict[str, str], then: Callable[[str], None]) -> None:
        """The backend is asked, and answers now or later."""
        if self.backend == "pending":
            self.answer = lambda kind: then(replies.get(kind, _LOCAL_ERROR))
        else:
            then(replies.get(self.backend, _LOCAL_ERROR))

    def answered(self, kind: str) -> None:
        """A late answer has come."""
        assert self.answer is not None
        answer, self.answer = self.answer, None
        answer(kind)
        self.deadline = self.now + TIMEOUT
        self.advance()

    def passed(self, seconds: int) -> None:
        """Time passes, and nothing else."""
        self.now += seconds
        while self.deadline <= self.now and not self.closed:
            if self.shaking:
                self.close()
            elif self.answer is not None:
                self.deadline += TIMEOUT
            else:
                self.say("421 4.4.2")
                self.close()

    # Commands

    def command(self, act: Callable[[], None]) -> None:
        """Any command that is one."""
        act()

    def hello(self, extended: bool) -> None:
        self.protocol = "ESMTP" if extended else "SMTP"
        self.message = None
        self.was_refused_data = False
        self.say("250 HELP" if extended else "250 mx.example.com")

    def starttls(self) -> None:
        if self.secret:
            self.say("503 5.5.1")
            return
        self.say("220 2.0.0")
        self.waiting.clear()
        self._start_anew()
        self.secret = self.shaking = True

    def mail(self, sender: str, binary: bool, fault: str) -> None:
        if not self.protocol or self.message is not None:
            self.say("503 5.5.1")
        elif fault:
            self.say(fault)
        else:
            self.message = Message(sender, binary)
            self.was_refused_data = False
            self.say("250 2.1.0")

    def rcpt(self, recipient: str, fault: str) -> None:
        message = self.message
        if message is None or message.has_chunks:
            self.say("503 5.5.1")
        elif fault:
            message.refused = True
            self.say(fault)
        else:
            self.ask(_RECIPIENT_REPLIES, partial(self._recipient_checked, message, recipient))

    def _recipient_checked(self, message: Message, recipient: str, reply: str) -> None:
        if reply[0] == "2":
            message.recipients.append(recipient)
        elif reply[0] == "4":
            message.deferred = True
        else:
            message.refused = True
        self.say(reply)

    def rset(self) -> None:
        self.message = None
        self.say("250 2.0.0")

    def leave(self, reply: str) -> None:
        self.expected.append(reply)
        self.close()

    def data_with_argument(self) -> None:
        self.was_refused_data = True
        self.say("501 5.5.4")

    def unknown(self) -> None:
        if self.was_refused_data:
            # A message that comes though DATA was refused.
            self.close()
        else:
            self.say("500 5.5.2")

    # Whose turn it is

    def takes_mail(self) -> bool:
        return self.message is None and bool(self.protocol)

    def takes_recipients(self) -> bool:
        return self.message is not None and self.message.chunks is None

    def takes_message(self) -> bool:
        return not self._not_ready()

    # Messages

    def _not_ready(self) -> str:
        """:returns: why no message can come, or nothing."""
        message = self.message
        if message is None:
            return "503 5.5.1"
        if message.recipients:
            return ""
        if message.deferred:
            return "451 4.5.1"
        return "554 5.5.1" if message.refused else "503 5.5.1"

    def begin_data(self) -> None:
        fault = self._not_ready()
        if not fault:
            assert self.message is not None
            if self.message.has_chunks or self.message.binary:
                fault = "503 5.5.1"
        if fault:
            self.was_refused_data = True
            self.say(fault)
        else:
            self.data = b""
            self.say("354 end")

    def more_data(self, lines: bytes) -> None:
        assert self.data is not None
        self.data += lines

    def end_data(self, stored: bytes | str) -> None:
        assert self.data is not None
        if isinstance(stored, bytes):
            stored = self.data + stored
            if len(stored) > MAX_SIZE:
                stored = "552 5.3.4"
        # Too large comes first, whatever else is wrong.
        elif len(self.data) > MAX_SIZE:
            stored = "552 5.3.4"
        self.data = None
        self._ended(stored)

    def chunk(self, chunk: bytes, last: bool) -> None:
        fault = self._not_ready()
        message = self.message
        fault = fault or (message.failure if message else "")
        if fault or message is None:
            if message is not None:
                message.failure = fault
            if last:
                self.message = None
            self.say(fault)
            return
        message.chunks = (message.chunks or b"") + chunk
        bare = message.chunks.count(b"\n") != message.chunks.count(b"\r\n")
        message.failure = "550 5.6.0" if bare and not message.binary else ""
        if last:
            self._ended(message.failure or message.chunks)
        else:
            self.say(message.failure or "250 2.0.0")

    def _ended(self, stored: bytes | str) -> None:
        message, self.message = self.message, None
        assert message is not None
        if isinstance(stored, str):
            self.say(stored)
            return
        protocol = self.protocol + ("S" if self.secret else "")
        self.stored.append((protocol, message.sender, message.recipients, stored))
        self.in_hand = len(stored)
        self.ask(_MESSAGE_REPLIES, self._message_answered)

    def _message_answered(self, reply: str) -> None:
        self.in_hand = 0
        self.say(reply)
