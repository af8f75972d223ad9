"""The script of operations, on each of the stores. ``core/tests/script/operations.txt`` defines its format."""

import asyncio
import inspect
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import strongroom
from conftest import ROOT, pattern
from strongroom import IndexKey, Key, aio
from test_services import require_program, serving

SCRIPT = (ROOT / "core/tests/script/operations.txt").read_text(encoding="utf-8")

#: A result: bytes, or another word.
Found = str | bytes

INDEX_KEY = IndexKey.generate()
PLACES = ["memory", "database", "storage service", "encryption server", "encryption server over a storage service"]


class Place:
    """Where a store is, and whether it is on an encryption server."""

    def __init__(self, function: str, place: object, **options: Any) -> None:
        self.is_server = function == "connect"
        self.function, self.place, self.options = function, place, options

    def open(self, module: Any) -> Any:
        return getattr(module, self.function)(self.place, **self.options)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    def serve(name: str, *arguments: str) -> str:
        require_program()
        folder = tmp_path / name
        folder.mkdir()
        services.enter_context(serving(folder, "unix:socket", *arguments, "--listen", "unix:socket"))
        return f"unix:{folder}/socket"

    with ExitStack() as services:
        match request.param:
            case "memory":
                yield Place("open", ":memory:")
            case "database":
                yield Place("open", tmp_path / "records.db")
            case "storage service":
                yield Place("open", serve("storage", "serve-storage", "--store", "records.db"), index_key=INDEX_KEY)
            case "encryption server":
                yield Place("connect", serve("server", "serve", "--store", "records.db"))
            case _:
                storage = serve("storage", "serve-storage", "--store", "records.db")
                key = tmp_path / "index-key"
                key.touch(0o600)
                key.write_text(INDEX_KEY.to_text())
                yield Place(
                    "connect",
                    serve("server", "serve", "--store", storage, "--index-key-file", str(key), "--timeout", "60"),
                )


def as_bytes(word: str) -> bytes | None:
    match word.partition(":"):
        case "text", _, text:
            return text.encode()
        case "hex", _, digits:
            return bytes.fromhex(digits)
        case "pattern", _, places:
            start, stop = bounds(places)
            return pattern(stop)[start:]
    return None


def data(word: str) -> bytes:
    found = as_bytes(word)
    assert found is not None, word
    return found


def bounds(word: str) -> tuple[int, int]:
    start, stop = word.split("..")
    return int(start), int(stop)


