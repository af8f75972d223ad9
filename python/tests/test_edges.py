"""Invalid uses: closed files, files that are not binary, invalid paths and positions."""

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import strongroom
from conftest import pattern
from strongroom import IndexKey, Key, Strongroom

LONG = 3_000_000


def test_every_method_of_a_closed_store(store: Strongroom, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"data")
    key, new_key = store.store("id", b"data"), Key.generate()
    retention = store.retention([("", "id")])
    store.close()
    strongroom.open(tmp_path / "rotated.db", index_key=(old := IndexKey.generate())).close()
    rotating = strongroom.open(tmp_path / "rotated.db", index_key=IndexKey.generate(), previous_index_key=old)
    rotating.begin_rotation()
    rotating.close()
    calls: dict[str, Callable[[], object]] = {
        "store": lambda: store.store("new", b"data"),
        "store under a key": lambda: store.store("id", b"data", key=key),
        "retrieve": lambda: store.retrieve("id", key),
        "retrieve_into": lambda: store.retrieve_into("id", key, bytearray(4)),
        "retrieve_range": lambda: store.retrieve_range("id", key, 0, 1),
        "take": lambda: store.take("id", key),
        "rekey": lambda: store.rekey("id", key),
        "rekey under a key": lambda: store.rekey("id", key, new_key=new_key),
        "replace": lambda: store.replace("id", key, b"data"),
        "replace under a key": lambda: store.replace("id", key, b"data", new_key=new_key),
        "delete": lambda: store.delete("id", key),
        "erase": lambda: store.erase("id"),
        "store_many": lambda: store.store_many([("new", b"data")]),
        "retrieve_many": lambda: store.retrieve_many([("id", key)], return_exceptions=True),
        "store_file": lambda: store.store_file("new", source),
        "replace_file": lambda: store.replace_file("id", key, source),
        "open_record": lambda: store.open_record("id", key),
        "take_record": lambda: store.take_record("id", key),
        "create_record": lambda: store.create_record("new"),
        "create_record under a key": lambda: store.create_record("new", key=key),
        "replace_record": lambda: store.replace_record("id", key),
        "replace_record under a key": lambda: store.replace_record("id", key, new_key=new_key),
        "purge": store.purge,
        "verify": store.verify,
        "begin_rotation": rotating.begin_rotation,
        "rotation": rotating.rotation,
        "erase_unrotated": lambda: rotating.erase_unrotated("01" * 32),
        "finish_rotation": rotating.finish_rotation,
        "retention": lambda: store.retention([("", "id")]),
        "erase_others": lambda: store.erase_others(retention),
        "stats": store.stats,
        "maintain": store.maintain,
        "compact": store.compact,
    }
    methods = {name for name in vars(Strongroom) if not name.startswith("_")}
    assert methods - {"close", "namespace", "padded", "repair_from"} == {
        name.removesuffix(" under a key") for name in calls
    }
    calls["in"] = lambda: "id" in store
    calls["store of a padding handle"] = lambda: store.padded().store("new", b"data")
    calls["store of a namespace"] = lambda: store.namespace("name").store("new", b"data")
    calls["store_many of none"] = lambda: store.store_many([])
    calls["store_many of none, with an expiry"] = lambda: store.store_many([], expires_in=1)
    calls["retrieve_many of none"] = lambda: store.retrieve_many([])
    for call in calls.values():
        with pytest.raises(strongroom.ClosedError):
            call()
    store.close()


@pytest.mark.parametrize("size", [100_000, LONG])
def test_files_of_a_closed_store(store: Strongroom, size: int) -> None:
    key = store.store("id", pattern(size))
    reader, writer = store.open_record("id", key), store.create_record("new")
    writer.write(pattern(size))
    store.close()
    with pytest.raises(strongroom.ClosedError):
        reader.read()
    with pytest.raises(strongroom.ClosedError):
        writer.finish()
    assert writer.closed
    reader.close()


