//! The connections. Each serves many callers at once, because PostgreSQL reads the next statement while it works.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connection::{Connection, Ended, Process};
use super::error::{Failure, TooLate};
use super::statement::{Statement, column};
use crate::storage::{Durability, Error};
use crate::util::random;

/// The most connections.
const CONNECTIONS: usize = 8;
/// The number of ended connections for which the server may still work, before another connection is added.
const ENDED_CONNECTIONS: usize = 8;
/// How long no connection is added after one could not be made.
const CROWDED_TIME: Duration = Duration::from_secs(5);
/// The weight of a long statement on a shared connection: other statements take another connection if there is one.
const LONG_WEIGHT: usize = 1 << 20;
/// The setting that marks a session as that of one connection.
const MARK: &str = "strongroom.session";

pub(super) struct Pool {
    /// One configuration for each host.
    hosts: Vec<Config>,
    tls: Option<MakeRustlsConnect>,
    durability: Durability,
    /// The time limit of a new connection.
    connect_time: Duration,
    /// Whether a pooler has refused to mark a session.
    refuses_marks: AtomicBool,
    /// When a connection could last not be made.
    crowded: std::sync::Mutex<Option<Instant>>,
    ended: Ended,
    slots: [Slot; CONNECTIONS],
    /// The right to run a long statement.
    long: Mutex<()>,
}

/// A place for a connection.
#[derive(Default)]
struct Slot {
    /// The number of running statements; a long one counts more.
    running: AtomicUsize,
    connection: Mutex<Option<Arc<Connection>>>,
}

/// A place with a running statement.
struct Running<'s>(&'s Slot, usize);

