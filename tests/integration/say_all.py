"""
Tries each configuration that comes on standard input, a JSON object a line, and holds back nothing.

Everything is logged to standard error, and what was raised is shown with its traceback.
"""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher, textFileLogObserver

from guerrilla_tw import Guerrilla


async def try_one(reactor: Any, config: dict[str, Any]) -> None:
    """Check it, start with it, and end; whatever fails is told in every way that there is."""
    try:
        daemon = Guerrilla({"log_level": "debug", **config}, reactor=reactor)
        print(daemon.check())
        await daemon.startService()
    except Exception as error:
        print(error, repr(error))
        traceback.print_exc()
    else:
        print("served")
        await daemon.stopService()


async def main(reactor: Any) -> None:
    """Try all."""
    globalLogPublisher.addObserver(textFileLogObserver(sys.stderr))
    for line in sys.stdin:
        print("---", flush=True)
        await try_one(reactor, json.loads(line))


if __name__ == "__main__":
    task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
