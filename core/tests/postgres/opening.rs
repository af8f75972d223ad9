//! Opening a store in PostgreSQL: bad servers, bad roles and bad tables are told apart, and nothing is changed.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom::storage::{
    Durability, Error, Locator, MemoryStorage, PostgresConfig, PostgresStorage, PutMode, Storage,
};
use strongroom::{Location, Strongroom};

use crate::script::run_script;
use crate::steps::SCRIPT;
use crate::support::postgres::Postgres;
use crate::support::{index_key, pattern};

/// A name of this run: the server may be that of an earlier one.
fn unique(name: &str) -> String {
    format!("test_{name}_{}", std::process::id())
}

fn config(url: &str) -> PostgresConfig {
    PostgresConfig::new(url).unwrap().timeout(Duration::from_secs(6))
}

/// The error's name and text. The error must come within the time limit of a call.
fn refusal(config: &PostgresConfig) -> (&'static str, String) {
    let begun = Instant::now();
    let error: strongroom::Error = PostgresStorage::open(config).unwrap_err().into();
    assert!(begun.elapsed() < Duration::from_secs(60));
    (error.name(), error.full_message())
}

#[track_caller]
fn assert_refused(config: &PostgresConfig, name: &str, words: &str) {
    let (found, text) = refusal(config);
    assert!(found == name && text.contains(words), "{found}: {text}");
}

/// The URL by TCP, for a role with a password.
fn tcp_url(server: &Postgres, role: &str, database: &str, schema: &str) -> String {
    format!("postgres://{role}@127.0.0.1:{}/{database}?schema={schema}", server.port())
}

/// A role of this test, with a password.
fn role(server: &Postgres, name: &str) -> String {
    let name = unique(name);
    server.sql(&format!("CREATE ROLE {name} LOGIN PASSWORD 's3cret'"));
    name
}

#[test]
fn the_script_of_operations_runs() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::parse(Postgres::shared().url_for(folder.path())).unwrap();
    run_script(Strongroom::builder().location(location).index_key(index_key()).open().unwrap(), SCRIPT);
}

#[test]
fn a_store_opens_by_its_location() {
    let folder = tempfile::tempdir().unwrap();
    let url = Postgres::shared().url_for(folder.path());
    let open = || {
        let location = Location::parse(&url).unwrap();
        Strongroom::builder().location(location).index_key(index_key()).open().unwrap()
    };
    let store = open();
    let key = store.store("id", b"data").unwrap();
    let long = store.store("long", pattern(5_000_000)).unwrap();
    assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
    let other = open();
    assert!(other.retrieve("long", &long).unwrap() == pattern(5_000_000));
    assert_eq!(other.take("id", &key).unwrap(), b"data");
    assert!(!store.contains("id").unwrap());
    // Without an index key, no table is made.
    let folder = tempfile::tempdir().unwrap();
    let location = Location::parse(Postgres::shared().url_for(folder.path())).unwrap();
    assert_eq!(Strongroom::builder().location(location).open().unwrap_err().name(), "InvalidArgument");
}

#[test]
fn passwords_come_from_files_and_are_never_shown() {
    let (server, folder) = (Postgres::shared(), tempfile::tempdir().unwrap());
    let role = role(server, "reader");
    let url = tcp_url(server, &role, "postgres", &unique("passwords"));
    assert_refused(&config(&url), "AccessDenied", "passfile");
    let (found, text) = refusal(&config(&url).password("wr0ng".to_owned()));
    assert!(found == "AccessDenied" && !text.contains("wr0ng"), "{found}: {text}");

    let file = folder.path().join("pgpass");
    std::fs::write(&file, format!("*:*:*:{role}:s3cret\n")).unwrap();
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let with_file = config(&format!("{url}&passfile={}", file.display()));
    mode(0o666);
    assert_refused(&with_file, "InvalidArgument", "chmod 600");
    mode(0o600);
    assert_refused(&with_file, "InvalidArgument", "strongroom migrate"); // it may connect, but not make tables
    assert_refused(&config(&url).password("s3cret".to_owned()), "InvalidArgument", "strongroom migrate");
}

