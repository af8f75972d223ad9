//! A proxy in front of a service, which cuts and delays connections and loses replies.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The address of the service.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// Bytes come this much later.
    Delay(Duration),
    /// The connection ends in the midst of the next bytes, and no other begins.
    Cut,
    /// The next reply is lost, and its connection ends.
    LoseReplies,
    /// All bytes are lost, and the connections stay open.
    Silent,
}

/// Passes bytes in both directions, except for its fault.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<(Fault, Instant)>>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The same for both kinds.
macro_rules! each {
    ($stream:expr, $inner:ident => $result:expr) => {
        match $stream {
            Stream::Tcp($inner) => $result,
            Stream::Unix($inner) => $result,
        }
    };
}

impl Stream {
    fn connect(target: &Target) -> std::io::Result<Self> {
        Ok(match target {
            Target::Tcp(address) => Self::Tcp(TcpStream::connect(address)?),
            Target::Unix(path) => Self::Unix(UnixStream::connect(path)?),
        })
    }

    fn duplicate(&self) -> std::io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }
}

impl Proxy {
    pub(crate) fn new(target: Target) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::new(Mutex::new((Fault::None, Instant::now()))));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            // The listener lasts as long as the test program.
            for client in listener.incoming().filter_map(Result::ok) {
                if fault(&shared) != Fault::Cut {
                    let _ = begin(client, &target, &shared);
                }
            }
        });
        Self { address, state }
    }

    /// Has this fault for a time.
    pub(crate) fn fail(&self, fault: Fault, time: Duration) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (fault, Instant::now() + time);
    }
}

/// The present fault.
fn fault(state: &Mutex<(Fault, Instant)>) -> Fault {
    let (fault, end) = *state.lock().unwrap_or_else(PoisonError::into_inner);
    if Instant::now() < end { fault } else { Fault::None }
}

fn begin(client: TcpStream, target: &Target, state: &Arc<Mutex<(Fault, Instant)>>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let (client, server) = (Stream::Tcp(client), Stream::connect(target)?);
    for (from, to, is_reply) in [(client.duplicate()?, server.duplicate()?, false), (server, client, true)] {
        let state = Arc::clone(state);
        thread::Builder::new().stack_size(128 << 10).spawn(move || {
            let _ = pass(&from, &to, is_reply, &state);
            for stream in [&from, &to] {
                let _ = each!(stream, stream => stream.shutdown(Shutdown::Both));
            }
        })?;
    }
    Ok(())
}

/// Returns when the connection is to end.
fn pass(from: &Stream, to: &Stream, is_reply: bool, state: &Mutex<(Fault, Instant)>) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    let mut has_lost = false;
    loop {
        let len = each!(from, from => (&mut &*from).read(&mut buffer))?;
        let now = fault(state);
        if len == 0 || (has_lost && now == Fault::None) {
            return Ok(());
        }
        let mut bytes = &buffer[..len];
        match now {
            Fault::None => {}
            Fault::Delay(time) => thread::sleep(time),
            Fault::Cut => bytes = &buffer[..len / 2],
            Fault::LoseReplies if !is_reply => {}
            Fault::LoseReplies => return Ok(()),
            Fault::Silent => {
                has_lost = true;
                continue;
            }
        }
        each!(to, to => (&mut &*to).write_all(bytes))?;
        if now == Fault::Cut {
            return Ok(());
        }
    }
}
