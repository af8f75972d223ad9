"""The search for damage, and the repair from a copy."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

import strongroom
from strongroom import aio

LEN = 1_000_000


def make(folder: Path) -> list[strongroom.Key]:
    """A store with two records, the first of them damaged, and its backup."""
    with strongroom.open(folder / "records.db") as store:
        keys = [store.store(id, bytes(LEN)) for id in ("1", "2")]
        assert store.verify() == strongroom_result(store)
    shutil.copy(folder / "records.db", folder / "backup.db")
    content = bytearray((folder / "records.db").read_bytes())
    content[len(content) // 4 + 100] ^= 1  # not at the start of a page, which is SQLite's
    (folder / "records.db").write_bytes(content)
    return keys


def strongroom_result(store: strongroom.Strongroom) -> strongroom.Verification:
    result = store.verify()
    assert (result.records, result.damage, result.next) == (2, [], None)
    assert result.bytes == store.stats().bytes
    assert repr(result) == f"Verification(records=2, bytes={result.bytes}, damage=0)"
    return result


def backup(folder: Path) -> strongroom.Strongroom:
    return strongroom.open(folder / "backup.db", index_key_file=folder / "records.db.index-key", read_only=True)


def test_damage_is_found_and_repaired(tmp_path: Path) -> None:
    keys = make(tmp_path)
    steps: list[strongroom.Verification] = []
    with strongroom.open(tmp_path / "records.db") as store, backup(tmp_path) as copy:
        result = store.verify(progress=steps.append)
        [damage] = result.damage
        assert damage.locator is not None and len(damage.locator) == 64
        assert (damage.place.split()[0], damage.kind) == ("segment", "checksum")
        assert repr(damage) == f"Damage(locator='{damage.locator}', place=\"{damage.place}\", kind='checksum')"
        assert [step.damage for step in steps] == [[damage], []]
        assert (steps[-1].records, steps[-1].bytes, steps[-1].next) == (2, result.bytes, None)

        part = store.verify(start_at=damage.locator, bytes_per_second=10**9, records_only=True)
        assert (part.records, part.damage) == (1, [])
        repair = store.repair_from(copy)
        assert (repair.restored, repair.lost) == ([damage.locator], [])
        assert repr(repair) == "Repair(restored=1, lost=0)"
        strongroom_result(store)
        assert [store.retrieve(id, key) for id, key in zip(("1", "2"), keys, strict=True)] == [bytes(LEN)] * 2


def test_wrong_arguments_are_errors(tmp_path: Path) -> None:
    make(tmp_path)
    with strongroom.open(tmp_path / "records.db") as store, backup(tmp_path) as copy:
        for position in ("", "A", "row", "07" * 32):
            with pytest.raises(strongroom.InvalidArgumentError):
                store.verify(start_at=position)
        with pytest.raises(strongroom.InvalidArgumentError):
            store.repair_from(store)
        with pytest.raises(strongroom.UnsupportedError):
            copy.repair_from(store)
        with strongroom.open(":memory:") as other, pytest.raises(strongroom.InvalidArgumentError):
            store.repair_from(other)

        def stop(step: strongroom.Verification) -> None:
            raise LookupError(step.records)

        with pytest.raises(LookupError, match="2"):
            store.verify(progress=stop)
    with pytest.raises(strongroom.ClosedError):
        store.verify()


def test_a_store_is_searched_without_its_index_key(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "records.db.index-key").unlink()
    steps: list[strongroom.Verification] = []
    result = strongroom.verify(tmp_path / "records.db", progress=steps.append)
    assert result.records == 2 and [damage.kind for damage in result.damage] == ["checksum"]
    assert len(steps) == 2
    assert asyncio.run(aio.verify(tmp_path / "records.db", records_only=True)).damage == result.damage
    with pytest.raises(TypeError, match="unhashable"):
        hash(result)
    locator = result.damage[0].locator
    assert strongroom.verify(tmp_path / "records.db", start_at=locator, bytes_per_second=10**9).records == 1
    with pytest.raises(strongroom.InvalidArgumentError):
        strongroom.verify(tmp_path / "missing.db")
    with pytest.raises(strongroom.InvalidArgumentError, match="in memory"):
        strongroom.verify(":memory:")
    with pytest.raises(strongroom.InvalidArgumentError, match="service"):
        strongroom.verify(tmp_path / "records.db", timeout=1)
    assert not (tmp_path / "missing.db").exists()


def test_asyncio(tmp_path: Path) -> None:
    make(tmp_path)
    steps: list[strongroom.Verification] = []

    async def main() -> None:
        async with await aio.open(tmp_path / "records.db") as store:
            key_file = tmp_path / "records.db.index-key"
            async with await aio.open(tmp_path / "backup.db", index_key_file=key_file, read_only=True) as copy:
                assert len((await store.verify(progress=steps.append)).damage) == 1
                assert len((await store.repair_from(copy)).restored) == 1
                assert (await store.verify(records_only=True)).damage == []

    asyncio.run(main())
    assert len(steps) == 2
