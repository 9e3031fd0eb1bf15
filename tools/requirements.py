"""
Print what the package and its extras need, one requirement a line, as setup.cfg says. Arguments
name extras to leave out.

``pip install --requirement`` reads the result. Installing the package itself would leave a build
directory behind, and an editable install hides the Twisted plugin.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from configparser import ConfigParser
from pathlib import Path

SETUP_CFG = Path(__file__).resolve().parent.parent / "setup.cfg"


def requirements(setup_cfg: str, without: Collection[str] = ()) -> list[str]:
    """
    :param setup_cfg: the text of a setup.cfg.
    :param without: extras that are not wanted.
    :returns: ``install_requires`` and then every other extra, each requirement once.
    """
    parser = ConfigParser(interpolation=None)
    parser.read_string(setup_cfg)
    extras = parser["options.extras_require"]
    lists = [
        parser["options"]["install_requires"],
        *(extras[name] for name in extras if name not in without),
    ]
    return list(dict.fromkeys(line for text in lists for line in text.split("\n") if line))


if __name__ == "__main__":
    print("\n".join(requirements(SETUP_CFG.read_text(encoding="utf-8"), without=sys.argv[1:])))
