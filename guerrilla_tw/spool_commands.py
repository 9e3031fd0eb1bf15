"""``python -m guerrilla_tw spool``: what is in the spool, and what shall become of it."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final, TypeVar

from twisted.python import usage

from guerrilla_tw.command import Command, CommandError
from guerrilla_tw.config import ConfigError, convert_settings, load_config
from guerrilla_tw.spool.administration import Administration, Entry
from guerrilla_tw.spool.claims import Claim, open_claim
from guerrilla_tw.spool.errors import SpoolError
from guerrilla_tw.spool.records import RecordError
from guerrilla_tw.spool.settings import SpoolConfig
from guerrilla_tw.spool_listing import age, as_json, description, header_lines, line_of, printable
from guerrilla_tw.users import RightsError, user_with

T = TypeVar("T")

# Seconds after which it is told how far long work has come, and between two times.
_PATIENCE: Final = 1.0


class SpoolCommand(Command):
    """A command that needs to know where the spool is."""

    optParameters: ClassVar = [["config", "c", None, "The daemon's configuration file (JSON)."]]

    def postOptions(self) -> None:
        """:raises UsageError: there is no file."""
        if not self["config"]:
            raise usage.UsageError("it needs --config FILE")

    def run(self) -> None:
        """See :meth:`.Command.run`."""
        file = self["config"]
        try:
            backend_config = load_config(file).config.backend_config
            directory = convert_settings(backend_config, SpoolConfig).spool_dir
        except ConfigError as error:
            raise CommandError(str(error.in_file(file))) from None
        if not directory:
            raise CommandError(f"{file}: backend_config.spool_dir: there is none")
        # What clients said is shown, and their letters need not be those of this terminal.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            spool = Administration(directory)
            # For root: links that its owner has made must not lead further than he gets himself.
            with user_with(spool.owner()).rights():
                self.work(spool)
        except (SpoolError, RecordError) as error:
            raise CommandError(printable(str(error))) from None
        except RightsError as error:
            raise CommandError(str(error.strerror)) from None

    def work(self, spool: Administration) -> None:
        """Do it with the spool."""
        raise NotImplementedError

    def chosen(self, spool: Administration, names: Sequence[str]) -> Iterator[Entry]:
        """
        Find messages.

        :param names: their queue ids; empty for all.
        :raises CommandError: one is not there.
        """
        files = spool.files()
        if names:
            files = [each for each in files if any(name in each[1] for name in names)]
        entries = spool.entries(with_progress(files, len(files)))
        missing = set(names)
        for entry in entries:
            if entry is not None and (not names or entry.queued_id in names):
                missing.discard(entry.queued_id)
                yield entry
        if missing:
            raise CommandError(f"not in the spool: {', '.join(map(printable, sorted(missing)))}")


class ListMessages(SpoolCommand):
    """List the messages in the spool."""

    synopsis = "--config FILE [options]"
    longdesc = "Lists messages, the oldest first: those to deliver, the dead, and damaged files."
    optFlags: ClassVar = [
        ["json", None, "Write JSON, an object a line, for programs."],
        ["dead", None, "Only those that will not be delivered."],
    ]

    def work(self, spool: Administration) -> None:
        """See :meth:`SpoolCommand.work`."""
        for entry in self.chosen(spool, ()):
            if self["dead"] and entry.state != "dead":
                continue
            print(as_json(entry) if self["json"] else line_of(entry))


class ShowMessage(SpoolCommand):
    """Show a message, or write it out."""

    synopsis = "--config FILE [options] ID"
    longdesc = "Shows what is known of a message, and its header; or writes it as it was received."
    optFlags: ClassVar = [
        ["json", None, "Write JSON, for programs."],
        ["raw", None, "Write the message itself to standard output, and nothing else."],
    ]

    def parseArgs(self, name: str = "") -> None:
        """:param name: queue id of the message."""
        self["id"] = name

    def postOptions(self) -> None:
        """:raises UsageError: it is not said which message."""
        super().postOptions()
        if not self["id"]:
            raise usage.UsageError("it needs the ID of a message")

    def work(self, spool: Administration) -> None:
        """See :meth:`SpoolCommand.work`."""
        for entry in list(self.chosen(spool, [self["id"]])):
            if self["json"]:
                print(as_json(entry))
                continue
            claim = None if entry.state == "damaged" else _open(entry)
            if not self["raw"]:
                print("\n".join(description(entry)))
            if claim is None:
                continue
            claim.check_body()
            if self["raw"]:
                sys.stdout.buffer.writelines(claim.body_pieces())
                return
            print("\n" + "\n".join(header_lines(claim)))


class _Changing(SpoolCommand):
    """A command that does something with messages."""

    synopsis = "--config FILE (--all | --dead | ID...)"
    optFlags: ClassVar = [
        ["all", None, "All messages."],
        ["dead", None, "All that will not be delivered."],
    ]

    def parseArgs(self, *names: str) -> None:
        """:param names: queue ids of messages."""
        self["ids"] = names

    def postOptions(self) -> None:
        """:raises UsageError: it is not said which messages."""
        super().postOptions()
        if bool(self["ids"]) + bool(self["all"]) + bool(self["dead"]) != 1:
            raise usage.UsageError("it needs one of: ids of messages, --dead, --all")
        # As of a variable that nothing is in. Damaged files may have none.
        if not all(self["ids"]):
            raise usage.UsageError("an id is empty")

    def change(self, spool: Administration, change: Callable[[Entry], bool], what: str) -> None:
        """
        Do it with each.

        :param change: says whether it was done.
        :param what: was done, for people.
        :raises CommandError: one is not there, or is being delivered.
        """
        count = busy = 0
        try:
            for entry in self.chosen(spool, self["ids"]):
                if self["dead"] and entry.state != "dead":
                    continue
                done = change(entry)
                count += done
                busy += not done
        finally:
            print(f"{count} {what}")
        if busy:
            raise CommandError(f"{busy} are being delivered just now, or cannot be read")


class RetryMessages(_Changing):
    """Deliver messages now."""

    longdesc = (
        "Has messages delivered as soon as a daemon looks, which is within seconds. The dead are "
        "tried again as if they had just come."
    )

    def work(self, spool: Administration) -> None:
        """See :meth:`SpoolCommand.work`."""
        self.change(spool, spool.retry, "to be delivered now")


class DeleteMessages(_Changing):
    """Delete messages for good."""

    longdesc = "Deletes messages for good. Nobody is told: their senders think that they have come."

    def work(self, spool: Administration) -> None:
        """See :meth:`SpoolCommand.work`."""
        self.change(spool, spool.delete, "deleted")


class CountMessages(SpoolCommand):
    """Count what is in the spool."""

    synopsis = "--config FILE [options]"
    longdesc = "Counts messages and octets, and says how old the oldest message is."
    optFlags: ClassVar = [["json", None, "Write JSON, for programs."]]

    def work(self, spool: Administration) -> None:
        """See :meth:`SpoolCommand.work`."""
        stats: dict[str, Any] = {"queue": 0, "dead": 0, "damaged": 0, "octets": 0}
        stats |= {"failed": 0, "oldest_seconds": 0.0}
        now = time.time()
        for entry in self.chosen(spool, ()):
            stats[entry.state] += 1
            stats["octets"] += entry.octets
            if entry.state == "queue":
                stats["failed"] += entry.attempts > 0
                stats["oldest_seconds"] = max(stats["oldest_seconds"], now - entry.received_at)
        stats["oldest_seconds"] = round(stats["oldest_seconds"], 3)
        if self["json"]:
            print(json.dumps(stats))
            return
        print(f"to deliver: {stats['queue']}, {stats['failed']} of them tried before")
        if stats["queue"]:
            print(f"the oldest: {age(stats['oldest_seconds'])}")
        print(f"dead: {stats['dead']}\ndamaged: {stats['damaged']}\noctets: {stats['octets']}")


class SpoolCommands(Command):
    """Look at the spool, and change what becomes of messages."""

    longdesc = (
        "Looks at the spool of a configuration, and changes what becomes of messages. It works "
        "while daemons run. Run it as their user, or as root."
    )
    subCommands: ClassVar = [
        ["list", None, ListMessages, "List messages."],
        ["show", None, ShowMessage, "Show a message."],
        ["retry", None, RetryMessages, "Deliver messages now."],
        ["delete", None, DeleteMessages, "Delete messages."],
        ["stats", None, CountMessages, "Count messages."],
    ]

    def postOptions(self) -> None:
        """:raises UsageError: it is not said what to do."""
        if self.subCommand is None:
            raise usage.UsageError("spool needs one of: list, show, retry, delete, stats")


def with_progress(items: Iterable[T], total: int) -> Iterator[T]:
    """
    Tell on standard error how far work has come that takes long.

    :param items: to work on.
    :param total: how many there are.
    """
    told = time.monotonic()
    has_told = False
    for number, item in enumerate(items):
        yield item
        now = time.monotonic()
        if now - told >= _PATIENCE:
            told, has_told = now, True
            end = "\r" if sys.stderr.isatty() else "\n"
            print(f"{number + 1} of {total}", end=end, file=sys.stderr, flush=True)
    if has_told:
        print(f"{total} of {total}", file=sys.stderr)


def _open(entry: Entry) -> Claim:
    claim = open_claim(entry.file, lock=False, write=False)
    if claim is None:
        raise CommandError(f"not in the spool any more: {entry.queued_id}")
    return claim
