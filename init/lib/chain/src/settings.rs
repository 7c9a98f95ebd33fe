//! Where the chain is found and what it is expected to be.

use std::time::Duration;

use chain_types::{ChainId, ObjectId};
use wire::ServerUrl;

use crate::error::SettingsError;

/// How to reach the chain, and which chain, package and pool to take for true.
#[derive(Debug, Clone)]
pub struct ChainSettings {
    /// The only chain that is accepted.
    pub chain_id: ChainId,
    /// Fullnodes by order of preference. With two or more, a slash is
    /// believed only when two of them show it, or one for long while the others don't answer.
    pub fullnodes: Vec<ServerUrl>,
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
    /// Settings with the default time limits.
    ///
    /// # Errors
    /// Names the field, what was expected of it, and what stands there.
    pub fn new(
        chain_id: ChainId,
        fullnodes: Vec<ServerUrl>,
        root_certificate_pem: Option<String>,
        package: ObjectId,
        pool: ObjectId,
    ) -> Result<Self, SettingsError> {
        let settings = Self {
            chain_id,
            fullnodes,
            root_certificate_pem,
            package,
            pool,
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

    fn new(fullnodes: usize, pem: Option<&str>) -> Result<ChainSettings, SettingsError> {
        let url: ServerUrl = "https://fullnode.example:443".parse().unwrap();
        ChainSettings::new(
            ChainId::from_bytes([1; 32]),
            vec![url; fullnodes],
            pem.map(str::to_owned),
            ObjectId::from_bytes([0xa1; 32]),
            ObjectId::from_bytes([0xb2; 32]),
        )
    }

    #[test]
    fn settings_faults_name_the_field() {
        new(1, None).unwrap();
        new(MOST_FULLNODES, Some("-----BEGIN CERTIFICATE-----")).unwrap();
        for (fullnodes, pem, expected) in [
            (0, None, "fullnodes"),
            (MOST_FULLNODES + 1, None, "fullnodes"),
            (1, Some("junk"), "root_certificate"),
        ] {
            let error = new(fullnodes, pem).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
