"""One server of the configuration: what is set for it alone."""

from __future__ import annotations

import socket
from typing import Final

import msgspec

from guerrilla_tw.config.durations import Duration
from guerrilla_tw.config.listen import Endpoint, Interface, parse_listen_interface, shown
from guerrilla_tw.config.settings import ConfigError, check_host_name, set_choice, set_default

# Setting of a server: what 0 means, the lowest value otherwise, and the highest.
_NUMBERS: Final = {
    "max_size": (10 * 2**20, 1, 2**31),
    "timeout": (30, 1, 24 * 60 * 60),
    "max_clients": (100, 1, 1_000_000),
    # RFC 5321 section 4.5.3.1.8 promises a hundred to every sender.
    "max_recipients": (100, 100, 100_000),
    "max_errors": (5, 1, 1_000_000),
    "max_messages": (0, 1, 1_000_000_000),
    # RFC 5321 section 4.5.3.1.4 has 512, and extensions add to it.
    "max_command_line": (2048, 512, 65536),
    # RFC 5321 section 4.5.3.1.6 has 1000, and many senders do not keep to it.
    "max_text_line": (2**20, 1000, 2**31),
    "min_data_rate": (64, 1, 2**31),
}
_PROTOCOLS: Final = ("smtp", "lmtp")
_BARE_NEWLINE: Final = ("reject", "normalize")
_LOOPBACK: Final = ("127.0.0.0/8", "::1")
_LONGEST_GREETING_DELAY: Final = 60


class TLSConfig(msgspec.Struct, frozen=True, kw_only=True):
    """
    A server's ``tls`` object. The settings are go-guerrilla's; what is empty means the default.

    :param start_tls_on: whether STARTTLS is offered.
    :param tls_always_on: whether each connection begins with a TLS handshake.
    :param private_key_file: PEM file of the key.
    :param public_key_file: PEM file of the certificate, with those that vouch for it behind it.
    :param root_cas_file: PEM file of the authorities for client certificates.
    :param client_auth_type: what is asked of clients, under the names of Go's ``crypto/tls``.
    :param protocols: the lowest and the highest version, ``tls1.0`` to ``tls1.3``.
    :param ciphers: cipher suites, under the names of Go's ``crypto/tls``.
    :param curves: ``P256``, ``P384``, ``P521``, ``X25519``.
    :param prefer_server_cipher_suites: whether our order of ciphers counts, not the client's.
    :raises ConfigError: it is on, and a file is missing.
    """

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

    def __post_init__(self) -> None:
        if self.is_on:
            for name in ("private_key_file", "public_key_file"):
                if not getattr(self, name):
                    raise ConfigError("is missing, and TLS is on", name)

    @property
    def is_on(self) -> bool:
        """Whether there is TLS at all."""
        return self.start_tls_on or self.tls_always_on

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are read for it."""
        if not self.is_on:
            return ()
        files = (self.private_key_file, self.public_key_file, self.root_cas_file)
        return tuple(filter(None, files))


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """
    One of the ``servers``; 0 or "" means the default.

    Where go-guerrilla has a setting, it is under the same name and with the same default.

    :param is_enabled: whether it is started.
    :param host_name: what it calls itself; by default this host's name.
    :param listen_interface: ``host:port``, ``:port``, ``[IPv6 address]:port``, ``unix:path``,
        ``systemd:domain=INET:name=smtp`` or another string for a server endpoint of Twisted.
    :param protocol: ``smtp``, the default, or ``lmtp`` (RFC 2033).
    :param max_size: octets of a message, at most.
    :param timeout: seconds that a client may take for a command, or be silent in a message.
    :param message_timeout: from MAIL to the end of the message, at most; an hour by default.
    :param min_data_rate: octets a second that a message must come with, at least.
    :param max_clients: clients at one time.
    :param max_recipients: of one message.
    :param max_errors: errors of protocol that a client may make before it is let go.
    :param max_messages: of one connection; 0 for no limit.
    :param max_command_line: octets of a command, line end included.
    :param max_text_line: octets of a line of a message, line end included.
    :param bare_newline: what is done with a message that has a CR or LF alone: ``reject``, the
        default, or ``normalize``.
    :param reject_early_talkers: how long the greeting is held back, to refuse who does not wait
        for it; by default it is not.
    :param log_file: as the one of the whole configuration, for which empty stands.
    :param proxyon: whether connections begin with a PROXY header.
    :param xclient_on: whether XCLIENT is offered.
    :param trusted_proxies: addresses and networks that these two are taken from.
    :raises ConfigError: a value is out of range.
    """

    is_enabled: bool = False
    host_name: str = ""
    listen_interface: str = ""
    protocol: str = ""
    max_size: int = 0
    timeout: int = 0
    message_timeout: Duration = Duration(0)
    min_data_rate: int = 0
    max_clients: int = 0
    max_recipients: int = 0
    max_errors: int = 0
    max_messages: int = 0
    max_command_line: int = 0
    max_text_line: int = 0
    bare_newline: str = ""
    reject_early_talkers: Duration = Duration(0)
    log_file: str = ""
    proxyon: bool = False
    xclient_on: bool = False
    trusted_proxies: tuple[str, ...] = ()
    tls: TLSConfig = TLSConfig()

    def __post_init__(self) -> None:
        for name, (default, lowest, highest) in _NUMBERS.items():
            value = getattr(self, name)
            if value != 0 and not lowest <= value <= highest:
                cause = f"is not from {lowest} to {highest}, or 0 for the default"
                raise ConfigError(cause, name)
            set_default(self, name, default)
        set_default(self, "message_timeout", Duration(60 * 60))
        if not self.log_file.isprintable():
            raise ConfigError("holds a control character", "log_file")
        if self.reject_early_talkers > _LONGEST_GREETING_DELAY:
            cause = f"is longer than {_LONGEST_GREETING_DELAY} seconds"
            raise ConfigError(cause, "reject_early_talkers")
        set_choice(self, "protocol", _PROTOCOLS)
        set_choice(self, "bare_newline", _BARE_NEWLINE)
        set_default(self, "trusted_proxies", _LOOPBACK)
        set_default(self, "host_name", socket.gethostname())
        check_host_name(self, "host_name")
        set_default(self, "listen_interface", "127.0.0.1:2525")
        try:
            parse_listen_interface(self.listen_interface)
        except ValueError as error:
            raise ConfigError(str(error), "listen_interface") from None

    @property
    def interface(self) -> Interface | Endpoint:
        """What ``listen_interface`` says."""
        return parse_listen_interface(self.listen_interface)

    @property
    def place(self) -> str:
        """``listen_interface`` for people to read, without what may be a secret of a plugin's."""
        return shown(self.listen_interface)
