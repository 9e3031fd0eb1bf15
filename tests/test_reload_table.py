"""Each row of ``docs/reload.csv``: what a reload does with another value of the setting."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw import ConfigError, Envelope, IBackendService, IResult, Result, Task, process_with
from guerrilla_tw.backends.chain import process_with_deferred
from guerrilla_tw.backends.registry import Decorator, Registry
from guerrilla_tw.inventory import list_processors
from guerrilla_tw.logs import Logs
from guerrilla_tw.processors import BUILTIN
from tests.reload_support import (
    Client,
    MixedClock,
    ReloadTestCase,
    config,
    new_interface,
    server,
)
from tests.smtp.certificates import Identity, issue
from tests.smtp.tls_connection import client_context

TABLE = Path(__file__).resolve().parent.parent / "docs" / "reload.csv"
NEW = "for new connections"
BACKEND = "with the backend"


def rows() -> dict[str, tuple[str, str]]:
    """:returns: whether it is applied, and how, by the setting."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["setting"]: (row["applied"], row["note"]) for row in csv.DictReader(file)}


def processors_settings() -> list[str]:
    """:returns: their names."""
    processors = list_processors(Registry(BUILTIN))
    return sorted({setting.name for each in processors for setting in each.settings})


def method_name(setting: str) -> str:
    """:returns: the test of a row."""
    return "test_" + re.sub(r"\W+", "_", setting)


class TableTestCase(ReloadTestCase):
    """A test for each row; what it shows is what the row has to say."""

    def setUp(self) -> None:
        super().setUp()
        row = {method_name(name): row for name, row in rows().items()}[self._testMethodName]
        self.assertEqual(row[0] == "no", row[1].startswith("refused"))
        self.note = row[1]

    def assert_at_once(self) -> None:
        """The row says so."""
        self.assertRegex(self.note, "^at once")

    async def both(
        self, before: dict[str, Any], after: dict[str, Any], **arguments: Any
    ) -> tuple[Client, Client]:
        """
        Have a client before a reload, and one after it.

        :param before: settings of the only server.
        :param after: those that it has then.
        :returns: both clients, who have said EHLO.
        """
        self.assertTrue(self.note.startswith(NEW), self.note)
        old = await self.begin(before, **arguments)
        await self.reload(server(**after))
        return old, await self.greeted()

    async def begin(self, before: dict[str, Any], **arguments: Any) -> Client:
        """:returns: a client who has said EHLO to a server with these settings."""
        self.make(config(server(**before)), **arguments)
        await self.daemon.startService()
        return await self.greeted()


