"""The command line of the harness."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from unittest import SkipTest

from tests.chaos.arena import Arena
from tests.chaos.judge import Verdict
from tests.chaos.plan import FAULTS, MAIN_STORES, ROWS, Plan, make_plans
from tests.chaos.round import run_round
from tests.chaos.table import Table

_MOST_SHOWN = 5


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Have random faults happen to a daemon and its store while clients deliver, "
        "and compare what they were told with what is stored.",
    )
    parser.add_argument("--rounds", type=int, default=20, help="default: 20")
    parser.add_argument("--seed", type=int, help="of the first round; any by default")
    parser.add_argument(
        "--store",
        action="append",
        choices=ROWS,
        help=f"may be repeated; default: {', '.join(MAIN_STORES)}",
    )
    parser.add_argument(
        "--fault", action="append", choices=FAULTS, help="may be repeated; default: all"
    )
    parser.add_argument("--rst", type=Path, help="a file for the table, for the documentation")
    parser.add_argument("--json", type=Path, help="a file for the table, for programs")
    parser.add_argument(
        "--log", type=Path, help="a file for logs of daemons where something is wrong"
    )
    return parser.parse_args()


def _tell(place: str, plan: Plan, verdict: Verdict, seconds: float) -> None:
    counts = f"{verdict.acknowledged} of {verdict.sent} told 250, {verdict.refused} refused"
    left = ", ".join(f"{count} told {text!r}" for text, count in verdict.leftovers.items())
    store = f"{plan.row} before {plan.store}" if plan.spool else plan.store
    what = f"{store}, {plan.processes} processes: {plan.fault}, {plan.times} times"
    line = f"{place} seed {plan.seed}, {what}: {counts}, {verdict.broken} no reply"
    print(f"{line}; left over: {left or 'none'}; {seconds:.1f} s", flush=True)
    for name in ("lost", "doubled", "wrong"):
        found = getattr(verdict, name)
        for each in found[:_MOST_SHOWN]:
            print(f"    {name.upper()} ({len(found)}): {each}")
    if verdict.is_bad:
        print(f"    again: {plan.replay}", flush=True)


def main() -> int:
    """:returns: the exit status: 1 if a message was lost or doubled, or something else is wrong."""
    options = _parse_arguments()
    seed = int(time.time()) if options.seed is None else options.seed
    plans = make_plans(seed, options.rounds, options.store or MAIN_STORES, options.fault or FAULTS)
    choice = [
        f"--{name} {shlex.quote(each)}"
        for name in ("store", "fault")
        for each in getattr(options, name) or ()
    ]
    command = " ".join(
        ["python -m tests.chaos", f"--rounds {options.rounds}", f"--seed {seed}", *choice]
    )
    print(command, flush=True)
    table = Table()
    bad: list[Plan] = []
    began = time.monotonic()
    with Arena() as arena:
        for number, plan in enumerate(plans, 1):
            minutes = (time.monotonic() - began) / 60
            place = f"[{number}/{options.rounds}, {minutes:.1f} min]"
            try:
                verdict, seconds = run_round(plan, arena, lambda output: _keep(options.log, output))
            except SkipTest as reason:
                print(f"{place} {plan.store}, {plan.fault}: skipped, {reason}", flush=True)
                continue
            _tell(place, plan, verdict, seconds)
            table.add(plan, verdict)
            if verdict.is_bad:
                bad.append(plan)
    print(table.text())
    for path, text in ((options.rst, table.rst(command)), (options.json, table.json(command))):
        if path is not None:
            path.write_text(text)
    for plan in bad:
        print(f"wrong: {plan.replay}")
    return int(bool(bad))


def _keep(path: Path | None, output: str) -> None:
    if path is not None:
        with path.open("a") as file:
            file.write(output)


if __name__ == "__main__":
    sys.exit(main())
