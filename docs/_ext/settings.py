"""
Directives for the settings of the configuration, out of their types.

``settings`` holds those of a type, ``processor`` those of a processor, and ``setting`` in it
describes one or several of them. The name, the type and the default come from the type, and what a
reload does with it from ``reload.csv``. A setting that is not described is an error of the build,
and so is one that is described and does not exist.
"""

from __future__ import annotations

import csv
import json
import socket
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.directives import ObjectDescription
from sphinx.util.nodes import make_id
from twisted.python.reflect import namedAny

from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.config import parse_duration
from guerrilla_tw.inventory import ProcessorInfo, Setting, find_processor
from guerrilla_tw.processors import BUILTIN

if TYPE_CHECKING:
    from sphinx.application import Sphinx

RELOAD = Path(__file__).resolve().parent.parent / "reload.csv"
# What to write before a setting's name, so that it is known which of several it is.
LEVELS: Mapping[str, str] = {
    "guerrilla_tw.config.Config": "",
    "guerrilla_tw.config.ServerConfig": "servers[].",
    "guerrilla_tw.config.TLSConfig": "servers[].tls.",
    "guerrilla_tw.backends.lanes.GatewayConfig": "backend_config.",
    "guerrilla_tw.spool.settings.SpoolConfig": "backend_config.",
}
_UNITS = (("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001))


def describe_type(dotted_name: str) -> ProcessorInfo:
    """:returns: what there is to know of a type of settings: as of a processor that reads it."""
    kind = namedAny(dotted_name)
    registry = Registry({})
    registry.add("type", lambda svc: svc.extract_config(svc.config, kind))
    return find_processor(registry, "type")


def describe_processor(name: str) -> ProcessorInfo:
    """:returns: what there is to know of a processor that comes with the daemon."""
    return find_processor(Registry(BUILTIN), name)


@cache
def read_reload() -> Mapping[str, tuple[str, str]]:
    """:returns: setting, with its level -> "yes" or "no", and when or why not."""
    with RELOAD.open(encoding="utf-8", newline="") as file:
        return {row["setting"]: (row["applied"], row["note"]) for row in csv.DictReader(file)}


def default_in_words(setting: Setting) -> str:
    """:returns: the default in reStructuredText; empty where only a text can say it."""
    if setting.required:
        return "must be there"
    value = setting.default
    if isinstance(value, dict) or (
        isinstance(value, list) and isinstance(value[0] if value else None, dict)
    ):
        return ""
    if value in (socket.gethostname(), [socket.gethostname()]):
        return "default: this host's name"
    if setting.type == "a duration":
        value = _go_duration(parse_duration(value))
    if not value and not isinstance(value, (int, float)):
        return "default: empty"
    return f"default: ``{json.dumps(value, ensure_ascii=False)}``{_in_bytes(value)}"


def _holds_objects(value: object) -> bool:
    return any(isinstance(one, dict) for one in (value if isinstance(value, list) else [value]))


def _in_bytes(value: object) -> str:
    """Say what a large power of two is."""
    for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
        if isinstance(value, int) and value >= size and value % size == 0:
            return f" ({value // size} {unit})"
    return ""


def _go_duration(seconds: float) -> str:
    """Write a duration with the largest unit that it is a whole number of."""
    for unit, length in _UNITS:
        number = round(seconds / length, 6)
        if number and number == int(number):
            return f"{int(number)}{unit}"
    return ""


class SettingsHolder(ObjectDescription[str]):
    """What the two directives that hold settings have in common."""

    option_spec: ClassVar[Any] = {**ObjectDescription.option_spec, "like": directives.unchanged}
    level = ""
    info: ProcessorInfo

    def before_content(self) -> None:
        """Let the settings in the content know whose they are."""
        # Those that are described where another processor is.
        self.elsewhere = {
            (setting.name, setting.type, json.dumps(setting.default))
            for name in self.options.get("like", "").split()
            for setting in describe_processor(name).settings
        }
        self.left = {setting.name: setting for setting in self.info.settings}
        self.env.temp_data["settings"] = self

    def after_content(self) -> None:
        """Complain of settings that were not described."""
        self.env.temp_data["settings"] = None
        for setting in self.left.values():
            key = (setting.name, setting.type, json.dumps(setting.default))
            if key not in self.elsewhere:
                raise self.error(f"the setting {setting.name} is not described")

    def take(self, name: str) -> Setting:
        """:returns: a setting that is being described now."""
        if name not in self.left:
            raise self.error(f"there is no setting {name}, or it is described twice")
        return self.left.pop(name)


class Settings(SettingsHolder):
    """``.. settings:: dotted.name.of.a.type``: settings of a type. It shows nothing of its own."""

    def run(self) -> list[nodes.Node]:
        """:returns: the content."""
        dotted_name = self.arguments[0].strip()
        self.level = LEVELS[dotted_name]
        self.info = describe_type(dotted_name)
        self.before_content()
        content = self.parse_content_to_nodes(allow_section_headings=True)
        self.after_content()
        return content


class Processor(SettingsHolder):
    """``.. processor:: name``, in all its spellings: a processor and its settings."""

    level = "backend_config."

    def handle_signature(self, sig: str, signode: addnodes.desc_signature) -> str:
        """Show the name."""
        self.info = describe_processor(sig)
        signode += addnodes.desc_name(sig, sig)
        return sig

    def add_target_and_index(self, name: str, sig: str, signode: addnodes.desc_signature) -> None:
        """Let ``:processor:`` find it."""
        _note(self, "processor", name, name, signode)


class SettingDirective(ObjectDescription[str]):
    """``.. setting:: name``: one setting, or several, each on a line."""

    option_spec: ClassVar[Any] = {
        **ObjectDescription.option_spec,
        "ours": directives.flag,
        # Where the type only says that it may be empty.
        "default": directives.unchanged_required,
    }

    @property
    def _holder(self) -> SettingsHolder:
        holder: SettingsHolder | None = self.env.temp_data.get("settings")
        if holder is None:
            raise self.error("a setting stands in a settings or a processor directive")
        return holder

    def handle_signature(self, sig: str, signode: addnodes.desc_signature) -> str:
        """Show the name, the type and the default."""
        setting = self._holder.take(sig)
        signode += addnodes.desc_name(sig, sig)
        default = self._default_instead_of(default_in_words(setting))
        facts = [setting.type, default, *(["ours"] if self._is_ours else [])]
        text = ", ".join(filter(None, facts))
        parsed, messages = self.parse_inline(f" {text}")
        signode += addnodes.desc_annotation("", "", nodes.Text("  "), *parsed, *messages)
        return sig

    def _default_instead_of(self, found: str) -> str:
        written: str | None = self.options.get("default")
        if written is None:
            return found
        if found != "default: empty":
            raise self.error("the type says what the default is")
        return written if written == "must be there" else f"default: {written}"

    @property
    def _is_ours(self) -> bool:
        return "ours" in self.options

    def add_target_and_index(self, name: str, sig: str, signode: addnodes.desc_signature) -> None:
        """Let ``:setting:`` find it, by its name with the level."""
        level = self._holder.level
        processor = "" if level != "backend_config." else self._holder.info.names[0].lower()
        target = f"{level}{name}"
        if processor and processor != "type":
            target = f"{processor}.{name}"
        _note(self, "setting", target, name, signode)

    def transform_content(self, content_node: addnodes.desc_content) -> None:
        """Say below the text what a reload does."""
        names = [self._holder.level + name for name in self.names]
        content_node += [
            nodes.paragraph("", "", nodes.emphasis("", "Reload: "), nodes.Text(text))
            for text in dict.fromkeys(self._reload(name) for name in names)
        ]

    def _reload(self, name: str) -> str:
        if name not in read_reload():
            raise self.error(f"{RELOAD.name} does not have {name}")
        applied, note = read_reload()[name]
        return f"{applied}, {note}" if note else applied


def _note(
    directive: ObjectDescription[str],
    kind: str,
    target: str,
    name: str,
    signode: addnodes.desc_signature,
) -> None:
    node_id = make_id(directive.env, directive.state.document, kind, target)
    signode["ids"].append(node_id)
    directive.env.domains.standard_domain.note_object(kind, target, node_id, location=signode)
    directive.indexnode["entries"].append(("single", f"{name} ({kind})", node_id, "", None))


class ReloadTable(ObjectDescription[str]):
    """``.. reload-table::``: all of ``reload.csv``, with links to the settings."""

    required_arguments = 0

    def run(self) -> list[nodes.Node]:
        """:returns: the table."""
        self.env.note_dependency(str(RELOAD))
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 40 10 50", ""]
        rows: Iterable[tuple[str, str, str]] = (
            (f"``{name}``", applied, note) for name, (applied, note) in read_reload().items()
        )
        for cells in [("Setting", "Applied", "When, or why not"), *rows]:
            lines += [f"   {'* -' if not i else '  -'} {cell}" for i, cell in enumerate(cells)]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directives known."""
    for kind, directive in (("setting", SettingDirective), ("processor", Processor)):
        app.add_object_type(kind, kind)
        app.add_directive_to_domain("std", kind, directive, override=True)
    app.add_directive("settings", Settings)
    app.add_directive("reload-table", ReloadTable)
    return {"parallel_read_safe": True}
