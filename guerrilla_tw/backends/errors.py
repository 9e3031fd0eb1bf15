"""What processors raise, whichever they are."""

from __future__ import annotations


class StoreError(Exception):
    """
    A store cannot be used, so that the daemon does not start.

    :param text: says what and why in one line, without a password.
    """
