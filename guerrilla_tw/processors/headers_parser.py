"""HeadersParser: the header fields and the subject of a message."""

from __future__ import annotations

from guerrilla_tw.backends.chain import process_with
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.interfaces import IBackendService, Task
from guerrilla_tw.mail.envelope import Envelope


def headers_parser(svc: IBackendService) -> Decorator:
    """
    Find the header fields and the subject (go-guerrilla: ``HeadersParser``).

    Sets ``envelope.header`` and ``envelope.subject``.
    """
    svc.declare_set("header")
    # Of a message in a file it reads the beginning only, which the kernel has in memory from the
    # writing: a thread would cost more.
    return process_with(svc, _parse, nonblocking=True)


def _parse(envelope: Envelope, task: Task) -> None:
    if task is Task.SAVE_MAIL:
        envelope.parse_headers()
