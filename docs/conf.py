"""How Sphinx makes the documentation; ``make docs`` runs it."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The extensions, and the package as it is in this checkout, installed or not.
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import guerrilla_tw  # noqa: E402

project = "guerrilla_tw"
author = "guerrilla_tw maintainers"
copyright = author
version = release = guerrilla_tw.__version__

extensions = ["sphinx.ext.autodoc", "replies", "settings", "signatures", "zope_interfaces"]
# The others are parts of a page.
exclude_patterns = ["_build", "reliability/*.rst"]

# Nothing is looked up in the network, so the names of others cannot be links.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!guerrilla_tw).*"),
    # What those who build on it have no use for.
    (r"py:class", r"guerrilla_tw\.(mail\.body\.BodyStorage|smtp\.server\.Client)"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True

# What stands behind "::" is code of many kinds.
highlight_language = "none"
# Options begin with two hyphens, and not with a dash.
smartquotes = False

html_theme = "alabaster"
html_theme_options = {
    "description": "An SMTP daemon that receives mail, on Twisted",
    "fixed_sidebar": True,
    "page_width": "1000px",
}
html_copy_source = False
html_show_copyright = False

man_pages = [("man", "twistd-guerrilla", "receive mail by ESMTP and LMTP", [], 8)]
