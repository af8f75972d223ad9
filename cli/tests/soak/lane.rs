//! A store with its services, each behind a proxy, and with its clients: encryption servers, and a storage service or
//! PostgreSQL behind them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use strongroom::{Endpoint, Strongroom};

use super::load::lock;
use crate::fake_s3::{ACCESS_KEY, BUCKET};
use crate::support::World;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Proxy, Target};
use crate::support::shared_server::{SharedServer, hash};
use crate::support::wait::{DEADLINE, WaitWithin, output, wait_for};

/// The time limit of a client's call; that of a server's call to the storage service is half of it.
const TIMEOUT: Duration = Duration::from_secs(6);

pub(crate) enum Backend {
    Sqlite,
    Postgres(Mutex<Postgres>),
    /// An object store, which is not killed because its objects are in memory.
    Objects(SharedServer),
}

/// A service that is started again whenever it ends.
pub(crate) struct Node {
    /// Its arguments without the store and the index keys.
    arguments: String,
    is_server: bool,
    child: Option<Child>,
}

impl Node {
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait_within(DEADLINE);
        }
    }
}

pub(crate) struct Lane {
    pub(crate) world: World,
    pub(crate) backend: Backend,
    pub(crate) nodes: Vec<Mutex<Node>>,
    /// In front of each service, and of the backend if it is a server.
    pub(crate) proxies: Vec<Proxy>,
    /// The number of the store: a restore makes another one.
    generation: AtomicU64,
    /// The files of the index key and, during a rotation, of the previous one.
    pub(crate) index_keys: Mutex<Vec<String>>,
}

const CONFIG: &str = "[purge]\ninterval_seconds = 3\n[maintenance]\ninterval_seconds = 20\n";

impl Lane {
    pub(crate) fn start(backend: impl FnOnce(&World) -> Backend) -> Self {
        let mut world = World::new();
        let backend = backend(&world);
        world.write("config.toml", CONFIG);
        world.ok(&["key", "new", "--index", "--key-out", "index-0"], "");
        let has_storage_service = !matches!(backend, Backend::Postgres(_));
        let roles: &[bool] = if has_storage_service { &[true, false] } else { &[true, true] };
        let socket = |number: usize| format!("socket-{number}");
        let target = |number| Target::Unix(world.path(&socket(number)));
        let mut proxies: Vec<_> = (0..roles.len()).map(|number| Proxy::new(target(number))).collect();
        match &backend {
            Backend::Sqlite => {}
            Backend::Postgres(server) => proxies.push(Proxy::new(Target::Unix(lock(server).socket()))),
            Backend::Objects(server) => {
                let proxy = Proxy::new(Target::Tcp(([127, 0, 0, 1], server.port).into()));
                world.environment = vec![
                    ("AWS_ENDPOINT_URL", format!("http://{}", proxy.address)),
                    ("AWS_ACCESS_KEY_ID", ACCESS_KEY.0.to_owned()),
                    ("AWS_SECRET_ACCESS_KEY", ACCESS_KEY.1.to_owned()),
                    ("AWS_SESSION_TOKEN", String::new()),
                ];
                proxies.push(proxy);
            }
        }
        let node = |(number, is_server): (usize, &bool)| {
            let command = if *is_server { "serve" } else { "serve-storage" };
            let timeout = if *is_server && has_storage_service { " --timeout 3" } else { "" };
            let arguments =
                format!("{command} --config config.toml --listen unix:{} --log-level warn{timeout}", socket(number));
            Mutex::new(Node { arguments, is_server: *is_server, child: None })
        };
        let nodes = roles.iter().enumerate().map(node).collect();
        let index_keys = Mutex::new(vec!["index-0".to_owned()]);
        let lane = Self { world, backend, nodes, proxies, generation: AtomicU64::new(0), index_keys };
        (0..lane.nodes.len()).rev().for_each(|number| lane.restart(number));
        lane.wait_until_ready();
        lane
    }

    /// A client of the encryption servers.
    pub(crate) fn client(&self) -> Strongroom {
        let servers = self.proxies.iter().zip(&self.nodes).filter(|(_, node)| lock(node).is_server);
        let urls: Vec<_> = servers.map(|(proxy, _)| format!("http://{}", proxy.address)).collect();
        Strongroom::connect(&Endpoint::new(&urls.join(",")).unwrap().timeout(TIMEOUT)).unwrap()
    }

    /// A server ends if it starts while its storage service does not answer.
    pub(crate) fn wait_until_ready(&self) {
        let client = self.client();
        wait_for(|| {
            self.revive();
            client.stats().ok()
        });
    }

    /// The store of the storage service, or of the encryption servers without one.
    fn location(&self, generation: u64) -> String {
        match &self.backend {
            Backend::Sqlite => format!("records-{generation}.db"),
            Backend::Postgres(_) => {
                format!("postgres://strongroom@{}/postgres?schema=soak_{generation}", self.proxies[2].address)
            }
            Backend::Objects(_) => {
                let folder = hash(&self.world.folder.path());
                format!("s3://{BUCKET}/{folder}-{generation}")
            }
        }
    }