impl<'s> Running<'s> {
    fn new(slot: &'s Slot, weight: usize) -> Self {
        slot.running.fetch_add(weight, Ordering::Relaxed);
        Self(slot, weight)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Pool {
    pub(super) fn new(
        hosts: Vec<Config>,
        tls: Option<MakeRustlsConnect>,
        durability: Durability,
        connect_time: Duration,
    ) -> Self {
        let (refuses_marks, crowded, ended, slots, long) = Default::default();
        Self { hosts, tls, durability, connect_time, refuses_marks, crowded, ended, slots, long }
    }

    /// Runs one statement, which is a transaction of its own. A statement without an answer in time ends its
    /// connection, but is never cancelled: a cancelled commit may still succeed.
    pub(super) async fn run(&self, statement: &Statement, end: Instant) -> Result<Vec<Row>, Failure> {
        self.run_shared(statement, end, 1).await
    }

    /// Runs a statement that may look at all rows. On a shared connection, the statements behind it would wait for its
    /// end, and end the connection when their time is over. So it has a connection of its own if the server has a place
    /// for it, and only one such statement runs at a time.
    pub(super) async fn run_long(&self, statement: &Statement, end: Instant) -> Result<Vec<Row>, Failure> {
        let _turn = timeout_at(end, self.long.lock()).await.map_err(|_| Failure::NotDone(Error::Busy))?;
        let Ok(connection) = self.connect(self.connect_end(end)).await else {
            return self.run_shared(statement, end, LONG_WEIGHT).await;
        };
        let outcome = timeout_at(end, connection.run(statement)).await.map_err(|_| Failure::Lost(TooLate.into()))?;
        outcome.map_err(|error| Failure::of_long_statement(&error))
    }

    async fn run_shared(&self, statement: &Statement, end: Instant, weight: usize) -> Result<Vec<Row>, Failure> {
        let (running, connection) = self.take(end, weight).await?;
        let slot = running.0;
        match timeout_at(end, connection.run(statement)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => {
                let failure = Failure::of_statement(&error);
                // A server that became a standby keeps its connections.
                if matches!(failure, Failure::Lost(_) | Failure::NotDone(Error::Backend(_))) {
                    slot.discard(&connection).await;
                }
                Err(failure)
            }
            Err(_) => {
                slot.discard(&connection).await;
                Err(Failure::Lost(TooLate.into()))
            }
        }
    }

    /// Runs several statements in one transaction, which is not repeated.
    pub(super) async fn run_script(&self, script: &str, end: Instant) -> Result<(), Failure> {
        let (running, connection) = self.take(end, 1).await?;
        match timeout_at(end, connection.client.batch_execute(script)).await {
            Ok(outcome) => outcome.map_err(|error| Failure::of_statement(&error)),
            Err(_) => {
                running.0.discard(&connection).await;
                Err(Failure::Lost(TooLate.into()))
            }
        }
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        for slot in &self.slots {
            slot.connection.lock().await.take();
        }
    }

    /// The connection for a statement: the first of those with the fewest running statements, so that one caller uses
    /// one connection. If another connection cannot be made, those that exist still serve all callers.
    async fn take(&self, end: Instant, weight: usize) -> Result<(Running<'_>, Arc<Connection>), Failure> {
        let is_crowded = self.crowded_since().is_some_and(|since| since.elapsed() < CROWDED_TIME);
        let open = self.least_busy(Slot::is_open);
        // An attempt to connect leaves some time to the connection that exists.
        let connect_end = if open.is_some() { share(end, 2, Duration::MAX) } else { end };
        let slot = open.filter(|_| is_crowded).or_else(|| self.least_busy(|_| true)).ok_or(Error::Closed)?;
        let (running, begun) = (Running::new(slot, weight), Instant::now());
        match self.connection_until(slot, connect_end).await {
            Ok(connection) => Ok((running, connection)),
            Err(failure) => {
                // A caller without time tells nothing about the server.
                if matches!(failure, Failure::Crowded(_)) || begun.elapsed() >= self.connect_time / 4 {
                    *self.crowded_since() = Some(Instant::now());
                }
                drop(running);
                let slot = self.least_busy(Slot::is_open).ok_or(failure)?;
                let running = Running::new(slot, weight);
                Ok((running, self.connection_until(slot, end).await?))
            }
        }
    }

    fn least_busy(&self, is_wanted: impl Fn(&Slot) -> bool) -> Option<&Slot> {
        let wanted = self.slots.iter().filter(|slot| is_wanted(slot));
        wanted.min_by_key(|slot| slot.running.load(Ordering::Relaxed))
    }

    /// No code panics while it holds this lock.
    fn crowded_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.crowded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No code panics while it holds this lock.
    fn ended(&self) -> MutexGuard<'_, Vec<Process>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect_end(&self, end: Instant) -> Instant {
        end.min(Instant::now() + self.connect_time)
    }

    /// Waits for a connection, but not for longer than a new one may take.
    async fn connection_until(&self, slot: &Slot, end: Instant) -> Result<Arc<Connection>, Failure> {
        let end = self.connect_end(end);
        let mut place = timeout_at(end, slot.connection.lock()).await.map_err(|_| Failure::no_answer())?;
        if let Some(connection) = place.as_ref().filter(|connection| !connection.client.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        *place = None;
        let connection = Arc::new(self.connect(end).await?);
        *place = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Connects to the first host that accepts. The hosts share the time, so that a silent one leaves some to the
    /// others; the client's own loop over the hosts would not, and would report only the last one's failure.
    async fn connect(&self, end: Instant) -> Result<Connection, Failure> {
        let (hosts, mut failures) = (self.ordered(&self.hosts)?, Vec::new());
        for (n, host) in hosts.iter().enumerate() {
            let host_end = share(end, hosts.len() - n, Duration::MAX);
            let longest = host.get_connect_timeout().copied().unwrap_or(Duration::MAX);
            let found = timeout_at(share(host_end, 1, longest), addresses(host)).await;
            let addresses = match found.unwrap_or_else(|_| Err(Failure::no_answer())) {
                Ok(addresses) => self.ordered(addresses)?,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            };
            for (n, address) in addresses.iter().enumerate() {
                let address_end = share(host_end, addresses.len() - n, longest);
                let connection = timeout_at(address_end, self.connect_to(address)).await;
                match connection.unwrap_or_else(|_| Err(Failure::no_answer())) {
                    Ok(connection) => return Ok(connection),
                    Err(failure) => failures.push(failure),
                }
            }
        }
        Err(Failure::of_hosts(failures))
    }

    /// The hosts or addresses in the order in which they are tried: at random with `load_balance_hosts=random`.
    fn ordered<T>(&self, items: impl IntoIterator<Item = T>) -> Result<Vec<T>, Failure> {
        let is_random = self.hosts.iter().any(|host| host.get_load_balance_hosts() == LoadBalanceHosts::Random);
        let place = || if is_random { random_number() } else { Ok(0) };
        let placed = items.into_iter().map(|item| Ok((place()?, item))).collect::<Result<Vec<_>, Failure>>();
        let mut placed = placed?;
        placed.sort_by_key(|(place, _)| *place);
        Ok(placed.into_iter().map(|(_, item)| item).collect())
    }

    async fn connect_to(&self, address: &Config) -> Result<Connection, Failure> {
        if !self.refuses_marks.load(Ordering::Relaxed) {
            let mark = random_number()?.to_string();
            let mut config = address.clone();
            let options = config.get_options().unwrap_or_default();
            config.options(format!("{options} -c {MARK}={mark}"));
            match self.connect_as(&config).await {
                Err(error) if error.code() == Some(&SqlState::PROTOCOL_VIOLATION) => {}
                outcome => {
                    let connection = outcome.map_err(|error| Failure::of_connect(&error))?;
                    if check_settings(&connection.client, self.durability).await?.as_ref() == Some(&mark) {
                        connection.keep_statements();
                        self.begin_session(&connection).await?;
                    }
                    return Ok(connection);
                }
            }
        }
        let connection = self.connect_as(address).await.map_err(|error| Failure::of_connect(&error))?;
        self.refuses_marks.store(true, Ordering::Relaxed);
        check_settings(&connection.client, self.durability).await?;
        Ok(connection)
    }

    /// Lets the server end a statement soon after its connection has ended. Some statements go on, such as a commit that
    /// waits for a standby: while there are many of them, each further connection could only add one. An ended session
    /// without a statement begins none; the server finds its end much later if the network has failed.
    async fn begin_session(&self, connection: &Connection) -> Result<(), Failure> {
        // Servers before version 14 refuse this.
        let _ = connection.client.batch_execute("SET client_connection_check_interval = '1s'").await;
        let ended = self.ended().clone();
        let (numbers, starts): (Vec<i32>, Vec<i64>) = ended.iter().copied().unzip();
        let sql = "SELECT pid, start, pid = pg_backend_pid() FROM
                (SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint AS start, coalesce(state, '') AS state
                FROM pg_catalog.pg_stat_activity) AS process
            WHERE start IS NOT NULL
                AND (pid = pg_backend_pid() OR state NOT LIKE 'idle%'
                    AND (pid, start) IN (SELECT * FROM unnest($1::int4[], $2::int8[])))";
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&numbers, Type::INT4_ARRAY), (&starts, Type::INT8_ARRAY)];
        let rows = match connection.client.query_typed(sql, &parameters).await {
            // The role may not see the sessions.
            Err(error) if error.as_db_error().is_some() => return Ok(()),
            rows => rows.map_err(|error| Failure::of_connect(&error))?,
        };
        let mut running = Vec::new();
        for row in &rows {
            let process: Process = (column(row, 0)?, column(row, 1)?);
            match column(row, 2)? {
                true => connection.note_end(process, &self.ended),
                false => running.push(process),
            }
        }
        self.ended().retain(|process| running.contains(process) || !ended.contains(process));
        if running.len() >= ENDED_CONNECTIONS {
            return Err(Failure::Crowded(Error::Busy));
        }
        Ok(())
    }

    async fn connect_as(&self, config: &Config) -> Result<Connection, tokio_postgres::Error> {
        match self.tls.as_ref().filter(|_| config.get_ssl_mode() == SslMode::Require) {
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                let task = tokio::spawn(async move { drop(connection.await) }).abort_handle();
                Ok(Connection::new(client, task))
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                let task = tokio::spawn(async move { drop(connection.await) }).abort_handle();
                Ok(Connection::new(client, task))
            }
        }
    }
}

