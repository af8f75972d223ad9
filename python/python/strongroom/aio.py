"""The store for asyncio: the same calls as coroutines, which can be cancelled. Threads do the work, so that the event
loop is not blocked.

>>> import asyncio
>>> from strongroom import aio
>>> async def main():
...     async with aio.open("records.db") as store:
...         key = await store.store("user:42:passport", b"scanned pages")
...         return await store.retrieve("user:42:passport", key)
>>> asyncio.run(main())
b'scanned pages'

Cancelling a task ends its call soon: a write that still waits for a lock does not take place. A write that has begun,
or that a service may have received, takes place as a whole or not at all, and the task does not learn which. A new key
of :meth:`Strongroom.store` is then lost: if tasks may be cancelled, make the key first with
:meth:`strongroom.Key.generate` and pass it to :meth:`Strongroom.store`, which may be repeated. Do not change a mutable
buffer, such as a ``bytearray``, before its call has ended, nor for a moment after a cancellation.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import io
import threading
from collections.abc import Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar, overload

import strongroom
from strongroom._records import check_progress
from strongroom._strongroom import Cancellation

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable
    from datetime import datetime, timedelta
    from types import TracebackType
    from typing import Never, Self

    from typing_extensions import Buffer, TypeIs

    from strongroom import Copied, IndexKey, Key, Repair, Retention, Stats, StrongroomError, Verification
    from strongroom._records import SupportsRead

__all__ = ["RecordReader", "RecordWriter", "Strongroom", "connect", "copy", "open", "verify"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: The bytes of a piece when a reader is iterated over, and of each read from a source.
_PIECE = 1 << 20


class SupportsAsyncRead(Protocol):
    """The part of an asynchronous binary file that :meth:`Strongroom.store_file` needs."""

    async def read(self, size: int, /) -> bytes | None:
        """Return up to ``size`` bytes, and none at the end. ``None`` ends the call with :exc:`BlockingIOError`."""
        ...


class _Closable(Protocol):
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


_C = TypeVar("_C", bound=_Closable)


class _Opening(Coroutine[Any, Any, _C]):
    """A coroutine whose result is also closed at the end of an ``async with`` block."""

    def __init__(self, opening: Coroutine[Any, Any, _C]) -> None:
        self._opening = opening
        self._opened: _C | None = None

    def __await__(self) -> Generator[Any, Any, _C]:
        return self._opening.__await__()

    def send(self, value: Any, /) -> Any:
        return self._opening.send(value)

    def throw(self, *error: Any) -> Any:
        return self._opening.throw(*error)

    def close(self) -> None:
        self._opening.close()

    async def __aenter__(self) -> _C:
        self._opened = await self._opening
        return await self._opened.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.__aexit__(kind, value, traceback)

    if not TYPE_CHECKING:  # type checkers know that there is no such attribute

        def __getattr__(self, name: str) -> Never:
            raise AttributeError(f"there is no '{name}' before the opening: await it, or use async with")


async def _in_thread(call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """As :func:`asyncio.to_thread`; cancelling the task also ends the thread's call."""
    cancellation = Cancellation()
    try:
        return await asyncio.to_thread(cancellation.run, call, *args, **kwargs)
    except asyncio.CancelledError:
        cancellation.cancel()
        raise


def open(
    path: str | os.PathLike[str],
    *,
    index_key: IndexKey | None = None,
    index_key_file: str | os.PathLike[str] | None = None,
    previous_index_key: IndexKey | None = None,
    previous_index_key_file: str | os.PathLike[str] | None = None,
    must_exist: bool = False,
    read_only: bool = False,
    durability: Literal["full", "relaxed"] = "full",
    pad: bool = False,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    authorities: str | os.PathLike[str] | None = None,
    client_certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
    revocations: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
) -> _Opening[Strongroom]:
    """Open a store, as :func:`strongroom.open` does: with ``await``, or for a block with ``async with``. ``path``
    may be the URL of a storage service, a PostgreSQL database or a bucket, too."""

    async def opening() -> Strongroom:
        store = await _in_thread(
            strongroom.open,
            path,
            index_key=index_key,
            index_key_file=index_key_file,
            previous_index_key=previous_index_key,
            previous_index_key_file=previous_index_key_file,
            must_exist=must_exist,
            read_only=read_only,
            durability=durability,
            pad=pad,
            token=token,
            token_file=token_file,
            authorities=authorities,
            client_certificate=client_certificate,
            revocations=revocations,
            timeout=timeout,
        )
        return Strongroom(store)

    return _Opening(opening())


