//! The script of operations in `operations.txt`, which defines its format.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fmt;

pub(crate) const SCRIPT: &str = include_str!("operations.txt");

/// A result of a step.
#[derive(PartialEq)]
pub(crate) enum Found {
    Word(String),
    Bytes(Vec<u8>),
}

impl Found {
    pub(crate) fn word(word: impl ToString) -> Self {
        Self::Word(word.to_string())
    }

    pub(crate) fn error(number: u8) -> Self {
        Self::Word(format!("error:{number}"))
    }
}

/// Shows the start of long data.
impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Bytes(data) => write!(f, "{} bytes: {:?}", data.len(), data[..data.len().min(40)].escape_ascii()),
        }
    }
}

/// Runs the steps of `script`, and returns their number. `step` gives the results of one.
pub(crate) fn run(script: &str, is_server: bool, mut step: impl FnMut(&[&str]) -> Vec<Found>) -> usize {
    let (mut steps, mut are_counted) = (0, false);
    for (number, line) in (1..).zip(script.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<_> = line.split(' ').collect();
        are_counted = words[0] == "steps";
        if are_counted {
            assert_eq!(words[1], steps.to_string(), "line {number} has another number of steps above it");
            continue;
        }
        let arrow =
            words.iter().position(|word| *word == "->").unwrap_or_else(|| panic!("line {number} has no result"));
        let expected: Vec<_> = words[arrow + 1..].iter().map(|word| expected(word, is_server)).collect();
        let found = step(&words[..arrow]);
        assert!(found == expected, "line {number}: {line}\n  is {found:?}");
        steps += 1;
    }
    assert!(are_counted, "the script does not end with the number of its steps");
    steps
}

fn expected(word: &str, is_server: bool) -> Found {
    let word = match word.split_once('|') {
        Some((_, of_server)) if is_server => of_server,
        Some((others, _)) => others,
        None => word,
    };
    as_bytes(word).map_or_else(|| Found::word(word), Found::Bytes)
}

/// The bytes that an argument stands for.
pub(crate) fn bytes(word: &str) -> Vec<u8> {
    as_bytes(word).unwrap_or_else(|| panic!("not bytes: {word}"))
}

fn as_bytes(word: &str) -> Option<Vec<u8>> {
    Some(match word.split_once(':')? {
        ("text", text) => text.into(),
        ("hex", digits) => {
            let digits = digits.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
            digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
        }
        ("pattern", places) => {
            let (start, end) = range(places);
            (start..end).map(|place| u8::try_from(place % 251).unwrap()).collect()
        }
        _ => return None,
    })
}

/// The numbers of `START..END`.
pub(crate) fn range(word: &str) -> (u64, u64) {
    let (start, end) = word.split_once("..").unwrap();
    (start.parse().unwrap(), end.parse().unwrap())
}
