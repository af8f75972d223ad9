"""Padding: records of different lengths become equally long."""

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import strongroom
from conftest import SIZES, pattern
from strongroom import Key, Strongroom, aio

#: The bytes of a record without its plaintext, if that is shorter than a chunk.
OVERHEAD = 12 + 56 + 16
#: Both are padded to PADDED, with the 8 bytes of the length.
LENGTHS = [995, 1000]
PADDED = 1024


def replaced(store: Strongroom, data: bytes, pad: bool) -> Key:
    return store.replace("id", store.store("id", b"first"), data, pad=pad)


def rekeyed(store: Strongroom, data: bytes, pad: bool) -> Key:
    return store.rekey("id", store.store("id", data), pad=pad)


def file_replaced(store: Strongroom, data: bytes, pad: bool) -> Key:
    return store.replace_file("id", store.store("id", b"first"), io.BytesIO(data), pad=pad)


def written(store: Strongroom, data: bytes, pad: bool) -> Key:
    with store.create_record("id", pad=pad) as file:
        file.write(data)
    return file.key


def replaced_by_writer(store: Strongroom, data: bytes, pad: bool) -> Key:
    with store.replace_record("id", store.store("id", b"first"), pad=pad) as file:
        file.write(data)
    return file.key


WRITES: dict[str, Callable[[Strongroom, bytes, bool], Key]] = {
    "store": lambda store, data, pad: store.store("id", data, pad=pad),
    "store_many": lambda store, data, pad: store.store_many([("id", data)], pad=pad)[0],
    "store_file": lambda store, data, pad: store.store_file("id", io.BytesIO(data), pad=pad),
    "create_record": written,
    "replace": replaced,
    "rekey": rekeyed,
    "replace_file": file_replaced,
    "replace_record": replaced_by_writer,
}


def size_of(store: Strongroom, write: Callable[[Strongroom, bytes, bool], Key], data: bytes, pad: bool) -> int:
    """The bytes of the record, which opens to its data."""
    key = write(store, data, pad)
    assert store.retrieve("id", key) == data
    size = store.stats().bytes
    store.delete("id", key)
    return size


@pytest.mark.parametrize("name", WRITES)
def test_each_write_pads(store: Strongroom, name: str) -> None:
    for length in LENGTHS:
        assert size_of(store, WRITES[name], pattern(length), pad=True) == OVERHEAD + PADDED
        assert size_of(store, WRITES[name], pattern(length), pad=False) == OVERHEAD + length
        assert size_of(store.padded(), WRITES[name], pattern(length), pad=False) == OVERHEAD + PADDED


@pytest.mark.parametrize("size", [*SIZES, 3_000_000])
def test_readers_see_only_the_data(store: Strongroom, size: int) -> None:
    data = pattern(size)
    key = store.store("id", data, pad=True)
    assert store.retrieve("id", key) == data
    assert store.retrieve_range("id", key, max(size - 5, 0), size + 100) == data[-5:]
    buffer = bytearray(size)
    assert store.retrieve_into("id", key, buffer) == size
    assert buffer == data
    with store.open_record("id", key) as file:
        assert file.seek(0, io.SEEK_END) == size
        file.seek(0)
        assert file.read() == data
    assert store.retrieve_many([("id", key)]) == [data]
    assert store.take("id", key) == data


def test_padding_remains_under_a_new_key(store: Strongroom) -> None:
    key = store.store("id", pattern(1000), pad=True)
    assert store.retrieve("id", store.rekey("id", key)) == pattern(1000)
    assert store.stats().bytes == OVERHEAD + PADDED


def test_a_store_keeps_that_it_pads(path: Path) -> None:
    store_plainly = WRITES["store"]
    with strongroom.open(path) as store:
        assert size_of(store, store_plainly, pattern(1000), pad=False) == OVERHEAD + 1000
    with strongroom.open(path, pad=True) as store:
        assert size_of(store, store_plainly, pattern(1000), pad=False) == OVERHEAD + PADDED
    with strongroom.open(path) as store:
        assert size_of(store, store_plainly, pattern(1000), pad=False) == OVERHEAD + PADDED
        assert size_of(store.namespace("one"), store_plainly, pattern(1000), pad=False) == OVERHEAD + PADDED


def test_a_padding_handle(store: Strongroom) -> None:
    one = store.namespace("one").padded()
    key = one.store("id", pattern(1000))
    assert store.stats().bytes == OVERHEAD + PADDED
    assert store.namespace("one").retrieve("id", key) == pattern(1000)
    assert "id" not in store
    one.close()
    with pytest.raises(strongroom.ClosedError):
        _ = "id" in store


def test_with_the_other_options(store: Strongroom) -> None:
    key = Key.generate()
    for _ in range(2):  # a repeated call succeeds
        assert store.store("id", pattern(1000), key=key, expires_in=60, pad=True) == key
    assert store.stats().bytes == OVERHEAD + PADDED
    wrong: list[Any] = [1, "yes", None]
    for value in wrong:
        with pytest.raises(TypeError):
            store.store("other", b"data", pad=value)
    assert "other" not in store


def test_asyncio(path: Path) -> None:
    async def main() -> None:
        async with await aio.open(path) as store:
            data = pattern(1000)

            async def check(key: Key) -> None:
                assert await store.retrieve("id", key) == data
                assert (await store.stats()).bytes == OVERHEAD + PADDED
                await store.delete("id", key)

            await check(await store.store("id", data, pad=True))
            await check(await store.padded().store("id", data))
            await check((await store.store_many([("id", data)], pad=True))[0])
            await check(await store.store_file("id", io.BytesIO(data), pad=True))
            await check(await store.replace("id", await store.store("id", b"first"), data, pad=True))
            await check(await store.rekey("id", await store.store("id", data), pad=True))
            first = await store.store("id", b"first")
            await check(await store.replace_file("id", first, io.BytesIO(data), pad=True))
            async with await store.create_record("id", pad=True) as file:
                await file.write(data)
            await check(file.key)
            async with await store.replace_record("id", await store.store("id", b"first"), pad=True) as file:
                await file.write(data)
            await check(file.key)
        async with await aio.open(path, pad=True) as store:
            await check(await store.store("id", data))

    asyncio.run(main())
