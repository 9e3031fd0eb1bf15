"""A report as JSON: every figure of every round."""

from __future__ import annotations

import json
import os
import platform
import sys

import twisted
from bench.reports.report import Report


def render(report: Report) -> str:
    """:returns: an object in JSON, with all rounds and where they were measured."""
    return json.dumps(
        {
            "experiment": report.experiment,
            "machine": {
                "cores": os.cpu_count(),
                "kernel": platform.release(),
                "python": sys.version.split()[0],
                "twisted": twisted.__version__,
            },
            "results": [
                {"group": result.group, "name": result.name, "figures": result.figures}
                for result in report.outcome.results
            ],
            "skipped": [
                {"group": group, "name": name, "cause": cause}
                for group, name, cause in report.outcome.skipped
            ],
            "remarks": report.remarks,
        },
        indent=2,
    )