async def run(store: Any, script: str, *, is_server: bool) -> int:
    """Run all steps, and return their number."""
    runner = Runner(store)
    steps, are_counted = 0, False
    for number, line in enumerate(script.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        are_counted = line.startswith("steps ")
        if are_counted:
            assert line == f"steps {steps}", f"line {number}"
            continue
        words = line.split(" ")
        arrow = words.index("->")
        expected = [word.split("|")[-1 if is_server else 0] for word in words[arrow + 1 :]]
        try:
            found = await runner.step(*words[:arrow])
        except strongroom.StrongroomError as error:
            found = [f"error:{error.code}"]
        same = found == [word if (given := as_bytes(word)) is None else given for word in expected]
        assert same, f"line {number}: {line}\nis {[part[:60] for part in found]}"
        steps += 1
    assert are_counted, "the script does not end with the number of its steps"
    return steps


class Runner:
    """Makes each call, and awaits its result if the store is one for asyncio."""

    def __init__(self, store: Any) -> None:
        self.root = self.store = store
        self.keys: dict[str, Key] = {}
        self.writer: Any = None
        self.reader: Any = None

    async def step(self, *words: str) -> list[Found]:
        store, keys = self.store, self.keys
        match words:
            case "key", name:
                return self.name(name, Key.generate())
            case "key", name, text:
                return self.name(name, Key.from_text(text))
            case "key_text", key:
                return [keys[key].to_text()]
            case "store", id, what, how, name:
                return self.made(how, name, await call(store.store, id_of(id), data(what), key=self.given(how, name)))
            case "store_until", id, what, time, how, name:
                kind, seconds = time.split(":")
                expiry = {"expires_in" if kind == "in" else "expires_at": int(seconds)}
                given = self.given(how, name)
                return self.made(how, name, await call(store.store, id_of(id), data(what), key=given, **expiry))
            case "store_padded", id, what, how, name:
                given = self.given(how, name)
                return self.made(how, name, await call(store.store, id_of(id), data(what), key=given, pad=True))
            case "namespace", name:
                self.store = self.root.namespace(data(name))
                return ["ok"]
            case "store_source", id, what, how, name:
                source, given = io.BytesIO(data(what)), self.given(how, name)
                return self.made(how, name, await call(store.store_file, id_of(id), source, key=given))
            case "replace", id, old, what, how, name:
                given = self.given(how, name)
                return self.made(how, name, await call(store.replace, id_of(id), keys[old], data(what), new_key=given))
            case "replace_source", id, old, what, how, name:
                source, given = io.BytesIO(data(what)), self.given(how, name)
                return self.made(how, name, await call(store.replace_file, id_of(id), keys[old], source, new_key=given))
            case "retrieve", id, key:
                return [await call(store.retrieve, id_of(id), keys[key])]
            case "retrieve_into", id, key, size:
                buffer = bytearray(int(size))
                length = await call(store.retrieve_into, id_of(id), keys[key], buffer)
                return [bytes(buffer[:length])]
            case "retrieve_range", id, key, places:
                return [await call(store.retrieve_range, id_of(id), keys[key], *bounds(places))]
            case "take", id, key:
                return [await call(store.take, id_of(id), keys[key])]
            case "rekey", id, old, how, name:
                given = self.given(how, name)
                return self.made(how, name, await call(store.rekey, id_of(id), keys[old], new_key=given))
            case "delete", id, key:
                return ok(await call(store.delete, id_of(id), keys[key]))
            case "erase", id:
                return [as_word(await call(store.erase, id_of(id)))]
            case "contains", id:
                contains = store.contains if hasattr(store, "contains") else store.__contains__
                return [as_word(await call(contains, id_of(id)))]
            case "store_many", *items:
                ways, names = items[2::4], items[3::4]
                pairs = [(id_of(id), data(what)) for id, what in zip(items[::4], items[1::4], strict=True)]
                given_keys = [keys[name] for name in names] if "under" in ways else None
                made = await call(store.store_many, pairs, keys=given_keys)
                for how, name, key in zip(ways, names, made, strict=True):
                    self.made(how, name, key)
                return ["ok"]
            case "retrieve_many", *items:
                wanted = [(id_of(id), keys[key]) for id, key in zip(items[::2], items[1::2], strict=True)]
                found = await call(store.retrieve_many, wanted, return_exceptions=True)
                return [part if isinstance(part, bytes) else f"error:{part.code}" for part in found]
            case ("stats",):
                stats = await call(store.stats)
                return [str(stats.records), str(stats.bytes)]
            case "purge", limit:
                return [str(await call(store.purge, int(limit)))]
            case ("verify",):
                found = await call(store.verify)
                return [str(found.records - len(found.damage))]
            case ("maintain",):
                return ok(await call(store.maintain))
            case ("close",):
                return ok(await call(store.close))
            case "writer_create", id, how, name:
                self.writer = await call(store.create_record, id_of(id), key=self.given(how, name))
                return self.made(how, name, self.writer.key)
            case "writer_replace", id, old, how, name:
                given = self.given(how, name)
                self.writer = await call(store.replace_record, id_of(id), keys[old], new_key=given)
                return self.made(how, name, self.writer.key)
            case "writer_write", what:
                assert await call(self.writer.write, data(what)) == len(data(what))
                return ["ok"]
            case ("writer_finish",):
                assert await call(self.writer.finish) == self.writer.key
                return ["ok"]
            case ("writer_drop",):
                return ok(await call(self.writer.close))
            case "reader_open", id, key:
                self.reader = await call(store.open_record, id_of(id), keys[key])
                return ["ok"]
            case "reader_take", id, key:
                self.reader = await call(store.take_record, id_of(id), keys[key])
                return ["ok"]
            case "reader_read", places:
                start, stop = bounds(places)
                await call(self.reader.seek, start)
                return [await call(self.reader.read, stop - start)]
            case ("reader_len",):
                return [str(await call(self.reader.seek, 0, io.SEEK_END))]
        raise AssertionError(f"no such step: {words}")

    def given(self, how: str, name: str) -> Key | None:
        assert how in ("as", "under")
        return self.keys[name] if how == "under" else None

    def made(self, how: str, name: str, key: Key) -> list[Found]:
        if how == "as":
            return self.name(name, key)
        assert key == self.keys[name]
        return ["ok"]

    def name(self, name: str, key: Key) -> list[Found]:
        assert name != "unused" and name not in self.keys
        self.keys[name] = key
        return ["ok"]


async def call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    found = function(*arguments, **options)
    return await found if inspect.isawaitable(found) else found


def id_of(word: str) -> str | bytes:
    return word.removeprefix("text:") if word.startswith("text:") else data(word)


def as_word(found: object) -> str:
    assert isinstance(found, bool)
    return str(found).lower()


def ok(nothing: None) -> list[Found]:
    assert nothing is None
    return ["ok"]


def test_calls(place: Place) -> None:
    asyncio.run(run(place.open(strongroom), SCRIPT, is_server=place.is_server))


def test_coroutines(place: Place) -> None:
    async def main() -> None:
        await run(await place.open(aio), SCRIPT, is_server=place.is_server)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("k -> ok", "k -> error:5"),
        ("3|", "1|"),
        ("-> text", "-> hex"),
        ("steps 4", "steps 3"),
        ("steps 4", ""),
    ],
)
def test_a_difference_is_noticed(old: str, new: str) -> None:
    script = "key k -> ok\nstore text:a text:ab as a -> ok\nretrieve text:a k -> error:3|error:1\n"
    script += "retrieve text:a a -> text:ab\nsteps 4\n"
    task = run(strongroom.open(":memory:"), script.replace(old, new, 1), is_server=False)
    if not old:
        asyncio.run(task)
    else:
        with pytest.raises(AssertionError):
            asyncio.run(task)
