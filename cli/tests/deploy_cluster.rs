//! The cluster of `deploy/cluster/compose.yaml` runs without containers: each of its services is a process on a host of
//! its own, with the same command, user, environment, files and names of hosts. Network namespaces stand for the hosts.

#![cfg(all(target_os = "linux", feature = "server"))]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::deploy::{deploy, yaml};
use crate::support::World;
use crate::support::network::Network;
use crate::support::service::Service;
use crate::support::wait::{self, DEADLINE, WaitWithin, wait_for};

/// The hosts, and one for the client.
const HOSTS: [&str; 6] = ["postgres", "storage-1", "storage-2", "encryption-1", "encryption-2", "client"];
const USER: u32 = 65_532;

struct Cluster {
    network: Network,
    world: World,
    compose: Value,
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

impl Cluster {
    /// The secrets, as the comments of the file describe them.
    fn new() -> Option<Self> {
        let network = Network::new("compose", HOSTS.len())?;
        let world = World::new();
        fs::set_permissions(&world.folder, fs::Permissions::from_mode(0o755)).unwrap();
        let run = |command: &str| world.ok(&command.split(' ').collect::<Vec<_>>(), "");
        run("certificate new --out ca");
        let names = ["postgres=postgres", "storage=storage-1,storage-2", "server=encryption-1,encryption-2"];
        for (out, names) in names.into_iter().filter_map(|text| text.split_once('=')) {
            let names: String = names.split(',').map(|name| format!(" --name {name}")).collect();
            run(&format!("certificate new --authority ca.pem --authority-key ca.key --out {out}{names}"));
        }
        run("key new --cluster --key-out cluster.key");
        run("key new --index --key-out index-key");
        world.write("storage-token", run("token new --scopes storage --tokens storage-tokens"));
        world.write("token", run("token new --scopes store,retrieve --tokens tokens"));
        for (file, password) in [("owner-password", "one"), ("app-password", "two"), ("postgres-password", "three")] {
            world.write(file, password);
        }
        world.write("pgpass-owner", "*:*:*:strongroom_owner:one");
        world.write("pgpass", "*:*:*:strongroom_app:two");
        let hosts = HOSTS.iter().zip(1..).map(|(name, number)| format!("10.99.0.{number} {name}\n"));
        world.write("hosts", "127.0.0.1 localhost\n".to_owned() + &hosts.collect::<String>());
        fs::set_permissions(world.path("hosts"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_strongroom"), world.path("strongroom")).unwrap();
        Some(Self { network, world, compose: yaml("cluster/compose.yaml").remove(0) })
    }

    /// A folder with the secrets of a service, which belong to its user.
    fn secrets(&self, service: &str, user: u32) -> PathBuf {
        let folder = self.world.path(&format!("secrets-{service}"));
        fs::create_dir(&folder).unwrap();
        let given = &self.compose["services"][service]["secrets"];
        for name in given.as_array().into_iter().flatten().map(|name| name.as_str().unwrap()) {
            let copy = folder.join(name);
            fs::copy(self.world.path(name), &copy).unwrap();
            chown(&copy, Some(user), Some(user)).unwrap();
            fs::set_permissions(copy, fs::Permissions::from_mode(0o400)).unwrap();
        }
        folder
    }

    /// A command on the host of this name, as this user, with these secrets.
    fn on(&self, host: &str, user: u32, secrets: &PathBuf, command: &[&str]) -> Command {
        let number = HOSTS.iter().position(|name| *name == host).unwrap() + 1;
        let mount = "mount --bind \"$1\" /etc/hosts && mount -t tmpfs tmpfs /run && mkdir /run/secrets && mount --bind \"$2\" \
                     /run/secrets && shift 2 && exec setpriv --reuid=\"$1\" --regid=\"$1\" --clear-groups -- \"${@:2}\"";
        let namespace = self.network.host(number);
        let mut on =
            self.world.other("ip", &["netns", "exec", &namespace, "unshare", "--mount", "bash", "-c", mount, "bash"]);
        on.arg(self.world.path("hosts")).arg(secrets).arg(user.to_string()).args(command);
        on.env_remove("STRONGROOM_STORE");
        on
    }

    /// The command of a service of the file.
    fn service(&self, name: &str) -> Command {
        let service = &self.compose["services"][name];
        assert_eq!(service["user"], format!("{USER}:{USER}"));
        let program = self.world.path("strongroom");
        let command = [&[program.to_str().unwrap()], &words(&service["command"])[..]].concat();
        let host = if HOSTS.contains(&name) { name } else { "client" };
        let mut command = self.on(host, USER, &self.secrets(name, USER), &command);
        let environment = service["environment"].as_object();
        command.envs(environment.into_iter().flatten().map(|(name, value)| (name, value.as_str().unwrap())));
        command
    }

    /// A PostgreSQL server as its image starts it: with the database, and the roles of the script.
    fn start_postgres(&self) -> Child {
        let bin =
            wait::output(Command::new("sh").args(["-c", "ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1"]));
        let bin = String::from_utf8(bin.stdout).unwrap().trim().to_owned();
        let user = wait::output(Command::new("id").args(["-u", "postgres"]));
        let user: u32 = String::from_utf8(user.stdout).unwrap().trim().parse().unwrap();
        let data = self.world.path("data");
        fs::create_dir(&data).unwrap();
        chown(&data, Some(user), Some(user)).unwrap();
        let (data, secrets) = (data.to_str().unwrap(), self.secrets("postgres", user));
        let run = |command: &[&str]| {
            let output = wait::output(&mut self.on("postgres", user, &secrets, command));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let program = |name: &str| format!("{bin}/{name}");
        run(&[&program("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--no-locale"]);
        let rules = "local all all trust\nhost all all all scram-sha-256\n";
        fs::write(self.world.path("data/pg_hba.conf"), rules).unwrap();
        let postgres = program("postgres");
        let own = ["-D", data, "-k", data, "-c", "listen_addresses=*"];
        let given = &self.compose["services"]["postgres"]["command"];
        let command = [&[postgres.as_str()][..], &own, &words(given)].concat();
        let mut server = self.on("postgres", user, &secrets, &command);
        let child =
            server.stdout(Stdio::null()).stderr(fs::File::create(self.world.path("log")).unwrap()).spawn().unwrap();
        let psql_program = program("psql");
        let psql = |more: &[&str]| {
            let psql =
                [&[psql_program.as_str(), "-q", "-h", data, "-U", "postgres", "-v", "ON_ERROR_STOP=1"][..], more];
            wait::output(&mut self.on("postgres", user, &secrets, &psql.concat()))
        };
        wait_for(|| psql(&["-c", "CREATE DATABASE records"]).status.success().then_some(()));
        let script = fs::read_to_string(deploy("cluster/roles.sql")).unwrap();
        self.world.write("roles.sql", script);
        fs::set_permissions(self.world.path("roles.sql"), fs::Permissions::from_mode(0o644)).unwrap();
        let made = psql(&["-d", "records", "-f", self.world.path("roles.sql").to_str().unwrap()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        child
    }

    /// Runs the program on the client's host.
    fn client(&self, secrets: &PathBuf, args: &str) -> String {
        let program = self.world.path("strongroom");
        let service = "--authorities /run/secrets/ca.pem --token-file /run/secrets/token --timeout 60";
        let args: Vec<_> = args.split(' ').chain(service.split(' ')).collect();
        let output =
            wait::output(&mut self.on("client", USER, secrets, &[&[program.to_str().unwrap()], &args[..]].concat()));
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn the_cluster_of_the_containers_runs() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SKIPPED: only root can make network namespaces");
    }
    let Some(cluster) = Cluster::new() else { return };
    let mut postgres = cluster.start_postgres();
    let mut tables = cluster.service("tables");
    tables.stderr(Stdio::piped());
    let made = wait::output(&mut tables);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let start = |name: &str| Service::spawn(cluster.service(name));
    let encryption = start("encryption-1"); // before its storage services
    let storages = ["storage-1", "storage-2"].map(start);
    let other = start("encryption-2");

    let secrets = cluster.secrets("client", USER);
    for name in ["ca.pem", "token"] {
        fs::copy(cluster.world.path(name), secrets.join(name)).unwrap();
        chown(secrets.join(name), Some(USER), Some(USER)).unwrap();
    }
    fs::write(secrets.join("data"), "four score").unwrap();
    fs::set_permissions(secrets.join("data"), fs::Permissions::from_mode(0o644)).unwrap();
    let client = |args: &str| cluster.client(&secrets, args);
    let both = "--bootstrap-nodes encryption-1:8420,encryption-2:8420";
    let key = client(&format!("store {both} --id speech /run/secrets/data"));
    fs::write(secrets.join("key"), key).unwrap();
    chown(secrets.join("key"), Some(USER), Some(USER)).unwrap();
    fs::set_permissions(secrets.join("key"), fs::Permissions::from_mode(0o400)).unwrap();
    let nodes: Value = wait_for(|| {
        let nodes: Value = serde_json::from_str(&client(&format!("nodes --json {both}"))).unwrap();
        let ready = nodes["nodes"].as_array().unwrap().iter().filter(|node| node["state"] == "ready").count();
        (ready == 4).then_some(nodes)
    });
    let mut urls: Vec<_> =
        nodes["nodes"].as_array().unwrap().iter().map(|node| node["url"].as_str().unwrap()).collect();
    urls.sort_unstable();
    let expected =
        ["https://encryption-1:8420", "https://encryption-2:8420", "https://storage-1:8421", "https://storage-2:8421"];
    assert_eq!((urls.as_slice(), nodes["problems"].as_array().unwrap().len()), (&expected[..], 0), "{nodes}");

    // One of each is killed.
    encryption.stop(Signal::KILL);
    let [killed, left] = storages;
    killed.stop(Signal::KILL);
    assert_eq!(client(&format!("retrieve {both} --id speech --key-file /run/secrets/key")), "four score");
    drop((left, other));
    postgres.kill().unwrap();
    postgres.wait_within(DEADLINE);
}
