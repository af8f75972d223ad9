"""Records as binary files: the Python part of reading and writing them in pieces."""

from __future__ import annotations

import contextlib
import errno
import inspect
import io
import os
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta
    from types import TracebackType
    from typing import Never

    from typing_extensions import Buffer

    import strongroom
    from strongroom._strongroom import Key, NativeReader, NativeWriter, Strongroom

#: The bytes of each read from a file to store.
_PIECE = 1 << 20
#: The bytes that :meth:`RecordReader.read1` returns unless its caller says otherwise.
_READ1 = 64 << 10


class SupportsRead(Protocol):
    """The part of a binary file that :meth:`Strongroom.store_file` needs."""

    def read(self, size: int, /) -> bytes | None:
        """Return up to ``size`` bytes, and none at the end. ``None`` ends the call with :exc:`BlockingIOError`."""
        ...


def check_progress(progress: Callable[..., object] | None) -> None:
    """Raise unless ``progress`` is a function that can be called, or is missing."""
    if not (progress is None or callable(progress)):
        raise TypeError("progress is not callable")
    if inspect.iscoroutinefunction(progress):
        raise TypeError("progress is a coroutine function, and nothing awaits it: use a plain function")


def _is_open(file: io.IOBase) -> bool:
    """Return True, or raise if the file is closed."""
    if file.closed:
        raise ValueError("I/O operation on closed file.")
    return True


