"""Has autodoc show types as they are written: what they stand for is long, or an interface."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


# What the decorator makes of it.
_RESULTS = {"InlineCallbacks": "Deferred[None]"}


def as_written(
    app: Sphinx,
    what: str,
    name: str,
    documented: Any,
    options: Any,
    arguments: str | None,
    returned: str | None,
) -> tuple[str, str] | None:
    """:returns: the arguments and the result of a function, method or class; None for the usual."""
    if not arguments or what not in ("class", "exception", "function", "method"):
        return None
    signature = inspect.signature(documented)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    if not all(isinstance(parameter.annotation, str) for parameter in parameters):
        return None
    parameters = [p.replace(annotation=_Written(p.annotation)) for p in parameters]
    result = _RESULTS.get(signature.return_annotation, signature.return_annotation)
    shown = str(inspect.Signature(parameters))
    return shown, result if isinstance(result, str) and what in ("function", "method") else ""


class _Written:
    """An annotation that is shown without quotes."""

    def __init__(self, annotation: object) -> None:
        self._annotation = annotation

    def __repr__(self) -> str:
        return str(self._annotation)


def setup(app: Sphinx) -> dict[str, bool]:
    """Make it known."""
    app.connect("autodoc-process-signature", as_written)
    return {"parallel_read_safe": True}
