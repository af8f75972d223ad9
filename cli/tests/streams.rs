//! Data of any size: in pieces, in ranges, and interrupted.

use crate::support;
use std::io::{Read, Write};
use std::process::{Child, Stdio};

use crate::support::pattern::pattern;
use crate::support::wait::{self, DEADLINE, WaitWithin, wait_for, write_within};
use crate::support::{ID, World, feed};

#[test]
fn large_data_passes_through_pipes_and_files() {
    let world = World::new();
    let data = pattern(20_000_000);
    world.write("data", &data);
    world.ok(&["store", "--id", "file", "--key-out", "file.key", "data"], "");
    world.ok(&["store", "--id", "pipe", "--key-out", "pipe.key"], &data);
    for id in ["file", "pipe"] {
        let key = format!("{id}.key");
        let report = world.ok(&["retrieve", "--json", "--id", id, "--key-file", &key, "-o", "copy"], "");
        assert!(report.contains("\"bytes\":20000000"), "{report}");
        assert!(world.read("copy") == data);
        let output = feed(&mut world.command(&["retrieve", "--id", id, "--key-file", &key]), b"");
        assert!(output.status.success() && output.stdout == data);
    }
    world.ok(&["replace", "--id", "pipe", "--key-file", "pipe.key", "--key-out", "new.key", "data"], "");
    world.ok(&["retrieve", "--id", "pipe", "--key-file", "new.key", "-o", "copy"], "");
    assert!(world.read("copy") == data);
}

#[test]
fn a_range_is_clipped_to_the_data() {
    let world = World::new();
    let data = pattern(40_000);
    world.ok(&["store", "--id", ID, "--key-out", "key"], &data);
    for (range, expected) in [
        ("0..10", &data[..10]),
        ("16380..16390", &data[16_380..16_390]),
        ("39990..", &data[39_990..]),
        ("39990..99999999999", &data[39_990..]),
        ("..5", &data[..5]),
        ("..", &data[..]),
        ("7..7", &[]),
        ("40000..", &[]),
        ("50000..60000", &[]),
    ] {
        world.ok(&["retrieve", "--id", ID, "--key-file", "key", "--range", range, "-o", "part"], "");
        assert!(world.read("part") == expected, "{range}");
    }
    for wrong in ["", "5", "5..4", "a..b", "1...5", "1-5", "..=5"] {
        let message = world.fail(64, &["retrieve", "--id", ID, "--key-file", "key", "--range", wrong], "");
        assert!(message.contains("--range"), "{message}");
    }
}

/// A record with an altered byte far from its start.
fn with_altered_record() -> World {
    let world = World::new();
    world.ok(&["store", "--id", ID, "--key-out", "key"], pattern(900_000));
    let database = rusqlite::Connection::open(world.path("records.db")).unwrap();
    // Its second segment begins after 524,800 bytes.
    let sql = "SELECT data FROM segment WHERE n = 1";
    let mut segment: Vec<u8> = database.query_row(sql, (), |row| row.get(0)).unwrap();
    segment[75_200] ^= 1;
    database.execute("UPDATE segment SET data = ?1 WHERE n = 1", [segment]).unwrap();
    world
}

#[test]
fn an_altered_record_fails_and_leaves_no_file() {
    let world = with_altered_record();
    world.write("copy", "precious");
    let before = world.names();
    world.fail(4, &["retrieve", "--id", ID, "--key-file", "key", "-o", "copy"], "");
    assert_eq!(world.read("copy"), b"precious");
    assert_eq!(world.names(), before);
    // A pipe has received the authentic part, and the exit status reports the failure.
    let output = feed(&mut world.command(&["retrieve", "--id", ID, "--key-file", "key"]), b"");
    assert_eq!(output.status.code(), Some(4));
    assert!(pattern(900_000).starts_with(&output.stdout) && output.stdout.len() < 600_000);
    world.ok(&["retrieve", "--id", ID, "--key-file", "key", "--range", "..500000", "-o", "copy"], "");
    assert!(world.read("copy") == pattern(500_000));
}

/// Sends a signal and waits for the end. Returns the signal that the program died of.
#[cfg(unix)]
fn interrupt(mut child: Child, signal: rustix::process::Signal) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
    child.wait_within(DEADLINE).signal()
}

