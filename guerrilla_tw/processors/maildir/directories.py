"""The directories of Maildirs: found without being led astray, and made where they are missing."""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock

from guerrilla_tw.config import ConfigError
from guerrilla_tw.processors.maildir.path import Mailbox, MaildirPath, Owner

NEW = b"new"
TMP = b"tmp"
CUR = b"cur"
_PARTS = (CUR, NEW, TMP)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
# Below the root a directory may be its user's, who could put a link to somebody else's there.
_NO_LINK = _DIRECTORY | os.O_NOFOLLOW
_PRIVATE = 0o700
# Each user gets to his own, and none sees who else is there.
_SHARED = 0o711


class Directories:
    """
    Opens and makes the directories of mailboxes.

    The root and what leads there may be anything that the administrator made of it. Below it no
    symbolic link is followed, so that users who own their mailboxes cannot make a daemon that is
    root write elsewhere.

    :param path: of the mailboxes.
    """

    def __init__(self, path: MaildirPath) -> None:
        self._path = path
        self._root = ""
        self._making = Lock()

    def make_root(self) -> None:
        """
        Find the root, as the user that the daemon is by now; make it if it is missing.

        :raises OSError: it cannot be.
        """
        root = self._path.root
        if root.partition("/")[0] == "~":
            # Not by $HOME, which stays root's when a daemon becomes somebody else.
            root = pwd.getpwuid(os.geteuid()).pw_dir + root[1:]
        self._root = os.path.abspath(root)
        _make_path(self._root)

    def make(self, mailbox: Mailbox) -> None:
        """
        Make what is missing of a mailbox.

        :raises OSError: it cannot be, or something else is in its place.
        """
        # One thread at a time, so that nobody's message is said to be stored in a directory that
        # another thread has just made, and that is not on the disk yet.
        with self._making, ExitStack() as opened:
            parent = _keep(opened, os.open(self._root, _DIRECTORY))
            for place, name in enumerate(mailbox.directories):
                owner = mailbox.owner if place >= mailbox.first_own else None
                parent = _keep(opened, _open_or_make(parent, name, owner))
            for name in _PARTS:
                _keep(opened, _open_or_make(parent, name, mailbox.owner))

    @contextmanager
    def open(self, mailbox: Mailbox, part: bytes) -> Iterator[int]:
        """
        Open a part of a mailbox that is there.

        :param part: :data:`NEW`, :data:`TMP` or :data:`CUR`.
        :returns: a descriptor of the directory, for the time of the context.
        :raises OSError: it is not there, or something else is in its place.
        """
        with ExitStack() as opened:
            directory = _keep(opened, os.open(self._root, _DIRECTORY))
            for name in (*mailbox.directories, part):
                directory = _keep(opened, os.open(name, _NO_LINK, dir_fd=directory))
            yield directory

    def check(self, mailbox: Mailbox) -> None:
        """:raises OSError: nothing can be written into a mailbox now."""
        for part in (NEW, TMP):
            with self.open(mailbox, part) as directory:
                _check_writable(directory)

    def check_root(self) -> None:
        """:raises OSError: nothing can be made in the root now."""
        with ExitStack() as opened:
            _check_writable(_keep(opened, os.open(self._root, _DIRECTORY)))

    def name(self, mailbox: Mailbox) -> str:
        """:returns: where a mailbox is, for people."""
        return os.path.join(self._root, *(name.decode() for name in mailbox.directories))


def check_owners(owners: Iterable[Owner]) -> None:
    """
    Find out whether this process may give files to others.

    :raises ConfigError: it may not.
    """
    if os.geteuid() == 0:
        return
    users = {-1, os.geteuid()}
    groups = {-1, os.getegid(), *os.getgroups()}
    for owner in owners:
        if owner.uid not in users or owner.gid not in groups:
            cause = f"only root can give mail to {owner.uid}:{owner.gid}; -1:-1 leaves it ours"
            raise ConfigError(cause, "maildir_user_map")


def _keep(opened: ExitStack, directory: int) -> int:
    opened.callback(os.close, directory)
    return directory


def _check_writable(directory: int) -> None:
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _make_path(path: str) -> None:
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    _make_path(parent)
    with suppress(FileExistsError), ExitStack() as opened:
        os.mkdir(path, _PRIVATE)
        # Whatever the umask is: twistd's in the background leaves nothing to others.
        os.chmod(path, _SHARED)
        os.fsync(_keep(opened, os.open(parent, _DIRECTORY)))


def _open_or_make(parent: int, name: bytes, owner: Owner | None) -> int:
    """
    :param owner: None for a directory that mailboxes of several owners share.
    :returns: the directory's descriptor.
    """
    is_new = False
    try:
        directory = os.open(name, _NO_LINK, dir_fd=parent)
    except FileNotFoundError:
        is_new = True
        # Another process may be faster.
        with suppress(FileExistsError):
            os.mkdir(name, _PRIVATE, dir_fd=parent)
        directory = os.open(name, _NO_LINK, dir_fd=parent)
    try:
        if is_new or _is_half_made(directory, owner):
            _finish(directory, owner)
            os.fsync(parent)
    except OSError:
        os.close(directory)
        raise
    return directory


def _is_half_made(directory: int, owner: Owner | None) -> bool:
    """:returns: whether somebody was killed before he gave a directory to its owner."""
    if owner is None:
        return False
    found = os.fstat(directory)
    is_as_made = found.st_uid == os.geteuid() and found.st_mode & 0o777 == _PRIVATE
    is_given = owner.uid in (-1, found.st_uid) and owner.gid in (-1, found.st_gid)
    # A user could give the name to a directory of root's own that is in his home; not to be handed
    # over with what is in it.
    return is_as_made and not is_given and not os.listdir(directory)


def _finish(directory: int, owner: Owner | None) -> None:
    if owner is None:
        os.fchmod(directory, _SHARED)
    else:
        os.fchown(directory, *owner)
