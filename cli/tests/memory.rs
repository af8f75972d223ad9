//! The whole system as three programs: client, encryption server, storage service. The storage service has no id, key
//! or data in its files, logs or memory, and no program needs much memory.

#![cfg(all(target_os = "linux", feature = "server"))]

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use strongroom::{IndexKey, RecordKey};

use crate::scanner::Scanner;
use crate::support::World;
use crate::support::wait::{self, DEADLINE, WaitWithin, write_within};

const MIB: usize = 1 << 20;

/// A service that logs to a file.
struct Service<'w> {
    child: Child,
    world: &'w World,
    log: String,
}

impl<'w> Service<'w> {
    fn start(world: &'w World, log: &str, args: &[&str]) -> Self {
        let mut command = world.command(args);
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--insecure-loopback",
            "--log-level",
            "trace",
            "--log-format",
            "json",
            "--config",
            "slow.toml",
        ]);
        // A client pauses while this program reads the memory of others.
        world.write("slow.toml", "[limits]\nbody_seconds = 600\n");
        let child = command.stderr(File::create(world.path(log)).unwrap()).spawn().unwrap();
        Self { child, world, log: log.to_owned() }
    }

    /// The URL of the service, once it listens.
    fn url(&self) -> String {
        wait_for(|| {
            let log = String::from_utf8(self.world.read(&self.log)).unwrap();
            let (lines, _) = log.rsplit_once('\n')?;
            let line = |line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{log}"));
            let address = |line: Value| line["address"].as_str().map(|address| format!("http://{address}"));
            lines.lines().map(line).find_map(address)
        })
    }

    /// The peak resident memory, in KiB.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls `look`, and returns its first result.
fn wait_for<T>(look: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "it did not come about");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The readable parts of a process's memory.
fn parts_of_memory(process: u32) -> impl Iterator<Item = Vec<u8>> {
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let ranges: Vec<_> = maps
        .lines()
        .filter(|line| line.split(' ').nth(1).unwrap().starts_with('r') && !line.ends_with("[vvar]"))
        .map(|line| {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let [start, end] = [start, end].map(|place| u64::from_str_radix(place, 16).unwrap());
            (start, usize::try_from(end - start).unwrap())
        })
        .collect();
    ranges.into_iter().filter_map(move |(start, len)| {
        let mut part = vec![0; len];
        let read = memory.read_at(&mut part, start).unwrap_or(0); // the mapping may have changed
        part.truncate(read);
        (read > 0).then_some(part)
    })
}

fn is_in_memory(scanner: &Scanner, process: u32) -> Option<String> {
    parts_of_memory(process).find_map(|part| scanner.find(&part).map(str::to_owned))
}

/// Whether this process may read the memory of non-dumpable programs, as all of ours are.
fn may_look(process: u32) -> bool {
    match File::open(format!("/proc/{process}/mem")) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            eprintln!("SKIPPED: looking into another program's memory takes root's rights (CAP_SYS_PTRACE)");
            false
        }
    }
}

fn is_in_file(scanner: &Scanner, path: &Path) -> Option<String> {
    const OVERLAP: usize = 1 << 10;
    let (mut file, mut window) = (File::open(path).unwrap(), Vec::new());
    loop {
        let read = Read::by_ref(&mut file).take(16 << 20).read_to_end(&mut window).unwrap();
        if let Some(found) = scanner.find(&window) {
            return Some(found.to_owned());
        }
        if read == 0 {
            return None;
        }
        window.drain(..window.len() - OVERLAP.min(window.len()));
    }
}

