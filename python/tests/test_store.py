"""The store's operations."""

import array
import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import strongroom
from conftest import SIZES, pattern
from strongroom import Key, Keyring, Strongroom


@pytest.mark.parametrize("size", [*SIZES, 3_000_000])
def test_stored_data_is_retrieved(store: Strongroom, size: int) -> None:
    key = store.store("id", pattern(size))
    assert store.retrieve("id", key) == pattern(size)
    assert store.retrieve_range("id", key, 0, size) == pattern(size)
    buffer = bytearray(b"x" * (size + 1))
    assert store.retrieve_into("id", key, buffer) == size
    assert buffer == pattern(size) + b"x"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(id=st.text(min_size=1, max_size=1000) | st.binary(min_size=1, max_size=4096), data=st.binary(max_size=50_000))
def test_round_trip(store: Strongroom, id: str | bytes, data: bytes) -> None:
    store.erase(id)
    key = store.store(id, data)
    assert store.retrieve(id, key) == data
    new_key = store.replace(id, key, data[::-1])
    assert store.retrieve(id, new_key) == data[::-1]
    with pytest.raises(strongroom.WrongKeyError):
        store.retrieve(id, key)
    store.delete(id, new_key)
    assert id not in store


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 60_000), length=st.integers(0, 60_000))
def test_ranges(store: Strongroom, start: int, length: int) -> None:
    store.erase("id")
    key = store.store("id", pattern(50_000))
    expected = pattern(50_000)[start : start + length]
    assert store.retrieve_range("id", key, start, start + length) == expected


def test_text_ids_are_their_utf8(store: Strongroom) -> None:
    key = store.store("Zoë", b"data")
    assert "Zoë".encode() in store
    assert "Zoe\u0308" not in store  # another Unicode form of the same letter
    assert store.retrieve(bytearray("Zoë".encode()), key) == b"data"


@pytest.mark.parametrize("id", ["", b"", "x" * 4097, b"x" * 4097, "\ud800"])
def test_invalid_ids(store: Strongroom, id: str | bytes) -> None:
    with pytest.raises(strongroom.InvalidIdError):
        store.store(id, b"data")
    with pytest.raises(ValueError, match="surrogates" if id == "\ud800" else "4096"):
        assert id not in store


@pytest.mark.parametrize(
    "data",
    [
        bytearray(b"12345678"),
        memoryview(b"12345678"),
        memoryview(b"1x2x3x4x5x6x7x8x")[::2],
        array.array("I", b"12345678"),
        numpy.frombuffer(b"12345678", dtype="u1"),
        numpy.frombuffer(b"12345678", dtype="f4"),
    ],
    ids=lambda data: type(data).__name__,
)
def test_any_buffer_is_data(store: Strongroom, data: bytearray) -> None:
    assert store.retrieve("id", store.store("id", data)) == b"12345678"


@pytest.mark.parametrize("data", ["text", None, 5, [1, 2]])
def test_other_types_are_not_data(store: Strongroom, data: bytes) -> None:
    with pytest.raises(TypeError, match=r"bytes-like object is needed, not '(str|NoneType|int|list)'"):
        store.store("id", data)
    assert "id" not in store


def test_other_types_are_not_ids(store: Strongroom) -> None:
    with pytest.raises(TypeError, match="a str or a bytes-like object is needed, not 'int'"):
        store.store(42, b"data")  # type: ignore[arg-type]


def test_a_buffer_that_is_not_contiguous(store: Strongroom) -> None:
    octets: Any = numpy.arange(8, dtype="u1")[::2]
    key = store.store("id", octets)
    assert store.retrieve("id", key) == bytes([0, 2, 4, 6])
    numbers: Any = numpy.arange(8, dtype="f4")[::2]
    with store.open_record("id", key) as reader:
        calls: list[Callable[[], object]] = [
            lambda: store.store("numbers", numbers),
            lambda: store.retrieve_into("id", key, numbers),
            lambda: reader.readinto(numbers),
        ]
        for call in calls:
            with pytest.raises(TypeError, match=r"is not contiguous: .* numpy\.ascontiguousarray"):
                call()
    assert numbers.tolist() == [0, 2, 4, 6]
    numbers = numpy.ascontiguousarray(numbers)
    assert store.retrieve("numbers", store.store("numbers", numbers)) == numbers.tobytes()