/// The service files are named by the process's environment, so this runs in a process of its own.
#[test]
fn a_service_file_names_the_database() {
    const TEST: &str = "opening::a_service_file_names_the_database";
    if std::env::var_os("PGSERVICEFILE").is_some() {
        let open = |url| PostgresStorage::open(&config(url)).map_err(strongroom::Error::from);
        let (storage, locator) = (open("postgres://?service=records").unwrap(), Locator::from_bytes([1; 32]));
        storage.put(&locator, &[1; 100], PutMode::Create).unwrap();
        let by_environment = open("postgres://").unwrap();
        assert_eq!(by_environment.get(&locator).unwrap(), Some(vec![1; 100]));
        // The URL's options come first.
        assert!(open("postgres://nobody_here@/?service=records").unwrap_err().name() == "AccessDenied");
        assert!(open("postgres:///missing_here?service=records").unwrap_err().full_message().contains("missing_here"));
        let other = open("postgres:///?service=records&schema=test_service_other").unwrap();
        assert_eq!(other.list(None, 1).unwrap(), []);
        for (url, words) in [
            ("postgres://?service=unknown", "no service file has the section [unknown]"),
            ("postgres://?service=", "no service file has the section []"),
            ("postgres://?service=wrong", "colour"),
            ("postgres://?service=remote", "sslmode"),
        ] {
            let error = PostgresConfig::new(url).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("s3cret"), "{url}: {error}");
        }
        let file = std::env::var_os("PGSERVICEFILE").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        let error = PostgresConfig::new("postgres://?service=records").unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains("s3cret"), "{error}");
        return;
    }
    let (server, folder) = (Postgres::shared(), tempfile::tempdir().unwrap());
    let (role, schema) = (role(server, "served"), unique("service"));
    server.sql(&format!("GRANT CREATE ON DATABASE postgres TO {role}"));
    let (file, port) = (folder.path().join("services"), server.port());
    let section = |name: &str, host: &str, rest: &str| {
        format!("[{name}]\nhost={host}\nport={port}\nuser={role}\npassword=s3cret\nschema={schema}\n{rest}\n")
    };
    let sections = [
        section("records", "127.0.0.1,localhost", "dbname=postgres")
            .replace(&format!("port={port}"), &format!("port={port},{port}")),
        section("wrong", "127.0.0.1", "colour=red"),
        section("remote", "db.example", "sslmode=prefer"),
    ];
    std::fs::write(&file, sections.concat()).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args([TEST, "--exact", "--nocapture"]).env("PGSERVICEFILE", &file);
    child.env("PGSERVICE", "records").env("HOME", folder.path());
    crate::support::mounts::run(child);
}

/// As for a service without a home folder, in a process with its environment.
#[test]
fn no_home_folder_is_needed() {
    const TEST: &str = "opening::no_home_folder_is_needed";
    if std::env::var_os("PGSYSCONFDIR").is_some() {
        PostgresStorage::open(&config("postgres://?service=records")).unwrap();
        return;
    }
    let (server, folder) = (Postgres::shared(), tempfile::tempdir().unwrap());
    let (socket, port, schema) = (server.socket(), server.port(), unique("home"));
    let host = socket.parent().unwrap().display();
    let section = format!("[records]\nhost={host}\nport={port}\nuser=strongroom\ndbname=postgres\nschema={schema}\n");
    std::fs::write(folder.path().join("pg_service.conf"), section).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args([TEST, "--exact", "--nocapture"]).env("PGSYSCONFDIR", folder.path()).env("HOME", "/dev/null");
    child.env_remove("PGSERVICEFILE").env_remove("PGPASSFILE").env_remove("PGPASSWORD");
    crate::support::mounts::run(child);
}

