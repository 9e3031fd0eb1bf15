"""
Maildiranasaurus: a mail server of your own in one small program. ``README.rst`` says how to run it.

It embeds the daemon. Which processors a message goes through is written in its configuration.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import react
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver

from guerrilla_tw import ConfigError, Guerrilla, load_config

log = Logger("maildiranasaurus")


async def serve(reactor: IReactorCore, config_file: str) -> None:
    """
    Receive mail until somebody stops the reactor, as Ctrl-C and SIGTERM do.

    :param config_file: path of the configuration.
    :raises SystemExit: it cannot start; with one line that says why.
    """
    try:
        loaded = load_config(config_file)
        for warning in loaded.warnings:
            log.warn("{file}: {advice}", file=config_file, advice=warning)
        daemon = Guerrilla(loaded.config)
        # The reactor waits for it: what was accepted is finished, and clients are told goodbye.
        reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
        await daemon.startService()
    except ConfigError as error:
        raise SystemExit(str(error.in_file(config_file))) from None
    except Exception as error:
        # A processor could not open what it needs.
        raise SystemExit(f"{config_file}: {error}") from None
    log.info("Roar! Maildiranasaurus is up.")
    await Deferred()


def main(arguments: Sequence[str]) -> None:
    """
    Do what the command line says.

    :param arguments: without the program's name.
    """
    parser = argparse.ArgumentParser(prog="maildiranasaurus", description="Mail into Maildirs.")
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="receive mail until Ctrl-C")
    serving.add_argument(
        "-c", "--config", default="maildiranasaurus.json", help="default: %(default)s"
    )
    options = parser.parse_args(arguments)
    # What the daemon says goes to the log of the program that it lives in.
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    react(serve, [options.config])


if __name__ == "__main__":
    main(sys.argv[1:])
