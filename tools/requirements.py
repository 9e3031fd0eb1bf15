"""
Print what the package and all its extras need, one requirement a line, as setup.cfg says.

``pip install --requirement`` reads the result. Installing the package itself would leave a build
directory behind, and an editable install hides the Twisted plugin.
"""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

SETUP_CFG = Path(__file__).resolve().parent.parent / "setup.cfg"


def requirements(setup_cfg: str) -> list[str]:
    """
    :param setup_cfg: the text of a setup.cfg.
    :returns: ``install_requires`` and then every extra, each requirement once.
    """
    parser = ConfigParser(interpolation=None)
    parser.read_string(setup_cfg)
    lists = [
        parser["options"]["install_requires"],
        *parser["options.extras_require"].values(),
    ]
    return list(dict.fromkeys(line for text in lists for line in text.split("\n") if line))


if __name__ == "__main__":
    print("\n".join(requirements(SETUP_CFG.read_text(encoding="utf-8"))))
