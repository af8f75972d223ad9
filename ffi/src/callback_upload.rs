//! A record that is written piece by piece by callbacks.

use std::ffi::c_void;
use std::fmt;
use std::sync::{Arc, PoisonError};

use ::strongroom::storage::{Error, HEAD_LEN, Upload};

use crate::callback_storage::{CallbackStorage, done, required};
use crate::sink::Effect::{Reads, Writes};
use crate::status::strongroom_status;

pub(crate) struct CallbackUpload {
    storage: Arc<CallbackStorage>,
    handle: *mut c_void,
    /// How its mode may refuse it.
    refusals: &'static [strongroom_status],
    len: u64,
}

// SAFETY: by the header, the callbacks may be called from any thread with a handle.
unsafe impl Send for CallbackUpload {}

impl CallbackUpload {
    /// The upload that the storage's callback started with this handle.
    pub(crate) fn new(
        storage: Arc<CallbackStorage>,
        handle: *mut c_void,
        refusals: &'static [strongroom_status],
    ) -> Self {
        Self { storage, handle, refusals, len: 0 }
    }
}

impl Upload for CallbackUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let callbacks = &self.storage.callbacks;
        let (_open, write) = (self.storage.enter()?, required(callbacks.upload_write)?);
        // SAFETY: as the header says.
        let status = unsafe { write(callbacks.context, self.handle, bytes.as_ptr().cast(), bytes.len()) };
        done("upload_write", Reads, &[], status)?;
        self.len = self.len.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        let callbacks = &self.storage.callbacks;
        let (_open, commit) = (self.storage.enter()?, required(callbacks.upload_commit)?);
        if self.len < HEAD_LEN as u64 {
            return Err(Error::InvalidArgument("a record must have at least 68 bytes".into()));
        }
        // SAFETY: as the header says.
        done("upload_commit", Writes, self.refusals, unsafe { commit(callbacks.context, self.handle) })
    }
}

impl Drop for CallbackUpload {
    fn drop(&mut self) {
        if self.storage.is_forked() {
            return;
        }
        let _open = self.storage.is_closed.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(free) = self.storage.callbacks.upload_free {
            // SAFETY: as the header says; nothing uses the handle any more.
            unsafe { free(self.storage.callbacks.context, self.handle) };
        }
    }
}

impl fmt::Debug for CallbackUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackUpload").field("bytes", &self.len).finish_non_exhaustive()
    }
}
