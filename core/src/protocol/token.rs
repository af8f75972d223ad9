//! The token of a client: `Authorization: Bearer srt1...`.

use bytes::Bytes;
use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use crate::util::secret_text::{self, SECRET_LEN, SecretKind};

/// The authentication scheme.
pub const SCHEME: &str = "Bearer";

/// The reason why a text is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidToken {
    /// It is another secret, named if known, or other text.
    Kind(Option<&'static str>),
    /// It has a typo or is truncated.
    Typo,
}

/// `Bearer srt1...`, wiped when its last copy is dropped. White space and a byte order mark around the token are
/// ignored.
///
/// # Errors
///
/// [`InvalidToken`] if `text` is not a token, because another secret must not be sent.
pub fn authorization(text: &str) -> Result<HeaderValue, InvalidToken> {
    let text = secret_text::trim(text);
    if SecretKind::of(text) != Some(SecretKind::Token) {
        return Err(InvalidToken::Kind(secret_text::name_of(text)));
    }
    let mut secret = Zeroizing::new([0; SECRET_LEN]);
    secret_text::decode(SecretKind::Token, text, &mut secret).map_err(|_| InvalidToken::Typo)?;
    // Full capacity from the start: growth would leave a copy in memory.
    let mut line = Zeroizing::new(String::with_capacity(SCHEME.len() + 1 + text.len()));
    [SCHEME, " ", text].into_iter().for_each(|part| line.push_str(part));
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(line)).map_err(|_| InvalidToken::Typo)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The token in an `Authorization`; `None` for another scheme.
#[must_use]
pub fn shown_token(authorization: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = authorization.as_bytes().split_at_checked(SCHEME.len())?;
    token.strip_prefix(b" ").filter(|_| scheme.eq_ignore_ascii_case(SCHEME.as_bytes()))
}

#[cfg(test)]
#[allow(clippy::string_slice, reason = "tests")]
mod tests {
    use bech32::{Bech32, Bech32m, Hrp};

    use super::*;

    fn text(prefix: &str, len: usize) -> String {
        bech32::encode::<Bech32m>(Hrp::parse(prefix).unwrap(), &vec![7; len]).unwrap()
    }

    #[test]
    fn a_token_is_one_with_its_checksum() {
        let token = text("srt", SECRET_LEN);
        for given in [token.clone(), format!("{token}\n"), format!("\u{feff} {token}\r\n\r\n"), format!("\t{token} ")] {
            let value = authorization(&given).unwrap();
            assert_eq!(value.to_str().unwrap(), format!("Bearer {token}"));
            assert_eq!(shown_token(&value), Some(token.as_bytes()));
        }
        assert_eq!(format!("{:?}", authorization(&token).unwrap()), "Sensitive");
        for position in 4..token.len() {
            let mut typo = token.clone().into_bytes();
            typo[position] = if typo[position] == b'q' { b'p' } else { b'q' };
            assert_eq!(authorization(str::from_utf8(&typo).unwrap()).unwrap_err(), InvalidToken::Typo, "{position}");
        }
        let bech32 = bech32::encode::<Bech32>(Hrp::parse("srt").unwrap(), &[7; SECRET_LEN]).unwrap();
        for typo in [&token[..token.len() - 1], "srt1", &format!("{token}\n{token}"), &bech32, &text("srt", 31)] {
            assert_eq!(authorization(typo).unwrap_err(), InvalidToken::Typo, "{typo}");
        }
    }

    #[test]
    fn the_scheme_is_read_in_either_case() {
        for (header, token) in [
            ("bearer x", Some("x")),
            ("BEARER  x", Some(" x")),
            ("Bearer ", Some("")),
            ("Bearer", None),
            ("Bearerx", None),
            ("Basic x", None),
        ] {
            assert_eq!(shown_token(&HeaderValue::from_static(header)), token.map(str::as_bytes), "{header}");
        }
    }
}
