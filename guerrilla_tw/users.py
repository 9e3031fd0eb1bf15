"""Whom a process is about to become."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

# Nogroup's number on Linux: no file is its own, or should be.
_NO_GROUP: Final = 65534


class RightsError(OSError):
    """A process of root's may not have another user's rights, as in a container without them."""


@dataclass(frozen=True)
class User:
    """
    Whom a process of root's is about to become, for ever.

    What such a user may change must not be opened by root: links in it may lead anywhere.

    :param uid: of the user, -1 for the one that the process has.
    :param gid: of the user's main group, -1 for the one that the process has.
    """

    uid: int = -1
    gid: int = -1

    @property
    def name(self) -> str:
        """What the user is called, or the number of one who has no name."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    @property
    def has_come(self) -> bool:
        """Whether the process is that user now, and was another before."""
        return self.uid > 0 and self.uid == os.geteuid()

    @contextmanager
    def rights(self) -> Iterator[None]:
        """
        Have that user's rights and no others for a while. For root, while it has one thread.

        :raises RightsError: it may not have them.
        :raises PermissionError: what was done in it raised one; the user is named.
        """
        is_another = os.geteuid() == 0 and self.uid > 0
        with ExitStack() as undo:
            try:
                self._take_rights(undo)
            except OSError as error:
                whose = f"user {self.name}" if is_another else f"group {self.gid}"
                cause = f"cannot take the rights of {whose}: {error.strerror}"
                raise RightsError(error.errno, cause) from None
            try:
                yield
            except PermissionError as error:
                if is_another:
                    error.strerror = f"{error.strerror} for user {self.name}"
                raise

    def _take_rights(self, undo: ExitStack) -> None:
        """:param undo: is given what gives them up again, for each step that was made."""
        if os.geteuid() != 0:
            return
        if self.gid >= 0:
            gid = os.getegid()
            os.setegid(self.gid)
            undo.callback(os.setegid, gid)
        if self.uid > 0:
            groups = os.getgroups()
            os.setgroups(os.getgrouplist(self.name, os.getegid()))
            undo.callback(os.setgroups, groups)
            os.seteuid(self.uid)
            undo.callback(os.seteuid, 0)


def user_with(uid: int) -> User:
    """
    Find a user by his number.

    :returns: him with his main group. Who has no name has none that is known, and gets nogroup: the
        one of his own number may be somebody's.
    """
    try:
        return User(uid, pwd.getpwuid(uid).pw_gid)
    except KeyError:
        return User(uid, _NO_GROUP)


#: Nobody else than it is.
SAME_USER: Final = User()
