//! Promises of uploads, and of maintenance during uploads.

use std::sync::Arc;

use super::{LENGTHS, Open, contents, error, head, locator, record, with_storage};
use crate::storage::{Error, HEAD_LEN, PutMode, Stats};

pub fn an_upload_is_invisible_until_committed(open: Open<'_>) {
    with_storage(open, |storage| {
        let record = record(1, 4 << 20);
        let mut upload = Arc::clone(storage).upload(&locator(1), PutMode::Create).unwrap();
        for piece in record.chunks(300_000) {
            upload.write(piece).unwrap();
            assert_eq!(storage.get(&locator(1)).unwrap(), None);
            assert_eq!(storage.info(&locator(1)).unwrap(), None);
            assert_eq!(storage.list(None, 10).unwrap(), []);
            assert_eq!(contents(&**storage, 0), Stats::default());
        }
        upload.commit().unwrap();
        assert!(storage.get(&locator(1)).unwrap() == Some(record));
        assert_eq!(contents(&**storage, 0), Stats::new(1, 4 << 20, 0));
    });
}

pub fn an_upload_comes_back_however_it_was_cut(open: Open<'_>) {
    with_storage(open, |storage| {
        for (number, len) in (0..).zip(LENGTHS) {
            for piece_len in [len, 16_400, 1 << 20, 1_000_003] {
                let record = record(number, len);
                let mut upload = Arc::clone(storage).upload(&locator(number), PutMode::Overwrite).unwrap();
                upload.write(&[]).unwrap();
                for piece in record.chunks(piece_len) {
                    upload.write(piece).unwrap();
                }
                upload.commit().unwrap();
                assert!(storage.get(&locator(number)).unwrap() == Some(record), "{len} bytes by {piece_len}");
            }
        }
    });
}

pub fn a_dropped_upload_leaves_nothing(open: Open<'_>) {
    with_storage(open, |storage| {
        storage.put(&locator(1), &record(1, 100), PutMode::Create).unwrap();
        for len in [0, 100, 5 << 20] {
            let mut upload = Arc::clone(storage).upload(&locator(1), PutMode::Overwrite).unwrap();
            upload.write(&vec![7; len]).unwrap();
            drop(upload);
            assert_eq!(storage.get(&locator(1)).unwrap(), Some(record(1, 100)));
            assert_eq!(contents(&**storage, 0), Stats::new(1, 100, 0));
        }
    });
}

pub fn an_uploads_mode_counts_at_its_commit(open: Open<'_>) {
    with_storage(open, |storage| {
        let start = |mode| Arc::clone(storage).upload(&locator(1), mode);
        let (first, second, third) = (record(1, 100), record(2, 2 << 20), record(3, 200));
        let outcome = start(PutMode::ReplaceIf(head(&first)));
        assert!(matches!(error(outcome), Error::Conflict));
        let mut late = start(PutMode::Create).unwrap();
        late.write(&second).unwrap();
        storage.put(&locator(1), &first, PutMode::Create).unwrap();
        assert!(matches!(error(late.commit()), Error::AlreadyExists));
        assert!(matches!(error(start(PutMode::Create)), Error::AlreadyExists));

        let mut winner = start(PutMode::ReplaceIf(head(&first))).unwrap();
        let mut loser = start(PutMode::ReplaceIf(head(&first))).unwrap();
        winner.write(&second).unwrap();
        loser.write(&third).unwrap();
        winner.commit().unwrap();
        assert!(matches!(error(loser.commit()), Error::Conflict));
        assert!(storage.get(&locator(1)).unwrap() == Some(second));
    });
}

pub fn a_too_short_upload_is_refused(open: Open<'_>) {
    with_storage(open, |storage| {
        for len in [0, HEAD_LEN - 1] {
            let mut upload = Arc::clone(storage).upload(&locator(1), PutMode::Create).unwrap();
            upload.write(&vec![1; len]).unwrap();
            assert!(matches!(error(upload.commit()), Error::InvalidArgument(_)));
        }
        assert_eq!(storage.list(None, 10).unwrap(), []);
    });
}

pub fn maintenance_spares_what_is_under_way(open: Open<'_>) {
    with_storage(open, |storage| {
        storage.put(&locator(1), &record(1, 3 << 20), PutMode::Create).unwrap();
        let whole = record(2, 4 << 20);
        let (start, end) = whole.split_at(3 << 20);
        let mut upload = Arc::clone(storage).upload(&locator(2), PutMode::Create).unwrap();
        upload.write(start).unwrap();
        storage.maintain().unwrap();
        upload.write(end).unwrap();
        upload.commit().unwrap();
        storage.maintain().unwrap();
        assert!(storage.get(&locator(1)).unwrap() == Some(record(1, 3 << 20)));
        assert!(storage.get(&locator(2)).unwrap() == Some(whole));
    });
}