impl Slot {
    /// Whether there is a connection. One that is being made does not count.
    fn is_open(&self) -> bool {
        let connection = self.connection.try_lock();
        connection.is_ok_and(|place| place.as_ref().is_some_and(|connection| !connection.client.is_closed()))
    }

    /// Ends a connection, unless another caller has replaced it.
    async fn discard(&self, connection: &Arc<Connection>) {
        connection.task.abort();
        let mut place = self.connection.lock().await;
        if place.as_ref().is_some_and(|there| Arc::ptr_eq(there, connection)) {
            *place = None;
        }
    }
}

/// The end of one of `count` attempts that share the time until `end`. None takes longer than `longest`.
fn share(end: Instant, count: usize, longest: Duration) -> Instant {
    let now = Instant::now();
    let time = end.saturating_duration_since(now) / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    now + time.min(longest)
}

/// The configurations for the addresses of a host.
async fn addresses(host: &Config) -> Result<Vec<Config>, Failure> {
    let ([Host::Tcp(name)], []) = (host.get_hosts(), host.get_hostaddrs()) else { return Ok(vec![host.clone()]) };
    let found = lookup_host((name.as_str(), 0)).await.map_err(|error| Failure::unreachable(&error.to_string()))?;
    let with_address = |address: SocketAddr| {
        let mut config = host.clone();
        config.hostaddr(address.ip());
        config
    };
    Ok(found.map(with_address).collect())
}

