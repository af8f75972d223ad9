//! Password files of `libpq`: lines `host:port:database:user:password`, in which `*` stands for anything.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::Host;
use zeroize::Zeroizing;

use super::environment;
use crate::storage::Error;
use crate::util::trusted_file::read_checked;

/// The most bytes of a file.
const MAX_LEN: usize = 1 << 20;
/// The default folder of Unix sockets. Its host is `localhost` in password files.
pub(super) const SOCKETS: &str = "/var/run/postgresql";

/// The password for the first host of `config` that has one: from the file of the URL, that of `PGPASSFILE`, or
/// `~/.pgpass`. The client sends the same password to all hosts.
pub(super) fn find(config: &Config, given: Option<&Path>) -> Result<Option<Zeroizing<String>>, Error> {
    let named = given.map(Path::to_path_buf).or_else(|| environment::variable("PGPASSFILE").map(PathBuf::from));
    let (path, must_exist) = match (named, environment::home()) {
        (Some(path), _) => (path, true),
        (None, Some(home)) => (home.join(".pgpass"), false),
        (None, None) => return Ok(None),
    };
    let content = match File::open(&path) {
        Err(error) if is_absent(&error) && !must_exist => return Ok(None),
        opened => opened.and_then(|file| read(&path, file)).map_err(|error| unusable(&path, &error.to_string()))?,
    };
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    Ok(servers(config).iter().find_map(|(host, port)| {
        let wanted = [host.as_str(), port, database, user];
        content.lines().find_map(|line| password(line, &wanted))
    }))
}

/// The hosts and ports under which `libpq` looks for a password.
fn servers(config: &Config) -> Vec<(String, String)> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let host = |n: usize| match (hosts.get(n), addresses.get(n)) {
        (Some(Host::Tcp(name)), _) => name.clone(),
        #[cfg(unix)]
        (Some(Host::Unix(folder)), _) if folder != Path::new(SOCKETS) => folder.display().to_string(),
        (None, Some(address)) => address.to_string(),
        _ => "localhost".to_owned(),
    };
    let port = |n: usize| ports.get(n).or(ports.first()).copied().unwrap_or(5432).to_string();
    (0..hosts.len().max(addresses.len())).map(|n| (host(n), port(n))).collect()
}

/// Whether a file of the home folder counts as absent, as for `libpq`: a service may have the home `/dev/null`, or no
/// right to read its own.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied)
}

fn read(path: &Path, file: File) -> io::Result<Zeroizing<String>> {
    let text = read_checked("the password file", path, file, None, MAX_LEN)?;
    let text = str::from_utf8(&text).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn unusable(path: &Path, why: &str) -> Error {
    Error::InvalidArgument(format!("the password file {} cannot be used: {why}", path.display()).into())
}

/// The password of a line, if its other fields match.
fn password(line: &str, wanted: &[&str; 4]) -> Option<Zeroizing<String>> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = fields(line).into_iter();
    let matches = wanted.iter().all(|wanted| fields.next().is_some_and(|field| *field == "*" || *field == *wanted));
    fields.next().filter(|_| matches)
}

/// The fields of a line. A backslash escapes a colon or a backslash.
fn fields(line: &str) -> Vec<Zeroizing<String>> {
    let mut fields = vec![Zeroizing::new(String::new())];
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            ':' if fields.len() < 5 => fields.push(Zeroizing::new(String::new())),
            char => {
                let char = if char == '\\' { chars.next().unwrap_or(char) } else { char };
                fields.last_mut().into_iter().for_each(|field| field.push(char));
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_home_folder_may_be_out_of_reach() {
        for kind in [ErrorKind::NotFound, ErrorKind::NotADirectory, ErrorKind::PermissionDenied] {
            assert!(is_absent(&kind.into()), "{kind}");
        }
        assert!(!is_absent(&ErrorKind::IsADirectory.into()));
        let named = Path::new("/dev/null/.pgpass");
        assert!(matches!(find(&Config::new(), Some(named)), Err(Error::InvalidArgument(_))));
    }

    #[cfg(unix)]
    #[test]
    fn each_host_is_looked_up_with_its_port() {
        use std::io::Write;

        let mut file = tempfile::NamedTempFile::new().unwrap(); // only its owner may read it
        for host in ["two", "three:7", "10.0.0.1", "2001\\:db8\\:\\:1", "/run/sockets", "localhost"] {
            let (host, port) = host.rsplit_once(":7").map_or((host, "5432"), |(host, _)| (host, "7"));
            writeln!(file, "{host}:{port}:db:app:{}", host.replace('\\', "")).unwrap();
        }
        let found = |url: &str| {
            let config: Config = format!("postgres://app@{url}").parse().unwrap();
            find(&config, Some(file.path())).unwrap().map(|password| password.to_string())
        };
        for (url, expected) in [
            ("one,two/db", "two"),
            ("three,two/db", "two"),
            ("one:5432,three:7/db", "three"),
            ("two:5,three:7,two:5432/db", "three"),
            ("three,one/db", ""),
            ("/db?hostaddr=10.0.0.1", "10.0.0.1"),
            ("/db?hostaddr=10.0.0.9,2001:db8::1", "2001:db8::1"),
            ("two/db?hostaddr=10.0.0.1", "two"),
            ("%2Frun%2Fsockets/db", "/run/sockets"),
            ("%2Frun%2Fothers/db", ""),
            ("%2Fvar%2Frun%2Fpostgresql/db", "localhost"),
        ] {
            assert_eq!(found(url).unwrap_or_default(), expected, "{url}");
        }
    }

    #[test]
    fn a_line_matches_all_four_fields() {
        let wanted = ["db.example", "5432", "records", "app"];
        let found = |line| password(line, &wanted).map(|password| password.to_string());
        for line in ["db.example:5432:records:app:pass", "*:*:*:*:pass", "*:5432:*:app:pass"] {
            assert_eq!(found(line).as_deref(), Some("pass"), "{line}");
        }
        assert_eq!(found(r"*:*:*:*:a\:b\\c:d").as_deref(), Some(r"a:b\c:d"));
        for line in ["# *:*:*:*:pass", "other:*:*:*:pass", "*:*:*:other:pass", "*:*:*:app", ""] {
            assert_eq!(found(line), None, "{line}");
        }
    }
}
