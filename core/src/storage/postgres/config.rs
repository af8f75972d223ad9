//! The URL of a PostgreSQL database, with the options of `libpq`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(unix)]
use nix::unistd::{User, geteuid};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use zeroize::Zeroizing;

use super::{environment, password_file, service_file, tls};
use crate::endpoint_options::EndpointOptions;
use crate::storage::{Durability, Error};

/// The default time limit of a call, and the longest.
const TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
const SCHEMA: &str = "strongroom";

/// A PostgreSQL database, and how to connect to it.
///
/// The URL is that of `libpq`: `postgres://app@db.example/records`. Its options `user`, `host`, `port`, `dbname`,
/// `application_name`, `connect_timeout`, `target_session_attrs`, `channel_binding`, `passfile`, `sslrootcert`,
/// `sslcert`, `sslkey` and those of TCP have their usual meaning; several hosts are tried in their order. These differ:
///
/// - `sslmode`: TLS always checks the server's certificate and name (`verify-full`). It is required, except for
///   loopback addresses, which use it only if the URL says so. Unix sockets never use it.
/// - `connect_timeout` limits a whole connect, with TLS and the password, to one address of a host: 10 seconds by
///   default. An address has less time if others remain to be tried.
/// - `target_session_attrs` is `read-write` by default.
/// - `schema`: the schema of the tables, `strongroom` by default.
/// - A password in the URL is refused, because URLs end up in logs and in lists of processes. The first of these
///   gives it: the service file, the file of `passfile`, the variable `PGPASSWORD`, the file of the variable
///   `PGPASSFILE`, `~/.pgpass`.
///
/// `postgres://?service=NAME` takes the options of a section of a service file (`PGSERVICEFILE`, `~/.pg_service.conf`,
/// or `pg_service.conf` in `PGSYSCONFDIR`). Those of the URL replace them; a host in the URL also replaces the port.
///
/// ```
/// use strongroom::storage::PostgresConfig;
///
/// let config = PostgresConfig::new("postgres://app@db1.example,db2.example/records?passfile=/run/secrets/pgpass")?;
/// # Ok::<(), strongroom::storage::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a configuration does nothing until it is opened"]
pub struct PostgresConfig {
    /// As it was given, for messages: without a password.
    url: String,
    config: Box<Config>,
    pub(super) schema: String,
    pub(super) timeout: Duration,
    pub(super) durability: Durability,
    tls: tls::Files,
    password: Option<Arc<Zeroizing<String>>>,
    password_file: Option<PathBuf>,
}

