"""``listen_interface``: addresses, endpoints, and what is refused."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import quoteStringArgument
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import ServerConfig
from guerrilla_tw.config.listen import (
    Endpoint,
    Interface,
    overlap,
    parse_interface,
    parse_listen_interface,
)

UNIX_FORM = "is not unix:path or unix:path:mode=660; in a path write \\: and \\="
SYSTEMD_FORM = "is not systemd:domain=INET:name=... or systemd:domain=INET:index=0"
OTHER_TLS = "brings TLS of its own; write host:port, and set tls.tls_always_on"
MODE = "the mode is not of three or four octal digits, such as 660"
BACKLOG = "the backlog is not a number from 1 to 65535"
LOCKFILE = "there is no lockfile: a socket that was left behind is told by itself"
PORT = "the port is not a number from 0 to 65535"


def unix(path: str, **named: str) -> Endpoint:
    return Endpoint("unix", (path,), tuple(named.items()))


class ParseTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        for text, interface in [
            ("localhost:2525", Interface("localhost", 2525)),
            (":25", Interface("", 25)),
            ("[0::1]:25", Interface("::1", 25)),
            ("tcp:25", Interface("", 25)),
            ("TCP:port=25", Interface("", 25)),
            ("tcp:25:interface=127.0.0.1", Interface("127.0.0.1", 25)),
            (r"tcp:25:interface=0\:\:1", Interface("::1", 25)),
            ("tcp6:25", Interface("::", 25)),
            (r"tcp6:port=0:interface=\:\:1", Interface("::1", 0)),
            ("tcp:25:backlog=50", Interface("", 25, backlog=50)),
            ("tcp6:25:backlog=65535", Interface("::", 25, backlog=65535)),
            # No endpoint of Twisted's own is called so.
            ("onion:25", Interface("onion", 25)),
        ]:
            self.assertEqual(parse_listen_interface(text), interface, text)

    def test_endpoints(self) -> None:
        for text, endpoint in [
            ("unix:/run/smtp", unix("/run/smtp")),
            ("unix:/run/smtp:mode=660", unix("/run/smtp", mode="660")),
            ("unix:/run/smtp:mode=0600", unix("/run/smtp", mode="0600")),
            ("unix:address=/run/smtp:mode=660", unix("/run/smtp", mode="660")),
            ("unix:/run/smtp:backlog=1", unix("/run/smtp", backlog="1")),
            (r"unix:C\:\\a\=b", unix(r"C:\a=b")),
            (
                "systemd:name=smtp:domain=INET6",
                Endpoint("systemd", (), (("domain", "INET6"), ("name", "smtp"))),
            ),
            (
                "systemd:domain=UNIX:index=0",
                Endpoint("systemd", (), (("domain", "UNIX"), ("index", "0"))),
            ),
            ("onion:public_port=25", Endpoint("onion", (), (("public_port", "25"),))),
            ("Onion:25:b=c=d:", Endpoint("onion", ("25", ""), (("b", "c=d"),))),
        ]:
            parsed = parse_listen_interface(text)
            self.assertEqual(parsed, endpoint, text)
            # Servers are known by it.
            self.assertEqual({parsed: 1}[endpoint], 1)

    def test_refused(self) -> None:
        for text, cause in [
            ("tcp", "is not tcp:port or tcp:port:interface=address"),
            ("tcp:25:127.0.0.1", "is not tcp:port or tcp:port:interface=address"),
            ("tcp6:25:mode=5", "is not tcp6:port or tcp6:port:interface=address"),
            ("tcp:25:backlog=", BACKLOG),
            ("tcp:25:backlog=0", BACKLOG),
            ("unix:/a:backlog=-1", BACKLOG),
            ("unix:/a:backlog=65536", BACKLOG),
            ("tcp:25:port=25", "is not tcp:port or tcp:port:interface=address"),
            ("tcp:smtp", PORT),
            ("tcp:", PORT),
            ("tcp:25:interface=127.1", "the host is not an IPv4 address"),
            ("unix:", "has no path behind unix:"),
            ("unix", "has no path behind unix:"),
            ("unix:mode=660", "has no path behind unix:"),
            ("unix:/a:b", UNIX_FORM),
            ("unix:/a=b", UNIX_FORM),
            ("unix:/a:address=/a", UNIX_FORM),
            ("unix:/a:lockfile=0", LOCKFILE),
            ("unix:/a:mode=66", MODE),
            ("unix:/a:mode=689", MODE),
            ("unix:/a\\", "ends in a backslash"),
            ("unix:/a\n", "holds a control character"),
            ("unix:/" + "x" * 107, "the path is longer than 107 octets"),
            ("systemd:", SYSTEMD_FORM),
            ("systemd:INET:index=0", SYSTEMD_FORM),
            ("systemd:domain=INET", SYSTEMD_FORM),
            ("systemd:index=0", SYSTEMD_FORM),
            ("systemd:domain=INET:index=0:name=a", SYSTEMD_FORM),
            ("systemd:domain=inet:index=0", "the domain is none of INET, INET6, UNIX"),
            ("systemd:domain=INET:index=-1", "the index is not a number"),
            ("ssl:25", f"the endpoint ssl {OTHER_TLS}"),
            ("tls:/etc/keys", f"the endpoint tls {OTHER_TLS}"),
            ("stdio:", "the endpoint stdio is no place where clients come; write host:port"),
            (
                "HAProxy:tcp:25",
                "the endpoint haproxy reads PROXY headers of its own; "
                "write host:port, and set proxyon",
            ),
            ("onion:a=\n", "holds a control character"),
            ("localhost:smtp", PORT),
            ("fe80::1:25", "an IPv6 address needs [brackets]"),
            ("a host:25", "the host is neither a name nor an address"),
            ("*:25:25", "an IPv6 address needs [brackets]"),
        ]:
            error = self.assertRaises(ValueError, parse_listen_interface, text)
            self.assertEqual(str(error), cause, text)

    @settings(deadline=None)
    @given(st.text())
    @example("unix:\\\\")
    @example("a:b:" + "\\" * 100)
    def test_anything(self, text: str) -> None:
        """It is read, or refused by a ValueError; an endpoint has a printable text."""
        try:
            place = parse_listen_interface(text)
        except ValueError:
            return
        self.assertIsInstance(place, (Interface, Endpoint))
        self.assertTrue(text.isprintable())

    @settings(deadline=None)
    @given(st.lists(st.text(st.characters(categories=["L", "N", "P", "S"])), min_size=2))
    def test_splits_as_twisted_quotes(self, arguments: list[str]) -> None:
        # Twisted leaves out "=", which has a meaning, too.
        quoted = [quoteStringArgument(each).replace("=", "\\=") for each in arguments]
        place = parse_listen_interface(":".join(["onion", *quoted]))
        self.assertEqual(place, Endpoint("onion", tuple(arguments), ()))

    def test_addresses_of_others_are_no_endpoints(self) -> None:
        """Of Redis, of FastCGI."""
        self.assertEqual(parse_interface("unix:/a:b\\c=d"), Interface(path="/a:b\\c=d"))
        self.assertEqual(parse_interface("tcp:6379"), Interface("tcp", 6379))
        self.assertRaises(ValueError, parse_interface, "tcp:6379:interface=127.0.0.1")


class OverlapTests(SynchronousTestCase):
    def test_overlap(self) -> None:
        for one, other, expected in [
            ("127.0.0.1:2525", "tcp:2525:interface=127.0.0.1", True),
            ("127.0.0.1:2525", "tcp:2525", True),
            ("tcp6:2525", "127.0.0.1:2525", True),
            ("[::1]:2525", "tcp:2525:interface=127.0.0.1", False),
            ("unix:/a/b", "unix:/a/../a/b:mode=660", True),
            ("unix:/a", "unix:/b", False),
            ("unix:/a", "unix:address=/a:backlog=5", True),
            (":25", "tcp:25:backlog=5", True),
            ("unix:/a", ":25", False),
            ("systemd:domain=INET:index=0", "systemd:index=0:domain=INET", True),
            ("systemd:domain=INET:index=0", "systemd:domain=INET:index=1", False),
            ("systemd:domain=INET:index=0", "unix:/a", False),
            ("onion:a=1:b=2", "onion:b=2:a=1", True),
            ("onion:a=1", "onion:a=2", False),
        ]:
            places = [parse_listen_interface(text) for text in (one, other)]
            self.assertEqual(overlap(*places), expected, (one, other))
            self.assertEqual(overlap(*reversed(places)), expected, (other, one))


class PlaceTests(SynchronousTestCase):
    """How a place is told to people."""

    def test_what_a_plugin_takes_may_be_a_secret(self) -> None:
        for text, place in (
            ("127.0.0.1:25", "127.0.0.1:25"),
            ("unix:/run/x:mode=660", "unix:/run/x:mode=660"),
            ("systemd:domain=INET:name=smtp", "systemd:domain=INET:name=smtp"),
            ("tunnel:25261:key=s3cret", "tunnel:..."),
        ):
            self.assertEqual(ServerConfig(listen_interface=text).place, place)
