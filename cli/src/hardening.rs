//! Protection of the process's memory: no core dumps, no debuggers, private new files.

use crate::failure::Failure;

/// Disables core dumps and debuggers of the same user, and makes new files private.
#[cfg(unix)]
pub(crate) fn harden() -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, setrlimit, umask};

    let failed = |error: rustix::io::Errno| Failure::io("cannot protect the process")(error.into());
    umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(failed)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).map_err(failed)?;
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn harden() -> Result<(), Failure> {
    Ok(())
}

/// Raises the limit on open files to the maximum, because each connection is one.
#[cfg(all(unix, feature = "server"))]
pub(crate) fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }); // the old limit is also sufficient
}

#[cfg(all(not(unix), feature = "server"))]
pub(crate) fn allow_many_files() {}
