"""The examples, run as by users."""

import subprocess
import sys
from pathlib import Path

import pytest

import strongroom
from conftest import ROOT, SIZES, pattern
from strongroom import Key

SCRIPT = ROOT / "python" / "examples" / "read_without_strongroom.py"


def read(path: Path, id: str, key: Key) -> "subprocess.CompletedProcess[bytes]":
    # In isolation, so that the package cannot be imported by accident.
    hide = "import sys, runpy; sys.modules['strongroom'] = None; sys.argv = sys.argv[1:]; "
    command = [sys.executable, "-c", f"{hide}runpy.run_path(sys.argv[0], run_name='__main__')"]
    return subprocess.run([*command, str(SCRIPT), str(path), id, key.to_text()], capture_output=True, check=False)


@pytest.mark.parametrize("size", [*SIZES, 3_000_000])
@pytest.mark.parametrize("pad", [False, True])
def test_a_record_opens_without_strongroom(path: Path, size: int, pad: bool) -> None:
    id = f"{size} bytes \u00e9"
    with strongroom.open(path) as store:
        key = store.store(id, pattern(size), pad=pad)
        store.store("other", b"other")
    assert read(path, id, key).stdout == pattern(size)


def test_a_wrong_key_does_not_open(path: Path) -> None:
    with strongroom.open(path) as store:
        key = store.store("id", b"data")
    for id, wrong in (("id", Key.generate()), ("other", key)):
        result = read(path, id, wrong)
        assert result.returncode != 0
        assert b"data" not in result.stdout
