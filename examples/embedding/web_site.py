"""
The daemon beside a web site: a page shows how many messages came, and what the newest are about.

    python web_site.py

Then open http://127.0.0.1:8080/ and send mail for example.com to 127.0.0.1:2525. It is stored in
mail.sqlite3 in the current directory. Other ports: ``python web_site.py 2526 8081``.
"""

from __future__ import annotations

import sys
from collections import deque
from html import escape
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import react
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from guerrilla_tw import Decorator, Envelope, Guerrilla, IBackendService, Task, process_with


class NewestMail(Resource):
    """
    A page, and the processor that tells it what came.

    Both run on the reactor's thread, so they need no lock.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._subjects: deque[str] = deque(maxlen=10)

    def make_processor(self, svc: IBackendService) -> Decorator:
        """For :meth:`.Guerrilla.add_processor`."""
        return process_with(svc, self._take, nonblocking=True)

    def _take(self, envelope: Envelope, task: Task) -> None:
        if task is Task.SAVE_MAIL:
            self._count += 1
            self._subjects.appendleft(envelope.subject)

    def render_GET(self, request: Request) -> bytes:
        """What a sender wrote is escaped: it may be HTML, and is not ours."""
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        rows = "".join(f"<li>{escape(subject)}</li>" for subject in self._subjects)
        page = f"<!DOCTYPE html><title>Mail</title><p>{self._count} messages</p><ul>{rows}</ul>"
        return page.encode("utf-8")


def make_daemon(page: NewestMail, port: int) -> Guerrilla:
    """
    Make the daemon, not yet started.

    :param page: is told of each message when it is stored.
    """
    daemon = Guerrilla(
        {
            "allowed_hosts": ["example.com"],
            "backend_config": {
                "save_process": "HeadersParser|Hasher|Header|Sql|NewestMail",
                "sql_dsn": "mail.sqlite3",
                "mail_table": "new_mail",
            },
            "servers": [{"is_enabled": True, "listen_interface": f"127.0.0.1:{port}"}],
        }
    )
    daemon.add_processor("NewestMail", page.make_processor)
    return daemon


async def main(reactor: Any, mail_port: str = "2525", web_port: str = "8080") -> None:
    """Run until somebody stops the reactor. What it raises ends the program with status 1."""
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    page = NewestMail()
    daemon = make_daemon(page, int(mail_port))
    # The reactor waits for it: what was accepted is finished, and clients are told goodbye.
    reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
    await daemon.startService()
    web = TCP4ServerEndpoint(reactor, int(web_port), interface="127.0.0.1")
    port = await web.listen(Site(page))
    print(f"see http://127.0.0.1:{port.getHost().port}/", flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
