//! The disk after a power cut: the synced changes of a log, and any subset of the others.
//!
//! The model of the disk:
//!
//! - A synced file has all its changes up to the sync. Each later change is there, is missing, or is torn: a write by
//!   sectors of 512 bytes or by pages of 4 KiB, in any order.
//! - A torn write damages no byte outside of it: a sector that two writes share keeps the bytes of the earlier one.
//!   SQLite assumes this by default ("powersafe overwrite"); otherwise it would fill the last sector of each commit.
//!   [`Crash::not_powersafe`] also damages the rest of a sector, as SD cards may.
//! - A new, renamed or removed name is there once the folder is synced; before that, each name is there or not,
//!   whatever became of its file. A rename is atomic.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::log::{Change, Event, FileId, Log};
use crate::random::Random;

const SECTOR: usize = 512;
const PAGE: usize = 4096;

type Names = BTreeMap<String, FileId>;
type Files = BTreeMap<FileId, Arc<Vec<u8>>>;

/// The disk after a number of events, with the changes that are not durable.
#[derive(Clone, Debug)]
pub struct Crash<'l> {
    names: Names,
    files: Files,
    pending: Vec<&'l Event>,
    powersafe: bool,
}

/// The files of a folder after a power cut.
#[derive(Clone, Debug)]
pub struct Image {
    names: Names,
    files: Files,
}

/// Which of the pending changes are on the disk.
enum Kept {
    None,
    All,
    /// The first ones.
    First(usize),
    /// Each in this percentage of cases.
    Some(u64),
    /// The same, each torn into units of this size.
    Torn(u64, usize),
}

impl Kept {
    fn choose(random: &mut Random, pending: usize) -> Self {
        let percent = 10 + random.below(90);
        match random.below(8) {
            0 => Self::None,
            1 => Self::All,
            2 => Self::First(usize::try_from(random.below(pending as u64 + 1)).unwrap_or(0)),
            3 | 4 => Self::Some(percent),
            5 => Self::Torn(percent, PAGE),
            _ => Self::Torn(percent, SECTOR),
        }
    }

    fn keeps(&self, random: &mut Random, number: usize) -> bool {
        match *self {
            Self::None => false,
            Self::All => true,
            Self::First(first) => number < first,
            Self::Some(percent) | Self::Torn(percent, _) => random.chance(percent),
        }
    }
}

impl<'l> Crash<'l> {
    /// The disk at the beginning of `log`.
    #[must_use]
    pub fn new(log: &'l Log) -> Self {
        let files = log.files.iter().map(|(id, content)| (*id, Arc::new(content.clone()))).collect();
        Self { names: log.names.clone(), files, pending: Vec::new(), powersafe: true }
    }

    /// A power cut damages the whole sector that is being written.
    #[must_use]
    pub fn not_powersafe(self) -> Self {
        Self { powersafe: false, ..self }
    }

    /// The disk after one more event.
    pub fn follow(&mut self, event: &'l Event) {
        match event {
            Event::Names(_) | Event::Changed(..) => self.pending.push(event),
            Event::Synced(file, _) => self.settle(|event| matches!(event, Event::Changed(id, _) if id == file)),
            Event::FolderSynced => self.settle(|event| matches!(event, Event::Names(_))),
            Event::Begun(_) | Event::Acknowledged(_) | Event::Refused(_) => {}
        }
    }

    /// Makes pending changes durable.
    fn settle(&mut self, is_durable: impl Fn(&Event) -> bool) {
        let (durable, pending) = self.pending.iter().partition(|event| is_durable(event));
        self.pending = pending;
        for event in durable {
            apply(&mut self.names, &mut self.files, event);
        }
    }

    /// The disk after a power cut; `seed` chooses what is lost.
    #[must_use]
    pub fn image(&self, seed: u64) -> Image {
        let random = &mut Random::new(seed);
        let (mut names, mut files) = (self.names.clone(), self.files.clone());
        let of_names = Kept::choose(random, self.pending.len());
        let of_content = Kept::choose(random, self.pending.len());
        for (number, event) in self.pending.iter().enumerate() {
            match (event, &of_content) {
                (Event::Changed(id, Change::Written(offset, bytes)), Kept::Torn(percent, unit)) => {
                    self.tear(files.entry(*id).or_default(), *offset, bytes, *percent, *unit, random);
                }
                (Event::Changed(..), kept) if kept.keeps(random, number) => apply(&mut names, &mut files, event),
                (Event::Names(_), _) if of_names.keeps(random, number) => apply(&mut names, &mut files, event),
                _ => {}
            }
        }
        Image { names, files }
    }

