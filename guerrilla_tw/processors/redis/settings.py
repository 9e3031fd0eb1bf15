"""The settings of Redis, and what they say: where it is, and how to log in."""

from __future__ import annotations

from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from guerrilla_tw.config import ConfigError, set_default
from guerrilla_tw.config.listen import Interface, parse_interface

_DEFAULT_INTERFACE = "127.0.0.1:6379"
_DEFAULT_HOST, _DEFAULT_PORT = "127.0.0.1", 6379
_SCHEMES = {"redis": False, "rediss": True}
_NOT_A_URL = (
    "is not redis://[user[:password]@]host[:port][/db] or rediss://..., with what is special in a "
    "password written as %XX"
)
# What JSON surely keeps exact. Redis counts milliseconds in 63 bits, which is a little more.
_LONGEST_EXPIRY = 2**53 - 1
_LARGEST_POOL = 1000


class RedisUnavailable(Exception):
    """Redis cannot be used, or did not take a message. The text is one line and says why."""


class TooLargeForRedis(Exception):
    """Redis never takes a message of this size."""


class RedisTarget(msgspec.Struct, frozen=True):
    """
    A Redis, and how to log in.

    :param interface: where it is; None if Sentinels know.
    :param tls: whether it is spoken to by TLS.
    :param user: of the ACL, empty for the default one.
    :param password: empty for none.
    :param db: number of the database.
    :param sentinels: where these are.
    :param master: the Sentinels' name for it.
    """

    interface: Interface | None = None
    tls: bool = False
    user: str = ""
    password: str = ""
    db: int = 0
    sentinels: tuple[Interface, ...] = ()
    master: str = ""

    def __str__(self) -> str:
        """What it is called in errors and logs, which is no place for a password."""
        if self.interface is None:
            return f"redis master {self.master!r}"
        return f"redis at {written(self.interface)}"

    def __repr__(self) -> str:
        """As little."""
        return f"<{self}>"


class RedisConfig(msgspec.Struct, frozen=True):
    """
    Settings.

    :param redis_interface: ``host:port``, ``unix:path``, the absolute path of a UNIX socket, or a
        URL: ``redis://[user[:password]@]host[:port][/db]``, ``rediss://`` for TLS. By default
        ``127.0.0.1:6379``.
    :param redis_password: if Redis asks for one.
    :param redis_db: number of the database, 0 by default.
    :param redis_pool_size: connections; by default as many as workers.
    :param redis_expire_seconds: after so long Redis forgets a message.
    :param redis_sentinels: ``host:port`` of each Sentinel, in place of ``redis_interface``.
    :param redis_sentinel_master: the Sentinels' name for the master.
    """

    redis_interface: str = ""
    redis_password: str = ""
    redis_db: int = 0
    redis_pool_size: int = 0
    redis_expire_seconds: int = 7200
    redis_sentinels: tuple[str, ...] = ()
    redis_sentinel_master: str = ""

    def __post_init__(self) -> None:
        self._check_sentinels()
        if not self.redis_sentinels:
            set_default(self, "redis_interface", _DEFAULT_INTERFACE)
        if self.redis_db < 0:
            raise ConfigError("is below 0", "redis_db")
        if not 0 <= self.redis_pool_size <= _LARGEST_POOL:
            raise ConfigError(f"is not from 0 to {_LARGEST_POOL}", "redis_pool_size")
        if not 1 <= self.redis_expire_seconds <= _LONGEST_EXPIRY:
            raise ConfigError(f"is not from 1 to {_LONGEST_EXPIRY}", "redis_expire_seconds")
        self.target()

    def target(self) -> RedisTarget:
        """:returns: what the settings say together."""
        if self.redis_sentinels:
            return RedisTarget(
                sentinels=tuple(
                    _parse_address(text, f"redis_sentinels[{index}]")
                    for index, text in enumerate(self.redis_sentinels)
                ),
                master=self.redis_sentinel_master,
                password=self.redis_password,
                db=self.redis_db,
            )
        said = _parse_target(self.redis_interface)
        if said.password and self.redis_password:
            raise ConfigError("redis_interface has one too", "redis_password")
        if said.db and self.redis_db:
            raise ConfigError("redis_interface has one too", "redis_db")
        return msgspec.structs.replace(
            said, password=said.password or self.redis_password, db=said.db or self.redis_db
        )

    def _check_sentinels(self) -> None:
        if self.redis_sentinels and self.redis_interface:
            raise ConfigError("is for redis_sentinels to say: leave it out", "redis_interface")
        if self.redis_sentinels and not self.redis_sentinel_master:
            raise ConfigError("is missing", "redis_sentinel_master")
        if self.redis_sentinel_master and not self.redis_sentinels:
            raise ConfigError("is missing", "redis_sentinels")


def written(interface: Interface) -> str:
    """:returns: as the setting has it."""
    if interface.path:
        return f"unix:{interface.path}"
    host, port = interface.host, interface.port
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse_target(text: str) -> RedisTarget:
    """Read ``redis_interface``."""
    if "://" in text:
        try:
            return _parse_url(text)
        except ValueError:
            # What Python has to say of it may hold the password.
            raise ConfigError(_NOT_A_URL, "redis_interface") from None
    path = f"unix:{text}" if text.startswith("/") else text
    return RedisTarget(_parse_address(path, "redis_interface"))


def _parse_address(text: str, setting: str) -> Interface:
    try:
        address = parse_interface(text)
    except ValueError as error:
        raise ConfigError(str(error), setting) from None
    if address.path:
        return address
    if not address.port:
        raise ConfigError("the port is 0", setting)
    # As in Go, no host is this one.
    return address._replace(host=address.host or _DEFAULT_HOST)


def _parse_url(text: str) -> RedisTarget:
    """:raises ValueError: it cannot be read."""
    url = urlsplit(text)
    if not text.isprintable() or url.query or url.fragment or url.scheme not in _SCHEMES:
        raise ValueError(text)
    return RedisTarget(
        _host_and_port(url),
        tls=_SCHEMES[url.scheme],
        user=unquote(url.username or "", errors="strict"),
        password=unquote(url.password or "", errors="strict"),
        db=_db(url.path),
    )


def _host_and_port(url: SplitResult) -> Interface:
    if url.username and not url.password:
        raise ValueError("a user without a password")
    host, port = url.hostname or "", _DEFAULT_PORT if url.port is None else url.port
    if not host or not port:
        raise ValueError("no host or no port")
    return parse_interface(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _db(path: str) -> int:
    number = path.removeprefix("/")
    if not number:
        return 0
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise ValueError("not a database's number")
    return int(number)
