"""
The interfaces between the rooms of the house.

The front (``smtp``) and the back (``backends``) know each other only by what is written here, and
so does whoever adds a processor or brings a backend of his own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.logger import Logger

    from guerrilla_tw.mail.envelope import Envelope

T = TypeVar("T")


class Task(Enum):
    """What a chain is asked to do with an envelope (go-guerrilla: ``SelectTask``)."""

    SAVE_MAIL = "save mail"
    VALIDATE_RCPT = "validate recipient"

    # Enum's own is written in Python, and each message is looked up by its task.
    __hash__ = object.__hash__


class IResult(Interface):
    """
    The outcome of a task, as the client will read it (RFC 5321 section 4.2, RFC 3463).

    The front cleans what it sends, so an implementation cannot add a second reply line.
    """

    code: int = Attribute("Reply code: 250, or 400 to 599. 4xx asks the client to try again.")
    enhanced: str = Attribute("Enhanced status code, for example ``2.0.0``.")
    text: str = Attribute("Text for people: printable ASCII, one line.")


class IRecipientResults(IResult):
    """
    An outcome that is not the same for all recipients. A client that speaks LMTP is told each of
    them (RFC 2033); one that speaks SMTP only the result as a whole.
    """

    recipients: Sequence[IResult] = Attribute(
        "A result for each recipient, in the order of ``envelope.rcpt_to``."
    )


class IProcessor(Interface):
    """One link of a chain. It answers, or asks the next link and may change the answer."""

    def process(envelope: Envelope, task: Task) -> IResult | Deferred[IResult]:
        """
        Work on a task. Called on the reactor's thread: what blocks goes to a worker.

        :param envelope: the message; for ``Task.VALIDATE_RCPT`` a snapshot of what is known so
            far, whose last recipient is the one to check.
        :param task: what to do. A processor passes on the tasks that it has no part in.
        :returns: the result, at once or by a Deferred. If it raises or fails, the client is
            told to try again (451).
        """


class IInitializer(Interface):
    """What a processor does before the first message."""

    def initialize(config: Mapping[str, object]) -> Deferred[None] | None:
        """
        Open what the processor needs. Called on the reactor's thread.

        :param config: the whole ``backend_config``.
        :raises Exception: the daemon then refuses to start and logs the reason.
        """


class IShutdowner(Interface):
    """What a processor does after the last message."""

    def shutdown() -> Deferred[None] | None:
        """
        Close what the initializers of the same processor opened.

        Called once, and also where one of these initializers has failed or was cancelled, so that
        it or the ones after it have opened nothing.
        """


class IBackendService(Interface):
    """
    What a processor's constructor is given: its view of the Gateway that it will live in.

    A constructor is called several times, also where a configuration is only checked. It reads
    settings and opens nothing; opening is for an initializer.
    """

    name: str = Attribute("The processor's name as the configuration has it.")
    config: Mapping[str, object] = Attribute("The whole ``backend_config``.")
    reactor: Any = Attribute("The reactor that the Gateway runs on: a clock, and connections.")
    workers: int = Attribute("How many messages are in this chain at once, at most; and threads.")
    log: Logger = Attribute("A logger in the processor's own namespace.")
    timeout: float = Attribute(
        "Seconds after which the client of this chain is told to try again "
        "(gw_save_timeout or gw_val_rcpt_timeout). For one message, see :meth:`time_for`."
    )

    def add_initializer(initializer: IInitializer) -> None:
        """Have ``initializer`` called before the first message, in the order of the chain."""

    def add_shutdowner(shutdowner: IShutdowner) -> None:
        """Have ``shutdowner`` called after the last message, in reverse order of the chain."""

    def extract_config(config: Mapping[str, object], config_type: type[T]) -> T:
        """
        Read a processor's own settings.

        :param config: the ``backend_config``.
        :param config_type: a ``msgspec.Struct`` whose fields are the settings' names and types.
        :raises guerrilla_tw.ConfigError: a setting is missing or wrong; it says which.
        """

    def defer_to_worker(function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run ``function(*args)`` in the chain's own thread pool."""

    def time_for(envelope: Envelope) -> float:
        """
        Say how long a store may take for a message.

        What is stored later is stored although the client was told to try again, and so twice. May
        be called in any thread.

        :returns: seconds: four fifths of what is left of :attr:`timeout` for this message, which
            may have waited; 0 if nothing is.
        """

    def declare_store() -> None:
        """
        Say that this processor keeps the message, durably, before it says yes.

        A chain in which nobody says so starts with a warning that mail will be forgotten.
        """

    def declare_file(path: str) -> None:
        """
        Say that this processor reads a file when it is initialized.

        A reload then makes the backend anew where the file is another one, or has changed.
        """

    def declare_set(attribute: str) -> None:
        """
        Say that this processor sets something that later ones may need.

        :param attribute: of the envelope: ``header``, ``hashes``, ``delivery_header``.
        """

    def is_set_before(attribute: str) -> bool:
        """
        Ask whether a processor before this one in the chain sets something.

        :param attribute: see :meth:`declare_set`.
        """

    def is_named_in(setting: str) -> bool:
        """
        Ask whether a chain has this processor, perhaps beside the one that it was made for.

        :param setting: ``save_process`` or ``validate_process``.
        """

    def warn(advice: str) -> None:
        """
        Have something said at the start and by ``--check``, that is odd and yet no error.

        :param advice: one line.
        """


class IProcessorPlugin(Interface):
    """A Twisted plugin (``twisted/plugins/*.py``) that offers a processor by name."""

    name: str = Attribute("The name to use in ``save_process`` or ``validate_process``.")

    def load() -> Callable[[IBackendService], Callable[[IProcessor], IProcessor]]:
        """Import and return the processor's constructor."""


class IBackend(Interface):
    """The back of the house, as the daemon and the front see it (go-guerrilla: ``Backend``)."""

    def check(config: Mapping[str, object]) -> Sequence[str]:
        """
        Judge a configuration without touching anything that it names.

        :param config: the ``backend_config``.
        :returns: warnings, one line each.
        :raises guerrilla_tw.ConfigError: it cannot be used.
        """

    def initialize(config: Mapping[str, object]) -> Deferred[None]:
        """
        Build what the configuration asks for and open it.

        :returns: a Deferred that fires when :meth:`start` may be called, and fails with
            the reason if the backend cannot work.
        """

    def start() -> None:
        """Accept work from now on."""

    def process(envelope: Envelope, task: Task) -> IResult | Deferred[IResult]:
        """
        Do a task.

        :returns: the result, at once when it is known. A Deferred never fails but when the
            caller cancels it, which says that nobody waits for the answer any more.
        """

    def validate_rcpt(envelope: Envelope) -> IResult | Deferred[IResult]:
        """
        Check the last recipient of ``envelope``.

        :returns: as :meth:`process`; a 2xx accepts the recipient.
        """

    def shutdown() -> Deferred[None]:
        """Refuse new work, finish what was accepted, close everything."""

    def reinitialize() -> Deferred[None]:
        """Shut down and initialize again with the same configuration; start if it ran."""
