"""Compares the Python package with typical alternatives, in one run: `python compare.py [--rounds N]`.

Every store is its own transaction, and durable when it returns: WAL, synchronous=FULL. Each contestant works in its own
process, because most include their own SQLite; they alternate in each round. The tables are for README.md of the folder
above.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: The functions with which a thread stores and retrieves.
Store = Callable[[str, bytes], Any]
Retrieve = Callable[[str, Any], bytes]

SMALL, LARGE = b"\x5a" * 1024, b"\x5a" * (1 << 20)


def connect(module: Any, path: str, *first: str) -> Any:
    """An SQLite connection as a careful developer opens it, with a table of ids and data."""
    database = module.connect(path, isolation_level=None, check_same_thread=False, timeout=60)
    for statement in (*first, "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"):
        database.execute(statement)
    database.execute("CREATE TABLE IF NOT EXISTS record (id TEXT PRIMARY KEY, data BLOB NOT NULL)")
    return database


class PlainSqlite:
    """Without encryption: the baseline."""

    title = "sqlite3, no encryption"

    def __init__(self, path: str) -> None:
        self.path = path
        self.thread()

    def thread(self) -> tuple[Store, Retrieve]:
        database = connect(sqlite3, self.path)

        def store(id: str, data: bytes) -> None:
            database.execute("INSERT INTO record VALUES (?, ?)", (id, data))

        def retrieve(id: str, key: None) -> bytes:
            data: bytes = database.execute("SELECT data FROM record WHERE id = ?", (id,)).fetchone()[0]
            return data

        return store, retrieve


class AesGcm(PlainSqlite):
    """A new key for each record, as in Strongroom."""

    title = "AES-256-GCM of cryptography, sqlite3"

    def thread(self) -> tuple[Store, Retrieve]:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        put, get = super().thread()

        def store(id: str, data: bytes) -> bytes:
            key, nonce = AESGCM.generate_key(256), os.urandom(12)
            put(id, nonce + AESGCM(key).encrypt(nonce, data, id.encode()))
            return key

        def retrieve(id: str, key: bytes) -> bytes:
            sealed = get(id, None)
            return AESGCM(key).decrypt(sealed[:12], sealed[12:], id.encode())

        return store, retrieve


class FernetSqlite(PlainSqlite):
    title = "Fernet of cryptography, sqlite3"

    def thread(self) -> tuple[Store, Retrieve]:
        from cryptography.fernet import Fernet

        put, get = super().thread()

        def store(id: str, data: bytes) -> bytes:
            key = Fernet.generate_key()
            put(id, Fernet(key).encrypt(data))
            return key

        return store, lambda id, key: Fernet(key).decrypt(get(id, None))


class SqlCipher(PlainSqlite):
    """One key for the whole database, given as bytes, so that no time is spent on a passphrase."""

    title = "SQLCipher"

    def thread(self) -> tuple[Store, Retrieve]:
        import sqlcipher3

        database = connect(sqlcipher3, self.path, f"PRAGMA key = \"x'{'5a' * 32}'\"")

        def store(id: str, data: bytes) -> None:
            database.execute("INSERT INTO record VALUES (?, ?)", (id, data))

        def retrieve(id: str, key: None) -> bytes:
            data: bytes = database.execute("SELECT data FROM record WHERE id = ?", (id,)).fetchone()[0]
            return data

        return store, retrieve


class Strongroom:
    title = "Strongroom"

    def __init__(self, path: str) -> None:
        import strongroom

        self.store = strongroom.open(path)

    def thread(self) -> tuple[Store, Retrieve]:
        return self.store.store, self.store.retrieve


class Askar:
    """Its interface is asynchronous: tasks instead of threads, each with its own session."""

    title = "aries-askar"

    def __init__(self, path: str) -> None:
        self.path = path

    async def open(self) -> None:
        from aries_askar import Store

        self.store = await Store.provision(f"sqlite://{self.path}", "raw", Store.generate_raw_key())


CONTESTANTS: dict[str, Any] = {
    "strongroom": Strongroom,
    "plain": PlainSqlite,
    "aesgcm": AesGcm,
    "fernet": FernetSqlite,
    "sqlcipher": SqlCipher,
    "askar": Askar,
}


def run_threads(contestant: Any, threads: int, seconds: float, data: bytes) -> float:
    """Stores per second, by several threads."""
    counts = [0] * threads
    starting = threading.Barrier(threads + 1)

    def work(number: int) -> None:
        store, _ = contestant.thread()
        starting.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            store(f"{number}-{counts[number]}", data)
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    starting.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - start)


def run_retrieves(contestant: Any, records: int, seconds: float, data: bytes) -> float:
    """Retrieves per second, of records in random order."""
    store, retrieve = contestant.thread()
    ids = [f"{number}" for number in range(records)]
    keys = {id: store(id, data) for id in ids}
    order = random.Random(7).choices(ids, k=100_000)
    assert retrieve(ids[0], keys[ids[0]]) == data
    done = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(50):
            id = order[done % len(order)]
            if len(retrieve(id, keys[id])) != len(data):
                raise AssertionError("not what was stored")
            done += 1
    return done / elapsed


async def run_askar(contestant: Askar, work: str, seconds: float) -> float:
    """The same for askar."""
    await contestant.open()
    store = contestant.store
    if work.startswith("store"):
        data, tasks = (LARGE if work == "store_large" else SMALL), (16 if work == "store_16" else 1)
        end = time.perf_counter() + seconds

        async def insert(number: int) -> int:
            done = 0
            async with store.session() as session:
                while time.perf_counter() < end:
                    await session.insert("record", f"{number}-{done}", data)
                    done += 1
            return done

        start = time.perf_counter()
        done = sum(await asyncio.gather(*(insert(number) for number in range(tasks))))
    else:
        data, records = (LARGE, 20) if work == "retrieve_large" else (SMALL, 2000)
        async with store.transaction() as session:
            for number in range(records):
                await session.insert("record", f"{number}", data)
            await session.commit()
        done = 0
        async with store.session() as session:
            start = time.perf_counter()
            while time.perf_counter() - start < seconds:
                entry = await session.fetch("record", f"{secrets.randbelow(records)}")
                if entry is None or len(entry.value) != len(data):
                    raise AssertionError("not what was stored")
                done += 1
    return done / (time.perf_counter() - start)


WORKS = {
    "store_1": "1 KiB durable store, 1 thread",
    "store_16": "1 KiB durable store, 16 threads",
    "retrieve_small": "1 KiB retrieve, 1 thread",
    "store_large": "1 MiB durable store, 1 thread",
    "retrieve_large": "1 MiB retrieve, 1 thread",
}


def run_one(name: str, work: str, seconds: float, path: str) -> float:
    """One workload of one contestant, in this process."""
    contestant = CONTESTANTS[name](path)
    if name == "askar":
        return asyncio.run(run_askar(contestant, work, seconds))
    match work:
        case "store_1":
            return run_threads(contestant, 1, seconds, SMALL)
        case "store_16":
            return run_threads(contestant, 16, seconds, SMALL)
        case "store_large":
            return run_threads(contestant, 1, seconds, LARGE)
        case "retrieve_small":
            return run_retrieves(contestant, 10_000, seconds, SMALL)
        case _:
            return run_retrieves(contestant, 20, seconds, LARGE)


def measure(name: str, work: str, seconds: float) -> float | None:
    """The same in its own process, with a new database in the current folder; None if it fails."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        arguments = [name, work, str(seconds), str(Path(folder, "records.db").resolve())]
        done = subprocess.run([sys.executable, __file__, "--one", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"{name}, {work}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    rate: float = json.loads(done.stdout)
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each contestant at each work in a round")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, work, seconds, path = arguments.one
        print(json.dumps(run_one(name, work, float(seconds), path)))
        return

    for work, title in WORKS.items():
        rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        for _ in range(arguments.rounds):
            for name, found in rates.items():
                rate = measure(name, work, arguments.seconds)
                if rate is not None:
                    found.append(rate)
        ours = statistics.median(rates["strongroom"])
        print(f"\n| {title} | in a second | from, to | Strongroom / this |\n|---|---|---|---|")
        for name, found in rates.items():
            if found:
                median = statistics.median(found)
                spread = f"{min(found):,.0f}, {max(found):,.0f}"
                print(f"| {CONTESTANTS[name].title} | {median:,.0f} | {spread} | {ours / median:.2f} |")
            else:
                print(f"| {CONTESTANTS[name].title} | failed | | |")
    packages = ["strongroom", "cryptography", "sqlcipher3-binary", "aries-askar"]
    found = [f"{package} {version(package)}" for package in packages]
    python = f"Python {sys.version.split()[0]}, sqlite3 {sqlite3.sqlite_version}"
    print(f"\n{python}, {', '.join(found)}; {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
