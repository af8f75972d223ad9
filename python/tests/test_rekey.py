"""New keys for the same data."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

import pytest

import strongroom
from conftest import SIZES, pattern
from strongroom import Key, Strongroom, aio


@pytest.mark.parametrize("size", [*SIZES, 3_000_000])
def test_a_new_key_opens_the_same_data(store: Strongroom, size: int) -> None:
    with pytest.raises(strongroom.NotFoundError):
        store.rekey("id", Key.generate())
    old = store.store("id", pattern(size))
    with pytest.raises(strongroom.WrongKeyError):
        store.rekey("id", Key.generate())
    key = store.rekey("id", old)
    assert key != old
    with pytest.raises(strongroom.WrongKeyError):
        store.retrieve("id", old)
    assert store.retrieve("id", key) == pattern(size)


def test_a_key_of_the_caller(store: Strongroom) -> None:
    old, key = store.store("id", b"data"), Key.generate()
    with pytest.raises(strongroom.InvalidArgumentError):
        store.rekey("id", old, new_key=old)
    for _ in range(2):  # a repeated call succeeds
        assert store.rekey("id", old, new_key=key) == key
    assert store.retrieve("id", key) == b"data"


def test_the_expiry_time_remains_unless_another_is_given(store: Strongroom) -> None:
    remains = store.rekey("remains", store.store("remains", b"data", expires_in=5))
    later = store.rekey("later", store.store("later", b"data", expires_in=5), expires_in=timedelta(days=1))
    sooner = store.rekey("sooner", store.store("sooner", b"data"), expires_at=time.time() + 1)
    deadline = time.monotonic() + 60
    while store.stats().expired < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for id, key in {"remains": remains, "sooner": sooner}.items():
        with pytest.raises(strongroom.ExpiredError):
            store.rekey(id, key)
    assert store.retrieve("later", later) == b"data"


def test_invalid_times(store: Strongroom) -> None:
    key = store.store("id", b"data")
    with pytest.raises(strongroom.InvalidArgumentError, match="past"):
        store.rekey("id", key, expires_at=1)
    with pytest.raises(strongroom.InvalidArgumentError, match="not both"):
        store.rekey("id", key, expires_at=1e15, expires_in=60)
    assert store.retrieve("id", key) == b"data"


def test_asyncio(path: Path) -> None:
    async def main() -> None:
        async with await aio.open(path) as store:
            key = await store.rekey("id", await store.store("id", b"data"), expires_in=60)
            new_key = Key.generate()
            assert await store.rekey("id", key, new_key=new_key) == new_key
            assert await store.retrieve("id", new_key) == b"data"
            with pytest.raises(strongroom.InvalidArgumentError, match="past"):
                await store.rekey("id", new_key, expires_at=1)

    asyncio.run(main())