fn random_number() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    random::fill(&mut bytes).map_err(|error| Failure::Refused(Error::Backend(error.into())))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Refuses a server whose settings break the contract. A setting of the session would not help: behind a pooler, the
/// next transaction may have another session. Returns the session's mark.
async fn check_settings(client: &Client, durability: Durability) -> Result<Option<String>, Failure> {
    let sql = format!(
        "SELECT current_setting('transaction_isolation'), current_setting('fsync'),
        current_setting('full_page_writes'), current_setting('synchronous_commit'), current_setting('{MARK}', true)"
    );
    let rows = client.query_typed(&sql, &[]).await.map_err(|error| Failure::of_connect(&error))?;
    let values: Vec<Option<&str>> = rows
        .first()
        .map_or(Ok(Vec::new()), |row| (0..5).map(|at| row.try_get(at)).collect())
        .map_err(|error| Failure::of_connect(&error))?;
    let refuse = |text: String| Err(Failure::Refused(Error::InvalidArgument(text.into())));
    let is = |place: usize, wanted: &str| values.get(place).is_some_and(|value| *value == Some(wanted));
    if !is(0, "read committed") {
        return refuse(
            "the default isolation level of transactions must be READ COMMITTED: run `ALTER ROLE ... SET \
             default_transaction_isolation = 'read committed'` for this role"
                .into(),
        );
    }
    if durability == Durability::Full {
        for (place, name) in [(1, "fsync"), (2, "full_page_writes"), (3, "synchronous_commit")] {
            if is(place, "off") {
                return refuse(format!(
                    "PostgreSQL runs with {name} = off, so a crash would lose acknowledged records: turn it on, or open \
                     the store with relaxed durability"
                ));
            }
        }
    }
    Ok(values.get(4).copied().flatten().map(str::to_owned))
}