/// In a process with such variables, and with files in its home folder.
#[test]
fn empty_variables_count_as_absent() {
    const TEST: &str = "opening::empty_variables_count_as_absent";
    const VARIABLES: [&str; 6] = ["PGPASSWORD", "PGPASSFILE", "PGUSER", "PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR"];
    if let Some(url) = std::env::var_os(crate::support::mounts::FOLDER) {
        PostgresStorage::open(&config(url.to_str().unwrap())).unwrap(); // by ~/.pgpass, as the system's user
        PostgresStorage::open(&config("postgres://?service=records")).unwrap();
        return;
    }
    let (server, folder) = (Postgres::shared(), tempfile::tempdir().unwrap());
    let (schema, port) = (unique("empty_variables"), server.port());
    let user = std::process::Command::new("id").arg("-un").output().unwrap().stdout;
    let role = String::from_utf8(user).unwrap().trim().to_owned();
    server.sql(&format!(
        "DO $$ BEGIN CREATE ROLE \"{role}\" LOGIN PASSWORD 's3cret'; EXCEPTION WHEN duplicate_object THEN END $$"
    ));
    server.sql(&format!("GRANT CREATE ON DATABASE postgres TO \"{role}\""));
    let passwords = folder.path().join(".pgpass");
    std::fs::write(&passwords, format!("*:*:*:{role}:s3cret\n")).unwrap();
    std::fs::set_permissions(&passwords, std::fs::Permissions::from_mode(0o600)).unwrap();
    let section = format!("[records]\nhost=127.0.0.1\nport={port}\ndbname=postgres\nschema={schema}\n");
    std::fs::write(folder.path().join(".pg_service.conf"), section).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args([TEST, "--exact", "--nocapture"]).env("HOME", folder.path()).env("USER", "nobody_here");
    child.env(crate::support::mounts::FOLDER, format!("postgres://127.0.0.1:{port}/postgres?schema={schema}"));
    child.envs(VARIABLES.map(|name| (name, "")));
    crate::support::mounts::run(child);
}

#[test]
fn a_role_needs_no_right_to_change_tables() {
    let (server, schema) = (Postgres::shared(), unique("roles"));
    let (role, schema) = (role(server, "service"), schema.as_str());
    let owner = PostgresStorage::migrate(&config(&server.url(schema)), Some(&role)).unwrap();
    drop(PostgresStorage::migrate(&config(&server.url(schema)), Some(&role)).unwrap()); // a second time
    let service =
        PostgresStorage::open(&config(&tcp_url(server, &role, "postgres", schema)).password("s3cret".to_owned()));
    let service = Arc::new(service.unwrap());
    let (locator, record) = (Locator::from_bytes([1; 32]), vec![1; 3_000_000]);
    service.put(&locator, &record, PutMode::Create).unwrap();
    assert!(owner.get(&locator).unwrap() == Some(record));
    service.swap_settings(None, b"document").unwrap();
    service.maintain().unwrap();
    assert!(service.delete(&locator, None).unwrap());
    server.sql(&format!("REVOKE DELETE ON {schema}.records FROM {role}"));
    assert!(matches!(service.delete(&locator, None), Err(Error::AccessDenied(_))));
    assert!(matches!(
        PostgresStorage::migrate(&config(&server.url(schema)), Some("test_nobody")),
        Err(Error::Backend(_))
    ));
}

