"""Records of other writers: databases of earlier versions, and the test vectors."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import strongroom
import strongroom_format
from conftest import ROOT, SIZES, pattern
from strongroom import IndexKey, Key

VECTORS = json.loads((ROOT / "docs" / "vectors.json").read_text())


def test_a_database_of_version_1_opens(tmp_path: Path) -> None:
    for name in ("v1.db", "v1.db.index-key"):
        shutil.copy(ROOT / "core/tests/golden" / name, tmp_path)
    with strongroom.open(tmp_path / "v1.db", must_exist=True) as store:
        for n, size in enumerate(SIZES, start=1):
            assert store.retrieve(f"{size} bytes", Key.from_bytes(bytes([n]) * 32)) == pattern(size)
        assert store.retrieve("segments", Key.from_bytes(bytes([101]) * 32)) == pattern(1_100_000)
        assert store.retrieve(b"\xff\0\x80", Key.from_bytes(bytes([102]) * 32)) == pattern(5)


def literal(value: Any) -> bytes:
    return bytes.fromhex(value) if isinstance(value, str) else pattern(value["len"])


def sealed(name: str) -> bytes:
    """The record of a vector."""
    vector = next(vector for vector in VECTORS["records"] if vector["name"] == name)
    return strongroom_format.seal(
        bytes.fromhex(vector["record_key"]),
        literal(vector["namespace"]),
        literal(vector["id"]),
        bytes.fromhex(vector["salt"]),
        vector["expires_at"],
        vector["padded"],
        literal(vector["data"]),
    )


def record_of(case: dict[str, Any]) -> bytes:
    """The record of an invalid case: digits, or parts of records."""
    if isinstance(case["record"], str):
        return bytes.fromhex(case["record"])
    parts = (
        bytes.fromhex(part) if isinstance(part, str) else sealed(part["of"])[part["from"] : part["to"]]
        for part in case["record"]
    )
    return b"".join(parts)


class Planted:
    """A store whose database gets records by SQL."""

    def __init__(self, path: Path, case: dict[str, Any]) -> None:
        self.path = path
        self.index_key = bytes.fromhex(case["index_key"])
        self.namespace = literal(case.get("namespace", ""))
        self.id = literal(case["id"])
        self.key = Key.from_bytes(bytes.fromhex(case["record_key"]))

    def plant(self, record: bytes) -> strongroom.Strongroom:
        index_key = IndexKey.from_bytes(self.index_key)
        strongroom.open(self.path, index_key=index_key).close()
        locator = strongroom_format.locator(self.index_key, 1, self.namespace, self.id)
        prefix = int.from_bytes(locator[:8], "big") - 2**63
        database = sqlite3.connect(self.path)
        with database:
            database.execute(
                "INSERT INTO record (prefix, len, checksum, locator, head, body) VALUES (?, ?, 0, ?, ?, ?)",
                (prefix, len(record), locator, record[:68], record[68:]),
            )
        database.close()
        return strongroom.open(self.path, index_key=index_key)


@pytest.mark.parametrize("case", VECTORS["records"], ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any], path: Path) -> None:
    planted = Planted(path, case)
    with planted.plant(sealed(case["name"])) as store:
        names = store.namespace(planted.namespace)
        assert names.retrieve(planted.id, planted.key) == literal(case["data"])
        with names.open_record(planted.id, planted.key) as file:
            assert file.read() == literal(case["data"])
        assert planted.id not in store.namespace("other")


ERRORS = {
    "Corrupt": strongroom.CorruptError,
    "Expired": strongroom.ExpiredError,
    "Unsupported": strongroom.UnsupportedError,
    "WrongKey": strongroom.WrongKeyError,
}


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=lambda case: case["name"])
def test_invalid_vectors(case: dict[str, Any], path: Path) -> None:
    planted = Planted(path, case)
    record = record_of(case)
    try:
        store = planted.plant(record)
    except sqlite3.IntegrityError:
        pytest.fail("the vector does not fit in a row")
    with store, pytest.raises(strongroom.StrongroomError) as caught:
        store.retrieve(planted.id, planted.key)
    if len(record) < 68:
        # The storage has no record without a complete head.
        assert caught.type in (strongroom.CorruptError, ERRORS[case["error"]])
    else:
        assert caught.type is ERRORS[case["error"]]
