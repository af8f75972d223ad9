//! Runs Strongroom and its alternatives alternately, each in its own process, and prints tables of medians: `compare
//! [SECONDS [ROUNDS]]`. The chart `benches/figures.svg` is of the same run.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a benchmark")]
#![allow(clippy::cast_precision_loss, reason = "a benchmark")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use strongroom_contest::{Figures, Work};

/// Name, program, and its first arguments. The others are compared with the first.
const CONTESTANTS: [(&str, &str, &[&str]); 10] = [
    ("Strongroom", "release/contestant_strongroom", &[]),
    ("Strongroom, AWS-LC", "bench-aws-lc/release/contestant_strongroom", &[]),
    ("Strongroom, from readers", "release/contestant_strongroom", &["reader"]),
    ("SQLite with AES-GCM", "release/contestant_plain", &["sealed"]),
    ("SQLite, no encryption", "release/contestant_plain", &[]),
    // Only for bulk loads, where the difference is greatest.
    ("SQLite's defaults, no encryption", "release/contestant_plain", &["defaults"]),
    ("redb, no encryption", "peers/release/contestant_redb", &[]),
    ("fjall, no encryption", "peers/release/contestant_fjall", &[]),
    ("SQLCipher", "peers/release/contestant_sqlcipher", &[]),
    ("askar", "peers/release/contestant_askar", &[]),
];

/// The measured workloads: the name for people, and the arguments for the contestants.
const WORKS: [(&str, &str); 10] = [
    ("1 KiB durable store, 1 thread", "store 1 1024"),
    ("The first 1,500 durable stores of 1 KiB in a new store", "first 1500 1024"),
    ("1 KiB durable store, 8 threads", "store 8 1024"),
    ("1 KiB durable store, 32 threads", "store 32 1024"),
    ("1 KiB retrieve, 1 thread", "retrieve 1 10000 1024"),
    ("1 KiB retrieve, 2 threads", "retrieve 2 10000 1024"),
    ("1 MiB durable store, 1 thread", "store 1 1048576"),
    ("1 MiB retrieve, 1 thread", "retrieve 1 100 1048576"),
    ("1 MiB retrieve, 2 threads", "retrieve 2 100 1048576"),
    ("A million records of 256 bytes, 10,000 in a transaction", "bulk 1000000 256"),
];

/// The results of a contestant's rounds.
struct Row {
    name: &'static str,
    rates: Vec<f64>,
    p99: f64,
    longest: f64,
    worst: f64,
    ends: [f64; 2],
}

impl Row {
    fn rate(&self) -> f64 {
        median(self.rates.iter().copied())
    }
}

fn main() {
    let mut arguments = env::args().skip(1);
    let seconds = arguments.next().unwrap_or_else(|| "2".into());
    let rounds = arguments.next().map_or(5, |rounds| rounds.parse::<usize>().unwrap());
    let target = PathBuf::from(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));

    let (here, missing): (Vec<_>, Vec<_>) =
        CONTESTANTS.iter().partition(|(_, program, _)| target.join(program).exists());
    for (name, program, _) in missing {
        eprintln!("{name} is left out: there is no {program}");
    }
    let mut results = Vec::new();
    for (title, work) in WORKS {
        let left_out = if is_bulk(work) { &["SQLCipher", "askar"][..] } else { &["SQLite's defaults, no encryption"] };
        let here: Vec<_> = here.iter().filter(|(name, ..)| !left_out.contains(name)).collect();
        let mut rounds_of: Vec<Vec<Figures>> = here.iter().map(|_| Vec::new()).collect();
        for round in 1..=rounds {
            for ((name, program, first), figures) in here.iter().zip(&mut rounds_of) {
                eprint!("\r\x1b[K{title}: round {round} of {rounds}, {name}");
                figures.push(run(&target, &target.join(program), first, &seconds, work));
            }
        }
        eprint!("\r\x1b[K");
        let rows = here.iter().zip(&rounds_of).map(|((name, ..), figures)| row(name, figures)).collect::<Vec<_>>();
        println!("{}", table(title, work, &rows));
        results.push((title, rows));
    }
    fs::write("benches/figures.svg", picture(&results)).unwrap();
    println!("{} rounds of {seconds} s; {}.", rounds, machine());
}