class WholeTests(TableTestCase):
    async def test_allowed_hosts(self) -> None:
        self.assertEqual(self.note, "at the next RCPT, also of open connections")
        await self.start(allowed_hosts=["old.example"])
        client = await self.greeted()
        await client.command("MAIL FROM:<>")
        await self.reload(allowed_hosts=["new.example"])
        self.assertEqual((await client.command("RCPT TO:<a@old.example>"))[:9], "550 5.7.1")
        self.assertEqual((await client.command("RCPT TO:<a@new.example>"))[:3], "250")

    async def logging(self, before: dict[str, Any], after: dict[str, Any]) -> Client:
        """Reload with log files. :returns: a client from before, who has sent a message since."""
        self.make(config(**before), logs=Logs())
        await self.daemon.startService()
        client = await self.greeted()
        await self.reload(**after)
        await client.deliver("after")
        return client

    async def test_log_file(self) -> None:
        self.assert_at_once()
        old, new = self.mktemp(), self.mktemp()
        await self.logging({"log_file": old}, {"log_file": new})
        self.assertIn("listening on", Path(old).read_text())
        self.assertNotIn("message client_ip", Path(old).read_text())
        self.assertIn("message client_ip", Path(new).read_text())

    async def test_processes(self) -> None:
        self.assertEqual(self.note, "refused; restart")
        await self.start()
        with self.assertRaises(ConfigError) as caught:
            await self.reload(processes=2)
        self.assertEqual(caught.exception.path, "processes")

    async def test_log_level(self) -> None:
        self.assert_at_once()
        path = self.mktemp()
        await self.logging(
            {"log_file": path, "log_level": "info"}, {"log_file": path, "log_level": "error"}
        )
        self.assertIn("listening on", Path(path).read_text())
        self.assertNotIn("message client_ip", Path(path).read_text())

    async def test_log_format(self) -> None:
        self.assert_at_once()
        path = self.mktemp()
        await self.logging({"log_file": path}, {"log_file": path, "log_format": "json"})
        lines = Path(path).read_text().splitlines()
        self.assertRegex(lines[0], r"#(info|warn)\] ")
        self.assertEqual(json.loads(lines[-1])["mail_from"], "a@example.com")

    async def test_pid_file(self) -> None:
        self.assert_at_once()
        old, new = self.mktemp(), self.mktemp()
        await self.start(pid_file=old)
        await self.reload(pid_file=new)
        self.assertFalse(os.path.exists(old))
        self.assertEqual(Path(new).read_text(), f"{os.getpid()}\n")
        await self.daemon.stopService()
        self.assertFalse(os.path.exists(new))

    async def test_shutdown_timeout(self) -> None:
        self.assertEqual(self.note, "at the next end")
        clock = MixedClock()
        self.make(config(shutdown_timeout="10s"), reactor=clock)
        await self.daemon.startService()
        client, hanging = await self.greeted(), await self.greeted()
        await client.begin()
        await hanging.begin()
        await self.reload(shutdown_timeout="20s")
        stopped = self.daemon.stopService()
        clock.advance(10)
        self.assertEqual((await client.finish("in time"))[:3], "250")
        self.assertEqual((await client.reply())[:9], "421 4.3.2")
        self.assertNoResult(stopped)
        clock.advance(10)
        self.assertEqual(await hanging.reply(), "")
        await stopped

    async def spill(self, before: dict[str, Any], after: dict[str, Any]) -> tuple[bool, bool]:
        """
        Reload between two messages of a connection.

        :returns: whether the first and the second were kept in a file.
        """
        spilled: list[bool] = []

        def look(envelope: Envelope, task: Task) -> None:
            spilled.append(envelope.body._file is not None)

        self.make(config(backend={"save_process": "Look|Store"}, **before))
        self.daemon.add_processor("Look", lambda svc: process_with(svc, look, nonblocking=True))
        await self.daemon.startService()
        client = await self.greeted()
        await client.deliver("first")
        await self.reload(backend={"save_process": "Look|Store"}, **after)
        await client.deliver("second")
        first, second = spilled
        return first, second

    async def test_spill_size(self) -> None:
        self.assertEqual(self.note, "for messages that begin after it")
        self.assertEqual(await self.spill({"spill_size": 0}, {"spill_size": 10}), (False, True))

    async def test_max_inflight_bytes(self) -> None:
        self.assertTrue(self.note.startswith("for messages that begin after it"))
        outcome = await self.spill({"max_inflight_bytes": 0}, {"max_inflight_bytes": 10})
        self.assertEqual(outcome, (False, True))

    async def test_spill_dir(self) -> None:
        self.assertEqual(self.note, "for messages that begin after it")
        directory = self.mktemp()
        os.mkdir(directory)
        outcome = await self.spill({"spill_size": 10}, {"spill_size": 10, "spill_dir": directory})
        self.assertEqual(outcome, (True, True))
        os.rmdir(directory)
        client = await self.greeted()
        # There is nowhere else for it.
        self.assertEqual((await client.deliver("third"))[:3], "452")

    async def test_backend_config(self) -> None:
        self.assertIn("by a new gateway beside the old one", self.note)
        await self.start(backend={"mark": "1"})
        client = await self.greeted()
        await self.reload(backend={"mark": "2"})
        await client.deliver("after")
        self.assertEqual(self.store.happened, ["open 1", "open 2", "close 1", "take 2", "keep 2"])

    async def test_servers(self) -> None:
        self.assert_at_once()
        first, second = new_interface(), new_interface()
        await self.start(server(first))
        client = await self.greeted()
        gone = self.port()
        await self.reload(server(second))
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(gone)
        self.assertEqual((await self.send("new"))[:3], "250")
        self.assertEqual((await client.deliver("old"))[:3], "250")


