//! `[kubernetes]`: where the API is, and who the master is there.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use wire::ServerUrl;

use crate::settings::error::MasterSettingsError;

/// The table as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KubernetesTable {
    server: ServerUrl,
    root_certificate: PathBuf,
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_key: Option<PathBuf>,
}

/// Where the Kubernetes API is, and who the master is there.
#[derive(Debug, Clone)]
pub struct KubernetesSettings {
    /// Its URL; k3s serves `/cacerts` there too.
    pub server: ServerUrl,
    /// The cluster's server CA, a PEM file; no other root counts.
    pub root_certificate: PathBuf,
    /// What the master proves itself with.
    pub credentials: Credentials,
}

/// What the master proves itself with.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// The token of a service account, in a file that others can't read; it is read for every
    /// call, so that it can be renewed at any time.
    Token(PathBuf),
    /// A client certificate and its key, PEM files; the key's can't be read by others.
    Certificate {
        /// The chain, leaf first.
        certificate: PathBuf,
        /// The leaf's key.
        key: PathBuf,
    },
}

impl KubernetesTable {
    /// Checks the table of the file `path`; relative paths start from its folder.
    pub(crate) fn check(self, path: &Path) -> Result<KubernetesSettings, MasterSettingsError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let field = |field, found: &str, expected| MasterSettingsError::Field {
            path: path.to_owned(),
            field,
            found: found.to_owned(),
            expected,
        };
        let credentials = match (self.token_file, self.client_certificate, self.client_key) {
            (Some(token), None, None) => Credentials::Token(folder.join(token)),
            (None, Some(certificate), Some(key)) => Credentials::Certificate {
                certificate: folder.join(certificate),
                key: folder.join(key),
            },
            _ => {
                let expected = "either token_file, or client_certificate and client_key";
                return Err(field("kubernetes", "its credentials", expected));
            }
        };
        Ok(KubernetesSettings {
            server: self.server,
            root_certificate: folder.join(self.root_certificate),
            credentials,
        })
    }
}
