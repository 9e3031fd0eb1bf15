"""One server of the configuration: what is set for it alone."""

from __future__ import annotations

import socket
from typing import Final

import msgspec

from guerrilla_tw.config.listen import parse_interface
from guerrilla_tw.config.settings import ConfigError, check_host_name, set_default

# Setting of a server: what 0 means, and the highest value.
_NUMBERS: Final = {
    "max_size": (10 * 2**20, 2**31),
    "timeout": (30, 24 * 60 * 60),
    "max_clients": (100, 1_000_000),
}


class TLSConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A server's ``tls`` object. The settings are go-guerrilla's."""

    start_tls_on: bool = False
    tls_always_on: bool = False
    private_key_file: str = ""
    public_key_file: str = ""
    root_cas_file: str = ""
    client_auth_type: str = ""
    protocols: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = False


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """
    One of the ``servers``. The settings and defaults are go-guerrilla's; 0 or "" means the default.

    :param is_enabled: whether it is started.
    :param host_name: what it calls itself; by default this host's name.
    :param listen_interface: ``host:port``, ``:port`` or ``[IPv6 address]:port``.
    :param max_size: octets of a message, at most.
    :param timeout: seconds that a client may be idle.
    :param max_clients: clients at one time.
    :param log_file: empty for the one of the whole configuration.
    :raises ConfigError: a value is out of range, or its feature is not built yet.
    """

    is_enabled: bool = False
    host_name: str = ""
    listen_interface: str = ""
    # 0: the default in _NUMBERS.
    max_size: int = 0
    timeout: int = 0
    max_clients: int = 0
    log_file: str = ""
    xclient_on: bool = False
    proxyon: bool = False
    tls: TLSConfig = TLSConfig()

    def __post_init__(self) -> None:
        for name, (default, limit) in _NUMBERS.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ConfigError(f"is not from 1 to {limit}, or 0 for the default", name)
            set_default(self, name, default)
        set_default(self, "host_name", socket.gethostname())
        check_host_name(self, "host_name")
        set_default(self, "listen_interface", "127.0.0.1:2525")
        try:
            parse_interface(self.listen_interface)
        except ValueError as error:
            raise ConfigError(str(error), "listen_interface") from None
        if self.is_enabled:
            self._refuse_unbuilt()

    def _refuse_unbuilt(self) -> None:
        unbuilt = {
            "xclient_on": (self.xclient_on, "XCLIENT"),
            "proxyon": (self.proxyon, "the PROXY protocol"),
            "tls.start_tls_on": (self.tls.start_tls_on, "TLS"),
            "tls.tls_always_on": (self.tls.tls_always_on, "TLS"),
        }
        for path, (is_on, feature) in unbuilt.items():
            if is_on:
                raise ConfigError(f"{feature} is not supported yet", path)

    @property
    def address(self) -> tuple[str, int]:
        """Host (empty for every interface) and port of ``listen_interface``."""
        return parse_interface(self.listen_interface)
