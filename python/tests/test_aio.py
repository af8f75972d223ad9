"""The store for asyncio."""

import asyncio
import inspect
import io
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import strongroom
from conftest import cancel_at_its_end, pattern
from strongroom import Key, aio


def test_all_operations(path: Path) -> None:
    async def main() -> None:
        async with aio.open(path, durability="relaxed") as store:
            key = await store.store("id", b"data")
            assert await store.retrieve("id", key) == b"data"
            assert await store.contains("id")
            assert await store.retrieve_range("id", key, 1, 3) == b"at"
            buffer = bytearray(4)
            assert await store.retrieve_into("id", key, buffer) == 4
            new_key = await store.replace("id", key, b"new")
            last_key = Key.generate()
            await store.replace("id", new_key, b"last", new_key=last_key)
            with pytest.raises(strongroom.WrongKeyError):
                await store.retrieve("id", key)
            await store.delete("id", last_key)
            await store.store("id", b"data", key=key)
            assert await store.erase("id")
            keys = await store.store_many((f"id-{n}", pattern(n)) for n in range(3))
            assert await store.retrieve_many([("id-2", keys[2])]) == [pattern(2)]
            outcomes = await store.retrieve_many([("id-1", keys[2])], return_exceptions=True)
            assert type(outcomes[0]) is strongroom.WrongKeyError
            key = await store.store_file("file", io.BytesIO(pattern(2_500_000)))
            async with store.open_record("file", key) as reader:
                assert await reader.read(10) == pattern(10)
                assert await reader.seek(0) == await reader.tell() == 0
                assert [len(piece) async for piece in reader] == [1 << 20, 1 << 20, 2_500_000 - (2 << 20)]
            async with store.create_record("written") as writer:
                await writer.write(b"da")
                await writer.write(b"ta")
            assert await store.retrieve("written", writer.key) == b"data"
            writer = await store.create_record("finished")
            assert await store.retrieve("finished", await writer.finish()) == b""
            made, newer = Key.generate(), Key.generate()
            async with store.create_record("made", key=made) as writer:
                await writer.write(b"made")
            async with store.replace_record("made", made, new_key=newer) as writer:
                await writer.write(b"newer")
            async with await store.replace_record("made", newer) as writer:
                await writer.write(b"newest")
            assert await store.retrieve("made", writer.key) == b"newest"
            await store.maintain()
            assert await store.compact() >= 0
            assert (await store.stats()).free == 0
            assert (await store.stats()).records == 7
        with pytest.raises(strongroom.ClosedError):
            await store.stats()

    asyncio.run(main())


def test_open_is_a_coroutine_and_a_block(path: Path) -> None:
    async def main() -> None:
        async with aio.open(path) as store:
            key = await store.store("id", b"data")
        with pytest.raises(strongroom.ClosedError):
            await store.stats()
        store = await asyncio.create_task(aio.open(path))
        async with store, await store.open_record("id", key) as reader:
            assert await reader.read() == b"data"
        with pytest.raises(ZeroDivisionError):
            async with aio.open(path) as store, store.create_record("new"):
                _ = 1 / 0
        with pytest.raises(strongroom.ClosedError):
            await store.stats()
        with pytest.raises(strongroom.InvalidArgumentError):
            async with aio.open(path, durability="none"):  # type: ignore[arg-type]
                pass
        async with aio.connect(f"unix:{path}.sock") as store:
            assert repr(store) == "<strongroom.aio.Strongroom>"

    asyncio.run(main())
    store = asyncio.run(aio.open(path))
    asyncio.run(store.close())
    aio.open(path).close()  # not begun


def test_a_forgotten_await_is_named(path: Path) -> None:
    async def main() -> None:
        opening = aio.open(path)
        with pytest.raises(AttributeError, match="no 'store' before the opening: await it, or use async with"):
            _ = opening.store  # type: ignore[attr-defined]
        async with opening as store:
            key = await store.store("id", b"data")
            record = store.open_record("id", key)
            assert not hasattr(record, "read")
            await (await record).close()
            with pytest.raises(TypeError, match=r"use await store\.contains\(id\)"):
                _ = "id" in store  # type: ignore[operator]

    asyncio.run(main())


