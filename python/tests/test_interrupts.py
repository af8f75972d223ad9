"""Signals and cancellation while a call waits for a lock, a service, or a thread of the library."""

import asyncio
import contextlib
import io
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

import strongroom
from conftest import keyring_calls, locking, pattern
from strongroom import Key, Keyring, Strongroom, aio
from test_services import INDEX_KEY, Service, announcing, service

__all__ = ["service"]

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there are no such signals")

#: A wait without an interrupt exceeds the time limit of a test.
FOREVER = 3600.0


class StopError(Exception):
    """The exception of the signal handler."""


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Sends this process a signal after a short time, whose handler raises `StopError` in the main thread."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise StopError

    before = signal.signal(signal.SIGUSR1, stop)
    timers: list[threading.Timer] = []

    def soon() -> None:
        timers.append(threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)))
        timers[-1].start()

    yield soon
    for timer in timers:
        timer.join()
    signal.signal(signal.SIGUSR1, before)


def interrupt_wait(call: Callable[[], object], interrupt: Callable[[], None]) -> None:
    """Interrupt ``call`` once it waits for another thread. Before that thread is at work, it returns."""
    cause = None
    while cause is None:
        with pytest.raises(StopError) as caught:
            interrupt()
            while True:
                call()
        cause = caught.value.__cause__
    assert type(cause) is strongroom.BusyError


def test_a_wait_for_a_lock(store: Strongroom, locked: Callable[[], object], interrupt: Callable[[], None]) -> None:
    key = Key.generate()
    interrupt()
    with pytest.raises(StopError) as caught:
        store.store("id", b"data", key=key)
    assert type(caught.value.__cause__) is strongroom.BusyError
    file = store.create_record("long")
    interrupt()
    with pytest.raises(StopError):
        file.write(pattern(30_000_000))
    assert file.closed
    for call in (file.finish, lambda: file.write(b"more")):
        with pytest.raises(ValueError, match="closed"):
            call()
    file = store.create_record("short")
    file.write(b"data")
    interrupt()
    with pytest.raises(StopError):
        file.finish()
    locked()
    assert store.stats().records == 0
    store.store("id", b"data", key=key)


def test_an_interrupted_take_or_rekey_leaves_the_record(path: Path, interrupt: Callable[[], None]) -> None:
    with strongroom.open(path) as store:
        key = store.store("id", pattern(3_000_000))
        calls: list[Callable[[str, Key], object]] = [store.take, store.take_record, store.rekey]
        with locking(path):
            for call in calls:
                interrupt()
                with pytest.raises(StopError) as caught:
                    call("id", key)
                assert type(caught.value.__cause__) is strongroom.BusyError
        assert store.retrieve("id", key) == pattern(3_000_000)


def test_opening_waits_for_a_lock(path: Path, interrupt: Callable[[], None]) -> None:
    with strongroom.open(path) as store:
        store.store("id", b"data")
    script = (
        "import sqlite3, sys; database = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "database.execute('PRAGMA locking_mode = EXCLUSIVE'); database.execute('BEGIN IMMEDIATE');"
        "print('locked', flush=True); input()"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        interrupt()
        with pytest.raises(StopError) as caught:
            strongroom.open(path)
        assert type(caught.value.__cause__) is strongroom.BusyError
        process.communicate("\n", timeout=60)


def test_a_wait_behind_another_thread(
    store: Strongroom, locked: Callable[[], object], interrupt: Callable[[], None]
) -> None:
    keys: list[Key] = []
    other = threading.Thread(target=lambda: keys.append(store.store("other", b"data")))
    other.start()
    time.sleep(0.1)
    interrupt()
    with pytest.raises(StopError) as caught:
        store.store("id", b"data")
    assert type(caught.value.__cause__) is strongroom.BusyError
    locked()
    other.join()
    assert store.retrieve("other", keys[0]) == b"data"
    assert "id" not in store


def test_a_file_that_another_thread_uses(
    store: Strongroom, locked: Callable[[], object], interrupt: Callable[[], None]
) -> None:
    file, data = store.create_record("id"), pattern(30_000_000)
    other = threading.Thread(target=file.write, args=(data,))
    other.start()
    interrupt_wait(file.tell, interrupt)
    interrupt_wait(lambda: file.write(b"more"), interrupt)
    for call in (file.close, file.finish, lambda: file.__exit__(None, None, None)):
        interrupt_wait(call, interrupt)
        assert not file.closed
    locked()
    other.join()
    assert store.retrieve("id", file.finish()) == data


def test_a_keyring(tmp_path: Path, interrupt: Callable[[], None]) -> None:
    import fcntl

    identity, recipient = Keyring.generate_identity()
    Keyring.create(tmp_path / "keys", recipients=[recipient])
    keyring, key = Keyring.open(tmp_path / "keys", identity=identity), Key.generate()
    writes: list[Callable[[], object]] = [
        lambda: keyring.insert("id", key),
        lambda: keyring.insert_many([("id", key)]),
        lambda: keyring.remove("id"),
        lambda: keyring.rotate(recipients=[recipient]),
    ]
    with (tmp_path / "keys").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for call in writes:
            interrupt()
            with pytest.raises(StopError) as caught:
                call()
            assert type(caught.value.__cause__) is strongroom.BusyError
        other = threading.Thread(target=keyring.insert, args=("other", key))
        other.start()
        reads: list[Callable[[], object]] = [lambda: keyring.get("id"), lambda: len(keyring), keyring.export]
        for call in reads:
            interrupt_wait(call, interrupt)
        fcntl.flock(file, fcntl.LOCK_UN)
        other.join()
    assert keyring.ids() == [b"other"]


def test_a_returning_handler_ends_no_call(store: Strongroom, locked: Callable[[], object]) -> None:
    seen: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        locked()

    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    # If the handler ran only after the call, the call would never end.
    assert store.retrieve("id", store.store("id", b"data")) == b"data"
    timer.join()
    signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]


