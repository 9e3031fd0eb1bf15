"""``twistd guerrilla``: from the command line to a service."""

from __future__ import annotations

import pwd
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from twisted.logger import LogPublisher
from twisted.python import usage

from guerrilla_tw.config import ConfigError
from guerrilla_tw.daemon import Guerrilla
from guerrilla_tw.logs.twistd import TwistdLogs
from guerrilla_tw.sources import Source
from guerrilla_tw.twistd_service import TwistdDaemon
from guerrilla_tw.users import User

if TYPE_CHECKING:
    from guerrilla_tw.processes.supervisor import Supervisor


class Options(usage.Options):
    """The options of ``twistd guerrilla``."""

    synopsis = "[options]"
    # twistd fills the lines anew, so paragraphs would be lost.
    longdesc = (
        "Receives mail by ESMTP and runs it through the processors that save_process names in the "
        "configuration, and answers 250 when each has said yes and what it stores is stored. "
        "The configuration is go-guerrilla's JSON; without one, a server on 127.0.0.1:2525 takes "
        "mail for this host's name and stores it in guerrilla.sqlite3 in the current directory. "
        "The processors and their settings are listed by: python -m guerrilla_tw processors. "
        "SIGHUP reads the configuration file again, SIGUSR1 opens log files again, SIGTERM and "
        "SIGINT let clients finish and end, and a second one of these ends at once. "
        "To stay in the foreground: twistd --nodaemon --pidfile= guerrilla --config config.json"
    )

    optParameters: ClassVar = [
        ["config", "c", None, "The configuration file (JSON)."],
    ]
    optFlags: ClassVar = [
        ["check", None, "Only check the configuration: say what is wrong, or that nothing is."],
    ]


def makeService(options: Options) -> TwistdDaemon:
    """
    Make the service that the command line asks for.

    :raises SystemExit: the configuration cannot be used (one line, status 1); or was only to
        be checked (status 0).
    """
    # Not before it is needed: whoever imports this may choose another.
    from twisted.internet import reactor

    file = options["config"] or ""
    parent: Any = options.parent
    try:
        if options["check"]:
            _check(file)
        # "python -m twisted" has no such options.
        twistd = {} if parent is None else parent
        user = future_user(twistd)
        logs = TwistdLogs(parent, user)
        make = _daemon_for(file)
        daemon = make(file or None, reactor=reactor, logs=logs, user=user, owns_process=True)
        logs.commit(logs.prepare(daemon.config))
        daemon.check_limits(daemon.config)
        daemon.check()
    except ConfigError as error:
        raise SystemExit(str(error.in_file(file))) from None
    return TwistdDaemon(daemon, twistd, logs, user, reactor)


def _daemon_for(file: str) -> type[Guerrilla] | type[Supervisor]:
    """:raises ConfigError: the configuration cannot be read."""
    if Source(file or None).read().config.processes == 1:
        return Guerrilla
    from guerrilla_tw.processes.supervisor import Supervisor

    return Supervisor


def future_user(twistd: Mapping[str, Any]) -> User:
    """
    Find out whom twistd is about to change to.

    :param twistd: its options; empty under ``python -m twisted``.
    :raises ConfigError: there is no such user.
    """
    uid, gid = twistd.get("uid"), twistd.get("gid")
    if uid is not None:
        try:
            main_group = pwd.getpwuid(uid).pw_gid
        except KeyError:
            raise ConfigError(f"there is no user {uid}", "--uid") from None
        gid = main_group if gid is None else gid
    return User(-1 if uid is None else uid, -1 if gid is None else gid)


def _check(file: str) -> NoReturn:
    """Say on standard output that a configuration is good, and end. No log file is opened."""
    name = file or "the default configuration"
    for warning in _daemon_for(file)(file or None, observer=LogPublisher()).check():
        print(f"{name}: warning: {warning}")
    print(f"{name}: OK")
    raise SystemExit(0)
