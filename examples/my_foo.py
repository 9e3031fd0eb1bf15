"""
MyFoo: a processor of your own. Copy this file and start from here.

It knows who has a mailbox, and refuses all others while the client is still naming its recipients.
Of each message that it lets pass it writes a line into a journal: who, to whom, how large.

The daemon finds it by the name that ``twisted/plugins/my_foo_plugin.py``, next to this file, gives
it. Both files only have to be where Python finds modules. To try it, write ``my_foo.json``::

    {
        "allowed_hosts": ["."],
        "backend_config": {
            "save_process": "HeadersParser|Hasher|Header|MyFoo|Sql",
            "validate_process": "MyFoo",
            "my_foo_users": ["alice", "bob"],
            "my_foo_journal": "journal.jsonl",
            "sql_dsn": "mail.sqlite3",
            "mail_table": "new_mail"
        }
    }

and start the daemon with it::

    PYTHONPATH=examples twistd --nodaemon --pidfile= guerrilla --config my_foo.json

Mail for alice is then answered 250, and mail for mallory 550. The store comes last in a chain: were
it followed by a processor that fails, the client would send again what is stored already.
"""

from __future__ import annotations

import json
import os

import msgspec

from guerrilla_tw import (
    NO_SUCH_USER,
    Decorator,
    Envelope,
    IBackendService,
    Result,
    Task,
    initialize_with,
    process_with,
    shutdown_with,
)


class MyFooConfig(msgspec.Struct, frozen=True):
    """
    Its own settings, among those of all other processors in ``backend_config``.

    A field without a default must be there. A wrong type is refused with the setting's name,
    before the daemon starts.

    :param my_foo_users: the local parts that have a mailbox, in any case.
    :param my_foo_journal: path of the journal.
    """

    my_foo_users: tuple[str, ...]
    my_foo_journal: str


class Journal:
    """
    A file of lines, each on the disk before :meth:`write` returns.

    :param path: of the file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1

    def open(self) -> None:
        """Open it, or make it."""
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def close(self) -> None:
        """Close it, if it was opened."""
        if self._file >= 0:
            os.close(self._file)

    def write(self, line: str) -> None:
        """Append a line. Threads need no lock for it: each line is one write at the file's end."""
        octets = line.encode() + b"\n"
        if os.write(self._file, octets) < len(octets):
            raise OSError("the disk is full")
        os.fsync(self._file)


def my_foo(svc: IBackendService) -> Decorator:
    """
    Take mail for those who have a mailbox, and keep a journal of it.

    The first line is what ``python -m guerrilla_tw processors`` says of it. The daemon calls this
    several times, also where it only checks a configuration, so it reads settings and opens
    nothing.

    :param svc: what the daemon offers to this processor.
    :returns: a decorator, which puts the processor in front of the rest of the chain.
    """
    config = svc.extract_config(svc.config, MyFooConfig)
    # Whatever the list says, postmaster has a mailbox (RFC 5321 section 4.5.1).
    users = {"postmaster", *(user.lower() for user in config.my_foo_users)}
    journal = Journal(config.my_foo_journal)

    # Before the first message. If it fails, the daemon says why and does not start. A disk may
    # keep us waiting, so it is a worker thread that waits, and not the reactor.
    svc.add_initializer(initialize_with(lambda _: svc.defer_to_worker(journal.open)))

    # After the last message; also where the initializer has failed, so there may be nothing open.
    svc.add_shutdowner(shutdown_with(journal.close))

    def step(envelope: Envelope, task: Task) -> Result | None:
        """None: let the next processor go on. A Result: this is the answer to the client."""
        if task is Task.VALIDATE_RCPT:
            # The last recipient is the one to check; those before it were accepted.
            return None if envelope.rcpt_to[-1].user.lower() in users else NO_SUCH_USER
        # What a client sent is hostile: json.dumps leaves no line break in it. An exception in
        # here is logged, and the client is told to try again (451).
        entry = {
            "id": envelope.queued_id,
            "from": str(envelope.mail_from),
            "to": [str(recipient) for recipient in envelope.rcpt_to],
            "octets": envelope.size,
        }
        journal.write(json.dumps(entry))
        return None

    # The step runs in a worker thread, several at once, so it may block and keeps no state.
    return process_with(svc, step)