def test_a_handler_cannot_use_a_store(path: Path, tmp_path: Path) -> None:
    """It would wait forever for a lock of the interrupted call."""
    identity, recipient = Keyring.generate_identity()
    Keyring.create(tmp_path / "keys", recipients=[recipient])
    keyring, data = Keyring.open(tmp_path / "keys", identity=identity), pattern(30_000_000)
    with strongroom.open(path) as store:
        key, retention = store.store("id", data), store.retention([("", "id")])
        reader, file, other = store.open_record("id", key), store.create_record("file"), store.create_record("other")
        other.write(data)
        calls: list[Callable[[], object]] = [
            lambda: file.write(b"data"),
            file.tell,
            file.finish,
            file.close,
            lambda: other.write(b"data"),
            other.tell,
            other.finish,
            other.close,
            reader.read,
            reader.read1,
            reader.readall,
            reader.readline,
            lambda: reader.readinto(bytearray(9)),
            lambda: reader.readinto1(bytearray(9)),
            lambda: reader.seek(0),
            reader.tell,
            reader.close,
            lambda: store.namespace("tenant"),
            store.padded,
            lambda: store.store("new", b"data"),
            lambda: store.retrieve("id", key),
            lambda: store.take("id", key),
            lambda: store.retrieve_into("id", key, bytearray(9)),
            lambda: store.retrieve_range("id", key, 0, 1),
            lambda: store.replace("id", key, b"data"),
            lambda: store.rekey("id", key),
            lambda: store.delete("id", key),
            lambda: store.erase("id"),
            lambda: "id" in store,
            lambda: store.store_many([("new", b"data")]),
            lambda: store.retrieve_many([("id", key)]),
            lambda: store.store_file("new", io.BytesIO(b"data")),
            lambda: store.replace_file("id", key, io.BytesIO(b"data")),
            lambda: store.open_record("id", key),
            lambda: store.take_record("id", key),
            lambda: store.create_record("new"),
            lambda: store.replace_record("id", key),
            store.purge,
            store.begin_rotation,
            store.rotation,
            lambda: store.erase_unrotated("0" * 64),
            lambda: store.retention([("", "id")]),
            lambda: store.erase_others(retention),
            store.finish_rotation,
            store.stats,
            store.verify,
            lambda: store.repair_from(store),
            store.maintain,
            store.compact,
            store.close,
            lambda: strongroom.open(path),
            lambda: strongroom.connect(f"unix:{tmp_path}/none").stats(),
            lambda: strongroom.copy(path, tmp_path / "copy"),
            lambda: strongroom.verify(path),
            lambda: Keyring.create(tmp_path / "new", recipients=[recipient]),
            lambda: Keyring.open(tmp_path / "keys", identity=identity),
            *keyring_calls(keyring, key, recipient),
        ]
        refused: list[bool] = []

        def handler(number: int, frame: FrameType | None) -> None:
            for call in calls:
                with pytest.raises(RuntimeError, match="signal handler"):
                    call()
                refused.append(True)
            raise StopError

        before = signal.signal(signal.SIGUSR1, handler)
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
        with locking(path):
            timer.start()
            with pytest.raises(StopError):
                file.write(data)
            timer.join()
        signal.signal(signal.SIGUSR1, before)
        assert len(refused) == len(calls)
        # The refused calls have no effect.
        assert reader.read(9) == data[:9]
        assert store.retrieve("other", other.finish()) == data
        assert store.stats().records == 2
        assert len(keyring) == 0


