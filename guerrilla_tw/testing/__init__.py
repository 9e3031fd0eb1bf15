"""
For the tests of others.

Those of programs that send mail have an inbox, a real SMTP server. The program under test sends its
mail to the inbox's host and port, and the test looks at what came. The inbox can also refuse, be
slow, or hang up, to see what the program does then.

- :class:`Inbox` is for tests that have a reactor: trial's, and those of asyncio programs that run
  on Twisted's asyncioreactor.
- :func:`running_inbox` is for all others, such as pytest's or unittest's. It needs no reactor.

Both keep messages in memory, listen on a free port of 127.0.0.1, and take mail for every host.

Those of a processor have :func:`run_processor`, which runs it on one message, without a server.
"""

from guerrilla_tw.testing.inbox import Inbox
from guerrilla_tw.testing.mailbox import Mailbox, ReceivedMail
from guerrilla_tw.testing.processor import run_processor
from guerrilla_tw.testing.threaded import RunningInbox, running_inbox

__all__ = ["Inbox", "Mailbox", "ReceivedMail", "RunningInbox", "run_processor", "running_inbox"]
