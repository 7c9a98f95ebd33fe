//! A devnet whose master takes nodes by the evidence of their TPMs, and proves itself to them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use chain::ObjectId;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _};

use super::certificates::write_secret;
use super::{Devnet, master};

/// The release that the image of the tests is registered as.
pub const RELEASE: &str = "0.1.0";

/// What is asked of nodes.
pub struct Demand<'a> {
    /// The roots of their TPMs' makers, and authorities below them: PEM.
    pub endorsement_roots: &'a str,
    /// The certificate by which Secure Boot lets images start, a PEM file; none: it need not be on.
    pub secure_boot_certificate: Option<PathBuf>,
    /// The image's root hash.
    pub root_hash: [u8; 32],
    /// PCR 11 as the boot stub leaves it.
    pub pcr11: [u8; 32],
}

impl Devnet {
    /// Registers the master and the image's release on the chain, and starts the master anew, so that
    /// from now on it demands evidence. Nodes that are configured after this look for the master in the
    /// directory on chain. Tells the master's enclave.
    ///
    /// # Errors
    /// When the chain refuses, or the master does not start.
    pub async fn demand_evidence(&mut self, demand: &Demand<'_>) -> Result<ObjectId> {
        let key = KeyPair::generate_for(&PKCS_ED25519).context("no key for the master")?;
        let public = key
            .der_bytes()
            .try_into()
            .context("an ed25519 key has 32 bytes")?;
        let public = chain::PublicKey::from_ed25519_bytes(public);
        let key_file = self.directory.join("enclave.key");
        write_secret(&key_file, &key.serialize_pem())?;
        let roots = self.directory.join("makers.pem");
        std::fs::write(&roots, demand.endorsement_roots)
            .context("cannot write the makers' roots")?;
        let certificate = self.master_certificate.clone();
        let url = format!("https://{}:{}", super::node::HOST, self.master_port);
        let enclave = self
            .register_master(public, certificate.public_key_sha256, &url)
            .await?;
        self.approve_release(RELEASE, demand.root_hash, demand.pcr11)
            .await?;
        let trust = master::Trust {
            enclave: enclave.to_string(),
            key: key_file,
            endorsement_roots: roots,
            secure_boot_certificates: demand.secure_boot_certificate.clone(),
        };
        master::configure(
            &self.directory,
            &self.description,
            &self.root_pem,
            self.master_port,
            &self.cluster,
            &certificate,
            Some(&trust),
        )?;
        self.master.stop().await?;
        self.master.start().await?;
        self.configuration.look_in(&self.description.directory);
        Ok(enclave)
    }
}
