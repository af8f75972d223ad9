//! A connection, and the statements that the server keeps prepared for it.
//!
//! A pooler such as PgBouncer may give each transaction another session of the server, which does not know the
//! statement of a name, or knows another program's. So statements are prepared only in a session that this connection
//! has begun itself: a random setting among the connection's start options marks it. Poolers refuse or drop it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Row};

use super::statement::Statement;

/// The plan of a prepared statement is made for the size that the table has then, so it is made anew after this time.
const PLAN_AGE: Duration = Duration::from_secs(10);

/// A process of the server: its number, and its start in microseconds of Unix time, because numbers are used again.
pub(super) type Process = (i32, i64);
/// The server's processes of ended connections.
pub(super) type Ended = Arc<Mutex<Vec<Process>>>;

/// Ends when it is dropped.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) task: AbortHandle,
    /// Whether the session belongs to this connection.
    keeps_statements: AtomicBool,
    prepared: Mutex<HashMap<Arc<str>, (Instant, tokio_postgres::Statement)>>,
    /// The server's process, and where it is noted at the end.
    process: OnceLock<(Process, Ended)>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
        if let Some((process, ended)) = self.process.get() {
            ended.lock().unwrap_or_else(PoisonError::into_inner).push(*process);
        }
    }
}

impl Connection {
    pub(super) fn new(client: Client, task: AbortHandle) -> Self {
        Self {
            client,
            task,
            keeps_statements: AtomicBool::new(false),
            prepared: Mutex::default(),
            process: OnceLock::new(),
        }
    }

    pub(super) fn note_end(&self, process: Process, ended: &Ended) {
        let _ = self.process.set((process, Arc::clone(ended))); // it is set once
    }

    pub(super) fn keep_statements(&self) {
        self.keeps_statements.store(true, Ordering::Relaxed);
    }

    fn keeps_statements(&self) -> bool {
        self.keeps_statements.load(Ordering::Relaxed)
    }

    pub(super) async fn run(&self, statement: &Statement) -> Result<Vec<Row>, Error> {
        if statement.is_frequent && self.keeps_statements() {
            match self.run_prepared(statement).await {
                // Nothing was done: the session is another one after all.
                Err(error) if is_foreign(&error) => self.keeps_statements.store(false, Ordering::Relaxed),
                outcome => return outcome,
            }
        }
        self.client.query_typed(&statement.sql, &statement.typed_parameters()).await
    }

    async fn run_prepared(&self, statement: &Statement) -> Result<Vec<Row>, Error> {
        let known = self.prepared().get(&statement.sql).filter(|(since, _)| since.elapsed() < PLAN_AGE).cloned();
        let prepared = match known {
            Some((_, prepared)) => prepared,
            None => {
                let prepared = self.client.prepare_typed(&statement.sql, &statement.types()).await?;
                self.prepared().insert(Arc::clone(&statement.sql), (Instant::now(), prepared.clone()));
                prepared
            }
        };
        self.client.query(&prepared, &statement.parameters()).await
    }

    /// No code panics while it holds this lock.
    fn prepared(&self) -> MutexGuard<'_, HashMap<Arc<str>, (Instant, tokio_postgres::Statement)>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_foreign(error: &Error) -> bool {
    let foreign = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT];
    error.code().is_some_and(|code| foreign.contains(code))
}