class Proxy:
    """A proxy between a client and a service, which can stop forwarding."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.target = service.unix.removeprefix("unix:")
        self.listener = socket.socket(socket.AF_UNIX)
        self.path = str(folder / "proxy")
        self.listener.bind(self.path)
        self.listener.listen()
        self.silent = threading.Event()
        self.sockets: list[socket.socket] = []
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self) -> None:
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.target)
            self.sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                self.threads.append(threading.Thread(target=self.pass_on, args=(source, sink), daemon=True))
                self.threads[-1].start()

    def pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                if self.silent.is_set():
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        for end in (self.listener, *self.sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self.threads:
            thread.join(60)


@pytest.fixture
def proxy(service: Service, tmp_path: Path) -> Iterator[Proxy]:
    proxy = Proxy(service, tmp_path)
    yield proxy
    proxy.close()


def test_a_service_that_does_not_answer(service: Service, proxy: Proxy, interrupt: Callable[[], None]) -> None:
    key, data = Key.generate(), pattern(20_000_000)
    with service.open(f"unix:{proxy.path}", timeout=FOREVER) as store:
        records = store.stats().records
        store.store("before", data, key=key)
        reader, writer = store.open_record("before", key), store.create_record("written")
        reader.read(2_500_000)  # from here on, it is read ahead
        proxy.silent.set()
        writes: list[Callable[[], object]] = [
            lambda: store.store("id", b"data"),
            lambda: store.delete("before", key),
            lambda: store.erase("before"),
            lambda: store.take("before", key),
        ]
        others: list[Callable[[], object]] = [
            lambda: store.retrieve("before", key),
            lambda: store.retrieve_range("before", key, 0, 1),
            lambda: store.replace("before", key, b"data"),  # it checks the key first
            lambda: store.rekey("before", key),
            lambda: store.take_record("before", key),
            lambda: store.store("long", pattern(20_000_000)),
            lambda: store.open_record("before", key),
            lambda: store.create_record("new"),
            lambda: "id" in store,
            store.purge,
            store.stats,
            store.maintain,
            store.verify,
            lambda: reader.read(),
            lambda: reader.readinto(bytearray(10_000_000)),
            lambda: writer.write(pattern(60_000_000)),
            lambda: service.open(f"unix:{proxy.path}", timeout=FOREVER),
        ]
        for call in [*writes, *others]:
            interrupt()
            with pytest.raises(StopError) as caught:
                call()
            cause = caught.value.__cause__
            assert isinstance(cause, strongroom.StrongroomError)
            if call in writes:
                assert type(cause) in (strongroom.IndeterminateError, strongroom.BusyError)
        with pytest.raises(ValueError, match="closed"):
            writer.finish()
        assert reader.tell() == 2_500_000
        # These do not wait for an answer.
        reader.close()
        writer.close()
    with service.open() as store:
        store.erase("id")
        assert store.retrieve("before", key) == data
        assert store.erase("before")
        assert store.stats().records == records


def test_an_interrupted_read_keeps_the_data_of_a_taken_record(interrupt: Callable[[], None]) -> None:
    """A server sends it once."""
    reads: list[Callable[[strongroom.RecordReader], object]] = [
        lambda file: file.read(),
        lambda file: file.read(1 << 20),
        lambda file: file.read(20 << 20),
        lambda file: file.read1(1 << 20),
        lambda file: file.readall(),
        lambda file: file.readline(),
        lambda file: file.readinto(bytearray(1 << 20)),
    ]
    data = bytes(range(11, 256)) * 1600  # more than a piece of a long read
    for length in (1 << 20, 32 << 20):
        with announcing(length, data, is_silent=True) as url, strongroom.connect(url, timeout=FOREVER) as store:
            for read in reads:
                with store.take_record("id", Key.generate()) as file:
                    start = file.read(1000)
                    with pytest.raises(StopError):
                        interrupt()
                        read(file)
                    assert file.tell() == 1000
                    assert start + file.read(1 << 20) == data
                    with pytest.raises(strongroom.StrongroomError):
                        file.read(1)


def test_closing_a_file(service: Service, proxy: Proxy, interrupt: Callable[[], None]) -> None:
    data = pattern(3_000_000)
    with service.open(f"unix:{proxy.path}", timeout=FOREVER) as store:
        key = store.store("read", data)
        file, taken = store.open_record("read", key), store.take_record("taken", store.store("taken", data))
        proxy.silent.set()

        def read() -> None:
            with contextlib.suppress(strongroom.StrongroomError):
                file.read()

        other = threading.Thread(target=read, daemon=True)
        other.start()
        for call in (file.tell, file.close, lambda: file.__exit__(None, None, None)):
            interrupt_wait(call, interrupt)
            assert not file.closed
        # The end of a record that was taken waits for the service.
        while not taken.closed:
            with pytest.raises(StopError):
                interrupt()
                taken.__exit__(None, None, None)
        taken.close()
    proxy.close()
    other.join(60)
    file.close()
    assert file.closed
    with service.open() as store:
        assert store.erase("read")


def test_a_forgotten_file_loses_no_exception(service: Service, proxy: Proxy, interrupt: Callable[[], None]) -> None:
    """The end of a file that is not closed cannot raise: the exception follows."""
    with service.open(f"unix:{proxy.path}", timeout=1) as store:
        file = store.take_record("forgotten", store.store("forgotten", b"data"))
        proxy.silent.set()
        with pytest.raises(StopError):
            interrupt()
            del file
            for _ in range(6000):
                time.sleep(0.01)


ENDS: dict[str, Callable[[list[strongroom.RecordWriter]], object]] = {
    "forget": lambda files: files.clear(),
    "close": lambda files: files[0].close(),
    "finish": lambda files: files[0].finish(),
    "with": lambda files: files[0].__exit__(None, None, None),
    "write": lambda files: files[0].write(pattern(1_000_000)),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_unfinished_record_leaves_nothing(path: Path, interrupt: Callable[[], None], end: str) -> None:
    """Its removal waits for the lock, and loses no exception."""
    with strongroom.open(path) as store:
        files = [store.create_record("unfinished")]
        files[0].write(pattern(3_000_000))
        with locking(path) as unlock:
            unlocking = threading.Timer(1, unlock)
            unlocking.start()
            with pytest.raises(StopError):
                interrupt()
                ENDS[end](files)
                for _ in range(6000):
                    time.sleep(0.01)
            unlocking.join()
        files.clear()
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM pending").fetchone() == (0,)


ASYNC = """
import asyncio, sys, strongroom
from strongroom import aio