#[cfg(unix)]
#[test]
fn an_interrupted_store_leaves_nothing() {
    let world = World::with_record();
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut child = world.command(&["store", "--id", "large"]).stdin(Stdio::piped()).spawn().unwrap();
        let stdin = write_within(child.stdin.take().unwrap(), &pattern(10_000_000), DEADLINE);
        assert_eq!(interrupt(child, signal), Some(signal.as_raw()));
        drop(stdin);
        let database = rusqlite::Connection::open(world.path("records.db")).unwrap();
        let count = |table: &str| -> i64 {
            database.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0)).unwrap()
        };
        // Opening the store removes what was left, at first for a tenth of a second.
        wait_for(|| {
            assert_eq!(world.records(), 1);
            ((count("segment"), count("pending")) == (0, 0)).then_some(())
        });
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_progress_and_a_pipe_none() {
    let world = World::new();
    world.write("data", pattern(100_000_000));
    let shown = |args: &[&str]| {
        let seen = support::on_terminal(&world, "", "", args);
        assert_eq!(seen["status"], 0, "{seen}");
        seen["shown"].as_str().unwrap().to_owned()
    };
    // The bar is drawn at least once, even if the copy ends early.
    for args in [
        &["store", "--id", ID, "--key-out", "key", "data"][..],
        &["retrieve", "--id", ID, "--key-file", "key", "-o", "copy"],
    ] {
        let shown = shown(args);
        assert!(shown.contains("B/95.37 MiB") && shown.contains(" left"), "{shown}");
    }
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key", "-o", "copy"], ""), "", "nothing on a pipe");

    // Data of unknown length that takes longer than the time between two redraws.
    assert!(wait::output(std::process::Command::new("mkfifo").arg(world.path("pipe"))).status.success());
    let pipe = world.path("pipe");
    std::thread::spawn(|| {
        let mut pipe = std::fs::File::options().write(true).open(pipe).unwrap(); // waits for the program
        pipe.write_all(&pattern(20_000_000)).unwrap();
        std::thread::sleep(std::time::Duration::from_secs(1));
        pipe.write_all(b"the end").unwrap();
    });
    let shown = shown(&["store", "--id", "piped", "--key-out", "piped.key", "pipe"]);
    assert!(shown.contains("19.07 MiB") && shown.contains("iB/s"), "{shown}");
}

#[test]
fn a_folder_is_refused_as_data() {
    let world = World::with_record();
    std::fs::create_dir(world.path("folder")).unwrap();
    world.fail(19, &["store", "--id", "new", "folder"], "");
    assert_eq!(world.records(), 1);
}

/// 4 GiB through the program, stored and retrieved, in at most 32 MiB of memory.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "takes a minute and 9 GB of disk: run by make test-large"]
fn four_gibibytes_stream_in_constant_memory() {
    const LEN: u64 = 4 << 30;
    let world = World::new();
    let block = pattern(251 << 12);
    let blocks = || std::iter::repeat(&block[..]);
    // GNU time prints the peak resident memory of a process, in KiB.
    let peak = |output: &std::process::Output| -> u64 {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.lines().find_map(|line| line.strip_prefix("peak ")?.parse().ok()).unwrap()
    };
    let time = ["/usr/bin/time", "-f", "peak %M"];

    let start = std::time::Instant::now();
    let mut store = world.through(&time, &["store", "--id", ID, "--key-out", "key"]);
    let mut child = store.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut left = usize::try_from(LEN).unwrap();
    for block in blocks() {
        let piece = &block[..block.len().min(left)];
        stdin = write_within(stdin, piece, DEADLINE);
        left -= piece.len();
        if left == 0 {
            break;
        }
    }
    drop(stdin);
    let stored = child.output_within(DEADLINE);
    assert!(stored.status.success());
    eprintln!("store: peak {} KiB, {:.1?}", peak(&stored), start.elapsed());

    let start = std::time::Instant::now();
    let mut retrieve = world.through(&time, &["retrieve", "--id", ID, "--key-file", "key"]);
    let mut child = retrieve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut read, mut buffer) = (0, vec![0; block.len()]);
    loop {
        let len = Read::by_ref(&mut stdout).take(block.len() as u64).read(&mut buffer).unwrap();
        if len == 0 {
            break;
        }
        let offset = read % block.len();
        let first = len.min(block.len() - offset);
        assert!(buffer[..first] == block[offset..offset + first] && buffer[first..len] == block[..len - first]);
        read += len;
    }
    assert_eq!(read as u64, LEN);
    let retrieved = child.output_within(DEADLINE);
    eprintln!("retrieve: peak {} KiB, {:.1?}", peak(&retrieved), start.elapsed());
    for output in [stored, retrieved] {
        assert!(peak(&output) <= 32 << 10, "{} KiB", peak(&output));
    }

    let args = ["retrieve", "--id", ID, "--key-file", "key", "--range", "3221225472..3221225572"];
    let output = feed(&mut world.command(&args), b"");
    let offset = 3_221_225_472 % block.len();
    assert!(output.stdout == block.repeat(2)[offset..offset + 100]);
}
