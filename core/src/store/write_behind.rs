//! Write-behind: sealed bytes of short records go to the storage directly, those of long records through a thread, so
//! that one core seals while another writes.

use std::mem::ManuallyDrop;
use std::thread::JoinHandle;

use crate::error::Error;
use crate::storage::Upload;
use crate::util::fork_check::OwnerProcess;
use crate::util::handoff::{Receiver, Sender, handoff};
use crate::util::interrupt::{self, Cancellation};
use crate::util::threads;

/// The minimum bytes for which a thread writes.
const LONG: u64 = 1 << 20;

/// Writes bytes to an upload. After a failed write, all later ones fail.
pub(super) enum WriteBehind {
    Direct { upload: Box<dyn Upload>, fed: u64 },
    Thread(WriterThread),
    Failed,
}

impl WriteBehind {
    pub(super) fn new(upload: Box<dyn Upload>) -> Self {
        Self::Direct { upload, fed: 0 }
    }

    /// Writes `bytes`, and replaces them with an empty buffer.
    pub(super) fn write(&mut self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let before = std::mem::replace(self, Self::Failed);
        if interrupt::is_interrupted() {
            return Err(Error::Busy);
        }
        match before {
            Self::Direct { mut upload, fed } => {
                upload.write(bytes)?;
                let fed = fed.saturating_add(bytes.len() as u64);
                bytes.clear();
                *self = if fed < LONG { Self::Direct { upload, fed } } else { Self::start(upload) };
            }
            Self::Thread(mut thread) => {
                thread.write(bytes)?;
                *self = Self::Thread(thread);
            }
            Self::Failed => return Err(failed_before()),
        }
        Ok(())
    }

    /// The upload, after all bytes are written.
    pub(super) fn finish(self) -> Result<Box<dyn Upload>, Error> {
        match self {
            Self::Direct { upload, .. } => Ok(upload),
            Self::Thread(mut thread) => thread.join(),
            Self::Failed => Err(failed_before()),
        }
    }

    fn start(upload: Box<dyn Upload>) -> Self {
        let (pieces, inbox) = handoff::<Vec<u8>>();
        let (outbox, spare) = handoff();
        // The upload is handed over after the start of the thread, so that it is not lost if no thread can be started.
        let (hand_over, handed_over) = handoff::<Box<dyn Upload>>();
        let (running, ended) = handoff::<()>();
        let work = move || {
            let _running = running;
            let mut upload = handed_over.receive().ok_or_else(failed_before)?;
            while let Some(mut piece) = inbox.receive() {
                upload.write(&piece)?;
                piece.clear();
                outbox.offer(piece);
            }
            Ok(upload)
        };
        let cancellation = Cancellation::default();
        let cancelled = cancellation.clone();
        let work = move || cancelled.run(work);
        let Ok(thread) = threads::spawn("strongroom-write", work) else {
            return Self::Direct { upload, fed: 0 };
        };
        let _ = hand_over.send(upload); // there is room for it
        Self::Thread(WriterThread {
            pieces: Some(pieces),
            spare: Some(spare),
            ended: Some(ended),
            cancellation,
            thread: Some(thread),
            owner: OwnerProcess::current(),
        })
    }
}

/// A thread that writes to an upload.
pub(super) struct WriterThread {
    /// `None` once everything is written.
    pieces: Option<Sender<Vec<u8>>>,
    /// Buffers to reuse.
    spare: Option<Receiver<Vec<u8>>>,
    /// Receives nothing; its other end is dropped when the thread ends.
    ended: Option<Receiver<()>>,
    cancellation: Cancellation,
    thread: Option<JoinHandle<Result<Box<dyn Upload>, Error>>>,
    owner: OwnerProcess,
}

impl WriterThread {
    fn write(&mut self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        if !self.owner.is_current() {
            return Err(Error::Forked); // the thread belongs to the parent
        }
        let spare = self.spare.as_ref().and_then(Receiver::take);
        let piece = std::mem::replace(bytes, spare.unwrap_or_default());
        match self.pieces.as_ref().map(|pieces| pieces.send(piece)) {
            Some(Ok(())) => Ok(()),
            // The thread has ended because of a failure, or the wait was interrupted.
            _ => Err(self.join().err().unwrap_or(Error::Busy)),
        }
    }

    /// Waits until everything is written. An interrupted wait cancels the thread's work.
    fn join(&mut self) -> Result<Box<dyn Upload>, Error> {
        let (pieces, ended, thread) = (self.pieces.take(), self.ended.take(), self.thread.take());
        if !self.owner.is_current() {
            // The thread belongs to the parent: a wait for it, or for a lock that it shares, would never end.
            let _ = ManuallyDrop::new((pieces, self.spare.take(), ended, thread));
            return Err(Error::Forked);
        }
        drop(pieces);
        let thread = thread.ok_or_else(failed_before)?;
        if interrupt::interval().is_some() {
            let _: Option<()> = ended.as_ref().and_then(Receiver::receive);
            if interrupt::was_interrupted() {
                self.cancellation.cancel();
            }
        }
        thread.join().unwrap_or_else(|_| Err(Error::Internal("the writing thread panicked".into())))
    }
}

/// When this returns, an unfinished upload has been removed.
impl Drop for WriterThread {
    fn drop(&mut self) {
        self.cancellation.cancel();
        let _ = self.join();
    }
}

fn failed_before() -> Error {
    Error::InvalidArgument("an earlier write of this record failed: start it again".into())
}
