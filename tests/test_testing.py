"""The inbox for tests of other programs: what the programs see of it, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import os
import smtplib
import ssl
import subprocess
import sys
import threading
from contextlib import ExitStack
from email.message import EmailMessage
from pathlib import Path
from unittest import mock, skipUnless

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from guerrilla_tw import ConfigError, Result
from guerrilla_tw.testing import Inbox, Mailbox, running_inbox
from tests.integration.client import Client
from tests.smtp_client import DATA, send_mail

ROOT = Path(__file__).resolve().parent.parent


def send_message(inbox: Mailbox, to: str = "bob@example.org", *, bcc: str = "") -> None:
    """Send as a program would that has only the standard library; it checks certificates."""
    message = EmailMessage()
    message["From"] = "alice@example.com"
    message["To"] = to
    message["Subject"] = "Grüße"
    message.set_content("Hällo.\n")
    recipients = [to, bcc] if bcc else [to]
    with smtplib.SMTP(inbox.host, inbox.port, timeout=30) as client:
        if inbox.certificate:
            client.starttls(context=trusting(inbox))
        client.send_message(message, to_addrs=recipients)


def trusting(inbox: Mailbox) -> ssl.SSLContext:
    """:returns: what trusts the inbox and nobody else, as strictly as any Python."""
    context = ssl.create_default_context(cadata=inbox.certificate)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    return context


def own_threads() -> list[threading.Thread]:
    """:returns: threads of inboxes."""
    return [thread for thread in threading.enumerate() if "guerrilla" in thread.name]


class ReactorWithClock(Clock):
    """The time is the test's; all else is the reactor's."""

    def __getattr__(self, name: str) -> object:
        return getattr(reactor, name)


class InboxTestCase(TestCase):
    timeout = 60

    async def start(self, **settings: object) -> Inbox:
        inbox = Inbox(**settings)  # type: ignore[arg-type]
        await inbox.startService()
        self.addCleanup(lambda: inbox.stopService() if inbox.running else None)
        return inbox


class ReceivingTests(InboxTestCase):
    async def test_what_came(self) -> None:
        inbox = await self.start()
        await deferToThread(send_message, inbox, bcc="carol@example.org")
        (mail,) = await inbox.wait_for(1)
        self.assertEqual(mail.sender, "alice@example.com")
        self.assertEqual(mail.recipients, ["bob@example.org", "carol@example.org"])
        self.assertEqual(mail.message["Subject"], "Grüße")
        self.assertEqual(mail.message["To"], "bob@example.org")
        self.assertEqual(mail.message.get_content(), "Hällo.\n")
        self.assertEqual(mail.envelope.remote_ip, "127.0.0.1")
        self.assertFalse(mail.envelope.tls)

    async def test_octets_are_those_that_were_sent(self) -> None:
        inbox = await self.start()
        await deferToThread(send_mail, inbox.port, "bob@example.org")
        self.assertEqual([mail.envelope.data for mail in inbox.messages], [DATA])

    async def test_wait_for_several(self) -> None:
        inbox = await self.start()
        both = inbox.wait_for(2)
        await deferToThread(send_message, inbox, "bob@example.org")
        self.assertEqual(len(await inbox.wait_for(1)), 1)
        self.assertNoResult(both)
        await deferToThread(send_message, inbox, "carol@example.org")
        recipients = [mail.recipients for mail in await both]
        self.assertEqual(recipients, [["bob@example.org"], ["carol@example.org"]])

    async def test_wait_again(self) -> None:
        """Whoever got what he waited for is not told again."""
        inbox = await self.start()
        for count in (1, 2):
            waiting = inbox.wait_for(count)
            await deferToThread(send_message, inbox)
            self.assertEqual(len(await waiting), count)

    async def test_wait_in_vain(self) -> None:
        inbox = await self.start()
        await deferToThread(send_message, inbox)
        with self.assertRaises(TimeoutError) as caught:
            await inbox.wait_for(2, timeout=0.01)
        self.assertEqual(str(caught.exception), "1 of 2 messages came in 0.01 seconds")

    async def test_clear_forgets_everything(self) -> None:
        inbox = await self.start()
        await deferToThread(send_message, inbox)
        inbox.refuse_next()
        inbox.refuse_recipient("bob@example.org")
        inbox.clear()
        self.assertEqual((inbox.messages, inbox.log), ([], []))
        waiting = inbox.wait_for(1)
        self.assertNoResult(waiting)
        await deferToThread(send_message, inbox)
        self.assertEqual(len(await waiting), 1)


class MisbehavingTests(InboxTestCase):
    """What a sender has to cope with."""

    async def test_refuses_messages(self) -> None:
        inbox = await self.start()
        inbox.refuse_next()
        inbox.refuse_next(Result(554, "5.7.1", "no spam, please"))
        replies = [await deferToThread(send_mail, inbox.port, "bob@example.org") for _ in range(3)]
        self.assertEqual(replies[0][:9], "451 4.3.0")
        self.assertEqual(replies[1], "554 5.7.1 no spam, please")
        self.assertEqual(replies[2][:3], "250")
        self.assertEqual(len(inbox.messages), 1)

    async def test_refuses_recipients(self) -> None:
        inbox = await self.start()
        inbox.refuse_recipient("Bob@Example.org")
        inbox.refuse_recipient("carol@example.org", Result(450, "4.2.1", "not now"))
        for recipient, refusal in (
            ("bob@example.org", (550, b"5.1.1 no such user")),
            ("carol@example.org", (450, b"4.2.1 not now")),
        ):
            for _ in range(2):
                with self.assertRaises(smtplib.SMTPRecipientsRefused) as caught:
                    await deferToThread(send_mail, inbox.port, recipient)
                self.assertEqual(caught.exception.recipients, {recipient: refusal})
        await deferToThread(send_mail, inbox.port, "dave@example.org")

    async def test_hangs_up(self) -> None:
        inbox = await self.start()
        inbox.hang_up_next()
        with self.assertRaises(smtplib.SMTPServerDisconnected):
            await deferToThread(send_mail, inbox.port, "bob@example.org")
        await deferToThread(send_mail, inbox.port, "carol@example.org")
        self.assertEqual([mail.recipients for mail in inbox.messages], [["carol@example.org"]])

    async def test_hangs_up_in_tls(self) -> None:
        inbox = await self.start(start_tls_on=True)
        inbox.hang_up_next()
        with self.assertRaises((smtplib.SMTPServerDisconnected, ssl.SSLError)):
            await deferToThread(send_message, inbox)
        self.assertEqual(inbox.messages, [])

    async def test_is_slow(self) -> None:
        inbox = await self.start()
        inbox.delay_next(0.01)
        reply = await deferToThread(send_mail, inbox.port, "bob@example.org")
        self.assertEqual(reply[:3], "250")
        self.assertEqual(len(inbox.messages), 1)

    async def test_is_slow_by_the_clock_of_the_test(self) -> None:
        clock = ReactorWithClock()
        inbox = await self.start(reactor=clock)
        inbox.delay_next(1234)
        sent = deferToThread(send_mail, inbox.port, "bob@example.org")
        # The message is there when something waits on the clock for so long.
        while not any(call.getTime() == 1234 for call in clock.getDelayedCalls()):
            await deferLater(reactor, 0.001)
        clock.advance(1234)
        self.assertEqual((await sent)[:3], "250")

    async def test_is_slow_to_one_only(self) -> None:
        """And the end of the inbox does not wait for it."""
        inbox = await self.start()
        inbox.delay_next(3600)
        begun: Deferred[None] = Deferred()

        def send_slowly() -> str:
            with Client(inbox.port) as client:
                client.hello()
                for command in ("MAIL FROM:<>", "RCPT TO:<bob@example.org>", "DATA"):
                    client.command(command)
                client.write(DATA + b".\r\n")
                reactor.callFromThread(begun.callback, None)  # type: ignore[attr-defined]
                return client.reply()

        slow = deferToThread(send_slowly)
        await begun
        await deferToThread(send_mail, inbox.port, "carol@example.org")
        self.assertEqual([mail.recipients for mail in inbox.messages], [["carol@example.org"]])
        await inbox.stopService()
        self.assertEqual((await slow)[:9], "451 4.3.0")


class SettingsTests(InboxTestCase):
    async def test_starttls(self) -> None:
        inbox = await self.start(start_tls_on=True)
        await deferToThread(send_message, inbox)
        (mail,) = inbox.messages
        self.assertEqual(mail.envelope.protocol, "ESMTPS")

    async def test_implicit_tls(self) -> None:
        inbox = await self.start(tls_always_on=True)

        def send() -> None:
            context = trusting(inbox)
            for host in ("127.0.0.1", "localhost"):
                with smtplib.SMTP_SSL(host, inbox.port, timeout=30, context=context) as client:
                    client.sendmail("alice@example.com", ["bob@example.org"], DATA)

        await deferToThread(send)
        self.assertEqual([mail.envelope.tls for mail in inbox.messages], [True, True])

    async def test_largest_size(self) -> None:
        inbox = await self.start(max_size=100)
        reply = await deferToThread(send_mail, inbox.port, "bob@example.org", data=b"x\r\n" * 100)
        self.assertEqual(reply[:9], "552 5.3.4")

    async def test_lmtp(self) -> None:
        inbox = await self.start(protocol="lmtp")

        def deliver() -> str:
            with Client(inbox.port) as client:
                client.reply()
                for command in ("LHLO me", "MAIL FROM:<>", "RCPT TO:<bob@example.org>", "DATA"):
                    client.command(command)
                client.write(DATA + b".\r\n")
                return client.reply()

        self.assertEqual((await deferToThread(deliver))[:3], "250")
        (mail,) = inbox.messages
        self.assertEqual((mail.sender, mail.envelope.protocol), ("", "LMTP"))

    async def test_setting_that_cannot_be(self) -> None:
        inbox = Inbox(max_size=-1)
        with self.assertRaises(ConfigError) as caught:
            await inbox.startService()
        self.assertEqual(caught.exception.path, "max_size")
        await inbox.stopService()


class LifeTests(InboxTestCase):
    async def test_again(self) -> None:
        """What came stays; the port may be another."""
        inbox = await self.start()
        await deferToThread(send_message, inbox)
        await inbox.stopService()
        with self.assertRaises(ConnectionRefusedError):
            await deferToThread(send_message, inbox)
        await inbox.startService()
        await deferToThread(send_message, inbox)
        self.assertEqual(len(inbox.messages), 2)

    async def test_nobody_waits_for_ever(self) -> None:
        inbox = await self.start()
        waiting = inbox.wait_for(1)
        await inbox.stopService()
        with self.assertRaises(CancelledError):
            await waiting

    async def test_client_that_never_ends(self) -> None:
        """A test does not wait for it for longer than a second."""
        clock = ReactorWithClock()
        inbox = await self.start(reactor=clock)

        def begin() -> Client:
            client = Client(inbox.port)
            client.hello()
            for command in ("MAIL FROM:<>", "RCPT TO:<bob@example.org>", "DATA"):
                client.command(command)
            return client

        with await deferToThread(begin):
            stopped = inbox.stopService()
            self.assertNoResult(stopped)
            clock.advance(1)
            await stopped

    async def test_log_is_its_own(self) -> None:
        with capturedLogs() as events:
            inbox = await self.start()
            await inbox.stopService()
        self.assertEqual(inbox.log[0], f"listening on 127.0.0.1:{inbox.port}")
        lines = [event for event in events if event["log_namespace"].startswith("guerrilla")]
        self.assertEqual(lines, [])


class RunningInboxTests(SynchronousTestCase):
    """Without a reactor of the program's."""

    def test_two_at_once(self) -> None:
        with running_inbox() as one, running_inbox(start_tls_on=True) as other:
            self.assertEqual(len(own_threads()), 2)
            send_message(one, "bob@example.org")
            send_message(other, "carol@example.org")
            self.assertEqual([m.recipients for m in one.wait_for(1)], [["bob@example.org"]])
        # What came is there when the inbox is not.
        self.assertEqual([m.recipients for m in other.wait_for(1)], [["carol@example.org"]])

    def test_leaves_nothing(self) -> None:
        for _ in range(3):
            with running_inbox() as inbox:
                send_message(inbox)
                self.assertEqual(len(inbox.messages), 1)
            self.assertEqual(own_threads(), [])
            with self.assertRaises(ConnectionRefusedError):
                send_message(inbox)

    def test_clients_are_told_goodbye(self) -> None:
        with running_inbox() as inbox:
            client = smtplib.SMTP(inbox.host, inbox.port, timeout=30)
            self.addCleanup(client.close)
            client.noop()
        self.assertEqual(client.getreply(), (421, b"4.3.2 shutting down, try again later"))

    def test_where_there_is_no_epoll(self) -> None:
        with (
            mock.patch.dict(sys.modules, {"twisted.internet.epollreactor": None}),
            running_inbox() as inbox,
        ):
            send_message(inbox)
            self.assertEqual(len(inbox.messages), 1)
        self.assertEqual(own_threads(), [])

    @skipUnless(os.path.isdir("/proc/self/fd"), "nothing to count open files by")
    def test_leaves_no_file_open(self) -> None:
        counts = set()
        for _ in range(4):
            with running_inbox(start_tls_on=True) as inbox:
                send_message(inbox)
            gc.collect()
            counts.add(len(os.listdir("/proc/self/fd")))
        self.assertEqual(len(counts), 1)

    def test_waits_for_who_sends_later(self) -> None:
        with running_inbox() as inbox:
            sender = threading.Timer(0.01, send_message, [inbox])
            sender.start()
            (mail,) = inbox.wait_for(1)
            sender.join()
        self.assertEqual(mail.message["Subject"], "Grüße")

    def test_waits_in_vain(self) -> None:
        with running_inbox() as inbox, self.assertRaises(TimeoutError) as caught:
            inbox.wait_for(3, timeout=0.01)
        self.assertEqual(str(caught.exception), "0 of 3 messages came in 0.01 seconds")

    def test_misbehaves(self) -> None:
        with running_inbox() as inbox:
            inbox.refuse_recipient("bob@example.org")
            with self.assertRaises(smtplib.SMTPRecipientsRefused):
                send_message(inbox)
            inbox.clear()
            inbox.refuse_next()
            with self.assertRaises(smtplib.SMTPDataError):
                send_message(inbox)
            inbox.hang_up_next()
            with self.assertRaises(smtplib.SMTPServerDisconnected):
                send_message(inbox)
            send_message(inbox)
            self.assertEqual(len(inbox.messages), 1)

    def test_program_of_asyncio(self) -> None:
        """Which must not wait in its only thread."""

        async def program(inbox: Mailbox) -> None:
            await asyncio.to_thread(send_message, inbox)

        with running_inbox() as inbox:
            asyncio.run(program(inbox))
            self.assertEqual(len(inbox.messages), 1)

    def test_what_the_test_raises_is_passed_on(self) -> None:
        with self.assertRaises(ZeroDivisionError), running_inbox():
            raise ZeroDivisionError
        self.assertEqual(own_threads(), [])

    def test_setting_that_cannot_be(self) -> None:
        with (
            ExitStack() as stack,
            self.assertRaisesRegex(ConfigError, "^max_clients: is not from"),
        ):
            stack.enter_context(running_inbox(max_clients=-1))
        self.assertEqual(own_threads(), [])

    def test_import_installs_no_reactor(self) -> None:
        """So whoever needs another one may still install it."""
        program = (
            "import guerrilla_tw.testing\n"
            "from twisted.internet import asyncioreactor\n"
            "asyncioreactor.install()\n"
            "with guerrilla_tw.testing.running_inbox() as inbox:\n"
            "    assert inbox.port\n"
            "from twisted.internet import reactor\n"
            "assert isinstance(reactor, asyncioreactor.AsyncioSelectorReactor)\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)
