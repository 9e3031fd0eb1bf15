"""What can be known of a command in the documentation without running it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import redirect_stderr
from io import StringIO

from twisted.python.usage import UsageError
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]

from bench import options as bench
from guerrilla_tw import commands, tap
from tests.docs.blocks import ROOT

# Programs of the system, and examples that are installed there, which are not to be checked here.
SYSTEM = """
    cat certbot chown cp curl dig groupadd guerrilla-certificate install journalctl logrotate ls
    mkdir mv openssl redis-cli rm setcap sqlite3 ss sysctl systemctl systemd-analyze ulimit useradd
    usermod
"""
_SWAKS = """
    --data --ehlo --from --header --helo --lmtp --protocol --proxy-dest --proxy-dest-port
    --proxy-family --proxy-source --proxy-source-port --proxy-version --quit-after --server --silent
    --socket --tls --tlsc --to --xclient-addr --xclient-name
"""
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
# Users and groups that this machine does not have.
_OWNER = re.compile(r"(--uid|--gid)(=.*)?")


class BadCommand(Exception):
    """A command that cannot work. The text says why."""


def split_commands(text: str, prompted: bool) -> Iterator[list[str]]:
    """
    Find the commands in a block.

    :param text: the block.
    :param prompted: whether commands have a prompt, ``$`` or ``#`` for root; all else is output.
    :returns: the words of each simple command.
    :raises BadCommand: a quote has no end, or something is neither a command nor known output.
    """
    pending = ""
    for line in text.splitlines():
        if not pending and prompted and line[:2] not in ("$ ", "# "):
            if not re.fullmatch(r".*: (?:OK|warning: .*)|", line):
                raise BadCommand(f"what is {line!r}?")
            continue
        pending += line[2:] if prompted and not pending else line
        try:
            words = [] if pending.endswith("\\") else shlex.split(pending)
        except ValueError:  # A quote goes on.
            pending += "\n"
            continue
        pending = "" if words else pending.removesuffix("\\")
        yield from _simple_commands(words)
    if pending.strip():
        raise BadCommand(f"{pending!r} has no end")


def _simple_commands(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in [*words, ";"]:
        if word in (";", "|", "&&", "||"):
            while command and _ASSIGNMENT.fullmatch(command[0]):
                del command[0]
            if command:
                yield command
            command = []
        else:
            command.append(word)


def check_command(words: list[str]) -> None:
    """
    Check one command.

    :param words: the program, and its arguments.
    :raises BadCommand: it cannot work.
    """
    program = words[0].rpartition("/")[2]
    check = _CHECKS.get(program)
    if check is not None:
        check(words[1:])
    elif program not in SYSTEM.split():
        raise BadCommand(f"{program} is not known here")


def _check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        pattern = rf"(?m)^{re.escape(name)}" + (r" \?=" if equals else ":")
        _need(re.search(pattern, makefile), f"make has no {name}")


def _check_twistd(arguments: list[str]) -> None:
    _need("guerrilla" in arguments, "twistd is not told to run guerrilla")
    at = arguments.index("guerrilla")
    own = [_OWNER.sub(r"\1=0", argument) for argument in arguments[:at]]
    _parse(ServerOptions(), own)
    _parse(tap.Options(), arguments[at + 1 :])


def _parse(options: ServerOptions | tap.Options | commands.Options, arguments: list[str]) -> None:
    try:
        options.parseOptions(arguments)
    except UsageError as error:
        raise BadCommand(str(error)) from None
    except SystemExit:  # --help, --version.
        pass


def _check_python(arguments: list[str]) -> None:
    first, rest = arguments[0], arguments[1:]
    if first == "-c":
        compile(rest[0], "-c", "exec")
    elif first == "-m":
        _check_module(rest[0], rest[1:])
    else:
        _need((ROOT / first).is_file(), f"there is no {first}")
        program = (ROOT / first).read_text(encoding="utf-8")
        for option in filter(re.compile("--").match, rest):
            _need(f'"{option.partition("=")[0]}"' in program, f"{first} has no {option}")


def _check_module(name: str, arguments: list[str]) -> None:
    if name == "twisted":
        _need(arguments[:1] == ["guerrilla"], "twisted is not told to run guerrilla")
        _parse(tap.Options(), arguments[1:])
    elif name == "guerrilla_tw":
        _parse(commands.Options(), arguments)
    elif name == "pip":
        _check_pip(arguments)
    elif name.startswith("tests."):
        path = ROOT / name.replace(".", "/")
        _need(path.is_dir() or path.with_suffix(".py").is_file(), f"there is no {name}")
    elif name == "bench":
        _check_bench(arguments)
    elif name in ("bench.idle_clients", "bench.large_messages"):
        _need(not arguments, f"{name} is documented without arguments")
    elif name not in ("venv", "twisted.trial"):
        raise BadCommand(f"{name} is not known here")


def _check_bench(arguments: list[str]) -> None:
    try:
        with redirect_stderr(StringIO()) as said:
            bench.parser().parse_args(arguments)
    except SystemExit as error:
        _need(not error.code, said.getvalue())


def _check_pip(arguments: list[str]) -> None:
    _need(arguments[0] == "install", "pip is not told to install")
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    for argument in arguments[1:]:
        for extra in filter(None, re.sub(r".*\[(.*)\]|.*", r"\1", argument).split(",")):
            _need(extra in setup["options.extras_require"], f"there is no extra {extra}")


def _check_trial(arguments: list[str]) -> None:
    for argument in arguments:
        path = ROOT
        for part in argument.split("."):
            if path.is_dir():
                path = path / part if (path / part).is_dir() else (path / part).with_suffix(".py")
        _need(path.exists(), f"there is no test {argument}")


def _check_swaks(arguments: list[str]) -> None:
    for argument in arguments:
        known = not argument.startswith("-") or argument in _SWAKS.split()
        _need(known, f"swaks has no {argument}")


def _check_kill(arguments: list[str]) -> None:
    _need(arguments[0] in ("-HUP", "-USR1", "-TERM", "-INT"), f"kill {arguments[0]}?")


def _check_docker(arguments: list[str]) -> None:
    if arguments[0] == "build":
        file = arguments[arguments.index("--file") + 1]
        _need((ROOT / file).is_file(), f"there is no {file}")


def _need(condition: object, cause: str) -> None:
    if not condition:
        raise BadCommand(cause)


_CHECKS: dict[str, Callable[[list[str]], None]] = {
    "docker": _check_docker,
    "kill": _check_kill,
    "make": _check_make,
    "pip": _check_pip,
    "python": _check_python,
    "python3": _check_python,
    "swaks": _check_swaks,
    "trial": _check_trial,
    "twistd": _check_twistd,
}
