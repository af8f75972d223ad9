"""The native half of the package. The docstrings here are those of the running module: a test compares them."""

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import ClassVar, Literal, Never, ParamSpec, Self, TypeVar, final, overload

from typing_extensions import Buffer

from strongroom._records import RecordReader, RecordWriter, SupportsRead
from strongroom.exceptions import StrongroomError

__all__ = [
    "Cancellation",
    "Copied",
    "Damage",
    "IndexKey",
    "Key",
    "Keyring",
    "NativeReader",
    "NativeWriter",
    "Repair",
    "Retention",
    "Stats",
    "Strongroom",
    "Verification",
    "__version__",
    "connect",
    "copy",
    "open",
    "verify",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")

__version__: str

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
) -> Strongroom:
    """Open the store at ``path``, and make it if it is missing.

    :param path: The SQLite database, on a local disk; or the URL of a storage service, ``https://HOST:PORT``, and on
        this machine ``http://127.0.0.1:PORT`` or ``unix:PATH``; of a PostgreSQL database,
        ``postgres://USER@HOST/DATABASE``; of a bucket, ``s3://BUCKET/PREFIX``, ``gs://...`` or ``az://...``; or
        ``:memory:``, a new store in memory, which ends when it is closed.
    :param index_key: The key that hides the ids, kept apart from the database: recommended in production, and required
        for a URL. By default it is in the file ``<path>.index-key``, made together with the SQLite database.
    :param index_key_file: The file with the index key instead. It is refused if another user, except root, can change
        or read it; a file of root may be readable by all.
    :param previous_index_key: The previous index key, to rotate it to the new one, which ``index_key`` or
        ``index_key_file`` gives. Until :meth:`Strongroom.begin_rotation`, the store is used under the previous key.
        From then until :meth:`Strongroom.finish_rotation`, opening needs both keys, and takes a second. Afterwards,
        the previous key has no effect. Open the store with both keys in all processes before the rotation begins:
        calls on a handle that has only the previous key then raise :exc:`IndexKeyMismatchError`.
    :param previous_index_key_file: The file with the previous index key instead, under the rule of ``index_key_file``.
    :param must_exist: Open the store only if it exists.
    :param read_only: Open an existing database read-only, and write no file beside it: for backups, also on a
        read-only medium. Writes raise :exc:`UnsupportedError`.
    :param durability: For a database. ``"full"``: an acknowledged write survives a power cut. ``"relaxed"``: it
        survives the end of the process, but a power cut may undo the latest writes.
    :param pad: Pad all records of the store, as ``pad`` of :meth:`Strongroom.store`. The store keeps this: every
        handle that is opened from now on does the same, with or without it. Records that are stored already remain
        as they are.
    :param token: The access token of a service, ``srt1...``.
    :param token_file: The file with the token instead. It is refused if another user, except root, can change or read
        it; a file of root may be readable by all.
    :param authorities: The file with the certificate authorities to trust, in PEM, instead of the system's.
    :param client_certificate: The files of a client certificate and of its private key, in PEM; the rule of
        ``token_file`` applies to the key's file.
    :param revocations: The file with certificate revocation lists in PEM, one for each authority in the
        service's chain. Revoked certificates, and those that no list covers, are refused. A changed file is read
        again before the next connection.
    :param timeout: The seconds that a call to a service may take until its answer begins: 30 by default, a day at
        most.
    :raises IndexKeyMissingError: The index key's file is missing.
    :raises IndexKeyMismatchError: The index key is another store's.
    :raises AccessDeniedError: The service refuses the token or the client's certificate.
    :raises InvalidArgumentError: The path cannot be a store, a second copy of SQLite in this process uses it, or
        an argument contradicts it.
    :raises CorruptError: The database is damaged.
    :raises UnsupportedError: The store is of a newer version.
    :raises ForkedError: A store was open when this process was forked.
    :raises StorageError: The database cannot be read and written, or the service cannot be reached.
    """

def connect(
    url: str,
    *,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    authorities: str | os.PathLike[str] | None = None,
    client_certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
    revocations: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
) -> Strongroom:
    """Make a store of the encryption server at ``url``, which need not be reachable yet. The server sees ids, keys and
    data while it processes them.

    All calls work as after :func:`open`, with these differences: a wrong key raises :exc:`NotFoundError`, like a
    missing record; a call without an answer is repeated if that is safe; a write with an unknown outcome raises
    :exc:`IndeterminateError`; :meth:`Strongroom.maintain`, :meth:`Strongroom.compact`, :meth:`Strongroom.verify`,
    :meth:`Strongroom.repair_from`, :meth:`Strongroom.retention` and the rotation of the index key raise
    :exc:`UnsupportedError`.

    :param url: ``https://HOST:PORT``; on this machine also ``http://127.0.0.1:PORT`` and ``unix:PATH``. Commas separate
        the URLs of several servers of one store, among which requests are distributed.
        ``cluster:https://HOST:PORT?names=*.example`` finds the servers of a cluster, at the trusted hosts.
    :param token: The access token, ``srt1...``.
    :param token_file: A file with the access token. It is refused if another user, except root, can change or read it;
        a file of root may be readable by all.
    :param authorities: A PEM file of the certificate authorities to trust, instead of the system's.
    :param client_certificate: The PEM files of the client's certificate and of its private key; the rule of
        ``token_file`` applies to the key's file.
    :param revocations: A PEM file of certificate revocation lists, as for :func:`open`.
    :param timeout: The seconds that a call may take until its answer begins: 30 by default, a day at most.
    :raises InvalidArgumentError: The URL or an argument is invalid.
    :raises StorageError: A file cannot be read.
    """