@pytest.mark.parametrize("make", [lambda: ((ctypes.c_int * 0) * 3)(), lambda: numpy.zeros((0, 3)), bytearray])
def test_an_empty_buffer_of_any_shape(store: Strongroom, make: Callable[[], Any]) -> None:
    empty = make()
    key = store.store("id", empty)
    assert store.retrieve("id", key) == b""
    with store.create_record("written") as writer:
        assert writer.write(empty) == 0
    assert store.retrieve_into("id", key, empty) == 0
    long_key = store.store("long", b"data")
    with pytest.raises(strongroom.TooLargeError):
        store.retrieve_into("long", long_key, empty)
    read_only = memoryview(empty).toreadonly()
    with store.open_record("long", long_key) as reader:
        assert reader.readinto(empty) == 0
        with pytest.raises(BufferError):
            reader.readinto(read_only)
    with pytest.raises(BufferError):
        store.retrieve_into("id", key, read_only)


def test_pairs_are_needed(store: Strongroom, tmp_path: Path) -> None:
    key = Key.generate()
    identity, recipient = Keyring.generate_identity()
    Keyring.create(tmp_path / "keys", recipients=[recipient])
    keyring = Keyring.open(tmp_path / "keys", identity=identity)
    data, keys = {"id": b"data"}, {"id": key}
    calls: list[tuple[str, Callable[[], object]]] = [
        ("id and data", lambda: store.store_many(data)),  # type: ignore[arg-type]
        ("id and key", lambda: store.retrieve_many(keys)),  # type: ignore[arg-type]
        ("id and key", lambda: keyring.insert_many(keys)),  # type: ignore[arg-type]
        ("namespace and id", lambda: store.retention(["id"])),  # type: ignore[list-item]
    ]
    for parts, call in calls:
        with pytest.raises(TypeError, match=rf"^a pair of {parts}.* is needed, not 'str'$"):
            call()
    url, file = "https://host.example", tmp_path / "client.pem"
    services: list[Callable[[], object]] = [
        lambda: strongroom.open(url, client_certificate=file),  # type: ignore[arg-type]
        lambda: strongroom.connect(url, client_certificate=file),  # type: ignore[arg-type]
        lambda: strongroom.copy(url, url, client_certificate=file),  # type: ignore[arg-type]
        lambda: strongroom.verify(url, client_certificate=file),  # type: ignore[arg-type]
    ]
    for call in services:
        with pytest.raises(TypeError, match="a pair of the files of certificate and private key is needed, not 'Posix"):
            call()
    store.store_many(data.items(), keys=[key])
    assert store.retrieve_many(keys.items()) == [b"data"]


def test_retrieve_into(store: Strongroom) -> None:
    key = store.store("id", b"12345678")
    into = array.array("I", bytes(16))
    assert store.retrieve_into("id", key, into) == 8
    assert into.tobytes() == b"12345678" + bytes(8)
    small = bytearray(b"1234567")
    with pytest.raises(strongroom.TooLargeError):
        store.retrieve_into("id", key, small)
    with pytest.raises(strongroom.WrongKeyError):
        store.retrieve_into("id", Key.generate(), small)
    assert small == b"1234567"
    with pytest.raises(BufferError):
        store.retrieve_into("id", key, bytes(8))
    with pytest.raises(TypeError):
        store.retrieve_into("id", key, "12345678")  # type: ignore[arg-type]


def test_keys_made_first(store: Strongroom) -> None:
    key, new_key = Key.generate(), Key.generate()
    for _ in range(2):  # repeated, as after a lost reply
        store.store("id", b"data", key=key)
    with pytest.raises(strongroom.AlreadyExistsError):
        store.store("id", b"other", key=key)
    for _ in range(2):
        store.replace("id", key, b"new", new_key=new_key)
    assert store.retrieve("id", new_key) == b"new"
    with pytest.raises(strongroom.InvalidArgumentError):
        store.replace("id", new_key, b"new", new_key=new_key)


