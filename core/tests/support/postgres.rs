//! PostgreSQL servers for tests: one that all tests of a run share, and some of their own.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::panic, reason = "tests")]

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::shared_server::{SharedServer, free_port, hash, no_server};
use crate::support::wait::{DEADLINE, WaitWithin, poll_within};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/support/postgres.sh");

const PORTS: Range<u16> = 20_000..30_000;

fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(SCRIPT);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A server, which ends with this process, or a while after the last test.
pub(crate) struct Postgres {
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
    _shared: Option<SharedServer>,
}

impl Postgres {
    /// The server of all tests.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| {
            let name = format!("postgres-{}", hash(&(SCRIPT, std::env::var_os("STRONGROOM_TEST_POSTGRES"))));
            let server = SharedServer::start(&name, SCRIPT, &["shared"], PORTS, 1);
            Self { folder: server.folder.clone(), port: server.port, child: None, _shared: Some(server) }
        })
    }

    /// A server of its own, whose data is in `folder`.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::init(folder, &[])
    }

    /// The same with its write-ahead log in another folder, which does not exist.
    pub(crate) fn start_with_log(folder: &Path, log: &Path) -> Self {
        Self::init(folder, &[log.to_str().unwrap()])
    }

    fn init(folder: &Path, arguments: &[&str]) -> Self {
        let arguments = [&["init", folder.to_str().unwrap()], arguments].concat();
        assert!(script(&arguments).spawn().unwrap().wait_within(DEADLINE).success());
        let mut server = Self { folder: folder.to_path_buf(), port: free_port(PORTS, 1), child: None, _shared: None };
        server.restart();
        server
    }

    /// A standby of `primary`, whose commits wait for it from now on.
    pub(crate) fn start_standby(folder: &Path, primary: &Self) -> Self {
        let (folder, port) = (folder.to_path_buf(), free_port(PORTS, 1));
        let mut server = Self { folder, port, child: None, _shared: None };
        server.follow(primary);
        server
    }

    /// Starts the server anew as the standby of `primary`.
    pub(crate) fn follow(&mut self, primary: &Self) {
        let (folder, port) = (primary.folder.join("data"), primary.port.to_string());
        let arguments = ["standby", self.folder.to_str().unwrap(), folder.to_str().unwrap(), &port];
        let copied = script(&arguments).spawn().unwrap().wait_within(DEADLINE).success();
        assert!(copied, "{}", fs::read_to_string(self.folder.join("log")).unwrap_or_default());
        self.restart();
        primary.set_synchronous_standbys("*");
        let attached = || (primary.sql("SELECT sync_state FROM pg_stat_replication") == "sync").then_some(());
        poll_within(DEADLINE, attached).unwrap_or_else(|| no_server(&self.folder));
    }

    /// Makes the standby the primary server, which waits for no standby.
    pub(crate) fn promote(&self) {
        self.set_synchronous_standbys("");
        assert_eq!(self.sql("SELECT pg_promote()"), "t");
    }

    pub(crate) fn set_synchronous_standbys(&self, names: &str) {
        self.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
        self.sql("SELECT pg_reload_conf()");
    }

    /// Starts the server of its own again, after [`kill`](Self::kill).
    pub(crate) fn restart(&mut self) {
        let run = |server: &Self| script(&["run", server.folder.to_str().unwrap(), &server.port.to_string()]).spawn();
        let accepts = || {
            // It ends at once while children of the killed server still run.
            if self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some()) {
                let _ = fs::remove_file(self.folder.join("data/postmaster.pid"));
                self.child = Some(run(self).unwrap());
            }
            self.psql_status().then_some(())
        };
        poll_within(Duration::from_secs(60), accepts).unwrap_or_else(|| no_server(&self.folder));
    }

    /// Turns TLS on, with this certificate and key.
    pub(crate) fn use_certificate(&self, certificate: &str, key: &str) {
        for (name, content) in [("server.crt", certificate), ("server.key", key)] {
            let program = format!("cat > \"{}\"", self.folder.join("data").join(name).display());
            let lines = content.lines().collect::<Vec<_>>().join("','");
            // By the server, so that the files belong to its user.
            self.sql(&format!("COPY (SELECT unnest(ARRAY['{lines}'])) TO PROGRAM 'umask 077; {program}'"));
        }
        self.sql("ALTER SYSTEM SET ssl = on");
        self.sql("SELECT pg_reload_conf()");
        let is_on = || (self.sql("SHOW ssl") == "on").then_some(());
        poll_within(DEADLINE, is_on).unwrap_or_else(|| no_server(&self.folder));
    }

    /// Kills the server as a crash of the machine would end it.
    pub(crate) fn kill(&mut self) {
        let postmaster = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = postmaster.lines().next() {
            // Its children end when they notice.
            let _ = Command::new("kill").args(["-KILL", pid]).status();
        }
        if let Some(mut child) = self.child.take() {
            child.wait_within(DEADLINE);
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The path of the Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join(format!("data/.s.PGSQL.{}", self.port))
    }

    /// The Unix socket as the host of a URL.
    pub(crate) fn host(&self) -> String {
        format!("{}:{}", self.folder.join("data").to_str().unwrap().replace('/', "%2F"), self.port)
    }

    /// The URL of the database, with tables in this schema, by the Unix socket.
    pub(crate) fn url(&self, schema: &str) -> String {
        format!("postgres://strongroom@{}/postgres?schema={schema}", self.host())
    }

    /// The same, with a schema for this folder.
    pub(crate) fn url_for(&self, folder: &Path) -> String {
        self.url(&schema_of(folder))
    }

    /// Runs SQL, and returns the values that it prints.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let output = self.psql(sql).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = output.output_within(DEADLINE);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn psql(&self, sql: &str) -> Command {
        let mut command = Command::new("psql");
        let socket = self.folder.join("data");
        command.args(["-h", socket.to_str().unwrap(), "-p", &self.port.to_string()]);
        command.args(["-U", "strongroom", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-qAtXc", sql]);
        command.stdin(Stdio::null());
        command
    }

    fn psql_status(&self) -> bool {
        let command = self.psql("SELECT 1").stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        command.unwrap().wait_within(DEADLINE).success()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// The schema of the tests in this folder.
pub(crate) fn schema_of(folder: &Path) -> String {
    format!("test_{}", hash(&folder))
}
