"""
The daemon in an Application of your own, beside whatever else the Application has.

    twistd --nodaemon --pidfile= --python daemon.tac

Mail for example.com to 127.0.0.1:2525 is stored in mail.sqlite3 in the current directory. Another port
comes from the environment: MAIL_PORT=2526.
"""

from __future__ import annotations

import os

from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from guerrilla_tw import Guerrilla


class Mail(Guerrilla):
    """The daemon; the process ends when it cannot start."""

    def startService(self) -> Deferred[None]:
        """An Application does not look at what its services return, so it is done here."""
        return super().startService().addErrback(self._give_up)

    def _give_up(self, failure: Failure) -> None:
        # The log has the reason already.
        reactor.callWhenRunning(reactor.stop)


application = Application("my program")
daemon = Mail(
    {
        "allowed_hosts": ["example.com"],
        "backend_config": {
            "save_process": "HeadersParser|Hasher|Header|Sql",
            "sql_dsn": "mail.sqlite3",
            "mail_table": "new_mail",
        },
        "servers": [
            {
                "is_enabled": True,
                "listen_interface": "127.0.0.1:" + os.environ.get("MAIL_PORT", "2525"),
            }
        ],
    }
)
daemon.setServiceParent(application)
