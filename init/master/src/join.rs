//! The token that a node joins the cluster with: for now, the one of a file.

use std::path::Path;

use wire::Secret;

use crate::settings::{MasterSettingsError, read_secret};

/// The longest token, in bytes; the longest form, `K10<hash>::<user>:<password>`, is about 140.
const LONGEST: usize = 4096;

/// A token that can't be handed out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinTokenError {
    /// The file can't be read, or by too many.
    #[error("the join token can't be read")]
    File(#[source] MasterSettingsError),
    /// It would have nodes join whoever answers.
    #[error(
        "{path}: the join token does not pin the cluster's authority; expected \
         K10<64 hexadecimal digits>::<user>:<password>, the secure form that k3s keeps in \
         server/node-token"
    )]
    Unpinned {
        /// Which file.
        path: String,
    },
    /// It is not a token.
    #[error("{path}: expected one line of 1 to {LONGEST} printable characters")]
    Content {
        /// Which file.
        path: String,
    },
}

/// Reads the token.
pub(crate) fn token(path: &Path) -> Result<Secret, JoinTokenError> {
    let bytes = read_secret(path).map_err(JoinTokenError::File)?;
    let text = bytes.trim_ascii();
    let printable = text.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(text) {
        Ok(text) if printable && (1..=LONGEST).contains(&text.len()) => {
            if wire::master::pins_authority(text) {
                Ok(Secret::new(text.to_owned()))
            } else {
                Err(JoinTokenError::Unpinned {
                    path: path.display().to_string(),
                })
            }
        }
        _ => Err(JoinTokenError::Content {
            path: path.display().to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_line_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(matches!(token(&path), Err(JoinTokenError::File(_))));
        let good = format!("K10{}::node:hunter2", "ca".repeat(32));
        fs::write(&path, format!("{good}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(token(&path).unwrap().expose(), good);
        let short = format!("K10{}::node:hunter2", "ca".repeat(31));
        let odd = format!("K10{}::node:hunter2", "cz".repeat(32));
        let empty = format!("K10{}::", "ca".repeat(32));
        for unpinned in ["hunter2", "K10cafe::node:hunter2", &short, &odd, &empty] {
            fs::write(&path, unpinned).unwrap();
            let error = token(&path).unwrap_err();
            assert!(matches!(error, JoinTokenError::Unpinned { .. }), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for wrong in ["", " \n", "two words", "two\nlines", "ü", &"x".repeat(5000)] {
            fs::write(&path, wrong).unwrap();
            let error = token(&path).unwrap_err();
            assert!(matches!(error, JoinTokenError::Content { .. }), "{error}");
        }
    }
}
