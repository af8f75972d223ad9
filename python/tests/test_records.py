"""Records as files."""

import io
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import strongroom
from conftest import SIZES, pattern
from strongroom import Key, Strongroom


@pytest.mark.parametrize("size", [*SIZES, 3_000_000])
def test_write_and_read(store: Strongroom, size: int) -> None:
    with store.create_record("id") as file:
        assert file.writable() and not file.readable() and not file.seekable()
        assert file.write(pattern(size)) == size
        assert file.tell() == size
        assert "id" not in store
    with store.open_record("id", file.key) as reader:
        assert reader.readable() and reader.seekable() and not reader.writable()
        assert reader.read() == pattern(size)
        assert reader.read() == reader.read(5) == b""
        assert reader.tell() == size
    assert reader.closed


def test_replace_piece_by_piece(store: Strongroom) -> None:
    key, made, newer = Key.generate(), Key.generate(), Key.generate()
    with store.create_record("id", key=key) as file:
        file.write(b"first")
    assert file.key == key
    with store.create_record("id", key=key) as file:  # the same once more
        file.write(b"first")
    with pytest.raises(strongroom.AlreadyExistsError), store.create_record("id", key=key) as file:
        file.write(b"other")
    with pytest.raises(strongroom.AlreadyExistsError):
        store.create_record("id", key=made)
    with pytest.raises(strongroom.WrongKeyError):
        store.replace_record("id", made)
    with store.replace_record("id", key, new_key=made) as file:
        file.write(pattern(3_000_000))
        assert store.retrieve("id", key) == b"first"  # until it is finished
    assert store.retrieve("id", made) == pattern(3_000_000)
    with pytest.raises(ZeroDivisionError), store.replace_record("id", made):
        _ = 1 / 0
    with store.replace_record("id", made) as file, pytest.raises(strongroom.InvalidArgumentError):
        store.replace_record("id", newer, new_key=newer)
    assert store.retrieve("id", file.key) == b""
    with pytest.raises(strongroom.NotFoundError):
        store.replace_record("other", file.key)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["read", "readline", "readinto", "seek"]), st.integers(0, 60_000))))
def test_a_reader_is_a_file(store: Strongroom, steps: list[tuple[str, int]]) -> None:
    store.erase("id")
    # Lines of 251 bytes, and one that is longer than a chunk.
    model = io.BytesIO(pattern(20_000) + bytes(20_000) + pattern(10_000))
    key = store.store("id", model.getvalue())
    with store.open_record("id", key) as file:
        for what, number in steps:
            if what == "read":
                assert file.read(number) == model.read(number)
            elif what == "readline":
                size = -1 if number % 2 else number // 2
                assert file.readline(size) == model.readline(size)
            elif what == "readinto":
                buffer, expected = bytearray(number), bytearray(number)
                assert file.readinto(buffer) == model.readinto(expected)
                assert buffer == expected
            else:
                whence = number % 3
                offset = number if whence == 0 else number - 55_000
                if whence == 0 or (model.tell() if whence == 1 else 50_000) + offset >= 0:
                    assert file.seek(offset, whence) == model.seek(offset, whence)
            assert file.tell() == model.tell()
        assert list(file) == list(model)
        file.seek(0)
        assert file.readall() == file.read1(60_000) + model.getvalue()


def test_lines_of_all_lengths(store: Strongroom) -> None:
    data = b"".join(pattern(n).replace(b"\n", b"x") + b"\n" for n in [*SIZES, 0, 1, 100_000]) + b"no end"
    with store.open_record("id", store.store("id", data)) as file:
        assert isinstance(file, io.BufferedIOBase)
        assert file.readlines() == io.BytesIO(data).readlines()
        file.seek(0)
        lines = []
        for line in file:
            lines.append(line)
            assert file.tell() == sum(map(len, lines))
        assert b"".join(lines) == data
        file.seek(3)
        assert file.readline(None) == io.BytesIO(data[3:]).readline()
        assert file.readline(0) == b""


def test_a_line_is_read_once_or_not_at_all(store: Strongroom, path: Path) -> None:
    data = b"first\n" + pattern(40_000).replace(b"\n", b"x") + b"\nlast"
    key = store.store("id", data)
    store.close()
    other = "CASE substr(body, 20001, 1) WHEN x'00' THEN x'01' ELSE x'00' END"
    change_database(
        path, f"UPDATE record SET body = CAST(substr(body, 1, 20000) || {other} || substr(body, 20002) AS BLOB)"
    )
    with strongroom.open(path) as store, store.open_record("id", key) as file:
        assert file.readline() == b"first\n"
        for _ in range(2):
            with pytest.raises(strongroom.CorruptError):
                file.readline()
            assert file.tell() == 6
        assert file.read(40_000) == data[6:16_384]


