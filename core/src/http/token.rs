//! The token that is shown to a service. Anything else by mistake, such as a key, is refused before it is sent.

use std::io::Read;
use std::path::Path;

use bech32::Bech32m;
use bech32::primitives::decode::CheckedHrpstring;
use bytes::Bytes;
use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use super::InvalidEndpoint;
use crate::util::secret_kind;

/// More than a token's text and some space around it need not be read.
const MOST_BYTES: usize = 1024;
/// Bytes that a token stands for.
const LEN: usize = 32;
const SCHEME: &str = "Bearer ";

/// The text of the token in the file at `path`.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, InvalidEndpoint> {
    let unreadable = |source| InvalidEndpoint::File { what: "token", source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // Room for all at once, so that no copy is left behind by growth.
    let mut text = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 1));
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut text).map_err(unreadable)?;
    let is_short = text.len() <= MOST_BYTES;
    let text = str::from_utf8(&text).ok().filter(|_| is_short).ok_or(InvalidEndpoint::Token { found: None })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// `Authorization: Bearer srt1...`, wiped when nobody has it any more.
pub(super) fn authorization(text: &str) -> Result<HeaderValue, InvalidEndpoint> {
    // Editors and shells add these.
    let text = text.trim_matches(|character: char| character.is_whitespace() || character == '\u{feff}');
    check(text)?;
    let mut line = Zeroizing::new(String::with_capacity(SCHEME.len() + text.len()));
    line.push_str(SCHEME);
    line.push_str(text);
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(line)).map_err(|_| InvalidEndpoint::TokenTypo)?;
    value.set_sensitive(true);
    Ok(value)
}

fn check(text: &str) -> Result<(), InvalidEndpoint> {
    let found = secret_kind::of(text);
    if found != Some(secret_kind::TOKEN) {
        return Err(InvalidEndpoint::Token { found });
    }
    let token = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| InvalidEndpoint::TokenTypo)?;
    token.validate_segwit_padding().map_err(|_| InvalidEndpoint::TokenTypo)?;
    if token.byte_iter().len() == LEN { Ok(()) } else { Err(InvalidEndpoint::TokenTypo) }
}

#[cfg(test)]
#[allow(clippy::string_slice, reason = "tests")]
mod tests {
    use super::*;

    fn text(prefix: &str, len: usize) -> String {
        bech32::encode::<Bech32m>(bech32::Hrp::parse(prefix).unwrap(), &vec![7; len]).unwrap()
    }

    #[test]
    fn a_token_is_one_with_its_checksum() {
        let token = text("srt", LEN);
        for given in [token.clone(), format!("{token}\n"), format!("\u{feff} {token}\r\n\r\n"), format!("\t{token} ")] {
            assert_eq!(authorization(&given).unwrap().to_str().unwrap(), format!("Bearer {token}"));
        }
        assert_eq!(format!("{:?}", authorization(&token).unwrap()), "Sensitive");
        for position in 4..token.len() {
            let mut typo = token.clone().into_bytes();
            typo[position] = if typo[position] == b'q' { b'p' } else { b'q' };
            let error = authorization(str::from_utf8(&typo).unwrap()).unwrap_err();
            assert!(matches!(error, InvalidEndpoint::TokenTypo), "{position}");
        }
        let bech32 = bech32::encode::<bech32::Bech32>(bech32::Hrp::parse("srt").unwrap(), &[7; LEN]).unwrap();
        for typo in [&token[..token.len() - 1], "srt1", &format!("{token}\n{token}"), &bech32, &text("srt", 31)] {
            assert!(matches!(authorization(typo), Err(InvalidEndpoint::TokenTypo)), "{typo}");
        }
    }

    #[test]
    fn another_secret_is_named_and_not_shown() {
        for (given, named) in [
            (text("srk", LEN), "is not a token but a record key:"),
            (text("srx", LEN), "is not a token but an index key:"),
            (text("srx", LEN).to_uppercase() + "\n", "is not a token but an index key:"),
            ("-----BEGIN PRIVATE KEY-----\n".into(), "is not a token but a certificate or a private key in PEM:"),
            (text("srz", LEN), "is not a token:"),
            ("Bearer secret".into(), "is not a token:"),
            ("hunter2secret".into(), "is not a token:"),
            (String::new(), "is not a token:"),
        ] {
            let error = authorization(&given).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(named) && shown.contains("srt1"), "{shown}");
            let secret = given.trim().get(4..24).unwrap_or("secret");
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
