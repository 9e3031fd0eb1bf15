"""
Asks the kernel which clients have something for us, or room for more.

A reactor sets up a context for its log around each single event, which takes as long as all that is
done with a command. So the connections of a place are watched by an epoll of their own, and the
reactor watches that: it is one event, however many clients have something.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, ClassVar

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

#: Whether there can be a :class:`Poller`. Elsewhere than on Linux the reactor does its work.
IS_SUPPORTED = hasattr(select, "epoll")


@implementer(IReactorFDSet, IReadDescriptor)
class Poller:
    """
    The reactor of a port and of its connections, as far as they ask anything of a reactor.

    :param reactor: watches this, and has the timers.
    """

    # As a reactor's own: to the log of the program, whosesoever connection it is.
    _log: ClassVar = Logger("guerrilla_tw")

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._epoll = select.epoll()
        # By the numbers of their descriptors.
        self._watched: dict[int, Any] = {}
        self._masks: dict[int, int] = {}
        self._is_ending = False
        reactor.addReader(self)

    def end(self) -> None:
        """Be there for those only who are here already; some of them may be paused."""
        self._is_ending = True
        if not self._watched:
            self._reactor.removeReader(self)

    # IReactorTime, as much of it as is needed

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object
    ) -> IDelayedCall:
        """As the reactor."""
        call: IDelayedCall = self._reactor.callLater(delay, callable, *args, **kwargs)
        return call

    # IReactorFDSet

    def addReader(self, reader: Any) -> None:
        """Tell it when there is something to read."""
        self._watch(reader, select.EPOLLIN)

    def addWriter(self, writer: Any) -> None:
        """Tell it when there is room to write."""
        self._watch(writer, select.EPOLLOUT)

    def removeReader(self, reader: Any) -> None:
        """Tell it no more of what there is to read."""
        self._watch_no_more(reader, select.EPOLLIN)

    def removeWriter(self, writer: Any) -> None:
        """Tell it no more of room."""
        self._watch_no_more(writer, select.EPOLLOUT)

    def removeAll(self) -> list[Any]:
        """:returns: those that were watched."""
        watched = list(self._watched.values())
        for each in watched:
            self._watch_no_more(each, select.EPOLLIN | select.EPOLLOUT)
        return watched

    def getReaders(self) -> list[Any]:
        """:returns: those that are told when there is something to read."""
        return self._with(select.EPOLLIN)

    def getWriters(self) -> list[Any]:
        """:returns: those that are told when there is room."""
        return self._with(select.EPOLLOUT)

    def _with(self, flag: int) -> list[Any]:
        return [each for number, each in self._watched.items() if self._masks[number] & flag]

    def _watch(self, connection: Any, flag: int) -> None:
        number = connection.fileno()
        if self._watched.get(number) is not connection:
            self._epoll.register(number, flag)
            if self._is_ending and not self._watched:
                self._reactor.addReader(self)
            self._watched[number] = connection
            self._masks[number] = flag
        elif not self._masks[number] & flag:
            self._masks[number] |= flag
            self._epoll.modify(number, self._masks[number])

    def _watch_no_more(self, connection: Any, flag: int) -> None:
        number = connection.fileno()
        if self._watched.get(number) is not connection or not self._masks[number] & flag:
            return
        mask = self._masks[number] = self._masks[number] & ~flag
        if mask:
            self._epoll.modify(number, mask)
            return
        # Not watched for nothing, since the kernel tells of an end in any case.
        del self._watched[number], self._masks[number]
        self._epoll.unregister(number)
        if self._is_ending and not self._watched:
            self._reactor.removeReader(self)

    # IReadDescriptor

    def fileno(self) -> int:
        """:returns: the number of the epoll."""
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        """:returns: what stands in lines of Twisted's."""
        return "guerrilla_tw"

    def doRead(self) -> None:
        """Some have something for us, or room for more."""
        for number, events in self._epoll.poll(0, len(self._watched) or 1):
            connection = self._watched.get(number)
            # One that came before it in this turn may have ended it.
            if connection is not None:
                try:
                    if events == select.EPOLLIN:
                        why, was_read = connection.doRead(), True
                    else:
                        why, was_read = self._tell(connection, number, events)
                except BaseException as error:  # As in a reactor.
                    self._log.failure("a connection failed, and is closed")
                    why, was_read = error, False
                if why is not None:
                    self._disconnect(connection, why, was_read)

    def _tell(self, connection: Any, number: int, events: int) -> tuple[Any, bool]:
        """:returns: why it is no more, None if it is; and whether that was found by reading."""
        if not events & (select.EPOLLIN | select.EPOLLOUT):
            # The kernel tells of an end, and nothing is left to be read.
            is_reading = bool(self._masks[number] & select.EPOLLIN)
            return (CONNECTION_DONE if is_reading else CONNECTION_LOST), is_reading
        if events & select.EPOLLIN:
            why = connection.doRead()
            # By now it may not be watched for room any more.
            if why is not None or not self._masks.get(number, 0) & events & select.EPOLLOUT:
                return why, True
        return connection.doWrite(), False

    def _disconnect(self, connection: Any, why: BaseException, was_read: bool) -> None:
        """As a reactor: who has said all may still listen."""
        self.removeReader(connection)
        if was_read and isinstance(why, ConnectionDone):
            self._tell_end(connection.readConnectionLost, Failure(why))
        else:
            self.removeWriter(connection)
            self._tell_end(connection.connectionLost, Failure(why))

    def _tell_end(self, tell: Callable[[Failure], object], reason: Failure) -> None:
        """Whatever comes of it, the others stay: a reactor would end all of them with us."""
        try:
            tell(reason)
        except BaseException:
            self._log.failure("a connection failed at its end")

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops: so it is the end for all."""
        for connection in self.removeAll():
            self._tell_end(connection.connectionLost, reason)
