"""Keeps data under an id, encrypted, and hands back the only key that opens it.

>>> import strongroom
>>> with strongroom.open("records.db") as store:
...     key = store.store("user:42:passport", b"scanned pages")
...     store.retrieve("user:42:passport", key)
b'scanned pages'

The database holds neither ids nor data in the clear, and no key. :mod:`strongroom.aio` has the same calls for asyncio.
"""

from strongroom._records import RecordReader, RecordWriter
from strongroom._strongroom import (
    Copied,
    Damage,
    IndexKey,
    Key,
    Keyring,
    Repair,
    Retention,
    Stats,
    Strongroom,
    Verification,
    __version__,
    connect,
    copy,
    open,
    verify,
)
from strongroom.exceptions import (
    AccessDeniedError,
    AlreadyExistsError,
    BusyError,
    ClosedError,
    ConflictError,
    CorruptError,
    ExpiredError,
    ForkedError,
    IndeterminateError,
    IndexKeyMismatchError,
    IndexKeyMissingError,
    InternalError,
    InvalidArgumentError,
    InvalidIdError,
    InvalidKeyError,
    NotFoundError,
    PoisonedError,
    StorageError,
    StorageFullError,
    StrongroomError,
    TooLargeError,
    UnsupportedError,
    WrongKeyError,
)

__all__ = [
    "AccessDeniedError",
    "AlreadyExistsError",
    "BusyError",
    "ClosedError",
    "ConflictError",
    "Copied",
    "CorruptError",
    "Damage",
    "ExpiredError",
    "ForkedError",
    "IndeterminateError",
    "IndexKey",
    "IndexKeyMismatchError",
    "IndexKeyMissingError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidIdError",
    "InvalidKeyError",
    "Key",
    "Keyring",
    "NotFoundError",
    "PoisonedError",
    "RecordReader",
    "RecordWriter",
    "Repair",
    "Retention",
    "Stats",
    "StorageError",
    "StorageFullError",
    "Strongroom",
    "StrongroomError",
    "TooLargeError",
    "UnsupportedError",
    "Verification",
    "WrongKeyError",
    "__version__",
    "connect",
    "copy",
    "open",
    "verify",
]