def test_seeking_before_the_start(store: Strongroom) -> None:
    with store.open_record("id", store.store("id", b"data")) as file:
        file.seek(1)
        for offset, whence in ((-1, 0), (-2, 1), (-5, 2), (0, 3)):
            with pytest.raises(ValueError):
                file.seek(offset, whence)
        assert file.tell() == 1


def test_long_reads_into_a_buffer(store: Strongroom) -> None:
    key = store.store("id", pattern(1_000_000))
    with store.open_record("id", key) as file:
        buffer = bytearray(1_200_000)
        assert file.readinto(buffer) == 1_000_000
        assert buffer == pattern(1_000_000) + bytes(200_000)


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_an_exception_stores_nothing(store: Strongroom, size: int) -> None:
    with pytest.raises(RuntimeError), store.create_record("id") as file:
        file.write(pattern(size))
        raise RuntimeError
    assert file.closed
    assert "id" not in store
    assert store.stats().records == 0


def test_an_unfinished_writer_stores_nothing(store: Strongroom) -> None:
    store.create_record("id").write(b"data")
    file = store.create_record("id")
    file.write(b"data")
    file.close()
    assert "id" not in store


def test_finish(store: Strongroom) -> None:
    file = store.create_record("id")
    file.write(b"data")
    key = file.finish()
    assert store.retrieve("id", key) == b"data"
    assert file.key == key
    with pytest.raises(ValueError, match="closed"):
        file.finish()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")

    with store.create_record("finished inside") as file:
        file.finish()
    assert "finished inside" in store
    with pytest.raises(ValueError, match="given up"), store.create_record("closed inside") as file:
        file.close()
    assert "closed inside" not in store


def test_one_of_two_writers_wins(store: Strongroom) -> None:
    first, second = store.create_record("id"), store.create_record("id")
    first.write(b"first")
    second.write(b"second")
    key = second.finish()
    with pytest.raises(strongroom.AlreadyExistsError):
        first.finish()
    assert first.closed
    assert store.retrieve("id", key) == b"second"
    with pytest.raises(strongroom.AlreadyExistsError):
        store.create_record("id")


def test_a_reader_stays_at_its_version(store: Strongroom) -> None:
    key = store.store("id", pattern(3_000_000))
    with store.open_record("id", key) as file:
        start = file.read(10)
        new_key = store.replace("id", key, bytes(3_000_000))
        with pytest.raises(strongroom.ConflictError):
            start += file.read()
        assert start == pattern(10)
    assert store.retrieve("id", new_key) == bytes(3_000_000)


def test_damage_fails_where_it_is_reached(store: Strongroom, path: Path) -> None:
    key = store.store("id", pattern(50_000))
    store.close()
    database = sqlite3.connect(path)
    with database:
        (data,) = database.execute("SELECT body FROM record").fetchone()
        data = bytearray(data)
        data[2 * 16_400] ^= 1
        database.execute("UPDATE record SET body = ?", (data,))
    database.close()
    with strongroom.open(path) as store, store.open_record("id", key) as file:
        assert file.read(32_768) == pattern(32_768)
        for _ in range(2):
            with pytest.raises(strongroom.CorruptError):
                file.read(1)
        file.seek(49_152)
        assert file.read() == pattern(50_000)[49_152:]
        # Data before the damage can be read, and is not lost if a read of all data fails.
        file.seek(10)
        with pytest.raises(strongroom.CorruptError):
            file.read()
        assert file.tell() == 10
        assert file.read(50_000) == pattern(32_768)[10:]
        file.seek(10)
        buffer = bytearray(50_000)
        assert file.readinto(buffer) == 32_758
        assert buffer[:32_758] == pattern(32_768)[10:]
        for _ in range(2):
            with pytest.raises(strongroom.CorruptError):
                file.readinto(buffer)


def test_data_before_a_damaged_end_can_be_read(store: Strongroom, path: Path) -> None:
    key = store.store("id", pattern(40_000))
    store.close()
    other = "CASE substr(body, length(body)) WHEN x'00' THEN x'01' ELSE x'00' END"
    sql = f"UPDATE record SET body = CAST(substr(body, 1, length(body) - 1) || {other} AS BLOB)"
    change_database(path, sql)
    with strongroom.open(path) as store, store.open_record("id", key) as file:
        assert file.read(40_000) == pattern(32_768)
        with pytest.raises(strongroom.CorruptError):
            file.read(1)


def change_database(path: Path, sql: str) -> None:
    """In another process, because a second SQLite in this one would break the locks of the first."""
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1], isolation_level=None).execute(sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, path, sql], check=True)