def copy(
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
    """Copy all records of a store to another place, without any key: for backups, for restoring them, and for moves.
    Both may be in use meanwhile.

    The destination must be new, or an earlier copy of the same store: records that it has already are skipped, so that
    a repeated call copies changes, and continues an interrupted one. It then opens with the index key of the source,
    whose file is not copied. Each record that was written is compared with what the destination returns.

    Check :attr:`Copied.complete`: damaged records of the source, and those that exceed the limit of the destination,
    are skipped.

    :param source: A path or URL, as for :func:`open`.
    :param destination: A path or URL, too. A missing database is made.
    :param mirror: Also delete the records at the destination that the source does not have.
    :param workers: The number of threads, from 1 to 64: more for a distant service.
    :param token: The access token of both services, as for :func:`open`, and so are the other arguments.
    :param token_file: The file with the token instead.
    :param destination_token: The access token of the destination, if it is another one.
    :param destination_token_file: The file with that token instead.
    :param authorities: The file with the certificate authorities to trust.
    :param client_certificate: The files of a client certificate and of its private key.
    :param revocations: The file with certificate revocation lists.
    :param timeout: The seconds that a call to a service may take until its answer begins.
    :raises InvalidArgumentError: There is no store at the source, the destination has another store, or both are the
        same.
    :raises ConflictError: Others change the destination all the time.
    :raises StorageFullError: The destination is full. Records that were copied before stay.
    :raises AccessDeniedError: A service refuses the token or the client's certificate.
    :raises StorageError: A storage cannot be read or written.
    """

def verify(
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
    """Search a store that is not open for damage, without any key, not even the index key. Otherwise as
    :meth:`Strongroom.verify`.

    :param path: A path or URL, as for :func:`open`. A database must exist.
    :param start_at: The position at which to start, or a locator, to start after its record.
    :param bytes_per_second: Check at most this many bytes of records per second.
    :param records_only: Do not check the database's pages and indexes.
    :param progress: Called after each step with a :class:`Verification`.
    :param token: The access token of a service, as for :func:`open`, and so are the other arguments.
    :param token_file: The file with the token instead.
    :param authorities: The file with the certificate authorities to trust.
    :param client_certificate: The files of a client certificate and of its private key.
    :param revocations: The file with certificate revocation lists.
    :param timeout: The seconds that a call to a service may take until its answer begins.
    :raises InvalidArgumentError: There is no store, or the position is one of another store.
    :raises CorruptError: The damage prevents the search.
    :raises AccessDeniedError: The service refuses the token or the client's certificate.
    :raises StorageError: The storage cannot be read.
    """

@final
class Key:
    """The only key that opens one record. It belongs to the caller; no store keeps it.

    Keys are compared in constant time, and have no hash. Their ``repr`` shows nothing, and their memory is wiped
    when they are freed: only :meth:`to_text` and :meth:`to_bytes` reveal a key.

    >>> key = Key.generate()
    >>> Key.from_text(key.to_text()) == key
    True
    >>> key
    Key(...)
    """

    @staticmethod
    def generate() -> Key:
        """Make a new key from the operating system's random numbers."""

    @staticmethod
    def from_text(text: str) -> Key:
        """Read a key from its text, ``srk1`` and 58 more characters. A leading byte order mark and
        surrounding white space are ignored, so that the content of a key file is valid as it is.

        :raises InvalidKeyError: The text has a typo, or is not such a key.
        """

    @staticmethod
    def from_bytes(data: Buffer) -> Key:
        """Make a key of 32 bytes.

        :raises InvalidKeyError: There are not 32, or all are zero.
        """

    def to_text(self) -> str:
        """The key as text, which :meth:`from_text` reads. The ``str`` cannot be wiped from memory."""

    def to_bytes(self) -> bytes:
        """The key's 32 bytes. The ``bytes`` cannot be wiped from memory."""

    def __eq__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __reduce__(self) -> Never:
        """Refuse to pickle or copy the key.

        :raises TypeError: Always.
        """

@final
class IndexKey:
    """The key that hides the ids of a store. It belongs to the operator, and is never stored in the database:
    without it no record can be found.

    >>> index_key = IndexKey.generate()
    >>> index_key.to_text().startswith("srx1")
    True
    """

    @staticmethod
    def generate() -> IndexKey:
        """Make a new key from the operating system's random numbers."""

    @staticmethod
    def from_text(text: str) -> IndexKey:
        """Read a key from its text, ``srx1`` and 58 more characters. A leading byte order mark and
        surrounding white space are ignored, so that the content of a key file is valid as it is.

        :raises InvalidKeyError: The text has a typo, or is not such a key.
        """

    @staticmethod
    def from_bytes(data: Buffer) -> IndexKey:
        """Make a key of 32 bytes.

        :raises InvalidKeyError: There are not 32, or all are zero.
        """

    def to_text(self) -> str:
        """The key as text, which :meth:`from_text` reads. The ``str`` cannot be wiped from memory."""

    def to_bytes(self) -> bytes:
        """The key's 32 bytes. The ``bytes`` cannot be wiped from memory."""

    def __eq__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __reduce__(self) -> Never:
        """Refuse to pickle or copy the key.

        :raises TypeError: Always.
        """

@final
class Keyring:
    """One file that keeps the keys of records under their ids, encrypted with `age <https://age-encryption.org>`_ to
    recipients or under a passphrase.

    Put the key into the keyring before the record is stored: a failure then leaves at most a key without a record. It
    opens nothing, but counts towards the 255 keys that an id may have. Each change replaces the file as a whole,
    durably; of several processes, one changes it at a time, and each begins with the changes of the others.

    >>> identity, recipient = Keyring.generate_identity()
    >>> Keyring.create("keys", recipients=[recipient])
    >>> keyring = Keyring.open("keys", identity=identity)
    >>> key = Key.generate()
    >>> keyring.insert("report", key)
    >>> keyring.get("report") == key
    True
    """

    @staticmethod
    def create(
        path: str | os.PathLike[str], *, recipients: Sequence[str] | None = None, passphrase: str | None = None
    ) -> None:
        """Make an empty keyring in a new file, readable only by its owner. It is encrypted to recipients or under a
        passphrase.

        :param path: The new file.
        :param recipients: Recipients of age, ``age1...``: each of their identities opens the keyring.
        :param passphrase: The passphrase instead. Each use takes about a second and 256 MiB of memory, which slows
            down guesses.
        :raises InvalidArgumentError: The file exists, a recipient is not valid, or there are neither recipients nor a
            passphrase, or both.
        :raises StorageError: The file cannot be written.
        """

    @staticmethod
    def open(
        path: str | os.PathLike[str],
        *,
        identity: str | None = None,
        identity_file: str | os.PathLike[str] | None = None,
        passphrase: str | None = None,
    ) -> Keyring:
        """Open a keyring.

        :param path: Its file.
        :param identity: The identities, ``AGE-SECRET-KEY-1...``, one on each line.
        :param identity_file: The file with the identities instead. It is refused if another user, except root, can
            change or read it; a file of root may be readable by all.
        :param passphrase: The passphrase instead.
        :raises AccessDeniedError: The identity or the passphrase does not open it.
        :raises InvalidArgumentError: There is no such file, it is not encrypted with age, other users can change or
            read it, or not one of the three secrets is given.
        :raises CorruptError: The file is damaged.
        :raises StorageError: The file cannot be read.
        """

    @staticmethod
    def generate_identity() -> tuple[str, str]:
        """Make a new identity: its text, which opens keyrings and is a secret, and its recipient, which is public."""

    def get(self, id: str | Buffer, *, namespace: str | Buffer | None = None) -> Key | None:
        """The newest key of an id, or ``None``."""

    def keys(self, id: str | Buffer, *, namespace: str | Buffer | None = None) -> list[Key]:
        """All keys of an id, the newest first: an id has several after a failure. The newest that opens the record
        is the right one.
        """

    def insert(self, id: str | Buffer, key: Key, *, namespace: str | Buffer | None = None) -> None:
        """Add the newest key of an id, durably. Its earlier keys remain, so that no record loses its key.

        :raises InvalidIdError: The id is empty or longer than 4,096 bytes.
        :raises BusyError: Other processes change the keyring for 30 seconds.
        :raises StorageError: The file cannot be written. Nothing is changed.
        :raises IndeterminateError: The file is written, but a power cut may undo this: repeat the call.
        """

    def insert_many(self, items: Iterable[tuple[str | Buffer, Key]], *, namespace: str | Buffer | None = None) -> None:
        """Add the newest keys of many ids, all or none, for the price of one.

        :param items: Pairs of an id and its key.
        :raises InvalidIdError: An id is empty or longer than 4,096 bytes.
        :raises BusyError: Other processes change the keyring for 30 seconds.
        :raises StorageError: The file cannot be written. Nothing is changed.
        :raises IndeterminateError: The file is written, but a power cut may undo this: repeat the call.
        """

    def remove(self, id: str | Buffer, *, namespace: str | Buffer | None = None) -> bool:
        """Remove an id with all of its keys, durably, and return whether the keyring had it.

        :raises BusyError: Other processes change the keyring for 30 seconds.
        :raises StorageError: The file cannot be written. Nothing is changed.
        :raises IndeterminateError: The file is written, but a power cut may undo this: repeat the call.
        """

    def ids(self, *, namespace: str | Buffer | None = None) -> list[bytes]:
        """The ids in a namespace, in the order of their bytes."""

    def export(self, *, namespace: str | Buffer | None = None) -> list[tuple[bytes, Key]]:
        """The ids in a namespace, in the order of their bytes, each with its newest key."""

    def rotate(self, *, recipients: Sequence[str] | None = None, passphrase: str | None = None) -> None:
        """Encrypt the keyring to other recipients or under another passphrase. Copies of the earlier file still
        open with the earlier secrets: if one of them is known to others, also rekey the records.

        :raises InvalidArgumentError: A recipient is not valid, or there are neither recipients nor a passphrase, or
            both.
        :raises BusyError: Other processes change the keyring for 30 seconds.
        :raises StorageError: The file cannot be written. Nothing is changed.
        :raises IndeterminateError: The file is written, but a power cut may undo this: keep the earlier secret, too,
            and repeat the call.
        """

    def __len__(self) -> int: ...

@final
class Strongroom:
    """A store of encrypted records, made by :func:`open` or :func:`connect`.

    Each record has its own key, which only the caller receives. An id is a ``str`` (its UTF-8 bytes) or
    bytes-like, of 1 to 4,096 bytes, compared byte by byte. Data is bytes-like: ``bytes`` are used in place; any
    other buffer is copied first, because another thread could change it.

    Every write is atomic, and durable when it returns. Many threads may use one store, and several processes one
    database; after :func:`os.fork`, the child's copy raises :exc:`ForkedError`. A function that a store calls, such
    as ``progress``, must not return in a forked child, where the call would wait forever for a thread of the parent.
    """

    def namespace(self, name: str | Buffer) -> Strongroom:
        """Return a handle of the same store with the ids of the namespace ``name``: through it, records of other
        namespaces cannot be found, even under the same id.

        :meth:`purge`, :meth:`maintain`, :meth:`compact`, :meth:`stats` and :meth:`close` concern the whole store on
        each handle. Namespaces exist without being created, and are not nested.

        >>> one, other = store.namespace("tenant 1"), store.namespace("tenant 2")
        >>> key = one.store("settings", b"data")
        >>> "settings" in one, "settings" in other
        (True, False)

        :param name: A ``str`` (its UTF-8 bytes) or bytes-like, of 0 to 255 bytes. The empty one is the namespace of a
            new store.
        :raises InvalidArgumentError: The name is longer.
        """

    def padded(self) -> Strongroom:
        """Return a handle of the same store and namespace that pads all records, as ``pad`` of :meth:`store`. To pad
        all records of a store on every handle, open it with ``pad``. Closing this handle closes the store.
        """

    def store(
        self,
        id: str | Buffer,
        data: Buffer,
        *,
        key: Key | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> Key:
        """Store ``data`` under a new id, and return the only key that opens it.

        :param key: A key that the caller made with :meth:`Key.generate` and wrote down, so that no crash loses it.
            The call may then be repeated after a lost reply: it succeeds if the stored record opens under this key
            to the same bytes. Make a new key for each version of a record: an attacker with write access to the
            storage can put back an older version that was sealed under the same key.
        :param expires_at: The time at which the record expires: an aware :class:`~datetime.datetime`, or the Unix time
            in seconds. Fractions of a second are rounded up. From then on its key opens nothing
            (:exc:`ExpiredError`), the id is free for a new record, and :meth:`purge` removes the record. The time is
            authenticated, but not secret. A repeated call keeps the time of the earlier one.
        :param expires_in: A :class:`~datetime.timedelta`, or the seconds, from the call to this time instead.
        :param pad: Hide the length of the data: the record is padded to one of few lengths (Padmé), by at most 12 %
            and 8 bytes. Reading it gives only the data. The length is hidden in the storage and its backups, not on a
            connection over which the data itself travels.
        :raises AlreadyExistsError: A record has this id; with ``key``, a different record.
        :raises InvalidArgumentError: The expiry time is past or invalid, or both forms of it are given.
        """

    def retrieve(self, id: str | Buffer, key: Key) -> bytes:
        """Return the data stored under ``id``.

        :raises NotFoundError: There is no record under this id.
        :raises WrongKeyError: The key does not open it, or its first 68 bytes were altered.
        :raises CorruptError: It was altered or damaged.
        :raises ExpiredError: It has expired.
        """

    def take(self, id: str | Buffer, key: Key) -> bytes:
        """Return the data stored under ``id``, and remove the record. One of several callers gets the data, and the
        others :exc:`NotFoundError`.

        The data is delivered at most once: if the process ends, an exception of a signal handler ends the call, or a
        connection breaks before the caller has the data, it is lost. To lose nothing, use :meth:`retrieve`, and then
        :meth:`delete`.

        :raises NotFoundError: There is no record under this id.
        :raises WrongKeyError: The key does not open it, or its first 68 bytes were altered. The record is unchanged.
        :raises CorruptError: It was altered or damaged. The record is unchanged.
        :raises ExpiredError: It has expired.
        :raises IndeterminateError: The outcome is unknown, for example because the answer of a service was lost.
        """

    def retrieve_into(self, id: str | Buffer, key: Key, buffer: Buffer) -> int:
        """Retrieve into the start of a writable buffer, such as a ``bytearray`` that the caller wipes, and return the
        data's length. The bytes after the data are unchanged.

        :raises TooLargeError: The data does not fit. The buffer is unchanged.
        """

    def retrieve_range(self, id: str | Buffer, key: Key, start: int, stop: int) -> bytes:
        """Return the bytes from ``start`` to ``stop``, exclusive; the range is clipped at the end. Only the chunks of
        the range are read, and the final chunk, which proves the record's length.

        :raises ConflictError: The record was replaced or removed during the call.
        """

    def replace(
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
        """Replace the data of the record that ``key`` opens, and return the new version's key. The old key no longer
        opens anything.

        :param new_key: A key for the new version, as ``key`` of :meth:`store`.
        :param expires_at: The time at which the new version expires, as in :meth:`store`.
        :param expires_in: The time from the call until then instead, as in :meth:`store`.
        :param pad: Hide the length of the data, as in :meth:`store`.
        :raises NotFoundError: There is no record under this id.
        :raises WrongKeyError: The key does not open it.
        :raises ExpiredError: It has expired.
        :raises ConflictError: It was replaced or removed concurrently.
        :raises InvalidArgumentError: The new key is the old one, or the expiry time is past or invalid.
        """

    def rekey(
        self,
        id: str | Buffer,
        key: Key,
        *,
        new_key: Key | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> Key:
        """Re-encrypt the data of the record that ``key`` opens, in constant memory, and return its new key. The old
        key no longer opens anything. Without an expiry time, the record keeps its own.

        :param new_key: The new key, as ``key`` of :meth:`store`.
        :param expires_at: The time at which the record expires, as in :meth:`store`.
        :param expires_in: The time from the call until then instead, as in :meth:`store`.
        :param pad: Hide the length of the data, as in :meth:`store`. A padded record remains padded.
        :raises NotFoundError: There is no record under this id.
        :raises WrongKeyError: The key does not open it.
        :raises CorruptError: It was altered or damaged.
        :raises ExpiredError: It has expired.
        :raises ConflictError: It was replaced or removed concurrently.
        :raises InvalidArgumentError: The new key is the old one, or the expiry time is past or invalid.
        """

    def delete(self, id: str | Buffer, key: Key) -> None:
        """Remove the record that ``key`` opens, even if it has expired.

        If the storage's answer is lost, this succeeds also if another caller removes the record meanwhile: only
        :meth:`take` tells that nobody else has read it.

        :raises NotFoundError: There is no record under this id.
        :raises WrongKeyError: The key does not open it.
        :raises ConflictError: It was replaced or removed concurrently.
        """

    def erase(self, id: str | Buffer) -> bool:
        """Remove the record of ``id`` without its key, for a right to erasure. Return whether there was one."""

    def store_many(
        self,
        items: Iterable[tuple[str | Buffer, Buffer]],
        *,
        keys: Iterable[Key] | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> list[Key]:
        """Store pairs of id and data in one transaction, all or none, and return their keys in the same order.

        :param keys: A key for each pair, as ``key`` of :meth:`store`.
        :param expires_at: The time at which the records expire, as in :meth:`store`.
        :param expires_in: The time from the call until then instead, as in :meth:`store`.
        :param pad: Hide the length of the data, as in :meth:`store`.
        :raises AlreadyExistsError: A record has one of the ids, or two of the pairs have the same id.
        :raises InvalidArgumentError: There are more or fewer keys than pairs, or the expiry time is past or invalid.
        """

    @overload
    def retrieve_many(
        self, items: Iterable[tuple[str | Buffer, Key]], *, return_exceptions: Literal[False] = False
    ) -> list[bytes]:
        """Retrieve the data of pairs of id and key, in the same order. A storage with transactions reads them in
        one; more than 64 MiB from a service is read in several steps.

        :param return_exceptions: Put the exception of a record that cannot be retrieved in its place, instead of
            raising the first one.
        """

    @overload
    def retrieve_many(
        self, items: Iterable[tuple[str | Buffer, Key]], *, return_exceptions: bool
    ) -> list[bytes | StrongroomError]: ...
    def store_file(
        self,
        id: str | Buffer,
        source: SupportsRead | str | os.PathLike[str],
        progress: Callable[[int], object] | None = None,
        *,
        key: Key | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> Key:
        """Store the content of a file under a new id, in constant memory, and return the key.

        :param source: A path, or an object with ``read()``.
        :param progress: Called with the number of bytes stored so far. An exception ends the call, and nothing is
            stored.
        :param key: A key that the caller made and wrote down, as ``key`` of :meth:`store`.
        :param expires_at: The time at which the record expires, as in :meth:`store`.
        :param expires_in: The time from the call until then instead, as in :meth:`store`.
        :param pad: Hide the length of the data, as in :meth:`store`.
        :raises AlreadyExistsError: A record has this id; with ``key``, a different record.
        :raises InvalidArgumentError: The expiry time is past or invalid.
        :raises BlockingIOError: The source is non-blocking, and had nothing to read.
        """

    def replace_file(
        self,
        id: str | Buffer,
        key: Key,
        source: SupportsRead | str | os.PathLike[str],
        progress: Callable[[int], object] | None = None,
        *,
        new_key: Key | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> Key:
        """Replace the data of the record that ``key`` opens with the content of a file, in constant memory, and return
        the new version's key.

        :param source: A path, or an object with ``read()``.
        :param progress: Called with the number of bytes stored so far. An exception ends the call, and the record is
            unchanged.
        :param new_key: A key for the new version, as ``key`` of :meth:`store`.
        :param expires_at: The time at which the new version expires, as in :meth:`store`.
        :param expires_in: The time from the call until then instead, as in :meth:`store`.
        :param pad: Hide the length of the data, as in :meth:`store`.
        :raises NotFoundError: There is no record under this id.
        :raises WrongKeyError: The key does not open it.
        :raises ExpiredError: It has expired.
        :raises ConflictError: It was replaced or removed concurrently.
        :raises InvalidArgumentError: The new key is the old one, or the expiry time is past or invalid.
        :raises BlockingIOError: The source is non-blocking, and had nothing to read.
        """

    def open_record(self, id: str | Buffer, key: Key) -> RecordReader:
        """Open a record as a binary file to read and seek in: a :class:`RecordReader`.

        :raises NotFoundError: There is no record under this id.
        :raises WrongKeyError: The key does not open it, or its first 68 bytes were altered.
        :raises ExpiredError: It has expired.
        """

    def take_record(self, id: str | Buffer, key: Key) -> RecordReader:
        """Take a record, as :meth:`take` does, as a binary file to read: a :class:`RecordReader`. Only this file can
        read the record, and closing it removes the record. On an encryption server, the file is read from start to
        end; elsewhere, also from other positions.

        If the process ends before the file is closed, nobody can read the record, and the first :meth:`purge` or
        :meth:`maintain` after a day removes it.

        :raises NotFoundError: There is no record under this id.
        :raises WrongKeyError: The key does not open it, or its first 68 bytes were altered. The record is unchanged.
        :raises ExpiredError: It has expired.
        :raises IndeterminateError: The outcome is unknown.
        """

    def create_record(
        self,
        id: str | Buffer,
        *,
        key: Key | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> RecordWriter:
        """Start to store a record under a new id as a binary file to write to: a :class:`RecordWriter`.

        :param key: A key that the caller made and wrote down, as ``key`` of :meth:`store`.
        :param expires_at: The time at which the record expires, as in :meth:`store`.
        :param expires_in: The time from the call until then instead, as in :meth:`store`.
        :param pad: Hide the length of the data, as in :meth:`store`.
        :raises AlreadyExistsError: A record has this id; with ``key``, a different record. Finishing the record may
            raise this, too.
        :raises InvalidArgumentError: The expiry time is past or invalid.
        :raises BusyError: At the finish, with ``key``: the same write ran concurrently. Repeat it.
        """

    def replace_record(
        self,
        id: str | Buffer,
        key: Key,
        *,
        new_key: Key | None = None,
        expires_at: datetime | float | None = None,
        expires_in: timedelta | float | None = None,
        pad: bool = False,
    ) -> RecordWriter:
        """Start to replace the record that ``key`` opens, as a binary file to write to: a :class:`RecordWriter`, which
        has the new version's key. The old version remains until the new one is finished.

        :param new_key: A key for the new version, as ``key`` of :meth:`store`.
        :param expires_at: The time at which the new version expires, as in :meth:`store`.
        :param expires_in: The time from the call until then instead, as in :meth:`store`.
        :param pad: Hide the length of the data, as in :meth:`store`.
        :raises NotFoundError: There is no record under this id.
        :raises WrongKeyError: The key does not open it.
        :raises ExpiredError: It has expired.
        :raises InvalidArgumentError: The new key is the old one, or the expiry time is past or invalid.
        """

    def purge(self, limit: int | None = None) -> int:
        """Remove expired records, and return their number. Expired records are unreadable in any case; this frees their
        space. It removes them in short steps, so that other writers wait little.

        :param limit: Remove at most this many records. If fewer were removed, none is left.
        """

    def begin_rotation(self) -> None:
        """Begin the rotation of the index key: the new key takes the place of the previous one. It takes a second.
        Without effect if the new key is the store's already.

        From then on, each operation on an id moves its record to the new key. Use ``id in store`` for every known id
        of every namespace: it raises if the record cannot be moved, for example on a full disk. A read of data succeeds
        even then, and may leave the record under the previous key. A read-only store, and a call with a wrong key of a
        record, moves nothing. When none remain, :meth:`finish_rotation` ends the rotation. It may be interrupted at any
        time; other handles with both keys continue to work. A record that is being replaced in pieces meanwhile may
        raise :exc:`ConflictError`.

        :raises BusyError: The store's settings were changed concurrently.
        :raises UnsupportedError: The store is an encryption server, which has its own index key; or it is read-only.
        """

    def rotation(self, limit: int | None = None) -> list[str] | None:
        """Return the locators of records that remain under the previous index key, in all namespaces, as hexadecimal
        digits; ``None`` if the rotation has not begun, or if the store was opened without a previous index key or after
        the rotation had ended. The time is proportional to the number of locators.

        :param limit: Return at most this many locators.
        :raises UnsupportedError: The store is an encryption server, which has its own index key.
        """

    def erase_unrotated(self, locator: str) -> bool:
        """Remove a record that remains under the previous index key, because nobody knows its id. Return whether there
        was one.

        :param locator: One of those that :meth:`rotation` returns.
        :raises InvalidArgumentError: The locator is not one under the previous index key, or there is no rotation.
        :raises UnsupportedError: The store is an encryption server.
        """

    def retention(self, known: Iterable[tuple[str | Buffer, str | Buffer]]) -> Retention:
        """Find the records of the whole store whose ids are not in ``known``, for example those whose keys were lost.
        It changes nothing: see :meth:`erase_others`.

        A record that was stored after ``known`` was listed is one of the others. So let nobody store between the list
        and this call; what is stored later is safe.

        :param known: Pairs of a namespace, ``""`` for the default one, and an id.
        :raises InvalidIdError: An id is invalid.
        :raises IndexKeyMismatchError: The index key is being rotated, and this handle does not have both keys.
        :raises UnsupportedError: The store is an encryption server.
        """

    def erase_others(self, retention: Retention, *, allow_all: bool = False) -> int:
        """Remove the other records of ``retention``, in all namespaces, and return their number. A record that was
        replaced since stays. After an exception, some may have been removed.

        :param allow_all: Remove all records of the store if none of the known ids has one. Otherwise this is an error,
            because the list may be wrong.
        :raises InvalidArgumentError: No record would remain.
        :raises UnsupportedError: The store is an encryption server.
        """

    def finish_rotation(self) -> None:
        """End the rotation of the index key: from then on, the store is opened with the new key alone.

        :raises InvalidArgumentError: Records remain under the previous index key, or there is no rotation.
        :raises ConflictError: The store's settings were changed concurrently.
        :raises UnsupportedError: The store is an encryption server.
        """

    def stats(self) -> Stats:
        """Return the number of records, the bytes of their ciphertexts, the number of expired records, and the free
        space, in time proportional to the number of records.
        """

    def verify(
        self,
        *,
        start_at: str | None = None,
        bytes_per_second: int | None = None,
        records_only: bool = False,
        progress: Callable[[Verification], object] | None = None,
    ) -> Verification:
        """Search the store for damage, without any record's key, in short steps. It changes nothing, and others may
        read and write meanwhile. Damage raises nothing: see the result.

        :param start_at: The position at which to start, :attr:`Verification.next` of an earlier search; or a locator,
            to start after its record.
        :param bytes_per_second: Check at most this many bytes of records per second, to leave time for others.
        :param records_only: Check records only. The check of the database's pages and indexes would read the whole
            database once more, in one step.
        :param progress: Called after each step with a :class:`Verification`: the totals so far, and the damage that
            this step found. An exception ends the search.
        :raises InvalidArgumentError: The position is one of another store.
        :raises CorruptError: The damage prevents the search.
        :raises UnsupportedError: The store is an encryption server.
        """

    def repair_from(self, copy: Strongroom) -> Repair:
        """Replace each damaged record by the one in ``copy``, without any record's key. ``copy`` is the same store at
        another place, such as a backup that is open with ``read_only``; only its intact records are used. Intact
        records are never replaced, and a damaged one that the copy lacks stays as it is: :meth:`verify` reports it.
        Others should not write meanwhile.

        :raises InvalidArgumentError: ``copy`` is another store, or this one.
        :raises UnsupportedError: The store is a service, or read-only.
        :raises BusyError: Others never stop writing.
        """

    def maintain(self) -> None:
        """Remove the remains of interrupted writes and reuse their space, as opening a store does; then move the
        content of the database's log into the database. Until then, both may have the ciphertext of deleted records.

        :raises BusyError: Other handles read all the time.
        """

    def compact(self, limit: int | None = None) -> int:
        """Return free space (:attr:`Stats.free`) to the operating system, and its number of bytes. The database's file
        becomes shorter. It works in short steps, and others may read and write meanwhile. Call :meth:`maintain`
        before, which frees the space of what was removed last.

        :param limit: Return at most this many bytes. If fewer were returned, none is left.
        :raises UnsupportedError: The store is neither an SQLite database nor a storage service on one.
        """

    def close(self) -> None:
        """Close the store on all of its handles: every later read and write raises :exc:`ClosedError`. Closing it again
        does nothing.

        A database waits for writes of other threads, and at most 5 seconds for their reads. After longer reads, its
        file is complete once the last of them has ended.
        """

    def __contains__(self, id: str | Buffer, /) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

@final
class Retention:
    """The records of a store, told apart by known ids: the result of :meth:`Strongroom.retention`."""

    @property
    def kept(self) -> int:
        """The number of records with a known id."""

    @property
    def missing(self) -> int:
        """The number of known ids without a record."""

    @property
    def others(self) -> int:
        """The number of all other records."""

    @property
    def other_bytes(self) -> int:
        """The bytes of the ciphertexts of all other records."""

@final
class Stats:
    """The size of a store."""

    @property
    def records(self) -> int:
        """The number of records."""

    @property
    def bytes(self) -> int:
        """The bytes of all records: ciphertext and headers, without the database's own overhead."""

    @property
    def expired(self) -> int:
        """The number of expired records among them, which :meth:`Strongroom.purge` removes."""

    @property
    def free(self) -> int:
        """The bytes of removed records that the storage keeps for later ones, and that :meth:`Strongroom.compact`
        returns to the operating system; 0 from a storage that leaves this to its engine.
        """

@final
class Verification:
    """The result of a search for damage, or of one of its steps."""

    @property
    def records(self) -> int:
        """The number of records checked so far."""

    @property
    def bytes(self) -> int:
        """The number of bytes checked so far."""

    @property
    def damage(self) -> list[Damage]:
        """The damage: all of it in the result, that of the step in a step."""

    @property
    def next(self) -> str | None:
        """Where the next step begins, and a later search can go on. ``None`` after the last record."""

    def __eq__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

@final
class Damage:
    """Damage in a store."""

    @property
    def locator(self) -> str | None:
        """The locator of the damaged record, 64 hexadecimal digits. ``None`` if the damage is in no record, or its
        locator is not readable.
        """

    @property
    def place(self) -> str:
        """The place: ``row``, ``segment 3``, ``index record_prefix``, ``page 17``."""

    @property
    def kind(self) -> str:
        """The kind: ``checksum``, ``length``, ``missing``, ``mismatch``, ``orphan``, ``malformed``; or ``unsupported``:
        the record is intact, but a newer version may have written it.
        """

@final
class Repair:
    """The result of a repair."""

    @property
    def restored(self) -> list[str]:
        """The locators of the restored records."""

    @property
    def lost(self) -> list[Damage]:
        """Damage that was not readable and is not in the copy; and records of which a repair removed the hidden row."""

    def __eq__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

@final
class Copied:
    """The result of :func:`copy`."""

    @property
    def records(self) -> int:
        """The number of records that were written to the destination."""

    @property
    def bytes(self) -> int:
        """Their bytes: ciphertext and headers."""

    @property
    def unchanged(self) -> int:
        """The number of records that the destination had already."""

    @property
    def deleted(self) -> int:
        """The number of records that were deleted at the destination."""

    @property
    def damaged(self) -> list[str]:
        """The locators of the damaged records of the source, which were not copied; an earlier copy of one was kept.
        One that ends in 48 zeros stands for all records at a place that the source cannot list."""

    @property
    def too_large(self) -> list[str]:
        """The locators of the records that exceed the limit of the destination, which were not copied."""

    @property
    def complete(self) -> bool:
        """Whether the destination has all records of the source."""

@final
class NativeReader:
    """The source of a :class:`strongroom.RecordReader`."""

    def read(self, size: int) -> bytes:
        """Read ``size`` bytes, or fewer at the end of the record or before unreadable data; if ``size`` is negative,
        read to the end.
        """

    def readline(self, size: int) -> bytes:
        """Read up to and with the next line feed, or ``size`` bytes, unless it is negative."""

    def readinto(self, buffer: Buffer) -> int:
        """Fill a writable buffer, up to the end of the record or to unreadable data; return the number of bytes."""

    def unread(self, position: int, data: Buffer) -> None:
        """Take back ``data``, which was read at ``position`` but did not reach the caller: if the record can be read
        only once, the next read there returns it again.
        """

    def seek(self, offset: int, whence: int) -> int:
        """Move to a position, as in :meth:`io.IOBase.seek`."""

    def close(self) -> None:
        """Release the record."""

    @property
    def closed(self) -> bool:
        """Whether the record was released."""

@final
class NativeWriter:
    """The target of a :class:`strongroom.RecordWriter`."""

    def key(self) -> Key:
        """The key that will open the record."""

    def write(self, data: Buffer) -> int:
        """Write all of ``data``; return its length."""

    def tell(self) -> int:
        """The number of bytes written."""

    def finish(self) -> None:
        """Store the record."""

    def close(self) -> None:
        """Drop the record, if it is not finished."""

    @property
    def closed(self) -> bool:
        """Whether the record is finished, or was dropped."""

@final
class Cancellation:
    """Ends a call of another thread, for asyncio."""

    def __new__(cls) -> Self: ...
    def cancel(self) -> None:
        """End the waits of the call that :meth:`run` makes, now or later."""

    def run(self, call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Return the result of ``call`` for these arguments."""
