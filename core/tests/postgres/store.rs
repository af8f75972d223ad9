//! The store in PostgreSQL: random operations, and what a dump reveals.

use std::path::Path;
use std::process::{Command, Stdio};

use strongroom::storage::PostgresConfig;
use strongroom::{Builder, IndexKey, Strongroom};

use crate::support::model::{Place, check_model, check_model_of_threads};
use crate::support::postgres::Postgres;
use crate::support::rounds::rounds;
use crate::support::scanner::Scanner;
use crate::support::wait::{DEADLINE, WaitWithin};

fn builder(folder: &Path) -> Builder {
    let config = PostgresConfig::new(&Postgres::shared().url_for(folder)).unwrap();
    Strongroom::builder().postgres(config)
}

fn place(folder: &Path) -> Place {
    let folder = folder.to_path_buf();
    Place::new(move || builder(&folder))
}

#[test]
fn random_operations_are_those_of_a_map() {
    let folder = tempfile::tempdir().unwrap();
    check_model(&place(folder.path()), rounds(30, 300));
    let folder = tempfile::tempdir().unwrap();
    check_model_of_threads(&place(folder.path()), rounds(10, 100));
}

#[test]
fn a_dump_reveals_no_id_and_no_data() {
    let folder = tempfile::tempdir().unwrap();
    let index_key = IndexKey::generate().unwrap();
    let mut scanner = Scanner::default();
    scanner.add("the index key", index_key.expose_bytes());
    let store = builder(folder.path()).index_key(index_key).open().unwrap();
    let clinic = store.namespace("namespace-of-the-clinic").unwrap();
    scanner.add("the namespace", b"namespace-of-the-clinic");
    for n in 0..100 {
        let (id, data) = (format!("patient-{n:08}@clinic.example"), format!("diagnosis {n:06} is confidential"));
        let data = if n == 50 { data.repeat(60_000) } else { data };
        let key = clinic.store(&id, &data).unwrap();
        scanner.add("an id", id.as_bytes());
        scanner.add("data", &data.as_bytes()[..30]);
        scanner.add("a record key", key.expose_bytes());
    }
    let schema = crate::support::postgres::schema_of(folder.path());
    let dump = || dump(&schema);
    assert!(dump().len() > 3_000_000);
    assert_eq!(scanner.find(&dump()), None);
    // The control.
    Postgres::shared()
        .sql(&format!("UPDATE {schema}.settings SET document = document || 'patient-00000007@clinic.example'"));
    assert_eq!(scanner.find(&dump()), Some("an id (hex)"));
}

fn dump(schema: &str) -> Vec<u8> {
    let folder = std::env::var_os("STRONGROOM_TEST_POSTGRES").unwrap_or_default();
    let (server, mut command) = (Postgres::shared(), Command::new(Path::new(&folder).join("pg_dump")));
    command.args(["-h", server.socket().parent().unwrap().to_str().unwrap(), "-p", &server.port().to_string()]);
    command.args(["-U", "strongroom", "-n", schema, "postgres"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let output = command.spawn().unwrap().output_within(DEADLINE);
    assert!(output.status.success());
    output.stdout
}
