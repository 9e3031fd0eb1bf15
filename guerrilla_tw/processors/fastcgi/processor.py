"""FastCGI: a script of somebody's own keeps the messages, or knows the recipients."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from twisted.internet.defer import Deferred

from guerrilla_tw.backends.chain import initialize_with, process_with_deferred
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.backends.results import NO_SUCH_USER, STORE_UNAVAILABLE, Result
from guerrilla_tw.config import ConfigError
from guerrilla_tw.config.listen import Interface, parse_interface
from guerrilla_tw.interfaces import IBackendService, IResult, Task
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors.fastcgi.protocol import Exchange, Output, Server
from guerrilla_tw.processors.fastcgi.records import FastCGIError, parse_answer
from guerrilla_tw.processors.fastcgi.request import message_size, save_request, validate_request

T = TypeVar("T")

_ADDRESSES: Final = {"unix": "the path of a UNIX socket", "tcp": "host:port"}
# How an answer begins that refuses.
_NO: Final = b"FAILED"
# Of what the script writes, the log has so many octets in a line, and so many lines.
_LONGEST_LINE: Final = 200
_MOST_LINES: Final = 10


class FastCGIConfig(msgspec.Struct, frozen=True):
    """
    Settings, under the names of go-guerrilla's processor.

    :param fcgi_connection_type: ``unix`` or ``tcp``.
    :param fcgi_connection_address: path of a UNIX socket, or ``host:port``.
    :param fcgi_script_filename_save: path of the script that keeps messages, as the FastCGI server
        sees it. Needed where ``save_process`` has this processor.
    :param fcgi_script_filename_validate: path of the script that knows the recipients. Needed where
        ``validate_process`` has this processor.
    """

    fcgi_connection_type: str
    fcgi_connection_address: str
    fcgi_script_filename_save: str = ""
    fcgi_script_filename_validate: str = ""

    def __post_init__(self) -> None:
        if self.fcgi_connection_type not in _ADDRESSES:
            raise ConfigError('is neither "unix" nor "tcp"', "fcgi_connection_type")
        try:
            address = self.address
        except ValueError:
            address = None
        if address is None or bool(address.port) != (self.fcgi_connection_type == "tcp"):
            expected = _ADDRESSES[self.fcgi_connection_type]
            raise ConfigError(f"is not {expected}", "fcgi_connection_address")
        for name in ("fcgi_script_filename_save", "fcgi_script_filename_validate"):
            if not getattr(self, name).isprintable():
                raise ConfigError("holds a control character", name)

    @property
    def address(self) -> Interface:
        """Where the server is."""
        prefix = "unix:" if self.fcgi_connection_type == "unix" else ""
        return parse_interface(prefix + self.fcgi_connection_address)


class _Question(NamedTuple):
    """
    What is asked for a task.

    :param chain: the setting of the chain that has the task.
    :param script: the setting of the script's path.
    :param yes: how an answer begins that agrees.
    :param no: what the client is told if the script refuses.
    """

    chain: str
    script: str
    yes: bytes
    no: Result


_QUESTIONS: Final[Mapping[Task, _Question]] = {
    Task.SAVE_MAIL: _Question(
        "save_process",
        "fcgi_script_filename_save",
        b"SAVED",
        Result(550, "5.7.1", "message refused"),
    ),
    Task.VALIDATE_RCPT: _Question(
        "validate_process", "fcgi_script_filename_validate", b"PASSED", NO_SUCH_USER
    ),
}


def fastcgi(svc: IBackendService) -> Decorator:
    """
    Hand messages, or recipients to check, to a script by FastCGI, such as PHP's.

    Each is a request of its own on a connection of its own. A script agrees by an answer that
    begins with ``SAVED`` or ``PASSED``, and refuses by one that begins with ``FAILED``; whatever
    else happens, the client is told to try again.
    """
    config = svc.extract_config(svc.config, FastCGIConfig)
    for question in _QUESTIONS.values():
        if svc.is_named_in(question.chain) and not getattr(config, question.script):
            raise ConfigError(
                f"is missing, and {question.chain} has {svc.name}",
                f"backend_config.{question.script}",
            )
    client = FastCGIClient(config, svc)
    svc.declare_store()
    svc.add_initializer(initialize_with(client.initialize))

    def ask(envelope: Envelope, task: Task) -> Deferred[IResult | None]:
        return Deferred.fromCoroutine(client.ask(envelope, task))

    return process_with_deferred(ask)


class FastCGIClient:
    """
    Asks the scripts, and knows what their answers mean.

    :param config: settings.
    :param svc: of the processor.
    """

    def __init__(self, config: FastCGIConfig, svc: IBackendService) -> None:
        self._config = config
        self._svc = svc
        self._server = Server(svc.reactor, config.address, config.fcgi_connection_address)

    def initialize(self, config: Mapping[str, object]) -> Deferred[None]:
        """
        See whether somebody listens where the scripts are said to be.

        :returns: a Deferred that fails with :class:`.FastCGIError` if nobody does.
        """
        return Deferred.fromCoroutine(self._probe())

    async def _probe(self) -> None:
        try:
            await self._within(self._svc.timeout, self._server.probe())
        except FastCGIError as error:
            raise FastCGIError(f"fcgi_connection_address: {error}") from error

    async def ask(self, envelope: Envelope, task: Task) -> Result | None:
        """
        Have a script do a task.

        :returns: None if it agrees.
        """
        question = _QUESTIONS[task]
        script: str = getattr(self._config, question.script)
        output = Output()
        try:
            run = self._run(script, envelope, task, output)
            await self._within(self._svc.time_for(envelope), run)
            return _judge(bytes(output.stdout), question)
        except (FastCGIError, OSError) as error:
            self._svc.log.error(
                "{queued_id}: {script}: {cause}",
                queued_id=envelope.queued_id,
                script=script,
                cause=_cause(error, bytes(output.stdout)),
            )
            return STORE_UNAVAILABLE
        finally:
            self._log_complaints(script, envelope, bytes(output.stderr))

    def _within(self, seconds: float, work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        def too_late(_: object, timeout: float) -> T:
            raise FastCGIError(f"no answer after {timeout:.1f} seconds")

        if not seconds:
            work.close()
            raise FastCGIError("no time is left")
        return Deferred.fromCoroutine(work).addTimeout(seconds, self._svc.reactor, too_late)

    async def _run(self, script: str, envelope: Envelope, task: Task, output: Output) -> None:
        if task is Task.SAVE_MAIL:
            size = await self._svc.defer_to_worker(message_size, envelope)
            request = save_request(script, envelope, size)
        else:
            request = validate_request(script, envelope)
        exchange = Exchange(request, output)
        await self._server.connect(exchange)
        await exchange.ended

    def _log_complaints(self, script: str, envelope: Envelope, stderr: bytes) -> None:
        for line in stderr.splitlines()[:_MOST_LINES]:
            self._svc.log.warn(
                "{queued_id}: {script} complains: {line}",
                queued_id=envelope.queued_id,
                script=script,
                line=_shown(line),
            )


def _judge(stdout: bytes, question: _Question) -> Result | None:
    """
    :returns: None for yes.
    :raises FastCGIError: it is neither yes nor no.
    """
    status, text = parse_answer(stdout)
    if 200 <= status < 300 and text.startswith(question.yes):
        return None
    if status < 500 and text.startswith(_NO):
        return question.no
    raise FastCGIError(f"neither yes nor no (status {status})")


def _cause(error: Exception, stdout: bytes) -> str:
    """:returns: the error for a log line, and what the script said, if anything."""
    try:
        said = parse_answer(stdout).text
    except FastCGIError:
        said = stdout
    return f"{error}; the script said {_shown(said)}" if said else str(error)


def _shown(text: bytes) -> str:
    """:returns: the beginning, quoted, with all that is not printable escaped."""
    return repr(text[:_LONGEST_LINE].decode("utf-8", "backslashreplace"))
