"""Removing the records that no known id names."""

import asyncio
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

import strongroom
from strongroom import aio


def test_the_records_of_other_ids_are_removed(path: Path) -> None:
    with strongroom.open(path) as store:
        key = store.store("known", b"data")
        store.store("orphan", b"data")
        store.namespace("tenant").store(b"known", b"data")
        store.namespace("tenant").store("orphan", b"data")
        retention = store.retention([("", "known"), (b"tenant", b"known"), ("tenant", "missing")])
        assert (retention.kept, retention.missing, retention.others) == (2, 1, 2)
        assert repr(retention) == f"Retention(kept=2, missing=1, others=2, other_bytes={retention.other_bytes})"
        assert store.stats().records == 4
        assert store.erase_others(retention) == 2
        assert store.retrieve("known", key) == b"data"
        assert store.stats().records == 2


def test_a_wrong_list_removes_nothing_unless_allowed(path: Path) -> None:
    with strongroom.open(path) as store:
        store.store("id", b"data")
        retention = store.retention(("", id) for id in ["of", "another store"])
        with pytest.raises(strongroom.InvalidArgumentError, match="all records"):
            store.erase_others(retention)
        assert store.erase_others(retention, allow_all=True) == 1
        with pytest.raises(strongroom.InvalidIdError):
            store.retention([("", "")])
        with pytest.raises(TypeError):
            store.retention(["id"])  # type: ignore[list-item]


def test_asyncio(path: Path) -> None:
    async def retain(known: Iterable[tuple[str, str]]) -> int:
        async with aio.open(path) as store:
            await store.store("orphan", b"data")
            return await store.erase_others(await store.retention(known))

    with strongroom.open(path) as store:
        store.store("known", b"data")
    assert asyncio.run(retain([("", "known")])) == 1
    with closing(sqlite3.connect(":memory:")) as database:
        # Only this thread may use the rows.
        assert asyncio.run(retain(database.execute("SELECT '', 'known'"))) == 1