def test_a_read_after_a_failure_skips_nothing(store: Strongroom, path: Path) -> None:
    data = pattern(3_000_000)
    with store.open_record("id", store.store("id", data)) as file:
        change_database(path, "UPDATE segment SET n = n + 1000 WHERE n >= 5")
        with pytest.raises(strongroom.CorruptError):
            file.read()
        assert file.tell() == 0
        start, buffer = bytearray(file.read(100_000)), bytearray(700_000)
        with pytest.raises(strongroom.CorruptError):
            while True:
                start += buffer[: file.readinto(buffer)]
        assert len(start) > 1_000_000
        for _ in range(2):
            with pytest.raises(strongroom.CorruptError):
                file.readinto(bytearray(2_900_000))
        change_database(path, "UPDATE segment SET n = n - 1000 WHERE n >= 1000")
        assert start + file.read() == data
        file.seek(0)
        assert file.read() == data


def test_reads_that_are_longer_than_the_memory_that_is_reserved(store: Strongroom, path: Path) -> None:
    data = pattern(40_000_000)
    with store.open_record("id", store.store("id", data)) as file:
        assert file.read() == data and file.read() == b""
        file.seek(1)
        assert file.read(39_000_000) == data[1:39_000_001]
        assert file.tell() == 39_000_001
        change_database(path, "UPDATE segment SET n = n + 1000 WHERE n >= 100")
        file.seek(0)
        with pytest.raises(strongroom.CorruptError):
            file.read()
        assert file.tell() == 0
        start = file.read(40_000_000)
        assert 20_000_000 < len(start) == file.tell() < 40_000_000
        assert data.startswith(start)
        with pytest.raises(strongroom.CorruptError):
            file.read(17_000_000)
        assert file.tell() == len(start)
        change_database(path, "UPDATE segment SET n = n - 1000 WHERE n >= 1000")
        assert start + file.read() == data


def test_closed_files(store: Strongroom) -> None:
    file = store.open_record("id", store.store("id", b"data"))
    file.close()
    file.close()
    calls: list[Callable[[], object]] = [
        file.read,
        file.tell,
        lambda: file.seek(0),
        lambda: file.readinto(bytearray(1)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="closed file"):
            call()


class Source:
    """A file that returns a few bytes at a time, and then fails."""

    def __init__(self, pieces: Sequence[bytes | None], error: Exception | None = None) -> None:
        self.pieces = list(pieces)
        self.error = error

    def read(self, size: int, /) -> bytes | None:
        if not self.pieces and self.error:
            raise self.error
        return self.pieces.pop(0) if self.pieces else b""


def test_store_file(store: Strongroom, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(pattern(2_500_000))
    sources: list[Path | str | BinaryIO] = [source, str(source), source.open("rb"), io.BytesIO(pattern(2_500_000))]
    for n, file in enumerate(sources):
        progress: list[int] = []
        key = store.store_file(f"id-{n}", file, progress=progress.append)
        assert store.retrieve(f"id-{n}", key) == pattern(2_500_000)
        assert progress == [1 << 20, 2 << 20, 2_500_000]
        if not isinstance(file, str | Path):
            file.close()
    assert store.retrieve("few", store.store_file("few", Source([b"a", b"bc", b"d"]))) == b"abcd"
    assert store.retrieve("empty", store.store_file("empty", io.BytesIO())) == b""


def test_replace_file(store: Strongroom, tmp_path: Path) -> None:
    file, key = tmp_path / "file", Key.generate()
    file.write_bytes(pattern(300_000))
    assert store.store_file("id", file, key=key) == key
    assert store.store_file("id", file, key=key) == key  # the same once more
    newer = store.replace_file("id", key, io.BytesIO(b"newer"))
    with pytest.raises(RuntimeError):
        store.replace_file("id", newer, Source([b"a"], RuntimeError("half way")))
    assert store.retrieve("id", newer) == b"newer"
    made, progress = Key.generate(), list[int]()
    assert store.replace_file("id", newer, file, progress.append, new_key=made) == made
    assert store.retrieve("id", made) == pattern(300_000)
    assert progress[-1] == 300_000
    with pytest.raises(strongroom.WrongKeyError):
        store.replace_file("id", newer, file)


def test_store_file_is_atomic(store: Strongroom, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half way"):
        store.store_file("id", Source([b"a", pattern(2_000_000)], RuntimeError("half way")))

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.store_file("id", io.BytesIO(b"data"), stop)
    with pytest.raises(FileNotFoundError):
        store.store_file("id", tmp_path / "missing")
    with pytest.raises(TypeError, match="bytes-like"):
        store.store_file("id", io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bytes-like"):
        store.store_file("id", io.StringIO())  # type: ignore[arg-type]
    with pytest.raises(BlockingIOError):  # no data yet is not the end
        store.store_file("id", Source([b"a", None, b"b"]))
    assert "id" not in store
    store.store("id", b"data")
    with pytest.raises(strongroom.AlreadyExistsError):
        store.store_file("id", io.BytesIO(b"other"))
