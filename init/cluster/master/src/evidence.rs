//! What a node runs: the evidence of a registration, and the release that it is of.

use attest::channel::Claim;
use attest::evidence::Evidence;
use attest_verify::{Fault, Firmware, Release, Verified};
use chain::PublicKey;
use master_api::{RefusalCode, RegisterRequest};
use tracing::{info, warn};
use wire::NodeName;

use crate::chain_link::StakeReader;
use crate::cluster::firmware::Seen;
use crate::refusal::Refused;
use crate::service::Master;
use crate::trust::FirmwareMode;

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

    /// The node runs a release that counts, and what reports say of its launch is that release's. Gives
    /// what is to be said of the machine: its trusted execution environment, or that there is none.
    pub(crate) async fn check_release(
        &self,
        node_id: &NodeName,
        verified: &Verified,
    ) -> Result<String, Refused> {
        let releases = self.read_releases().await?;
        let release = verified.release(&releases, self.releases.now_ms())?;
        let environment = self.environment(node_id, verified, &releases)?;
        info!(
            node_id = node_id.as_str(),
            release = release.version,
            secure_boot = verified.secure_boot,
            endorsement_admitted_because = verified.admitted_because,
            firmware = %verified.firmware,
            environment,
            "the node runs a release that counts"
        );
        Ok(environment)
    }

    /// The firmware is one that the TPM has shown before, or is recorded and logged; where firmware is
    /// pinned, another is refused.
    pub(crate) async fn check_firmware(
        &self,
        node: &NodeName,
        endorsement_key: &[u8],
        firmware: &Firmware,
    ) -> Result<(), Refused> {
        let asked = self.trust.attestation.as_ref();
        let pinned = asked.is_some_and(|asked| asked.firmware == FirmwareMode::Pinned);
        let node_name = node.as_str();
        let Some(cluster) = self.join.tokens.cluster() else {
            info!(node = node_name, %firmware, "there is no [kubernetes] to record firmware in");
            return Ok(());
        };
        let key = hex::encode(endorsement_key);
        match cluster
            .see_firmware(endorsement_key, firmware, node, !pinned)
            .await
        {
            Ok(Seen::Known) => Ok(()),
            Ok(Seen::First) => {
                info!(
                    node = node_name,
                    endorsement_key = key,
                    %firmware,
                    "the endorsement key's first firmware"
                );
                Ok(())
            }
            Ok(Seen::New { before }) => {
                warn!(
                    node = node_name,
                    endorsement_key = key,
                    %firmware,
                    %before,
                    pinned,
                    "firmware that is new for this endorsement key"
                );
                if !pinned {
                    return Ok(());
                }
                let message = format!(
                    "the machine's firmware is another than before ({firmware}; before {before}), and this \
                     master pins it: have the cluster's administrator delete the Secrets \
                     k3s-daas-firmware-* of this machine's endorsement key, if it was updated on purpose"
                );
                Err(Refused::new(RefusalCode::Firmware, message))
            }
            Err(failure) => {
                let failure = anyhow::Error::new(failure);
                warn!(node = node_name, %firmware, "firmware can't be recorded: {failure:#}");
                if !pinned {
                    return Ok(());
                }
                let message = "the master can't look up which firmware this machine had before";
                Err(Refused::unavailable(message))
            }
        }
    }

    /// The machine's trusted execution environment, in words, where its launch is one of the release.
    fn environment(
        &self,
        node_id: &NodeName,
        verified: &Verified,
        releases: &[Release],
    ) -> Result<String, Refused> {
        let policy = self.trust.attestation.as_ref().map(|asked| &asked.policy);
        let Some(policy) = policy.filter(|policy| policy.reports.is_some()) else {
            return Ok("not looked at".to_owned());
        };
        let launches = policy.launches(verified, releases, self.releases.now_ms())?;
        let node_id = node_id.as_str();
        for launch in &launches {
            let platform = &launch.platform;
            if launch.proven {
                info!(node_id, platform, "{launch}");
            } else {
                warn!(node_id, platform, "{launch}");
            }
        }
        Ok(match launches.as_slice() {
            [] => "none".to_owned(),
            launches => launches
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }
}