def test_every_method_of_a_closed_file(store: Strongroom) -> None:
    reader = store.open_record("id", store.store("id", b"data"))
    writer = store.create_record("new")
    files: list[io.BufferedIOBase | io.RawIOBase] = [reader, writer]
    calls: list[Callable[[], object]] = [
        reader.read,
        reader.readall,
        reader.readline,
        reader.readlines,
        reader.read1,
        lambda: reader.readinto1(bytearray(1)),
        reader.__enter__,
        reader.__iter__,
        lambda: next(reader),
        lambda: reader.readinto(bytearray(1)),
        lambda: reader.seek(0),
        writer.finish,
        writer.flush,
        writer.__enter__,
        lambda: writer.write(b"data"),
        lambda: writer.writelines([b"data"]),
    ]
    for file in files:
        file.close()
        file.close()
        calls += [file.tell, file.readable, file.writable, file.seekable, file.isatty, file.fileno]
    for call in calls:
        with pytest.raises(ValueError):
            call()


def test_a_file_does_what_it_says(store: Strongroom) -> None:
    """As in :class:`io.IOBase`, so that wrappers report the cause."""
    with store.open_record("id", store.store("id", b"data")) as reader, store.create_record("new") as writer:
        calls: list[Callable[[], object]] = [
            lambda: reader.write(b"data"),
            lambda: reader.writelines([b"data"]),
            lambda: reader.truncate(0),
            reader.fileno,
            reader.detach,
            lambda: writer.read(1),
            lambda: writer.read(),
            writer.readall,
            lambda: writer.readinto(bytearray(1)),
            writer.readline,
            lambda: writer.seek(0),
            lambda: writer.truncate(0),
            writer.fileno,
            lambda: io.BufferedWriter(reader),
            lambda: io.BufferedReader(writer),
            lambda: io.BufferedRandom(reader),  # type: ignore[arg-type]
        ]
        for call in calls:
            with pytest.raises(io.UnsupportedOperation):
                call()
        assert not reader.isatty() and not writer.isatty()
        assert reader.read() == b"data"


def test_places(store: Strongroom) -> None:
    data = pattern(50_000)
    key = store.store("id", data)
    with store.open_record("id", key) as reader:
        for size in (-1, -5, -(2**63), None):
            reader.seek(0)
            assert reader.read(size) == data
        assert reader.seek(0) == 0
        assert reader.read(0) == b"" and reader.readinto(bytearray()) == 0 and reader.tell() == 0
        for place in (50_000, 50_001, 2**40, 2**63 - 1):
            assert reader.seek(place) == place == reader.tell()
            assert reader.read(1) == reader.read() == reader.readall() == b""
            assert reader.readinto(bytearray(1)) == 0
        with pytest.raises(ValueError):
            reader.seek(-(2**63), io.SEEK_CUR)
        for distance, origin in ((1, io.SEEK_CUR), (2**63 - 1, io.SEEK_CUR), (2**63 - 50_000, io.SEEK_END)):
            with pytest.raises(strongroom.InvalidArgumentError):
                reader.seek(distance, origin)
            assert reader.tell() == reader.seek(reader.tell()) == 2**63 - 1
        assert reader.seek(2**63 - 50_001, io.SEEK_END) == 2**63 - 1
        assert reader.seek(-1, io.SEEK_END) == 49_999
        wrong: list[tuple[object, int, type[Exception]]] = [
            (-1, 0, ValueError),
            (0, 3, ValueError),
            (0, -1, ValueError),
            (2**63, 0, OverflowError),
            (-(2**63) - 1, 1, OverflowError),
            (1.0, 0, TypeError),
            (None, 0, TypeError),
        ]
        for offset, whence, error in wrong:
            with pytest.raises(error):
                reader.seek(offset, whence)  # type: ignore[arg-type]
        assert reader.tell() == 49_999
        for buffer in (b"read-only", memoryview(b"read-only"), "text", None, 5):
            with pytest.raises((TypeError, BufferError)):
                reader.readinto(buffer)  # type: ignore[arg-type]
        assert reader.tell() == 49_999, "nothing is skipped"
        no_sizes: list[object] = [1.5, "1", 2**63]
        for no_size in no_sizes:
            with pytest.raises((TypeError, OverflowError)):
                reader.read(no_size)  # type: ignore[arg-type]

    assert store.retrieve_range("id", key, 7, 7) == store.retrieve_range("id", key, 9, 7) == b""
    assert store.retrieve_range("id", key, 49_999, 2**64 - 1) == data[-1:]
    assert store.retrieve_range("id", key, 2**64 - 1, 2**64 - 1) == b""
    for start, stop in ((-1, 5), (0, -1), (-(2**70), 0)):
        with pytest.raises(strongroom.InvalidArgumentError, match="negative"):
            store.retrieve_range("id", key, start, stop)
    assert store.retrieve_range("id", key, 49_999, 2**64) == data[-1:]
    assert store.retrieve_range("id", key, 2**70, 2**71) == b""


