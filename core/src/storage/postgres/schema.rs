//! The tables of a store, and their check.

use super::PostgresStorage;
use super::error::NOT_MIGRATED;
use super::statement::column;
use crate::storage::{Error, no_store};

/// The version of the tables.
const VERSION: i32 = 1;
const APPLICATION: &str = "strongroom";

const TABLES: [&str; 5] = ["records", "schema_version", "segments", "settings", "uploads"];

/// - `schema_version`: one row, which marks the tables as those of Strongroom.
/// - `settings`: the settings document, in one row.
/// - `records`: a row for each record. `head` and `body` are the record, unless `upload` identifies the segments that
///   hold all of it. `expires_at` is NULL for a record that never expires. `checksum` is defined by
///   [`checksum`](crate::storage::checksum), with `upload` as its object.
/// - `segments`: the bytes of long records, in order of `n` from 0. All but the last have 1 MiB.
/// - `uploads`: running uploads, and when a segment was last added (by the server's clock).
///
/// Bytes are random, so `STORAGE EXTERNAL` spares the attempt to compress them.
const SCHEMA: &str = "
CREATE TABLE @.records (
    locator bytea PRIMARY KEY,
    head bytea NOT NULL,
    len int8 NOT NULL,
    expires_at int8,
    upload int8,
    checksum int8 NOT NULL,
    body bytea
);
ALTER TABLE @.records ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX records_expires_at ON @.records (expires_at) WHERE expires_at IS NOT NULL;
CREATE UNIQUE INDEX records_upload ON @.records (upload) WHERE upload IS NOT NULL;
CREATE TABLE @.segments (
    upload int8 NOT NULL,
    n int8 NOT NULL,
    checksum int8 NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (upload, n)
);
ALTER TABLE @.segments ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE TABLE @.uploads (upload int8 PRIMARY KEY, touched timestamptz NOT NULL);
CREATE TABLE @.settings (one bool PRIMARY KEY DEFAULT true CHECK (one), document bytea NOT NULL);
CREATE TABLE @.schema_version (
    one bool PRIMARY KEY DEFAULT true CHECK (one),
    application text NOT NULL,
    version int4 NOT NULL
);
";

enum Found {
    Ours,
    Nothing { has_schema: bool },
}

impl PostgresStorage {
    /// Checks the tables, and creates them if there are none and this role may do so.
    pub(super) fn prepare_schema(&self) -> Result<(), Error> {
        match self.identify()? {
            Found::Ours => Ok(()),
            Found::Nothing { has_schema } => match self.create_schema(has_schema) {
                Err(Error::AccessDenied(_)) => Err(Error::InvalidArgument(NOT_MIGRATED.into())),
                outcome => outcome,
            },
        }
    }

    /// Checks the tables, which must exist.
    pub(super) fn require_schema(&self) -> Result<(), Error> {
        match self.identify()? {
            Found::Ours => Ok(()),
            Found::Nothing { .. } => Err(no_store()),
        }
    }

    /// Allows a role to use the store, but not to change its tables.
    ///
    /// PostgreSQL only warns if the caller may not grant this, so the result is checked.
    pub(super) fn grant(&self, given: &str) -> Result<(), Error> {
        if given.is_empty() || given.len() > 63 || given.contains('\0') {
            return Err(Error::InvalidArgument("a role's name has 1 to 63 bytes".into()));
        }
        let (schema, role) = (&self.schema, given.replace('"', "\"\""));
        let script = format!(
            "GRANT USAGE ON SCHEMA \"{schema}\" TO \"{role}\";
            GRANT SELECT, INSERT, UPDATE, DELETE ON \"{schema}\".records, \"{schema}\".segments, \"{schema}\".uploads,
                \"{schema}\".settings TO \"{role}\";
            GRANT SELECT ON \"{schema}\".schema_version TO \"{role}\";"
        );
        self.run_script(script)?;
        let sql = "SELECT has_schema_privilege($1, $2, 'USAGE')
            AND has_table_privilege($1, '@.schema_version', 'SELECT')
            AND (SELECT bool_and(has_table_privilege($1, '@.' || name, privilege)) FROM
                unnest(ARRAY['records', 'segments', 'uploads', 'settings']) AS name,
                unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege),
            has_database_privilege($1, current_database(), 'CONNECT')";
        let rows = self.read(&self.statement(sql).text(given).text(schema))?;
        let row = rows.first().ok_or(Error::Corrupt)?;
        if !column(row, 0)? {
            let text = "the schema or its tables belong to another role, which must run this";
            return Err(Error::AccessDenied(text.into()));
        }
        if !column(row, 1)? {
            let text = "the role may not connect to the database: run `GRANT CONNECT ON DATABASE` as its owner";
            return Err(Error::AccessDenied(text.into()));
        }
        Ok(())
    }

    fn identify(&self) -> Result<Found, Error> {
        let sql = "SELECT c.relname::text FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = $1::text AND c.relname::text = ANY (string_to_array($2::text, ','))
            UNION ALL SELECT '' FROM pg_catalog.pg_namespace WHERE nspname = $1::text";
        let rows = self.read(&self.statement(sql).text(&self.schema).text(&TABLES.join(",")))?;
        let names = rows.iter().map(|row| column::<&str>(row, 0)).collect::<Result<Vec<_>, _>>()?;
        let tables = names.iter().filter(|name| !name.is_empty()).count();
        if tables == 0 {
            return Ok(Found::Nothing { has_schema: !names.is_empty() });
        }
        let foreign = || {
            let text = format!(
                "the schema {} has tables of another application: name another schema by the URL's option schema",
                self.schema
            );
            Error::InvalidArgument(text.into())
        };
        if tables < TABLES.len() {
            return Err(foreign());
        }
        let rows = self.read(&self.statement("SELECT application, version FROM @.schema_version"));
        let rows = match rows {
            // It has other columns.
            Err(Error::Backend(_)) => return Err(foreign()),
            rows => rows?,
        };
        let row = rows.first().ok_or_else(foreign)?;
        match (column::<&str>(row, 0).map_err(|_| foreign())?, column::<i32>(row, 1).map_err(|_| foreign())?) {
            (APPLICATION, VERSION) => Ok(Found::Ours),
            (APPLICATION, version) => Err(Error::Unsupported(
                format!(
                    "the tables have schema version {version}, and this program knows {VERSION}: use a newer Strongroom"
                )
                .into(),
            )),
            _ => Err(foreign()),
        }
    }

    /// The statements of one message are one transaction. If two processes try at the same time, the second finds the
    /// tables of the first.
    fn create_schema(&self, has_schema: bool) -> Result<(), Error> {
        let schema = &self.schema;
        let create = if has_schema { String::new() } else { format!("CREATE SCHEMA \"{schema}\";") };
        let tables = SCHEMA.replace("@.", &format!("\"{schema}\"."));
        let script = format!(
            "SELECT pg_advisory_xact_lock(hashtextextended('strongroom schema {schema}', 0)); {create} {tables}
            INSERT INTO \"{schema}\".schema_version (application, version) VALUES ('{APPLICATION}', {VERSION});"
        );
        match self.run_script(script) {
            Ok(()) => Ok(()),
            Err(error) => match self.identify() {
                Ok(Found::Ours) => Ok(()), // another process has created them
                _ => Err(error),
            },
        }
    }
}
