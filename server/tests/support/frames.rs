//! A client that sends and reads frames of HTTP/2 (RFC 9113), and acknowledges none of them.

use std::io::{ErrorKind, Read, Write};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const GOAWAY: u8 = 7;
/// The payload of a `RST_STREAM` that refuses a stream.
pub(crate) const REFUSED: [u8; 4] = [0, 0, 0, 7];

const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(crate) struct Frames<S>(S);

impl<S: Read + Write> Frames<S> {
    pub(crate) fn begin(mut stream: S) -> Self {
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut frames = Self(stream);
        frames.send(SETTINGS, 0, 0, &[]);
        frames
    }

    pub(crate) fn into_inner(self) -> S {
        self.0
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&len[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).unwrap();
    }

    /// Begins a request on an odd stream, whose body may follow.
    pub(crate) fn request(&mut self, stream: u32, request: &str, headers: &[(&str, &str)], has_body: bool) {
        let (method, path) = request.split_once(' ').unwrap();
        let pseudo = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)];
        let mut block = Vec::new();
        for (name, value) in pseudo.iter().chain(headers) {
            block.push(0); // a literal (RFC 7541 section 6.2.2)
            for text in [name, value] {
                block.push(u8::try_from(text.len()).ok().filter(|len| *len < 127).unwrap());
                block.extend_from_slice(text.as_bytes());
            }
        }
        self.send(HEADERS, END_HEADERS | if has_body { 0 } else { END_STREAM }, stream, &block);
    }

    /// Sends the rest of a body.
    pub(crate) fn end_body(&mut self, stream: u32, data: &[u8]) {
        self.send(DATA, END_STREAM, stream, data);
    }

    /// The next frame of a stream and its kind; `None` at the end of the connection.
    pub(crate) fn next(&mut self, stream: u32) -> Option<(u8, Vec<u8>)> {
        loop {
            let mut head = [0; 9];
            self.read(&mut head)?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.read(&mut payload)?;
            if head[5..] == stream.to_be_bytes() {
                return Some((head[3], payload));
            }
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Option<()> {
        let outcome = self.0.read_exact(bytes);
        let is_late = outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(!is_late, "nothing came, and the connection is open");
        outcome.ok()
    }
}
