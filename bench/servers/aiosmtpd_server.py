"""aiosmtpd, which throws away what it gets."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

from aiosmtpd.smtp import SMTP, Envelope, Session

from bench.servers.options import BACKLOG, Options, parser


class Handler:
    """Takes every message."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """:returns: the reply to a message."""
        return "250 2.0.0 OK"


async def serve(options: Options) -> None:
    """Serve until a signal comes."""
    loop = asyncio.get_running_loop()
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
    start_tls = context if options.tls == "starttls" else None
    session = partial(
        SMTP, Handler(), hostname="bench", data_size_limit=None, tls_context=start_tls, loop=loop
    )
    server = await loop.create_server(
        session,
        "127.0.0.1",
        options.port,
        backlog=BACKLOG,
        ssl=context if options.tls == "implicit" else None,
    )
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serve until a signal comes."""
    arguments = parser(__doc__)
    arguments.add_argument("--uvloop", action="store_true", help="have its event loop")
    options = arguments.parse_args(namespace=Options())
    if options.uvloop:
        import uvloop

        uvloop.run(serve(options))
    else:
        asyncio.run(serve(options))


if __name__ == "__main__":
    main()