class Upload:
    """A file of an async framework, which returns a few bytes at a time."""

    def __init__(self, pieces: list[bytes | None], error: BaseException | None = None) -> None:
        self.pieces = pieces
        self.error = error

    async def read(self, size: int = -1) -> bytes | None:
        await asyncio.sleep(0)
        if not self.pieces and self.error:
            raise self.error
        return self.pieces.pop(0) if self.pieces else b""


def test_uploads_of_async_frameworks(path: Path) -> None:
    async def main() -> None:
        async with aio.open(path) as store:
            progress: list[int] = []
            key = Key.generate()
            pieces: list[bytes | None] = [pattern(1 << 20), b"and", b"more"]
            assert await store.store_file("id", Upload(pieces), progress.append, key=key) == key
            assert await store.retrieve("id", key) == pattern(1 << 20) + b"andmore"
            assert progress == [1 << 20, (1 << 20) + 3, (1 << 20) + 7]
            newer = await store.replace_file("id", key, Upload([b"newer"]))
            assert await store.retrieve("id", newer) == b"newer"
            with pytest.raises(RuntimeError):
                await store.replace_file("id", newer, Upload([b"a"], RuntimeError("half way")))
            with pytest.raises(BlockingIOError):
                await store.store_file("none", Upload([b"a", None]))
            assert await store.retrieve("id", newer) == b"newer"
            # The same call may be repeated with its key, so that a cancelled one leaves no orphan.
            upload = Upload([pattern(2_000_000)], asyncio.CancelledError())
            with pytest.raises(asyncio.CancelledError):
                await store.store_file("cancelled", upload, key=key)
            assert not await store.contains("cancelled")
            await store.store_file("cancelled", Upload([b"data"]), key=key)
            await store.store_file("cancelled", Upload([b"da", b"ta"]), key=key)
            assert await store.retrieve("cancelled", key) == b"data"

    asyncio.run(main())


class Wrapper:
    """A source whose ``read`` is a plain function that returns an awaitable."""

    def __init__(self, awaitable: Callable[[Coroutine[Any, Any, bytes | None]], Awaitable[bytes | None]]) -> None:
        self.awaitable = awaitable
        self.upload = Upload([b"data"])

    def read(self, size: int = -1) -> Awaitable[bytes | None]:
        return self.awaitable(self.upload.read(size))


class Future:
    """An awaitable that is no coroutine."""

    def __init__(self, call: Coroutine[Any, Any, bytes | None]) -> None:
        call.close()

    def __await__(self) -> Generator[Any, Any, bytes | None]:
        raise AssertionError
        yield


@pytest.mark.parametrize("awaitable", [lambda call: call, Future])
def test_a_source_that_returns_an_awaitable(path: Path, awaitable: Any) -> None:
    async def main() -> None:
        async with aio.open(path) as store:
            key = await store.store("id", b"data")
            with pytest.raises(TypeError, match="with async def"):
                await store.store_file("new", Wrapper(awaitable))  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="with async def"):
                await store.replace_file("id", key, Wrapper(awaitable))  # type: ignore[arg-type]
            assert await store.retrieve("id", key) == b"data" and not await store.contains("new")

    asyncio.run(main())


def test_a_wrong_progress_is_refused_at_once(path: Path) -> None:
    async def progress(_: object) -> None: ...

    wrong: list[tuple[Any, str]] = [(5, "not callable"), (progress, "plain function")]

    async def main() -> None:
        async with aio.open(path) as store:
            key = await store.store("id", b"data")
            for function, text in wrong:
                calls: list[Awaitable[object]] = [
                    store.store_file("new", Upload([]), function),
                    store.store_file("new", Upload([b"data"]), function),
                    store.store_file("new", io.BytesIO(b"data"), function),
                    store.replace_file("id", key, Upload([]), function),
                    store.replace_file("id", key, io.BytesIO(b"data"), function),
                    store.verify(progress=function),
                    aio.verify(path, progress=function),
                ]
                for call in calls:
                    with pytest.raises(TypeError, match=text):
                        await call
            assert await store.retrieve("id", key) == b"data" and not await store.contains("new")

    asyncio.run(main())


