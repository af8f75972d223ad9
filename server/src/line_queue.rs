//! A queue of lines and the thread that writes them, so that a slow output blocks no request. Lines without room in the
//! queue, and those that cannot be written, are dropped and counted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// The most lines that wait. A line has a few hundred bytes.
const MOST: usize = 4096;
/// How long the process waits for unwritten lines at its end.
const LAST_LINES: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct LineQueue {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Line(Vec<u8>),
    /// Dropped once all earlier lines are written.
    Flush(#[expect(dead_code, reason = "its drop is the message")] SyncSender<()>),
}

impl LineQueue {
    /// Starts the thread with this name, which calls `write` for each line.
    pub(crate) fn start(
        name: &str,
        mut write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, messages) = sync_channel(MOST);
        let dropped = Arc::<AtomicU64>::default();
        let unwritten = Arc::clone(&dropped);
        thread::Builder::new().name(name.into()).spawn(move || {
            for message in messages {
                if let Message::Line(line) = message
                    && write(&line).is_err()
                {
                    unwritten.fetch_add(1, Ordering::Relaxed);
                }
            }
        })?;
        Ok(Self { queue, dropped })
    }

    /// Adds a line, with its end. An empty one only wakes the thread.
    pub(crate) fn push(&self, line: Vec<u8>) {
        let counts = u64::from(!line.is_empty());
        if self.queue.try_send(Message::Line(line)).is_err() {
            self.dropped.fetch_add(counts, Ordering::Relaxed);
        }
    }

    /// The number of lines that were not written.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits at most a second for unwritten lines.
    pub(crate) fn flush(&self) {
        let end = Instant::now() + LAST_LINES;
        let (sender, flushed) = sync_channel(0);
        let mut message = Message::Flush(sender);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if Instant::now() >= end {
                return;
            }
            message = back;
            thread::sleep(Duration::from_millis(10));
        }
        let _ = flushed.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}
