//! The file with the times at which tokens were last used: a JSON object of the starts of their hashes and Unix times.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom::folder_of;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::shared::Shared;

/// The interval at which the file is written, if a token was used.
const INTERVAL: Duration = Duration::from_secs(30);
/// The digits of a hash in the file.
const HASH_LEN: usize = 16;
/// The most bytes of the file.
const MAX_LEN: u64 = 16 << 20;
/// The start of the temporary name, as those of the program: it removes the files of processes that were killed.
const TEMPORARY: &str = ".strongroom-unfinished-";

/// Times of last uses (Unix time in seconds), by the first 16 digits of the tokens' hashes.
pub type TokenUses = BTreeMap<String, u64>;

/// The times in a file that a service writes.
///
/// # Errors
///
/// If it cannot be read, or is not such a file.
pub fn read_token_uses(path: &Path) -> io::Result<TokenUses> {
    let invalid = |text| io::Error::new(ErrorKind::InvalidData, text);
    let found = fs::metadata(path)?;
    if !found.is_file() {
        return Err(invalid("it is not a regular file"));
    }
    if found.len() == 0 {
        return Ok(TokenUses::new()); // a new file
    }
    let content = if found.len() <= MAX_LEN { fs::read(path)? } else { Vec::new() };
    // The parser's error could quote the content.
    let uses: Option<TokenUses> = serde_json::from_slice(&content).ok();
    let is_hash = |key: &String| key.len() == HASH_LEN && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    let uses = uses.filter(|uses| uses.keys().all(is_hash));
    uses.ok_or_else(|| {
        invalid("it holds something else than the times of tokens' last uses: give it a path of its own")
    })
}

/// The times in the file of an earlier run; none if there is no file.
pub(crate) fn read_earlier(path: &Path) -> io::Result<TokenUses> {
    match read_token_uses(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(TokenUses::new()),
        outcome => outcome,
    }
}

/// The file of a running service.
#[derive(Debug)]
pub(crate) struct UsesFile(Mutex<PathBuf>);

impl UsesFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(Mutex::new(path))
    }

    /// Writes the file, if it has other times. One thread at a time gets the times and writes them: an earlier save
    /// must not replace the times of a later one. A failure is logged.
    pub(crate) fn save(&self, uses: impl FnOnce() -> TokenUses) {
        let path = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = write(&path, &uses()) {
            tracing::warn!(target: "strongroom", cause = %error, "cannot write the file of token_uses");
        }
    }
}

/// Writes the file in intervals.
pub(crate) async fn run(file: Arc<UsesFile>, shared: Arc<Shared>) {
    loop {
        sleep(INTERVAL).await;
        let (file, shared) = (Arc::clone(&file), Arc::clone(&shared));
        let _ = spawn_blocking(move || file.save(|| shared.token_uses())).await; // it does not panic
    }
}

fn write(path: &Path, uses: &TokenUses) -> io::Result<()> {
    if read_earlier(path)? == *uses {
        return Ok(());
    }
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).rand_bytes(16).tempfile_in(folder_of(path))?;
    file.write_all(&serde_json::to_vec(uses)?)?;
    file.as_file().sync_all()?; // a crash must not leave a file that the next start refuses
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(time: u64) -> TokenUses {
        TokenUses::from([("0123456789abcdef".to_owned(), time)])
    }

    #[test]
    fn only_a_file_of_uses_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uses");
        let neighbour = folder.path().join("uses.new");
        fs::write(&neighbour, "another's").unwrap();
        for time in [1, 2] {
            write(&path, &uses(time)).unwrap();
            assert_eq!(read_token_uses(&path).unwrap(), uses(time));
        }
        fs::write(&path, "").unwrap();
        write(&path, &uses(3)).unwrap();
        for content in ["srx1key", "{", "{\"a\":1}", "{\"0123456789abcdef\":\"1\"}", "[]", " ", "\0", "\u{1f4a9}"] {
            fs::write(&path, content).unwrap();
            let error = write(&path, &uses(4)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{content}");
            assert!(!error.to_string().contains("srx1"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        fs::File::create(&path).unwrap().set_len(MAX_LEN + 1).unwrap();
        write(&path, &uses(4)).unwrap_err();
        assert!(read_token_uses(folder.path()).is_err(), "a folder");
        assert_eq!(fs::read_to_string(&neighbour).unwrap(), "another's");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file stays");
    }

    /// The service ends while a save is running.
    #[test]
    fn the_last_save_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uses");
        let file = UsesFile::new(path.clone());
        std::thread::scope(|scope| {
            file.save(|| {
                scope.spawn(|| file.save(|| uses(2)));
                std::thread::sleep(Duration::from_millis(100)); // enough for the last save, if it did not wait
                uses(1)
            });
        });
        assert_eq!(read_token_uses(&path).unwrap(), uses(2));
    }
}
