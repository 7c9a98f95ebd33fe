//! What the master asks of evidence.
//!
//! [`Policy::check`] asks all that needs no chain: that the evidence is for this registration and this
//! TLS connection; that the quote's key is a TPM's, beside an endorsement key that a manufacturer has
//! certified; that the event log leads to the quoted registers; and what it says of Secure Boot. Which
//! release it is, [`Image::release`] finds among those that the chain knows. That the two keys are in
//! one TPM is proved by opening what [`attest::join_token::seal`] makes.

use attest::{
    channel::Claim,
    event_log::{EventLog, secure_boot},
    evidence::{Evidence, REGISTERS},
};
use master_api::RefusalCode;
use seal::tpm::{
    Public,
    crypto::{Digest, Point, sha256},
};

use crate::{
    endorsement::{self, AdmittedKey, ManufacturerRoots},
    fault::Fault,
    firmware::{AllowedFirmware, Firmware, check_allowed, check_measured},
    release::{Image, Release},
    reports::Reports,
    tee_report::VerifiedReport,
};

/// What is asked of every node.
pub struct Policy {
    /// Whose endorsement certificates count.
    pub roots: ManufacturerRoots,
    /// The endorsement keys that need no certificate.
    pub admitted_keys: Vec<AdmittedKey>,
    /// SHA-256 of the certificates that may let something start; `None`: Secure Boot need not be on.
    pub secure_boot: Option<Vec<Digest>>,
    /// Which firmware may have started the machine; `None`: any that measures itself.
    pub firmware: Option<Vec<AllowedFirmware>>,
    /// What is asked of reports of trusted execution environments. `None`: they count for nothing.
    pub reports: Option<Reports>,
}

/// What verified evidence says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The TPM's endorsement key.
    pub endorsement: Public,
    /// Why the endorsement key counts without a manufacturer's certificate; `None`: it has one that counts.
    pub admitted_because: Option<String>,
    /// What the reports of trusted execution environments say that hold; none where they are not
    /// looked at.
    pub reports: Vec<VerifiedReport>,
    /// The key that signs its quotes.
    pub attestation: Public,
    /// The point of that key.
    pub key: Point,
    /// The number of times that the TPM was reset: another boot is another number.
    pub reset_count: u32,
    /// The number of times that it came back from sleep since then.
    pub restart_count: u32,
    /// Milliseconds that it was powered.
    pub clock: u64,
    /// The hash over the values of the registers.
    pub registers: Digest,
    /// What started the machine.
    pub firmware: Firmware,
    /// Whether Secure Boot was on.
    pub secure_boot: bool,
    /// Register 11: image and boot phase.
    pub image: Image,
}

impl Verified {
    /// The release that the node runs, if it counts: see [`Image::release`].
    ///
    /// # Errors
    /// When none is known, or it does not count.
    pub fn release<'a>(&self, releases: &'a [Release], now_ms: u64) -> Result<&'a Release, Fault> {
        self.image.release(releases, now_ms)
    }
}

impl Policy {
    /// Verifies evidence that must be for this claim, at this time in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self, evidence: &Evidence, claim: &Claim, now: u64) -> Result<Verified, Fault> {
        let malformed = |what: &str| Fault::new(RefusalCode::EvidenceMalformed, what);
        let attestation = Public::from_bytes(&evidence.attestation_key)
            .map_err(|_| malformed("the attestation key is not a public area of a TPM 2.0"))?;
        let endorsement = Public::from_bytes(&evidence.endorsement_key)
            .map_err(|_| malformed("the endorsement key is not a public area of a TPM 2.0"))?;
        let data = evidence
            .binding
            .qualifying_data()
            .map_err(|_| malformed("what the quote is over can't be encoded"))?;
        let (key, quoted) = check_quote(evidence, &attestation, &data)?;
        check_binding(evidence, &attestation, &endorsement, claim)?;
        let certificate = evidence.endorsement_certificate.as_deref();
        let admitted_because = self.check_endorsement(&endorsement, certificate, now)?;

