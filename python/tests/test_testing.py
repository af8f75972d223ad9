"""What the package offers to tests of other programs."""

import asyncio
import subprocess
import sys
from pathlib import Path

import strongroom
from strongroom import aio, testing

TESTS = """
import asyncio
import strongroom

KEYS = []

def test_a_store(strongroom_store):
    KEYS.append(strongroom_store.store("id", b"data"))
    assert strongroom_store.retrieve("id", KEYS[0]) == b"data"

def test_another_store(strongroom_store, strongroom_aio_store):
    assert "id" not in strongroom_store
    key = asyncio.run(strongroom_aio_store.store("id", b"data"))
    assert strongroom_store.retrieve("id", key) == b"data"
    KEYS.append(strongroom_store)

def test_it_was_closed():
    try:
        KEYS[1].stats()
    except strongroom.ClosedError:
        return
    raise AssertionError
"""


def test_the_fixtures_need_no_import(tmp_path: Path) -> None:
    (tmp_path / "test_program.py").write_text(TESTS)
    command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", "-q", str(tmp_path)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "3 passed" in result.stdout, result.stdout + result.stderr


def test_stores_in_memory_are_apart() -> None:
    with testing.memory_store() as one, testing.memory_store(pad=True) as other:
        key = one.store("id", b"data")
        assert "id" not in other
        other.store("id", b"x" * 1000, key=strongroom.Key.generate())
        assert other.stats().bytes > one.stats().bytes + 1000
        assert asyncio.run(aio.Strongroom(one).retrieve("id", key)) == b"data"


def test_nothing_of_pytest_is_imported_by_the_module() -> None:
    program = "import sys, strongroom.testing; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
