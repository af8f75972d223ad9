//! Reading the file of accepted tokens.

use std::path::Path;

use crate::files::checked;
use crate::files::kind::FileKind;
use crate::start_error::StartError;
use crate::tokens::hashes::TokenHashes;

/// The hashes in the file at `path`.
pub(crate) fn read(path: &Path) -> Result<TokenHashes, StartError> {
    let content = checked::read(path, "tokens", FileKind::TokenHashes)?;
    checked::check(&content, "tokens", FileKind::TokenHashes)?;
    let hashes = TokenHashes::parse(str::from_utf8(&content).unwrap_or_default())?;
    if let Some(line) = hashes.unfinished {
        tracing::warn!(target: "strongroom", line, "the unfinished last line of the tokens file is ignored");
    }
    Ok(hashes)
}

/// The complete lines of a file of tokens, to which a new line can be appended. An unfinished line at the end is
/// excluded.
///
/// # Errors
///
/// [`StartError::WrongFile`] and [`StartError::Tokens`] if the content is not that of a file of tokens.
pub fn finished_lines(file: &[u8]) -> Result<&str, StartError> {
    checked::check(file, "tokens", FileKind::TokenHashes)?;
    let file = str::from_utf8(file).unwrap_or_default();
    let finished = file.rfind('\n').map_or("", |end| file.get(..=end).unwrap_or_default());
    Ok(if TokenHashes::parse(file)?.unfinished.is_some() { finished } else { file })
}

#[cfg(test)]
#[allow(clippy::string_slice, reason = "tests")]
mod tests {
    use super::*;
    use crate::tokens::new_token::NewToken;
    use crate::tokens::scope::Scope;

    #[test]
    fn an_unfinished_line_at_the_end_is_left_out() {
        let scopes = vec![Scope::Store, Scope::Retrieve];
        let [good, cut] = [(); 2].map(|()| NewToken::generate(scopes.clone()).unwrap().line());
        for len in 0..cut.len() {
            let file = format!("{good}\n{}", &cut[..len]);
            // A line that was truncated after a scope is complete.
            let finished = if len == 70 { file.len() } else { good.len() + 1 };
            assert_eq!(finished_lines(file.as_bytes()).unwrap(), &file[..finished]);
        }
        assert_eq!(finished_lines(good.as_bytes()).unwrap(), good);
        assert_eq!(finished_lines(b"").unwrap(), "");
        assert!(matches!(finished_lines(b"\xff"), Err(StartError::Tokens(_))));
    }
}
