//! A Unix socket and its file. Clients can connect only after its permissions are set. One service at a time owns it,
//! and only one takes over the file of a service that has died.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{Group, geteuid};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use crate::config::address::SocketMode;
use crate::config::document::Config;
use crate::start_error::StartError;

/// Connections that may wait to be accepted, as in the standard library.
const BACKLOG: u32 = 128;

/// The permissions of the socket.
pub(crate) struct Access {
    mode: SocketMode,
    group: Option<u32>,
}

impl Access {
    pub(crate) fn new(config: &Config) -> Result<Self, StartError> {
        let group = match config.socket_group.as_deref() {
            None => None,
            Some(text) => match text.parse() {
                Ok(number) => Some(number),
                Err(_) => Some(Group::from_name(text).ok().flatten().ok_or(StartError::NoSuchGroup)?.gid.as_raw()),
            },
        };
        Ok(Self { mode: config.socket_mode, group })
    }
}

/// A socket's file, removed on drop.
pub(crate) struct SocketFile {
    path: PathBuf,
    _lock: Lock,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Replaces a dead socket. Clients can connect only after mode and group are set, because listening begins after that.
pub(crate) async fn bind(path: &Path, access: &Access) -> io::Result<(UnixListener, SocketFile)> {
    let lock = Lock::take(path)?;
    make_room(path).await?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let file = SocketFile { path: path.to_path_buf(), _lock: lock };
    if access.group.is_some() {
        chown(path, None, access.group)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(access.mode.bits()))?;
    Ok((socket.listen(BACKLOG)?, file))
}

/// Removes the socket of a crashed service. Other files, and sockets in use, are kept.
async fn make_room(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is not a socket"));
        }
        there => there?,
    };
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

/// A locked file beside the socket. If two services find a dead socket, only one replaces it.
struct Lock {
    path: PathBuf,
    /// The system releases the lock when the process ends, for whatever reason.
    _locked: File,
}

impl Lock {
    fn take(socket: &Path) -> io::Result<Self> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        for _ in 0..100 {
            let mut options = File::options();
            options.read(true).write(true).mode(0o600);
            let (file, is_new) = match options.clone().create_new(true).open(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => match open_lock(&path, &options) {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    opened => (opened?, false),
                },
                created => (created?, true),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(ErrorKind::AddrInUse.into()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The previous owner may have removed the file before it was locked here.
            let (locked, there) = (file.metadata()?, fs::symlink_metadata(&path));
            if (is_new || is_lock(&locked))
                && there.is_ok_and(|there| (there.dev(), there.ino()) == (locked.dev(), locked.ino()))
            {
                return Ok(Self { path, _locked: file });
            }
        }
        Err(ErrorKind::AddrInUse.into())
    }
}

/// Opens the lock file of an earlier service. Another file is refused, because the service removes its lock at the end.
fn open_lock(path: &Path, options: &OpenOptions) -> io::Result<File> {
    if is_lock(&fs::symlink_metadata(path)?) {
        return options.open(path);
    }
    let path = path.display();
    let text = format!("{path} is not the empty file of a service of this user: remove it, or choose another path");
    Err(io::Error::new(ErrorKind::AlreadyExists, text))
}

fn is_lock(file: &Metadata) -> bool {
    file.is_file() && file.len() == 0 && file.uid() == geteuid().as_raw()
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
