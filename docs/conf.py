"""The site: `sphinx-build -W -n docs site` (pip install -e '.[docs]'). Neither build nor pages use the network."""

import re

from sphinx.application import Sphinx

project = "autoresearch"
extensions = ["myst_parser"]
root_doc = "index"
exclude_patterns = ["_build"]
myst_enable_extensions = ["html_image"]  # <img> is a picture of the site too
myst_heading_anchors = 4  # links to headings as GitHub makes them
html_theme = "furo"  # its fonts are the system's
html_title = "autoresearch"
html_copy_source = False
html_show_copyright = False


def contents(app: Sphinx, page: str, source: list[str]) -> None:
    """The lists of links in an index are the site's table of contents too; GitHub shows them as they are."""
    if page not in ("index", "design/README"):
        return
    for caption, section in re.findall(r"^##? (.+?)$(.*?)(?=^## |\Z)", source[0], re.MULTILINE | re.DOTALL):
        pages = re.findall(r"^(?:- |\| )\[.+?\]\(([\w/-]+)\.md\)", section, re.MULTILINE)
        if pages:
            source[0] += "\n".join(["\n\n```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```\n"])


def setup(app: Sphinx) -> None:
    app.connect("source-read", contents)