class RecordReader(io.BufferedIOBase):
    """A record as a binary file, made by :meth:`Strongroom.open_record` or :meth:`Strongroom.take_record`: readable and
    seekable, buffered, in constant memory.

    Every byte is authenticated before it is returned. In an altered record, the data before the alteration can be read;
    the altered chunk raises :exc:`CorruptError`. The file stays at the version that it opened: once that is
    replaced or removed, parts that were not fetched yet raise :exc:`ConflictError`; once it has expired, those that
    were not opened yet raise :exc:`ExpiredError`. A file that was read to its end was complete.

    >>> key = store.store("list", b"tea\\nmilk\\n")
    >>> with store.open_record("list", key) as file:
    ...     [line for line in file]
    [b'tea\\n', b'milk\\n']

    For lines of text, wrap it in an :class:`io.TextIOWrapper`.
    """

    __module__ = "strongroom"  # the public import path

    def __init__(self, native: NativeReader) -> None:
        self._native = native

    @property
    def name(self) -> None:
        """``None``: a record has no file name. Wrappers such as :class:`io.TextIOWrapper` need the attribute."""

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return super().closed or self._native.closed

    def readable(self) -> bool:
        """Whether it is readable: always."""
        return _is_open(self)

    def writable(self) -> bool:
        """Whether it is writable: never."""
        return not _is_open(self)

    def seekable(self) -> bool:
        """Whether it is seekable: always."""
        return _is_open(self)

    def readinto(self, buffer: Buffer, /) -> int:
        """Read into a writable buffer as :meth:`read` does, as many bytes as it holds; return their number."""
        return self._native.readinto(buffer)

    def readinto1(self, buffer: Buffer, /) -> int:
        """As :meth:`readinto`."""
        return self._native.readinto(buffer)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read ``size`` bytes, or fewer at the end of the record or before unreadable data: the next call returns more,
        returns nothing at the end, or raises. Without ``size``, read to the end. An exception leaves the position
        unchanged."""
        return self._native.read(-1 if size is None else size)

    def read1(self, size: int = -1, /) -> bytes:
        """As :meth:`read`; without ``size``, up to 64 KiB."""
        return self._native.read(_READ1 if size < 0 else size)

    def readall(self) -> bytes:
        """Read to the end. An exception leaves the position unchanged."""
        return self._native.read(-1)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read a line with its end, or at most ``size`` bytes of it. An exception leaves the position unchanged."""
        return self._native.readline(-1 if size is None else size)

    def write(self, data: Buffer, /) -> Never:
        """Refuse to write.

        :raises io.UnsupportedOperation: Always.
        """
        raise io.UnsupportedOperation("a record is written by create_record or replace_record")

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position, which may be after the end, and return it. Seeking from the end authenticates the
        length."""
        return self._native.seek(offset, whence)

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._native.seek(0, io.SEEK_CUR)

    def close(self) -> None:
        """Close the file. Closing it again does nothing."""
        self._native.close()
        super().close()

    def __del__(self) -> None:
        # Not close(), whose exceptions would be lost here: the native part is released without interrupts.
        pass


class RecordWriter(io.RawIOBase):
    """A new record as a binary file, made by :meth:`Strongroom.create_record`: writable, in constant memory.

    The record is stored durably by :meth:`finish` or at the end of a ``with`` block. Until then it is invisible, and
    nothing is stored if an exception leaves the block or the file is closed.

    >>> with store.create_record("log") as file:
    ...     for n in range(1000):
    ...         _ = file.write(b"line %d\\n" % n)
    >>> len(store.retrieve("log", file.key))
    8890

    A wrapper such as :class:`io.BufferedWriter` closes its file: inside the block, ``detach()`` the wrapper instead.
    """

    __module__ = "strongroom"  # the public import path

    def __init__(self, native: NativeWriter) -> None:
        self._native = native
        self._key = native.key()
        self._finished = False

    @property
    def key(self) -> Key:
        """The key that will open the record: write it down before the record is finished."""
        return self._key

    @property
    def name(self) -> None:
        """``None``: a record has no file name. Wrappers such as :class:`io.TextIOWrapper` need the attribute."""

    @property
    def closed(self) -> bool:
        """Whether the file is closed: also after a write that an exception of a signal handler ended."""
        return super().closed or self._native.closed

    def readable(self) -> bool:
        """Whether it is readable: never."""
        return not _is_open(self)

    def writable(self) -> bool:
        """Whether it is writable: always."""
        return _is_open(self)

    def seekable(self) -> bool:
        """Whether it is seekable: never."""
        return not _is_open(self)

    def readinto(self, buffer: Buffer, /) -> Never:
        """Refuse to read.

        :raises io.UnsupportedOperation: Always.
        """
        raise io.UnsupportedOperation("a record is read by open_record, once it is finished")

    def write(self, data: Buffer, /) -> int:
        """Write all of ``data``, and return its length. After a failed write, all later writes fail."""
        return self._native.write(data)

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._native.tell()

    def finish(self) -> Key:
        """Store the record, close the file, and return the record's key.

        :raises AlreadyExistsError: Another writer was faster.
        :raises ValueError: The file is closed: the record is finished, or was given up.
        """
        if self.closed:
            raise ValueError("the file is closed: the record is finished, or was given up")
        self._native.finish()  # it closes the file, unless it is interrupted while another thread writes
        self._finished = True
        self.close()
        return self._key

    def close(self) -> None:
        """Close the file. An unfinished record is dropped. Closing it again does nothing."""
        self._native.close()
        super().close()

    def __del__(self) -> None:
        # As in RecordReader.
        pass

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.close()
        elif not self._finished:
            self.finish()


def store_file(
    store: Strongroom,
    id: str | Buffer,
    source: SupportsRead | str | os.PathLike[str],
    progress: Callable[[int], object] | None,
    key: Key | None,
    expires_at: datetime | float | None,
    expires_in: timedelta | float | None,
    pad: bool,
) -> Key:
    """:meth:`Strongroom.store_file`."""

    def start() -> strongroom.RecordWriter:
        return store.create_record(id, key=key, expires_at=expires_at, expires_in=expires_in, pad=pad)

    return _copy(source, progress, start)


def replace_file(
    store: Strongroom,
    id: str | Buffer,
    key: Key,
    source: SupportsRead | str | os.PathLike[str],
    progress: Callable[[int], object] | None,
    new_key: Key | None,
    expires_at: datetime | float | None,
    expires_in: timedelta | float | None,
    pad: bool,
) -> Key:
    """:meth:`Strongroom.replace_file`."""

    def start() -> strongroom.RecordWriter:
        return store.replace_record(id, key, new_key=new_key, expires_at=expires_at, expires_in=expires_in, pad=pad)

    return _copy(source, progress, start)


def _copy(
    source: SupportsRead | str | os.PathLike[str],
    progress: Callable[[int], object] | None,
    start: Callable[[], strongroom.RecordWriter],
) -> Key:
    """Copy ``source`` to a record, which is started after the arguments are checked."""
    with contextlib.ExitStack() as stack:
        if isinstance(source, (str, os.PathLike)):
            source = stack.enter_context(io.FileIO(source))
        elif not hasattr(source, "read"):
            raise TypeError(f"a path or a binary file is needed, not '{type(source).__name__}'")
        check_progress(progress)
        writer = stack.enter_context(start())
        while True:
            piece = source.read(_PIECE)
            if isinstance(piece, Awaitable):
                if isinstance(piece, Coroutine):
                    piece.close()  # otherwise it warns that nothing has awaited it
                raise TypeError("read() returned an awaitable: use strongroom.aio, and declare read() with async def")
            if piece is None:
                raise BlockingIOError(errno.EAGAIN, "the source is non-blocking, and had nothing to read")
            if writer.write(piece) == 0:
                break
            if progress is not None:
                progress(writer.tell())
    return writer.key
