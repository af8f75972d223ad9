"""The store for asyncio."""

import asyncio
import inspect
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import strongroom
from conftest import pattern
from strongroom import Key, aio


def test_all_operations(path: Path) -> None:
    async def main() -> None:
        async with await aio.open(path, durability="relaxed") as store:
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
            async with await store.open_record("file", key) as reader:
                assert await reader.read(10) == pattern(10)
                assert await reader.seek(0) == await reader.tell() == 0
                assert [len(piece) async for piece in reader] == [1 << 20, 1 << 20, 2_500_000 - (2 << 20)]
            async with await store.create_record("written") as writer:
                await writer.write(b"da")
                await writer.write(b"ta")
            assert await store.retrieve("written", writer.key) == b"data"
            writer = await store.create_record("finished")
            assert await store.retrieve("finished", await writer.finish()) == b""
            made, newer = Key.generate(), Key.generate()
            async with await store.create_record("made", key=made) as writer:
                await writer.write(b"made")
            async with await store.replace_record("made", made, new_key=newer) as writer:
                await writer.write(b"newer")
            async with await store.replace_record("made", newer) as writer:
                await writer.write(b"newest")
            assert await store.retrieve("made", writer.key) == b"newest"
            await store.maintain()
            assert (await store.stats()).records == 7
        with pytest.raises(strongroom.ClosedError):
            await store.stats()

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
