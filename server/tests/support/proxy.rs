//! A proxy between a client and a service that injects faults: it forwards a request, cuts it, loses its answer, or
//! sends it twice. Of requests and answers, it parses only the length.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// The fault of a request or its answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    None,
    /// After this many bytes of the request, both connections end.
    CutRequest(usize),
    /// The service answers. After this many bytes of the answer, the connection ends.
    CutAnswer(usize),
    /// The service answers, and the answer is delayed.
    Late(Duration),
    /// The service answers, and nothing is forwarded, but the connection stays open.
    Silence,
    /// The service answers, the connection ends, and further connections are refused.
    Vanish,
    /// The request is sent to the service on two connections at the same time; the answer is that of the first
    /// connection.
    Twice,
    /// After the answer, the request is sent to the service again; the answer is the second.
    Again,
    /// The request is forwarded without the header `Range`, which HTTP defines only for `GET`.
    WithoutRange,
    /// The service does not receive the request, and this is the answer.
    Answer(&'static str),
    /// The service answers, and this is forwarded instead.
    OtherAnswer(&'static str),
}

/// The faults of the next requests, and that of all later ones.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    faults: VecDeque<Fault>,
    always: Fault,
    /// Whether the plan begins with the first request that is not a read: most operations read the record first.
    waits: bool,
}

/// The beginnings of requests that change nothing.
const READS: [&[u8]; 3] = [b"HEAD ", b"GET ", b"POST /v1/retrieve"];
/// The beginning of a request that passes and does not count: a client makes it from time to time.
const SETTINGS: &[u8] = b"GET /v1/settings";
/// The bytes of a request that tell whether it is a read; every request has more.
const START: usize = 17;

impl Plan {
    /// A plan from the next request on.
    pub(crate) fn next(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { faults: faults.into_iter().collect(), always: Fault::None, waits: false }
    }

    /// A plan from the first request on that may change something.
    pub(crate) fn from_write(first: impl IntoIterator<Item = Fault>, always: Fault) -> Self {
        Self { faults: first.into_iter().collect(), always, waits: true }
    }

    pub(crate) fn always(self, always: Fault) -> Self {
        Self { always, ..self }
    }

    fn take(&mut self, start: &[u8]) -> Fault {
        self.waits &= READS.iter().any(|read| start.starts_with(read));
        if self.waits { Fault::None } else { self.faults.pop_front().unwrap_or_else(|| self.always.clone()) }
    }
}

/// A proxy, which runs until the test's process ends.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    service: SocketAddr,
    plan: Mutex<Plan>,
    /// The bytes of each request and its answer.
    passed: Mutex<Vec<(usize, usize)>>,
    vanishes: AtomicBool,
}

