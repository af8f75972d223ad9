"""The rotation of the index key: a new one takes the place of the previous one, without record keys."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import strongroom
from strongroom import IndexKey, Key, aio

OLD = IndexKey.from_bytes(b"o" * 32)
NEW = IndexKey.from_bytes(b"n" * 32)


@pytest.fixture
def keys(path: Path) -> dict[str, Key]:
    """The keys of the records of a store under OLD: three ids, of which `c` is in a namespace."""
    with strongroom.open(path, index_key=OLD) as store:
        return {
            "a": store.store("a", b"data a"),
            "b": store.store("b", b"data b"),
            "c": store.namespace("one").store("c", b"data c"),
        }


def test_a_rotation(path: Path, keys: dict[str, Key]) -> None:
    with strongroom.open(path, index_key=NEW, previous_index_key=OLD) as store:
        assert store.rotation() is None, "it has not begun"
        assert store.retrieve("a", keys["a"]) == b"data a"
        with pytest.raises(strongroom.InvalidArgumentError, match="not being rotated"):
            store.finish_rotation()
        store.begin_rotation()
        store.begin_rotation()
        remaining = store.rotation()
        assert remaining is not None and len(remaining) == 3
        assert all(isinstance(locator, str) and len(bytes.fromhex(locator)) == 32 for locator in remaining)
        assert store.rotation(limit=2) == remaining[:2]
        assert store.rotation(limit=0) == []
        with pytest.raises(strongroom.InvalidArgumentError, match="records remain"):
            store.finish_rotation()
        assert "a" in store
        assert store.retrieve("b", keys["b"]) == b"data b"
        assert "other" not in store
        assert len(store.rotation(limit=2**80) or []) == 1
    # It is interrupted, and continues.
    with strongroom.open(path, index_key=NEW, previous_index_key=OLD) as store:
        assert "c" in store.namespace("one")
        assert store.rotation() == []
        store.finish_rotation()
    with strongroom.open(path, index_key=NEW) as store:
        assert store.rotation() is None
        assert store.retrieve("a", keys["a"]) == b"data a"
        assert store.namespace("one").retrieve("c", keys["c"]) == b"data c"
    with pytest.raises(strongroom.IndexKeyMismatchError):
        strongroom.open(path, index_key=OLD)


def test_records_of_unknown_ids_are_removed(path: Path, keys: dict[str, Key]) -> None:
    with strongroom.open(path, index_key=NEW, previous_index_key=OLD) as store:
        with pytest.raises(strongroom.InvalidArgumentError):
            store.erase_unrotated("01" * 32)
        store.begin_rotation()
        assert "a" in store
        first, second = store.rotation() or []
        assert store.erase_unrotated(first)
        assert not store.erase_unrotated(first)
        assert store.erase_unrotated(second)
        store.finish_rotation()
        assert store.stats().records == 1
        assert store.retrieve("a", keys["a"]) == b"data a"


def test_other_locators_are_refused(path: Path, keys: dict[str, Key]) -> None:
    with strongroom.open(path, index_key=NEW, previous_index_key=OLD) as store:
        store.begin_rotation()
        assert store.retrieve("a", keys["a"]) == b"data a"  # under the second generation now
        for locator in ("02" * 32, "00" * 32):
            with pytest.raises(strongroom.InvalidArgumentError, match="previous index key"):
                store.erase_unrotated(locator)
        for locator in ("", "01" * 31, "01" * 33, "AB" * 32):
            with pytest.raises(strongroom.InvalidArgumentError, match="64 lower-case hexadecimal digits"):
                store.erase_unrotated(locator)
        wrong: list[Any] = [b"\1" * 32, None, 1]
        for value in wrong:
            with pytest.raises(TypeError):
                store.erase_unrotated(value)
        with pytest.raises(strongroom.InvalidArgumentError):
            store.rotation(-1)
        assert store.stats().records == len(keys)


def test_without_a_rotation(store: strongroom.Strongroom) -> None:
    assert store.rotation() is None
    with pytest.raises(strongroom.InvalidArgumentError):
        store.erase_unrotated("01" * 32)
    with pytest.raises(strongroom.InvalidArgumentError, match="not being rotated"):
        store.finish_rotation()


def test_keys_in_files(path: Path) -> None:
    new = path.with_name("new")
    new.touch(mode=0o600)
    new.write_text(NEW.to_text())
    previous = Path(f"{path}.index-key")
    with strongroom.open(path) as store:
        key = store.store("id", b"data")
    with strongroom.open(path, index_key_file=new, previous_index_key_file=previous) as store:
        store.begin_rotation()
        assert len(store.rotation() or []) == 1
        assert store.retrieve("id", key) == b"data"
        store.finish_rotation()
    # The previous key has no effect any more.
    with strongroom.open(path, index_key_file=new, previous_index_key_file=previous) as store:
        assert store.rotation() is None
    with pytest.raises(strongroom.IndexKeyMismatchError):
        strongroom.open(path)


def test_invalid_arguments(path: Path, keys: dict[str, Key]) -> None:
    file = path.with_name("key")
    file.touch(mode=0o600)
    file.write_text(OLD.to_text())
    with pytest.raises(strongroom.InvalidArgumentError, match="new index key"):
        strongroom.open(path, previous_index_key=OLD)
    with pytest.raises(strongroom.InvalidArgumentError, match="not both"):
        strongroom.open(path, index_key=NEW, previous_index_key=OLD, previous_index_key_file=file)
    with pytest.raises(strongroom.InvalidArgumentError, match="previous one"):
        strongroom.open(path, index_key=OLD, previous_index_key=OLD)
    with pytest.raises(strongroom.InvalidArgumentError, match="NUL"):
        strongroom.open(path, index_key=NEW, previous_index_key_file="key\0")
    with pytest.raises(strongroom.IndexKeyMismatchError):
        strongroom.open(path, index_key=NEW, previous_index_key=IndexKey.generate())
    with strongroom.open(path, index_key=NEW, previous_index_key=OLD) as store:
        store.begin_rotation()
    for only in (OLD, NEW):
        with pytest.raises(strongroom.InvalidArgumentError, match="being rotated"):
            strongroom.open(path, index_key=only)


def test_asyncio(path: Path, keys: dict[str, Key]) -> None:
    async def main() -> None:
        async with await aio.open(path, index_key=NEW, previous_index_key=OLD) as store:
            assert await store.rotation() is None
            await store.begin_rotation()
            assert await store.retrieve("a", keys["a"]) == b"data a"
            remaining = await store.rotation()
            assert remaining is not None and len(remaining) == 2
            assert await store.rotation(1) == remaining[:1]
            with pytest.raises(strongroom.InvalidArgumentError, match="records remain"):
                await store.finish_rotation()
            for locator in remaining:
                assert await store.erase_unrotated(locator)
            await store.finish_rotation()
        async with await aio.open(path, index_key=NEW) as store:
            assert await store.rotation() is None

    asyncio.run(main())
