//! Opening a database: the checks, and the creation of a new one.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, MAIN_DB, OpenFlags};

use super::error::{Fault, Outcome};
use super::file_identity_guard::FileIdentityGuard;
use super::fork_guard::OpenHandle;
use super::group_commit::abandoned;
use super::group_commit::queue::CommitQueue;
use super::path::{self, failed, with_suffix};
use super::read_lock::ReadLock;
use super::read_only::{Access, ReadOnly, immutable_uri};
use super::readers::Readers;
use super::schema::{self, Identity, not_ours};
use super::second_copy::Claim;
use super::writer::Writer;
use super::{Durability, OPEN, SqliteStorage, connection_settings};
use crate::storage::Error;
use crate::util::files::{folder_of, is_no_room};
use crate::util::fork_check::OwnerProcess;

/// The bytes of the smallest database that is not empty.
const SMALLEST: u64 = 512;

/// The most time that opening spends on the leftovers of others.
const SWEEP_AT_OPENING: Duration = Duration::from_secs(1);

impl SqliteStorage {
    /// Opens the database at `path`, and creates it if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] where the path is a folder, a device, a symbolic link, a file with further hard
    /// links, a file of another user, or not a Strongroom database; [`Error::Unsupported`] for one of a newer version;
    /// [`Error::Backend`] where it cannot be read and written. The file is then unchanged, and nothing is left beside
    /// it.
    ///
    /// On a full disk the database opens, and can be read; each write is [`Error::Full`] until it is opened again.
    pub fn open(path: impl AsRef<Path>, durability: Durability) -> Result<Self, Error> {
        Ok(Self::open_with(path.as_ref(), durability, true)?)
    }

    /// Opens the database at `path`, which must exist.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); [`Error::InvalidArgument`] where there is none.
    pub fn open_existing(path: impl AsRef<Path>, durability: Durability) -> Result<Self, Error> {
        Ok(Self::open_with(path.as_ref(), durability, false)?)
    }

    /// Opens the database at `path`, which must exist, read-only: also where it cannot be written, such as a backup on
    /// a read-only medium. Writes are [`Error::Unsupported`], and nothing is left beside the file.
    ///
    /// Others may use the database meanwhile. If none had it open, and one changes it later, reads are
    /// [`Error::Backend`] until it is opened again.
    ///
    /// # Errors
    ///
    /// As [`open_existing`](Self::open_existing), but hard links and another owner are accepted;
    /// [`Error::InvalidArgument`] where a write-ahead log has changes that the file lacks, and the folder is read-only.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self::open_to_read(path.as_ref(), ReadOnly::Chosen)?)
    }

    /// Opens the database at `path`, which must exist; read-only if it cannot be written.
    pub(crate) fn open_as_permitted(path: &Path, durability: Durability) -> Result<Self, Error> {
        let resolved = path::resolve(path)?;
        match path::find(&resolved)?.and_then(|_| path::why_not_writable(&resolved)) {
            Some(why) => Ok(Self::open_to_read(path, ReadOnly::NotWritable(why))?),
            None => Self::open_existing(path, durability),
        }
    }

    fn open_with(path: &Path, durability: Durability, may_create: bool) -> Outcome<Self> {
        let storage = match Self::open_as_it_is(path, durability, may_create) {
            Err(Fault(error)) if is_full(&error, path) => {
                return Self::open_to_read(path, ReadOnly::Full).map_err(|_| error.into());
            }
            outcome => outcome?,
        };
        // A failed sweep does not matter: a full disk, for example, must not prevent reads.
        let _ = storage.sweep(Some(Instant::now() + SWEEP_AT_OPENING));
        if storage.check_open().is_err() {
            drop(storage);
            return Self::open_as_it_is(path, durability, may_create);
        }
        Ok(storage)
    }

    fn open_as_it_is(path: &Path, durability: Durability, may_create: bool) -> Outcome<Self> {
        let fork_guard = OpenHandle::enter()?;
        let path = path::resolve(path)?;
        let claim = Claim::new(&path, fork_guard)?;
        let connection = open_database(&path, durability, may_create)?;
        let file_identity = Arc::new(FileIdentityGuard::new(&path, &["", "-wal", "-shm"], &connection)?);
        let writer = Writer::new(connection, durability, Arc::clone(&file_identity));
        Ok(Self::new(path, durability, claim, file_identity, Some(writer), Access::Write, None))
    }

    fn open_to_read(path: &Path, why: ReadOnly) -> Outcome<Self> {
        let fork_guard = OpenHandle::enter()?;
        let path = path::resolve(path)?;
        let claim = Claim::new(&path, fork_guard)?;
        let durability = Durability::default();
        let (connection, access) = open_to_read(&path, durability)?;
        // The log and its index are not watched: writers create and remove them.
        let file_identity = Arc::new(FileIdentityGuard::new(&path, &[""], &connection)?);
        Ok(Self::new(path, durability, claim, file_identity, None, access, Some(why)))
    }

    fn new(
        path: PathBuf,
        durability: Durability,
        claim: Claim,
        file_identity: Arc<FileIdentityGuard>,
        writer: Option<Writer>,
        access: Access,
        read_only: Option<ReadOnly>,
    ) -> Self {
        Self {
            path,
            durability,
            commit_queue: CommitQueue::new(abandoned),
            writer: Mutex::new(writer),
            readers: Readers::new(claim),
            read_lock: ReadLock::default(),
            access,
            read_only,
            file_identity,
            state: Arc::new(AtomicU8::new(OPEN)),
            owner: OwnerProcess::current(),
        }
    }
}

