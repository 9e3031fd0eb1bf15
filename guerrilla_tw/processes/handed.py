"""What the supervisor has opened, as a worker has it."""

from __future__ import annotations

from socket import socket as socket_of
from typing import NamedTuple

from guerrilla_tw.config.listen import parse_listen_interface
from guerrilla_tw.listening import ListeningSocket
from guerrilla_tw.listening.shared_ports import Rota
from guerrilla_tw.processes.crowd import Member
from guerrilla_tw.servers.wanted import Place
from guerrilla_tw.smtp.server import Tally


class _Handed(NamedTuple):
    """
    For a server to come.

    :param socket: that it is to listen by.
    :param server: its number.
    """

    socket: ListeningSocket
    server: int


class HandedSockets:
    """
    Sockets, and numbers of servers.

    :param member: this process, and the others.
    :param rota: says when to accept.
    """

    def __init__(self, member: Member, rota: Rota) -> None:
        self._member = member
        self._rota = rota
        self._handed: dict[Place, _Handed] = {}

    def take(self, place: str, descriptor: int, server: int) -> None:
        """
        Keep a socket for a server to come.

        :param place: its ``listen_interface``.
        :param descriptor: of the socket.
        :param server: its number.
        """
        listening = socket_of(fileno=descriptor)
        # What a processor starts would keep the place when the daemon is no more.
        listening.set_inheritable(False)
        self._handed[parse_listen_interface(place)] = _Handed(
            ListeningSocket(listening, rota=self._rota), server
        )

    def tally_for(self, text: str) -> Tally:
        """See :class:`.Handed`. To be asked before :meth:`socket_for`."""
        return self._member.tally(self._handed[parse_listen_interface(text)].server)

    def socket_for(self, text: str) -> ListeningSocket:
        """See :class:`.Handed`."""
        return self._handed.pop(parse_listen_interface(text)).socket

    def forget(self) -> None:
        """There will be no such servers."""
        while self._handed:
            self._handed.popitem()[1].socket.close()
