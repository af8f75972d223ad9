"""Records that are read once."""

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import strongroom
from conftest import SIZES, pattern
from strongroom import Key, Strongroom, aio

LONG = 3_000_000


@pytest.mark.parametrize("size", [*SIZES, LONG])
def test_take(store: Strongroom, size: int) -> None:
    with pytest.raises(strongroom.NotFoundError):
        store.take("id", Key.generate())
    key = store.store("id", pattern(size))
    with pytest.raises(strongroom.WrongKeyError):
        store.take("id", Key.generate())
    assert store.take("id", key) == pattern(size)
    with pytest.raises(strongroom.NotFoundError):
        store.take("id", key)
    assert store.stats().records == 0


def test_one_of_several_threads_gets_the_data(store: Strongroom) -> None:
    key = store.store("id", b"data")

    def take(_: int) -> bytes | None:
        try:
            return store.take("id", key)
        except strongroom.NotFoundError:
            return None

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(take, range(8)), key=bool) == [None] * 7 + [b"data"]


@pytest.mark.parametrize("size", [4, LONG])
def test_take_record(store: Strongroom, size: int) -> None:
    key = store.store("id", pattern(size))
    with pytest.raises(strongroom.WrongKeyError):
        store.take_record("id", Key.generate())
    with store.take_record("id", key) as file:
        assert "id" not in store
        with pytest.raises(strongroom.NotFoundError):
            store.take_record("id", key)
        assert file.read() == pattern(size)
        assert file.seek(-2, io.SEEK_END) == size - 2
        assert file.read() == pattern(size)[-2:]
        store.store("id", b"newer")  # the id is free
    assert store.stats().records == 1


def test_an_unread_record_is_removed(store: Strongroom) -> None:
    store.take_record("id", store.store("id", pattern(LONG))).close()
    assert store.stats().records == 0


def test_an_altered_record_is_not_taken(store: Strongroom, path: Path) -> None:
    key = store.store("id", b"data")
    store.close()
    content = path.read_bytes()
    with strongroom.open(path) as store:
        record = content.index(b"\x01\x01" + bytes(10))  # its header
        assert content.count(content[record : record + 12]) == 1
    altered = bytearray(content)
    altered[record + 12 + 56 + 5] ^= 1
    path.write_bytes(altered)
    with strongroom.open(path) as store:
        for take in (store.take, store.take_record):
            with pytest.raises(strongroom.CorruptError):
                take("id", key)
        assert store.stats().records == 1


def test_asyncio(path: Path) -> None:
    async def main() -> None:
        async with await aio.open(path) as store:
            key = await store.store("id", b"data")
            assert await store.take("id", key) == b"data"
            key = await store.store("id", pattern(LONG))
            outcomes = await asyncio.gather(*(store.take("id", key) for _ in range(5)), return_exceptions=True)
            assert [outcome for outcome in outcomes if isinstance(outcome, bytes)] == [pattern(LONG)]
            assert sum(isinstance(outcome, strongroom.NotFoundError) for outcome in outcomes) == 4
            key = await store.store("id", pattern(LONG))
            async with await store.take_record("id", key) as file:
                assert b"".join([piece async for piece in file]) == pattern(LONG)
            assert (await store.stats()).records == 0

    asyncio.run(main())
