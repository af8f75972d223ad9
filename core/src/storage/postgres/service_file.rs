//! Service files of `libpq`: sections `[NAME]` with lines `option=value`.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::environment;
use super::password_file::is_absent;
use crate::storage::Error;
use crate::util::trusted_file::read_checked;

/// The most bytes of a file.
const MAX_LEN: usize = 1 << 20;
const NAME: &str = "pg_service.conf";
/// The folder of Debian's packages; `PGSYSCONFDIR` names another.
const SYSTEM: &str = "/etc/postgresql-common";

/// The names and values of a service's options.
pub(super) type Options = Vec<(String, Zeroizing<String>)>;

/// The options of a service: from the file of `PGSERVICEFILE` or `~/.pg_service.conf`, then from the system's file.
pub(super) fn find(service: &str) -> Result<Options, Error> {
    let named = environment::variable("PGSERVICEFILE").map(PathBuf::from);
    let own = named.clone().or_else(|| environment::home().map(|home| home.join(format!(".{NAME}"))));
    let system = environment::variable("PGSYSCONFDIR").map_or_else(|| PathBuf::from(SYSTEM), PathBuf::from).join(NAME);
    for path in own.into_iter().chain([system]) {
        let must_exist = named.as_ref() == Some(&path);
        if !must_exist && fs::metadata(&path).is_err_and(|error| is_absent(&error)) {
            continue;
        }
        match read(&path, service) {
            Ok(Some(options)) => return Ok(options),
            Ok(None) => {}
            Err(error) => {
                let text = format!("the service file {} cannot be used: {error}", path.display());
                return Err(Error::InvalidArgument(text.into()));
            }
        }
    }
    let text = format!(
        "no service file has the section [{service}]: add it to ~/.{NAME}, or name its file in the variable PGSERVICEFILE"
    );
    Err(Error::InvalidArgument(text.into()))
}

fn read(path: &Path, service: &str) -> io::Result<Option<Options>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > MAX_LEN as u64 {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is not a file of at most one MiB"));
    }
    let text = Zeroizing::new(fs::read_to_string(path)?);
    let has_password = |options: &Options| options.iter().any(|(name, _)| name == "password");
    let options = options_of(&text, service)?;
    if !options.as_ref().is_some_and(has_password) {
        return Ok(options);
    }
    let checked = read_checked("the service file, which has a password,", path, File::open(path)?, None, MAX_LEN)?;
    let text = str::from_utf8(&checked).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    options_of(text, service)
}

/// The options in the section of a service, if there is one.
fn options_of(text: &str, service: &str) -> io::Result<Option<Options>> {
    let header = format!("[{service}]");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut section = lines.skip_while(|line| *line != header);
    if section.next().is_none() {
        return Ok(None);
    }
    let options = section.take_while(|line| !line.starts_with('[')).map(|line| match line.split_once('=') {
        Some(("service", _)) | None => Err(io::Error::new(ErrorKind::InvalidData, "a line is not option=value")),
        Some((name, value)) => Ok((name.to_owned(), Zeroizing::new(value.to_owned()))),
    });
    options.collect::<io::Result<_>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_has_the_options_up_to_the_next() {
        let file =
            "# services\n[other]\nhost=other\n\n  [records] \n host=db.example\n# dbname=x\npassword=a=b c\n[last]\n";
        let options = |service| {
            let found = options_of(file, service).unwrap()?;
            Some(found.iter().map(|(name, value)| format!("{name}:{}", **value)).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(options("records").as_deref(), Some("host:db.example password:a=b c"));
        assert_eq!(options("last").as_deref(), Some(""));
        assert_eq!(options("record"), None);
        for line in ["host", "service=other", "ldap://host"] {
            assert!(options_of(&format!("[s]\n{line}"), "s").is_err(), "{line}");
        }
    }
}
