"""Which Maildir is whose: from a recipient's address to directories below a root. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from guerrilla_tw.config import ConfigError
from guerrilla_tw.mail.address import Address

_PLACEHOLDER = re.compile(r"\[(user|host)\]")
# What most file systems hold.
_LONGEST_NAME = 255
# Nothing that a shell, a path or a list of paths has a use for; and hidden files are nobody's mail.
_PUNCTUATION = frozenset("._+-=@")
_NO_BEGINNING = frozenset(".-")
_HOST = re.compile(r"[a-z0-9_:][a-z0-9._:-]*")
# The highest number is no id: it is how -1 looks to the kernel.
_HIGHEST_ID = 2**32 - 2
_ID = re.compile(r"-1|[0-9]{1,10}")


class Owner(NamedTuple):
    """Who a mailbox belongs to: ids of a user and a group, -1 for whoever makes it."""

    uid: int = -1
    gid: int = -1


class Mailbox(NamedTuple):
    """
    One Maildir.

    :ivar directories: the way to it, below :attr:`MaildirPath.root`.
    :ivar first_own: which of them is the first that is for this mailbox alone.
    :ivar owner: of that one and those below.
    """

    directories: tuple[bytes, ...]
    first_own: int = 0
    owner: Owner = Owner()


class MaildirPath:
    """
    A path with placeholders (go-guerrilla: ``maildir_path``).

    :param path: ``[user]`` and ``[host]`` in it stand for the recipient's; ``~/`` at its beginning
        for the home of the daemon's user.
    :raises ConfigError: it is no path of a Maildir.

    .. attribute:: root

        The part that is the same for all, which the administrator vouches for. It may begin with
        ``~``.

    .. attribute:: placeholders

        The names of those that are in it.
    """

    def __init__(self, path: str) -> None:
        names = [name for name in path.split("/") if name not in ("", ".")]
        self.placeholders = frozenset(_PLACEHOLDER.findall(path))
        if names in ([], ["~"]) or ".." in names or not path.isprintable():
            raise ConfigError("is not the path of a Maildir", "maildir_path")
        if path[0] == "~" and names[0] != "~":
            raise ConfigError("knows ~ alone, not the home of others", "maildir_path")
        if re.search(r"[\[\]]", _PLACEHOLDER.sub("", path)):
            raise ConfigError("knows [user] and [host] only", "maildir_path")
        varying = [place for place, name in enumerate(names) if _PLACEHOLDER.search(name)]
        # Without a placeholder the last directory is the mailbox, of all.
        first = varying[0] if varying else len(names) - 1
        self.root = ("/" if path[0] == "/" else "") + "/".join(names[:first]) or "."
        self._templates = names[first:]
        of_users = [place for place in varying if "[user]" in names[place]]
        self._first_own = of_users[0] - first if of_users else 0

    def mailbox(self, user: str, host: str, owner: Owner) -> Mailbox | None:
        """
        Put a recipient into the path.

        :param user: as :func:`user_name` gave it.
        :param host: as :func:`host_name` gave it.
        :returns: None if one of them is empty and needed, or a name becomes too long.
        """
        values = {"user": user, "host": host}
        if not all(values[name] for name in self.placeholders):
            return None
        directories = tuple(
            _PLACEHOLDER.sub(lambda match: values[match[1]], template).encode()
            for template in self._templates
        )
        if any(len(name) > _LONGEST_NAME for name in directories):
            return None
        return Mailbox(directories, self._first_own, owner)


def user_name(user: str) -> str:
    """
    Make a local part the name of a mailbox.

    :param user: whatever a client said.
    :returns: in lower case and composed, so that a name has one spelling; empty if it is not fit
        for a directory: letters and digits of any script, and ``._+-=@``, are.
    """
    name = unicodedata.normalize("NFC", user.lower())
    if name[:1] in _NO_BEGINNING or not all(map(_is_fit, name)):
        return ""
    return name


def _is_fit(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character in _PUNCTUATION
    # Letters, the marks that some scripts need, and numbers.
    return unicodedata.category(character)[0] in "LMN"


def host_name(address: Address) -> str:
    """
    Make a host the name of a directory.

    :returns: the domain in lower case with A-labels, or an address literal's address without
        brackets; empty if there is none.
    """
    try:
        host = address.ascii_host.lower()
    except ValueError:
        return ""
    return host if _HOST.fullmatch(host) else ""


def parse_user_map(text: str) -> dict[str, Owner]:
    """
    Parse a table of recipients (go-guerrilla: ``maildir_user_map``).

    :param text: ``test=1002:2003,guerrilla=-1:-1``; empty for no table.
    :returns: the owner by the mailbox's name.
    :raises ConfigError: the first record that is not like that, or is there twice.
    """
    owners: dict[str, Owner] = {}
    for record in text.split(",") if text.strip() else ():
        user, _, ids = record.strip().rpartition("=")
        name = user_name(user)
        numbers = ids.split(":")
        if not name or len(numbers) != 2 or not all(map(_is_id, numbers)):
            raise ConfigError(f"{record.strip()!r} is not user=uid:gid", "maildir_user_map")
        if name in owners:
            raise ConfigError(f"{name!r} is there twice", "maildir_user_map")
        owners[name] = Owner(*map(int, numbers))
    return owners


def _is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None and int(text) <= _HIGHEST_ID


class Mailboxes:
    """
    Knows whose mail goes where.

    :param path: of the mailboxes.
    :param owners: by name; if it is empty, everybody is there whose name is fit for a directory.
    :raises ConfigError: users of different owners would share a mailbox.

    .. attribute:: known

        All of them, where that can be told before mail comes.

    .. attribute:: path

        As given.

    .. attribute:: owners

        As given.
    """

    def __init__(self, path: MaildirPath, owners: Mapping[str, Owner]) -> None:
        if "user" not in path.placeholders and len(set(owners.values())) > 1:
            raise ConfigError("needs [user], since its users have different ids", "maildir_path")
        self.path = path
        self.owners = owners
        if path.placeholders:
            names = owners if "host" not in path.placeholders else {}
        else:
            # One mailbox for everybody.
            names = {"": next(iter(owners.values()), Owner())}
        found = [path.mailbox(name, "", owner) for name, owner in names.items()]
        self.known = frozenset(mailbox for mailbox in found if mailbox)

    def find(self, recipient: Address) -> Mailbox | None:
        """:returns: None if there is no such user."""
        user = user_name(recipient.user)
        if self.owners and user not in self.owners:
            return None
        return self.path.mailbox(user, host_name(recipient), self.owners.get(user, Owner()))
