//! Reading the file of accepted tokens.

use std::path::Path;

use crate::files::checked;
use crate::files::kind::FileKind;
use crate::start_error::StartError;
use crate::tokens::hashes::{TokenHashes, without_zeros};

/// The hashes in the file at `path`.
pub(crate) fn read(path: &Path) -> Result<TokenHashes, StartError> {
    let content = checked::read(path, "tokens", FileKind::TokenHashes)?;
    checked::check(&content, "tokens", FileKind::TokenHashes)?;
    Ok(TokenHashes::parse(str::from_utf8(&content).unwrap_or_default())?)
}

/// The text of a file of tokens, to which lines can be appended: without zeros that a crash left at its end.
///
/// # Errors
///
/// [`StartError::WrongFile`] and [`StartError::Tokens`] if the content is not that of a file of tokens.
pub fn tokens_text(file: &[u8]) -> Result<&str, StartError> {
    checked::check(file, "tokens", FileKind::TokenHashes)?;
    Ok(without_zeros(str::from_utf8(file).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::new_token::NewToken;
    use crate::tokens::scope::Scope;

    #[test]
    fn lines_are_appended_to_whole_ones() {
        let line = NewToken::generate(vec![Scope::Store]).unwrap().line();
        let text = |file: &str| tokens_text(file.as_bytes()).map(str::to_owned);
        for whole in ["", "# comment", &format!("{line}\n"), &format!("{line}\n#{line}")] {
            assert_eq!(text(whole).unwrap(), whole);
            assert_eq!(text(&format!("{whole}\0\0")).unwrap(), whole);
        }
        for invalid in [&line, &format!("{line}\0"), "?\n"] {
            assert!(matches!(text(invalid), Err(StartError::Tokens(_))), "{invalid:?}");
        }
        assert!(matches!(tokens_text(b"\xff\n"), Err(StartError::Tokens(_))));
    }
}