def test_it_has_every_method_of_the_store() -> None:
    other_names = {"__contains__": "contains", "__enter__": "__aenter__", "__exit__": "__aexit__"}
    expected = {other_names.get(name, name) for name in vars(strongroom.Strongroom)}
    unrelated = {"__doc__", "__module__"}
    assert expected - unrelated <= set(vars(aio.Strongroom))
    for name, method in inspect.getmembers(strongroom.Strongroom, inspect.ismethoddescriptor):
        twin = getattr(aio.Strongroom, name, None)
        if twin is not None and not name.startswith("_"):
            assert list(inspect.signature(twin).parameters) == list(inspect.signature(method).parameters), name


def test_many_tasks(path: Path) -> None:
    async def main() -> None:
        async with await aio.open(path) as store:
            keys = await asyncio.gather(*(store.store(f"id-{n}", pattern(n)) for n in range(200)))
            found = await asyncio.gather(*(store.retrieve(f"id-{n}", key) for n, key in enumerate(keys)))
            assert found == [pattern(n) for n in range(200)]

    asyncio.run(main())


def test_the_event_loop_is_not_blocked(store: strongroom.Strongroom, locked: Callable[[], object]) -> None:
    async def main() -> None:
        task = asyncio.create_task(aio.Strongroom(store).store("id", b"data"))
        await asyncio.sleep(0.2)
        assert not task.done()
        locked()
        assert store.retrieve("id", await task) == b"data"

    asyncio.run(main())


def test_a_cancelled_wait_is_a_cancelled_write(store: strongroom.Strongroom, locked: Callable[[], object]) -> None:
    async def main() -> None:
        task = asyncio.create_task(aio.Strongroom(store).store("id", b"data"))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())  # it waits for its threads
    locked()
    assert "id" not in store


def test_a_task_that_is_cancelled_before_it_has_a_thread_does_nothing(path: Path) -> None:
    async def main() -> None:
        loop, go_on = asyncio.get_running_loop(), threading.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))
        store = await aio.open(path)
        loop.run_in_executor(None, go_on.wait)
        task = asyncio.create_task(store.store("id", b"data"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        assert not await store.contains("id")
        await store.close()

    asyncio.run(main())


def test_cancelled_writes_are_atomic(path: Path) -> None:
    async def main() -> None:
        async with await aio.open(path) as store:
            keys = [Key.generate() for _ in range(30)]
            for n, key in enumerate(keys):
                task = asyncio.create_task(store.store(f"id-{n}", pattern(1 << 20), key=key))
                await asyncio.sleep(n / 5000)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                    raise asyncio.CancelledError  # the call was faster
            for n, key in enumerate(keys):
                # A repetition succeeds, whether or not the first call did.
                await store.store(f"id-{n}", pattern(1 << 20), key=key)
                assert await store.retrieve(f"id-{n}", key) == pattern(1 << 20)

    asyncio.run(main())


def test_a_cancelled_block_stores_nothing(path: Path) -> None:
    async def main() -> None:
        async with await aio.open(path) as store:
            started = asyncio.Event()

            async def work() -> None:
                async with await store.create_record("id") as file:
                    await file.write(pattern(3_000_000))
                    started.set()
                    await asyncio.sleep(60)

            task = asyncio.create_task(work())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not await store.contains("id")
            assert (await store.stats()).records == 0

    asyncio.run(main())


def test_a_block_that_is_cancelled_at_its_end_closes_the_file(path: Path) -> None:
    async def main() -> None:
        loop, go_on, at_end = asyncio.get_running_loop(), threading.Event(), asyncio.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))
        store = await aio.open(path)
        key = await store.store("read", b"data")
        writers = await store.create_record("id"), await store.replace_record("read", key)
        reader = await store.open_record("read", key)
        files: list[aio.RecordWriter | aio.RecordReader] = [*writers, reader]

        async def work(file: aio.RecordWriter | aio.RecordReader) -> None:
            async with file:
                loop.run_in_executor(None, go_on.wait, 60)
                at_end.set()

        for file in files:
            go_on.clear()
            at_end.clear()
            task = asyncio.create_task(work(file))
            await at_end.wait()
            task.cancel()  # while it waits for the only thread
            loop.call_later(0.05, go_on.set)
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(lambda: None)  # the calls before have ended
            assert file._file.closed
        for writer in writers:
            with pytest.raises(ValueError, match="given up"):
                await writer.finish()
        assert not await store.contains("id")
        assert await store.retrieve("read", key) == b"data"
        await store.close()

    asyncio.run(main())


