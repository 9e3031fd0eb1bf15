"""Random conversations beside a small model of what a session must answer and store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from hypothesis.strategies import booleans, integers, lists, sampled_from
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.results import (
    NO_SUCH_USER,
    QUOTA_EXCEEDED,
    RECIPIENT_OK,
    Result,
    queued,
)
from guerrilla_tw.config import TLSConfig
from guerrilla_tw.interfaces import IResult
from guerrilla_tw.mail.envelope import Envelope
from tests.smtp.dialog_client import FakeTLS, Wire
from tests.smtp.session import Session, codes
from tests.smtp.session_model import MAX_ERRORS, MAX_SIZE, TIMEOUT, Model

F = TypeVar("F", bound=Callable[..., Any])

_STARTTLS: Final = TLSConfig(
    start_tls_on=True, private_key_file="key", public_key_file="certificate"
)
# How a backend may answer, for a recipient and for a message.
_ANSWERS: Final[dict[str, tuple[Result, Result]]] = {
    "yes": (RECIPIENT_OK, queued("id")),
    "never": (NO_SUCH_USER, Result(554, "5.6.0", "no")),
    "later": (QUOTA_EXCEEDED, Result(452, "4.3.1", "later")),
}
# Data as it is sent up to its end, and as it is stored or the reply to it.
_MESSAGES: Final[tuple[tuple[bytes, bytes | str], ...]] = (
    (b"hello\r\n.\r\n", b"hello\r\n"),
    (b".\r\n", b""),
    (b"..\r\n..x\r\n.\r\n", b".\r\n.x\r\n"),
    (b"a\n.\r\n.\r\n", "550 5.6.0"),
    (b"x" * MAX_SIZE + b"\r\n.\r\n", "552 5.3.4"),
)
_CHUNKS: Final = (b"a\nb\r\n", b"", b"a\r\n", b"\r\n.\r\n", b"QUIT\r\n")

# How much the client sends while nothing is looked at.
_MOST_WAITING: Final = 3
_BACKEND: Final = sampled_from(("yes", "yes", "yes", "never", "later", "fails", "pending"))
_SELDOM: Final = integers(0, 9).map(lambda number: number == 9)


def commands(fit: Callable[[Model], bool] = lambda model: True) -> Callable[[F], F]:
    """
    Make a rule of commands, for a client that is there and not in the middle of a message.

    :param fit: says whether it is their turn. Most often they wait for it: a conversation of errors
        is a short one.
    """

    def may(machine: Any) -> bool:
        model: Model = machine.model
        is_free = not (machine.is_lost or machine.sends_data or len(model.waiting) > _MOST_WAITING)
        return is_free and (fit(model) or len(model.expected) % 7 == 6)

    return precondition(may)


class SessionMachine(RuleBasedStateMachine):
    """Does the same to a session and to the model, and compares them after each step."""

    is_lost = True

    @initialize()
    def start(self) -> None:
        self.wires: list[Wire] = []
        self.tls = FakeTLS(self.wires)
        self.session = Session(
            layer=self.tls,
            tls=_STARTTLS,
            timeout=TIMEOUT,
            max_errors=MAX_ERRORS,
            max_size=MAX_SIZE,
            max_command_line=512,
            min_data_rate=1,
        )
        self.session.disconnect()
        backend = self.session.backend
        backend.check_recipient = lambda envelope: self._answer(0)
        backend.save = self._save
        self.next_client()

    def next_client(self) -> None:
        """The next one of the same server."""
        self.wires.clear()
        self.tls.shaking = False
        self.model = Model()
        self.stored: list[object] = []
        self.pending: Deferred[IResult] | None = None
        self.is_lost = self.sends_data = False
        self.session.connect()

    def _save(self, envelope: Envelope) -> IResult | Deferred[IResult]:
        recipients = [str(recipient) for recipient in envelope.rcpt_to]
        # Not the envelope: nothing may keep its body.
        self.stored.append((envelope.protocol, str(envelope.mail_from), recipients, envelope.data))
        self.session.backend.saved.clear()
        return self._answer(1)

    def _answer(self, task: int) -> IResult | Deferred[IResult]:
        kind = self.model.backend
        if kind == "pending":
            self.pending = Deferred()
            return self.pending
        if kind == "fails":
            raise RuntimeError("as the machine says")
        return _ANSWERS[kind][task]

    @property
    def _transport(self) -> Any:
        return self.wires[-1] if self.wires else self.session.transport

    # What the client does

    def _send(self, octets: bytes, *actions: Callable[[], None], cut: int = 0) -> None:
        # In TLS it cannot be heard before the handshake is over, nor after an abort.
        if self.model.shaking or self._transport.aborted:
            return
        for piece in (octets[:cut], octets[cut:]):
            if piece and not (self.tls.shaking or self._transport.aborted):
                self.session.protocol.dataReceived(piece)
                self.session.settle()
        self.model.sent(*actions)

    def _command(self, line: bytes, act: Callable[[], None], cut: int = 0) -> None:
        self._send(line + b"\r\n", partial(self.model.command, act), cut=cut)

    @commands()
    @rule(extended=booleans(), valid=integers(0, 5), cut=integers(0, 9))
    def hello(self, extended: bool, valid: int, cut: int) -> None:
        verb = b"EHLO" if extended else b"HELO"
        if valid:
            self._command(verb + b" client", partial(self.model.hello, extended), cut)
        else:
            self._command(verb, partial(self.model.say, "501 5.5.4"))

    @commands(lambda model: model.message is None)
    @rule(greeted=booleans(), backends=lists(_BACKEND, min_size=1, max_size=3))
    def transaction_without_waiting(self, greeted: bool, backends: list[str]) -> None:
        """What most senders do, so that there is something to send messages in."""
        if not (greeted and self.model.protocol):
            self.hello(extended=True, valid=1, cut=0)
        self.mail(binary=False)
        for number, backend in enumerate(backends):
            self.rcpt(f"r{number}", backend)

    @commands(Model.takes_mail)
    @rule(binary=booleans())
    def mail(self, binary: bool) -> None:
        parameter = b" BODY=BINARYMIME" if binary else b""
        self._command(
            b"MAIL FROM:<a@b.example>" + parameter,
            partial(self.model.mail, "a@b.example", binary, ""),
        )

    @commands(Model.takes_mail)
    @rule(
        mail=sampled_from(
            (
                (b"<a@", "501 5.1.7"),
                (b"<> SIZE=99999", "552 5.3.4"),
                (b"<> X=Y", "555 5.5.4"),
                (b"<\xc3\xa9@x>", "553 5.6.7"),
            )
        )
    )
    def bad_mail(self, mail: tuple[bytes, str]) -> None:
        self._command(b"MAIL FROM:" + mail[0], partial(self.model.mail, "", False, mail[1]))

    @commands(Model.takes_recipients)
    @rule(user=sampled_from(("a", "b", "postmaster")), backend=_BACKEND)
    def rcpt(self, user: str, backend: str) -> None:
        self.model.backend = backend
        recipient = f"{user}@example.com"
        self._command(f"RCPT TO:<{recipient}>".encode(), partial(self.model.rcpt, recipient, ""))

    @commands(Model.takes_recipients)
    @rule(
        rcpt=sampled_from(
            (
                (b"<>", "501 5.1.3"),
                (b"<a@elsewhere.example>", "550 5.7.1"),
                (b"<a@example.com> X", "555 5.5.4"),
            )
        )
    )
    def bad_rcpt(self, rcpt: tuple[bytes, str]) -> None:
        self._command(b"RCPT TO:" + rcpt[0], partial(self.model.rcpt, "", rcpt[1]))

    @commands()
    @rule(
        line=sampled_from(
            (
                (b"NOOP x", "250 2.0.0"),
                (b"VRFY a", "252 2.5.0"),
                (b"HELP", "214 2.0.0"),
                (b"RSET x", "501 5.5.4"),
                (b"QUIT x", "501 5.5.4"),
                (b"STARTTLS x", "501 5.5.4"),
            )
        )
    )
    def other_command(self, line: tuple[bytes, str]) -> None:
        self._command(line[0], partial(self.model.say, line[1]))

    @commands()
    @rule()
    def data_with_argument(self) -> None:
        self._command(b"DATA x", self.model.data_with_argument)

    @commands()
    @rule(line=sampled_from((b"XYZZY", b"NOOP\nQUIT", b"NOOP\0", b"NO\rOP", b"NOOP " + b"x" * 600)))
    def bad_line(self, line: bytes) -> None:
        is_line = line == b"XYZZY"
        act = self.model.unknown if is_line else partial(self.model.say, "500 5.5.2")
        self._send(line + b"\r\n", act, cut=len(line))

    @commands()
    @rule()
    def rset(self) -> None:
        self._command(b"RSET", self.model.rset)

    @commands(Model.takes_recipients)
    @rule(injected=booleans())
    def starttls(self, injected: bool) -> None:
        """What stands behind it in plain text is no command of the session that follows."""
        actions: list[Callable[[], None]] = [self.model.starttls]
        if injected:
            actions.append(partial(self.model.say, "250 2.0.0"))
        octets = b"STARTTLS\r\n" + (b"NOOP\r\n" if injected else b"")
        self._send(octets, *(partial(self.model.command, action) for action in actions))

    @commands()
    @rule(really=_SELDOM, how=sampled_from((b"QUIT", b"BDAT x")))
    def leave(self, really: bool, how: bytes) -> None:
        """Nobody knows where the chunk of a bad BDAT ends, so that is an end too."""
        if really:
            self._command(
                how, partial(self.model.leave, "221 2.0.0" if how == b"QUIT" else "501 5.5.4")
            )

    @commands(Model.takes_message)
    @precondition(lambda self: self.model.is_idle)
    @rule()
    def data(self) -> None:
        """From a client that waits for the answer."""
        self._command(b"DATA", self.model.begin_data)
        self.sends_data = self.model.data is not None

    @commands(Model.takes_message)
    @rule(message=sampled_from(_MESSAGES[:3]), backend=_BACKEND)
    def data_without_waiting(self, message: tuple[bytes, bytes], backend: str) -> None:
        """A pipelined message: where DATA is refused, it must not be taken for commands."""
        model = self.model
        model.backend = backend

        def follows() -> None:
            if model.data is None:
                model.unknown()
            else:
                model.end_data(b"Hello\r\n" + message[1])

        self._send(
            b"DATA\r\nHello\r\n" + message[0],
            partial(model.command, model.begin_data),
            follows,
        )

    @precondition(lambda self: not self.is_lost and self.sends_data)
    @rule(message=sampled_from(_MESSAGES), cut=integers(0, 8), backend=_BACKEND)
    def end_of_data(self, message: tuple[bytes, bytes | str], cut: int, backend: str) -> None:
        self.model.backend = backend
        self._send(message[0], partial(self.model.end_data, message[1]), cut=cut)
        self.sends_data = False

    @precondition(lambda self: not self.is_lost and self.sends_data)
    @rule()
    def more_data(self) -> None:
        # Enough of it not to be too slow, whatever time passes.
        lines = (b"x" * 998 + b"\r\n") * 4
        self._send(lines, partial(self.model.more_data, lines))

    @commands(Model.takes_message)
    @rule(
        chunks=lists(sampled_from(_CHUNKS), min_size=1, max_size=3),
        last=booleans(),
        cut=integers(0, 30),
        backend=_BACKEND,
    )
    def bdat(self, chunks: list[bytes], last: bool, cut: int, backend: str) -> None:
        model = self.model
        model.backend = backend
        octets = b""
        actions: list[Callable[[], None]] = []
        for number, chunk in enumerate(chunks, 1):
            is_last = last and number == len(chunks)
            octets += b"BDAT %d%b\r\n%b" % (len(chunk), b" LAST" if is_last else b"", chunk)
            actions.append(partial(model.command, partial(model.chunk, chunk, is_last)))
        self._send(octets, *actions, cut=cut)

    # What else happens

    @precondition(lambda self: not self.is_lost and self.tls.shaking)
    @rule()
    def handshake(self) -> None:
        self.tls.shaking = self.model.shaking = False
        self.session.protocol.handshakeCompleted()
        self.model.deadline = self.model.now + TIMEOUT

    @precondition(lambda self: self.pending is not None)
    @rule(kind=sampled_from(("yes", "yes", "never", "later", "fails")))
    def answer(self, kind: str) -> None:
        assert self.pending is not None
        pending, self.pending = self.pending, None
        if pending.called:
            return  # Cancelled, since the client has gone.
        if kind == "fails":
            pending.errback(RuntimeError("as the machine says"))
        else:
            is_message = self.model.message is None
            pending.callback(_ANSWERS[kind][is_message])
        if not self.is_lost:
            self.model.answered(kind)

    @precondition(lambda self: not self.is_lost)
    @rule(seconds=sampled_from((1, 10, 20, TIMEOUT - 1, TIMEOUT)))
    def time_passes(self, seconds: int) -> None:
        self.session.clock.pump([1] * seconds)
        self.model.passed(seconds)
        if self._transport.aborted:
            self.lose()

    @precondition(lambda self: not self.is_lost and self._transport.producer is not None)
    @precondition(lambda self: not self.model.congested)
    @rule()
    def client_stops_reading(self) -> None:
        self.model.congested = True
        self._transport.producer.pauseProducing()

    @precondition(lambda self: not self.is_lost and self._transport.producer is not None)
    @precondition(lambda self: self.model.congested)
    @rule()
    def client_reads(self) -> None:
        self.model.congested = False
        self.model.deadline = self.model.now + TIMEOUT
        self._transport.producer.resumeProducing()
        self.model.advance()

    @precondition(lambda self: not self.is_lost and len(self.model.expected) > 10)
    @rule()
    def lose(self) -> None:
        """The connection is lost."""
        self.compare()
        self.is_lost = True
        for wire in (self.session.transport, *self.wires):
            wire.producer = None
        self.session.disconnect()
        del self.session.protocol
        self.last_words = self._heard()

    @precondition(lambda self: self.is_lost)
    @rule()
    def come_again(self) -> None:
        self.next_client()

    # What must hold

    @invariant()
    def compare(self) -> None:
        if self.is_lost:
            return
        replies = codes(self._heard())
        assert replies == self.model.expected, (replies, self.model.expected)
        assert self.stored == self.model.stored, (self.stored, self.model.stored)
        assert self._is_closed() == self.model.closed
        assert self.session.server.clients == {self.session.protocol}

    def _heard(self) -> bytes:
        return b"".join(wire.value() for wire in (self.session.transport, *self.wires))

    def _is_closed(self) -> bool:
        transport = self._transport
        return bool(transport.disconnecting or transport.aborted or transport.closed_half)

    @invariant()
    def keep_nothing(self) -> None:
        """No message, no timer and no client more than there is, and no words for who has gone."""
        self.session.events.clear()
        if self.is_lost:
            assert self._heard() == self.last_words
            assert self.session.clock.getDelayedCalls() == []
            assert self.session.server.clients == set()
        in_memory = self.session.server.shared.storage.in_memory
        if self.is_lost:
            assert in_memory == 0
        elif self.model.message is None:
            # What the backend works on is counted until it has answered.
            assert in_memory == self.model.in_hand, (in_memory, self.model.in_hand)

    def teardown(self) -> None:
        if not self.is_lost:
            self.lose()
            self.keep_nothing()


class StateMachineTests(SynchronousTestCase):
    def test_the_model_knows_of_a_message_that_waits_for_the_backend(self) -> None:
        """Of which few random conversations have one."""
        for end in (SessionMachine.lose, lambda machine: machine.answer("yes")):
            machine = SessionMachine()
            machine.start()
            machine.transaction_without_waiting(greeted=False, backends=["yes"])
            machine.data_without_waiting(_MESSAGES[0], "pending")
            machine.compare()
            machine.keep_nothing()
            self.assertGreater(machine.model.in_hand, 0)
            end(machine)
            machine.compare()
            machine.keep_nothing()

    def test_session_does_what_the_model_does(self) -> None:
        run_state_machine_as_test(
            SessionMachine,
            settings=settings(
                max_examples=160,
                stateful_step_count=60,
                derandomize=True,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
