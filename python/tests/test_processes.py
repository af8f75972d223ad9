"""Processes: started ones may share a store, forked ones may not."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

import strongroom
from conftest import keyring_calls
from strongroom import Key, Keyring, RecordReader, RecordWriter, Strongroom

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


def in_child(work: Callable[[], None]) -> None:
    """Runs `work` in a forked child, and fails if the child does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of earlier tests
        child = os.fork()
    if child == 0:
        signal.alarm(30)  # a hanging child fails
        try:
            work()
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@contextmanager
def living_children() -> Iterator[Callable[[], None]]:
    """A function that forks a child, which lives until the end."""
    children: list[int] = []
    end, parent = os.pipe()

    def fork() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            os.close(parent)
            os.read(end, 1)
            os._exit(0)
        children.append(child)

    try:
        yield fork
    finally:
        os.close(parent)
        for child in children:
            os.waitpid(child, 0)
        os.close(end)


def raises_forked(work: Callable[[], object]) -> None:
    with pytest.raises(strongroom.ForkedError):
        work()


def refuses_all(store: Strongroom, key: Key, reader: RecordReader, writer: RecordWriter) -> None:
    raises_forked(lambda: store.retrieve("id", key))
    raises_forked(lambda: store.store("other", b"data"))
    raises_forked(lambda: "id" in store)
    raises_forked(store.stats)
    raises_forked(store.close)
    raises_forked(reader.read)
    raises_forked(reader.tell)
    raises_forked(lambda: writer.write(b"data"))
    raises_forked(writer.finish)
    reader.close()
    writer.close()


def test_a_forked_child_is_refused_and_the_parent_unharmed(store: Strongroom, path: Path) -> None:
    key = store.store("id", bytes(3_000_000))
    reader, writer = store.open_record("id", key), store.create_record("new")
    reader.read(10)
    writer.write(bytes(3_000_000))

    def child() -> None:
        raises_forked(lambda: strongroom.open(path))
        raises_forked(lambda: strongroom.open(path.with_name("other.db")))
        refuses_all(store, key, reader, writer)

    for _ in range(2):
        in_child(child)
    assert reader.read() == bytes(3_000_000 - 10)
    assert store.retrieve("new", writer.finish()) == bytes(3_000_000)
    store.delete("id", key)
    assert store.stats().records == 1


def test_a_forked_child_cannot_use_a_store_in_memory() -> None:
    with strongroom.open(":memory:") as store:
        key = store.store("id", bytes(3_000_000))
        reader, writer = store.open_record("id", key), store.create_record("new")
        reader.read(10)
        writer.write(bytes(3_000_000))

        def child() -> None:
            refuses_all(store, key, reader, writer)
            with strongroom.open(":memory:") as own:
                assert own.retrieve("id", own.store("id", b"data")) == b"data"

        for _ in range(2):
            in_child(child)
        assert reader.read() == bytes(3_000_000 - 10)
        assert store.retrieve("new", writer.finish()) == bytes(3_000_000)


def test_a_child_does_not_wait_for_the_parents_threads(store: Strongroom, locked: Callable[[], object]) -> None:
    writer = store.create_record("id")

    def child() -> None:
        raises_forked(writer.tell)
        writer.close()

    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(writer.write, bytes(3_000_000))
        time.sleep(0.2)
        assert not outcome.done()
        in_child(child)
        locked()
        assert outcome.result() == 3_000_000
    assert store.retrieve("id", writer.finish()) == bytes(3_000_000)