def test_erase(store: Strongroom) -> None:
    key = store.store("id", b"data")
    assert store.erase("id") is True
    assert store.erase("id") is False
    with pytest.raises(strongroom.NotFoundError):
        store.retrieve("id", key)


def test_many_at_once(store: Strongroom) -> None:
    items = [(f"id-{n}", pattern(n)) for n in range(100)]
    keys = store.store_many(iter(items))
    assert store.retrieve_many((id, key) for (id, _), key in zip(items, keys, strict=True)) == [
        data for _, data in items
    ]
    assert store.stats() == store.stats() and hash(store.stats()) == hash(store.stats())
    assert store.stats().records == 100
    assert store.stats().bytes == sum(12 + 56 + n + 16 for n in range(100))

    with pytest.raises(strongroom.AlreadyExistsError):
        store.store_many([("new", b"1"), ("id-7", b"2")])
    assert "new" not in store

    request = [("id-1", keys[1]), ("id-2", keys[1]), ("id-x", keys[1])]
    with pytest.raises(strongroom.WrongKeyError):
        store.retrieve_many(request)
    outcomes = store.retrieve_many(request, return_exceptions=True)
    assert outcomes[0] == pattern(1)
    assert [type(outcome) for outcome in outcomes[1:]] == [strongroom.WrongKeyError, strongroom.NotFoundError]
    assert store.store_many([]) == store.retrieve_many([]) == []
    with pytest.raises(ValueError, match="length 2"):
        store.store_many([("id", b"data", b"more")])  # type: ignore[list-item]


def test_close(path: Path) -> None:
    with strongroom.open(path) as store:
        key = store.store("id", pattern(100_000))
        reader = store.open_record("id", key)
    for call in (store.stats, store.maintain, lambda: store.retrieve("id", key), reader.read):
        with pytest.raises(strongroom.ClosedError):
            call()
    store.close()
    with strongroom.open(path) as store:
        assert store.retrieve("id", key) == pattern(100_000)
        store.maintain()


def test_compact(path: Path) -> None:
    with strongroom.open(path) as store:
        store.delete("id", store.store("id", pattern(2_000_000)))
        free = store.stats().free
        assert free > 1_900_000 and path.stat().st_size > free
        assert store.compact(20_000) == 16_384
        assert store.compact() >= free - 16_384
        assert store.stats().free == store.compact() == 0
        assert path.stat().st_size < 200_000


def test_open(path: Path, tmp_path: Path) -> None:
    index_key = strongroom.IndexKey.generate()
    with pytest.raises(strongroom.InvalidArgumentError, match="there is no store"):
        strongroom.open(path, must_exist=True)
    with strongroom.open(str(path), index_key=index_key, durability="relaxed") as store:
        key = store.store("id", b"data")
    assert not path.with_name("records.db.index-key").exists()
    with pytest.raises(strongroom.IndexKeyMissingError, match=r"records\.db\.index-key"):
        strongroom.open(path)
    with pytest.raises(strongroom.IndexKeyMismatchError):
        strongroom.open(path, index_key=strongroom.IndexKey.generate())
    file = tmp_path / "key"
    file.write_text(index_key.to_text() + "\n")
    file.chmod(0o600)
    with strongroom.open(path, index_key_file=file, must_exist=True) as store:
        assert store.retrieve("id", key) == b"data"
    with strongroom.open(path, index_key_file=file, read_only=True) as store:
        assert store.retrieve("id", key) == b"data"
        with pytest.raises(strongroom.UnsupportedError, match="open read-only"):
            store.store("new", b"data")
    file.chmod(0o666)
    with pytest.raises(strongroom.InvalidArgumentError, match="others can change it"):
        strongroom.open(path, index_key_file=file)
    with pytest.raises(strongroom.InvalidArgumentError):
        strongroom.open(path, index_key=index_key, index_key_file=file)
    with pytest.raises(strongroom.InvalidArgumentError, match="durability"):
        strongroom.open(path, durability="none")  # type: ignore[arg-type]
    with pytest.raises(OSError, match="cannot open"):
        strongroom.open(tmp_path / "missing" / "records.db")
    with pytest.raises(TypeError):
        Strongroom()
