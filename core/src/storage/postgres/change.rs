//! Changes of records, and the statements that make them.

use super::PostgresStorage;
use super::statement::Statement;
use crate::storage::checksum;
use crate::storage::error::again;
use crate::storage::operation::Operation;
use crate::storage::{Error, HEAD_LEN, Head, Locator, PutMode};
use crate::util::random;

/// The columns of one operation.
pub(super) struct Change<'r> {
    pub(super) locator: Locator,
    pub(super) kind: Kind,
    /// For [`Kind::Replace`] and [`Kind::Delete`].
    pub(super) expected: Option<Head>,
    pub(super) row: Option<NewRow<'r>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Create = 0,
    Overwrite = 1,
    Replace = 2,
    Delete = 3,
}

/// The columns of a new or changed row.
pub(super) struct NewRow<'r> {
    pub(super) head: Head,
    pub(super) len: i64,
    pub(super) upload: Option<i64>,
    /// `None` if segments hold the record.
    pub(super) body: Option<&'r [u8]>,
}

/// The result of a change, as its statement reports it.
pub(super) struct Changed {
    pub(super) done: bool,
    /// Whether there was a record before.
    pub(super) existed: bool,
    /// Whether the segments of a new long record are there. Always true for a short one.
    pub(super) has_segments: bool,
}

impl<'r> Change<'r> {
    pub(super) fn put(locator: Locator, mode: PutMode, row: NewRow<'r>) -> Self {
        let (kind, expected) = match mode {
            PutMode::Create => (Kind::Create, None),
            PutMode::Overwrite => (Kind::Overwrite, None),
            PutMode::ReplaceIf(head) => (Kind::Replace, Some(head)),
        };
        Self { locator, kind, expected, row: Some(row) }
    }

    pub(super) fn of(operation: &'r Operation<'_>) -> Result<Self, Error> {
        match operation {
            Operation::Put { locator, record, mode } => Ok(Self::put(*locator, *mode, NewRow::short(record)?)),
            Operation::Delete { locator, expected } => {
                Ok(Self { locator: *locator, kind: Kind::Delete, expected: *expected, row: None })
            }
        }
    }

    /// Whether a repetition after a lost reply cannot change another writer's record.
    pub(super) fn is_repeatable(&self) -> bool {
        match self.kind {
            Kind::Create | Kind::Replace => true,
            Kind::Overwrite => false,
            Kind::Delete => self.expected.is_some(),
        }
    }

    /// The outcome, if the reply came; `None` if the change must be repeated.
    pub(super) fn outcome(&self, changed: &Changed) -> Option<Result<bool, Error>> {
        Some(match self.kind {
            _ if changed.done => Ok(true),
            _ if !changed.has_segments => Err(Error::Conflict),
            Kind::Create => Err(Error::AlreadyExists),
            Kind::Replace => Err(Error::Conflict),
            Kind::Delete if !changed.existed => Ok(false),
            Kind::Delete => Err(Error::Conflict),
            Kind::Overwrite => return None, // another writer has just created or removed it
        })
    }

    /// The outcome after a lost reply, by the head that is there now.
    pub(super) fn settled(&self, there: Option<Head>, source: &Error) -> Result<bool, Error> {
        match &self.row {
            Some(row) if there == Some(row.head) => Ok(true),
            None if there.is_none() => Ok(true),
            _ => Err(again(source)),
        }
    }
}

impl<'r> NewRow<'r> {
    /// The row of a record of at most [`SEGMENT_LEN`] bytes.
    pub(super) fn short(record: &'r [u8]) -> Result<Self, Error> {
        let head = Head::require(record)?;
        let len = i64::try_from(record.len()).map_err(|_| Error::TooLarge)?;
        Ok(Self { head, len, upload: None, body: Some(record.get(HEAD_LEN..).unwrap_or_default()) })
    }

    fn checksum(&self, locator: &Locator) -> i64 {
        let head = self.head.as_bytes();
        checksum::of_record(locator, self.len, self.upload, head, self.body.unwrap_or_default()).into()
    }
}

impl<'r> Change<'r> {
    /// The same change.
    pub(super) fn again(&self) -> Change<'r> {
        let row =
            self.row.as_ref().map(|row| NewRow { head: row.head, len: row.len, upload: row.upload, body: row.body });
        Change { locator: self.locator, kind: self.kind, expected: self.expected, row }
    }
}

/// A time that exceeds PostgreSQL's integers is treated as never.
pub(super) fn expiry_column(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// A new number of an upload: random, so that none is used twice.
pub(super) fn new_upload() -> Result<i64, Error> {
    let mut bytes = [0; 8];
    random::fill(&mut bytes).map_err(|error| Error::Backend(error.into()))?;
    Ok(i64::from_le_bytes(bytes))
}

const CREATE: &str = "
    INSERT INTO @.records (locator, head, len, expires_at, upload, checksum, body) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (locator) DO NOTHING RETURNING locator";

const CREATE_EACH: &str = "
    INSERT INTO @.records (locator, head, len, expires_at, upload, checksum, body)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (locator) DO NOTHING RETURNING locator";

/// Without `ON CONFLICT`: one that exists undoes all.
pub(super) const CREATE_ALL: &str = "
    WITH segment AS (
        INSERT INTO @.segments (upload, n, checksum, bytes) SELECT * FROM unnest($8, $9, $10, $11)
    )
    INSERT INTO @.records (locator, head, len, expires_at, upload, checksum, body)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)";

