"""The exceptions of Strongroom.

Every exception is a :exc:`StrongroomError` and has a ``code``: the number that the error has in every language, as an
exit status and on the wire. Those that are an :exc:`OSError` also have an ``errno``. None shows an id, a key or data.
"""

from errno import EACCES, ENOSPC, ETIMEDOUT

__all__ = [
    "AccessDeniedError",
    "AlreadyExistsError",
    "BusyError",
    "ClosedError",
    "ConflictError",
    "CorruptError",
    "ExpiredError",
    "ForkedError",
    "IndeterminateError",
    "IndexKeyMismatchError",
    "IndexKeyMissingError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidIdError",
    "InvalidKeyError",
    "NotFoundError",
    "PoisonedError",
    "StorageError",
    "StorageFullError",
    "StrongroomError",
    "TooLargeError",
    "UnsupportedError",
    "WrongKeyError",
]


class StrongroomError(Exception):
    """The base of all exceptions of Strongroom."""

    #: The error's number.
    code: int = 99

    def __str__(self) -> str:
        # KeyError would quote the message, and OSError would expect an errno.
        return str(self.args[0]) if self.args else ""


class NotFoundError(StrongroomError, KeyError):
    """No record has this id: it was never stored, or it was removed."""

    code = 1


class AlreadyExistsError(StrongroomError):
    """A record has this id."""

    code = 2


class WrongKeyError(StrongroomError):
    """The key does not open the record, or the record's first 68 bytes were altered: without the key, the two cannot be
    distinguished."""

    code = 3


class CorruptError(StrongroomError):
    """The record, or the database that holds it, was altered or damaged."""

    code = 4


class InvalidKeyError(StrongroomError, ValueError):
    """The bytes or the text are not a key."""

    code = 5


class InvalidIdError(StrongroomError, ValueError):
    """An id has 1 to 4,096 bytes, and as a ``str`` has no lone surrogates."""

    code = 6


class UnsupportedError(StrongroomError):
    """A newer version is required, or the storage does not support the operation."""

    code = 7


class TooLargeError(StrongroomError):
    """The data does not fit in a record, the storage, or the given buffer."""

    code = 8


class IndexKeyMismatchError(StrongroomError):
    """The store was made with another index key."""

    code = 9


class IndexKeyMissingError(StrongroomError):
    """The file with the store's index key is missing."""

    code = 10


class ConflictError(StrongroomError):
    """The record was replaced or removed concurrently."""

    code = 11


class BusyError(StrongroomError, TimeoutError):
    """A lock was not released in time, or a service did not answer in time: try again. Nothing was changed, unless the
    function says otherwise."""

    code = 12
    errno = ETIMEDOUT


class StorageFullError(StrongroomError, OSError):
    """No space is left. Everything stored before is unchanged."""

    code = 13
    errno = ENOSPC


class StorageError(StrongroomError, OSError):
    """Input or output failed; the message has the cause. Nothing was changed. After a write, see
    :exc:`PoisonedError`."""

    code = 14
    # Of this class, unlike that of OSError, so that a copy by pickle keeps it.
    errno: int | None = None


class IndeterminateError(StrongroomError):
    """The outcome of the write is unknown: a commit failed, or an answer was lost.

    Check the record, or repeat the write under the same key.
    """

    code = 15


class PoisonedError(StrongroomError):
    """An earlier write or commit failed halfway, so this store refuses all writes.

    It still reads, unless the database's files were moved. Open it again.
    """

    code = 16


class ForkedError(StrongroomError):
    """The store or keyring was opened by the parent of this process; or a store was open at the fork, so that this
    process cannot open one of its own."""

    code = 17


class ClosedError(StrongroomError):
    """The store is closed."""

    code = 18


class InvalidArgumentError(StrongroomError, ValueError):
    """An argument, or a combination of arguments, is invalid."""

    code = 19


class ExpiredError(StrongroomError):
    """The record has expired. Its id is free for a new record."""

    code = 20


class AccessDeniedError(StrongroomError, PermissionError):
    """A service or a storage denies access: a token, a client certificate, a password or a right is missing or wrong.
    Nothing was changed."""

    code = 21
    errno = EACCES


class InternalError(StrongroomError):
    """An internal error: please report it."""

    code = 99


_BY_CODE = {error.code: error for error in StrongroomError.__subclasses__()}

# Users import them from the package.
for _error in (StrongroomError, *_BY_CODE.values()):
    _error.__module__ = "strongroom"
