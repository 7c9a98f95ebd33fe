//! Where the chain is found and what it is expected to be.

use std::time::Duration;

use crate::error::SettingsError;
use crate::identifiers::{ChainId, ObjectId};

/// How to reach the chain, and which chain, package and pool to take for true.
#[derive(Debug, Clone)]
pub struct ChainSettings {
    /// The only chain that is accepted.
    pub chain_id: ChainId,
    /// Fullnodes by order of preference, `https://host[:port]`. With two or more, a slash is
    /// believed only when two of them show it, or one for long while the others don't answer.
    pub fullnodes: Vec<String>,
    /// Root that the fullnodes' certificates must chain to, in PEM. Without it: the public
    /// roots of the web (webpki-roots).
    pub root_certificate_pem: Option<String>,
    /// The package `k3s_daas`.
    pub package: ObjectId,
    /// The pool that stakes must belong to.
    pub pool: ObjectId,
    /// Time limits.
    pub timeouts: Timeouts,
}

/// Time limits of the conversation with a fullnode.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Name lookup, TCP and TLS handshake.
    pub connect: Duration,
    /// One call, from request to the end of the answer.
    pub call: Duration,
    /// From the submission of a transaction to its checkpoint.
    pub finality: Duration,
    /// How far a fullnode's last checkpoint may lie behind this machine's clock.
    pub staleness: Duration,
    /// How often a watched record is read again, whatever the event stream says.
    pub reread: Duration,
    /// How long one fullnode must show that a stake is gone, at ever later checkpoints, until it
    /// is believed where the others that are configured don't answer.
    pub corroboration: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(10),
            finality: Duration::from_secs(60),
            staleness: Duration::from_secs(300),
            reread: Duration::from_secs(30),
            corroboration: Duration::from_secs(60),
        }
    }
}

/// Most fullnodes that make sense, so that a list from outside is bounded.
const MOST_FULLNODES: usize = 16;

impl ChainSettings {
    /// Settings from texts, with the default time limits.
    ///
    /// # Errors
    /// Names the field, what was expected of it, and what stands there.
    pub fn parse(
        chain_id: &str,
        fullnodes: &[impl AsRef<str>],
        root_certificate_pem: Option<&str>,
        package: &str,
        pool: &str,
    ) -> Result<Self, SettingsError> {
        let identifier = |field, text: &str| {
            text.parse::<ObjectId>()
                .map_err(|source| SettingsError::Identifier {
                    field,
                    text: text.into(),
                    source,
                })
        };
        let settings = Self {
            chain_id: chain_id
                .parse()
                .map_err(|source| SettingsError::Identifier {
                    field: "chain_id",
                    text: chain_id.into(),
                    source,
                })?,
            fullnodes: fullnodes
                .iter()
                .map(|url| url.as_ref().to_owned())
                .collect(),
            root_certificate_pem: root_certificate_pem.map(ToOwned::to_owned),
            package: identifier("package", package)?,
            pool: identifier("pool", pool)?,
            timeouts: Timeouts::default(),
        };
        settings.check()?;
        Ok(settings)
    }

    /// Checks what the types do not.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        if self.fullnodes.is_empty() || self.fullnodes.len() > MOST_FULLNODES {
            return Err(SettingsError::Fullnodes {
                most: MOST_FULLNODES,
                found: self.fullnodes.len(),
            });
        }
        for url in &self.fullnodes {
            let authority = url.strip_prefix("https://");
            let host = authority.and_then(|rest| rest.split(['/', ':']).next());
            if host.is_none_or(str::is_empty) {
                return Err(SettingsError::Url { url: url.clone() });
            }
        }
        if let Some(pem) = &self.root_certificate_pem
            && !pem.contains("-----BEGIN CERTIFICATE-----")
        {
            return Err(SettingsError::Certificate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, pem: Option<&str>, pool: &str) -> Result<ChainSettings, SettingsError> {
        let chain_id = ChainId::from_bytes([1; 32]).to_string();
        ChainSettings::parse(&chain_id, &[url], pem, "0xa1", pool)
    }

    #[test]
    fn faults_name_the_field() {
        parse("https://fullnode.example:443", None, "0xb2").unwrap();
        for (url, pem, pool, expected) in [
            ("http://fullnode.example", None, "0xb2", "https://"),
            ("https://", None, "0xb2", "https://"),
            ("https://a", Some("junk"), "0xb2", "root_certificate"),
            ("https://a", None, "b2", "pool"),
        ] {
            let error = parse(url, pem, pool).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let none: [&str; 0] = [];
        assert!(
            ChainSettings::parse(
                "11111111111111111111111111111111",
                &none,
                None,
                "0x1",
                "0x2"
            )
            .is_err()
        );
    }
}
