"""The docs as a site. `make docs` builds it with Sphinx; a broken link fails.

In: the Markdown pages of this folder, and `reference/`, which `scripts/build_reference.py` writes
from docstrings before each build. Out: `build/docs`. Decided here: pages stay plain Markdown that
reads well in a repository, so the table of contents lies apart (`contents.rst`).
"""

import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

project = "DeepICD Platform"
author = "DeepICD Platform contributors"
root_doc = "contents"
extensions = ["myst_parser"]
# Anchors of headings are made as GitHub makes them.
myst_heading_anchors = 4

html_theme = "alabaster"
html_theme_options = {
    "description": "Small language models that code admission notes in ICD-10-CM. "
    "Research use only.",
    "fixed_sidebar": True,
    "page_width": "1100px",
    "sidebar_width": "260px",
}
html_copy_source = False
html_show_copyright = False


def setup(app: Any) -> None:
    """Write the reference before Sphinx looks for pages."""
    runpy.run_path(str(ROOT / "scripts" / "build_reference.py"))["build"](ROOT)
