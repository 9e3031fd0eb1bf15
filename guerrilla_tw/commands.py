"""``python -m guerrilla_tw``: what there is to do beside running the daemon."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import ClassVar

import msgspec
from twisted.logger import LogEvent
from twisted.python import usage

from guerrilla_tw.backends.registry import Registry, UnknownProcessor
from guerrilla_tw.command import Command, CommandError
from guerrilla_tw.config import ConfigError, load_config
from guerrilla_tw.inventory import (
    ProcessorInfo,
    Setting,
    find_processor,
    list_processors,
    one_line,
)
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.spool_commands import SpoolCommands

_PROGRAM = "python -m guerrilla_tw"
_WIDTH = 90
# Exit status where the command line is wrong; for everything else it is 1.
_USAGE = 2


class ListProcessors(Command):
    """Tell which processors there are."""

    synopsis = "[options] [NAME]"
    longdesc = (
        "Lists every processor that a chain can name here, in any case: those that come with "
        "the daemon, and those of plugins (twisted/plugins/*.py where Python finds modules). With "
        "NAME, only that one. The settings go into backend_config of the configuration."
    )
    optFlags: ClassVar = [["json", None, "Write JSON, for programs."]]

    def parseArgs(self, name: str = "") -> None:
        """:param name: of the only processor to be told of."""
        self["name"] = name

    def run(self) -> None:
        """See :meth:`Command.run`."""
        registry = Registry(BUILTIN)
        name = self["name"]
        try:
            infos = [find_processor(registry, name)] if name else list_processors(registry)
        except UnknownProcessor as error:
            raise CommandError(str(error)) from None
        if self["json"]:
            print(json.dumps(msgspec.to_builtins(infos), indent=2, ensure_ascii=False))
        else:
            print("\n\n".join("\n".join(_describe(info)) for info in infos))


class CreateTable(Command):
    """Make the table for mail, or show how it is made."""

    synopsis = "--config FILE [options]"
    longdesc = (
        "Makes the table that the configuration's SQL processor stores in, if it is not there. The "
        "database must be there, and its user needs the rights to CREATE, and with MySQL to INDEX."
    )
    optParameters: ClassVar = [["config", "c", None, "The daemon's configuration file (JSON)."]]
    optFlags: ClassVar = [["print", None, "Only show the SQL. No database is opened."]]

    def postOptions(self) -> None:
        """:raises UsageError: there is no file."""
        if not self["config"]:
            raise usage.UsageError("create-table needs --config FILE")

    def run(self) -> None:
        """See :meth:`Command.run`."""
        # For this command only, since SQLAlchemy takes a while.
        from guerrilla_tw.backends.errors import StoreError
        from guerrilla_tw.processors.sql.schema import create_tables, table_ddl

        file = self["config"]
        try:
            backend_config = load_config(file).config.backend_config
            if self["print"]:
                lines = [statement + ";" for statement in table_ddl(backend_config)]
            else:
                lines = create_tables(backend_config)
        except ConfigError as error:
            raise CommandError(str(error.in_file(file))) from None
        except StoreError as error:
            raise CommandError(f"{file}: {error}") from None
        print("\n".join(lines))


class Options(Command):
    """The command line."""

    longdesc = (
        "The daemon itself is started by: twistd guerrilla --config config.json. "
        f"What a command does is told by: {_PROGRAM} COMMAND --help"
    )
    subCommands: ClassVar = [
        ["processors", None, ListProcessors, "List the processors and their settings."],
        ["create-table", None, CreateTable, "Make the table that mail is stored in."],
        ["spool", None, SpoolCommands, "Look at the spool; retry or delete its messages."],
    ]

    def getSynopsis(self) -> str:
        """:returns: the beginning of a command's own, or the whole of ours."""
        return f"Usage: {_PROGRAM}" + ("" if self.subCommand else " COMMAND [options]")


def main(arguments: Sequence[str]) -> int:
    """
    Do what a command line says.

    :param arguments: without the program's name.
    :returns: the exit status.
    """
    options = Options()
    if not arguments:
        print(options, file=sys.stderr)
        return _USAGE
    try:
        options.parseOptions(list(arguments))
        options.run()
    except usage.UsageError as error:
        help_of = f" {options.subCommand}" if options.subCommand else ""
        print(f"{error}\nTry: {_PROGRAM}{help_of} --help", file=sys.stderr)
        return _USAGE
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def tell_failure(event: LogEvent) -> None:
    """
    Observe Twisted's log: tell in one line what it has a traceback for.

    What comes with a failure here is a plugin file that Twisted could not read.
    """
    # Twisted logs it in its older way.
    failure = event.get("failure")
    if failure is not None:
        error = failure.value
        _, file, line, *_ = failure.frames[-1]
        if isinstance(error, SyntaxError):
            file, line = error.filename, error.lineno
        print(f"{file}:{line}: {one_line(error)}", file=sys.stderr)


def _describe(info: ProcessorInfo) -> Iterator[str]:
    yield ", ".join(info.names)
    yield from _indented(info.summary, 4)
    if info.problem:
        yield from _indented(f"CANNOT BE USED: {info.problem}", 4)
    for setting in info.settings:
        yield ""
        yield f"    {setting.name}: {_kind(setting)}"
        yield from _indented(setting.text, 8)


def _kind(setting: Setting) -> str:
    if setting.required:
        return f"{setting.type}, must be there"
    return f"{setting.type}, by default {json.dumps(setting.default, ensure_ascii=False)}"


def _indented(text: str, by: int) -> list[str]:
    blanks = " " * by
    return textwrap.wrap(
        text, _WIDTH, initial_indent=blanks, subsequent_indent=blanks, break_on_hyphens=False
    )
