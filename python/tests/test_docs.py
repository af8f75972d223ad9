"""The documentation: every public name is documented, and every example works."""

import ast
import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import strongroom
from conftest import ROOT
from strongroom import _strongroom, aio, exceptions, testing

DOCS = ROOT / "python" / "docs"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run examples in a temporary folder."""
    monkeypatch.chdir(tmp_path)


def run(test: doctest.DocTest) -> None:
    assert test.examples
    results = doctest.DocTestRunner(optionflags=FLAGS).run(test)
    assert results.failed == 0


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.rst")), ids=lambda page: page.name)
def test_pages(page: Path) -> None:
    test = doctest.DocTestParser().get_doctest(page.read_text(), {}, page.name, str(page), 0)
    if test.examples:
        run(test)


HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
READMES = [ROOT / "README.md", ROOT / "python" / "README.md"]


@pytest.mark.parametrize("page", [*READMES, *HOW_TO], ids=lambda page: page.name)
def test_markdown(page: Path) -> None:
    """Each block is a separate program. A how-to page may have none."""
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks or page not in READMES
    for block in blocks:
        subprocess.run([sys.executable, "-W", "error", "-c", block], check=True)


def public_names() -> dict[str, Any]:
    """All public names of the modules, and the members of their classes."""
    names: dict[str, Any] = {}
    for module in (strongroom, aio, exceptions, testing):
        names[module.__name__] = module
        for name in module.__all__:
            value = getattr(module, name)
            names[f"{module.__name__}.{name}"] = value
            if inspect.isclass(value):
                members = [member for member in vars(value) if not member.startswith("_")]
                names |= {f"{module.__name__}.{name}.{member}": getattr(value, member) for member in members}
    return {name: value for name, value in names.items() if not name.endswith((".code", ".errno", ".__version__"))}


EXAMPLES = sorted(name for name, value in public_names().items() if ">>>" in (value.__doc__ or ""))


@pytest.mark.parametrize("name", EXAMPLES)
def test_docstrings(name: str) -> None:
    with strongroom.open("examples.db") as store:
        names = {**vars(strongroom), "store": store}
        run(doctest.DocTestParser().get_doctest(public_names()[name].__doc__, names, name, None, 0))


def test_every_public_name_is_documented() -> None:
    names = public_names()
    assert len(names) > 120
    assert [name for name, value in names.items() if not (value.__doc__ or "").strip()] == []


def docstrings(tree: ast.Module | ast.ClassDef, prefix: str = "") -> dict[str, str]:
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            found[prefix + node.name] = text
        if isinstance(node, ast.ClassDef):
            found |= docstrings(node, f"{prefix}{node.name}.")
    return found


def test_the_stubs_docstrings_are_the_modules() -> None:
    stub = ast.parse((Path(_strongroom.__file__).parent / "_strongroom.pyi").read_text())
    found = docstrings(stub)
    expected = {}
    for name in _strongroom.__all__:
        value = getattr(_strongroom, name)
        if isinstance(value, str):
            continue
        expected[name] = inspect.cleandoc(value.__doc__)
        if inspect.isclass(value):
            for member in vars(value):
                if not member.startswith("_") or member == "__reduce__":
                    expected[f"{name}.{member}"] = inspect.cleandoc(getattr(value, member).__doc__)
    assert found == expected
