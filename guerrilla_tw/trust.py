"""
Who else can write to a place, and so decides what is read there.

A daemon is what its configuration, its plugins and its spool say. Where somebody else can change
them, or anything on the way to them, he has the rights of the daemon. To be asked before such a
place is used, and its answer to be refused or told::

    stranger = who_else_writes(config.spool_dir, {os.geteuid(), user.uid})
    if stranger is not None:
        raise ConfigError(str(stranger), "spool_dir")

``everybody_writes`` asks less: who owns a file that an administrator has named, or its group, is
his affair. It is for what is only to be told.

It tells what is so at the moment. Whoever makes a file or a directory gives it its mode at once
(``os.open(path, flags, 0o600)``, ``os.mkdir(path, 0o700)``), and does not ask afterwards.

What is known is what the mode says: of an access control list that is what its mask lets through.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Collection
from typing import Final, NamedTuple

# As many as Linux follows.
_MOST_LINKS: Final = 40
EVERYBODY: Final = "everybody"


class Stranger(NamedTuple):
    """
    Somebody who can write where he should not. Its text is part of a line for people.

    :param who: ``everybody``, ``group NAME`` or ``user NAME``.
    :param place: where he can, on the way to what was asked for.
    """

    who: str
    place: str

    def __str__(self) -> str:
        return f"{self.who} can write to {self.place}"


def who_else_writes(path: str, uids: Collection[int]) -> Stranger | None:
    """
    Find somebody who can change a place, or have something else in it, by any link on the way.

    In a directory where everybody may make files and nobody may remove another's, as ``/tmp``, what
    is there is its owner's. What is not there yet may be anybody's.

    :param path: of a file or a directory, which need not be there.
    :param uids: of the users who may write there, besides root. Theirs are files and directories
        that belong to them, and a group of theirs that nobody else is in.
    :returns: None if there is nobody.
    :raises OSError: that cannot be found out.
    """
    # Not os.path.abspath: where a link leads to, ".." is another directory than its own.
    return _Walk({0, *uids}).look(os.path.join(os.getcwd(), path), is_last=True)


def everybody_writes(path: str) -> Stranger | None:
    """
    As :func:`who_else_writes`, but take every owner and every group for one that is meant.

    :param path: of a file or a directory, which need not be there.
    :returns: None if not just anybody can write there.
    :raises OSError: that cannot be found out.
    """
    return _Walk(None).look(os.path.join(os.getcwd(), path), is_last=True)


def others_can_read(path: str) -> bool:
    """
    Ask whether everybody can read a file: by its mode, and those of the directories it is in.

    :param path: of a file that is there; links are followed.
    :raises OSError: that cannot be found out.
    """
    path = os.path.realpath(path)
    if not os.stat(path).st_mode & stat.S_IROTH:
        return False
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return False
    return True


class _Walk:
    """
    A way through directories and links.

    :param uids: of whom may write; None if it is whoever owns a place, and its group.
    """

    def __init__(self, uids: set[int] | None) -> None:
        self._uids = uids
        self._links_left = _MOST_LINKS

    def look(self, path: str, is_last: bool) -> Stranger | None:
        """
        :param path: absolute.
        :param is_last: whether others may not even make something in it.
        """
        parent = os.path.dirname(path)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return self.look(parent, is_last=True)
        above = None if path == parent else self.look(parent, is_last=False)
        if above is not None:
            return above
        if stat.S_ISLNK(found.st_mode):
            return self._stranger_by_owner(path, found) or self._follow(path, is_last)
        who = self._stranger_by_owner(path, found) or self._stranger_by_mode(path, found, is_last)
        return None if who is None or _is_read_only(path) else who

    def _follow(self, path: str, is_last: bool) -> Stranger | None:
        self._links_left -= 1
        if self._links_left < 0:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.path.join(os.path.dirname(path), os.readlink(path))
        return self.look(target, is_last)

    def _stranger_by_owner(self, path: str, found: os.stat_result) -> Stranger | None:
        uids = self._uids
        if uids is None:
            if not os.stat(os.path.dirname(path)).st_mode & stat.S_IWOTH:
                return None
            # Of what everybody may make the owner may be anybody.
            uids = {0, os.geteuid()}
        uid = found.st_uid
        return None if uid in uids else Stranger(f"user {_user_name(uid)}", path)

    def _stranger_by_mode(self, path: str, found: os.stat_result, is_last: bool) -> Stranger | None:
        mode = found.st_mode
        if stat.S_ISDIR(mode) and mode & stat.S_ISVTX and not is_last:
            # Others may make files, and do nothing to that on the way, whose owner is looked at.
            return None
        if mode & stat.S_IWOTH:
            return Stranger(EVERYBODY, path)
        if self._uids is None or not mode & stat.S_IWGRP or _is_alone(found.st_gid, self._uids):
            return None
        return Stranger(f"group {_group_name(found.st_gid)}", path)


def _is_alone(gid: int, uids: Collection[int]) -> bool:
    """:returns: whether a group is one of these users' own, as many have one each."""
    users = pwd.getpwall()
    names = {user.pw_name for user in users if user.pw_uid in uids}
    owners = {user.pw_uid for user in users if user.pw_gid == gid}
    try:
        members = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        members = set()
    # One without members at all is for programs that have it by their set-group-id bit.
    return bool(owners) and owners <= set(uids) and members <= names


def _is_read_only(path: str) -> bool:
    """:returns: whether nobody writes there, as to what is mounted so into a container."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
