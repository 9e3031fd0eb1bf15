"""What is told of processors, from their own code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal, Optional

import msgspec
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass

from guerrilla_tw import inventory
from guerrilla_tw.backends.registry import Constructor, Decorator, Registry, UnknownProcessor
from guerrilla_tw.config import ConfigError, Duration, set_default
from guerrilla_tw.interfaces import IBackendService
from guerrilla_tw.inventory import ProcessorInfo, Setting, find_processor, list_processors
from guerrilla_tw.processors import BUILTIN


class OtherConfig(msgspec.Struct, frozen=True):
    other: str = ""
    size: int = 2


class BaseConfig(msgspec.Struct, frozen=True):
    """
    Settings.

    :param path: where ``it`` is, in the form of
        :class:`~guerrilla_tw.config.Config`,
        by :func:`.load_config`.
    :param size: not what is meant here.

    More that is no setting.
    """

    path: str
    size: int = 1


class AllKindsConfig(BaseConfig, frozen=True):
    """
    Settings.

    :param size: octets; 0 for the default.
    :param wait: how long.
    :raises ConfigError: it does so always here.
    """

    wait: Duration = Duration(0)
    share: float = 0.5
    on: bool = True
    names: tuple[str, ...] = ("a",)
    numbers: list[int] = msgspec.field(default_factory=list)
    anything: Sequence[Any] = ()
    users: Mapping[str, str] = msgspec.field(default_factory=dict)
    colour: Literal["red", "blue"] = "red"
    maybe: Optional[str] = None  # noqa: UP045  # both forms
    either: int | str = 5
    bounded: Annotated[int, msgspec.Meta(ge=0)] = 3
    whatever: Any = None
    since: date = date(2000, 1, 1)
    nested: OtherConfig = OtherConfig()
    in_json: int = msgspec.field(default=7, name="in-json")

    def __post_init__(self) -> None:
        set_default(self, "wait", Duration(1.5))
        raise ConfigError("refused", "path")


def all_kinds(svc: IBackendService) -> Decorator:
    """
    Do ``all`` that there is (see :class:`.AllKindsConfig`).

    And more.
    """
    config = svc.extract_config(svc.config, AllKindsConfig)
    if config.wait != 1.5 or not svc.is_set_before("hashes"):
        raise AssertionError("not an example to go on with")
    return undocumented(svc)


def undocumented(svc: IBackendService) -> Decorator:
    svc.extract_config(svc.config, OtherConfig)
    return lambda following: following


def failing(svc: IBackendService) -> Decorator:
    """Fail."""
    config = svc.extract_config(svc.config, OtherConfig)
    raise OSError(f"no {config.other!r}")


def without_settings(svc: IBackendService) -> Decorator:
    """Do all that a constructor may do."""
    svc.declare_store()
    svc.declare_set("hashes")
    svc.warn("oh")
    svc.log.critical("oh")
    svc.add_initializer(None)  # type: ignore[arg-type]
    svc.add_shutdowner(None)  # type: ignore[arg-type]
    svc.defer_to_worker(without_settings)
    svc.reactor.callLater(svc.timeout / svc.workers, without_settings)
    svc.extract_config({**svc.config, "name": svc.name}, OtherConfig)
    return lambda following: following


def describe(constructor: Constructor) -> ProcessorInfo:
    registry = Registry({})
    registry.add("It", constructor)
    (info,) = [info for info in list_processors(registry) if info.names == ("It",)]
    return info


class DescriptionTests(SynchronousTestCase):
    def test_recorder_is_all_that_a_constructor_knows(self) -> None:
        verifyClass(IBackendService, inventory._Recorder)

    def test_summary_and_constructor(self) -> None:
        info = describe(all_kinds)
        self.assertEqual(info.summary, "Do all that there is (see AllKindsConfig).")
        self.assertEqual(info.constructor, "tests.test_inventory.all_kinds")
        self.assertEqual(info.problem, "")

    def test_settings(self) -> None:
        settings = {setting.name: setting for setting in describe(all_kinds).settings}
        self.assertEqual(
            [(name, setting.type, setting.default) for name, setting in settings.items()],
            [
                ("path", "a string", None),
                ("size", "a whole number", 1),
                ("wait", "a duration", "1.5s"),
                ("share", "a number", 0.5),
                ("on", "true or false", True),
                ("names", "a list of strings", ["a"]),
                ("numbers", "a list of whole numbers", []),
                ("anything", "a list", []),
                ("users", "an object", {}),
                ("colour", "'red' or 'blue'", "red"),
                ("maybe", "a string or null", None),
                ("either", "a whole number or a string", 5),
                ("bounded", "a whole number", 3),
                ("whatever", "any value", None),
                ("since", "date", "2000-01-01"),
                ("nested", "an object", {"other": "", "size": 2}),
                ("in-json", "a whole number", 7),
                ("other", "a string", ""),
            ],
        )
        self.assertEqual([name for name, setting in settings.items() if setting.required], ["path"])

    def test_texts(self) -> None:
        (path, _, wait, share, *_) = describe(all_kinds).settings
        self.assertEqual(path.text, "where it is, in the form of Config, by load_config.")
        self.assertEqual(wait.text, "how long.")
        self.assertEqual(share.text, "")

    def test_a_type_describes_a_setting_anew(self) -> None:
        class Config(BaseConfig, frozen=True):
            """:param size: octets."""

        def construct(svc: IBackendService) -> Decorator:
            svc.extract_config(svc.config, Config)
            return lambda following: following

        size = describe(construct).settings[1]
        self.assertEqual(size, Setting("size", "a whole number", False, 1, "octets."))

    def test_constructor_that_fails_has_told_enough(self) -> None:
        info = describe(failing)
        self.assertEqual(([setting.name for setting in info.settings]), ["other", "size"])
        self.assertEqual(info.problem, "")

    def test_constructor_without_docstring(self) -> None:
        self.assertEqual(describe(undocumented).summary, "")

    def test_nothing_comes_of_what_a_constructor_does(self) -> None:
        info = describe(without_settings)
        self.assertEqual(info.summary, "Do all that a constructor may do.")
        self.assertEqual(len(info.settings), 2)


class ListTests(SynchronousTestCase):
    def setUp(self) -> None:
        here = "tests.test_inventory"
        self.registry = Registry(
            {
                "Failing": f"{here}.failing",
                "AlsoFailing": f"{here}.failing",
                "Broken": "tests.no_such_module.broken",
                "Undocumented": f"{here}.undocumented",
            }
        )

    def ours(self) -> list[ProcessorInfo]:
        """:returns: without the plugins of whoever runs the tests."""
        names = {"AlsoFailing", "Broken", "Undocumented"}
        return [info for info in list_processors(self.registry) if names & {*info.names}]

    def test_names_of_one_processor_stand_together(self) -> None:
        names = [info.names for info in self.ours()]
        self.assertEqual(names, [("AlsoFailing", "Failing"), ("Broken",), ("Undocumented",)])

    def test_what_cannot_be_imported_is_told_and_no_end(self) -> None:
        broken = self.ours()[1]
        self.assertRegex(broken.problem, r"\AAttributeError: .*no_such_module.*\Z")
        self.assertEqual(broken.settings, ())

    def test_problem_is_one_line(self) -> None:
        self.assertEqual(inventory.one_line(OSError("a\nb\x1b")), "OSError: a\\nb\\x1b")

    def test_find(self) -> None:
        self.assertEqual(find_processor(self.registry, "failing"), self.ours()[0])
        error = self.assertRaises(UnknownProcessor, find_processor, self.registry, "Brocken")
        self.assertEqual(str(error), "unknown processor 'Brocken' (did you mean broken?)")


class BuiltInTests(SynchronousTestCase):
    """The processors that come with the daemon have something to tell."""

    def setUp(self) -> None:
        built_in = {name.lower() for name in BUILTIN}
        self.infos = [
            info
            for info in list_processors(Registry(BUILTIN))
            if built_in & {name.lower() for name in info.names}
        ]

    def test_all_can_be_used(self) -> None:
        self.assertEqual([info.problem for info in self.infos if info.problem], [])
        names = {name.lower() for info in self.infos for name in info.names}
        self.assertEqual(names, {name.lower() for name in BUILTIN})

    def test_each_says_what_it_does(self) -> None:
        for info in self.infos:
            self.assertRegex(info.summary, r"\A[A-Z].{10,90}\.\Z", info.names)
            self.assertNotIn("Make the processor", info.summary, info.names)

    def test_each_setting_has_a_text(self) -> None:
        for info in self.infos:
            for setting in info.settings:
                self.assertNotEqual(setting.text, "", f"{info.names[0]}: {setting.name}")

    def test_some_settings(self) -> None:
        (wildcard,) = [info for info in self.infos if info.names[0].lower() == "wildcard"]
        recipients, file = wildcard.settings
        self.assertEqual(recipients.type, "a list of strings")
        self.assertEqual((file.name, file.default, file.required), ("wildcard_file", "", False))
