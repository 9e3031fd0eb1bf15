"""
The daemon inside a program of your own, with a processor of your own.

Run it with ``python examples/funky_logger.py``, send mail to 127.0.0.1:2525 and watch what it says.
Ctrl-C ends it. Mail is stored in ``guerrilla.sqlite3`` in the current directory.

In a program that has a Twisted application already, :func:`make_daemon` is all that is needed::

    application = service.Application("funky")
    make_daemon("127.0.0.1:2525").setServiceParent(application)
"""

from __future__ import annotations

import sys

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import react
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver
from zope.interface import implementer

from guerrilla_tw import (
    Config,
    Decorator,
    Envelope,
    Guerrilla,
    IBackendService,
    IProcessor,
    IResult,
    ServerConfig,
    Task,
)


@implementer(IProcessor)
class FunkyLogger:
    """
    Logs each task and what came of it. It asks the rest of the chain, and hands on the answer.

    Most processors need no class: ``my_foo.py`` shows the shorter way. This is the way for one
    that must see the answer, too.

    :param following: the rest of the chain.
    :param log: where to log.
    """

    def __init__(self, following: IProcessor, log: Logger) -> None:
        self._following = following
        self._log = log

    def process(self, envelope: Envelope, task: Task) -> IResult | Deferred[IResult]:
        """Runs on the reactor's thread, so it must not block."""
        # Client text goes in as a value, never into the format; !r keeps it to one line.
        if task is Task.VALIDATE_RCPT:
            self._log.info("funky: is there {rcpt!r}?", rcpt=str(envelope.rcpt_to[-1]))
        else:
            self._log.info(
                "funky: {octets} octets from {sender!r}",
                octets=envelope.size,
                sender=str(envelope.mail_from),
            )
        # The chain answers at once, or with a Deferred where one of its processors waits.
        result = self._following.process(envelope, task)
        if isinstance(result, Deferred):
            return result.addCallback(self._answered)
        return self._answered(result)

    def _answered(self, result: IResult) -> IResult:
        self._log.info("funky: {code} {text}", code=result.code, text=result.text)
        return result


def funky_logger(svc: IBackendService) -> Decorator:
    """Log each task and what came of it."""
    return lambda following: FunkyLogger(following, svc.log)


def make_daemon(interface: str) -> Guerrilla:
    """
    Make the daemon, not yet started.

    :param interface: where it listens: ``host:port``.
    """
    config = Config(
        allowed_hosts=(".",),
        servers=(ServerConfig(is_enabled=True, listen_interface=interface),),
        backend_config={
            "save_process": "FunkyLogger|HeadersParser|Hasher|Header|Sql",
            "validate_process": "FunkyLogger",
            "sql_dsn": "guerrilla.sqlite3",
            "mail_table": "new_mail",
        },
    )
    daemon = Guerrilla(config)
    daemon.add_processor("FunkyLogger", funky_logger)
    return daemon


def main(reactor: IReactorCore, interface: str = "127.0.0.1:2525") -> Deferred[None]:
    """
    Run until somebody stops the reactor.

    :returns: a Deferred that fails if the daemon cannot start, which ends the program.
    """
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
    daemon = make_daemon(interface)
    # The reactor waits for it: what was accepted is finished, and clients are told goodbye.
    reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
    return daemon.startService().addCallback(lambda _: Deferred())


if __name__ == "__main__":
    react(main, sys.argv[1:])
