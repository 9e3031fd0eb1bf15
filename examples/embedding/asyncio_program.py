"""
The daemon in an asyncio program: a coroutine of the program's handles each message.

    python asyncio_program.py

Send mail for example.com to 127.0.0.1:2525; the program prints what each message is about. Another
port: ``python asyncio_program.py 2526``. Ctrl-C ends it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from twisted.internet import asyncioreactor

# First of all: other modules of Twisted's install its default reactor when they are imported.
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
asyncioreactor.install(loop)

from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.task import react  # noqa: E402
from twisted.logger import globalLogBeginner, textFileLogObserver  # noqa: E402

from guerrilla_tw import (  # noqa: E402
    Decorator,
    Envelope,
    Guerrilla,
    IBackendService,
    IResult,
    Task,
    process_with_deferred,
)

# A message, and what to tell when it has been handled.
Job = tuple[Envelope, "asyncio.Future[IResult | None]"]


class Queue:
    """
    A processor that leaves messages in a queue, and answers when they have been handled.

    Not before: a client that has its 250 forgets the message.
    """

    def __init__(self) -> None:
        self.jobs: asyncio.Queue[Job] = asyncio.Queue()

    def make_processor(self, svc: IBackendService) -> Decorator:
        """For :meth:`.Guerrilla.add_processor`."""
        # The warning that mail is not kept would be wrong if handle() kept it.
        svc.declare_store()
        return process_with_deferred(self._put)

    def _put(self, envelope: Envelope, task: Task) -> Deferred[IResult | None] | None:
        if task is not Task.SAVE_MAIL:
            return None
        done: asyncio.Future[IResult | None] = loop.create_future()
        self.jobs.put_nowait((envelope, done))
        return Deferred.fromFuture(done)


async def handle(envelope: Envelope) -> IResult | None:
    """
    Do what the program is for, with whatever of asyncio's it likes.

    :returns: a :class:`.Result` to refuse the message; None to accept it.
    """
    await asyncio.sleep(0)
    # What a sender wrote is shown as a literal: it may hold control characters.
    print(f"{envelope.size} octets: {envelope.subject!r}", flush=True)
    return None


async def handle_all(jobs: asyncio.Queue[Job]) -> None:
    """Handle one message after the other. Start it several times to handle several at once."""
    while True:
        envelope, done = await jobs.get()
        try:
            done.set_result(await handle(envelope))
        except Exception as error:
            # It is logged, and the client is told to try again.
            done.set_exception(error)


def make_daemon(queue: Queue, port: int) -> Guerrilla:
    """Make the daemon, not yet started."""
    daemon = Guerrilla(
        {
            "allowed_hosts": ["example.com"],
            "backend_config": {"save_process": "HeadersParser|Queue", "save_workers_size": 10},
            "servers": [{"is_enabled": True, "listen_interface": f"127.0.0.1:{port}"}],
        }
    )
    daemon.add_processor("Queue", queue.make_processor)
    return daemon


async def run(reactor: Any, port: int) -> None:
    """Run until somebody stops the reactor. It is a coroutine of asyncio's."""
    queue = Queue()
    daemon = make_daemon(queue, port)
    worker = loop.create_task(handle_all(queue.jobs))

    async def stop() -> None:
        # In this order: the messages that were accepted are handled.
        await daemon.stopService().asFuture(loop)
        worker.cancel()
        await asyncio.wait([worker])

    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: Deferred.fromFuture(loop.create_task(stop()))
    )
    await daemon.startService().asFuture(loop)
    await asyncio.wait([worker])


def main(reactor: Any, port: str = "2525") -> Deferred[None]:
    """:returns: a Deferred that fails if the daemon cannot start, which ends the program."""
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    return Deferred.fromFuture(loop.create_task(run(reactor, int(port))))


if __name__ == "__main__":
    # It runs the loop, too.
    react(main, sys.argv[1:])
