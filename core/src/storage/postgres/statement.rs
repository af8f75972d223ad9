//! A statement with its parameters, which can be sent more than once.
//!
//! It changes no setting of its session, because a pooler such as PgBouncer may give each transaction another session.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::storage::{Error, HEAD_LEN, Head, LOCATOR_LEN, Locator};

type Parameter = (Box<dyn ToSql + Send + Sync>, Type);

#[derive(Clone)]
pub(super) struct Statement {
    pub(super) sql: Arc<str>,
    /// Whether the server should keep it prepared.
    pub(super) is_frequent: bool,
    parameters: Arc<Vec<Parameter>>,
}

impl Statement {
    /// A statement, in whose text `@.` stands for the schema.
    pub(super) fn new(schema: &str, text: &str) -> Self {
        // The name of a schema has no quotation marks: `PostgresConfig` has checked it.
        let sql = text.replace("@.", &format!("\"{schema}\".")).into();
        Self { sql, is_frequent: false, parameters: Arc::new(Vec::new()) }
    }

    /// Keeps it prepared: for a text that is always the same, and whose plan is good for all parameters.
    pub(super) fn frequent(self) -> Self {
        Self { is_frequent: true, ..self }
    }

    fn with(mut self, value: impl ToSql + Send + Sync + 'static, of: Type) -> Self {
        // There is no other reference yet.
        if let Some(parameters) = Arc::get_mut(&mut self.parameters) {
            parameters.push((Box::new(value), of));
        }
        self
    }

    pub(super) fn bytes(self, value: &[u8]) -> Self {
        self.with(value.to_vec(), Type::BYTEA)
    }

    pub(super) fn maybe_bytes(self, value: Option<&[u8]>) -> Self {
        self.with(value.map(<[u8]>::to_vec), Type::BYTEA)
    }

    pub(super) fn int(self, value: i64) -> Self {
        self.with(value, Type::INT8)
    }

    pub(super) fn maybe_int(self, value: Option<i64>) -> Self {
        self.with(value, Type::INT8)
    }

    pub(super) fn text(self, value: &str) -> Self {
        self.with(value.to_owned(), Type::TEXT)
    }

    pub(super) fn ints(self, values: impl Iterator<Item = Option<i64>>) -> Self {
        self.with(values.collect::<Vec<_>>(), Type::INT8_ARRAY)
    }

    pub(super) fn byte_arrays<'b>(self, values: impl Iterator<Item = Option<&'b [u8]>>) -> Self {
        self.with(values.map(|value| value.map(<[u8]>::to_vec)).collect::<Vec<_>>(), Type::BYTEA_ARRAY)
    }

    pub(super) fn locators<'l>(self, locators: impl Iterator<Item = &'l Locator>) -> Self {
        self.byte_arrays(locators.map(|locator| Some(&locator.as_bytes()[..])))
    }

    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.parameters.iter().map(|(value, _)| -> &(dyn ToSql + Sync) { &**value }).collect()
    }

    pub(super) fn types(&self) -> Vec<Type> {
        self.parameters.iter().map(|(_, of)| of.clone()).collect()
    }

    pub(super) fn typed_parameters(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.parameters().into_iter().zip(self.types()).collect()
    }
}

/// A column. Another type or NULL is damage: the statements and the tables belong together.
pub(super) fn column<'r, T: tokio_postgres::types::FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, Error> {
    row.try_get(column).map_err(|_| Error::Corrupt)
}

pub(super) fn locator(row: &Row, at: usize) -> Result<Locator, Error> {
    let bytes = <[u8; LOCATOR_LEN]>::try_from(column::<&[u8]>(row, at)?).map_err(|_| Error::Corrupt)?;
    Ok(Locator::from_bytes(bytes))
}

pub(super) fn head(row: &Row, at: usize) -> Result<Head, Error> {
    let head: &[u8] = column(row, at)?;
    Head::of(head).filter(|_| head.len() == HEAD_LEN).ok_or(Error::Corrupt)
}

pub(super) fn unsigned(row: &Row, at: usize) -> Result<u64, Error> {
    u64::try_from(column::<i64>(row, at)?).map_err(|_| Error::Corrupt)
}
