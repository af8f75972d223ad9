//! A search for secrets in files, texts and memory.

use std::collections::HashMap;

/// Finds secrets in bytes: raw, in hexadecimal or in base64.
#[derive(Default)]
pub(crate) struct Scanner {
    /// The needles by their first bytes, each with a name.
    needles: HashMap<[u8; 6], Vec<(Vec<u8>, String)>>,
    /// Whether a needle begins with these two bytes, which makes the search fast.
    starts: Vec<bool>,
}

impl Scanner {
    pub(crate) fn add(&mut self, name: &str, secret: &[u8]) {
        for (form, needle) in forms(secret) {
            let start = *needle.first_chunk().unwrap();
            self.starts.resize(1 << 16, false);
            self.starts[usize::from(start[0]) << 8 | usize::from(start[1])] = true;
            self.needles.entry(start).or_default().push((needle, format!("{name} ({form})")));
        }
    }

    pub(crate) fn find(&self, haystack: &[u8]) -> Option<&str> {
        if self.needles.is_empty() {
            return None;
        }
        // A plain loop over slices: iterators are slow without optimisation, and a process's memory is long.
        let starts = self.starts.as_slice();
        let mut place = 0;
        while place + 6 <= haystack.len() {
            if starts[usize::from(haystack[place]) << 8 | usize::from(haystack[place + 1])]
                && let Some(name) = self.at_start(&haystack[place..])
            {
                return Some(name);
            }
            place += 1;
        }
        None
    }

    fn at_start(&self, haystack: &[u8]) -> Option<&str> {
        let found = self.needles.get(&haystack[..6])?;
        found.iter().find(|(needle, _)| haystack.starts_with(needle)).map(|(_, name)| name.as_str())
    }
}

/// The forms of `secret` in a file or a text. The base64 forms are those inside a longer text, at each of the three
/// alignments.
fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        ("raw", secret.to_vec()),
        ("hex", hex.clone().into_bytes()),
        ("HEX", hex.to_uppercase().into_bytes()),
        ("numbers", secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into_bytes()),
    ];
    for alphabet in ["+/", "-_"] {
        for shift in 0..3 {
            let text = base64(&[&vec![0; shift], secret].concat(), alphabet);
            let end = (shift + secret.len()) * 8 / 6;
            forms.push(("base64", text[(shift * 8).div_ceil(6)..end].to_vec()));
        }
    }
    forms
}

/// Base64 without padding (RFC 4648), with these last two characters of the alphabet.
pub(crate) fn base64(bytes: &[u8], last_two: &str) -> Vec<u8> {
    let alphabet: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(last_two.bytes()).collect();
    let bits: Vec<bool> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    let value = |six: &[bool]| (0..6).fold(0, |value, n| value << 1 | usize::from(six.get(n) == Some(&true)));
    bits.chunks(6).map(|six| alphabet[value(six)]).collect()
}
