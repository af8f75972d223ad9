"""Records as binary files: Python's part of reading and writing them piece by piece."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Never

    from typing_extensions import Buffer

    import strongroom
    from strongroom._strongroom import Key, NativeReader, NativeWriter, Strongroom

#: Bytes that are read at once from a file to store.
_PIECE = 1 << 20


class SupportsRead(Protocol):
    """A binary file, as far as :meth:`Strongroom.store_file` needs it."""

    def read(self, size: int, /) -> bytes | None:
        """Return up to ``size`` bytes, and none at the end. ``None`` ends the call with :exc:`BlockingIOError`."""
        ...


def _is_open(file: io.RawIOBase) -> bool:
    """True, or the error of a file that is closed."""
    if file.closed:
        raise ValueError("I/O operation on closed file.")
    return True


class RecordReader(io.RawIOBase):
    """A record as a binary file, made by :meth:`Strongroom.open_record`: readable, seekable, and in little memory.

    No byte comes out before it is authenticated. Where the record was altered, all before that place can be read, and
    reading it raises :exc:`CorruptRecordError`. Reading is pinned to the version that was opened: once it is replaced
    or removed, what is not fetched yet raises :exc:`ConflictError`. A file that was read to its end was whole.

    It has no buffer of its own: to read lines or few bytes at a time, put it into an :class:`io.BufferedReader`.
    """

    __module__ = "strongroom"  # as everybody imports it

    def __init__(self, native: NativeReader) -> None:
        self._native = native

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return _is_open(self)

    def writable(self) -> bool:
        """Whether it can be written: never."""
        return not _is_open(self)

    def seekable(self) -> bool:
        """Whether it can be sought in: always."""
        return _is_open(self)

    def readinto(self, buffer: Buffer, /) -> int:
        """Read into a writable buffer as :meth:`read` does, as many bytes as it holds; return their number."""
        return self._native.readinto(buffer)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read ``size`` bytes, fewer only at the end of the record or where something behind them cannot be read: the
        next call gives more, none at the end, or raises. Without ``size``, read all that are left. An exception leaves
        the place as it was."""
        return self._native.read(-1 if size is None else size)

    def readall(self) -> bytes:
        """Read all that is left. An exception leaves the place as it was."""
        return self._native.read(-1)

    def write(self, data: Buffer, /) -> Never:
        """Refuse to write.

        :raises io.UnsupportedOperation: Always.
        """
        raise io.UnsupportedOperation("a record is written by create_record or replace_record")

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a place, which may lie behind the end, and return it. Seeking from the end proves the length."""
        return self._native.seek(offset, whence)

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._native.seek(0, io.SEEK_CUR)

    def close(self) -> None:
        """Close the file. Closing it again does nothing."""
        self._native.close()
        super().close()


class RecordWriter(io.RawIOBase):
    """A new record as a binary file, made by :meth:`Strongroom.create_record`: writable, and in little memory.

    The record is stored, whole and durable, by :meth:`finish` or at the end of a ``with`` block. Before that nothing of
    it can be seen, and nothing of it stays where an exception leaves the block or the file is closed.

    >>> with store.create_record("log") as file:
    ...     for n in range(1000):
    ...         _ = file.write(b"line %d\\n" % n)
    >>> len(store.retrieve("log", file.key))
    8890

    A wrapper such as :class:`io.BufferedWriter` closes the file below it: inside the block, ``detach()`` the wrapper
    instead.
    """

    __module__ = "strongroom"  # as everybody imports it

    def __init__(self, native: NativeWriter) -> None:
        self._native = native
        self._key = native.key()
        self._finished = False

    @property
    def key(self) -> Key:
        """The key that will open the record: here to be written down before the record is there."""
        return self._key

    def readable(self) -> bool:
        """Whether it can be read: never."""
        return not _is_open(self)

    def writable(self) -> bool:
        """Whether it can be written: always."""
        return _is_open(self)

    def seekable(self) -> bool:
        """Whether it can be sought in: never."""
        return not _is_open(self)

    def readinto(self, buffer: Buffer, /) -> Never:
        """Refuse to read.

        :raises io.UnsupportedOperation: Always.
        """
        raise io.UnsupportedOperation("a record is read by open_record, once it is finished")

    def write(self, data: Buffer, /) -> int:
        """Write all of ``data``, and return its length. After a write that fails, all others fail too."""
        return self._native.write(data)

    def tell(self) -> int:
        """Return how many bytes have been written."""
        return self._native.tell()

    def finish(self) -> Key:
        """Store the record, close the file, and return the record's key.

        :raises AlreadyExistsError: Somebody else was faster.
        :raises ValueError: The file is closed: the record is finished, or was given up.
        """
        if self.closed:
            raise ValueError("the file is closed: the record is finished, or was given up")
        try:
            self._native.finish()
            self._finished = True
        finally:
            self.close()
        return self._key

    def close(self) -> None:
        """Close the file. A record that is not finished is forgotten. Closing it again does nothing."""
        self._native.close()
        super().close()

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
) -> Key:
    """:meth:`Strongroom.store_file`."""
    return _copy(source, progress, lambda: store.create_record(id, key=key))


def replace_file(
    store: Strongroom,
    id: str | Buffer,
    key: Key,
    source: SupportsRead | str | os.PathLike[str],
    progress: Callable[[int], object] | None,
    new_key: Key | None,
) -> Key:
    """:meth:`Strongroom.replace_file`."""
    return _copy(source, progress, lambda: store.replace_record(id, key, new_key=new_key))


def _copy(
    source: SupportsRead | str | os.PathLike[str],
    progress: Callable[[int], object] | None,
    start: Callable[[], strongroom.RecordWriter],
) -> Key:
    """Write all that ``source`` gives to a record that is started once the arguments are known to be good."""
    with contextlib.ExitStack() as stack:
        if isinstance(source, (str, os.PathLike)):
            source = stack.enter_context(io.FileIO(source))
        elif not hasattr(source, "read"):
            raise TypeError(f"a path or a binary file is needed, not '{type(source).__name__}'")
        if not (progress is None or callable(progress)):
            raise TypeError("progress is not callable")
        writer = stack.enter_context(start())
        while True:
            piece = source.read(_PIECE)
            if piece is None:
                raise BlockingIOError(errno.EAGAIN, "the source is non-blocking, and had nothing to read")
            if writer.write(piece) == 0:
                break
            if progress is not None:
                progress(writer.tell())
    return writer.key
