"""Hasher: a name for each recipient's copy of a message."""

from __future__ import annotations

from hashlib import blake2s

from guerrilla_tw.backends.chain import process_with
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.interfaces import IBackendService, Task
from guerrilla_tw.mail.envelope import Envelope

# 128 bits, as wide as go-guerrilla's MD5, so that its tables hold them.
_DIGEST_OCTETS = 16


def hasher(svc: IBackendService) -> Decorator:
    """
    Make a hash for each recipient, a name for its copy (go-guerrilla: ``Hasher``).

    Sets ``envelope.hashes``: for each recipient BLAKE2s-128, in hex, of the queue id, the
    sender, the subject and the recipient. The queue id makes them unique, and the same again
    when the same message is tried a second time.
    """
    svc.declare_set("hashes")
    return process_with(svc, _hash, nonblocking=True)


def _hash(envelope: Envelope, task: Task) -> None:
    if task is not Task.SAVE_MAIL:
        return
    # The parts are set apart by NUL, which none of them holds.
    parts = f"{envelope.queued_id}\0{envelope.mail_from}\0{envelope.subject}\0"
    message = blake2s(parts.encode(), digest_size=_DIGEST_OCTETS)
    hashes = []
    for recipient in envelope.rcpt_to:
        copy = message.copy()
        copy.update(str(recipient).encode())
        hashes.append(copy.hexdigest())
    envelope.hashes = hashes