        let parts: Vec<&[u8]> = evidence.registers.iter().map(Digest::as_slice).collect();
        let registers = sha256(&parts);
        if registers != quoted.pcr_digest {
            return Err(Fault::new(
                RefusalCode::RegistersMismatch,
                "the values of the TPM's registers are not the ones that were quoted",
            ));
        }
        let secure_boot = self.check_log(evidence)?;
        let firmware = Firmware {
            pcr0: register(evidence, 0)?,
            pcr2: register(evidence, 2)?,
        };
        check_allowed(&firmware, self.firmware.as_deref())?;
        if register(evidence, 12)? != [0; 32] {
            return Err(Fault::new(
                RefusalCode::CommandLine,
                "register 12 is not empty: a kernel command line, a credential or an extension came \
                 from outside the image",
            ));
        }
        let reports = match &self.reports {
            Some(reports) => reports.check(&evidence.reports, &data, now)?,
            None => Vec::new(),
        };
        Ok(Verified {
            endorsement,
            admitted_because,
            reports,
            attestation,
            key,
            reset_count: quoted.reset_count,
            restart_count: quoted.restart_count,
            clock: quoted.clock,
            registers,
            firmware,
            secure_boot,
            image: Image::from_register(register(evidence, 11)?),
        })
    }

    /// The endorsement key is one that the operator admits, with the reason, or has a certificate that counts.
    fn check_endorsement(
        &self,
        endorsement: &Public,
        certificate: Option<&[u8]>,
        now: u64,
    ) -> Result<Option<String>, Fault> {
        let name = endorsement::name(endorsement)?;
        match self.admitted_keys.iter().find(|key| key.name == name) {
            Some(admitted) => {
                endorsement::check_template(endorsement)?;
                Ok(Some(admitted.reason.clone()))
            }
            None => {
                self.roots.check(endorsement, certificate, now)?;
                Ok(None)
            }
        }
    }

    /// The log leads to the registers of the firmware, and Secure Boot is as the policy wants it.
    fn check_log(&self, evidence: &Evidence) -> Result<bool, Fault> {
        let broken = |message: String| Fault::new(RefusalCode::EventLog, message);
        let log =
            EventLog::parse(&evidence.event_log).map_err(|error| broken(error.to_string()))?;
        for number in REGISTERS.into_iter().filter(|number| *number <= 7) {
            if log.replay(number) != register(evidence, number)? {
                return Err(broken(format!(
                    "the firmware's event log does not lead to the quoted value of register {number}"
                )));
            }
        }
        check_measured(&log)?;
        let state = secure_boot::read(&log);
        let Some(known) = &self.secure_boot else {
            return Ok(state.is_ok_and(|state| state.on));
        };
        let state =
            state.map_err(|error| Fault::new(RefusalCode::SecureBootKeys, error.to_string()))?;
        if !state.on {
            return Err(Fault::new(
                RefusalCode::SecureBootOff,
                "Secure Boot is off: enrol the publisher's keys, and switch it on in the firmware's \
                 setup",
            ));
        }
        if state.authorities.is_empty() {
            return Err(Fault::new(
                RefusalCode::SecureBootKeys,
                "Secure Boot does not say by which key the image was let start",
            ));
        }
        if let Some(unknown) = state
            .authorities
            .iter()
            .find(|authority| !known.contains(authority))
        {
            return Err(Fault::new(
                RefusalCode::SecureBootKeys,
                format!(
                    "Secure Boot let something start by a certificate that the master does not know \
                     (SHA-256 {})",
                    hex::encode(unknown)
                ),
            ));
        }
        Ok(true)
    }
}

fn register(evidence: &Evidence, number: u8) -> Result<Digest, Fault> {
    evidence.register(number).copied().ok_or_else(|| {
        Fault::new(
            RefusalCode::EvidenceMalformed,
            format!("the evidence has no value of register {number}"),
        )
    })
}

/// The quote is by the evidence's attestation key, which signs nothing but what its TPM has made, and
/// over the evidence's binding.
fn check_quote(
    evidence: &Evidence,
    attestation: &Public,
    data: &Digest,
) -> Result<(Point, seal::tpm::attest::Quoted), Fault> {
    let refused = |code, message: String| Fault::new(code, message);
    if !attestation.is_attestation_key().unwrap_or(false) {
        return Err(refused(
            RefusalCode::AttestationKey,
            "the attestation key is not a restricted signing key of the TPM: it could sign anything"
                .to_owned(),
        ));
    }
    let key = attestation
        .point()
        .map_err(|error| refused(RefusalCode::AttestationKey, error.to_string()))?;
    let quote = evidence.quote();
    let nonce = quote
        .nonce()
        .map_err(|error| refused(RefusalCode::EvidenceMalformed, error.to_string()))?;
    let quoted = quote
        .verify(&key, &nonce, &REGISTERS)
        .map_err(|error| refused(RefusalCode::QuoteSignature, error.to_string()))?;
    if nonce != data {
        return Err(refused(
            RefusalCode::QuoteNonce,
            "the quote is over something else than this registration: it is an old one, or another's"
                .to_owned(),
        ));
    }
    Ok((key, quoted))
}

/// The binding is this registration's.
fn check_binding(
    evidence: &Evidence,
    attestation: &Public,
    endorsement: &Public,
    claim: &Claim,
) -> Result<(), Fault> {
    let binding = &evidence.binding;
    if binding.nonce != claim.nonce {
        return Err(Fault::new(
            RefusalCode::QuoteNonce,
            "the evidence was made for another challenge: it is an old one",
        ));
    }
    if binding.channel != claim.channel {
        return Err(Fault::new(
            RefusalCode::ChannelMismatch,
            "the node saw another TLS key than this master's: somebody stands between the two",
        ));
    }
    let another = |what: &str| {
        Err(Fault::new(
            RefusalCode::KeyBinding,
            format!("the evidence was made for another {what}"),
        ))
    };
    let name = |public: &Public| public.name().map(|name| name.to_bytes().to_vec()).ok();
    if binding.node_id != claim.node_id {
        return another("node");
    }
    if binding.node_key != claim.node_key {
        return another("node's key");
    }
    if binding.address != claim.address {
        return another("Sui address");
    }
    if name(attestation).as_ref() != Some(&binding.attestation_key) {
        return another("attestation key");
    }
    if name(endorsement).as_ref() != Some(&binding.endorsement_key) {
        return another("endorsement key");
    }
    Ok(())
}
