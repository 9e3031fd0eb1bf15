"""What is set for a session, from its beginning to its end."""

from __future__ import annotations

from typing import Any, Protocol

from guerrilla_tw.config import ConfigError, ServerConfig
from guerrilla_tw.smtp import replies
from guerrilla_tw.smtp.proxy import TrustedProxies


class TLSStarter(Protocol):
    """What makes connections secret; see :mod:`guerrilla_tw.smtp.tls`."""

    def start(self, transport: Any, protocol: Any) -> Any:
        """
        Put TLS between a connection and its protocol.

        :param transport: an :class:`.ITransport`.
        :param protocol: of the connection, which goes on in TLS.
        :returns: an :class:`.ITransport`, the protocol's new one.
        """

    def version(self, transport: Any) -> str:
        """:returns: the version of TLS, such as ``TLSv1.3``, once hands are shaken."""


class SessionSettings:
    """
    What is set for the sessions that begin while these are a server's settings.

    A session keeps them to its end: what it was promised in the greeting and in EHLO stays true.

    :param config: of the server.
    :param tls: how to start TLS; None where there is none.
    :raises ConfigError: ``trusted_proxies`` holds something else than addresses and networks.
    """

    def __init__(self, config: ServerConfig, tls: TLSStarter | None) -> None:
        self.config = config
        self.tls = tls
        try:
            self.trusted_proxies = TrustedProxies(config.trusted_proxies)
        except ValueError as error:
            raise ConfigError(str(error), "trusted_proxies") from None
        name = "LMTP" if config.protocol == "lmtp" else "ESMTP"
        self.greeting = replies.greeting(config.host_name, name)
        self.hello = replies.hello(config.host_name)
        self._extended_hellos: dict[tuple[bool, bool], bytes] = {}

    def extended_hello(self, starttls: bool, xclient: bool) -> bytes:
        """
        Say what a session may use.

        :param starttls: whether it may start TLS.
        :param xclient: whether it may speak for others.
        :returns: the reply to EHLO or LHLO.
        """
        known = (starttls, xclient)
        if known not in self._extended_hellos:
            self._extended_hellos[known] = replies.extended_hello(
                self.config.host_name, _extensions(self.config, starttls, xclient)
            )
        return self._extended_hellos[known]


def _extensions(config: ServerConfig, starttls: bool, xclient: bool) -> list[str]:
    # RFC 9422.
    limits = f"LIMITS RCPTMAX={config.max_recipients}"
    if config.max_messages:
        limits += f" MAILMAX={config.max_messages}"
    return [
        f"SIZE {config.max_size}",
        "PIPELINING",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "ENHANCEDSTATUSCODES",
        *(["STARTTLS"] if starttls else []),
        limits,
        *(["XCLIENT NAME ADDR PORT PROTO HELO"] if xclient else []),
        "HELP",
    ]