fn run(folder: &Path, program: &Path, first: &[&str], seconds: &str, work: &str) -> Figures {
    let folder = tempfile::tempdir_in(folder).unwrap();
    let path = folder.path().join("records.db");
    let output = Command::new(program).args(first).arg(seconds).arg(path).args(work.split(' ')).output().unwrap();
    let line = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    Figures::from_line(&line).unwrap_or_else(|| panic!("{} {work}: {line}{error}", program.display()))
}

fn row(name: &'static str, figures: &[Figures]) -> Row {
    let of = |pick: fn(&Figures) -> f64| median(figures.iter().map(pick));
    Row {
        name,
        rates: figures.iter().map(|figures| figures.rate).collect(),
        p99: of(|figures| figures.p99),
        worst: of(|figures| figures.worst),
        longest: figures.iter().map(|figures| figures.longest).fold(0.0, f64::max),
        ends: [of(|figures| figures.ends[0]), of(|figures| figures.ends[1])],
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn table(title: &str, work: &str, rows: &[Row]) -> String {
    let bulk = is_bulk(work);
    let (more, line) = if bulk {
        ("first 100,000 | last 100,000", "---|---")
    } else {
        ("p99 | of the slowest thread | longest", "---|---|---")
    };
    let mut text =
        format!("| {title} | in a second | from, to | {more} | Strongroom / this |\n|---|---|---|{line}|---|\n");
    for row in rows {
        let from = row.rates.iter().copied().fold(f64::INFINITY, f64::min);
        let to = row.rates.iter().copied().fold(0.0, f64::max);
        let more = if bulk {
            format!("{} | {}", whole(row.ends[0]), whole(row.ends[1]))
        } else {
            format!("{:.3} ms | {:.3} ms | {:.1} ms", row.p99 * 1e3, row.worst * 1e3, row.longest * 1e3)
        };
        let (rate, ratio) = (whole(row.rate()), rows[0].rate() / row.rate());
        writeln!(text, "| {} | {rate} | {}, {} | {more} | {ratio:.2} |", row.name, whole(from), whole(to)).unwrap();
    }
    text
}

fn is_bulk(work: &str) -> bool {
    matches!(Work::from_words(&work.split(' ').collect::<Vec<_>>()), Some(Work::Bulk { .. }))
}

/// `12,345`
fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// A bar for each contestant and workload, whose length is the rate relative to the best.
fn picture(results: &[(&str, Vec<Row>)]) -> String {
    let (mut y, mut bars) = (20, String::new());
    for (title, rows) in results {
        writeln!(bars, "<text class=\"title\" x=\"10\" y=\"{y}\">{title}</text>").unwrap();
        let best = rows.iter().map(Row::rate).fold(0.0, f64::max);
        for row in rows {
            y += 18;
            let class = if row.name.starts_with("Strongroom") { "ours" } else { "other" };
            let width = (row.rate() / best * 400.0).max(1.0);
            let name = row.name.replace('\'', "&#39;");
            writeln!(bars, "<text class=\"name\" x=\"240\" y=\"{y}\">{name}</text>").unwrap();
            writeln!(bars, "<rect class=\"{class}\" x=\"250\" y=\"{}\" width=\"{width:.1}\" height=\"12\"/>", y - 10)
                .unwrap();
            let rate = whole(row.rate());
            writeln!(bars, "<text x=\"{:.1}\" y=\"{y}\">{rate}/s</text>", 256.0 + width).unwrap();
        }
        y += 34;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{y}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>text {{ fill: #333 }} .title {{ font-weight: bold }} .name {{ text-anchor: end }} .ours {{ fill: #2a78c2 }} \
         .other {{ fill: #999 }} @media (prefers-color-scheme: dark) {{ text {{ fill: #ddd }} }}</style>\n{bars}</svg>\n"
    )
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let sqlite = rusqlite::version();
    format!("{cores} cores of {model}, Linux {}, SQLite {sqlite}", kernel.trim())
}
