"""The program of the benchmark."""

from __future__ import annotations

import argparse
from importlib import import_module

from bench import loads
from bench.chains import CHAINS
from bench.contenders.known import contenders
from bench.experiments.setting import Setting
from bench.limits import allow_clients
from bench.options import Options, parser
from bench.reports import data, picture, table
from bench.reports.report import Report
from bench.rounds import tell
from bench.sending import SMTP_SOURCE


def _setting(options: Options, arguments: argparse.ArgumentParser) -> Setting:
    if len(options.peers) != len(options.pids):
        arguments.error("each --peer needs its --pid")
    beside = options.beside.resolve() if options.beside else None
    known = contenders(
        options.log_level, beside, list(zip(options.peers, options.pids, strict=True))
    )
    for name, wanted, all_of_them in (
        ("--contenders", options.contenders, known),
        ("--loads", options.loads, loads.LOADS),
        ("--chains", options.chains, CHAINS),
    ):
        if unknown := set(wanted or ()).difference(all_of_them):
            arguments.error(f"{name}: {', '.join(sorted(unknown))} not known (--list has them)")
    return Setting(
        {name: known[name] for name in options.contenders or known},
        loads.chosen(options.loads or ()),
        options.chains or (),
        options.rounds or (1 if options.quick else 5),
        options.quick,
        options.log_level,
        options.store,
    )


def _list(setting: Setting) -> None:
    print("contenders:")
    for contender in setting.contenders.values():
        why = contender.missing()
        print(f"  {contender.name:18}{contender.title}" + (f" ({why})" if why else ""))
    print("loads:")
    for load in loads.LOADS.values():
        print(f"  {load.name:18}{load.title}; {load.messages:,} messages")
    print("chains:")
    for chain in CHAINS.values():
        print(f"  {chain.name:18}{chain.title}")


def _write(report: Report, options: Options) -> None:
    if options.json:
        options.json.write_text(data.render(report), encoding="utf-8")
    if options.svg:
        options.svg.write_text(picture.render(report), encoding="utf-8")
    print(table.render(report, rst=options.rst), end="")


def main() -> None:
    """Measure what the command line says."""
    arguments = parser()
    options = arguments.parse_args(namespace=Options())
    setting = _setting(options, arguments)
    if options.listed:
        _list(setting)
        return
    if SMTP_SOURCE is None:
        tell("smtp-source is not installed (Debian has it in postfix): our own generator sends all")
    allow_clients(max(load.clients for load in loads.LOADS.values()))
    experiment = import_module(f"bench.experiments.{options.experiment}")
    _write(experiment.run(setting), options)


if __name__ == "__main__":
    main()