/// Locks the rows first. `changed` and `removed` compare the head again, because a row may have changed before the
/// lock. The segments of a replaced version go with it.
const CHANGE: &str = "
    WITH input AS (
        SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
            AS i (locator, head, len, expires_at, upload, checksum, body, kind, expected)
    ), old AS (
        SELECT locator, upload FROM @.records WHERE locator = ANY ($1) ORDER BY locator FOR UPDATE
    ), lease AS (
        SELECT u.upload FROM @.uploads u JOIN input i ON i.upload = u.upload FOR UPDATE OF u
    ), ready AS (
        SELECT i.*, o.locator IS NOT NULL AS existed, o.upload AS old_upload,
            i.upload IS NULL OR i.upload IN (SELECT upload FROM lease) AS has_segments
        FROM input i LEFT JOIN old o ON o.locator = i.locator
    ), changed AS (
        UPDATE @.records r SET head = i.head, len = i.len, expires_at = i.expires_at, upload = i.upload,
            checksum = i.checksum, body = i.body
        FROM ready i WHERE r.locator = i.locator AND i.existed AND i.has_segments
            AND (i.kind = 1 OR (i.kind = 2 AND r.head = i.expected))
        RETURNING r.locator
    ), removed AS (
        DELETE FROM @.records r USING ready i WHERE r.locator = i.locator AND i.existed AND i.kind = 3
            AND (i.expected IS NULL OR r.head = i.expected)
        RETURNING r.locator
    ), created AS (
        INSERT INTO @.records (locator, head, len, expires_at, upload, checksum, body)
        SELECT locator, head, len, expires_at, upload, checksum, body FROM ready
        WHERE has_segments AND NOT existed AND kind IN (0, 1)
        ON CONFLICT (locator) DO NOTHING RETURNING locator
    ), done AS (
        SELECT locator FROM changed UNION ALL SELECT locator FROM removed UNION ALL SELECT locator FROM created
    ), freed AS (
        DELETE FROM @.segments s USING ready i
        WHERE s.upload = i.old_upload AND i.locator IN (SELECT locator FROM changed UNION ALL SELECT locator FROM removed)
    ), ended AS (
        DELETE FROM @.uploads u USING ready i WHERE u.upload = i.upload AND i.locator IN (SELECT locator FROM done)
    )
    SELECT locator, locator IN (SELECT locator FROM done), existed, has_segments, old_upload FROM ready";

impl PostgresStorage {
    pub(super) fn change_statement(&self, changes: &[Change<'_>]) -> Statement {
        if let [Change { locator, kind: Kind::Create, row: Some(row), .. }] = changes
            && row.upload.is_none()
        {
            return self
                .statement(CREATE)
                .frequent()
                .bytes(locator.as_bytes())
                .bytes(row.head.as_bytes())
                .int(row.len)
                .maybe_int(row.head.expires_at().map(expiry_column))
                .maybe_int(row.upload)
                .int(row.checksum(locator))
                .maybe_bytes(row.body);
        }
        if is_simple(changes) {
            return with_rows(self.statement(CREATE_EACH).frequent(), changes);
        }
        with_rows(self.statement(CHANGE), changes)
            .ints(changes.iter().map(|change| Some(change.kind as i64)))
            .byte_arrays(changes.iter().map(|change| change.expected.as_ref().map(|head| &head.as_bytes()[..])))
    }
}

/// Whether all are short new records.
pub(super) fn is_simple(changes: &[Change<'_>]) -> bool {
    let is_short = |change: &Change<'_>| change.row.as_ref().is_some_and(|row| row.upload.is_none());
    changes.iter().all(|change| change.kind == Kind::Create && is_short(change))
}

/// The arrays of the columns, in the order of the statements above.
pub(super) fn with_rows(statement: Statement, changes: &[Change<'_>]) -> Statement {
    let rows = || changes.iter().map(|change| (&change.locator, change.row.as_ref()));
    statement
        .locators(changes.iter().map(|change| &change.locator))
        .byte_arrays(rows().map(|(_, row)| row.map(|row| &row.head.as_bytes()[..])))
        .ints(rows().map(|(_, row)| row.map(|row| row.len)))
        .ints(rows().map(|(_, row)| row.and_then(|row| row.head.expires_at()).map(expiry_column)))
        .ints(rows().map(|(_, row)| row.and_then(|row| row.upload)))
        .ints(rows().map(|(locator, row)| row.map(|row| row.checksum(locator))))
        .byte_arrays(rows().map(|(_, row)| row.and_then(|row| row.body)))
}
