//! Opening and creating a database.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, MAIN_DB};

use super::connection::{connect, open_reader};
use super::database::Database;
use super::error::{Fault, Outcome};
use super::file_identity_guard::FileIdentityGuard;
use super::fork_guard::OpenHandle;
use super::group_commit::abandoned;
use super::path::{self, failed};
use super::read_lock::ReadLock;
use super::read_only::{Access, ReadOnly};
use super::readers::Readers;
use super::reclaimer::Reclaimer;
use super::schema::{self, Identity, PAGE_SIZE, not_ours};
use super::second_copy::Claim;
use super::writer::Writer;
use super::{Durability, SqliteStorage, connection_settings, rows};
use crate::storage::Error;
use crate::storage::commit_queue::CommitQueue;
use crate::util::files::{folder_of, is_no_room, with_suffix};
use crate::util::fork_check::OwnerProcess;
use crate::util::private_file;

/// The size in bytes of the smallest database that is not empty.
const SMALLEST: u64 = 512;

/// How long opening waits for the removal of what other processes have left. The rest is removed in the background.
const SWEEP_AT_OPENING: Duration = Duration::from_millis(100);

impl SqliteStorage {
    /// Opens the database at `path`, and creates it if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the path is a folder, a device, a symbolic link, a file with several hard links, a
    /// file of another user, or not a Strongroom database, if it is missing or empty beside its log, if it ends in a
    /// separator, or if its name begins with `.strongroom-unfinished-`;
    /// [`Error::Unsupported`] for one of a newer version; [`Error::Backend`] if it cannot be read and written. Then the
    /// file is unchanged, and no other file is left beside it.
    ///
    /// On a full disk the database opens and can be read; each write is [`Error::Full`] until it is opened again.
    pub fn open(path: impl AsRef<Path>, durability: Durability) -> Result<Self, Error> {
        check_name(path.as_ref())?;
        Ok(Self::open_with(path.as_ref(), durability, true)?)
    }

    /// Opens the database at `path`, which must exist.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); [`Error::InvalidArgument`] if there is no database.
    pub fn open_existing(path: impl AsRef<Path>, durability: Durability) -> Result<Self, Error> {
        check_name(path.as_ref())?;
        Self::open_unfinished(path.as_ref(), durability)
    }

    /// Opens the database at `path`, which must exist, read-only; for example a backup on a read-only medium. Writes
    /// are [`Error::Unsupported`], and no file is left beside the database.
    ///
    /// Other processes may use the database at the same time. If none had it open, and one changes it later, reads are
    /// [`Error::Backend`] until it is opened again. If the last one that writes closes it during a read, its log
    /// with the latest records stays beside it: copy and move both files together.
    ///
    /// # Errors
    ///
    /// As [`open_existing`](Self::open_existing), but hard links and another owner are accepted;
    /// [`Error::InvalidArgument`] if a write-ahead log has changes that the file lacks, and the folder is read-only.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, Error> {
        check_name(path.as_ref())?;
        Ok(Self::open_to_read(path.as_ref(), ReadOnly::Chosen)?)
    }

    /// As [`open_existing`](Self::open_existing), also with the temporary name of a copy.
    pub(crate) fn open_unfinished(path: &Path, durability: Durability) -> Result<Self, Error> {
        Ok(Self::open_with(path, durability, false)?)
    }

    /// Opens the database at `path`, which must exist; read-only if it cannot be written.
    pub(crate) fn open_as_permitted(path: &Path, durability: Durability) -> Result<Self, Error> {
        check_name(path)?;
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
        let start = Instant::now();
        // A failed sweep does not matter: a full disk, for example, must not prevent reads.
        if let Ok(false) = storage.database.sweep(|| start.elapsed() > SWEEP_AT_OPENING) {
            storage.reclaimer.request(&storage.database);
        }
        if storage.database.check_writable().is_err() {
            drop(storage);
            return Self::open_as_it_is(path, durability, may_create);
        }
        Ok(storage)
    }

    fn open_as_it_is(path: &Path, durability: Durability, may_create: bool) -> Outcome<Self> {
        let fork_guard = OpenHandle::enter()?;
        let path = path::resolve(path)?;
        let claim = Claim::new(&path, fork_guard)?;
        let log = with_suffix(&path, "-wal");
        let has_old_log = log.metadata().is_ok_and(|log| log.len() > 0);
        let connection = open_database(&path, durability, may_create)?;
        let file_identity = Arc::new(FileIdentityGuard::new(&path, &["", "-wal", "-shm"], &connection)?);
        let writer = Writer::new(connection, log, durability, Arc::clone(&file_identity), has_old_log)?;
        Ok(Self::new(path, durability, claim, file_identity, Some(writer), Access::Write, None))
    }

    fn open_to_read(path: &Path, why: ReadOnly) -> Outcome<Self> {
        let fork_guard = OpenHandle::enter()?;
        let path = path::resolve(path)?;
        let claim = Claim::new(&path, fork_guard)?;
        let durability = Durability::default();
        let (connection, access) = open_to_read(&path, durability)?;
        // The log and its index are not checked: writers create and remove them.
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
        let database = Database {
            path,
            durability,
            commit_queue: CommitQueue::new(abandoned),
            writer: Mutex::new(writer),
            readers: Readers::new(claim),
            read_lock: ReadLock::default(),
            access,
            read_only,
            file_identity,
            state: Arc::default(),
            owner: OwnerProcess::current(),
            closing: Mutex::default(),
        };
        Self { database: Arc::new(database), reclaimer: Reclaimer::default() }
    }
}

/// Rejects the name of an unfinished file, such as the rest of a killed copy, which the next copy overwrites.
pub(super) fn check_name(path: &Path) -> Result<(), Error> {
    private_file::check_name(path).map_err(|text| Error::InvalidArgument(text.into()))
}

/// Whether the database could not be opened for lack of space. For some of its files SQLite reports only a code with
/// many meanings; then this tries to create an unnamed file.
fn is_full(error: &Error, path: &Path) -> bool {
    let folder = folder_of(path);
    let no_file = || folder.is_dir() && tempfile::tempfile_in(folder).is_err_and(|error| is_no_room(&error));
    matches!(error, Error::Full) || matches!(error, Error::Backend(_)) && no_file()
}

/// Opens the database at a resolved path, or creates it if `may_create`. Returns the writer's connection.
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
    // If the file belongs to another program, its write-ahead log must stay.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, wal_existed)?;
    let identity = schema::identify(&connection.unchecked_transaction()?, path)?;
    if let Identity::Empty = identity {
        if !may_create {
            return Err(missing(path).into());
        }
        schema::create(&mut connection, path, PAGE_SIZE)?;
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection_settings::apply(&connection, durability)?;
    // Creates the log and its index if they are missing.
    rows::begin_read(&connection)?;
    Ok(connection)
}

/// Opens the database at a resolved path read-only, and determines how to access it.
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

fn missing(path: &Path) -> Error {
    Error::InvalidArgument(format!("there is no store at {}", path.display()).into())
}

/// SQLite accepts some shorter files as new databases, but never writes one, because its smallest page is larger.
fn check_len(path: &Path, len: u64) -> Outcome<()> {
    if (1..SMALLEST).contains(&len) { Err(not_ours(path)) } else { Ok(()) }
}

/// Rejects a database that cannot be written, before SQLite creates an index of the log beside it.
fn refuse_not_writable(path: &Path) -> Outcome<()> {
    match path::why_not_writable(path) {
        Some(why) => Err(failed(path, why + "; or open the store read-only").into()),
        None => Ok(()),
    }
}
