"""What a supervisor starts."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any, NoReturn

from twisted.internet.protocol import Factory
from twisted.logger import globalLogBeginner

from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.config import Config
from guerrilla_tw.house import House
from guerrilla_tw.logs import Logs, Outlet
from guerrilla_tw.logs.elsewhere import HandOver, Places
from guerrilla_tw.logs.twistd import ProgramObserver
from guerrilla_tw.memory import claim_memory
from guerrilla_tw.process import check_file_limit, raise_file_limit
from guerrilla_tw.processes.control import CONTROL
from guerrilla_tw.processes.crowd import Member
from guerrilla_tw.processes.fair_share import Bell, FairShare
from guerrilla_tw.processes.handed import HandedSockets
from guerrilla_tw.processes.worker import Worker, stop
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.signals import Signals
from guerrilla_tw.users import SAME_USER


def main(number: int, size: int) -> None:
    """
    Serve until the supervisor says otherwise, or is no more.

    :param number: of the worker, from 1 on.
    :param size: how many workers there are.
    """
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    member = Member.of_process(number, size)
    share = FairShare(member, reactor)
    Bell(member.bell, share.wake, reactor)
    handed = HandedSockets(member, share)

    def make_house(places: Places, worker: Worker) -> House:
        logs = _open_logs(places, worker)
        return House(
            reactor,
            logs,
            Registry(BUILTIN),
            None,
            _check_limits,
            SAME_USER,
            handed=handed,
            files=worker.files,
        )

    factory = Factory.forProtocol(lambda: Worker(reactor, handed, make_house))
    factory.noisy = False
    reactor.adoptStreamConnection(CONTROL, socket.AF_UNIX, factory)
    os.close(CONTROL)
    reactor.callWhenRunning(_watch_endings, reactor)
    reactor.run()


def _open_logs(places: Places, worker: Worker) -> Logs:
    handed: Any = HandOver(worker.log)
    logs = Logs(handed, places.open_streams(), directory=places.directory)
    if places.are_none:
        logs = Logs.for_observer(handed)
    observer: Any = ProgramObserver(Outlet(logs.current, None))
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=False, redirectStandardIO=False)
    return logs


def _check_limits(config: Config) -> None:
    """:raises ConfigError: the process may not have the clients of a configuration."""
    claim_memory()
    raise_file_limit(config)
    check_file_limit(config)


def _watch_endings(reactor: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        # The reactor's own fails where the supervisor has told us before, as when all processes of
        # a terminal or a group are told to end.
        if callable(signal.getsignal(number)):
            signal.signal(number, lambda *_: reactor.callFromThread(stop, reactor))
    Signals(reactor, {}, _end_at_once).watch_endings()


def _end_at_once(number: int) -> NoReturn:
    os._exit(128 + number)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
