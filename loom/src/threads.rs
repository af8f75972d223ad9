//! The threads of loom, in place of the library's.

use std::io;

pub(crate) use loom::thread::JoinHandle;

pub(crate) fn spawn<T: Send + 'static>(
    _name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Ok(loom::thread::spawn(work))
}
