//! What a node runs: the evidence of a registration, and the release that it is of.

use attest::channel::Claim;
use attest::evidence::Evidence;
use attest::verify::{Fault, Verified};
use chain::PublicKey;
use tracing::info;
use wire::master::{RefusalCode, RegisterRequest};

use crate::chain_link::StakeReader;
use crate::refusal::Refused;
use crate::service::Master;

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::new(fault.code, fault.message)
    }
}

impl<C: StakeReader> Master<C> {
    /// All of the evidence that needs no chain. `None`: it is not asked for, or there is none and it is
    /// not required.
    pub(crate) fn check_evidence(
        &self,
        request: &RegisterRequest,
        key: PublicKey,
    ) -> Result<Option<Verified>, Refused> {
        let Some(attestation) = &self.trust.attestation else {
            return Ok(None);
        };
        let Some(bytes) = &request.evidence else {
            if attestation.required {
                return Err(Refused::new(
                    RefusalCode::EvidenceMissing,
                    "this master admits nodes with the evidence of a TPM 2.0 alone",
                ));
            }
            return Ok(None);
        };
        let evidence = Evidence::from_bytes(&bytes.0)
            .map_err(|error| Refused::new(RefusalCode::EvidenceMalformed, error.to_string()))?;
        let claim = Claim {
            nonce: request.nonce.0.clone(),
            node_id: request.node_id.clone(),
            node_key: request.public_key.0.clone(),
            address: key.address().to_string(),
            channel: self.trust.tls_key_sha256,
        };
        let verified = attestation
            .policy
            .check(&evidence, &claim, (self.clock)())?;
        Ok(Some(verified))
    }

    /// The node runs a release that counts.
    pub(crate) async fn check_release(
        &self,
        node_id: &str,
        verified: &Verified,
    ) -> Result<(), Refused> {
        let releases = self.read_releases().await?;
        let release = verified.release(&releases)?;
        info!(
            node_id,
            release = release.version,
            secure_boot = verified.secure_boot,
            "the node runs a release that counts"
        );
        Ok(())
    }
}