/// PostgreSQL only warns about what the owner of the tables may not grant.
#[test]
fn a_role_that_could_not_open_the_store_is_refused() {
    let (server, schema, owner) = (Postgres::shared(), unique("grants"), unique("grants_owner"));
    server.sql(&format!("CREATE ROLE {owner} LOGIN; CREATE SCHEMA {schema}"));
    server.sql(&format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {owner}"));
    let url = server.url(&schema).replace("strongroom@", &format!("{owner}@"));
    let open = |role: &str| PostgresStorage::open(&config(&url.replace(&owner, role)));
    let migrate = |role: &str| PostgresStorage::migrate(&config(&url), Some(role)).map(drop);
    let refusal = |role: &str| match migrate(role) {
        Err(Error::AccessDenied(source)) => source.to_string(),
        other => panic!("{other:?}"),
    };
    let role = role(server, "granted");
    assert!(refusal(&role).contains("must run this"));
    assert!(matches!(open(&role), Err(Error::AccessDenied(_))));
    server.sql(&format!("GRANT USAGE ON SCHEMA {schema} TO {role}"));
    migrate(&role).unwrap();
    drop(open(&role).unwrap());

    server.sql(&format!("ALTER TABLE {schema}.schema_version OWNER TO strongroom"));
    server.sql(&format!("REVOKE ALL ON {schema}.schema_version FROM {role}"));
    server.sql(&format!("GRANT SELECT ON {schema}.schema_version TO {owner}"));
    assert!(refusal(&role).contains("must run this"));
    assert!(matches!(open(&role), Err(Error::AccessDenied(_))));
}

#[test]
fn a_role_that_may_not_connect_is_refused() {
    let (server, database) = (Postgres::shared(), unique("unconnected"));
    let role = role(server, "unconnected_role");
    server.sql(&format!("CREATE DATABASE {database}"));
    server.sql(&format!("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"));
    let config = config(&server.url("test_unconnected").replace("/postgres?", &format!("/{database}?")));
    let refused = PostgresStorage::migrate(&config, Some(&role));
    assert!(matches!(&refused, Err(Error::AccessDenied(text)) if text.to_string().contains("GRANT CONNECT")));
    server.sql(&format!("GRANT CONNECT ON DATABASE {database} TO {role}"));
    drop(PostgresStorage::migrate(&config, Some(&role)).unwrap());
}

#[test]
fn missing_servers_and_databases_are_told() {
    let server = Postgres::shared();
    let role = role(server, "lost");
    let url = tcp_url(server, &role, "missing", "test_missing");
    assert_refused(&config(&url).password("s3cret".to_owned()), "InvalidArgument", "create the database");
    assert_refused(&config("postgres://u@127.0.0.1:1/db"), "Storage", "cannot be reached");
    assert_refused(&config("postgres://u@localhost:1,127.0.0.1:1/db"), "Storage", "cannot be reached");
}

/// A host that is down does not hide the failure of another one, before or behind it.
#[test]
fn the_failure_of_a_host_that_answers_is_told() {
    let server = Postgres::shared();
    let (role, host) = (role(server, "several"), format!("127.0.0.1:{}", server.port()));
    for hosts in [format!("{host},127.0.0.1:1"), format!("127.0.0.1:1,{host}")] {
        let config = |database: &str| config(&format!("postgres://{role}@{hosts}/{database}?schema=test_several"));
        assert_refused(&config("postgres").password("wr0ng".to_owned()), "AccessDenied", "28P01");
        assert_refused(&config("postgres"), "AccessDenied", "passfile");
        assert_refused(&config("missing").password("s3cret".to_owned()), "InvalidArgument", "create the database");
    }
}

#[test]
fn foreign_and_newer_tables_are_refused() {
    let server = Postgres::shared();
    let [foreign, alike, newer, empty] = ["foreign", "alike", "newer", "empty"].map(unique);
    server.sql(&format!("CREATE SCHEMA {foreign}; CREATE TABLE {foreign}.records (id int)"));
    assert_refused(&config(&server.url(&foreign)), "InvalidArgument", "another application");
    let tables = ["records", "segments", "uploads", "settings", "schema_version"];
    let tables = tables.map(|table| format!("CREATE TABLE {alike}.{table} (id int)"));
    server.sql(&format!("CREATE SCHEMA {alike}; {}", tables.join("; ")));
    assert_refused(&config(&server.url(&alike)), "InvalidArgument", "another application");
    drop(PostgresStorage::open(&config(&server.url(&newer))).unwrap());
    server.sql(&format!("UPDATE {newer}.schema_version SET version = 2"));
    assert_refused(&config(&server.url(&newer)), "Unsupported", "newer Strongroom");
    // An empty schema, which an administrator has made, is used.
    server.sql(&format!("CREATE SCHEMA {empty}"));
    drop(PostgresStorage::open(&config(&server.url(&empty))).unwrap());
}

#[test]
fn several_processes_may_create_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&Postgres::shared().url_for(folder.path()));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| PostgresStorage::open(&config).unwrap());
        }
    });
}

#[test]
fn settings_that_lose_writes_are_refused() {
    let server = Postgres::shared();
    for (role, setting, value, words) in [
        ("careless", "synchronous_commit", "off", "synchronous_commit = off"),
        ("isolated", "default_transaction_isolation", "'repeatable read'", "READ COMMITTED"),
        ("reading", "default_transaction_read_only", "on", "primary server"),
    ] {
        let role = unique(role);
        server.sql(&format!("CREATE ROLE {role} LOGIN SUPERUSER; ALTER ROLE {role} SET {setting} = {value}"));
        let url = server.url(&unique("settings")).replace("strongroom@", &format!("{role}@"));
        let (_, text) = refusal(&config(&url));
        assert!(text.contains(words), "{text}");
        let relaxed = PostgresStorage::open(&config(&url).durability(Durability::Relaxed));
        assert_eq!(relaxed.is_ok(), setting == "synchronous_commit");
    }
}