def test_a_cancelled_read_loses_no_data(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pattern(4_000_000)

    async def main() -> None:
        async with aio.open(path) as store:
            key = await store.store("id", data)
            async with store.open_record("id", key) as reader:

                async def cancel(call: Awaitable[object], method: str = "read") -> None:
                    await cancel_at_its_end(call, reader._file, method, monkeypatch)

                await cancel(reader.read(1000))
                assert await reader.read(500) == data[:500]
                await cancel(reader.read())
                await cancel(reader.read(7))  # behind a call that goes on
                assert await reader.tell() == 500
                await cancel(reader.seek(9, io.SEEK_CUR), "seek")
                assert await reader.seek(0, io.SEEK_CUR) == 500
                pieces = aiter(reader)
                await cancel(anext(pieces))
                assert b"".join([piece async for piece in pieces]) == data[500:]
                assert await reader.seek(5_000_000) == 5_000_000
                assert await reader.read() == b""

    asyncio.run(main())


def test_a_reader_can_return_from_every_position(path: Path) -> None:
    async def main() -> None:
        async with aio.open(path) as store, store.open_record("id", await store.store("id", b"data")) as reader:
            assert await reader.seek(2**63 - 1) == 2**63 - 1
            for offset, whence in ((10, io.SEEK_CUR), (2**63 - 1, io.SEEK_END)):
                with pytest.raises(strongroom.InvalidArgumentError):
                    await reader.seek(offset, whence)
            assert await reader.tell() == await reader.seek(await reader.tell()) == 2**63 - 1
            assert await reader.read() == b""
            assert await reader.seek(0) == 0
            assert await reader.read() == b"data"

    asyncio.run(main())


def test_reads_with_a_time_limit_are_complete(path: Path) -> None:
    data = pattern(8_000_000)

    async def main() -> None:
        async with aio.open(path) as store, store.open_record("id", await store.store("id", data)) as reader:
            found, piece, limit = b"", b"none yet", 0.0001
            while piece:
                try:
                    piece = await asyncio.wait_for(reader.read(1 << 20), limit)
                except TimeoutError:
                    limit *= 1.2
                else:
                    found += piece
            assert found == data

    asyncio.run(main())


def test_reads_of_several_tasks_follow_one_another(path: Path) -> None:
    data = pattern(2_000_000)

    async def main() -> None:
        async with aio.open(path) as store, store.open_record("id", await store.store("id", data)) as reader:
            pieces = await asyncio.gather(*(reader.read(100_000) for _ in range(20)))
            assert b"".join(pieces) == data

    asyncio.run(main())


def test_one_event_loop_at_a_time_uses_a_reader(store: strongroom.Strongroom, monkeypatch: pytest.MonkeyPatch) -> None:
    file = store.open_record("id", store.store("id", b"01234567"))
    reader, read, begun, go_on = aio.RecordReader(file), file.read, threading.Event(), threading.Event()

    def slow(size: int) -> bytes:
        begun.set()
        assert go_on.wait(60)
        return read(size)

    async def two_reads() -> bytes:
        return b"".join(await asyncio.gather(reader.read(2), reader.read(2)))

    monkeypatch.setattr(file, "read", slow)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(asyncio.run, reader.read(2))
        assert begun.wait(60)
        try:
            for call in (reader.read, reader.tell):
                with pytest.raises(RuntimeError, match="in use in another event loop"):
                    asyncio.run(asyncio.wait_for(call(), 60))
        finally:
            go_on.set()
        assert other.result(60) == b"01"
    assert [asyncio.run(two_reads()) for _ in range(2)] == [b"2345", b"67"]
    asyncio.run(reader.close())


def test_a_closed_event_loop_keeps_no_reader(store: strongroom.Strongroom, monkeypatch: pytest.MonkeyPatch) -> None:
    file = store.open_record("id", store.store("id", b"data"))
    reader = aio.RecordReader(file)
    loop = asyncio.new_event_loop()
    with monkeypatch.context() as patch:
        patch.setattr(aio, "_in_thread", lambda _: loop.create_future())  # its result never arrives
        task = loop.create_task(reader.read(2))
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert not task.done()
    assert asyncio.run(reader.read(4)) == b"data"
    asyncio.run(reader.close())


def test_after_a_cancelled_write_nothing_is_stored(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller does not learn whether the data was written: a repetition could store it twice."""

    async def main() -> None:
        async with aio.open(path) as store:
            writer = await store.create_record("id")
            await cancel_at_its_end(writer.write(b"piece"), writer._file, "write", monkeypatch)
            calls: list[Callable[[], Awaitable[object]]] = [lambda: writer.write(b"piece"), writer.finish]
            for call in calls:
                with pytest.raises(ValueError, match="cancelled"):
                    await call()
            await writer.close()
            with pytest.raises(ValueError, match="cancelled"):
                async with store.create_record("id") as writer:
                    await cancel_at_its_end(writer.write(b"piece"), writer._file, "write", monkeypatch)
            with pytest.raises(ZeroDivisionError):
                async with store.create_record("id") as writer:
                    await cancel_at_its_end(writer.write(b"piece"), writer._file, "write", monkeypatch)
                    _ = 1 / 0
            assert not await store.contains("id")
            assert (await store.stats()).records == 0

    asyncio.run(main())


def test_a_stop_iteration_of_the_caller_ends_the_call(path: Path) -> None:
    """It cannot be the outcome of a future: the task would wait forever."""

    class Source:
        def __init__(self, *pieces: bytes) -> None:
            self.pieces = iter(pieces)

        def read(self, size: int) -> bytes:
            return next(self.pieces)

    def progress(_: object) -> None:
        next(iter(()))

    async def main() -> None:
        async with aio.open(path) as store:
            key = await store.store("id", b"data")
            calls: list[Awaitable[object]] = [
                store.store_file("other", Source(b"data")),
                store.replace_file("id", key, Source()),
                store.store_file("other", Source(b"data", b""), progress),
                store.replace_file("id", key, Source(b"data", b""), progress),
                store.store_file("other", Upload([b"data"]), progress),
                store.verify(progress=progress),
                aio.verify(path, progress=progress),
            ]
            for call in calls:
                with pytest.raises(RuntimeError) as caught:
                    await asyncio.wait_for(call, 60)
                assert type(caught.value.__cause__) is StopIteration
            assert await store.retrieve("id", key) == b"data"
            assert not await store.contains("other")

    asyncio.run(main())


def test_a_cancelled_close_closes(store: strongroom.Strongroom) -> None:
    async def main() -> None:
        loop, go_on = asyncio.get_running_loop(), threading.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))
        loop.run_in_executor(None, go_on.wait)
        task = asyncio.create_task(aio.Strongroom(store).close())
        await asyncio.sleep(0.1)
        task.cancel()  # while it waits for the only thread
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    asyncio.run(main())
    with pytest.raises(strongroom.ClosedError):
        store.stats()


def test_repr(path: Path) -> None:
    with strongroom.open(path) as store:
        assert repr(aio.Strongroom(store)) == "<strongroom.aio.Strongroom>"