impl PostgresConfig {
    /// The database with this URL. Files are read when it is opened, except for a service file.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the URL is invalid, contains a password, or turns TLS off for a remote host, and
    /// if there is no such service.
    pub fn new(url: &str) -> Result<Self, Error> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let has_scheme = ["postgres://", "postgresql://"].into_iter().find_map(|scheme| base.strip_prefix(scheme));
        let Some(authority) = has_scheme.map(|rest| rest.split('/').next().unwrap_or_default()) else {
            return Err(invalid("the URL does not begin with postgres://"));
        };
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        if user.contains(':') {
            return Err(password_in_url());
        }
        let mut own = Own::default();
        let (mut names, mut rest) = (Vec::new(), Vec::new());
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').ok_or_else(|| invalid("an option of the URL has no value"))?;
            names.push(name);
            match name {
                "host" | "port" if !hosts.is_empty() => {
                    return Err(invalid(
                        "it names hosts or ports before the `?` and behind it: name them in one place",
                    ));
                }
                "host" => rest.extend(host_options(&decoded(value)?)),
                _ if own.take(name, value)? => {}
                _ => rest.push(option.to_owned()),
            }
        }
        let mut config = parse(base, &rest)?;
        if config.get_password().is_some() {
            return Err(password_in_url());
        }
        let mut password = None;
        if let Some(service) = own.service.take().or_else(|| environment::text("PGSERVICE")) {
            for (name, value) in service_file::find(&service)? {
                let is_given = names.contains(&name.as_str()) || gives(&config, &name);
                match name.as_str() {
                    _ if is_given => {}
                    "password" => password = Some(Arc::new(value)),
                    "host" => rest.extend(host_options(&value)),
                    _ if own.take(&name, &encode(&value))? => {}
                    _ => rest.push(format!("{name}={}", encode(&value))),
                }
            }
            config = parse(base, &rest)?;
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host(password_file::SOCKETS);
        }
        check_counts(&config)?;
        config.ssl_mode(if own.uses_tls(&config)? { SslMode::Require } else { SslMode::Disable });
        if config.get_application_name().is_none() {
            config.application_name("strongroom");
        }
        if !rest.iter().any(|option| option.starts_with("target_session_attrs=")) {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let client = match (own.certificate, own.key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(invalid("sslcert needs sslkey, and sslkey needs sslcert")),
        };
        Ok(Self {
            url: url.to_owned(),
            config: Box::new(config),
            schema: own.schema.unwrap_or_else(|| SCHEMA.to_owned()),
            timeout: TIMEOUT,
            durability: Durability::Full,
            tls: tls::Files { authorities: own.authorities, client },
            password,
            password_file: own.password_file,
        })
    }

    /// Sets all options in one call, for interfaces that get them together: the time limit, the authorities, and the
    /// client's certificate with its key.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for other options, and for a certificate without its key.
    pub fn with_options(mut self, options: EndpointOptions) -> Result<Self, Error> {
        if options.token.is_some() || options.token_file.is_some() {
            return Err(invalid("PostgreSQL has no tokens: give the password in a password file"));
        }
        if options.revocations.is_some() {
            return Err(invalid("revocation lists are not supported for PostgreSQL"));
        }
        match (options.client_certificate, options.client_key) {
            (Some(certificate), Some(key)) => self.tls.client = Some((certificate, key)),
            (None, None) => {}
            _ => return Err(invalid("give the client certificate together with its private key")),
        }
        self.tls.authorities = options.authorities.or(self.tls.authorities);
        match options.timeout {
            Some(timeout) if timeout.is_zero() => Err(invalid("the time limit must be above 0")),
            Some(timeout) => Ok(self.timeout(timeout)),
            None => Ok(self),
        }
    }

    /// The password.
    pub fn password(mut self, password: impl Into<Zeroizing<String>>) -> Self {
        self.password = Some(Arc::new(password.into()));
        self
    }

    /// The time limit of a call, including all retries: 30 seconds by default, a day at most. A third of it is the
    /// limit of one attempt. Calls that read all rows have more time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    /// The durability of writes. With [`Durability::Relaxed`], settings of the server that lose writes at a crash are
    /// accepted: `fsync`, `full_page_writes` or `synchronous_commit` off.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The configuration of connections to each host, with the password and the TLS that the files give.
    pub(super) fn prepare(&self) -> Result<(Vec<Config>, Option<tokio_postgres_rustls::MakeRustlsConnect>), Error> {
        let mut config = Config::clone(&self.config);
        if config.get_user().is_none() {
            config.user(environment::text("PGUSER").map_or_else(system_user, Ok)?);
        }
        let given = || environment::text("PGPASSWORD").map(Zeroizing::new);
        let found = match &self.password {
            Some(password) => Some(Zeroizing::clone(password)),
            None if self.password_file.is_some() => password_file::find(&config, self.password_file.as_deref())?,
            None => given().map_or_else(|| password_file::find(&config, None), |password| Ok(Some(password)))?,
        };
        if let Some(password) = found {
            config.password(password.as_bytes());
        }
        let attempt = self.timeout / super::ATTEMPTS;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(attempt.min(Duration::from_secs(10)));
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(attempt.max(Duration::from_secs(1)));
        }
        let hosts = split(&config);
        let uses_tls = hosts.iter().any(|host| host.get_ssl_mode() == SslMode::Require);
        let tls = if uses_tls { Some(tls::connector(&self.tls)?) } else { None };
        Ok((hosts, tls))
    }
}

/// So that a lost connection is noticed soon; options of the URL come later, and replace these.
const KEEPALIVES: &str = "keepalives_idle=15&keepalives_interval=5&keepalives_retries=3";

fn parse(base: &str, options: &[String]) -> Result<Config, Error> {
    let config = format!("{base}?{KEEPALIVES}&{}", options.join("&")).parse::<Config>();
    // The cause names the option, but shows no value.
    config.map_err(|error| invalid(&super::error::text(&error)))
}

