"""Which processors there are, and their settings, as their own code and docstrings have it."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher
from zope.interface import implementer

from guerrilla_tw.backends.registry import Constructor, Registry, UnknownProcessor
from guerrilla_tw.config import Duration
from guerrilla_tw.interfaces import IBackendService, IInitializer, IShutdowner
from guerrilla_tw.mail.envelope import Envelope

T = TypeVar("T")

_WORDS: Mapping[object, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Duration: "a duration",
    types.NoneType: "null",
    Any: "any value",
}
# Up to the next field, or to a blank line.
_PARAMETER = re.compile(r"^:param (\w+): *(.*(?:\n(?!:).+)*)", re.MULTILINE)
# ``text``, `text`, :class:`name`, :class:`.name`, :class:`~module.name`
_MARKUP = re.compile(r"(?::\w+:)?``?(?:~[\w.]*\.|\.)?([^`]*)``?")


class Setting(msgspec.Struct, frozen=True):
    """
    A setting of ``backend_config`` that a processor reads.

    :param name: in the configuration.
    :param type: what JSON value it takes, in words.
    :param required: whether it must be there.
    :param default: the JSON value that it has otherwise.
    :param text: what it is for.
    """

    name: str
    type: str
    required: bool
    default: Any
    text: str


class ProcessorInfo(msgspec.Struct, frozen=True):
    """
    What there is to know of a processor.

    :param names: what it can be called in a chain, in any case.
    :param summary: what it does, in one line.
    :param constructor: dotted name.
    :param settings: in the order of its code.
    :param problem: why it cannot be used, in one line; empty if it can.
    """

    names: tuple[str, ...]
    summary: str = ""
    constructor: str = ""
    settings: tuple[Setting, ...] = ()
    problem: str = ""


def list_processors(registry: Registry) -> list[ProcessorInfo]:
    """
    Describe every processor that a registry finds.

    :returns: an entry for each; where it has several names, for all of them together.
    """
    found: dict[Constructor, tuple[str, ...]] = {}
    infos = []
    for name, load in registry.loaders().items():
        try:
            constructor = load()
        except Exception as error:
            infos.append(ProcessorInfo((name,), problem=one_line(error)))
        else:
            found[constructor] = (*found.get(constructor, ()), name)
    infos += [_describe(constructor, names) for constructor, names in found.items()]
    return sorted(infos, key=lambda info: info.names[0].lower())


def find_processor(registry: Registry, name: str) -> ProcessorInfo:
    """
    Describe one processor.

    :param name: in any case.
    :raises UnknownProcessor: there is none of this name.
    """
    infos = {name.lower(): info for info in list_processors(registry) for name in info.names}
    if name.lower() not in infos:
        raise UnknownProcessor(name, infos)
    return infos[name.lower()]


def one_line(error: BaseException) -> str:
    """Say what somebody's code has raised, in one printable line."""
    text = f"{type(error).__name__}: {error}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _describe(constructor: Constructor, names: tuple[str, ...]) -> ProcessorInfo:
    recorder = _Recorder(names[0])
    # It may want more of a configuration than there is here. What it has asked for is known.
    with suppress(Exception):
        constructor(recorder)
    settings: dict[str, Setting] = {}
    for setting in chain.from_iterable(map(_settings, recorder.kinds)):
        # Of types that share a setting the first tells.
        settings.setdefault(setting.name, setting)
    return ProcessorInfo(
        names,
        _plain((inspect.getdoc(constructor) or "").partition("\n")[0]),
        f"{constructor.__module__}.{constructor.__qualname__}",
        tuple(settings.values()),
    )


@implementer(IBackendService)
class _Recorder:
    """
    Lets a constructor say which settings it has, and takes no notice of what else it says.

    :param name: of the processor.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.config: Mapping[str, object] = {}
        self.reactor = Clock()
        self.workers = 1
        self.log = Logger("guerrilla_tw.inventory", observer=LogPublisher())
        self.timeout = 30.0
        self.kinds: list[type[Any]] = []

    def extract_config(self, config: Mapping[str, object], config_type: type[T]) -> T:
        self.kinds.append(config_type)
        example: T = _example(config_type)
        return example

    def time_for(self, envelope: Envelope) -> float:
        return self.timeout

    def is_set_before(self, attribute: str) -> bool:
        return True

    def is_named_in(self, setting: str) -> bool:
        return True

    def defer_to_worker(self, function: object, *args: object) -> Deferred[Any]:
        return Deferred()

    def add_initializer(self, initializer: IInitializer) -> None: ...

    def add_shutdowner(self, shutdowner: IShutdowner) -> None: ...

    def declare_file(self, path: str) -> None: ...

    def declare_store(self) -> None: ...

    def declare_set(self, attribute: str) -> None: ...

    def warn(self, advice: str) -> None: ...


def _example(kind: type[Any]) -> Any:
    """Make settings with what is not set at its default, and what must be set to something."""
    needed = {field.name: "example" for field in msgspec.structs.fields(kind) if field.required}

    def fill(settings: object) -> None:
        # What stands for "not set" becomes the default before something is refused.
        with suppress(Exception):
            kind.__post_init__(settings)

    lenient = msgspec.defstruct(kind.__name__, (), bases=(kind,), namespace={"__post_init__": fill})
    return lenient(**needed)


def _settings(kind: type[msgspec.Struct]) -> Iterator[Setting]:
    example = _example(kind)
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        texts.update(_PARAMETER.findall(inspect.cleandoc(base.__doc__ or "")))
    for field in msgspec.structs.fields(kind):
        yield Setting(
            field.encode_name,
            _in_words(field.type),
            field.required,
            None if field.required else _as_json(getattr(example, field.name)),
            _plain(texts.get(field.name, "")),
        )


def _in_words(kind: Any) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return _in_words(arguments[0])
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_in_words, arguments))
    if issubclass(origin, (Mapping, msgspec.Struct)):
        return "an object"
    if issubclass(origin, Iterable):
        words = _in_words(arguments[0]) if arguments else ""
        return f"a list of {words[2:]}s" if words.startswith("a ") else "a list"
    return str(origin.__name__)


def _as_json(value: object) -> object:
    if isinstance(value, Duration):
        return f"{value:g}s"
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))


def _plain(text: str) -> str:
    """Take the markup out of a text, and its line ends."""
    return " ".join(_MARKUP.sub(r"\1", text).split())