impl Proxy {
    pub(crate) fn new(service: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            address: listener.local_addr().unwrap(),
            service,
            plan: Mutex::new(Plan::next([])),
            passed: Mutex::default(),
            vanishes: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if of_thread.vanishes.load(Ordering::Acquire) {
                    return;
                }
                let (shared, client) = (Arc::clone(&of_thread), client.unwrap());
                thread::spawn(move || {
                    while shared.pass_request(&client).is_some() {}
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    pub(crate) fn plan(&self, plan: Plan) {
        lock(&self.shared.passed).clear();
        *lock(&self.shared.plan) = plan;
    }

    /// Whether all faults have happened.
    pub(crate) fn has_done_all(&self) -> bool {
        lock(&self.shared.plan).faults.is_empty()
    }

    /// The lengths of the requests and their answers since the plan.
    pub(crate) fn passed(&self) -> Vec<(usize, usize)> {
        lock(&self.shared.passed).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl Shared {
    /// Forwards one request, and its answer. `None` if the connection must end.
    fn pass_request(&self, client: &TcpStream) -> Option<()> {
        let mut first = read(client, START)?;
        while first.len() < START {
            first.append(&mut read(client, START - first.len())?);
        }
        let is_settings = first.starts_with(SETTINGS);
        let fault = if is_settings { Fault::None } else { lock(&self.plan).take(&first) };
        let most = if let Fault::CutRequest(most) = fault { most } else { usize::MAX };
        let services = match fault {
            Fault::Answer(_) | Fault::CutRequest(0) | Fault::WithoutRange => 0,
            Fault::Twice => 2,
            _ => 1,
        };
        let services: Option<Vec<_>> = (0..services).map(|_| TcpStream::connect(self.service).ok()).collect();
        let services = services?;
        let request = pass_whole(client, &services, first, most)?;
        let mut answers: Vec<_> = if is_whole_request(&request) {
            services.iter().map(|service| answer_to(&request, service)).collect()
        } else {
            Vec::new()
        };
        if let Fault::Again | Fault::WithoutRange = fault {
            let service = TcpStream::connect(self.service).ok()?;
            let is_range = |line: &&[u8]| line.to_ascii_lowercase().starts_with(b"range:");
            let lines = request.split_inclusive(|byte| *byte == b'\n');
            let again = lines.filter(|line| !matches!(fault, Fault::WithoutRange) || !is_range(line));
            { &service }.write_all(&again.collect::<Vec<_>>().concat()).ok()?;
            answers.insert(0, answer_to(&request, &service));
        }
        let answer = answers.into_iter().next().unwrap_or_default();
        if !is_settings {
            lock(&self.passed).push((request.len(), answer.len()));
        }
        match fault {
            Fault::CutRequest(_) => None,
            Fault::CutAnswer(most) => {
                let _ = { client }.write_all(answer.get(..most).unwrap_or(&answer));
                None
            }
            Fault::Silence => {
                while read(client, 1).is_some() {}
                None
            }
            Fault::Vanish => {
                self.vanishes.store(true, Ordering::Release);
                while TcpStream::connect(self.address).is_ok() {}
                None
            }
            Fault::Answer(text) | Fault::OtherAnswer(text) => { client }.write_all(text.as_bytes()).ok(),
            Fault::Late(time) => {
                thread::sleep(time);
                { client }.write_all(&answer).ok()
            }
            Fault::None | Fault::Twice | Fault::Again | Fault::WithoutRange => { client }.write_all(&answer).ok(),
        }
    }
}

/// Forwards a request as it arrives, up to its end or `most` bytes. Returns the forwarded bytes.
fn pass_whole(client: &TcpStream, services: &[TcpStream], first: Vec<u8>, most: usize) -> Option<Vec<u8>> {
    let (mut request, mut piece) = (Vec::new(), first);
    loop {
        piece.truncate(most - request.len());
        for service in services {
            { service }.write_all(&piece).ok()?;
        }
        request.append(&mut piece);
        if request.len() == most || is_whole_request(&request) {
            return Some(request);
        }
        piece = read(client, 64 << 10)?;
    }
}

/// The whole answer of a service.
fn answer_to(request: &[u8], service: &TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    while !is_whole_answer(request, &answer) {
        let Some(mut piece) = read(service, 64 << 10) else { break };
        answer.append(&mut piece);
    }
    answer
}

fn read(stream: &TcpStream, most: usize) -> Option<Vec<u8>> {
    let mut buffer = vec![0; most];
    let len = { stream }.read(&mut buffer).ok().filter(|len| *len > 0)?;
    buffer.truncate(len);
    Some(buffer)
}

/// The head in lower case and the bytes after it, if the head is complete.
fn split(message: &[u8]) -> Option<(String, &[u8])> {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((String::from_utf8_lossy(&message[..end]).to_lowercase(), &message[end + 4..]))
}

fn content_length(head: &str) -> usize {
    head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |len| len.parse().unwrap())
}

fn is_whole_answer(request: &[u8], answer: &[u8]) -> bool {
    let has_no_body = request.starts_with(b"HEAD ");
    split(answer).is_some_and(|(head, body)| has_no_body || body.len() >= content_length(&head))
}

fn is_whole_request(request: &[u8]) -> bool {
    let Some((head, mut body)) = split(request) else { return false };
    if !head.contains("transfer-encoding: chunked") {
        return body.len() >= content_length(&head);
    }
    // Chunk by chunk, until the empty one.
    loop {
        let Some(line) = body.windows(2).position(|window| window == b"\r\n") else { return false };
        let len = usize::from_str_radix(std::str::from_utf8(&body[..line]).unwrap(), 16).unwrap();
        let Some(rest) = body.get(line + 2 + len + 2..) else { return false };
        if len == 0 {
            return true;
        }
        body = rest;
    }
}