/// The parser takes one host from each option.
fn host_options(hosts: &str) -> impl Iterator<Item = String> {
    hosts.split(',').map(|host| format!("host={}", encode(host)))
}

/// Whether the URL gives this option before its `?`.
fn gives(config: &Config, name: &str) -> bool {
    match name {
        "user" => config.get_user().is_some(),
        "dbname" => config.get_dbname().is_some(),
        "host" | "hostaddr" | "port" => !config.get_hosts().is_empty() || !config.get_hostaddrs().is_empty(),
        _ => false,
    }
}

/// As many addresses as hosts, and one port or as many.
fn check_counts(config: &Config) -> Result<(), Error> {
    let (hosts, addresses, ports) = (config.get_hosts().len(), config.get_hostaddrs().len(), config.get_ports().len());
    if hosts > 0 && addresses > 0 && hosts != addresses {
        return Err(invalid(&format!("it has {hosts} hosts, but {addresses} addresses in hostaddr")));
    }
    let hosts = hosts.max(addresses);
    if ports > 1 && ports != hosts {
        return Err(invalid(&format!("it has {hosts} hosts, but {ports} ports")));
    }
    Ok(())
}

/// The configuration of each host. PostgreSQL has no TLS on Unix sockets.
fn split(config: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let one = |n: usize| {
        let mut one = without_hosts(config);
        match hosts.get(n) {
            Some(Host::Tcp(name)) => drop(one.host(name)),
            #[cfg(unix)]
            Some(Host::Unix(folder)) => {
                one.host_path(folder);
                if addresses.is_empty() {
                    one.ssl_mode(SslMode::Disable);
                }
            }
            None => {}
        }
        addresses.get(n).map(|address| one.hostaddr(*address));
        ports.get(n).or(ports.first()).map(|port| one.port(*port));
        one
    };
    (0..hosts.len().max(addresses.len())).map(one).collect()
}

fn without_hosts(config: &Config) -> Config {
    let mut copy = Config::new();
    config.get_user().map(|user| copy.user(user));
    config.get_password().map(|password| copy.password(password));
    config.get_dbname().map(|name| copy.dbname(name));
    config.get_options().map(|options| copy.options(options));
    config.get_application_name().map(|name| copy.application_name(name));
    config.get_connect_timeout().map(|time| copy.connect_timeout(*time));
    config.get_tcp_user_timeout().map(|time| copy.tcp_user_timeout(*time));
    config.get_keepalives_interval().map(|time| copy.keepalives_interval(time));
    config.get_keepalives_retries().map(|count| copy.keepalives_retries(count));
    copy.keepalives(config.get_keepalives()).keepalives_idle(config.get_keepalives_idle());
    copy.ssl_mode(config.get_ssl_mode()).ssl_negotiation(config.get_ssl_negotiation());
    copy.target_session_attrs(config.get_target_session_attrs()).channel_binding(config.get_channel_binding());
    copy.load_balance_hosts(config.get_load_balance_hosts());
    copy
}

/// The name of the system's user, as `libpq` uses it.
fn system_user() -> Result<String, Error> {
    #[cfg(unix)]
    let name = User::from_uid(geteuid()).ok().flatten().map(|user| user.name);
    #[cfg(not(unix))]
    let name = environment::text("USERNAME");
    name.ok_or_else(|| invalid("it names no user, and the system's user has no name: name a user in the URL"))
}

/// The options that are not passed on.
#[derive(Default)]
struct Own {
    ssl_mode: Option<String>,
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    password_file: Option<PathBuf>,
    schema: Option<String>,
    service: Option<String>,
}