def test_a_child_cannot_use_the_parents_keyring(tmp_path: Path) -> None:
    import fcntl

    identity, recipient = Keyring.generate_identity()
    Keyring.create(tmp_path / "keys", recipients=[recipient])
    keyring, key = Keyring.open(tmp_path / "keys", identity=identity), Key.generate()

    def child() -> None:
        for call in keyring_calls(keyring, key, recipient):
            raises_forked(call)
        assert len(Keyring.open(tmp_path / "keys", identity=identity)) == 0

    in_child(child)
    with ThreadPoolExecutor(1) as pool, (tmp_path / "keys").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        outcome = pool.submit(keyring.insert, "id", key)
        time.sleep(0.2)
        assert not outcome.done()
        in_child(child)
        fcntl.flock(file, fcntl.LOCK_UN)
        outcome.result()
    assert keyring.get("id") == key


def test_no_lock_stays_with_a_child(store: Strongroom, path: Path) -> None:
    import fcntl

    identity, recipient = Keyring.generate_identity()
    Keyring.create(path.with_name("keys"), recipients=[recipient])
    keyring, key = Keyring.open(path.with_name("keys"), identity=identity), Key.generate()
    ended = Event()

    def change() -> int:
        count = 0
        while not ended.is_set():
            keyring.insert(f"id {count}", key)
            count += 1
        return count

    writer = store.create_record("id")
    writer.write(bytes(3_000_000))
    with living_children() as fork, ThreadPoolExecutor(1) as pool:
        changes = pool.submit(change)
        for _ in range(20):
            time.sleep(0.005)
            fork()
        ended.set()
        assert changes.result(20) == len(keyring)  # a locked file would be waited for for 30 seconds
        writer.finish()
        for name in ("keys", f"{path.name}.uploads"):
            with path.with_name(name).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_child_of_a_closed_store_may_open_one(path: Path) -> None:
    with strongroom.open(path) as store:
        key = store.store("id", b"data")

    def child() -> None:
        with strongroom.open(path) as store:
            assert store.retrieve("id", key) == b"data"

    in_child(child)


def work(path: Path, process: int) -> list[tuple[str, str]]:
    with strongroom.open(path) as store:
        return [(f"{process}-{n}", store.store(f"{process}-{n}", b"data").to_text()) for n in range(20)]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_started_processes_share_a_store(store: Strongroom, path: Path, method: str) -> None:
    with multiprocessing.get_context(method).Pool(2) as pool:
        outcomes = pool.starmap(work, [(path, n) for n in range(4)])
        pool.close()
        pool.join()
    for id, text in (item for outcome in outcomes for item in outcome):
        assert store.retrieve(id, Key.from_text(text)) == b"data"
    assert store.stats().records == 80


def test_neither_stores_nor_files_are_pickled(store: Strongroom) -> None:
    for thing in (store, store.open_record("id", store.store("id", b"data"))):
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(thing)


#: Memory for less than one copy of the data, then for one but not two.
LITTLE_MEMORY = """
import os, resource, sys, strongroom

os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # threads for more cores would need memory, too

def limit(room):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room if room else -1, -1))

def outcome(call, *args):
    try:
        call(*args)
    except BaseException as error:
        print(type(error).__name__)

with strongroom.open(sys.argv[1]) as store:
    data = bytes(64 << 20)
    changeable = bytearray(data)
    key = store.store("id", data)
    limit(40 << 20)
    outcome(store.store, "other", data)
    outcome(store.store, "other", changeable)
    outcome(store.retrieve, "id", key)
    limit(110 << 20)
    outcome(store.retrieve, "id", key)
    outcome(store.retrieve_range, "id", key, 0, 64 << 20)
    outcome(store.retrieve_many, [("id", key)])
    limit(0)
    assert store.retrieve("id", key) == data and "other" not in store
"""


@pytest.mark.skipif(sys.platform != "linux", reason="its limit of memory")
def test_too_little_memory(path: Path) -> None:
    command = [sys.executable, "-c", LITTLE_MEMORY, str(path)]
    env = os.environ | {"MALLOC_ARENA_MAX": "1"}  # no arenas of threads
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    # The last call also has the sealed record in memory, and so cannot open it.
    assert done.stdout.split() == ["TooLargeError"] * 3 + ["MemoryError"] * 2 + ["TooLargeError"]
