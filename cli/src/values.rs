//! Values of arguments: ids, namespaces and ranges. No type here has `Debug`, because ids must not be shown.

use std::ffi::OsString;

use strongroom::protocol::secret_text::looks_like_secret;
use zeroize::Zeroizing;

/// An id: the bytes of the argument or of a file.
#[derive(Clone)]
pub(crate) struct Id(Zeroizing<Vec<u8>>);

impl Id {
    pub(crate) fn new(id: OsString) -> Result<Self, &'static str> {
        Self::from_bytes(bytes(id)?)
    }

    /// Rejects a key that is given by mistake.
    pub(crate) fn from_bytes(id: Zeroizing<Vec<u8>>) -> Result<Self, &'static str> {
        if looks_like_secret(&id) { Err("this is a key, not an id") } else { Ok(Self(id)) }
    }
}

/// A namespace: the bytes of the argument.
#[derive(Clone)]
pub(crate) struct Namespace(Zeroizing<Vec<u8>>);

impl Namespace {
    pub(crate) fn new(name: OsString) -> Result<Self, &'static str> {
        match bytes(name)? {
            name if looks_like_secret(&name) => Err("this is a key, not a namespace"),
            name if name.len() > 255 => Err("a namespace has at most 255 bytes"),
            name => Ok(Self(name)),
        }
    }
}

impl AsRef<[u8]> for Namespace {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(unix)]
fn bytes(argument: OsString) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    use std::os::unix::ffi::OsStringExt;
    Ok(argument.into_vec().into())
}

#[cfg(not(unix))]
fn bytes(argument: OsString) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let text = argument.into_string().map_err(|_| "it must be Unicode text on this system")?;
    Ok(text.into_bytes().into())
}

/// The bytes from `start` to `end` (exclusive).
#[derive(Clone)]
pub(crate) struct ByteRange {
    start: u64,
    end: u64,
}

impl ByteRange {
    /// Parses `START..END`, `START..` or `..END`.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "a range is START..END, START.. or ..END, in bytes";
        let number = |text: &str, default| if text.is_empty() { Ok(default) } else { text.parse().map_err(|_| WRONG) };
        let (start, end) = text.split_once("..").ok_or(WRONG)?;
        let range = Self { start: number(start, 0)?, end: number(end, u64::MAX)? };
        if range.start > range.end { Err("the range ends before it starts") } else { Ok(range) }
    }

    /// The range, clipped to `len` bytes.
    pub(crate) fn within(&self, len: u64) -> (u64, u64) {
        let end = self.end.min(len);
        (self.start.min(end), end)
    }
}

impl AsRef<[u8]> for Id {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