async def main():
    store = await aio.open(sys.argv[1], index_key=strongroom.IndexKey.from_text(sys.argv[2]), timeout=3600)
    await store.store("id", b"data")

print("started", flush=True)
asyncio.run(main())
"""

PLAIN = """
import sys, strongroom
print("started", flush=True)
strongroom.open(sys.argv[1], index_key=strongroom.IndexKey.from_text(sys.argv[2]), timeout=3600)
"""


@pytest.mark.parametrize("script", [PLAIN, ASYNC], ids=["plain", "asyncio"])
def test_control_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind("silent")
        silent.listen()
        command = [sys.executable, "-c", script, "unix:silent", INDEX_KEY.to_text()]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command,
            stdout=pipe,
            stderr=pipe,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            try:
                assert process.stdout is not None and process.stdout.readline() == "started\n"
                time.sleep(0.5)
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=60)
            finally:
                process.kill()
    assert process.returncode == -signal.SIGINT, errors
    assert "KeyboardInterrupt" in errors


def test_a_cancelled_task_over_a_service(service: Service, proxy: Proxy) -> None:
    async def main() -> None:
        arguments = {"index_key": INDEX_KEY, "token": service.token, "timeout": FOREVER}
        store = await aio.open(f"unix:{proxy.path}", **arguments)  # type: ignore[arg-type]
        proxy.silent.set()
        task = asyncio.create_task(store.store("id", b"data"))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.close()

    asyncio.run(main())  # it waits for its threads
    with service.open() as store:
        store.erase("id")