class ServerTests(TableTestCase):
    async def test_servers_is_enabled(self) -> None:
        self.assert_at_once()
        interface = new_interface()
        await self.start(server(), server(interface))
        client = await self.greeted(self.port(1))
        port = self.port(1)
        await self.reload(server(), server(interface, is_enabled=False))
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(port)
        self.assertEqual((await client.deliver("old"))[:3], "250")
        await self.reload(server(), server(interface))
        self.assertEqual((await self.send("new", port))[:3], "250")

    async def test_servers_listen_interface(self) -> None:
        self.assert_at_once()
        first, second = new_interface(), new_interface()
        await self.start(server(first))
        client = await self.greeted()
        gone = self.port()
        await self.reload(server(second))
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(gone)
        self.assertEqual((await self.send("new"))[:3], "250")
        self.assertEqual((await client.deliver("old"))[:3], "250")

    async def test_servers_host_name(self) -> None:
        old, new = await self.both({"host_name": "old.example"}, {"host_name": "new.example"})
        for client, name in ((old, "old"), (new, "new")):
            self.assertEqual((await client.command("HELO c"))[:15], f"250 {name}.example")

    async def test_servers_protocol(self) -> None:
        old = await self.begin({"protocol": "smtp"})
        await self.reload(server(protocol="lmtp"))
        new = await self.connect()
        self.assertIn("LMTP", await new.reply())
        self.assertEqual((await new.command("LHLO c"))[:3], "250")
        self.assertEqual((await old.command("LHLO c"))[:3], "500")
        self.assertEqual(self.note, NEW)

    async def test_servers_max_size(self) -> None:
        old, new = await self.both({"max_size": 2000}, {"max_size": 1000})
        self.assertEqual((await old.command("MAIL FROM:<> SIZE=1500"))[:3], "250")
        self.assertEqual((await new.command("MAIL FROM:<> SIZE=1500"))[:9], "552 5.3.4")

    async def test_servers_timeout(self) -> None:
        clock = MixedClock()
        old, new = await self.both({"timeout": 20}, {"timeout": 30}, reactor=clock)
        clock.advance(20)
        self.assertEqual((await old.reply())[:9], "421 4.4.2")
        self.assertEqual((await new.command("NOOP"))[:3], "250")
        clock.advance(30)
        self.assertEqual((await new.reply())[:9], "421 4.4.2")

    async def crawl(
        self, before: dict[str, Any], after: dict[str, Any], *pauses: float
    ) -> tuple[str, str]:
        """
        Let both clients send a message in pieces of 50 octets.

        :param pauses: after each piece but the last, in seconds.
        :returns: what both are told at its end.
        """
        clock = MixedClock()
        clients = await self.both(
            {"timeout": 50, **before}, {"timeout": 50, **after}, reactor=clock
        )
        for client in clients:
            await client.begin()
        for pause in (*pauses, 0):
            for client in clients:
                client.send(b"x" * 48 + b"\r\n")
            # When somebody else has an answer, what was sent before has arrived.
            await self.greeted()
            clock.advance(pause)
        old, new = [await client.finish("the end") for client in clients]
        return old, new

    async def test_servers_message_timeout(self) -> None:
        rate = {"min_data_rate": 1}
        old, new = await self.crawl(
            {"message_timeout": "2m", **rate}, {"message_timeout": "1m", **rate}, 40, 21
        )
        self.assertEqual((old[:3], new[:9]), ("250", "421 4.4.2"))

    async def test_servers_min_data_rate(self) -> None:
        old, new = await self.crawl({"min_data_rate": 1}, {"min_data_rate": 3}, 40, 11)
        self.assertEqual((old[:3], new[:9]), ("250", "421 4.4.2"))

    async def test_servers_max_clients(self) -> None:
        self.assert_at_once()
        await self.start(server(max_clients=2))
        clients = [await self.greeted() for _ in range(2)]
        await self.reload(server(max_clients=1))
        refused = await self.connect()
        self.assertEqual((await refused.reply())[:9], "421 4.7.0")
        for client in clients:
            self.assertEqual((await client.deliver("stays"))[:3], "250")
        await self.reload(server(max_clients=3))
        await self.greeted()

    async def test_servers_max_recipients(self) -> None:
        clients = await self.both({"max_recipients": 101}, {"max_recipients": 100})
        for client, last in zip(clients, ("250", "452"), strict=True):
            await client.command("MAIL FROM:<>")
            replies = [await client.command(f"RCPT TO:<{n}@b.example>") for n in range(101)]
            self.assertEqual([reply[:3] for reply in replies], ["250"] * 100 + [last])

    async def test_servers_max_errors(self) -> None:
        old, new = await self.both({"max_errors": 5}, {"max_errors": 1})
        for client, code in ((old, "250"), (new, "421")):
            await client.command("NONSENSE")
            await client.command("NONSENSE")
            self.assertEqual((await client.command("NOOP"))[:3], code)

    async def test_servers_max_messages(self) -> None:
        old, new = await self.both({"max_messages": 2}, {"max_messages": 1})
        for client, code in ((old, "250"), (new, "421")):
            await client.deliver("first")
            self.assertEqual((await client.deliver("second"))[:3], code)

    async def test_servers_max_command_line(self) -> None:
        old, new = await self.both({"max_command_line": 1000}, {"max_command_line": 512})
        for client, code in ((old, "250"), (new, "500")):
            self.assertEqual((await client.command("NOOP " + "x" * 600))[:3], code)

    async def test_servers_max_text_line(self) -> None:
        clients = await self.both({"max_text_line": 2000}, {"max_text_line": 1000})
        for client, code in zip(clients, ("250", "554"), strict=True):
            self.assertEqual((await client.deliver("x" * 1500))[:3], code)

    async def test_servers_bare_newline(self) -> None:
        clients = await self.both({"bare_newline": "reject"}, {"bare_newline": "normalize"})
        for client, code in zip(clients, ("550", "250"), strict=True):
            self.assertEqual((await client.deliver("one\nX-Two: two"))[:3], code)

    async def test_servers_reject_early_talkers(self) -> None:
        self.assertEqual(self.note, NEW)
        await self.start()
        await self.reload(server(reject_early_talkers="10s"))
        client = await self.connect()
        self.assertEqual((await client.command("EHLO c"))[:3], "554")

    async def test_servers_log_file(self) -> None:
        self.assert_at_once()
        path = self.mktemp()
        main = self.mktemp()
        self.make(config(log_file=main), logs=Logs())
        await self.daemon.startService()
        client = await self.greeted()
        await self.reload(server(log_file=path), log_file=main)
        await client.deliver("after")
        self.assertIn("message client_ip", Path(path).read_text())
        self.assertNotIn("message client_ip", Path(main).read_text())

    async def test_servers_proxyon(self) -> None:
        self.assertEqual(self.note, NEW)
        old = await self.begin({})
        await self.reload(server(proxyon=True))
        new = await self.connect()
        reply = await new.command("PROXY TCP4 192.0.2.7 192.0.2.8 1 25")
        self.assertEqual(reply[:3], "220")
        self.assertEqual((await old.command("NOOP"))[:3], "250")

    async def test_servers_xclient_on(self) -> None:
        old, new = await self.both({}, {"xclient_on": True})
        self.assertEqual((await old.command("XCLIENT ADDR=192.0.2.7"))[:1], "5")
        self.assertEqual((await new.command("XCLIENT ADDR=192.0.2.7"))[:3], "220")

    async def test_servers_trusted_proxies(self) -> None:
        settings = {"xclient_on": True}
        old, new = await self.both(
            {**settings, "trusted_proxies": ["192.0.2.1"]},
            {**settings, "trusted_proxies": ["127.0.0.1"]},
        )
        self.assertEqual((await old.command("XCLIENT ADDR=192.0.2.7"))[:9], "550 5.7.0")
        self.assertEqual((await new.command("XCLIENT ADDR=192.0.2.7"))[:3], "220")


