"""FastCGI with the real php-fpm."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
from base64 import b64decode
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.trial.unittest import TestCase

from guerrilla_tw.backends.gateway import Gateway, InitializationError
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.backends.results import STORE_UNAVAILABLE
from guerrilla_tw.interfaces import IResult, Task
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.processors.fastcgi.records import encode_request
from tests.integration.client import MESSAGE, Client
from tests.integration.daemon_process import ROOT, DaemonTestCase, wait_until
from tests.integration.programs import DEADLINE
from tests.processors.support import make_envelope
from tests.servers.php_fpm import PhpFpm

# Keeps the form as it came: a JSON string cannot hold every octet.
SAVE = """
foreach ($_POST as $name => $value) $fields[$name] = base64_encode($value);
file_put_contents(__DIR__ . '/saved.json', json_encode([$fields ?? [], $_SERVER]));
echo isset($_POST['body']) ? 'SAVED' : 'no message';
"""
VALIDATE = """
switch ($_GET['rcpt_to']) {
    case 'yes@example.org': echo 'PASSED'; break;
    case 'no@example.org': echo 'FAILED'; break;
    case 'odd&+%@example.org': echo 'PASSED'; break;
    case 'fatal@example.org': no_such_function(); break;
    case 'log@example.org': error_log("who is\\n that?"); echo 'PASSED'; break;
    case 'large@example.org': echo 'PASSED'; echo str_repeat('x', 500_000); break;
    case 'endless@example.org': while (true) echo str_repeat('x', 10_000);
    default: echo "who is {$_GET['rcpt_to']}?";
}
"""
# Tells that it runs, and never ends: nobody opens the other side of the FIFO.
WAIT = """
touch(__DIR__ . '/running');
fopen(__DIR__ . '/never', 'r');
"""


class PhpTestCase(TestCase):
    """A php-fpm, and what a Gateway that asks it logs."""

    timeout = 60

    def make_server(self) -> PhpFpm:
        return PhpFpm()

    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        self.server = self.make_server()
        self.addCleanup(self.server.close)
        self.server.start()

    async def start(self, **changes: object) -> Gateway:
        settings: Mapping[str, object] = {
            "save_process": "FastCGI",
            "fcgi_script_filename_save": self.server.write_script("save.php", SAVE),
            **self.server.settings,
            **changes,
        }
        observer: Any = self.events.append
        real: Any = reactor
        gateway = Gateway(Registry(BUILTIN), real, Logger("test", observer=observer))
        await gateway.initialize(settings)
        self.addCleanup(gateway.shutdown)
        gateway.start()
        return gateway

    def save(self, gateway: Gateway, envelope: Envelope) -> Deferred[IResult]:
        result = gateway.process(envelope, Task.SAVE_MAIL)
        assert isinstance(result, Deferred)
        return result

    def lines(self) -> str:
        """:returns: what was logged since the last call."""
        lines = [formatEvent(event) for event in self.events]
        self.events.clear()
        return "\n".join(lines)

    def saved(self) -> tuple[dict[str, bytes], dict[str, str]]:
        """:returns: the form and the variables that the script was given."""
        fields, variables = json.loads((self.server.directory / "saved.json").read_text())
        return {name: b64decode(value) for name, value in fields.items()}, variables


class SaveTests(PhpTestCase):
    async def test_form_arrives_as_it_was_sent(self) -> None:
        body = b"Subject: %\r\n\r\n\x00%00&body=1+1;\xff\r\n" + bytes(range(256)) * 3
        recipients = (b"<bob@example.org>", "<j\u00fcrgen@example.org>".encode())
        envelope = make_envelope(body, recipients, remote_ip="2001:db8::1", tls=True)
        envelope.delivery_header = "Delivered-To: bob@example.org\r\n"
        envelope.subject = "100% & \u20ac"
        result = await self.save(await self.start(), envelope)
        self.assertEqual(result.text, f"OK: queued as {envelope.queued_id}")
        fields, variables = self.saved()
        expected = {
            "remote_ip": b"2001:db8::1",
            "subject": "100% & \u20ac".encode(),
            "tls_on": b"true",
            "helo": b"client.example",
            "mail_from": b"alice@example.com",
            "rcpt_to_0": b"bob@example.org",
            "rcpt_to_1": "j\u00fcrgen@example.org".encode(),
            "body": b"Delivered-To: bob@example.org\r\n" + body,
        }
        self.assertEqual(fields, expected)
        self.assertEqual(variables["SERVER_SOFTWARE"], "guerrilla_tw")
        self.assertEqual(variables["REMOTE_ADDR"], "127.0.0.1")
        self.assertEqual(self.lines(), "")

    async def test_message_that_is_too_large_for_php(self) -> None:
        """The form is empty then, but 9 MiB are more than sockets hold: nobody read them."""
        gateway = await self.start()
        result = await self.save(gateway, make_envelope(b"x" * 9 * 2**20))
        self.assertEqual((result.code, result.enhanced), (451, "4.3.0"))
        self.assertEqual((await self.save(gateway, make_envelope())).code, 250)

    async def test_script_is_missing(self) -> None:
        path = f"{self.server.directory}/none.php"
        gateway = await self.start(fcgi_script_filename_save=path)
        result = await self.save(gateway, make_envelope())
        self.assertEqual((result.code, result.enhanced), (451, "4.3.0"))
        lines = self.lines()
        self.assertIn("none.php complains: 'Primary script unknown'", lines)
        self.assertIn("neither yes nor no (status 404); the script said 'File not found.", lines)


class ValidateTests(PhpTestCase):
    async def start(self, **changes: object) -> Gateway:
        script = self.server.write_script("validate.php", VALIDATE)
        settings = {"validate_process": "FastCGI", "fcgi_script_filename_validate": script}
        return await super().start(**settings, **changes)

    async def validate(self, gateway: Gateway, recipient: bytes) -> tuple[int, str]:
        """:returns: code and enhanced code."""
        envelope = make_envelope(recipients=(b"<other@example.org>", recipient))
        answer = gateway.validate_rcpt(envelope)
        assert isinstance(answer, Deferred)
        result = await answer
        return result.code, result.enhanced

    async def test_answers(self) -> None:
        gateway = await self.start()
        for recipient, expected in (
            (b"<yes@example.org>", (250, "2.1.5")),
            (b"<no@example.org>", (550, "5.1.1")),
            (b"<odd&+%@example.org>", (250, "2.1.5")),
            (b"<large@example.org>", (250, "2.1.5")),
            (b"<endless@example.org>", (451, "4.3.0")),
            (b"<fatal@example.org>", (451, "4.3.0")),
            (b"<somebody@example.org>", (451, "4.3.0")),
        ):
            self.assertEqual(await self.validate(gateway, recipient), expected, repr(recipient))
        lines = self.lines()
        for cause in (
            "the answer is longer than 1048576 octets; the script said 'xxx",
            "neither yes nor no (status 500)",
            "neither yes nor no (status 200); the script said 'who is somebody@example.org?'",
        ):
            self.assertIn(f"/validate.php: {cause}", lines)
        self.assertIn("PHP Fatal error:  Uncaught Error: Call to undefined function", lines)

    async def test_complaints_are_logged(self) -> None:
        gateway = await self.start()
        self.assertEqual(await self.validate(gateway, b"<log@example.org>"), (250, "2.1.5"))
        lines = self.lines()
        self.assertIn("validate.php complains: 'PHP message: who is'", lines)
        self.assertIn("validate.php complains: ' that?'", lines)


class LargeMessageTests(PhpTestCase):
    def make_server(self) -> PhpFpm:
        return PhpFpm(tcp=True, post_max_size="100M")

    async def test_thirty_megabytes_in_a_file_over_tcp(self) -> None:
        script = self.server.write_script(
            "large.php",
            "file_put_contents(__DIR__ . '/body', $_POST['body']); echo 'SAVED';",
        )
        # Lines of base64, mostly, and some of what takes three octets for each.
        line = random.Random(1).randbytes(57) + b"\x00%&+\xff\r\n" + b"Q2" * 500
        data = line * (30 * 2**20 // len(line))
        envelope = make_envelope(b"")
        envelope.body = BodyStorage(spill_size=1000).new_body()
        envelope.body.write(data)
        gateway = await self.start(fcgi_script_filename_save=script)
        self.assertEqual((await self.save(gateway, envelope)).code, 250)
        # Not assertEqual: it would take minutes to show how megabytes differ.
        self.assertTrue((self.server.directory / "body").read_bytes() == data)


class TroubleTests(PhpTestCase):
    """A server that hangs, or is no more: nothing is acknowledged, and it recovers by itself."""

    async def test_not_there_at_the_start(self) -> None:
        self.server.kill()
        address = self.server.settings["fcgi_connection_address"]
        with self.assertRaises(InitializationError) as caught:
            await self.start()
        self.assertEqual(
            str(caught.exception),
            f"FastCGI: fcgi_connection_address: {address}: connection refused",
        )
        Path(address).unlink()
        with self.assertRaises(InitializationError) as caught:
            await self.start()
        self.assertTrue(str(caught.exception).endswith(f"{address}: no such file or directory"))

    async def test_nobody_has_such_a_name(self) -> None:
        address = "php.invalid:9000"
        with self.assertRaises(InitializationError) as caught:
            await self.start(fcgi_connection_type="tcp", fcgi_connection_address=address)
        self.assertEqual(
            str(caught.exception), f"FastCGI: fcgi_connection_address: {address}: no such host"
        )

    async def test_killed_while_the_script_runs(self) -> None:
        script = self.server.write_script("wait.php", WAIT)
        os.mkfifo(self.server.directory / "never")
        (self.server.directory / "never").chmod(0o666)
        gateway = await self.start(fcgi_script_filename_save=script)
        result = self.save(gateway, make_envelope())
        await deferToThread(wait_until, (self.server.directory / "running").exists)
        self.server.kill()
        self.assertEqual((await result).code, 451)
        self.assertIn("the connection was closed before the answer ended", self.lines())
        self.assertEqual((await self.save(gateway, make_envelope())).code, 451)
        self.assertIn("connection refused", self.lines())
        self.server.write_script("wait.php", SAVE)
        self.server.start()
        self.assertEqual((await self.save(gateway, make_envelope())).code, 250)

    async def test_stopped(self) -> None:
        gateway = await self.start(gw_save_timeout="500ms")
        self.server.pause()
        result = await self.save(gateway, make_envelope())
        # The store's own reason, and not the Gateway's.
        self.assertEqual(result.text, STORE_UNAVAILABLE.text)
        self.assertRegex(self.lines(), r"no answer after 0\.[34] seconds")
        self.server.go_on()
        gateway = await self.start()
        self.assertEqual((await self.save(gateway, make_envelope())).code, 250)


class ExampleTests(DaemonTestCase):
    """The scripts of the examples, and a daemon that asks them."""

    def setUp(self) -> None:
        super().setUp()
        self.php = PhpFpm()
        self.addCleanup(self.php.close)
        # The server may run as somebody who cannot see them where they are.
        for name in ("save.php", "validate.php"):
            shutil.copy(ROOT / "examples" / "fastcgi" / name, self.php.directory)
        self.mail = self.php.directory / "mail"
        self.mail.mkdir()
        self.mail.chmod(0o777)
        self.php.start()

    def start_daemon(self) -> Client:
        directory = self.php.directory
        backend = {
            "save_process": "HeadersParser|Debugger|Hasher|Header|FastCGI",
            "validate_process": "FastCGI",
            "fcgi_script_filename_save": f"{directory}/save.php",
            "fcgi_script_filename_validate": f"{directory}/validate.php",
            **self.php.settings,
        }
        client = Client(self.start(backend_config=backend).port())
        self.addCleanup(client.__exit__)
        client.hello()
        self.assertRegex(client.command("MAIL FROM:<alice@example.com>"), "^250 ")
        return client

    def test_delivery(self) -> None:
        (self.php.directory / "recipients.txt").write_text("bob@example.org\nCarol@Example.org\n")
        client = self.start_daemon()
        for recipient, reply in (
            ("Bob@example.org", "^250 2.1.5 "),
            ("mallory@example.org", "^550 5.1.1 no such user"),
            ("carol@example.org", "^250 2.1.5 "),
        ):
            self.assertRegex(client.command(f"RCPT TO:<{recipient}>"), reply)
        self.assertRegex(client.command("DATA"), "^354 ")
        client.write(MESSAGE + b".\r\n")
        self.assertRegex(client.reply(), "^250 2.0.0 OK")
        (message,) = self.mail.glob("*.eml")
        (note,) = self.mail.glob("*.json")
        expected = {"from": "alice@example.com", "to": ["Bob@example.org", "carol@example.org"]}
        self.assertEqual(json.loads(note.read_text()), expected)
        self.assertRegex(message.read_bytes(), b"\\ADelivered-To: Bob@example.org\r\nReceived: ")
        self.assertTrue(message.read_bytes().endswith(b"\r\n" + MESSAGE))

    def test_scripts_that_cannot(self) -> None:
        """No list of recipients, then nowhere to write: neither is a no for ever."""
        client = self.start_daemon()
        self.assertRegex(client.command("RCPT TO:<bob@example.org>"), "^451 4.3.0 ")
        (self.php.directory / "recipients.txt").write_text("bob@example.org\n")
        self.assertRegex(client.command("RCPT TO:<bob@example.org>"), "^250 ")
        self.mail.rmdir()
        self.assertRegex(client.command("DATA"), "^354 ")
        client.write(MESSAGE + b".\r\n")
        self.assertRegex(client.reply(), "^451 4.3.0 ")

    def test_message_that_is_too_large_for_php(self) -> None:
        """It comes as an empty form."""
        (self.php.directory / "php-fpm.conf").write_text(
            (self.php.directory / "php-fpm.conf").read_text().replace("= 8M", "= 1K")
        )
        self.php.terminate()
        self.php.start()
        (self.php.directory / "recipients.txt").write_text("bob@example.org\n")
        client = self.start_daemon()
        self.assertRegex(client.command("RCPT TO:<bob@example.org>"), "^250 ")
        self.assertRegex(client.command("DATA"), "^354 ")
        client.write(MESSAGE + b"x" * 900 + b"\r\n.\r\n")
        self.assertRegex(client.reply(), "^451 4.3.0 ")
        self.assertEqual(list(self.mail.iterdir()), [])

    def test_message_that_is_cut_off(self) -> None:
        """As when the daemon is killed while it sends one: php-fpm runs the script all the same."""
        form = b"mail_from=a%40example.com&rcpt_to_0=b%40example.com&body=" + b"x" * 1000
        variables = {
            "SCRIPT_FILENAME": f"{self.php.directory}/save.php",
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": "application/x-www-form-urlencoded",
            "CONTENT_LENGTH": str(len(form)),
        }
        request = b"".join(encode_request(variables, [form]))
        with closing(socket.socket(socket.AF_UNIX)) as daemon:
            daemon.settimeout(DEADLINE)
            daemon.connect(self.php.settings["fcgi_connection_address"])
            daemon.sendall(request[:-500])
            daemon.shutdown(socket.SHUT_WR)
            with daemon.makefile("rb") as answer:
                self.assertIn(b"not the whole message", answer.read())
        self.assertEqual(list(self.mail.iterdir()), [])
