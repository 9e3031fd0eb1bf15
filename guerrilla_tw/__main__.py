"""``python -m guerrilla_tw``."""

from __future__ import annotations

import sys
from typing import Any

from twisted.logger import globalLogBeginner

from guerrilla_tw.commands import main, tell_failure

if __name__ == "__main__":
    # A function is an observer, though mypy-zope does not know it.
    observer: Any = tell_failure
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)
    sys.exit(main(sys.argv[1:]))
