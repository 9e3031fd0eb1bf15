"""The program of the load generator."""

from __future__ import annotations

import gc
import json
import sys

from bench.generator.client import Unexpected
from bench.generator.crowd import Crowd
from bench.generator.spec import Spec


def main() -> None:
    """Send what the only argument says."""
    spec = Spec(**json.loads(sys.argv[1]))
    crowd = Crowd(spec)
    # A pause of ours would look like one of the server's.
    gc.disable()
    try:
        crowd.open()
        print("ready", flush=True)
        if sys.stdin.readline():
            print(json.dumps(crowd.send()), flush=True)
            sys.stdin.read()
    except (Unexpected, OSError) as error:
        raise SystemExit(f"{spec.host}:{spec.port}: {error}") from None
    finally:
        crowd.close()


if __name__ == "__main__":
    main()