    /// The store, for programs beside the services.
    pub(crate) fn store(&self) -> String {
        match &self.backend {
            Backend::Postgres(_) => self.location(self.generation()),
            _ => format!("http://{}", self.proxies[1].address),
        }
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Kills the service if it runs, and starts it with the present store and index keys.
    pub(crate) fn restart(&self, number: usize) {
        let mut node = lock(&self.nodes[number]);
        node.kill();
        let keys = lock(&self.index_keys).clone();
        let options = [" --index-key-file ", " --previous-index-key-file "];
        let keys: String =
            keys.iter().zip(options).filter(|_| node.is_server).map(|(key, option)| format!("{option}{key}")).collect();
        let store = if node.is_server { self.store() } else { self.location(self.generation()) };
        let arguments = format!("{} --store {store}{keys}", node.arguments);
        let mut command = self.world.command(&arguments.split(' ').collect::<Vec<_>>());
        self.world.preload(&mut command);
        let clock = self.world.path(&format!("clock-{number}"));
        if !clock.exists() {
            fs::write(&clock, [0; 8]).unwrap();
        }
        let log = File::options().create(true).append(true).open(self.world.path(&format!("log-{number}"))).unwrap();
        // As in deploy/systemd.
        command.env("MALLOC_ARENA_MAX", "2");
        node.child = Some(command.env("CLOCK_OFFSET", clock).stderr(log).spawn().unwrap());
    }

    /// Kills the service and leaves it dead.
    pub(crate) fn kill(&self, number: usize) {
        lock(&self.nodes[number]).kill();
    }

    /// Starts the services that ended by themselves, and returns their number.
    pub(crate) fn revive(&self) -> usize {
        let has_ended = |number: &usize| {
            let mut node = lock(&self.nodes[*number]);
            node.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
        };
        let ended: Vec<_> = (0..self.nodes.len()).filter(has_ended).collect();
        ended.iter().for_each(|number| self.restart(*number));
        ended.len()
    }

    /// Holds the service for a time.
    pub(crate) fn hold(&self, number: usize, time: Duration) {
        let signal = |signal| {
            let node = lock(&self.nodes[number]);
            node.child.as_ref().is_some_and(|child| kill_process(Pid::from_child(child), signal).is_ok())
        };
        if signal(Signal::STOP) {
            std::thread::sleep(time);
            signal(Signal::CONT);
        }
    }

    /// Sets the clock of a service to that of the machine plus this number of seconds.
    pub(crate) fn set_clock(&self, number: usize, offset: i64) {
        let clock = File::options().write(true).open(self.world.path(&format!("clock-{number}"))).unwrap();
        clock.write_all_at(&offset.to_le_bytes(), 0).unwrap();
    }

    /// The process of a service.
    pub(crate) fn pid(&self, number: usize) -> Option<u32> {
        lock(&self.nodes[number]).child.as_ref().map(Child::id)
    }

    /// The role of a service.
    pub(crate) fn describe(&self, number: usize) -> &'static str {
        if lock(&self.nodes[number]).is_server { "encryption server" } else { "storage service" }
    }

    /// Runs the program. Returns its output, or its error and nothing.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = output(self.world.command(arguments).args(["--timeout", "6"]));
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        if output.status.success() { Ok(stdout) } else { Err(stderr) }
    }

    /// Copies the records of the store into the file `backup`.
    pub(crate) fn back_up(&self, backup: &str) -> Result<(), String> {
        self.run(&["copy", "--store", &self.store(), "--to", backup]).map(drop)
    }

    /// Puts a new store with the records of the file `backup` in the place of the store.
    pub(crate) fn restore(&self, backup: &str) {
        (0..self.nodes.len()).for_each(|number| self.kill(number));
        let old = self.generation.fetch_add(1, Ordering::SeqCst);
        let copy = || self.run(&["copy", "--store", backup, "--to", &self.location(self.generation())]).ok();
        wait_for(copy);
        match &self.backend {
            Backend::Sqlite => remove_database(&self.world, &self.location(old)),
            Backend::Postgres(server) => drop(lock(server).sql(&format!("DROP SCHEMA soak_{old} CASCADE"))),
            Backend::Objects(_) => {}
        }
        (0..self.nodes.len()).rev().for_each(|number| self.restart(number));
        self.wait_until_ready();
    }

    /// The bytes of the database's files.
    pub(crate) fn disk(&self) -> u64 {
        let name = format!("records-{}.db", self.generation());
        let len = |suffix: &str| fs::metadata(self.world.path(&format!("{name}{suffix}"))).map_or(0, |data| data.len());
        len("") + len("-wal")
    }

    /// The lines of the services' logs with a panic or an error of the program itself.
    pub(crate) fn panics(&self) -> Vec<String> {
        let logs =
            (0..self.nodes.len()).map(|number| fs::read(self.world.path(&format!("log-{number}"))).unwrap_or_default());
        let text = logs.map(|log| String::from_utf8_lossy(&log).into_owned()).collect::<String>();
        text.lines()
            .filter(|line| line.contains("panicked") || line.contains("internal error"))
            .map(str::to_owned)
            .collect()
    }
}

/// Removes a database with the files beside it.
pub(crate) fn remove_database(world: &World, name: &str) {
    for suffix in ["", "-wal", "-shm", ".index-key", ".uploads"] {
        let _ = fs::remove_file(world.path(&format!("{name}{suffix}")));
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        (0..self.nodes.len()).for_each(|number| self.kill(number));
    }
}