def test_numbers(store: Strongroom, path: Path, tmp_path: Path) -> None:
    """An invalid number raises the same exception in each argument, whatever its size."""
    key, url = store.store("id", b"data"), "http://127.0.0.1:1"
    counts: list[Callable[[Any], object]] = [
        store.purge,
        store.compact,
        store.rotation,
        lambda n: store.retrieve_range("id", key, n, 5),
        lambda n: store.retrieve_range("id", key, 0, n),
        lambda n: store.verify(bytes_per_second=n),
        lambda n: strongroom.verify(path, bytes_per_second=n),
    ]
    rates = counts[-2:]

    def workers(n: Any) -> object:
        return strongroom.copy(path, tmp_path / "copy.db", workers=n)

    times: list[Callable[..., object]] = [
        lambda **time: store.store("new", b"data", **time),
        lambda **time: store.store_many([("new", b"data")], **time),
        lambda **time: store.store_file("new", io.BytesIO(), **time),
        lambda **time: store.create_record("new", **time),
        lambda **time: store.replace("id", key, b"data", **time),
        lambda **time: store.replace_file("id", key, io.BytesIO(), **time),
        lambda **time: store.replace_record("id", key, **time),
        lambda **time: store.rekey("id", key, **time),
    ]
    timeouts: list[Callable[[Any], object]] = [
        lambda n: strongroom.open(url, index_key=IndexKey.generate(), timeout=n),
        lambda n: strongroom.connect(url, timeout=n),
        lambda n: strongroom.copy(url, path, timeout=n),
        lambda n: strongroom.verify(url, timeout=n),
    ]
    expiries: list[Callable[[Any], object]] = [
        lambda n: [call(expires_in=n) for call in times],
        lambda n: [call(expires_at=n) for call in times],
    ]
    large = [2**63, 2**64, 10**400]
    wrong: list[tuple[list[Callable[[Any], object]], list[float]]] = [
        ([*counts, workers], [-1, -(2**63) - 1, -(10**400)]),
        ([*rates, workers], [0]),
        ([workers], [65, *large]),
        (expiries, [-1, -1.5, -(10**400), 10**400, 1e300, float("inf"), float("nan")]),
    ]
    for calls, numbers in wrong:
        for call in calls:
            for number in numbers:
                with pytest.raises(strongroom.InvalidArgumentError):
                    call(number)
    for call in timeouts:
        for number in (0, -1, -1.5, -(10**400), float("-inf"), float("nan")):
            with pytest.raises(strongroom.InvalidArgumentError, match="a timeout must be a number of seconds above 0"):
                call(number)
    for call in counts:
        for number in large:
            call(number)
    for number in (1e9, 1e300, float("inf"), *large):  # a day
        strongroom.connect(url, timeout=number)
    for call in [*counts, workers, *timeouts, *expiries]:
        for other in ("1", b"1", [1], *((1.0,) if call in [*counts, workers] else ())):
            with pytest.raises(TypeError):
                call(other)
    assert store.retrieve("id", key) == b"data" and store.stats().records == 1


def none_left(store: Strongroom) -> None:
    assert store.stats().records == 0
    store.close()


