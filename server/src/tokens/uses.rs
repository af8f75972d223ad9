//! The file with the times at which tokens were last used: a JSON object of the starts of their hashes and Unix times.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::shared::Shared;

/// The interval at which the file is written, if a token was used.
const INTERVAL: Duration = Duration::from_secs(30);

/// Times of last uses (Unix time in seconds), by the first 16 digits of the tokens' hashes.
pub type TokenUses = BTreeMap<String, u64>;

/// The times in a file that a service writes.
///
/// # Errors
///
/// If it cannot be read, or is not such a file.
pub fn read_token_uses(path: &Path) -> io::Result<TokenUses> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Writes the file in intervals.
pub(crate) async fn run(path: PathBuf, shared: Arc<Shared>) {
    let mut written = read_token_uses(&path).unwrap_or_default();
    loop {
        sleep(INTERVAL).await;
        let uses = shared.token_uses();
        if uses != written {
            save(&path, &uses);
            written = uses;
        }
    }
}

/// Writes the file. A failure is logged.
pub(crate) fn save(path: &Path, uses: &TokenUses) {
    if let Err(error) = write(path, uses) {
        tracing::warn!(target: "strongroom", cause = %error, "cannot write the file of token_uses");
    }
}

fn write(path: &Path, uses: &TokenUses) -> io::Result<()> {
    let name = path.file_name().ok_or(ErrorKind::InvalidFilename)?;
    let mut temporary = name.to_os_string();
    temporary.push(".new");
    let temporary = path.with_file_name(temporary);
    fs::write(&temporary, serde_json::to_vec(uses)?)?;
    fs::rename(temporary, path)
}
