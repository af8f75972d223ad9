//! The functions `open` and `connect` of Python.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyString;
use strongroom::{Durability, Error, Location};

use crate::error::Failure;
use crate::interrupt::detached;
use crate::key::IndexKey;
use crate::location::{ClientCertificate, Timeout, check_path, connect_to, endpoint_options};
use crate::store::Strongroom;

/// Open the store at ``path``, and make it if it is missing.
///
/// :param path: The SQLite database, on a local disk; or the URL of a storage service, ``https://HOST:PORT``, and on
///     this machine ``http://127.0.0.1:PORT`` or ``unix:PATH``; of a PostgreSQL database,
///     ``postgres://USER@HOST/DATABASE``; of a bucket, ``s3://BUCKET/PREFIX``, ``gs://...`` or ``az://...``; or
///     ``:memory:``, a new store in memory, which ends when it is closed.
/// :param index_key: The key that hides the ids, kept apart from the database: recommended in production, and required
///     for a URL. By default it is in the file ``<path>.index-key``, made together with the SQLite database.
/// :param index_key_file: The file with the index key instead. It is refused if another user, except root, can change
///     or read it; a file of root may be readable by all.
/// :param previous_index_key: The previous index key, to rotate it to the new one, which ``index_key`` or
///     ``index_key_file`` gives. Until :meth:`Strongroom.begin_rotation`, the store is used under the previous key.
///     From then until :meth:`Strongroom.finish_rotation`, opening needs both keys, and takes a second. Afterwards,
///     the previous key has no effect. Open the store with both keys in all processes before the rotation begins:
///     calls on a handle that has only the previous key then raise :exc:`IndexKeyMismatchError`.
/// :param previous_index_key_file: The file with the previous index key instead, under the rule of ``index_key_file``.
/// :param must_exist: Open the store only if it exists.
/// :param read_only: Open an existing database read-only, and write no file beside it: for backups, also on a
///     read-only medium. Writes raise :exc:`UnsupportedError`.
/// :param durability: For a database. ``"full"``: an acknowledged write survives a power cut. ``"relaxed"``: it
///     survives the end of the process, but a power cut may undo the latest writes.
/// :param pad: Pad all records of the store, as ``pad`` of :meth:`Strongroom.store`. The store keeps this: every
///     handle that is opened from now on does the same, with or without it. Records that are stored already remain
///     as they are.
/// :param token: The access token of a service, ``srt1...``.
/// :param token_file: The file with the token instead. It is refused if another user, except root, can change or read
///     it; a file of root may be readable by all.
/// :param authorities: The file with the certificate authorities to trust, in PEM, instead of the system's.
/// :param client_certificate: The files of a client certificate and of its private key, in PEM; the rule of
///     ``token_file`` applies to the key's file.
/// :param revocations: The file with certificate revocation lists in PEM, one for each authority in the
///     service's chain. Revoked certificates, and those that no list covers, are refused. A changed file is read
///     again before the next connection.
/// :param timeout: The seconds that a call to a service may take until its answer begins: 30 by default, a day at
///     most.
/// :raises IndexKeyMissingError: The index key's file is missing.
/// :raises IndexKeyMismatchError: The index key is another store's.
/// :raises AccessDeniedError: The service refuses the token or the client's certificate.
/// :raises InvalidArgumentError: The path cannot be a store, a second copy of SQLite in this process uses it, or
///     an argument contradicts it.
/// :raises CorruptError: The database is damaged.
/// :raises UnsupportedError: The store is of a newer version.
/// :raises ForkedError: A store was open when this process was forked.
/// :raises StorageError: The database cannot be read and written, or the service cannot be reached.
#[pyfunction]
#[pyo3(signature = (
    path, *, index_key=None, index_key_file=None, previous_index_key=None, previous_index_key_file=None,
    must_exist=false, read_only=false, durability="full", pad=false, token=None, token_file=None, authorities=None,
    client_certificate=None, revocations=None, timeout=None,
))]
#[expect(clippy::too_many_arguments, reason = "they are named where it is called")]
pub(crate) fn open(
    py: Python<'_>,
    path: PathBuf,
    index_key: Option<&Bound<'_, IndexKey>>,
    index_key_file: Option<PathBuf>,
    previous_index_key: Option<&Bound<'_, IndexKey>>,
    previous_index_key_file: Option<PathBuf>,
    must_exist: bool,
    read_only: bool,
    durability: &str,
    pad: bool,
    token: Option<&Bound<'_, PyString>>,
    token_file: Option<PathBuf>,
    authorities: Option<PathBuf>,
    client_certificate: Option<ClientCertificate>,
    revocations: Option<PathBuf>,
    timeout: Option<Timeout>,
) -> Result<Strongroom, Failure> {
    let key_files = [&index_key_file, &previous_index_key_file];
    [&path].into_iter().chain(key_files.into_iter().flatten()).try_for_each(check_path)?;
    let options = endpoint_options(token, token_file, authorities, client_certificate, revocations, timeout)?;
    let mut builder = strongroom::Strongroom::builder().location(Location::parse(path)?.with_options(options)?);
    match durability {
        "full" => {}
        "relaxed" => builder = builder.durability(Durability::Relaxed),
        _ => return Err(Error::InvalidArgument("durability must be \"full\" or \"relaxed\"".into()).into()),
    }
    if let Some(key) = index_key {
        builder = builder.index_key(IndexKey::copy(key.get().inner())?);
    }
    if let Some(path) = index_key_file {
        builder = builder.index_key_file(path);
    }
    if let Some(key) = previous_index_key {
        builder = builder.previous_index_key(IndexKey::copy(key.get().inner())?);
    }
    if let Some(path) = previous_index_key_file {
        builder = builder.previous_index_key_file(path);
    }
    if must_exist {
        builder = builder.must_exist();
    }
    if read_only {
        builder = builder.read_only();
    }
    if pad {
        builder = builder.pad();
    }
    Ok(Strongroom::new(detached(py, || Ok(builder.open()?))?))
}