def test_sources_that_cannot_be_read(store: Strongroom, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(pattern(LONG))
    closed = path.open("rb")
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        store.store_file("id", closed)
    with (tmp_path / "sink").open("wb", buffering=0) as write_only, pytest.raises(io.UnsupportedOperation):
        store.store_file("id", write_only)
    with path.open(encoding="latin-1") as text, pytest.raises(TypeError, match="bytes-like"):
        store.store_file("id", text)  # type: ignore[arg-type]
    with pytest.raises(IsADirectoryError):
        store.store_file("id", tmp_path)
    for wrong in (b"data", None, 5, object(), [b"data"]):
        with pytest.raises(TypeError, match="path or a binary file"):
            store.store_file("id", wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="null"):
        store.store_file("id", str(path) + "\0")
    none_left(store)


async def awaited_progress(_: object) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("progress", "message"), [(5, "is not callable"), (awaited_progress, "is a coroutine function")]
)
def test_a_progress_that_cannot_be_called(store: Strongroom, path: Path, progress: Any, message: str) -> None:
    """It is refused before the work, also where it would never be called."""
    key = store.store("id", b"data")
    calls: list[Callable[[], object]] = [
        lambda: store.store_file("new", io.BytesIO(), progress),
        lambda: store.replace_file("id", key, io.BytesIO(), progress),
        lambda: store.verify(progress=progress),
        lambda: strongroom.verify(path, progress=progress),
        lambda: strongroom.verify("missing.db", progress=progress),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=f"progress {message}"):
            call()
    assert store.retrieve("id", key) == b"data" and "new" not in store


class AsyncSource:
    async def read(self, size: int, /) -> bytes:
        return b"data"


def test_a_source_that_must_be_awaited(store: Strongroom) -> None:
    source: Any = AsyncSource()
    key = store.store("id", b"data")
    with pytest.raises(TypeError, match=r"use strongroom\.aio"):
        store.store_file("new", source)
    with pytest.raises(TypeError, match=r"use strongroom\.aio"):
        store.replace_file("id", key, source)
    assert store.retrieve("id", key) == b"data" and "new" not in store


@pytest.mark.skipif(not hasattr(os, "set_blocking"), reason="there are no such streams")
def test_a_non_blocking_raw_stream(store: Strongroom) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with io.FileIO(reading) as source, io.FileIO(writing, "w") as sink:
        with pytest.raises(BlockingIOError) as caught:
            store.store_file("id", source)
        assert caught.value.errno == errno.EAGAIN
        sink.write(b"data")
        with pytest.raises(BlockingIOError):  # more data may follow
            store.store_file("id", source)
        sink.write(b"data")
        sink.close()
        assert store.retrieve("id", store.store_file("id", source)) == b"data"


