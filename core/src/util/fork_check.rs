//! Fork checks: threads, file locks and random states belong to the process that made them.

use std::mem::ManuallyDrop;

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

/// A value that only the process that made it uses and drops. For a forked child, a thread of the parent may have held
/// its locks at the fork, and its drop could close what the parent still uses.
pub(crate) struct ProcessOwned<T> {
    /// `None` only during the drop.
    value: Option<T>,
    owner: OwnerProcess,
}

impl<T> ProcessOwned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), owner: OwnerProcess::current() }
    }

    /// `None` in a forked child.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.owner.is_current())
    }

    /// As [`get`](Self::get).
    #[cfg(feature = "remote")]
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut().filter(|_| self.owner.is_current())
    }

    /// The value as a forked child sees it.
    #[cfg(test)]
    pub(crate) fn forked(mut self) -> Self {
        self.owner = self.owner.forked();
        self
    }
}

impl<T> Drop for ProcessOwned<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        if !self.owner.is_current() {
            let _ = ManuallyDrop::new(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_forked_child_neither_uses_nor_drops_the_value() {
        let value = Rc::new(7);
        let own = ProcessOwned::new(Rc::clone(&value));
        assert!(own.get().is_some());
        drop(own);
        assert_eq!(Rc::strong_count(&value), 1, "the process itself drops it");
        let parents = ProcessOwned::new(Rc::clone(&value)).forked();
        assert!(parents.get().is_none());
        drop(parents);
        assert_eq!(Rc::strong_count(&value), 2);
    }
}
