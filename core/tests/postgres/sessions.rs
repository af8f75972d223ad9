//! Statements are prepared only in a session of the server that belongs to the connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use strongroom::storage::{Error, Locator, PostgresConfig, PostgresStorage, PutMode, Storage};

use crate::support::postgres::Postgres;

/// Changes a message to the server, or answers it.
type Pooler = fn(&mut [u8]) -> Option<&'static [u8]>;

fn proxy(socket: PathBuf, pooler: Pooler) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, sent) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<u8>>>::default());
    let all = Arc::clone(&sent);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), UnixStream::connect(&socket).unwrap());
            let all = Arc::clone(&all);
            thread::spawn(move || forward(&client, &server, pooler, &all));
        }
    });
    (port, sent)
}

fn forward(client: &TcpStream, server: &UnixStream, pooler: Pooler, sent: &Mutex<Vec<u8>>) {
    let (mut back_client, mut back_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut back_server, &mut back_client);
        let _ = back_client.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(len @ 1..) = { client }.read(&mut buffer) {
        sent.lock().unwrap().extend_from_slice(&buffer[..len]);
        match pooler(&mut buffer[..len]) {
            Some(answer) => {
                let _ = { client }.write_all(answer);
                break;
            }
            None if { server }.write_all(&buffer[..len]).is_err() => break,
            None => {}
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

/// The places of Parse or Bind messages with the name of a statement.
fn named(bytes: &[u8], kind: u8) -> Vec<usize> {
    let at = if kind == b'B' { 6 } else { 5 }; // after the length, and the name of the portal
    let is_named = |window: &&[u8]| window[0] == kind && window[at] == b's' && window[at + 1].is_ascii_digit();
    let places = bytes.windows(8).enumerate().filter(|(_, window)| is_named(window));
    places.map(|(place, _)| place + at).collect()
}

/// The requests of a client through such a pooler: two new records, a second attempt of each, and four reads.
fn sent(name: &str, pooler: Pooler) -> Vec<u8> {
    let (server, schema) = (Postgres::shared(), format!("test_sessions_{name}_{}", std::process::id()));
    let (port, sent) = proxy(server.socket(), pooler);
    let url = format!("postgres://strongroom@127.0.0.1:{port}/postgres?schema={schema}");
    let storage = PostgresStorage::open(&PostgresConfig::new(&url).unwrap()).unwrap();
    for n in [1, 2] {
        let (locator, mut record) = (Locator::from_bytes([n; 32]), vec![n; 200]);
        record[..12].copy_from_slice(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        storage.put(&locator, &record, PutMode::Create).unwrap();
        let again = storage.put(&locator, &record, PutMode::Create);
        assert!(matches!(again, Err(Error::AlreadyExists)), "{again:?}");
        for _ in 0..2 {
            assert_eq!(storage.get(&locator).unwrap().unwrap(), record);
        }
    }
    drop(storage);
    sent.lock().unwrap().clone()
}

#[test]
fn a_frequent_statement_is_prepared_once() {
    let sent = sent("own", |_| None);
    assert_eq!(named(&sent, b'P').len(), 2);
    assert_eq!(named(&sent, b'B').len(), 8);
}

#[test]
fn a_pooler_that_drops_the_mark_gets_no_prepared_statement() {
    let sent = sent("dropped", |message| {
        if find(message, b"options\0").is_some() {
            let place = find(message, b"strongroom.session").unwrap();
            message[place] = b'x';
        }
        None
    });
    assert_eq!(named(&sent, b'P').len() + named(&sent, b'B').len(), 0);
}

#[test]
fn a_pooler_that_refuses_the_mark_gets_no_prepared_statement() {
    let sent = sent("refused", |message| {
        find(message, b"options\0").map(|_| &b"E\0\0\0\x20SFATAL\0C08P01\0Munsupported\0\0"[..])
    });
    assert_eq!(named(&sent, b'P').len() + named(&sent, b'B').len(), 0);
    assert_eq!(sent.windows(8).filter(|window| *window == b"options\0").count(), 1);
}

#[test]
fn a_session_without_the_statement_gets_it_unprepared() {
    let sent = sent("lost", |message| {
        named(message, b'B').into_iter().for_each(|place| message[place] = b'x');
        None
    });
    assert_eq!(named(&sent, b'B').len(), 1);
}