class Raises:
    """A source, and an iterable, that raises after the first piece."""

    def __init__(self, error: type[BaseException], first: bytes) -> None:
        self.error = error
        self.first: bytes | None = first

    def read(self, size: int, /) -> bytes:
        first, self.first = self.first, None
        if first is None:
            raise self.error("half way")
        return first

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        yield "id", b"data"
        raise self.error("half way")


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("size", [1, LONG])
def test_exceptions_of_callbacks_propagate(store: Strongroom, error: type[BaseException], size: int) -> None:
    def progress(_: int) -> None:
        raise error("half way")

    calls: list[Callable[[], object]] = [
        lambda: store.store_file("id", Raises(error, pattern(size))),
        lambda: store.store_file("id", io.BytesIO(pattern(size)), progress),
        lambda: store.store_many(Raises(error, b"")),
        lambda: store.retrieve_many(Raises(error, b"")),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(error, match="half way"):
            call()
    with pytest.raises(error), store.create_record("id") as file:
        file.write(pattern(size))
        raise error
    none_left(store)


class Changes:
    """A source that uses the store that it is stored into."""

    def __init__(self, store: Strongroom) -> None:
        self.store = store

    def read(self, size: int, /) -> bytes:
        self.store.store("other", b"data")
        self.store.close()
        return pattern(LONG)


def test_a_callback_may_use_the_store(store: Strongroom, path: Path) -> None:
    with pytest.raises(strongroom.ClosedError):
        store.store_file("id", Changes(store))
    with strongroom.open(path) as store:
        assert "other" in store and "id" not in store


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = ("index_key_file",)
    for name in ("a\0b", "\0", "records.db\0.txt"):
        with pytest.raises(ValueError, match="NUL"):
            strongroom.open(name)
        for argument in files:
            with pytest.raises(ValueError, match="NUL"):
                strongroom.open("records.db", **{argument: name})  # type: ignore[arg-type]
    for wrong in ("", ".", "..", "/", tmp_path):
        with pytest.raises(strongroom.InvalidArgumentError):
            strongroom.open(wrong)
    for other in (None, 5, b"records.db", object(), ["records.db"]):
        with pytest.raises(TypeError):
            strongroom.open(other)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        strongroom.open("\ud800.db")
    assert list(tmp_path.iterdir()) == []

    class Named:
        def __fspath__(self) -> str:
            return "named.db"

    # A backslash, a drive and a byte that is not UTF-8 are parts of a name here.
    names: list[str | os.PathLike[str]] = [Named(), "C:\\data\\records.db", "not-utf8-\udcff.db", "a b%20c.db", "~"]
    for path in names:
        with strongroom.open(path) as store:
            store.store("id", b"data")
        assert (tmp_path / path).is_file()


def test_a_store_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    index_key = strongroom.IndexKey.generate()
    with strongroom.open(":memory:") as store, strongroom.open(Path(":memory:"), index_key=index_key) as other:
        key = store.store("id", pattern(LONG))
        assert store.retrieve("id", key) == pattern(LONG)
        assert "id" not in other
    with pytest.raises(strongroom.ClosedError):
        store.stats()
    with strongroom.open(":memory:", durability="relaxed") as store:
        assert "id" not in store
    with pytest.raises(strongroom.InvalidArgumentError, match="always new"):
        strongroom.open(":memory:", must_exist=True)
    with pytest.raises(strongroom.InvalidArgumentError, match="URL of a service"):
        strongroom.open(":memory:", timeout=1)
    assert list(tmp_path.iterdir()) == []


MODES = """
import os, sys, strongroom
os.umask(0)
with strongroom.open(sys.argv[1]) as store, store.create_record("id") as file:
    file.write(bytes(3_000_000))
    for entry in os.scandir(os.path.dirname(sys.argv[1])):
        print(entry.name, oct(entry.stat().st_mode & 0o777))
"""


@pytest.mark.skipif(os.name != "posix", reason="there are no modes")
def test_the_files_of_a_new_store_are_its_owners_alone(path: Path) -> None:
    command = [sys.executable, "-c", MODES, str(path)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout.splitlines()
    suffixes = ("", "-shm", "-wal", ".index-key", ".uploads")
    assert sorted(found) == [f"records.db{suffix} 0o600" for suffix in suffixes]


SUBINTERPRETER = """
import sys, warnings
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import strongroom

store = strongroom.open(sys.argv[1])
code = '''
try:
    import strongroom
except ImportError as error:
    print("refused:", error)
else:
    try:
        strongroom.open("missing/records.db")
    except strongroom.StorageError:
        print("its own class")
    except Exception as error:
        print("another's class:", type(error))
'''
for _ in range(2):
    other = interpreters.create() if sys.version_info < (3, 13) else interpreters.create("legacy")
    interpreters.run_string(other, code)
    interpreters.destroy(other)
try:
    strongroom.open("missing/records.db")
except strongroom.StorageError:
    print("unharmed")
"""


def test_a_second_interpreter_is_refused(path: Path) -> None:
    command = [sys.executable, "-c", SUBINTERPRETER, str(path)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout.splitlines()
    refusal = "refused: strongroom is in use by another interpreter of this process"
    assert [line.split(":")[0] + ":" + line.split(":")[1] if ":" in line else line for line in found] == [
        refusal,
        refusal,
        "unharmed",
    ]


AGAIN = """
import sys, strongroom
def fails(strongroom):
    try:
        strongroom.open("missing/records.db")
    except strongroom.StorageError:
        return True

assert fails(strongroom)
for name in [name for name in sys.modules if name.startswith("strongroom")]:
    del sys.modules[name]
import strongroom
assert fails(strongroom)
with strongroom.open(sys.argv[1]) as store:
    with store.create_record("id") as file:
        assert type(file) is strongroom.RecordWriter
    assert type(store.open_record("id", file.key)) is strongroom.RecordReader
"""


def test_a_second_import_has_its_own_classes(path: Path) -> None:
    subprocess.run([sys.executable, "-c", AGAIN, str(path)], check=True, timeout=60)
