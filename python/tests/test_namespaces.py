"""Namespaces: the same id names another record in each."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import strongroom
from strongroom import Strongroom, aio


def test_each_namespace_has_its_own_ids(store: Strongroom) -> None:
    names: list[str | bytes] = ["", "one", "two", "n" * 255, b"\xff\xfe", b"\0"]
    handles = [store.namespace(name) for name in names]
    keys = [handle.store("id", str(n).encode()) for n, handle in enumerate(handles)]
    for n, (handle, key) in enumerate(zip(handles, keys, strict=True)):
        assert handle.retrieve("id", key) == str(n).encode()
        with pytest.raises(strongroom.WrongKeyError):
            handles[n - 1].retrieve("id", key)
    assert store.retrieve("id", keys[0]) == b"0"
    assert store.namespace(bytearray(b"one")).retrieve("id", keys[1]) == b"1"
    assert handles[2].namespace("one").retrieve("id", keys[1]) == b"1", "they are not nested"
    assert handles[1].stats().records == len(names), "of the whole store"
    assert handles[1].erase("id")
    assert "id" not in handles[1] and "id" in store


def test_invalid_names(store: Strongroom) -> None:
    with pytest.raises(strongroom.InvalidArgumentError, match="at most 255 bytes"):
        store.namespace("n" * 256)
    with pytest.raises(strongroom.InvalidArgumentError):
        store.namespace("\u00e9" * 128)
    wrong: list[Any] = [None, 1]
    for name in wrong:
        with pytest.raises(TypeError):
            store.namespace(name)


def test_closing_closes_the_store_for_all_handles(path: Path) -> None:
    with strongroom.open(path) as store, store.namespace("one") as one:
        one.store("id", b"data")
    for handle in (store, one, one.namespace("two")):
        with pytest.raises(strongroom.ClosedError):
            _ = "id" in handle


def test_a_handle_keeps_the_store_open(path: Path) -> None:
    one = strongroom.open(path).namespace("one")
    assert one.retrieve("id", one.store("id", b"data")) == b"data"
    one.close()


def test_asyncio(path: Path) -> None:
    async def main() -> None:
        async with await aio.open(path) as store:
            one = store.namespace("one")
            key = await one.store("id", b"data")
            assert not await store.contains("id")
            assert await one.take("id", key) == b"data"
        with pytest.raises(strongroom.ClosedError):
            await one.contains("id")

    asyncio.run(main())
