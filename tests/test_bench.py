"""The benchmark: figures, what Linux tells, rounds, reports and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

from docutils.core import publish_doctree  # type: ignore[import-untyped]
from docutils.nodes import entry, system_message, table, tgroup  # type: ignore[import-untyped]
from twisted.trial.unittest import SynchronousTestCase

from bench import proc
from bench.__main__ import main
from bench.contenders.contender import ServerError
from bench.contenders.known import contenders
from bench.figures import Figures, Result, bottleneck, latency, percentile
from bench.loads import LOADS
from bench.reports import data, picture
from bench.reports import table as text
from bench.reports.report import FIRST, Report
from bench.rounds import Case, Outcome, take_turns

SHARES = {"alone": 0.5, "server": 0.5, "load": 0.3, "others": 0.1}


class FiguresTests(SynchronousTestCase):
    def test_percentile(self) -> None:
        figures = list(range(100, 0, -1))
        self.assertEqual([percentile(figures, share) for share in (0.5, 0.99, 1)], [50, 99, 100])
        self.assertEqual([percentile([7], share) for share in (0, 0.5, 0.99, 1)], [7] * 4)
        # One slow message of a hundred is not in the 99th percentile, two are.
        self.assertEqual(percentile([1] * 99 + [9], 0.99), 1)
        self.assertEqual(percentile([1] * 98 + [9, 9], 0.99), 9)

    def test_latency(self) -> None:
        self.assertEqual(latency([0.001, 0.002, 0.5]), {"p50": 2, "p99": 500, "max": 500})

    def test_bottleneck(self) -> None:
        for shares, cores, who in (
            ({}, 2, "waiting"),
            ({"alone": 0.97, "server": 0.97}, 2, "server"),
            ({"load": 0.95}, 2, "load"),
            ({"alone": 0.95, "server": 0.95, "load": 0.95}, 2, "server and load"),
            # Two processes with three quarters of a core each.
            ({"alone": 0.75, "server": 1.5, "load": 0.4}, 2, "machine"),
            ({"alone": 0.75, "server": 1.5, "load": 0.4}, 4, "waiting"),
            ({"others": 1.2}, 2, "machine"),
        ):
            self.assertEqual(bottleneck({**SHARES, **shares}, cores), who, shares)


class ProcTests(SynchronousTestCase):
    if not sys.platform.startswith("linux"):
        skip = "what is tested is Linux's"

    def start(self, program: str) -> subprocess.Popen[str]:
        """Start a program, and wait for it to say a line."""
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # It ends when its input does.
        self.addCleanup(process.communicate)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    def test_processor_time(self) -> None:
        """What a process has used, to the last of its threads and of its children."""
        burn = "import time\ndef burn():\n while time.process_time() < 0.3: pass\n"
        for program in (
            f"{burn}burn()\n",
            f"{burn}import threading\nt = threading.Thread(target=burn)\nt.start()\nt.join()\n",
            f"import subprocess as s, sys\ns.run([sys.executable, '-c', {burn + 'burn()'!r}])\n",
        ):
            process = self.start(f"{program}\nprint(flush=True)\ninput()")
            self.assertGreater(proc.processor_seconds(process.pid), 0.25, program)

    def test_children(self) -> None:
        """All processes of a server are counted, and each by itself."""
        child = "import sys; b = bytearray(30_000_000); print(flush=True); input()"
        process = self.start(
            f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])\ninput()"
        )
        found = proc.descendants(process.pid)
        self.assertEqual(len(found), 2)
        self.assertEqual(found[0], process.pid)
        self.assertEqual(set(proc.usage(process.pid).processes), set(found))
        self.assertGreater(proc.resident(process.pid), 30_000_000)

    def test_peak(self) -> None:
        process = self.start("b = bytearray(50_000_000); del b; print(flush=True); input()")
        self.assertGreater(proc.peak(process.pid), 50_000_000)
        proc.forget_peak(process.pid)
        self.assertLess(proc.peak(process.pid), 50_000_000)

    def test_usage(self) -> None:
        before = proc.usage(os.getpid())
        sum(range(1_000_000))
        used = proc.usage(os.getpid()).since(before)
        # Other tests may have servers that are children as well.
        self.assertIn(os.getpid(), used.processes)
        self.assertGreater(used.processor, 0)
        self.assertGreaterEqual(used.seconds, 0)
        self.assertGreaterEqual(used.machine, 0)
        self.assertGreaterEqual(used.switches, 0)


class RoundsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.turns: list[str] = []
        self.patch(sys, "stderr", StringIO())

    def case(self, group: str, name: str) -> Case:
        def measure() -> Figures:
            self.turns.append(f"{group}{name}")
            if name == "bad":
                raise ServerError("it did not start")
            return {"cost": len(self.turns)}

        return Case(group, name, measure)

    def test_turns(self) -> None:
        cases = [self.case(group, name) for group in "xy" for name in "ab"]
        outcome = take_turns(cases, 2)
        self.assertEqual(self.turns, ["xa", "xb", "xa", "xb", "ya", "yb", "ya", "yb"])
        self.assertEqual(outcome.results[0], Result("x", "a", {"cost": [1, 3]}))
        self.assertEqual(outcome.skipped, [])

    def test_one_that_fails(self) -> None:
        outcome = take_turns([self.case("x", "bad"), self.case("x", "a")], 2)
        self.assertEqual(self.turns, ["xbad", "xa", "xa"])
        self.assertEqual([result.name for result in outcome.results], ["a"])
        self.assertEqual(outcome.skipped, [("x", "bad", "it did not start")])


class ReportTests(SynchronousTestCase):
    def setUp(self) -> None:
        shares = {name: [share] for name, share in SHARES.items()}
        results = [
            Result("2 KB", "ours <&>", {"cost": [60.0, 62, 71], "rate": [1234.5], **shares}),
            Result("2 KB", "stock", {"cost": [124.0, 130, 120], **shares}),
            Result("1 MB", "ours <&>", {"cost": [2.5], **shares}),
        ]
        outcome = Outcome(results, [("1 MB", "stock", "it is <missing>")])
        self.report = Report(
            "compare", ("cost", "rate"), outcome, reference="stock", bound=True, remarks=["So."]
        )

    def test_text(self) -> None:
        self.assertEqual(
            text.render(self.report).splitlines(),
            [
                "2 KB          us a message  to stock  messages/s  no time left",
                "ours <&>     62 (60 to 71)      0.50       1,234       waiting",
                "stock     124 (120 to 130)      1.00                   waiting",
                "",
                "1 MB      us a message  to stock  no time left",
                "ours <&>          2.50                 waiting",
                "",
                "1 MB: stock skipped: it is <missing>",
                "So.",
            ],
        )

    def test_the_first(self) -> None:
        self.report = Report("growth", ("cost",), self.report.outcome, reference=FIRST)
        rows = self.report.rows(self.report.groups()["2 KB"])
        self.assertEqual([row[2] for row in rows], ["to the first", "1.00", "2.00"])

    def test_restructured_text(self) -> None:
        tree = publish_doctree(
            text.render(self.report, rst=True), settings_overrides={"report_level": 5}
        )
        self.assertEqual([each.astext() for each in tree.findall(system_message)], [])
        self.assertEqual(len(list(tree.findall(table))), 2)
        self.assertEqual([group["cols"] for group in tree.findall(tgroup)], [5, 4])
        cells = [cell.astext() for cell in tree.findall(entry)]
        self.assertEqual(cells[5:7], ["ours <&>", "62 (60 to 71)"])

    def test_json(self) -> None:
        read = json.loads(data.render(self.report))
        self.assertEqual(read["results"][1]["figures"]["cost"], [124, 130, 120])
        self.assertEqual(read["skipped"][0]["cause"], "it is <missing>")

    def test_picture(self) -> None:
        svg = ElementTree.fromstring(picture.render(self.report))
        self.assertEqual(svg.tag, "{http://www.w3.org/2000/svg}svg")
        bars = svg.findall("{*}rect[@class]")
        # The ground, and a bar for each row.
        self.assertEqual(len(bars), 4)
        width, height = (float(svg.attrib[name]) for name in ("width", "height"))
        for bar in bars[1:]:
            self.assertLess(float(bar.attrib["x"]) + float(bar.attrib["width"]), width)
            self.assertLess(float(bar.attrib["y"]), height)
        said = [element.text for element in svg.findall("{*}text")]
        self.assertIn("ours <&>", said)
        self.assertIn("124", said)

    def test_nothing(self) -> None:
        """Where nothing could be measured, all is said that there is to say."""
        empty = Report("compare", ("cost",), Outcome([], [("1 MB", "stock", "no")]), bound=True)
        self.assertEqual(text.render(empty), "1 MB: stock skipped: no\n")
        ElementTree.fromstring(picture.render(empty))


class ProgramTestCase(SynchronousTestCase):
    def run_program(self, *arguments: str) -> tuple[str, str, object]:
        """:returns: what it said, what it complained about, and its status."""
        out, err = StringIO(), StringIO()
        self.patch(sys, "argv", ["bench", *arguments])
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as error:
                return out.getvalue(), err.getvalue(), error.code
        return out.getvalue(), err.getvalue(), 0


class CommandLineTests(ProgramTestCase):
    def test_list(self) -> None:
        out, err, status = self.run_program("--list", "--beside", ".")
        self.assertEqual((err, status), ("", 0))
        for name in ("ours", "beside", "haraka", *LOADS, "null", "guerrilladbredis"):
            self.assertRegex(out, f"(?m)^  {name} ")

    def test_help(self) -> None:
        out, _, status = self.run_program("--help")
        self.assertEqual(status, 0)
        self.assertIn("growth", out)

    def test_mistakes(self) -> None:
        for arguments, said in (
            (["--loads", "kept,nothing"], "--loads: nothing not known"),
            (["--contenders", "nobody"], "--contenders: nobody not known"),
            (["--chains", "x"], "--chains: x not known"),
            (["--peer", "127.0.0.1:25"], "each --peer needs its --pid"),
            (["--peer", "25"], "'25' is not host:port"),
            (["--rounds", "0"], "'0' is not at least 1"),
            (["nothing"], "invalid choice"),
        ):
            out, err, status = self.run_program(*arguments)
            self.assertEqual((out, status), ("", 2))
            self.assertIn(said, err)

    def test_what_cannot_be_had(self) -> None:
        known = contenders("info", Path("/nowhere"), [(("::1", 25), 2**22 + 1)])
        self.assertEqual(known["beside"].missing(), "/nowhere has no guerrilla_tw")
        self.assertEqual(known["::1:25"].missing(), f"there is no process {2**22 + 1}")
        self.assertEqual(known["sink"].lacks("implicit"), "it has no TLS")
        self.assertEqual(known["ours"].missing(), "")


class CostsTests(ProgramTestCase):
    """Each part by itself, a few times each."""

    if not sys.platform.startswith("linux"):
        skip = "what is tested is Linux's"

    def test_every_part_costs_something(self) -> None:
        file = Path(self.mktemp())
        _, err, status = self.run_program("costs", "--quick", "--json", str(file))
        self.assertEqual(status, 0, err)
        results = json.loads(file.read_text())["results"]
        self.assertEqual(
            {result["group"] for result in results},
            {
                "A connection",
                "A message of 2 KB",
                "The end of a message, in parts",
                "64 KiB of message data, framed",
                "A hand-over to a thread and back",
                "A line for a message",
                "A line for a connection",
                "TLS, without the network",
                "A reply sent by TCP",
                "An event of a client's",
            },
        )
        for result in results:
            (cost,) = result["figures"]["part"]
            self.assertGreater(cost, 0, result)

    def test_another_checkout(self) -> None:
        """What it has not the benchmark does not miss, but it says so."""
        other = Path(self.mktemp())
        (other / "guerrilla_tw").mkdir(parents=True)
        (other / "guerrilla_tw/__init__.py").touch()
        out, err, status = self.run_program("costs", "--quick", "--beside", str(other))
        self.assertEqual(status, 0, err)
        self.assertRegex(out, "costs: .* skipped: ModuleNotFoundError: ")
        self.assertIn("MAIL", out)