class TLSTests(TableTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.identity = issue("old.example")
        self.files = self.identity.write(self.directory, "old")

    async def secured(
        self, before: dict[str, Any], after: dict[str, Any], context: Callable[[], SSL.Context]
    ) -> tuple[Any, Any]:
        """
        Begin TLS with a client from before a reload, and with one from after it.

        :param before: settings of ``tls``, besides the files.
        :param after: those that it has then.
        :param context: makes a client's.
        :returns: the states of TLS.
        """
        old, new = await self.both(
            *({"tls": {"start_tls_on": True, **self.files, **tls}} for tls in (before, after))
        )
        for client in (old, new):
            await client.start_tls(context())
        return old.tls, new.tls

    async def test_servers_tls(self) -> None:
        old, new = await self.both({}, {"tls": {"start_tls_on": True, **self.files}})
        self.assertEqual((await old.command("STARTTLS"))[:3], "502")
        await new.start_tls()
        self.assertEqual((await new.command("EHLO c.example"))[:3], "250")

    async def test_servers_tls_start_tls_on(self) -> None:
        old, new = await self.both(
            {"tls": {"start_tls_on": True, **self.files}},
            {"tls": {"start_tls_on": False, **self.files}},
        )
        self.assertEqual((await new.command("STARTTLS"))[:3], "502")
        await old.start_tls()

    async def test_servers_tls_tls_always_on(self) -> None:
        self.assertEqual(self.note, NEW)
        old = await self.begin({})
        await self.reload(server(tls={"tls_always_on": True, **self.files}))
        new = await self.connect()
        await new.start_tls(command=False)
        self.assertEqual((await new.reply())[:3], "220")
        self.assertEqual((await old.command("NOOP"))[:3], "250")

    async def renewed(self, identity: Identity) -> tuple[str, str]:
        """
        Reload when the content of the files has changed, and nothing else.

        :returns: the names in the certificates for a client from before, and for one from after it.
        """
        self.assertIn("also when only the content of the file has changed", self.note)
        settings: dict[str, Any] = {"tls": {"start_tls_on": True, **self.files}}
        old = await self.begin(settings)
        identity.write(self.directory, "old")
        await self.reload(server(**settings))
        new = await self.greeted()
        names = []
        for client in (old, new):
            await client.start_tls()
            names.append(client.tls.get_peer_certificate().get_subject().CN)
        return names[0], names[1]

    async def test_servers_tls_private_key_file(self) -> None:
        identity = issue("new.example")
        self.assertEqual(await self.renewed(identity), ("old.example", "new.example"))
        # And from another place, where the old one is gone.
        Path(self.files["private_key_file"]).rename(self.directory / "moved.key.pem")
        self.files["private_key_file"] = str(self.directory / "moved.key.pem")
        await self.reload(server(tls={"start_tls_on": True, **self.files}))
        await (await self.greeted()).start_tls()

    async def test_servers_tls_public_key_file(self) -> None:
        """For the same key."""
        identity = issue("new.example", key=self.identity.key)
        self.assertEqual(await self.renewed(identity), ("old.example", "new.example"))
        other = issue("other.example", key=self.identity.key).write(self.directory, "other")
        self.files["public_key_file"] = other["public_key_file"]
        await self.reload(server(tls={"start_tls_on": True, **self.files}))
        client = await self.greeted()
        await client.start_tls()
        self.assertEqual(client.tls.get_peer_certificate().get_subject().CN, "other.example")

    async def is_let_in(self, client: Client, identity: Identity | None) -> bool:
        """:returns: whether a client that shows a certificate is served."""
        await client.start_tls(client_context(highest=SSL.TLS1_3_VERSION, identity=identity))
        return bool(await client.command("EHLO c.example"))

    async def test_servers_tls_root_cas_file(self) -> None:
        authorities = [issue(name, authority=True) for name in ("one", "two")]
        clients = [issue("client", authority) for authority in authorities]
        path = self.directory / "authorities.pem"
        tls = {
            "start_tls_on": True,
            "client_auth_type": "RequireAndVerifyClientCert",
            "root_cas_file": str(path),
            **self.files,
        }
        path.write_bytes(authorities[0].certificate_pem)
        old = await self.begin({"tls": tls})
        self.assertIn("also when only the content of the file has changed", self.note)
        path.write_bytes(authorities[1].certificate_pem)
        await self.reload(server(tls=tls))
        self.assertTrue(await self.is_let_in(old, clients[0]))
        self.assertTrue(await self.is_let_in(await self.greeted(), clients[1]))
        self.assertFalse(await self.is_let_in(await self.greeted(), clients[0]))
        other = self.directory / "other.pem"
        other.write_bytes(authorities[0].certificate_pem)
        await self.reload(server(tls={**tls, "root_cas_file": str(other)}))
        self.assertTrue(await self.is_let_in(await self.greeted(), clients[0]))

    async def test_servers_tls_client_auth_type(self) -> None:
        tls: dict[str, Any] = {"start_tls_on": True, **self.files}
        old, new = await self.both(
            {"tls": tls}, {"tls": {**tls, "client_auth_type": "RequireAnyClientCert"}}
        )
        self.assertTrue(await self.is_let_in(old, None))
        self.assertFalse(await self.is_let_in(new, None))

    async def test_servers_tls_protocols(self) -> None:
        old, new = await self.secured(
            {"protocols": ["tls1.2", "tls1.2"]}, {"protocols": ["tls1.3"]}, client_context
        )
        names = [tls.get_protocol_version_name() for tls in (old, new)]
        self.assertEqual(names, ["TLSv1.2", "TLSv1.3"])

    async def test_servers_tls_ciphers(self) -> None:
        old, new = await self.secured(
            {"ciphers": ["TLS_AES_128_GCM_SHA256"]},
            {"ciphers": ["TLS_CHACHA20_POLY1305_SHA256"]},
            client_context,
        )
        names = [tls.get_cipher_name() for tls in (old, new)]
        self.assertEqual(names, ["TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"])

    async def test_servers_tls_curves(self) -> None:
        old, new = await self.secured({"curves": ["P256"]}, {"curves": ["P384"]}, client_context)
        names = [tls.get_group_name() for tls in (old, new)]
        self.assertEqual(names, ["secp256r1", "secp384r1"])

    async def test_servers_tls_prefer_server_cipher_suites(self) -> None:
        ciphers = [
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ]
        old, new = await self.secured(
            {"ciphers": ciphers},
            {"ciphers": ciphers, "prefer_server_cipher_suites": True},
            lambda: client_context(
                highest=SSL.TLS1_2_VERSION,
                ciphers="ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384",
            ),
        )
        names = [tls.get_cipher_name() for tls in (old, new)]
        self.assertEqual(names, ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"])


class GatewayTests(TableTestCase):
    """What is with the backend holds for the next message of open connections, too."""

    def setUp(self) -> None:
        super().setUp()
        self.assertEqual(self.note.partition(";")[0], BACKEND)

    async def test_backend_config_save_process(self) -> None:
        self.make(config())
        refusal = Result(554, "5.7.1", "not today")
        self.daemon.add_processor("Refuse", lambda svc: process_with(svc, lambda *_: refusal))
        await self.daemon.startService()
        client = await self.greeted()
        self.assertEqual((await client.deliver("before"))[:3], "250")
        await self.reload(backend={"save_process": "Refuse|Store"})
        self.assertEqual((await client.deliver("after"))[:3], "554")

    async def test_backend_config_validate_process(self) -> None:
        await self.start()
        client = await self.greeted()
        self.assertEqual((await client.deliver("before"))[:3], "250")
        await self.reload(
            backend={"validate_process": "Wildcard", "wildcard_recipients": ["alice@example.org"]}
        )
        self.assertEqual((await client.deliver("after"))[:9], "550 5.1.1")

    async def test_backend_config_save_workers_size(self) -> None:
        self.store.holdings[""] = Deferred()
        await self.start(backend={"save_workers_size": 1})
        clients = [await self.greeted() for _ in range(2)]
        await self.reload(backend={"save_workers_size": 2})
        replies = []
        for client in clients:
            entered = self.store.entered[""] = Deferred()
            await client.begin()
            replies.append(client.finish("both at once"))
            await entered
        self.store.holdings[""].callback(None)
        for reply in replies:
            self.assertEqual((await reply)[:3], "250")

    async def test_backend_config_gw_save_timeout(self) -> None:
        clock = MixedClock()
        self.make(config(backend={"gw_save_timeout": "20s"}), reactor=clock)
        await self.daemon.startService()
        client = await self.greeted()
        await self.reload(backend={"gw_save_timeout": "10s"})
        self.store.holdings[""] = Deferred()
        entered = self.store.entered[""] = Deferred()
        await client.begin()
        reply = client.finish("waits")
        await entered
        clock.advance(9)
        self.assertNoResult(reply)
        clock.advance(1)
        self.assertEqual((await reply)[:3], "451")
        self.store.holdings[""].callback(None)

    def spool(self) -> dict[str, object]:
        """:returns: settings of a new one."""
        os.makedirs(os.path.dirname(self.mktemp()), exist_ok=True)
        self.addCleanup(self.daemon.stopService)
        return {"spool_dir": os.path.abspath(self.mktemp()), "spool_min_free": 1}

    async def spooling(self, **changes: object) -> tuple[str, str]:
        """
        :returns: what two messages are told that the store does not take, the later after a
        reload with other settings of the spool."""
        trouble = Result(451, "4.3.0", "away")
        self.make(config())
        self.daemon.add_processor("Away", lambda svc: process_with(svc, lambda *_: trouble))
        before = {**self.spool(), "save_process": "Away|Store"}
        await self.daemon.startService()
        await self.reload(backend=before)
        client = await self.greeted()
        first = await client.deliver("before")
        await self.reload(backend=before | changes)
        return first[:9], (await client.deliver("after"))[:9]

    async def test_backend_config_spool_dir(self) -> None:
        self.assertEqual(self.note.partition(";")[0], BACKEND)
        self.assertEqual(await self.spooling(spool_dir=""), ("250 2.0.0", "451 4.3.0"))

    async def test_backend_config_spool_mode(self) -> None:
        """What is told is the same; but now the chain may have a refusal."""
        refusal = Result(554, "5.7.1", "not today")
        self.make(config())
        self.daemon.add_processor("Refuse", lambda svc: process_with(svc, lambda *_: refusal))
        await self.daemon.startService()
        spool = {**self.spool(), "save_process": "Refuse|Store"}
        await self.reload(backend=spool)
        client = await self.greeted()
        self.assertEqual((await client.deliver("before"))[:3], "554")
        await self.reload(backend={**spool, "spool_mode": "always"})
        self.assertEqual((await client.deliver("after"))[:3], "250")

    async def test_backend_config_spool_lifetime(self) -> None:
        """What is older is given up when it fails the next time."""
        trouble = Result(451, "4.3.0", "away")
        self.make(config())
        self.daemon.add_processor("Away", lambda svc: process_with(svc, lambda *_: trouble))
        await self.daemon.startService()
        spool = {**self.spool(), "save_process": "Away|Store"}
        await self.reload(backend=spool)
        client = await self.greeted()
        await client.deliver("before")
        await self.reload(backend={**spool, "spool_lifetime": "1ms"})
        dead = os.path.join(str(spool["spool_dir"]), "dead")
        while not os.listdir(dead):
            await deferLater(reactor, 0.05)

    async def test_backend_config_spool_workers(self) -> None:
        self.make(config())
        await self.daemon.startService()
        spool = {**self.spool(), "spool_mode": "always", "save_workers_size": 1}
        await self.reload(backend=spool)
        await self.reload(backend={**spool, "spool_workers": 2})
        self.store.holdings[""] = Deferred()
        client = await self.greeted()
        for _ in range(2):
            entered = self.store.entered[""] = Deferred()
            self.assertEqual((await client.deliver("both at once"))[:3], "250")
            await entered
        self.store.holdings[""].callback(None)

    async def test_backend_config_spool_max_bytes(self) -> None:
        told = await self.spooling(spool_max_bytes=1)
        self.assertEqual(told, ("250 2.0.0", "452 4.3.1"))

    async def test_backend_config_spool_min_free(self) -> None:
        told = await self.spooling(spool_min_free=2**60)
        self.assertEqual(told, ("250 2.0.0", "452 4.3.1"))

    async def test_backend_config_gw_val_rcpt_timeout(self) -> None:
        clock = MixedClock()
        held: Deferred[IResult | None] = Deferred()
        asked: Deferred[None] = Deferred()

        def hold(envelope: Envelope, task: Task) -> Deferred[IResult | None]:
            reactor.callLater(0, asked.callback, None)
            return held

        backend = {"validate_process": "Hold"}
        self.make(config(backend={**backend, "gw_val_rcpt_timeout": "20s"}), reactor=clock)
        self.daemon.add_processor("Hold", lambda svc: process_with_deferred(hold))
        await self.daemon.startService()
        client = await self.greeted()
        await self.reload(backend={**backend, "gw_val_rcpt_timeout": "10s"})
        await client.command("MAIL FROM:<>")
        reply = client.command("RCPT TO:<a@b.example>")
        await asked
        clock.advance(9)
        self.assertNoResult(reply)
        clock.advance(1)
        self.assertEqual((await reply)[:3], "451")
        held.callback(None)


class ProcessorTests(ReloadTestCase):
    async def test_settings_of_processors(self) -> None:
        """The backend is made anew, whosever setting it is."""
        seen: list[object] = []
        table = rows()
        names = sorted(
            {
                setting.name
                for each in list_processors(Registry(BUILTIN))
                for setting in each.settings
            }
        )
        self.make(config(backend={"save_process": "Look|Store"}))
        current = [""]

        def look(svc: IBackendService) -> Decorator:
            def see(envelope: Envelope, task: Task) -> None:
                seen.append(svc.config.get(current[0]))

            return process_with(svc, see, nonblocking=True)

        self.daemon.add_processor("Look", look)
        await self.daemon.startService()
        client = await self.greeted()
        for name in names:
            applied, note = table[f"backend_config.{name}"]
            self.assertEqual((applied, note.partition(";")[0]), ("yes", BACKEND), name)
            current[0] = name
            await self.reload(backend={"save_process": "Look|Store", name: "another"})
            await client.deliver(name)
            self.assertEqual(seen.pop(), "another", name)


class TableTests(SynchronousTestCase):
    def test_each_row_has_a_test(self) -> None:
        """And each test has a row: else its setUp fails."""
        processors = {f"backend_config.{name}" for name in processors_settings()}
        tests = {
            name
            for case in (WholeTests, ServerTests, TLSTests, GatewayTests)
            for name in dir(case)
            if name.startswith("test_")
        }
        expected = [method_name(name) for name in rows() if name not in processors]
        self.assertEqual(sorted(tests), sorted(expected))
