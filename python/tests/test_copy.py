"""Copies of a store: backup, restore, and a way to and from a storage service."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

import strongroom
from conftest import pattern
from strongroom import Strongroom, aio
from test_services import INDEX_KEY, Service

# The fixture of a running service.
from test_services import service as service


def test_a_backup_is_updated_and_restored(store: Strongroom, path: Path, tmp_path: Path) -> None:
    key = store.store("first", b"data")
    long_key = store.store("long", pattern(3_000_000))
    backup = tmp_path / "backup.db"
    copied = strongroom.copy(path, backup)
    assert (copied.records, copied.unchanged, copied.deleted, copied.complete) == (2, 0, 0, True)
    assert copied.bytes == store.stats().bytes
    assert repr(copied) == f"Copied(records=2, bytes={copied.bytes}, unchanged=0, deleted=0, damaged=0, too_large=0)"
    with pytest.raises(strongroom.IndexKeyMissingError):
        strongroom.open(backup)

    new_key = store.replace("first", key, b"new")
    store.erase("long")
    copied = strongroom.copy(str(path), str(backup), mirror=True, workers=1)
    assert (copied.records, copied.unchanged, copied.deleted) == (1, 0, 1)
    restored = tmp_path / "restored.db"
    assert asyncio.run(aio.copy(backup, restored)).records == 1
    with strongroom.open(restored, index_key_file=f"{path}.index-key") as opened:
        assert opened.retrieve("first", new_key) == b"new"
        with pytest.raises(strongroom.NotFoundError):
            opened.retrieve("long", long_key)


def test_damaged_records_are_named(store: Strongroom, path: Path, tmp_path: Path) -> None:
    store.store("first", b"data")
    store.store("second", b"data")
    store.close()
    with sqlite3.connect(path) as connection:
        sql = "UPDATE record SET body = zeroblob(length(body)) WHERE id = 2 RETURNING locator"
        (locator,) = connection.execute(sql).fetchone()
    connection.close()
    copied = strongroom.copy(path, tmp_path / "backup.db")
    assert (copied.records, copied.damaged, copied.too_large, copied.complete) == (1, [locator.hex()], [], False)


def test_what_cannot_be_copied_is_refused(store: Strongroom, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    strongroom.open(other).close()
    refused: list[tuple[str | Path, Path, str]] = [
        (path, path, "the same store"),
        (path, other, "another store"),
        (tmp_path / "missing.db", other, "there is no store"),
        (":memory:", other, "in memory"),
    ]
    for source, destination, text in refused:
        with pytest.raises(strongroom.InvalidArgumentError, match=text):
            strongroom.copy(source, destination)
    with pytest.raises(strongroom.InvalidArgumentError, match="workers"):
        strongroom.copy(path, other, workers=0)
    with pytest.raises(strongroom.InvalidArgumentError, match="service"):
        strongroom.copy(path, other, timeout=1)
    with pytest.raises(strongroom.InvalidArgumentError, match="NUL"):
        strongroom.copy(path, "a\0b")
    assert store.stats().records == 0


def test_a_service_is_a_source_and_a_destination(service: Service, tmp_path: Path) -> None:
    with service.open() as store:
        store.store("copied", pattern(100_000))
        stats = store.stats()
    local = tmp_path / "local.db"
    copied = strongroom.copy(service.unix, local, token=service.token)
    assert (copied.records, copied.bytes) == (stats.records, stats.bytes)
    copied = strongroom.copy(local, service.https, token="x", destination_token=service.token, **service.tls)
    assert (copied.records, copied.unchanged) == (0, stats.records)
    with pytest.raises(strongroom.AccessDeniedError):
        strongroom.copy(local, service.unix)
    with strongroom.open(local, index_key=INDEX_KEY) as store:
        assert store.stats() == stats
