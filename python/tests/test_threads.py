"""Threads: they share one store, and do not block each other."""

import io
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import strongroom
from conftest import pattern
from strongroom import Strongroom

THREADS = 16


def test_threads_share_a_store(store: Strongroom) -> None:
    def work(thread: int) -> None:
        for n in range(10):
            id = f"{thread}-{n}"
            key = store.store(id, pattern(n * 1000))
            key = store.replace(id, key, pattern(n * 2000))
            assert store.retrieve(id, key) == pattern(n * 2000)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    assert store.stats().records == THREADS * 10


def test_one_of_many_threads_creates_a_record(store: Strongroom) -> None:
    barrier = threading.Barrier(THREADS)

    def work(_: int) -> bool:
        barrier.wait()
        try:
            store.store("id", b"data")
        except strongroom.AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(work, range(THREADS))) == 1


@pytest.mark.parametrize(("length", "size"), [(2_000_000, 9_999), (80_000_000, 20_000_000)])
def test_threads_share_a_reader(store: Strongroom, length: int, size: int) -> None:
    data = pattern(length)
    with store.open_record("id", store.store("id", data)) as file:

        def work(_: int) -> int:
            count = 0
            while piece := file.read(size):
                assert piece in data
                count += len(piece)
            return count

        with ThreadPoolExecutor(THREADS) as pool:
            assert sum(pool.map(work, range(THREADS))) == len(data)


def test_threads_share_a_writer(store: Strongroom) -> None:
    with store.create_record("id") as file, ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda n: file.write(bytes([n]) * 100_000), range(THREADS)))
    data = store.retrieve("id", file.key)
    assert sorted(data[n : n + 100_000] for n in range(0, len(data), 100_000)) == [
        bytes([n]) * 100_000 for n in range(THREADS)
    ]


def test_a_waiting_call_releases_the_gil(store: Strongroom, locked: Callable[[], object]) -> None:
    """If a waiting store blocked the interpreter, the lock would not be released, and the store would be Busy."""
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(store.store, "id", b"data")
        time.sleep(0.2)
        assert not outcome.done()
        locked()
        assert store.retrieve("id", outcome.result()) == b"data"


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is no GIL")
def test_closed_keeps_the_gil(store: Strongroom) -> None:
    """Wrappers ask for it on each line: beside a busy thread, they would be slow."""
    reader, writer = store.open_record("id", store.store("id", b"data")), store.create_record("new")
    turns, end, interval = 0, threading.Event(), sys.getswitchinterval()

    def work() -> None:
        nonlocal turns
        while not end.is_set():
            turns += 1
            time.sleep(0)

    sys.setswitchinterval(3600)
    other = threading.Thread(target=work)
    try:
        other.start()
        while turns == 0:
            time.sleep(0.001)
        before = turns
        for _ in range(20_000):
            assert not (reader.closed or writer.closed)
        after = turns
    finally:
        sys.setswitchinterval(interval)
        end.set()
        other.join()
    assert after == before


def test_dropping_a_store_releases_the_gil(path: Path) -> None:
    """The last connection has to checkpoint the log."""

    def went_on(n: int) -> bool:
        store, ticks, done = strongroom.open(path), [0.0], threading.Event()
        store.store_file(f"id-{n}", io.BytesIO(bytes(30 << 20)))

        def tick() -> None:
            while not done.wait(0.0001):
                ticks.append(time.perf_counter())

        with ThreadPoolExecutor(1) as pool:
            pool.submit(tick)
            start = time.perf_counter()
            del store
            end = time.perf_counter()
            done.set()
        margin = (end - start) / 4
        return any(start + margin < at < end - margin for at in ticks)

    assert any(went_on(n) for n in range(10))


def test_a_buffer_may_change_meanwhile(store: Strongroom) -> None:
    """The buffer's content at some time during the call is stored, and opens."""
    buffer, done = bytearray(1 << 20), threading.Event()

    def change() -> None:
        while not done.is_set():
            for n in range(256):
                buffer[:] = bytes([n]) * len(buffer)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for n in range(20):
            key = store.store(f"id-{n}", buffer)
            assert len(set(store.retrieve(f"id-{n}", key))) == 1
            into = io.BytesIO(bytes(1 << 20)).getbuffer()
            assert store.retrieve_into(f"id-{n}", key, into) == 1 << 20
    finally:
        done.set()
        thread.join()


def test_closing_while_others_work(store: Strongroom) -> None:
    started = threading.Barrier(THREADS + 1)

    def work(thread: int) -> None:
        started.wait()
        with pytest.raises(strongroom.ClosedError):
            for n in range(100_000):
                store.retrieve(f"{thread}-{n}", store.store(f"{thread}-{n}", b"data"))

    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = [pool.submit(work, n) for n in range(THREADS)]
        started.wait()
        store.close()
        for outcome in outcomes:
            outcome.result()
