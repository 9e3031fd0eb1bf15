"""Endpoints of plugins: found, judged, and held back, whatever they can do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.plugin import IPlugin
from zope.interface import implementer

import twisted.plugins
from guerrilla_tw.config import ConfigError
from guerrilla_tw.listening import check_interface
from tests.listening.support import GREETING, ListenerTestCase

ADDRESS = IPv4Address("TCP", "192.0.2.1", 25)


class Hidden:
    """An address that Twisted does not know."""


@implementer(IListeningPort)
class Port:
    """
    Can only be stopped.

    :param address: where it is.
    """

    def __init__(self, address: Any = ADDRESS) -> None:
        self._address = address
        self.stopped = False

    def startListening(self) -> None:
        """Nobody calls it."""

    def stopListening(self) -> Deferred[None]:
        """Remember it."""
        self.stopped = True
        return succeed(None)

    def getHost(self) -> Any:
        """:returns: the address."""
        return self._address


@implementer(IStreamServerEndpoint)
class Endpoint:
    """
    Listens as a test says.

    :ivar result: of listening.
    :ivar factory: that it was given.
    """

    def __init__(self) -> None:
        self.result: Deferred[IListeningPort] = Deferred()
        self.factory: Any = None

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Remember the factory."""
        self.factory = protocolFactory
        return self.result

    def connect(self) -> StringTransport:
        """:returns: what a new client gets."""
        transport = StringTransport()
        self.factory.buildProtocol(ADDRESS).makeConnection(transport)
        return transport


@implementer(IPlugin, IStreamServerEndpointStringParser)
class Parser:
    """
    The plugin.

    :ivar endpoint: that it gives next.
    """

    prefix = "made"
    endpoint: Any = None

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> IStreamServerEndpoint:
        """:raises TypeError: there is an argument too many."""
        return self._parse(*args, **kwargs)

    def _parse(self, key: str) -> IStreamServerEndpoint:
        endpoint: IStreamServerEndpoint = self.endpoint
        return endpoint


PARSER = Parser()
PLUGIN = f"from {__name__} import PARSER\n"


class PluginTestCase(ListenerTestCase):
    """A test with an endpoint of a plugin."""

    def setUp(self) -> None:
        super().setUp()
        plugins = Path(self.mktemp()).absolute()
        plugins.mkdir()
        name = f"guerrilla_made_{plugins.parent.name}"
        (plugins / f"{name}.py").write_text(PLUGIN)
        path = [*twisted.plugins.__path__, str(plugins)]
        self.patch(twisted.plugins, "__path__", path)
        self.addCleanup(sys.modules.pop, f"twisted.plugins.{name}", None)
        self.endpoint = Endpoint()
        self.patch(PARSER, "endpoint", self.endpoint)


class CheckTests(PluginTestCase):
    def test_good(self) -> None:
        """Nothing listens; of systemd's sockets none need be there; a mode is for later."""
        for text in (
            "127.0.0.1:25",
            "tcp:25",
            "unix:/nonexistent/directory/socket",
            "systemd:domain=INET:name=smtp",
            "made:key=secret",
        ):
            check_interface(text, reactor)
        self.assertIs(self.endpoint.factory, None)

    def test_bad(self) -> None:
        for text, cause in [
            ("nome:key=1", "the endpoint nome cannot be used: Unknown endpoint type: 'nome'"),
            (
                "made:kye=secret",
                "the endpoint made cannot be used: got an unexpected keyword argument 'kye'",
            ),
        ]:
            error = self.assertRaises(ConfigError, check_interface, text, reactor)
            self.assertEqual((error.path, error.cause), ("listen_interface", cause))
            self.assert_refused(text, cause)


class HoldingTests(PluginTestCase):
    def test_port_that_cannot_wait(self) -> None:
        self.endpoint.result = succeed(Port())
        listener = self.listen("made:key=secret")
        self.successResultOf(listener.ready())
        self.assertEqual((listener.address, listener.name), (ADDRESS, "192.0.2.1:25"))
        early = self.endpoint.connect()
        self.assertTrue(early.disconnecting)
        self.assertEqual((early.value(), self.sessions.begun), (b"", 0))
        listener.answer()
        self.assertEqual(self.endpoint.connect().value(), GREETING)
        self.sessions.open = 0

    def test_port_that_cannot_wait_at_the_end(self) -> None:
        """Who comes then is told, too, although the daemon never came to serve."""
        self.endpoint.result = succeed(Port())
        listener = self.listen("made:key=secret")
        listener.accept_waiting()
        self.assertEqual(self.endpoint.connect().value(), GREETING)
        self.sessions.open = 0

    async def test_port_of_twisted(self) -> None:
        """It waits, as others do."""
        place = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")

        def listen(factory: IProtocolFactory) -> Deferred[IListeningPort]:
            listening: Deferred[IListeningPort] = place.listen(factory)
            return listening

        self.patch(self.endpoint, "listen", listen)
        listener = self.take("made:key=secret")
        client = self.connect(listener.address)
        listener.accept_waiting()
        await listener.close()
        self.assertEqual(await deferToThread(client.recv, 100), GREETING)

    def test_name_of_an_address_that_nobody_knows(self) -> None:
        """It may be anything, and the setting may have a secret in it."""
        self.endpoint.result = succeed(Port(Hidden()))
        self.assertEqual(self.listen("made:key=secret").name, "made")


class WaitingTests(PluginTestCase):
    def test_ready_later(self) -> None:
        listener = self.listen("made:key=secret")
        ready = listener.ready()
        self.assertNoResult(ready)
        self.endpoint.result.callback(Port())
        self.successResultOf(ready)
        self.assertEqual(listener.address, ADDRESS)

    def test_fails_later(self) -> None:
        listener = self.listen("made:key=secret")
        self.endpoint.result.errback(RuntimeError("no tor"))
        error = self.failureResultOf(listener.ready(), ConfigError).value
        self.assertEqual(str(error), "listen_interface: cannot listen on made:...: no tor")

    def test_fails_at_once(self) -> None:
        """In whatever way."""
        self.endpoint.result = fail(RuntimeError())
        self.assert_refused("made:key=secret", "cannot listen on made:...: RuntimeError")

        def listen(factory: IProtocolFactory) -> Deferred[IListeningPort]:
            raise RuntimeError("no tor")

        self.patch(self.endpoint, "listen", listen)
        self.assert_refused("made:key=secret", "cannot listen on made:...: no tor")

    def test_closed_before_it_is_ready(self) -> None:
        port = Port()
        listener = self.take("made:key=secret")
        # As a start does that is told to stop.
        ready = listener.ready().addErrback(lambda _: None)
        ready.cancel()
        listener.accept_waiting()
        self.successResultOf(listener.close())
        self.assertFalse(port.stopped)
        self.endpoint.result.callback(port)
        self.assertTrue(port.stopped)

    def test_closed_before_it_fails(self) -> None:
        """Nobody wants to know any more."""
        listener = self.take("made:key=secret")
        self.successResultOf(listener.close())
        self.endpoint.result.errback(RuntimeError("no tor"))
        self.successResultOf(listener.ready())