/// Data without repetitions.
fn data(seed: u64, len: usize) -> Vec<u8> {
    let words = (0..).map(|n: u64| (n + (seed << 32) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
    words.flat_map(|word| word.wrapping_mul(0xd6e8_feb8_6659_fd93).to_le_bytes()).take(len).collect()
}

/// The secrets that only the client and the encryption server may know.
fn secrets(id: &str, key: &str, data: &[u8], scanner: &mut Scanner) {
    scanner.add("an id", id.as_bytes());
    scanner.add("a record key's text", key.trim().as_bytes());
    scanner.add("a record key", RecordKey::from_text(key.trim()).unwrap().expose_bytes());
    for place in (0..data.len() - 40).step_by(50_021) {
        scanner.add("data", &data[place..place + 40]);
    }
}

/// The services, and a scanner that knows the index key.
fn services(world: &World) -> ([Service<'_>; 2], String, Scanner) {
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let index_key = String::from_utf8(world.read("index")).unwrap();
    let mut scanner = Scanner::default();
    scanner.add("the index key's text", index_key.trim().as_bytes());
    scanner.add("the index key", IndexKey::from_text(index_key.trim()).unwrap().expose_bytes());
    let storage = Service::start(world, "storage.log", &["serve-storage", "--store", "cipher.db"]);
    let args = ["serve", "--store", &storage.url(), "--index-key-file", "index"];
    let server = Service::start(world, "server.log", &args);
    let url = server.url();
    ([storage, server], url, scanner)
}

/// Asserts that the storage service's files, logs and memory have none of the scanner's secrets.
fn assert_storage_knows_nothing(world: &World, storage: &Service<'_>, scanner: &Scanner) {
    for file in ["cipher.db", "cipher.db-wal", "cipher.db-shm", "storage.log", "server.log"] {
        assert_eq!(is_in_file(scanner, &world.path(file)), None, "in {file}");
    }
    assert_eq!(is_in_memory(scanner, storage.child.id()), None, "in the storage service's memory");
    // The control: the scanned memory contains the service's own texts.
    let mut own = Scanner::default();
    own.add("its database", b"cipher.db");
    own.add("its log", b"127.0.0.1:");
    assert!(is_in_memory(&own, storage.child.id()).is_some(), "the memory cannot be read");
}

#[test]
fn the_storage_service_has_no_secret_in_memory() {
    let world = World::new();
    let ([storage, server], url, mut scanner) = services(&world);
    if !may_look(storage.child.id()) {
        return;
    }
    let place = ["--server", url.as_str()];
    for n in 0..3 {
        let (id, key_file, data) = (format!("patient-{n}-7f3a@clinic.example"), format!("{n}.key"), data(n, MIB));
        world.ok(&[&["store", "--id", &id, "--key-out", &key_file], &place[..]].concat(), &data);
        secrets(&id, &String::from_utf8(world.read(&key_file)).unwrap(), &data, &mut scanner);
        let args = ["retrieve", "--id", &id, "--key-file", &key_file, "-o", "copy"];
        world.ok(&[&args[..], &place].concat(), "");
        assert!(world.read("copy") == data);
    }
    assert_storage_knows_nothing(&world, &storage, &scanner);

    // During a store: the client and the encryption server have its secrets in memory.
    let (id, data) = ("patient-long-7f3a@clinic.example", data(9, 4 * MIB));
    world.ok(&["key", "new", "--key-out", "own"], "");
    let (mut under_way, key) = (Scanner::default(), String::from_utf8(world.read("own")).unwrap());
    secrets(id, &key, &data, &mut under_way);
    let args = [&["store", "--id", id, "--key-file", "own"], &place[..]].concat();
    let mut client = world.command(&args).stdin(Stdio::piped()).spawn().unwrap();
    let stdin = write_within(client.stdin.take().unwrap(), &data[..3 * MIB], DEADLINE);
    let [mut of_id, mut of_key, mut of_data] = [(); 3].map(|()| Scanner::default());
    of_id.add("the id", id.as_bytes());
    of_key.add("the key's text", key.trim().as_bytes());
    of_key.add("the key", RecordKey::from_text(key.trim()).unwrap().expose_bytes());
    data.windows(40).step_by(10_007).for_each(|part| of_data.add("the data", part));
    for (who, process) in [("server", server.child.id()), ("client", client.id())] {
        for known in [&of_id, &of_key] {
            let found = wait_for(|| is_in_memory(known, process));
            eprintln!("the {who} has {found} in its memory, as it should");
        }
    }
    wait_for(|| is_in_memory(&of_data, client.id()));
    assert_storage_knows_nothing(&world, &storage, &under_way);
    drop(write_within(stdin, &data[3 * MIB..], DEADLINE));
    assert!(client.wait_within(DEADLINE).success());
    assert_storage_knows_nothing(&world, &storage, &under_way);
    assert_storage_knows_nothing(&world, &storage, &scanner);
}

/// The program's allocator wipes a service's memory when it is freed.
#[test]
fn the_encryption_server_wipes_keys_and_data() {
    let world = World::new();
    let token = world.ok(&["token", "new", "--scopes", "store,retrieve,erase", "--tokens", "tokens"], "");
    world.write("token", &token);
    let server = Service::start(&world, "server.log", &["serve", "--tokens", "tokens"]);
    let url = server.url();
    if !may_look(server.child.id()) {
        return;
    }
    let [mut of_token, mut of_ids, mut of_keys, mut of_data] = [(); 4].map(|()| Scanner::default());
    of_token.add("a token", token.trim().as_bytes());
    let place = ["--server", url.as_str(), "--token-file", "token"];
    for (n, len) in [(1, 100), (2, 20_000), (3, 200_000), (4, 3 * MIB)] {
        let (id, key_file, data) = (format!("patient-{n}-9b2c@clinic.example"), format!("{n}.key"), data(n, len));
        world.ok(&[&["store", "--id", &id, "--key-out", &key_file], &place[..]].concat(), &data);
        let key = String::from_utf8(world.read(&key_file)).unwrap();
        of_ids.add("an id", id.as_bytes());
        of_keys.add("a record key's text", key.trim().as_bytes());
        data[..len - 40].windows(40).step_by(997).for_each(|part| of_data.add("data", part));
        world.ok(&[&["retrieve", "--id", &id, "--key-file", &key_file, "-o", "copy"], &place[..]].concat(), "");
        assert!(world.read("copy") == data);
        // The same as JSON, with the key and the data in bodies.
        let body = format!("{{\"id\":\"{id}\",\"key\":\"{}\"}}", key.trim());
        let answer = send(&url, "POST /v1/retrieve", &token, &body);
        assert!(answer.starts_with("HTTP/1.1 200 ") == (len < MIB), "{n}");
        assert!(send(&url, "POST /v1/delete", &token, &body).starts_with("HTTP/1.1 204 "));
    }
    // A running store, whose secrets are in memory until it is aborted.
    let (id, data) = ("patient-long-9b2c@clinic.example", data(9, 3 * MIB));
    world.ok(&["key", "new", "--key-out", "own"], "");
    let mut under_way = Scanner::default();
    under_way.add("the id under way", id.as_bytes());
    let args = [&["store", "--id", id, "--key-file", "own"], &place[..]].concat();
    let mut client = world.command(&args).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    client.stdin.as_mut().unwrap().write_all(&data).unwrap();
    for known in [&under_way, &of_token] {
        wait_for(|| is_in_memory(known, server.child.id()));
    }
    client.kill().unwrap();
    client.wait().unwrap();
    data.windows(40).step_by(997).for_each(|part| of_data.add("data under way", part));
    wait_for(|| send(&url, "GET /metrics", &token, "").contains("strongroom_connections 1\n").then_some(()));
    for forgotten in [&of_token, &of_ids, &of_keys, &of_data, &under_way] {
        // The last connection ends shortly after its answer.
        wait_for(|| is_in_memory(forgotten, server.child.id()).is_none().then_some(()));
    }
}

/// The answer to a request in JSON, on its own connection.
fn send(url: &str, request: &str, token: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (token, len) = (token.trim(), body.len());
    let head =
        format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n");
    let rest = format!("content-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}");
    stream.write_all((head + &rest).as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// 1 GiB through all three programs, stored and retrieved.
#[test]
#[ignore = "takes a minute and 4 GB of disk: run by make test-large"]
fn three_programs_stream_one_gibibyte() {
    const LEN: usize = 1 << 30;
    const MOST: u64 = 64 << 10;
    let world = World::new();
    let ([storage, server], url, mut scanner) = services(&world);
    world.ok(&["key", "new", "--key-out", "own"], "");
    let id = "archive-7f3a@clinic.example";
    let mut file = File::create(world.path("data")).unwrap();
    let key = String::from_utf8(world.read("own")).unwrap();
    for n in 0..LEN / MIB {
        let block = data(n as u64, MIB);
        secrets(id, &key, &block, &mut scanner);
        file.write_all(&block).unwrap();
    }
    // GNU time prints the peak resident memory of a process, in KiB.
    let run = |args: &[&str]| {
        let start = Instant::now();
        let args = [args, &["--server", &url]].concat();
        let output = wait::output(&mut world.through(&["/usr/bin/time", "-f", "peak %M"], &args));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        let client: u64 = stderr.lines().find_map(|line| line.strip_prefix("peak ")?.parse().ok()).unwrap();
        let peaks = [client, server.peak(), storage.peak()];
        eprintln!("{}: {:.1?}; peaks of client, server and storage: {peaks:?} KiB", args[0], start.elapsed());
        assert!(peaks.iter().all(|peak| *peak <= MOST), "{peaks:?} KiB");
    };
    run(&["store", "--id", id, "--key-file", "own", "data"]);
    run(&["retrieve", "--id", id, "--key-file", "own", "-o", "copy"]);
    let [mut data, mut copy] = ["data", "copy"].map(|name| BufReader::new(File::open(world.path(name)).unwrap()));
    let [mut sent, mut got] = [vec![0; MIB], vec![0; MIB]];
    for _ in 0..LEN / MIB {
        data.read_exact(&mut sent).unwrap();
        copy.read_exact(&mut got).unwrap();
        assert!(sent == got);
    }
    assert_eq!(copy.read(&mut got).unwrap(), 0);
    if may_look(storage.child.id()) {
        assert_storage_knows_nothing(&world, &storage, &scanner);
        assert!(is_in_file(&scanner, &world.path("data")).is_some(), "the scanner is blind");
    }
}
