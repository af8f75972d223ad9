//! Power cuts at any moment of each workload, also while the store recovers from an earlier one: every acknowledged
//! operation is there, and everything else is whole or absent. `STRONGROOM_TEST_LONG=1` tries forty times as many
//! images.

#![cfg(target_os = "linux")]
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

#[path = "../support/check.rs"]
mod check;
#[path = "../support/history.rs"]
mod history;
mod images;
#[path = "../support/workloads.rs"]
mod workloads;

use std::env;
use std::time::Instant;

use strongroom::Durability;
use strongroom_faults::{Event, FileKind};

use images::{Recording, Search, record, recover};
use workloads::WORKLOADS;

/// All workloads, and recoveries from power cuts in each of them.
fn recordings() -> Vec<Recording> {
    let mut recordings: Vec<_> = WORKLOADS.iter().map(|workload| record(workload, Durability::Full)).collect();
    let recoveries: Vec<_> =
        recordings.iter().flat_map(|recording| (0..3).map(|seed| recover(recording, seed))).collect();
    recordings.extend(recoveries);
    recordings
}

fn recorded(name: &str, durability: Durability) -> Recording {
    record(WORKLOADS.iter().find(|workload| workload.name == name).unwrap(), durability)
}

#[test]
fn a_power_cut_loses_no_acknowledged_operation() {
    let images = if env::var_os("STRONGROOM_TEST_LONG").is_some() { 200_000 } else { 5000 };
    let start = Instant::now();
    let recordings = recordings();
    let failures = Search::new(&recordings).keep_failed_images().run(images);
    println!("{images} images of {} recordings: {:.1} s", recordings.len(), start.elapsed().as_secs_f64());
    assert_eq!(failures, [""; 0]);
}

/// Which syncs the product makes: a control below leaves out each kind.
#[test]
fn the_log_has_every_kind_of_sync() {
    let creation = recorded("creation", Durability::Full);
    let count = |is: fn(&Event) -> bool| creation.log.events.iter().filter(|event| is(event)).count();
    assert!(count(|event| matches!(event, Event::Synced(_, FileKind::Database))) > 0);
    assert!(count(|event| matches!(event, Event::Synced(_, FileKind::WriteAheadLog))) > 3);
    assert!(count(|event| matches!(event, Event::Synced(_, FileKind::Journal))) > 0);
    assert!(count(|event| matches!(event, Event::Synced(_, FileKind::Key))) > 0);
    assert!(count(|event| matches!(event, Event::FolderSynced)) > 2);
}

/// A control: without these syncs, the search must find a loss.
fn finds_a_loss(names: &[&str], durability: Durability, is_left_out: fn(&Event) -> bool) {
    let recordings: Vec<_> = names.iter().map(|name| recorded(name, durability)).collect();
    let failures = Search::new(&recordings).leave_out(is_left_out).run(1000);
    assert!(!failures.is_empty());
}

#[test]
fn relaxed_durability_is_detected() {
    finds_a_loss(&["single stores"], Durability::Relaxed, |_| false);
}

#[test]
fn a_missing_sync_of_the_log_is_detected() {
    finds_a_loss(&["single stores"], Durability::Full, |event| {
        matches!(event, Event::Synced(_, FileKind::WriteAheadLog))
    });
}

#[test]
fn a_missing_sync_of_the_database_is_detected() {
    finds_a_loss(&["checkpoints"], Durability::Full, |event| matches!(event, Event::Synced(_, FileKind::Database)));
}

#[test]
fn a_missing_sync_of_the_folder_is_detected() {
    finds_a_loss(&["creation"], Durability::Full, |event| matches!(event, Event::FolderSynced));
}

#[test]
fn a_missing_sync_of_the_index_key_is_detected() {
    finds_a_loss(&["creation"], Durability::Full, |event| matches!(event, Event::Synced(_, FileKind::Key)));
}

#[test]
fn a_missing_sync_of_the_journal_is_detected() {
    finds_a_loss(&["creation"], Durability::Full, |event| matches!(event, Event::Synced(_, FileKind::Journal)));
}

/// The limit that `docs/THREATS.md` names: a medium that damages more than it writes.
#[test]
fn a_disk_without_powersafe_overwrite_can_lose_an_acknowledged_record() {
    let recordings = [recorded("single stores", Durability::Full)];
    assert!(!Search::new(&recordings).not_powersafe().run(1000).is_empty());
}