def connect(
    url: str,
    *,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    authorities: str | os.PathLike[str] | None = None,
    client_certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
    revocations: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
) -> _Opening[Strongroom]:
    """Connect to an encryption server, as :func:`strongroom.connect` does: with ``await``, or for a block with ``async
    with``."""

    async def opening() -> Strongroom:
        store = await _in_thread(
            strongroom.connect,
            url,
            token=token,
            token_file=token_file,
            authorities=authorities,
            client_certificate=client_certificate,
            revocations=revocations,
            timeout=timeout,
        )
        return Strongroom(store)

    return _Opening(opening())


async def copy(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    mirror: bool = False,
    workers: int = 4,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    destination_token: str | None = None,
    destination_token_file: str | os.PathLike[str] | None = None,
    authorities: str | os.PathLike[str] | None = None,
    client_certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
    revocations: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
) -> Copied:
    """Copy a store, as :func:`strongroom.copy` does. Records that were copied before a cancellation stay."""
    return await _in_thread(
        strongroom.copy,
        source,
        destination,
        mirror=mirror,
        workers=workers,
        token=token,
        token_file=token_file,
        destination_token=destination_token,
        destination_token_file=destination_token_file,
        authorities=authorities,
        client_certificate=client_certificate,
        revocations=revocations,
        timeout=timeout,
    )


async def verify(
    path: str | os.PathLike[str],
    *,
    start_at: str | None = None,
    bytes_per_second: int | None = None,
    records_only: bool = False,
    progress: Callable[[Verification], object] | None = None,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    authorities: str | os.PathLike[str] | None = None,
    client_certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
    revocations: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
) -> Verification:
    """Search a store that is not open for damage, as :func:`strongroom.verify` does. A thread calls ``progress``."""
    check_progress(progress)
    return await _in_thread(
        strongroom.verify,
        path,
        start_at=start_at,
        bytes_per_second=bytes_per_second,
        records_only=records_only,
        progress=progress,
        token=token,
        token_file=token_file,
        authorities=authorities,
        client_certificate=client_certificate,
        revocations=revocations,
        timeout=timeout,
    )


async def _run_to_end(close: Callable[[], None]) -> None:
    # A cancelled task would drop a call that still waits for a thread. This future belongs to no task, so the end of
    # the loop, which cancels all tasks, waits for it, too.
    await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, close))


