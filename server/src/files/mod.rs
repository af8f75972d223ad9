//! The files that a configuration names: their kinds, and how they are read.

pub(crate) mod checked;
pub(crate) mod kind;

use std::path::Path;

/// The folder of the file.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether both paths lead to one file, under any name, even if it does not exist yet.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    let identity = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        path.metadata().map(|found| (found.dev(), found.ino())).ok()
    };
    #[cfg(not(unix))]
    let identity = |path: &Path| path.canonicalize().ok();
    match (identity(one), identity(other)) {
        (None, None) => {
            let folder = identity(folder_of(one));
            folder.is_some() && folder == identity(folder_of(other)) && one.file_name() == other.file_name()
        }
        (one, other) => one == other,
    }
}
