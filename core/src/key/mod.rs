//! The two kinds of keys: 32 random bytes each, wiped on drop, never printed, copied only explicitly.

#[cfg(feature = "sqlite")]
pub(crate) mod file;

use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::util::random::{self, RandomError};
use crate::util::secret_text::{self, InvalidText, SECRET_LEN as KEY_LEN, SecretKind};

/// The reason why bytes or a text are not a valid key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// Not exactly 32 bytes.
    #[error("the key is not 32 bytes long")]
    Length,
    /// All bytes are zero, as in a buffer that was never filled.
    #[error("the key is all zeros")]
    AllZero,
    /// The text is a key of another kind, or of another program.
    #[error("the text is not {expected}{}: {expected} starts with \"{prefix}\"", secret_text::but(*found))]
    Kind {
        /// The expected kind of key, such as "a record key".
        expected: &'static str,
        /// The kind of the text, if it is known, such as "a token".
        found: Option<&'static str>,
        /// The prefix of such a key's text.
        prefix: &'static str,
    },
    /// The text's checksum does not match.
    #[error("the key's text has a typo: its checksum does not match")]
    Checksum,
    /// The text is truncated or has an invalid character.
    #[error("the text is not a key: it is truncated, or has an invalid character")]
    Text,
}

/// Defines a key type, with its name in messages and the prefix of its text.
macro_rules! key_type {
    ($(#[$doc:meta])* $name:ident, $article:literal $kind:literal, $hrp:literal) => {
        $(#[$doc])*
        ///
        /// It has no `Clone`, `Display` or `PartialEq`: copies, texts and comparisons are explicit calls.
        pub struct $name(Box<Zeroizing<[u8; KEY_LEN]>>);

        impl $name {
            /// A new key from the operating system's random numbers.
            ///
            /// # Errors
            ///
            /// [`RandomError`] if the system has none.
            pub fn generate() -> Result<Self, RandomError> {
                // Filled in the box, so that moving the key leaves no copy of the bytes on the stack.
                let mut key = Self(Box::default());
                random::fill(&mut **key.0)?;
                Ok(key)
            }

            #[doc = concat!("The ", $kind, " with these 32 bytes.")]
            ///
            /// # Errors
            ///
            /// [`InvalidKey::Length`], [`InvalidKey::AllZero`].
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidKey> {
                if bytes.len() != KEY_LEN {
                    return Err(InvalidKey::Length);
                }
                let mut key = Self(Box::default());
                key.0.copy_from_slice(bytes);
                if bool::from(key.0.ct_eq(&[0; KEY_LEN])) {
                    return Err(InvalidKey::AllZero);
                }
                Ok(key)
            }

            #[doc = concat!("The key in its text form, `", $hrp, "1` and 58 more characters (Bech32m, BIP 350).")]
            /// A leading byte order mark and surrounding white space are ignored, so that the content of a key file is
            /// valid as it is.
            ///
            /// # Errors
            ///
            #[doc = concat!("[`InvalidKey`] says whether the text has a typo or is no ", $kind, " at all.")]
            pub fn from_text(text: &str) -> Result<Self, InvalidKey> {
                let mut bytes = Zeroizing::new([0; KEY_LEN]);
                parse_text(text, SecretKind::$name, &mut bytes)?;
                Self::from_bytes(&*bytes)
            }

            /// A copy of the key, which is wiped like this one.
            #[must_use]
            pub fn duplicate(&self) -> Self {
                // Filled in the box: see `generate`.
                let mut key = Self(Box::default());
                key.0.copy_from_slice(&**self.0);
                key
            }

            /// The text form, which [`from_text`](Self::from_text) reads.
            #[must_use]
            pub fn to_text(&self) -> Zeroizing<String> {
                secret_text::encode(SecretKind::$name, &self.0)
            }

            /// The secret bytes.
            #[must_use]
            pub fn expose_bytes(&self) -> &[u8; KEY_LEN] {
                &self.0
            }

            /// Compares in constant time.
            #[must_use]
            pub fn ct_eq(&self, other: &Self) -> bool {
                bool::from(self.0.ct_eq(&**other.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }

        impl FromStr for $name {
            type Err = InvalidKey;

            fn from_str(text: &str) -> Result<Self, InvalidKey> {
                Self::from_text(text)
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.to_text())
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("the text of ", $article, " ", $kind, " (", $hrp, "1...)"))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::from_text(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
    };
}

key_type! {
    /// The only key that opens one record: the AES-256 input key. It belongs to the caller; no storage keeps it.
    ///
    /// ```
    /// let key = strongroom::RecordKey::generate()?;
    /// let text = key.to_text(); // "srk1...", to be kept where only the data's owner can read it
    /// assert!(strongroom::RecordKey::from_text(&text)?.ct_eq(&key));
    /// assert_eq!(format!("{key:?}"), "RecordKey(..)");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    RecordKey, "a" "record key", "srk"
}

key_type! {
    /// The key that hides the ids of a store: it turns an id into a locator. It belongs to the operator, and is never
    /// stored in the database. Without it, no record can be found.
    IndexKey, "an" "index key", "srx"
}

impl RecordKey {
    /// As [`generate`](Self::generate), for many keys with fewer system calls.
    pub(crate) fn generate_many(count: usize) -> Result<Vec<Self>, RandomError> {
        let mut keys: Vec<_> = (0..count).map(|_| Self(Box::default())).collect();
        let mut bytes = Zeroizing::new([[0; KEY_LEN]; 128]);
        for keys in keys.chunks_mut(bytes.len()) {
            random::fill(bytes.as_flattened_mut())?;
            keys.iter_mut().zip(bytes.iter()).for_each(|(key, bytes)| key.0.copy_from_slice(bytes));
        }
        Ok(keys)
    }
}

fn parse_text(text: &str, kind: SecretKind, key: &mut [u8; KEY_LEN]) -> Result<(), InvalidKey> {
    let text = secret_text::trim(text);
    secret_text::decode(kind, text, key).map_err(|error| match error {
        InvalidText::Kind => {
            InvalidKey::Kind { expected: kind.name(), found: secret_text::name_of(text), prefix: kind.start() }
        }
        InvalidText::Checksum => InvalidKey::Checksum,
        InvalidText::Text => InvalidKey::Text,
        InvalidText::Length => InvalidKey::Length,
    })
}

#[cfg(test)]
mod tests {
    use bech32::{Bech32m, Hrp};

    use super::*;

    #[test]
    fn text_round_trip() {
        let key = RecordKey::generate().unwrap();
        let text = key.to_text();
        assert_eq!(text.len(), 62);
        assert!(text.capacity() <= 64, "the text grew, and left a copy behind");
        assert!(RecordKey::from_text(&text).unwrap().ct_eq(&key));
        assert!(RecordKey::from_text(&text.to_uppercase()).unwrap().ct_eq(&key));
        assert!(!RecordKey::generate().unwrap().ct_eq(&key));
    }

    #[test]
    fn many_keys_differ() {
        for count in [0, 1, 128, 300] {
            let keys = RecordKey::generate_many(count).unwrap();
            let different: std::collections::BTreeSet<_> = keys.iter().map(RecordKey::expose_bytes).collect();
            assert!(different.len() == count && !different.contains(&[0; KEY_LEN]));
        }
    }

    #[test]
    fn the_text_of_a_file_is_a_key() {
        let key = IndexKey::generate().unwrap();
        let text = key.to_text();
        for (before, after) in [("", "\n"), ("", "\r\n"), ("\u{feff}", "\r\n\r\n"), ("\u{feff} \t", ""), ("\n", " ")] {
            let file = format!("{before}{}{after}", *text);
            assert!(IndexKey::from_text(&file).unwrap().ct_eq(&key), "{before:?} {after:?}");
        }
        for wrong in
            [format!("\u{feff}\u{feff}{}", *text), text.replace("srx1", "srx1 "), format!("{}\n{}", *text, *text)]
        {
            assert!(IndexKey::from_text(&wrong).is_err(), "{wrong:?}");
        }
        let bare = IndexKey::from_text("\u{feff}\n");
        assert_eq!(bare.unwrap_err(), InvalidKey::Text);
    }

    #[test]
    fn a_duplicate_is_the_same_key_elsewhere() {
        let key = RecordKey::generate().unwrap();
        let duplicate = key.duplicate();
        assert_ne!(key.expose_bytes().as_ptr(), duplicate.expose_bytes().as_ptr());
        assert!(duplicate.ct_eq(&key));
    }

    #[test]
    fn every_wrong_character_is_a_typo() {
        let text = RecordKey::from_bytes(&[7; 32]).unwrap().to_text();
        for position in 4..text.len() {
            let mut typo = text.as_bytes().to_vec();
            typo[position] = if typo[position] == b'q' { b'p' } else { b'q' };
            let typo = String::from_utf8(typo).unwrap();
            assert_eq!(RecordKey::from_text(&typo).unwrap_err(), InvalidKey::Checksum);
        }
    }

    #[test]
    fn other_texts_are_invalid() {
        let index_text = IndexKey::from_bytes(&[7; 32]).unwrap().to_text();
        let kind = InvalidKey::Kind { expected: "a record key", found: Some("an index key"), prefix: "srk1" };
        assert_eq!(RecordKey::from_text(&index_text).unwrap_err(), kind);
        assert_eq!(RecordKey::from_text("srx1qqqqq").unwrap_err(), kind);
        let message = IndexKey::from_text("srk1qqqqq").unwrap_err().to_string();
        assert_eq!(message, "the text is not an index key but a record key: an index key starts with \"srx1\"");
        let message = IndexKey::from_text("srt1qqqqq").unwrap_err().to_string();
        assert_eq!(message, "the text is not an index key but a token: an index key starts with \"srx1\"");
        let message = RecordKey::from_text("age1qqqqq").unwrap_err().to_string();
        assert_eq!(message, "the text is not a record key: a record key starts with \"srk1\"");
        let text = RecordKey::from_bytes(&[7; 32]).unwrap().to_text();
        let (short, one_in_it) = (text.get(..61).unwrap(), text.replace("xw", "1w").replace('7', "1"));
        for text in ["", "srk", "srk1", &text.replace('1', " "), "srk1 ä", &one_in_it] {
            assert_eq!(RecordKey::from_text(text).unwrap_err(), InvalidKey::Text, "{text}");
        }
        assert_eq!(RecordKey::from_text(short).unwrap_err(), InvalidKey::Checksum);
        let hrp = Hrp::parse("srk").unwrap();
        for (len, expected) in [(31, InvalidKey::Length), (33, InvalidKey::Length), (0, InvalidKey::Length)] {
            let text = bech32::encode::<Bech32m>(hrp, &vec![1; len]).unwrap();
            assert_eq!(RecordKey::from_text(&text).unwrap_err(), expected);
        }
        let zeros = bech32::encode::<Bech32m>(hrp, &[0; 32]).unwrap();
        assert_eq!(RecordKey::from_text(&zeros).unwrap_err(), InvalidKey::AllZero);
        let bech32 = bech32::encode::<bech32::Bech32>(hrp, &[1; 32]).unwrap();
        assert_eq!(RecordKey::from_text(&bech32).unwrap_err(), InvalidKey::Checksum);
    }

    #[test]
    fn bytes_are_checked() {
        assert_eq!(RecordKey::from_bytes(&[1; 31]).unwrap_err(), InvalidKey::Length);
        assert_eq!(RecordKey::from_bytes(&[1; 33]).unwrap_err(), InvalidKey::Length);
        assert_eq!(RecordKey::from_bytes(&[]).unwrap_err(), InvalidKey::Length);
        assert_eq!(RecordKey::from_bytes(&[0; 32]).unwrap_err(), InvalidKey::AllZero);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_is_the_text_form() {
        let key = IndexKey::generate().unwrap();
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, format!("\"{}\"", *key.to_text()));
        assert!(serde_json::from_str::<IndexKey>(&json).unwrap().ct_eq(&key));
        let error = serde_json::from_str::<RecordKey>(&json).unwrap_err().to_string();
        assert!(error.starts_with("the text is not a record key"), "{error}");
        assert!(!error.contains(&**key.to_text()));
    }
}
