"""Whom a process is about to become."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final


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

        :raises PermissionError: what was done in it raised one; the user is named.
        """
        is_another = os.geteuid() == 0 and self.uid > 0
        with ExitStack() as undo:
            if os.geteuid() == 0 and self.gid >= 0:
                undo.callback(os.setegid, os.getegid())
                os.setegid(self.gid)
            if is_another:
                undo.callback(os.setgroups, os.getgroups())
                os.setgroups(os.getgrouplist(self.name, os.getegid()))
                undo.callback(os.seteuid, 0)
                os.seteuid(self.uid)
            try:
                yield
            except PermissionError as error:
                if is_another:
                    error.strerror = f"{error.strerror} for user {self.name}"
                raise


def user_with(uid: int) -> User:
    """
    Find a user by his number.

    :returns: him with his main group. Who has no name has none that is known, and gets the one of
        his own number: not one of root's.
    """
    try:
        return User(uid, pwd.getpwuid(uid).pw_gid)
    except KeyError:
        return User(uid, uid)


#: Nobody else than it is.
SAME_USER: Final = User()
