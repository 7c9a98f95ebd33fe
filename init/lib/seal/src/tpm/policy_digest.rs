//! The digest of a policy, as a TPM computes it.

use tpm2_protocol::{
    TpmMarshal,
    data::{TpmCc, TpmEo},
};

use super::{
    crypto::{Digest, sha256},
    error::Error,
    marshal,
    nv::CounterLimit,
    object::Name,
    pcr,
};

/// A policy digest, computed step by step as a trial session would (Part 1, 19.7; Part 3, 23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PolicyDigest(Digest);

impl PolicyDigest {
    /// The empty policy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn update(&mut self, command: TpmCc, parts: &[&[u8]]) {
        let code = command.value().to_be_bytes();
        let mut all = vec![self.0.as_slice(), code.as_slice()];
        all.extend_from_slice(parts);
        self.0 = sha256(&all);
    }

    /// Adds `TPM2_PolicyPCR` (Part 3, 23.7): PCRs with these values, in the order of their numbers.
    ///
    /// # Errors
    ///
    /// When there is no such PCR.
    pub fn pcrs(mut self, pcrs: &[(u8, &Digest)]) -> Result<Self, Error> {
        let numbers: Vec<u8> = pcrs.iter().map(|(number, _)| *number).collect();
        let values: Vec<&[u8]> = pcrs.iter().map(|(_, value)| value.as_slice()).collect();
        let list = pcr::selection(&numbers)?;
        let selection = marshal(TpmCc::PolicyPcr, |writer| list.marshal(writer))?;
        self.update(TpmCc::PolicyPcr, &[&selection, &sha256(&values)]);
        Ok(self)
    }

    /// Replaces the policy by `TPM2_PolicyAuthorize` (Part 3, 23.16): whatever this key signs.
    #[must_use]
    pub fn authorize(mut self, key: &Name, reference: &[u8]) -> Self {
        self.0 = Digest::default();
        self.update(TpmCc::PolicyAuthorize, &[&key.to_bytes()]);
        self.0 = sha256(&[&self.0, reference]);
        self
    }

    /// Adds `TPM2_PolicyNV` (Part 3, 23.9): the counter is at most this.
    #[must_use]
    pub fn counter_at_most(mut self, limit: &CounterLimit) -> Self {
        let arguments = sha256(&[
            &limit.limit.to_be_bytes(),
            &0_u16.to_be_bytes(),
            &TpmEo::UnsignedLe.value().to_be_bytes(),
        ]);
        self.update(TpmCc::PolicyNv, &[&arguments, &limit.name.to_bytes()]);
        self
    }

    /// Adds `TPM2_PolicyAuthValue` (Part 3, 23.17): the caller knows the authorisation value.
    #[must_use]
    pub fn auth_value(mut self) -> Self {
        self.update(TpmCc::PolicyAuthValue, &[]);
        self
    }

    /// The digest.
    #[must_use]
    pub fn digest(self) -> Digest {
        self.0
    }
}