/// Make a store of the encryption server at ``url``, which need not be reachable yet. The server sees ids, keys and
/// data while it processes them.
///
/// All calls work as after :func:`open`, with these differences: a wrong key raises :exc:`NotFoundError`, like a
/// missing record; a call without an answer is repeated if that is safe; a write with an unknown outcome raises
/// :exc:`IndeterminateError`; :meth:`Strongroom.maintain`, :meth:`Strongroom.compact`, :meth:`Strongroom.verify`,
/// :meth:`Strongroom.repair_from`, :meth:`Strongroom.retention` and the rotation of the index key raise
/// :exc:`UnsupportedError`.
///
/// :param url: ``https://HOST:PORT``; on this machine also ``http://127.0.0.1:PORT`` and ``unix:PATH``. Commas separate
///     the URLs of several servers of one store, among which requests are distributed.
///     ``cluster:https://HOST:PORT?names=*.example`` finds the servers of a cluster, at the trusted hosts.
/// :param token: The access token, ``srt1...``.
/// :param token_file: A file with the access token. It is refused if another user, except root, can change or read it;
///     a file of root may be readable by all.
/// :param authorities: A PEM file of the certificate authorities to trust, instead of the system's.
/// :param client_certificate: The PEM files of the client's certificate and of its private key; the rule of
///     ``token_file`` applies to the key's file.
/// :param revocations: A PEM file of certificate revocation lists, as for :func:`open`.
/// :param timeout: The seconds that a call may take until its answer begins: 30 by default, a day at most.
/// :raises InvalidArgumentError: The URL or an argument is invalid.
/// :raises StorageError: A file cannot be read.
#[pyfunction]
#[pyo3(signature = (
    url, *, token=None, token_file=None, authorities=None, client_certificate=None, revocations=None, timeout=None,
))]
#[expect(clippy::too_many_arguments, reason = "they are named where it is called")]
pub(crate) fn connect(
    py: Python<'_>,
    url: &str,
    token: Option<&Bound<'_, PyString>>,
    token_file: Option<PathBuf>,
    authorities: Option<PathBuf>,
    client_certificate: Option<ClientCertificate>,
    revocations: Option<PathBuf>,
    timeout: Option<Timeout>,
) -> Result<Strongroom, Failure> {
    let options = endpoint_options(token, token_file, authorities, client_certificate, revocations, timeout)?;
    Ok(Strongroom::new(detached(py, || Ok(connect_to(url, options)?))?))
}
