//! What the services use of the modules for files and streams.

pub(crate) use crate::new_file::sync_folder_of;
pub(crate) use crate::streams::print;