impl Own {
    /// Takes an option; `false` if it is one of the client's.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, Error> {
        match name {
            "password" => return Err(password_in_url()),
            "sslmode" => self.ssl_mode = Some(decoded(value)?),
            "sslrootcert" => {
                self.authorities = Some(decoded(value)?.into()).filter(|path: &PathBuf| path.as_os_str() != "system");
            }
            "sslcert" => self.certificate = Some(decoded(value)?.into()),
            "sslkey" => self.key = Some(decoded(value)?.into()),
            "passfile" => self.password_file = Some(decoded(value)?.into()),
            "service" => self.service = Some(decoded(value)?),
            "schema" => {
                let schema = decoded(value)?;
                let is_valid = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
                if schema.is_empty() || schema.len() > 63 || !schema.chars().all(is_valid) || schema.starts_with("pg_")
                {
                    return Err(invalid("a schema's name has 1 to 63 lower-case letters, digits and underscores"));
                }
                self.schema = Some(schema);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn uses_tls(&self, config: &Config) -> Result<bool, Error> {
        let is_local = is_local(config);
        match self.ssl_mode.as_deref() {
            None => Ok(!is_local),
            Some("require" | "verify-ca" | "verify-full") => Ok(true),
            Some("disable") if is_local => Ok(false),
            Some("disable" | "allow" | "prefer") if !is_local => {
                Err(invalid("PostgreSQL on another host needs TLS: use sslmode=verify-full, or leave sslmode out"))
            }
            Some(_) => Err(invalid("sslmode is disable, require, verify-ca or verify-full")),
        }
    }
}

/// Whether all hosts are Unix sockets or loopback addresses.
fn is_local(config: &Config) -> bool {
    let is_loopback = |host: &Host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    };
    config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
        && (!config.get_hostaddrs().is_empty() || config.get_hosts().iter().all(is_loopback))
}

fn decoded(value: &str) -> Result<String, Error> {
    decode(value).ok_or_else(|| invalid("an option of the URL is not valid UTF-8"))
}

/// Percent-decodes the value of an option.
fn decode(value: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            decoded.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// Percent-encodes the value of an option.
fn encode(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    value.bytes().map(|byte| if is_plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") }).collect()
}

fn invalid(text: &str) -> Error {
    Error::InvalidArgument(format!("the PostgreSQL URL is invalid: {text}").into())
}

fn password_in_url() -> Error {
    invalid(
        "it contains a password, which lists of processes and logs would show. Give the password in ~/.pgpass, in the \
         file of the URL's option passfile, or in the variable PGPASSWORD",
    )
}

/// The URL, which never contains a password.
impl fmt::Display for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig").field("url", &self.url).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_required_off_this_machine() {
        let modes = |url: &str| PostgresConfig::new(url).map(|config| modes(&config));
        let uses_tls = |url: &str| modes(url).map(|modes| modes == [SslMode::Require]);
        for url in ["postgres://u@localhost/db", "postgresql://[::1]:5433"] {
            assert!(!uses_tls(url).unwrap(), "{url}");
            let url = format!("{url}?sslmode=verify-full");
            assert!(uses_tls(&url).unwrap(), "{url}");
        }
        for url in [
            "postgres://db.example/db",
            "postgres://localhost/db?hostaddr=10.0.0.1",
            "postgres://%2Frun/db?hostaddr=10.0.0.1",
            "postgres:///db?hostaddr=10.0.0.1",
            "postgres://u@10.0.0.1",
        ] {
            assert!(uses_tls(url).unwrap(), "{url}");
        }
        for mode in ["disable", "allow", "prefer", "none"] {
            let error = uses_tls(&format!("postgres://db.example/db?sslmode={mode}")).unwrap_err();
            assert!(error.to_string().contains("sslmode"), "{error}");
        }
        assert_eq!(modes("postgres://localhost,db.example/db").unwrap(), [SslMode::Require; 2]);
    }

    fn modes(config: &PostgresConfig) -> Vec<SslMode> {
        split(&config.config).iter().map(Config::get_ssl_mode).collect()
    }

    #[cfg(unix)]
    #[test]
    fn unix_sockets_have_no_tls() {
        for (url, expected) in [
            ("postgres:///db", &[SslMode::Disable][..]),
            ("postgres:///db?sslmode=verify-full", &[SslMode::Disable]),
            ("postgres://%2Frun/db?sslmode=require", &[SslMode::Disable]),
            ("postgres://%2Frun,db.example/db", &[SslMode::Disable, SslMode::Require]),
            ("postgres://localhost,%2Frun/db?sslmode=require", &[SslMode::Require, SslMode::Disable]),
        ] {
            assert_eq!(modes(&PostgresConfig::new(url).unwrap()), expected, "{url}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn options_name_several_hosts() {
        let hosts = |url: &str| PostgresConfig::new(url).unwrap().config.get_hosts().to_vec();
        let expected = [Host::Tcp("one".into()), Host::Unix("/run/db".into())];
        for url in ["postgres:///db?host=one,/run/db", "postgres://app@/db?host=one%2c%2Frun%2fdb&port=1,2"] {
            assert_eq!(hosts(url), expected, "{url}");
        }
        assert_eq!(hosts("postgres:///db?host=one&host=%2Frun%2Fdb"), expected);
    }

    #[test]
    fn keepalives_are_those_of_the_url() {
        let seconds = |url: &str| {
            let config = PostgresConfig::new(url).unwrap().config;
            let interval = config.get_keepalives_interval().map(|time| time.as_secs());
            (config.get_keepalives_idle().as_secs(), interval, config.get_keepalives_retries())
        };
        assert_eq!(seconds("postgres://localhost/db"), (15, Some(5), Some(3)));
        assert_eq!(seconds("postgres://localhost/db?keepalives_idle=60&keepalives_retries=9"), (60, Some(5), Some(9)));
    }

    #[test]
    fn each_host_has_all_options() {
        let options = "options=-c%20a%3Db&application_name=a&sslnegotiation=direct&connect_timeout=1&tcp_user_timeout=2\
                       &keepalives=0&keepalives_idle=3&keepalives_interval=4&keepalives_retries=5\
                       &target_session_attrs=read-only&channel_binding=require&load_balance_hosts=random&hostaddr=";
        let parse = |hosts: &str, addresses: &str| {
            let url = format!("postgres://app:s3cret@{hosts}/db?{options}{addresses}");
            url.parse::<Config>().unwrap()
        };
        let hosts = [parse("one:1", "10.0.0.1"), parse("two:2", "10.0.0.2")];
        assert!(split(&parse("one:1,two:2", "10.0.0.1,10.0.0.2")) == hosts);
    }

    #[test]
    fn a_wrong_mode_of_tls_gets_its_own_reason() {
        for (host, mode, remedy) in [
            ("localhost", "prefer", "sslmode is disable"),
            ("%2Frun", "allow", "sslmode is disable"),
            ("127.0.0.1", "none", "sslmode is disable"),
            ("db.example", "none", "sslmode is disable"),
            ("db.example", "prefer", "on another host needs TLS"),
            ("db.example", "disable", "on another host needs TLS"),
        ] {
            let error = PostgresConfig::new(&format!("postgres://{host}/db?sslmode={mode}")).unwrap_err().to_string();
            assert!(error.contains(remedy), "{host} {mode}: {error}");
        }
    }

    #[test]
    fn passwords_in_urls_are_refused_and_never_shown() {
        for url in [
            "postgres://app:s3cret@db.example/db",
            "postgres://app@db.example/db?password=s3cret",
            "postgres://app@db.example/db?pass%77ord=s3cret",
        ] {
            let error = PostgresConfig::new(url).unwrap_err().to_string();
            assert!(error.contains("passfile") && !error.contains("s3cret"), "{error}");
        }
        let config = PostgresConfig::new("postgres://app@db.example/db").unwrap().password("s3cret".to_owned());
        let shown = format!("{config:?} {config}");
        assert!(!shown.contains("s3cret") && shown.contains("db.example"), "{shown}");
    }

    #[test]
    fn options_are_checked() {
        let config = PostgresConfig::new("postgres://h/db?schema=one_2&connect_timeout=3").unwrap();
        assert_eq!(config.schema, "one_2");
        assert_eq!(config.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        for url in [
            "postgres://h/db?schema=a\"b",
            "postgres://h/db?schema=",
            "postgres://h/db?schema=pg_catalog",
            "postgres://h/db?colour=red",
            "postgres://h/db?sslcert=x",
            "postgres://h:port/db",
            "postgres://h,i,j/db?hostaddr=10.0.0.1,10.0.0.2",
            "postgres:///db?host=h&host=i&host=j&port=1,2",
            "postgres://h/db?host=i",
            "postgres://app@h,i/db?port=5433",
            "postgres://h/db?x",
            "postgres://h/db?passfile=%f",
            "mysql://h",
        ] {
            assert!(matches!(PostgresConfig::new(url), Err(Error::InvalidArgument(_))), "{url}");
        }
    }
}