class Strongroom:
    """A :class:`strongroom.Strongroom` for asyncio. Both may be used side by side: closing one closes the other."""

    def __init__(self, store: strongroom.Strongroom) -> None:
        self._store = store

    def namespace(self, name: str | Buffer) -> Strongroom:
        """As :meth:`strongroom.Strongroom.namespace`."""
        return Strongroom(self._store.namespace(name))

    def padded(self) -> Strongroom:
        """As :meth:`strongroom.Strongroom.padded`."""
        return Strongroom(self._store.padded())

    async def store(
        self,
        id: str | Buffer,
        data: Buffer,
        *,
        key: Key | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> Key:
        """As :meth:`strongroom.Strongroom.store`. If the task is cancelled, a key that the caller did not pass is
        lost."""
        return await _in_thread(
            self._store.store, id, data, key=key, expires_at=expires_at, expires_in=expires_in, pad=pad
        )

    async def retrieve(self, id: str | Buffer, key: Key) -> bytes:
        """As :meth:`strongroom.Strongroom.retrieve`."""
        return await _in_thread(self._store.retrieve, id, key)

    async def take(self, id: str | Buffer, key: Key) -> bytes:
        """As :meth:`strongroom.Strongroom.take`. If the task is cancelled, the data may be lost."""
        return await _in_thread(self._store.take, id, key)

    async def retrieve_into(self, id: str | Buffer, key: Key, buffer: Buffer) -> int:
        """As :meth:`strongroom.Strongroom.retrieve_into`. After a cancellation, a thread may still write to the
        buffer."""
        return await _in_thread(self._store.retrieve_into, id, key, buffer)

    async def retrieve_range(self, id: str | Buffer, key: Key, start: int, stop: int) -> bytes:
        """As :meth:`strongroom.Strongroom.retrieve_range`."""
        return await _in_thread(self._store.retrieve_range, id, key, start, stop)

    async def replace(
        self,
        id: str | Buffer,
        key: Key,
        data: Buffer,
        *,
        new_key: Key | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> Key:
        """As :meth:`strongroom.Strongroom.replace`. If the task is cancelled, a new key that the caller did not pass is
        lost."""
        return await _in_thread(
            self._store.replace, id, key, data, new_key=new_key, expires_at=expires_at, expires_in=expires_in, pad=pad
        )

    async def rekey(
        self,
        id: str | Buffer,
        key: Key,
        *,
        new_key: Key | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> Key:
        """As :meth:`strongroom.Strongroom.rekey`. If the task is cancelled, a new key that the caller did not pass is
        lost."""
        return await _in_thread(
            self._store.rekey, id, key, new_key=new_key, expires_at=expires_at, expires_in=expires_in, pad=pad
        )

    async def delete(self, id: str | Buffer, key: Key) -> None:
        """As :meth:`strongroom.Strongroom.delete`."""
        await _in_thread(self._store.delete, id, key)

    async def erase(self, id: str | Buffer) -> bool:
        """As :meth:`strongroom.Strongroom.erase`."""
        return await _in_thread(self._store.erase, id)

    async def contains(self, id: str | Buffer) -> bool:
        """Whether a record has this id, as ``id in store`` without asyncio."""
        return await _in_thread(self._store.__contains__, id)

    def __contains__(self, id: Never) -> Never:
        raise TypeError("'in' cannot wait: use await store.contains(id)")

    async def store_many(
        self,
        items: Iterable[tuple[str | Buffer, Buffer]],
        *,
        keys: Iterable[Key] | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> list[Key]:
        """As :meth:`strongroom.Strongroom.store_many`. If the task is cancelled, the keys are lost, except those
        that were given."""
        given = None if keys is None else list(keys)
        return await _in_thread(
            self._store.store_many, list(items), keys=given, expires_at=expires_at, expires_in=expires_in, pad=pad
        )

    @overload
    async def retrieve_many(
        self, items: Iterable[tuple[str | Buffer, Key]], *, return_exceptions: Literal[False] = False
    ) -> list[bytes]: ...
    @overload
    async def retrieve_many(
        self, items: Iterable[tuple[str | Buffer, Key]], *, return_exceptions: bool
    ) -> list[bytes | StrongroomError]: ...
    async def retrieve_many(
        self, items: Iterable[tuple[str | Buffer, Key]], *, return_exceptions: bool = False
    ) -> list[bytes] | list[bytes | StrongroomError]:
        """As :meth:`strongroom.Strongroom.retrieve_many`."""
        return await _in_thread(self._store.retrieve_many, list(items), return_exceptions=return_exceptions)

    async def store_file(
        self,
        id: str | Buffer,
        source: SupportsRead | SupportsAsyncRead | str | os.PathLike[str],
        progress: Callable[[int], object] | None = None,
        *,
        key: Key | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> Key:
        """As :meth:`strongroom.Strongroom.store_file`. ``source`` may also have a ``read`` that is declared with
        ``async def``, such as an upload of FastAPI. Otherwise a thread reads ``source`` and calls ``progress``. If the
        task is cancelled, nothing is stored, unless it happens at the end: a key that the caller did not pass is then
        lost."""
        check_progress(progress)
        if _is_async(source):
            record = self.create_record(id, key=key, expires_at=expires_at, expires_in=expires_in, pad=pad)
            return await _copy(source, progress, record)
        return await _in_thread(
            self._store.store_file, id, source, progress, key=key, expires_at=expires_at, expires_in=expires_in, pad=pad
        )

    async def replace_file(
        self,
        id: str | Buffer,
        key: Key,
        source: SupportsRead | SupportsAsyncRead | str | os.PathLike[str],
        progress: Callable[[int], object] | None = None,
        *,
        new_key: Key | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> Key:
        """As :meth:`strongroom.Strongroom.replace_file`, with the sources of :meth:`store_file`. If the task is
        cancelled, nothing is replaced, unless it happens at the end: a new key that the caller did not pass is then
        lost."""
        check_progress(progress)
        if _is_async(source):
            record = self.replace_record(
                id, key, new_key=new_key, expires_at=expires_at, expires_in=expires_in, pad=pad
            )
            return await _copy(source, progress, record)
        return await _in_thread(
            self._store.replace_file,
            id,
            key,
            source,
            progress,
            new_key=new_key,
            expires_at=expires_at,
            expires_in=expires_in,
            pad=pad,
        )

    def open_record(self, id: str | Buffer, key: Key) -> _Opening[RecordReader]:
        """As :meth:`strongroom.Strongroom.open_record`: with ``await``, or for a block with ``async with``."""
        return _Opening(_reader(self._store.open_record, id, key))

    def take_record(self, id: str | Buffer, key: Key) -> _Opening[RecordReader]:
        """As :meth:`strongroom.Strongroom.take_record`: with ``await``, or for a block with ``async with``. If the task
        is cancelled, the data may be lost."""
        return _Opening(_reader(self._store.take_record, id, key))

    def create_record(
        self,
        id: str | Buffer,
        *,
        key: Key | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> _Opening[RecordWriter]:
        """As :meth:`strongroom.Strongroom.create_record`: with ``await``, or for a block with ``async with``."""
        return _Opening(
            _writer(self._store.create_record, id, key=key, expires_at=expires_at, expires_in=expires_in, pad=pad)
        )

    def replace_record(
        self,
        id: str | Buffer,
        key: Key,
        *,
        new_key: Key | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> _Opening[RecordWriter]:
        """As :meth:`strongroom.Strongroom.replace_record`: with ``await``, or for a block with ``async with``."""
        return _Opening(
            _writer(
                self._store.replace_record,
                id,
                key,
                new_key=new_key,
                expires_at=expires_at,
                expires_in=expires_in,
                pad=pad,
            )
        )

    async def purge(self, limit: int | None = None) -> int:
        """As :meth:`strongroom.Strongroom.purge`."""
        return await _in_thread(self._store.purge, limit)

    async def begin_rotation(self) -> None:
        """As :meth:`strongroom.Strongroom.begin_rotation`."""
        await _in_thread(self._store.begin_rotation)

    async def rotation(self, limit: int | None = None) -> list[str] | None:
        """As :meth:`strongroom.Strongroom.rotation`."""
        return await _in_thread(self._store.rotation, limit)

    async def erase_unrotated(self, locator: str) -> bool:
        """As :meth:`strongroom.Strongroom.erase_unrotated`."""
        return await _in_thread(self._store.erase_unrotated, locator)

    async def retention(self, known: Iterable[tuple[str | Buffer, str | Buffer]]) -> Retention:
        """As :meth:`strongroom.Strongroom.retention`."""
        return await _in_thread(self._store.retention, list(known))

    async def erase_others(self, retention: Retention, *, allow_all: bool = False) -> int:
        """As :meth:`strongroom.Strongroom.erase_others`."""
        return await _in_thread(self._store.erase_others, retention, allow_all=allow_all)

    async def finish_rotation(self) -> None:
        """As :meth:`strongroom.Strongroom.finish_rotation`."""
        await _in_thread(self._store.finish_rotation)

    async def stats(self) -> Stats:
        """As :meth:`strongroom.Strongroom.stats`."""
        return await _in_thread(self._store.stats)

    async def verify(
        self,
        *,
        start_at: str | None = None,
        bytes_per_second: int | None = None,
        records_only: bool = False,
        progress: Callable[[Verification], object] | None = None,
    ) -> Verification:
        """As :meth:`strongroom.Strongroom.verify`. A thread calls ``progress``."""
        check_progress(progress)
        return await _in_thread(
            self._store.verify,
            start_at=start_at,
            bytes_per_second=bytes_per_second,
            records_only=records_only,
            progress=progress,
        )

    async def repair_from(self, copy: Strongroom) -> Repair:
        """As :meth:`strongroom.Strongroom.repair_from`."""
        return await _in_thread(self._store.repair_from, copy._store)

    async def maintain(self) -> None:
        """As :meth:`strongroom.Strongroom.maintain`."""
        await _in_thread(self._store.maintain)

    async def compact(self, limit: int | None = None) -> int:
        """As :meth:`strongroom.Strongroom.compact`."""
        return await _in_thread(self._store.compact, limit)

    async def close(self) -> None:
        """As :meth:`strongroom.Strongroom.close`."""
        await _run_to_end(self._store.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return "<strongroom.aio.Strongroom>"


async def _reader(open: Callable[_P, strongroom.RecordReader], /, *args: _P.args, **kwargs: _P.kwargs) -> RecordReader:
    return RecordReader(await _in_thread(open, *args, **kwargs))


async def _writer(start: Callable[_P, strongroom.RecordWriter], /, *args: _P.args, **kwargs: _P.kwargs) -> RecordWriter:
    return RecordWriter(await _in_thread(start, *args, **kwargs))


def _is_async(source: object) -> TypeIs[SupportsAsyncRead]:
    return inspect.iscoroutinefunction(getattr(source, "read", None))


async def _copy(
    source: SupportsAsyncRead, progress: Callable[[int], object] | None, writer: _Opening[RecordWriter]
) -> Key:
    """Copies ``source`` to a record. The event loop calls ``progress``."""
    async with writer as file:
        count = 0
        while True:
            piece = await source.read(_PIECE)
            if piece is None:
                raise BlockingIOError(errno.EAGAIN, "the source is non-blocking, and had nothing to read")
            count += await file.write(piece)
            if not piece:
                return file.key
            if progress is not None:
                progress(count)


class RecordReader:
    """A :class:`strongroom.RecordReader` for asyncio. Iterating over it gives the data in pieces of 1 MiB.

    Its calls take place one after another, and raise :exc:`RuntimeError` while another event loop uses the file. A
    cancelled one leaves the position unchanged, and loses no data that has arrived; only the rest of a record that was
    taken from an encryption server, which sends it once, may then be lost."""

    def __init__(self, file: strongroom.RecordReader) -> None:
        self._file = file
        # The position that the caller knows. A cancelled call may have moved the file's own, or still move it.
        self._position = 0
        # The result of a cancelled call, which no task received.
        self._unreceived: object = None
        # The number of calls that have not ended, and their event loop, to which the lock belongs.
        self._calls = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._order = asyncio.Lock()
        self._counting = threading.Lock()
        self._in_use = threading.Lock()

    @asynccontextmanager
    async def _in_order(self) -> AsyncGenerator[None]:
        loop = asyncio.get_running_loop()
        with self._counting:
            if self._loop is not loop:
                if self._calls > 0 and self._loop is not None and not self._loop.is_closed():
                    raise RuntimeError("the file is in use in another event loop")
                self._loop, self._order, self._calls = loop, asyncio.Lock(), 0
            self._calls += 1
        try:
            async with self._order:
                yield
        finally:
            with self._counting:
                if self._loop is loop:
                    self._calls -= 1

    async def _call(self, call: Callable[[], _T]) -> _T:
        def at_position() -> tuple[_T, int]:
            with self._in_use:
                if isinstance(self._unreceived, bytes):
                    native = self._file._native  # pyright: ignore[reportPrivateUsage]
                    native.unread(self._position, self._unreceived)
                self._file.seek(self._position)
                self._unreceived = result = call()
                return result, self._file.tell()

        async with self._in_order():
            result, self._position = await _in_thread(at_position)
            self._unreceived = None
        return result

    async def read(self, size: int = -1) -> bytes:
        """As :meth:`strongroom.RecordReader.read`."""
        return await self._call(lambda: self._file.read(size))

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, which may be after the end, and return it."""
        return await self._call(lambda: self._file.seek(offset, whence))

    async def tell(self) -> int:
        """Return the position of the next byte."""
        return await self._call(self._file.tell)

    async def close(self) -> None:
        """Close the file. Closing it again does nothing."""
        await _run_to_end(self._file.close)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self.read(_PIECE):
            return piece
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class RecordWriter:
    """A :class:`strongroom.RecordWriter` for asyncio. A task that is cancelled in the ``async with`` block stores
    nothing; one that is cancelled during :meth:`finish` may have stored the record: write the key down first."""

    def __init__(self, file: strongroom.RecordWriter) -> None:
        self._file = file
        # Whether a write was cancelled: its thread may have written the data nevertheless.
        self._is_cancelled = False

    def _check(self) -> None:
        if self._is_cancelled:
            raise ValueError("a write was cancelled: the record is given up")

    @property
    def key(self) -> Key:
        """The key that will open the record."""
        return self._file.key

    async def write(self, data: Buffer) -> int:
        """Write all of ``data``, and return its length. After a failed or a cancelled write, all later writes fail, and
        so does :meth:`finish`."""
        self._check()
        try:
            return await _in_thread(self._file.write, data)
        except asyncio.CancelledError:
            self._is_cancelled = True
            raise

    async def finish(self) -> Key:
        """Store the record, close the file, and return the record's key."""
        self._check()
        return await _in_thread(self._file.finish)

    async def close(self) -> None:
        """Close the file. An unfinished record is dropped."""
        await _run_to_end(self._file.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and not self._is_cancelled:
            try:
                await _in_thread(self._file.__exit__, kind, value, traceback)
            except asyncio.CancelledError:
                await self.close()  # the call may never have had a thread
                raise
            return
        await self.close()
        if kind is None:
            self._check()
