//! Memory, descriptors and disk of the services, in time.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use super::lane::Lane;

/// Of one service at one time.
#[derive(Clone, Copy)]
struct Sample {
    at: Duration,
    pid: u32,
    /// In KiB.
    memory: u64,
    descriptors: u64,
    /// In KiB, of the whole store.
    disk: u64,
}

#[derive(Default)]
pub(crate) struct Samples(Vec<Vec<Sample>>);

/// The resident memory of a process in KiB, and the number of its descriptors.
fn of_process(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let memory = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some((memory, fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count().try_into().ok()?))
}

impl Samples {
    pub(crate) fn take(&mut self, lane: &Lane, at: Duration) {
        self.0.resize_with(lane.nodes.len(), Vec::new);
        for (number, samples) in self.0.iter_mut().enumerate() {
            if let Some((pid, (memory, descriptors))) = lane.pid(number).and_then(|pid| Some((pid, of_process(pid)?))) {
                samples.push(Sample { at, pid, memory, descriptors, disk: lane.disk() >> 10 });
            }
        }
    }

    /// A table of the medians in each eighth of the run, and what has grown since its warm-up in services that ran all
    /// the time.
    pub(crate) fn summary(&self, lane: &Lane, time: Duration) -> (String, Vec<String>) {
        let (mut text, mut grown) = (String::new(), Vec::new());
        for (number, samples) in self.0.iter().enumerate() {
            let name = lane.describe(number);
            let kinds: [(_, Quantity, _); 3] = [
                ("memory, MiB", |sample| sample.memory >> 10, 2),
                ("descriptors", |sample| sample.descriptors, 10),
                ("disk, MiB", |sample| sample.disk >> 10, 32),
            ];
            let warm = first_after_warm_up(time);
            for (unit, of, slack) in kinds {
                let medians: Vec<_> = (0..8).map(|eighth| median(samples, time / 8, eighth, of)).collect();
                let _ = writeln!(text, "{name}, {unit}: {medians:?}");
                let is_one_process = samples.windows(2).all(|pair| pair[0].pid == pair[1].pid);
                if let (true, Some(first), Some(last)) = (is_one_process, medians[warm], medians[7])
                    && last > first + first / 10 + slack
                {
                    grown.push(format!("{name}, {unit}: {first}, at the end {last}"));
                }
            }
        }
        (text, grown)
    }
}

/// The first eighth of the run in which the services' memory is steady: after half an hour or, in a short run, its
/// half.
fn first_after_warm_up(time: Duration) -> usize {
    let warm_up = Duration::from_secs(1800).min(time / 2);
    (1..7).find(|&number| time / 8 * number >= warm_up).unwrap_or(7) as usize
}

type Quantity = fn(&Sample) -> u64;

fn median(samples: &[Sample], length: Duration, number: u32, of: Quantity) -> Option<u64> {
    let within = |sample: &&Sample| (length * number..length * (number + 1)).contains(&sample.at);
    let mut values: Vec<_> = samples.iter().filter(within).map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[test]
fn growth_is_detected() {
    let sample = |at: u64, memory| Sample { at: Duration::from_secs(at), pid: 1, memory, descriptors: 7, disk: 0 };
    let samples: Vec<_> = (0..80).map(|at| sample(at, 1000 * at)).collect();
    let medians = [1, 7].map(|eighth| median(&samples, Duration::from_secs(10), eighth, |sample| sample.memory));
    assert_eq!(medians, [Some(15_000), Some(75_000)]);
    let warm = [1, 96, 240, 480].map(|minutes| first_after_warm_up(Duration::from_secs(60 * minutes)));
    assert_eq!(warm, [4, 3, 1, 1]);
}