#[test]
fn more_clients_than_connections_get_an_error() {
    let server = Postgres::shared();
    let role = unique("limited");
    server.sql(&format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 0"));
    let url = server.url("test_limited").replace("strongroom@", &format!("{role}@"));
    assert_refused(&config(&url), "Storage", "CONNECTION LIMIT of the role or database");
}

/// A trigger stands for the server's states: each refuses the write, and the next write succeeds.
#[test]
fn refusals_of_the_server_are_told_apart() {
    let (server, schema) = (Postgres::shared(), &unique("refusals"));
    let storage = PostgresStorage::open(&config(&server.url(schema))).unwrap();
    let record = [[1, 1, 0, 0].to_vec(), vec![0; 200]].concat();
    for (n, (state, name, words)) in [
        ("53100", "StorageFull", ""),
        ("53200", "Storage", "53200"),
        ("25006", "Storage", "primary server"),
        ("42501", "AccessDenied", "42501"),
        ("57014", "Storage", "statement_timeout"),
        ("40001", "Busy", ""),
        ("55P03", "Busy", ""),
        ("P0001", "Storage", "P0001"),
    ]
    .into_iter()
    .enumerate()
    {
        let locator = Locator::from_bytes([u8::try_from(n).unwrap(); 32]);
        server.sql(&format!(
            "CREATE OR REPLACE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{state}'; END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON {schema}.records EXECUTE FUNCTION {schema}.refuse()"
        ));
        let error: strongroom::Error = storage.put(&locator, &record, PutMode::Create).unwrap_err().into();
        let text = error.full_message();
        assert!(error.name() == name && text.contains(words), "{state}: {} {text}", error.name());
        server.sql(&format!("DROP TRIGGER refuse ON {schema}.records"));
        assert!(storage.info(&locator).unwrap().is_none(), "{state}");
        storage.put(&locator, &record, PutMode::Create).unwrap();
    }
}

/// Makes a trigger that stands for a server which ends the session of a first attempt.
fn end_first_attempt(schema: &str, n: usize, state: &str, [event, each, result]: [&str; 3]) {
    Postgres::shared().sql(&format!(
        "CREATE SEQUENCE {schema}.attempts_{n};
        CREATE FUNCTION {schema}.end_{n}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('{schema}.attempts_{n}') = 1 THEN RAISE EXCEPTION 'ended' USING ERRCODE = '{state}'; END IF;
            RETURN {result};
        END $$;
        CREATE TRIGGER end_{n} BEFORE {event} ON {schema}.records
            FOR EACH {each} EXECUTE FUNCTION {schema}.end_{n}()"
    ));
}

/// The write is repeated.
#[test]
fn a_session_that_the_server_ends_is_replaced() {
    let (server, schema) = (Postgres::shared(), &unique("ended"));
    let storage = PostgresStorage::open(&config(&server.url(schema))).unwrap();
    let record = [[1, 1, 0, 0].to_vec(), vec![0; 200]].concat();
    for (n, state) in ["57P01", "57P05", "25P03", "25P04", "08006"].into_iter().enumerate() {
        end_first_attempt(schema, n, state, ["INSERT", "STATEMENT", "NULL"]);
        let locator = Locator::from_bytes([u8::try_from(n).unwrap(); 32]);
        if let Err(error) = storage.put(&locator, &record, PutMode::Create) {
            panic!("{state}: {error:?}");
        }
        assert_eq!(storage.get(&locator).unwrap().as_ref(), Some(&record), "{state}");
    }
}

/// An idle session had not begun the statement.
#[test]
fn a_session_that_ends_while_idle_leaves_no_doubt() {
    let (server, schema) = (Postgres::shared(), &unique("doubt"));
    let storage = PostgresStorage::open(&config(&server.url(schema))).unwrap();
    let record = [[1, 1, 0, 0].to_vec(), vec![0; 200]].concat();
    for (n, (state, is_known)) in [("57P05", true), ("25P03", true), ("25P04", false)].into_iter().enumerate() {
        let locator = Locator::from_bytes([n as u8; 32]);
        storage.put(&locator, &record, PutMode::Create).unwrap();
        end_first_attempt(schema, n, state, ["DELETE", "ROW", "OLD"]);
        let outcome = storage.delete(&locator, None);
        assert!(if is_known { matches!(outcome, Ok(true)) } else { outcome.is_err() }, "{state}: {outcome:?}");
        server.sql(&format!("DROP TRIGGER end_{n} ON {schema}.records"));
    }
}

/// As proxies and firewalls end idle connections.
#[test]
fn connections_that_end_while_idle_are_replaced() {
    let (server, schema, role) = (Postgres::shared(), unique("idle"), unique("idle_role"));
    server.sql(&format!("CREATE ROLE {role} LOGIN SUPERUSER"));
    let url = server.url(&schema).replace("strongroom@", &format!("{role}@"));
    let store = Strongroom::builder().postgres(config(&url)).index_key(index_key()).open().unwrap();
    for n in 0..20_u8 {
        let end = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{role}'");
        assert_ne!(server.sql(&end), "0");
        let key = store.store([n], b"data").unwrap();
        assert_ne!(server.sql(&end), "0");
        assert_eq!(store.retrieve([n], &key).unwrap(), b"data");
    }
}

/// Such a row shows no version that could be replaced: it is overwritten, by records of each length.
#[test]
fn a_row_without_a_readable_head_or_length_is_restored() {
    let (server, schema) = (Postgres::shared(), &unique("headless"));
    let storage = Arc::new(PostgresStorage::open(&config(&server.url(schema))).unwrap());
    let copy = MemoryStorage::new();
    let record = |len| [[1, 1, 0, 0].to_vec(), vec![0; 64], pattern(len)].concat();
    let mut records = Vec::new();
    for damage in ["head = 'x'", "len = -1", "len = 5"] {
        for len in [100, 500_000, 3_000_000] {
            let (locator, record) = (Locator::from_bytes([records.len() as u8; 32]), record(len));
            storage.put(&locator, &record, PutMode::Create).unwrap();
            copy.put(&locator, &record, PutMode::Create).unwrap();
            let at = format!("locator = decode('{}', 'hex')", locator.to_hex());
            server.sql(&format!("UPDATE {schema}.records SET {damage} WHERE {at}"));
            assert!(matches!(storage.info(&locator), Err(Error::Corrupt)), "{damage}");
            records.push((locator, record));
        }
    }
    let restored = Arc::clone(&storage).repair(&copy).unwrap().restored;
    assert_eq!(restored, records.iter().map(|(locator, _)| *locator).collect::<Vec<_>>());
    for (locator, record) in &records {
        assert!(storage.get(locator).unwrap().unwrap() == *record);
    }
    // Without a repair, too.
    let (locator, long) = records.last().unwrap();
    server.sql(&format!("UPDATE {schema}.records SET head = 'x'"));
    assert!(matches!(storage.put(locator, long, PutMode::Create), Err(Error::Corrupt)));
    storage.put(locator, long, PutMode::Overwrite).unwrap();
    assert!(storage.get(locator).unwrap().unwrap() == *long);
    storage.close().unwrap();
    let closed = Arc::clone(&storage).upload(locator, PutMode::Overwrite);
    assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
}

/// Such a row is named, and the records before and after it are checked.
#[test]
fn a_row_without_a_readable_locator_is_reported() {
    let (server, schema) = (Postgres::shared(), &unique("malformed"));
    let storage = PostgresStorage::open(&config(&server.url(schema))).unwrap();
    let record = [[1, 1, 0, 0].to_vec(), vec![0; 200]].concat();
    for n in 0..6 {
        storage.put(&Locator::from_bytes([n; 32]), &record, PutMode::Create).unwrap();
    }
    for (n, damaged) in [(1, "substr(locator, 2)"), (3, "locator || '\\x00'"), (4, "''"), (5, "repeat('x', 99)::bytea")]
    {
        let row = format!("locator = decode(repeat('{n:02x}', 32), 'hex')");
        server.sql(&format!("UPDATE {schema}.records SET locator = {damaged} WHERE {row}"));
    }
    for limit in [1, 100] {
        let (mut found, mut records, mut position) = (Vec::new(), 0, None);
        loop {
            let step = storage.verify(position.as_ref(), limit).unwrap();
            (records, position) = (records + step.records, step.next);
            found.extend(step.damage);
            if position.is_none() {
                break;
            }
        }
        assert_eq!((records, found), (2, Vec::new()));
    }
    let step = storage.verify(Some(&strongroom::storage::VerifyPosition::Structure), 1).unwrap();
    let mut found: Vec<_> = step.damage.iter().map(ToString::to_string).collect();
    found.sort();
    let rows = ["01".repeat(31), "03".repeat(32) + "00", "78".repeat(64), String::new()];
    assert_eq!(found, rows.map(|row| format!("- row {row}: malformed")));
}

#[test]
fn damage_is_found_and_leftovers_are_removed() {
    let (server, schema) = (Postgres::shared(), &unique("damage"));
    let storage = Arc::new(PostgresStorage::open(&config(&server.url(schema))).unwrap());
    let copy = MemoryStorage::new();
    let long = [[1, 1, 0, 0].to_vec(), vec![0; 64], pattern(3_000_000)].concat();
    for n in 1..6 {
        let record = if n < 3 { &long[..200] } else { &long[..] };
        storage.put(&Locator::from_bytes([n; 32]), record, PutMode::Create).unwrap();
        copy.put(&Locator::from_bytes([n; 32]), record, PutMode::Create).unwrap();
    }
    let of = |n: u8| format!("locator = decode(repeat('{n:02x}', 32), 'hex')");
    let upload = |n| format!("(SELECT upload FROM {schema}.records WHERE {})", of(n));
    server.sql(&format!("UPDATE {schema}.records SET body = body || 'x' WHERE {}", of(1)));
    server.sql(&format!("UPDATE {schema}.records SET expires_at = 7 WHERE {}", of(2)));
    server.sql(&format!(
        "UPDATE {schema}.segments SET bytes = set_byte(bytes, 9, 0) WHERE n = 1 AND upload = {}",
        upload(3)
    ));
    server.sql(&format!("DELETE FROM {schema}.segments WHERE n = 2 AND upload = {}", upload(4)));
    server.sql(&format!("INSERT INTO {schema}.segments VALUES (7, 0, 0, 'x')"));
    server.sql(&format!("INSERT INTO {schema}.uploads VALUES (8, now() - interval '2 hours'), (9, now())"));
    server.sql(&format!("INSERT INTO {schema}.segments VALUES (8, 0, 0, 'x'), (9, 0, 0, 'x')"));
    let search = || {
        let (mut found, mut position) = (Vec::new(), None);
        loop {
            let step = storage.verify(position.as_ref(), 2).unwrap();
            found.extend(step.damage.iter().map(|damage| {
                format!("{:?} {} {}", damage.locator.map(|l| l.as_bytes()[0]), damage.place, damage.kind)
            }));
            position = step.next;
            if position.is_none() {
                return found;
            }
        }
    };
    let expected =
        ["Some(1) row checksum", "Some(2) row mismatch", "Some(3) segment 1 checksum", "Some(4) segment 2 missing"];
    assert_eq!(search(), expected);
    let orphans = || storage.verify(Some(&strongroom::storage::VerifyPosition::Structure), 1).unwrap().damage.len();
    assert_eq!(orphans(), 1);
    // A record that the copy lacks stays as it is.
    copy.delete(&Locator::from_bytes([2; 32]), None).unwrap();
    let restored = Arc::clone(&storage).repair(&copy).unwrap().restored;
    assert_eq!(restored, [1, 3, 4].map(|n| Locator::from_bytes([n; 32])));
    assert_eq!(search(), expected[1..2]);
    for n in [1, 3, 4, 5] {
        let record = if n < 3 { &long[..200] } else { &long[..] };
        assert!(storage.get(&Locator::from_bytes([n; 32])).unwrap().unwrap() == record);
    }
    assert_eq!(orphans(), 0);
    assert_eq!(server.sql(&format!("SELECT count(*) FROM {schema}.segments WHERE upload IN (7, 8, 9)")), "1");
}
