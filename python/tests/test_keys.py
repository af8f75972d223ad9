"""Keys: what they reveal, and what they hide."""

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

import strongroom
from conftest import ROOT
from strongroom import IndexKey, Key

VECTORS = json.loads((ROOT / "docs" / "vectors.json").read_text())
KINDS = pytest.mark.parametrize("kind", [Key, IndexKey])


@KINDS
def test_text_and_bytes(kind: type[Key]) -> None:
    key = kind.generate()
    assert len(key.to_bytes()) == 32
    assert len(key.to_text()) == 62
    assert key.to_text().startswith("srk1" if kind is Key else "srx1")
    assert kind.from_text(key.to_text()) == key
    assert kind.from_text(key.to_text().upper()) == key
    assert kind.from_bytes(bytearray(key.to_bytes())) == key
    assert kind.generate() != key


@pytest.mark.parametrize("case", VECTORS["keys"], ids=lambda case: case["comment"])
def test_the_vectors_keys(case: dict[str, str]) -> None:
    kind = Key if case["kind"] == "srk" else IndexKey
    if "error" in case:
        with pytest.raises(strongroom.InvalidKeyError):
            kind.from_text(case["text"])
    else:
        assert kind.from_text(case["text"]).to_bytes() == bytes.fromhex(case["key"])


@KINDS
@pytest.mark.parametrize("data", [b"", bytes(31), bytes(32), bytes(33), b"\x01" * 31, b"\x01" * 33])
def test_invalid_bytes(kind: type[Key], data: bytes) -> None:
    with pytest.raises(strongroom.InvalidKeyError):
        kind.from_bytes(data)


@KINDS
def test_invalid_texts(kind: type[Key]) -> None:
    text = kind.generate().to_text()
    other = (IndexKey if kind is Key else Key).generate().to_text()
    typo = text[:-1] + ("q" if text[-1] != "q" else "p")
    two_lines = f"{text}\n{text}"
    for wrong in ("", " ", "\ufeff", "srk1", text[:-1], typo, other, f"{text[:9]} {text[9:]}", two_lines, "\ud800"):
        with pytest.raises(strongroom.InvalidKeyError) as caught:
            kind.from_text(wrong)
        assert text not in str(caught.value)
    with pytest.raises(strongroom.InvalidKeyError, match="typo"):
        kind.from_text(typo)
    with pytest.raises(strongroom.InvalidKeyError, match="starts with"):
        kind.from_text(other)


@KINDS
@pytest.mark.parametrize("written", ["{}\n", "\ufeff{}\r\n", "  {}\t \r\n\r\n", "\n{}", "\ufeff {}"])
def test_the_text_of_a_file(kind: type[Key], written: str, tmp_path: Path) -> None:
    """As in a file of an editor or a shell of any system."""
    key = kind.generate()
    file = tmp_path / "key"
    file.write_bytes(written.format(key.to_text()).encode())
    with file.open() as opened:
        assert kind.from_text(opened.read()) == key
    with file.open(encoding="utf-8-sig", newline="") as opened:
        assert kind.from_text(opened.read()) == key
    if isinstance(key, IndexKey):
        with strongroom.open(tmp_path / "records.db", index_key=key) as store:
            record_key = store.store("id", b"data")
        with strongroom.open(tmp_path / "records.db", index_key_file=file) as store:
            assert store.retrieve("id", record_key) == b"data"


@KINDS
@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, pickle.dumps], ids=["copy", "deepcopy", "pickle"])
def test_a_key_cannot_be_copied(kind: type[Key], act: Callable[[Key], object]) -> None:
    with pytest.raises(TypeError, match="to_text"):
        act(kind.generate())


@KINDS
def test_a_key_compares_with_its_kind_alone(kind: type[Key]) -> None:
    key = kind.from_bytes(b"\x07" * 32)
    other = (IndexKey if kind is Key else Key).from_bytes(b"\x07" * 32)
    assert key == kind.from_bytes(b"\x07" * 32)
    assert key != other
    assert key != key.to_bytes()
    assert key != key.to_text()
    with pytest.raises(TypeError, match="unhashable"):
        hash(key)
    with pytest.raises(TypeError):
        sorted([key, kind.generate()])  # type: ignore[type-var]
    with pytest.raises(TypeError):
        kind()


@KINDS
def test_a_key_shows_nothing(kind: type[Key]) -> None:
    key = kind.generate()
    assert repr(key) == str(key) == f"{key}" == f"{kind.__name__}(...)"
    assert not hasattr(key, "__dict__")


def test_kinds_are_distinguished(store: strongroom.Strongroom) -> None:
    with pytest.raises(TypeError):
        store.retrieve("id", IndexKey.generate())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        strongroom.open("unused", index_key=Key.generate())  # type: ignore[arg-type]
