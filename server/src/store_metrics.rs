//! The size of the store and the free space of its disk, for the metrics.

use std::fmt::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom::{Error, Stats};
use tokio::time::{Instant, sleep};

use crate::config::document::Config;
use crate::metrics::header;
use crate::shared::Shared;

/// The shortest interval at which records are counted.
const INTERVAL: Duration = Duration::from_secs(60);
/// The part of the time that counting may take: a fiftieth.
const PAUSE: u32 = 49;

/// Counts the records of a store, whose time is proportional to their number.
pub(crate) type Count = dyn Fn() -> Result<Stats, Error> + Send + Sync;

#[derive(Debug)]
pub(crate) struct StoreMetrics {
    /// The folder of the database.
    folder: Option<PathBuf>,
    /// The last count.
    stats: Mutex<Option<Stats>>,
}

impl StoreMetrics {
    pub(crate) fn new(config: &Config) -> Self {
        Self { folder: config.database_folder(), stats: Mutex::default() }
    }

    pub(crate) fn write(&self, to: &mut String) -> fmt::Result {
        let stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = stats.as_ref() {
            for (name, help, value) in [
                ("records", "Records, when they were last counted.", stats.records),
                ("record_bytes", "Bytes of the records' ciphertexts.", stats.bytes),
                ("expired_records", "Expired records that are not removed yet.", stats.expired),
                ("free_bytes", "Bytes of removed records that the database keeps for later ones.", stats.free),
            ] {
                header(to, name, "gauge", help)?;
                writeln!(to, "strongroom_{name} {value}")?;
            }
        }
        if let Some(free) = self.free_bytes() {
            header(to, "disk_free_bytes", "gauge", "Free space of the database's disk.")?;
            writeln!(to, "strongroom_disk_free_bytes {free}")?;
        }
        Ok(())
    }

    #[cfg(unix)]
    fn free_bytes(&self) -> Option<u64> {
        let disk = nix::sys::statvfs::statvfs(self.folder.as_ref()?).ok()?;
        disk.blocks_available().checked_mul(disk.fragment_size())
    }

    #[cfg(not(unix))]
    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

/// Counts the records in intervals, until it is aborted.
pub(crate) async fn run(count: Arc<Count>, shared: Arc<Shared>) {
    loop {
        let (count, start) = (Arc::clone(&count), Instant::now());
        if let Ok(Ok(stats)) = shared.background.spawn(move || count()).await {
            *shared.store.stats.lock().unwrap_or_else(PoisonError::into_inner) = Some(stats);
        }
        sleep(INTERVAL.max(start.elapsed().saturating_mul(PAUSE))).await;
    }
}