    /// Writes some of the units of a write.
    fn tear(
        &self,
        file: &mut Arc<Vec<u8>>,
        offset: usize,
        bytes: &[u8],
        percent: u64,
        unit: usize,
        random: &mut Random,
    ) {
        let content = Arc::make_mut(file);
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let (part, after) = rest.split_at_checked(unit - at % unit).unwrap_or((rest, &[]));
            if random.chance(percent) {
                write(content, at, part);
            } else if !self.powersafe {
                let start = at - at % SECTOR;
                let end = (at + part.len()).next_multiple_of(SECTOR).min(content.len());
                content.get_mut(start..end).into_iter().flatten().for_each(|byte| *byte ^= 0x5a);
            }
            at += part.len();
            rest = after;
        }
    }
}

impl Image {
    /// Writes the files into an empty folder.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn write_to(&self, folder: &Path, random: &mut Random) -> io::Result<()> {
        for (name, id) in &self.names {
            let content = self.files.get(id).map_or(&[][..], |content| content);
            private_file(&folder.join(name))?.write_all(content)?;
            // The log's index is not durable: it may be missing, empty, or hold anything.
            if let Some(database) = name.strip_suffix("-wal")
                && random.chance(50)
            {
                let garbage: Vec<u8> = (0..4096).flat_map(|_| random.number().to_le_bytes()).collect();
                let len = if random.chance(50) { 0 } else { garbage.len() };
                private_file(&folder.join(format!("{database}-shm")))?.write_all(garbage.get(..len).unwrap_or(&[]))?;
            }
        }
        Ok(())
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn apply(names: &mut Names, files: &mut Files, event: &Event) {
    match event {
        Event::Names(changes) => {
            for (name, id) in changes {
                match id {
                    Some(id) => names.insert(name.clone(), *id),
                    None => names.remove(name),
                };
            }
        }
        Event::Changed(id, Change::Written(offset, bytes)) => {
            write(Arc::make_mut(files.entry(*id).or_default()), *offset, bytes);
        }
        Event::Changed(id, Change::Truncated(len)) => {
            Arc::make_mut(files.entry(*id).or_default()).resize(*len, 0);
        }
        _ => {}
    }
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(id: FileId, offset: usize, len: usize, byte: u8) -> Event {
        Event::Changed(id, Change::Written(offset, vec![byte; len]))
    }

    fn log(events: Vec<Event>) -> Log {
        let names = BTreeMap::from([("file".to_owned(), 1)]);
        Log { files: BTreeMap::from([(1, vec![0; 100])]), names, events }
    }

    fn images(log: &Log, powersafe: bool) -> Vec<Image> {
        let mut crash = Crash::new(log);
        if !powersafe {
            crash = crash.not_powersafe();
        }
        log.events.iter().for_each(|event| crash.follow(event));
        (0..1000).map(|seed| crash.image(seed)).collect()
    }

    #[test]
    fn the_synced_part_stays_and_the_rest_may_be_lost_torn_or_reordered() {
        let log = log(vec![
            written(1, 0, 600, 1),
            Event::Synced(1, crate::FileKind::Database),
            written(1, 600, 1000, 2),
            written(1, 1600, 400, 3),
        ]);
        let files: Vec<_> = images(&log, true).iter().map(|image| image.files[&1].to_vec()).collect();
        assert!(files.iter().all(|file| file[..600] == [1; 600]));
        assert!(files.iter().any(|file| file.len() == 600), "lost");
        assert!(files.iter().any(|file| file.len() == 2000 && file[600..1600] == [2; 1000]), "kept");
        assert!(files.iter().any(|file| file.len() == 2000 && file[600..1600] == [0; 1000]), "reordered");
        assert!(files.iter().any(|file| file.len() > 1024 && file[600..1024] == [0; 424] && file[1024] == 2), "torn");
    }

    #[test]
    fn without_powersafe_overwrite_the_shared_sector_is_damaged() {
        let log =
            log(vec![written(1, 0, 600, 1), Event::Synced(1, crate::FileKind::Database), written(1, 600, 1000, 2)]);
        assert!(images(&log, false).iter().any(|image| image.files[&1][512..600] != [1; 88]));
    }

    #[test]
    fn a_name_is_durable_with_its_folder() {
        let named = Event::Names(vec![("file".to_owned(), None), ("new".to_owned(), Some(1))]);
        let without = images(&log(vec![named.clone()]), true);
        assert!(without.iter().any(|image| image.names.contains_key("new")));
        assert!(without.iter().any(|image| image.names.contains_key("file")));
        assert!(without.iter().all(|image| image.names.len() == 1), "a rename is atomic");
        let with = images(&log(vec![named, Event::FolderSynced]), true);
        assert!(with.iter().all(|image| image.names.contains_key("new")));
    }

    #[test]
    fn a_seed_is_an_image() {
        let log = log((0..20).map(|n| written(1, n * 700, 700, 7)).collect());
        let [one, two] = [images(&log, true), images(&log, true)];
        assert!(one.iter().zip(&two).all(|(one, two)| one.files == two.files && one.names == two.names));
    }
}