/// Whether the database could not be opened for lack of space. For some of its files SQLite reports only a code with
/// many meanings: then the creation of an unnamed file is tried.
fn is_full(error: &Error, path: &Path) -> bool {
    let folder = folder_of(path);
    let no_file = || folder.is_dir() && tempfile::tempfile_in(folder).is_err_and(|error| is_no_room(&error));
    matches!(error, Error::Full) || matches!(error, Error::Backend(_)) && no_file()
}

/// Opens the database at a resolved path, or creates it if `may_create`. The first connection is the writer's.
fn open_database(path: &Path, durability: Durability, may_create: bool) -> Outcome<Connection> {
    let found = if may_create { path::find_or_create(path)? } else { path::find(path)? };
    let found = found.ok_or_else(|| missing(path))?;
    path::check_owner_and_names(path, &found)?;
    check_len(path, found.len())?;
    refuse_not_writable(path)?;
    let wal_existed = with_suffix(path, "-wal").exists();
    let mut connection = connect(path, &Access::Write)?;
    if connection.is_readonly(MAIN_DB)? {
        return Err(
            failed(path, "the file cannot be written: check its owner and mode, and those of its folder").into()
        );
    }
    // If the file is another program's, its write-ahead log is left to that program.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, wal_existed)?;
    let identity = schema::identify(&connection.unchecked_transaction()?, path)?;
    if let Identity::Empty = identity {
        if !may_create {
            return Err(missing(path).into());
        }
        schema::create(&mut connection, path)?;
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection_settings::apply(&connection, durability)?;
    // Creates the log and its index if they are missing.
    connection.query_row("SELECT count(*) FROM settings", (), |_| Ok(()))?;
    Ok(connection)
}

/// Opens the database at a resolved path read-only, and determines the way of access.
fn open_to_read(path: &Path, durability: Durability) -> Outcome<(Connection, Access)> {
    let found = path::find(path)?.ok_or_else(|| missing(path))?;
    check_len(path, found.len())?;
    let access = Access::to_read(path)?;
    let connection = open_reader(path, &access, durability)?;
    let identity = schema::identify(&connection.unchecked_transaction()?, path)?;
    match identity {
        Identity::Ours => Ok((connection, access)),
        Identity::Empty => Err(missing(path).into()),
    }
}

/// Another connection to a database that is open, for reading only.
pub(super) fn open_reader(path: &Path, access: &Access, durability: Durability) -> Outcome<Connection> {
    let connection = connect(path, access)?;
    // Only the writer moves the log into the database, even if a reader is the last to close.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    match access {
        Access::Write => connection_settings::apply(&connection, durability)?,
        Access::Read | Access::Immutable(_) => connection_settings::apply_to_read(&connection)?,
    }
    connection_settings::set(&connection, "query_only", 1)?;
    Ok(connection)
}

fn connect(path: &Path, access: &Access) -> Outcome<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    flags |= match access {
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Read | Access::Immutable(_) => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let connection = match access {
        // No SQLITE_OPEN_URI: a path is a path.
        Access::Write | Access::Read => Connection::open_with_flags(path, flags),
        Access::Immutable(_) => Connection::open_with_flags(immutable_uri(path), flags | OpenFlags::SQLITE_OPEN_URI),
    };
    let mut connection = connection.map_err(|error| match error {
        // The text beside the code repeats the path.
        rusqlite::Error::SqliteFailure(code, _) => failed(path, code),
        error => failed(path, error),
    })?;
    connection_settings::protect(&mut connection)?;
    Ok(connection)
}

fn missing(path: &Path) -> Error {
    Error::InvalidArgument(format!("there is no store at {}", path.display()).into())
}

/// SQLite takes some shorter files for new databases, but never writes one: its smallest page is larger.
fn check_len(path: &Path, len: u64) -> Outcome<()> {
    if (1..SMALLEST).contains(&len) { Err(not_ours(path)) } else { Ok(()) }
}

/// Refuses a database that cannot be written, before SQLite leaves a log's index beside it.
fn refuse_not_writable(path: &Path) -> Outcome<()> {
    match path::why_not_writable(path) {
        Some(why) => Err(failed(path, why + "; or open the store read-only").into()),
        None => Ok(()),
    }
}
