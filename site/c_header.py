"""Sphinx's directive `c-header`: the C header as a page, each declaration with its documentation.

The header is generated, so its form is always the same: a section begins with a comment that has its title, and lines
with `///` document the declaration after them.
"""

import re
from itertools import groupby
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

SECTION = re.compile(r"^/\*\n((?: \*.*\n)+?) \*/\n", re.MULTILINE)
#: The documentation, and a struct or enum, a macro, or a declaration that ends with a semicolon.
DECLARATION = re.compile(
    r"^((?:///.*\n)+)(typedef (?:struct|enum) \{\n(?:.*\n)*?\} \w+;|#define .*|[^/#][^;{]*;)$", re.MULTILINE
)


class CHeader(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        relative, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        _, introduction, *sections = SECTION.split(Path(path).read_text())
        introduction = without("*", introduction).replace("CONVENTIONS", "Conventions\n-----------")
        lines = paragraphs(introduction)
        for heading, body in zip(sections[1::2], sections[2::2], strict=True):
            title, _, text = without("*", heading).partition("\n")
            lines += [title, "-" * len(title), "", *paragraphs(text)]
            for documentation, declaration in DECLARATION.findall(body):
                lines += describe(declaration)
                lines += [f"   {line}" for line in paragraphs(without("///", documentation))]
                if "{" in declaration:
                    lines += ["   .. code-block:: c", "", *(f"      {line}" for line in declaration.split("\n")), ""]
        return self.parse_text_to_nodes(StringList(lines, path), allow_section_headings=True)


def without(mark: str, comment: str) -> str:
    """Return the text of a comment whose lines begin with a mark."""
    return re.sub(rf"^ *{re.escape(mark)} ?", "", comment, flags=re.MULTILINE)


def paragraphs(text: str) -> list[str]:
    """Return a text as reStructuredText: indented lines are code, and the rest has no markup except for names."""
    lines = []
    blocks = re.split(r"\n\n+", text.strip("\n"))
    for code, group in groupby(blocks, lambda block: block.startswith("    ")):
        block = "\n\n".join(group)
        if code:
            lines += ["::", "", *block.split("\n"), ""]
        else:
            plain = re.sub(r"([\\*|_])", r"\\\1", block)
            lines += [*re.sub(r"`([^`]*)`", lambda name: f"``{name[1].replace(chr(92), '')}``", plain).split("\n"), ""]
    return lines


def describe(declaration: str) -> list[str]:
    """Return the beginning of the directive for a declaration."""
    text = " ".join(declaration.removeprefix("STRONGROOM_MUST_USE").rstrip(";").split())
    if macro := re.match(r"#define (\w+)", text):
        kind, text = "macro", macro[1]
    elif record := re.match(r"typedef (struct|enum) .*?(\w+)$", text):
        kind, text = record[1], record[2]
    elif text.startswith("typedef "):
        kind, text = "type", text.removeprefix("typedef ")
    else:
        kind = "function"
    return [f".. c:{kind}:: {text}", ""]


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("c-header", CHeader)
    return {"parallel_read_safe": True}
