//! Fork checks: threads, file locks and random states belong to the process that made them.

/// The process that made a value. A forked child is another process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnerProcess(u32);

impl OwnerProcess {
    pub(crate) fn current() -> Self {
        Self(std::process::id())
    }

    /// Whether this is still that process, not a forked child.
    pub(crate) fn is_current(self) -> bool {
        std::process::id() == self.0
    }

    /// The value as a forked child sees it: that of another process.
    #[cfg(test)]
    pub(crate) fn forked(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}
