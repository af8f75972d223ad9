"""The configuration of Sphinx for the documentation site (`make site`), whose source is the repository's folder."""

import __future__

import html
import importlib.machinery
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinxcontrib import httpdomain

SITE = Path(__file__).parent
ROOT = SITE.parent
sys.path[:0] = [str(SITE), str(ROOT / "python/python")]
sys.dont_write_bytecode = True
HEADER = (ROOT / "include/strongroom.h").read_text()

project = "Strongroom"
copyright = "The Strongroom developers"
release = version = re.search('#define STRONGROOM_VERSION "(.*)"', HEADER)[1]
extensions = [
    "c_header",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinxcontrib.httpdomain",
    "sphinxcontrib.openapi",
]
root_doc = "README"
include_patterns = ["*.md", "docs/**", "python/README.md", "python/docs/**", "site/**", "benches/README.md"]
exclude_patterns = ["target", ".*"]
nitpicky = True
# Names of Python itself have no links, so that the build needs no network.
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(asyncio|collections\.abc|datetime|io|os|shutil|sqlite3|typing_extensions)(\..+)?|timedelta|Buffer|Native(Reader|Writer)"
        r"|(.*\.)?Supports(Async)?Read|_Opening(\[.*\])?",
    ),
    ("c:identifier", r"u?int\d+_t|(size|ptrdiff)_t"),
]

NAVIGATION = {
    "First steps": [
        "site/first-steps/shell",
        "site/first-steps/rust",
        "site/first-steps/c",
        "site/first-steps/cpp",
        "site/first-steps/python",
        "More in Python <python/README>",
    ],
    "How to": [
        "docs/how-to/one-time-links",
        "docs/how-to/sessions",
        "docs/how-to/tenants",
        "docs/how-to/crypto-shredding",
        "docs/how-to/keyring",
        "docs/how-to/stolen-index-key",
        "docs/how-to/backup",
        "docs/how-to/certificates",
        "docs/how-to/damage",
        "In Python <python/docs/index>",
    ],
    "Operation": [
        "docs/PRODUCTION",
        "docs/STORAGES",
        "docs/POSTGRESQL",
        "docs/OBJECT_STORES",
        "docs/CAPACITY",
    ],
    "Reference": [
        "site/rust",
        "Python <python/docs/api>",
        "Errors in Python <python/docs/errors>",
        "site/c",
        "site/cpp",
        "HTTP <docs/HTTP>",
        "site/encryption-server",
        "site/storage-service",
    ],
    "Design": [
        "docs/THREATS",
        "docs/FORMAT",
        "docs/ARCHITECTURE",
        "docs/FILES",
        "docs/TESTING",
        "benches/README",
    ],
    "Project": [
        "CHANGELOG",
        "CONTRIBUTING",
        "docs/RELEASING",
        "SECURITY",
    ],
}

html_theme = "furo"
html_title = f"Strongroom {version}"
html_favicon = "../server/src/admin/icon.svg"
html_static_path = ["static", "../target/mermaid"]
html_copy_source = False

openapi_default_renderer = "httpdomain"
httpdomain.HTTP_STATUS_CODES[421] = "Misdirected Request"

myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
maximum_signature_line_length = 80


class Stub(importlib.machinery.SourceFileLoader):
    """Loads the native module's stub in its place, which has the same documentation, and types."""

    def source_to_code(self, data: Any, path: Any) -> Any:
        return compile(data, path, "exec", flags=__future__.annotations.compiler_flag, dont_inherit=True)

    def exec_module(self, module: Any) -> None:
        module.__version__ = version
        super().exec_module(module)


class StubFinder:
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name == "strongroom._strongroom":
            file = str(ROOT / "python/python/strongroom/_strongroom.pyi")
            return importlib.util.spec_from_file_location(name, file, loader=Stub(name, file))


sys.meta_path.insert(0, StubFinder())


def edit_sources(app: Sphinx, docname: str, content: list[str]) -> None:
    """Make pages of the README's sections on each language; the rest is the home page, with the navigation."""
    sections = r"^## (In .*)\n([^#]|#(?!# ))*"
    if docname == "README":
        steps = [page.removeprefix("site/first-steps/") for page in NAVIGATION["First steps"]][:5]
        links = " · ".join(f"[](site/first-steps/{step}.md)" for step in steps)
        content[0] = re.sub(sections, "", content[0], flags=re.MULTILINE)
        content[0] = (
            content[0].replace("## As services", f"## First steps\n\n{links}\n\n## As services", 1) + navigation()
        )
    elif docname.startswith("site/first-steps/"):
        title = content[0].strip()
        found = re.finditer(sections, (ROOT / "README.md").read_text(), re.MULTILINE)
        section = next(match[0] for match in found if match[0].startswith(f"#{title}\n"))
        content[0] = re.sub(r"\]\((?!http|#)", "](../../", section[1:])
    content[0] = content[0].replace("```rust,ignore", "```rust")


def navigation() -> str:
    lists = []
    for caption, pages in NAVIGATION.items():
        lists += ["", "```{toctree}", f":caption: {caption}", ":hidden:", "", *pages, "```"]
    return "\n".join(lists)


class Diagram(SphinxDirective):
    """A diagram, which a script draws in the browser."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        source = html.escape("\n".join(self.content))
        return [nodes.raw("", f'<pre class="mermaid">{source}</pre>', format="html", classes=["diagram"])]


def merge_headers(app: Sphinx, doctree: nodes.document) -> None:
    """Show each header of a request's answers once: the documents repeat it for each status."""
    for headers in doctree.findall(
        lambda node: isinstance(node, nodes.field) and node[0].astext() == "Response Headers"
    ):
        shown = set()
        for item in list(headers.findall(nodes.list_item)):
            name = item.next_node(nodes.strong).astext()
            if name in shown:
                item.parent.remove(item)
            shown.add(name)


def add_scripts(app: Sphinx, page: str, template: str, context: Any, doctree: nodes.document | None) -> None:
    if doctree and any("diagram" in raw["classes"] for raw in doctree.findall(nodes.raw)):
        app.add_js_file("mermaid.min.js")
        app.add_js_file("diagrams.js")


def setup(app: Sphinx) -> None:
    app.add_directive("mermaid", Diagram)
    app.connect("source-read", edit_sources)
    app.connect("doctree-read", merge_headers)
    app.connect("html-page-context", add_scripts)
