"""A directive for interfaces of zope.interface, which are no classes, so that autodoc fails."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from twisted.python.reflect import namedAny
from zope.interface.interface import InterfaceClass, Method

if TYPE_CHECKING:
    from sphinx.application import Sphinx


class Interface(SphinxDirective):
    """
    ``.. interface:: dotted.name``: an interface with all that it asks for.

    The name is the one to import it by, wherever it is defined.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """:returns: the description."""
        name = self.arguments[0]
        return self.parse_text_to_nodes("\n".join(_describe(name, namedAny(name))))


def _describe(name: str, interface: InterfaceClass) -> Iterator[str]:
    yield f".. py:class:: {name}"
    yield f"   :canonical: {interface.__module__}.{interface.__name__}"
    yield ""
    yield from _indented(interface.__doc__)
    bases = [base.__name__ for base in interface.__bases__ if base.__name__ != "Interface"]
    if bases:
        yield f"   As :class:`.{bases[0]}`, and:"
        yield ""
    for member_name, member in interface.namesAndDescriptions():
        if isinstance(member, Method):
            yield f"   .. py:method:: {member_name}{member.getSignatureString()}"
        else:
            yield f"   .. py:attribute:: {member_name}"
        yield ""
        yield from (f"   {line}" for line in _indented(member.__doc__))


def _indented(text: str) -> Iterator[str]:
    for line in cleandoc(text).splitlines():
        yield f"   {line}"
    yield ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("interface", Interface)
    return {"parallel_read_safe": True}
