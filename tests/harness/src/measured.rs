//! Machines whose boot is measured: with firmware, a TPM, and perhaps Secure Boot; and other kernel images
//! than the built one, linked from its parts.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use image::release::{KeySource, Release};
use image::secure_boot::SecureBoot;
use image::store;
use image::uki::{self, Parts, Uki};
use seal::tpm::crypto::Digest;
use serde::Deserialize;

use crate::disk::Disk;
use crate::lab::{Context, Lab};
use crate::qemu::{Boot, Firmware, MachineOptions, Owner};
use crate::tpm::{Authority, Tpm};

/// Those who vouch for a scenario's machines, each made when it is first asked for.
#[derive(Default)]
pub(crate) struct Trust {
    authority: Mutex<Option<Arc<Authority>>>,
    owner: Mutex<Option<Owner>>,
    number: AtomicU32,
}

/// What the image's manifest says about its measurements.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Measured {
    /// PCR 11 as the boot stub leaves it, in hexadecimal.
    pub pcr11: String,
    /// The publisher's key: a compressed point, in hexadecimal.
    pub release_key: String,
    /// The image's security version.
    pub security_version: u16,
    /// The root hash, in hexadecimal.
    pub root_hash: String,
}

impl Measured {
    /// PCR 11 as the boot stub leaves it.
    ///
    /// # Errors
    /// When it is no digest.
    pub fn pcr11(&self) -> Result<Digest> {
        let mut digest = Digest::default();
        hex::decode_to_slice(&self.pcr11, &mut digest).context("the manifest's pcr11")?;
        Ok(digest)
    }

    /// The root hash.
    ///
    /// # Errors
    /// When it is no digest.
    pub fn root_hash(&self) -> Result<Digest> {
        let mut digest = Digest::default();
        hex::decode_to_slice(&self.root_hash, &mut digest).context("the manifest's root_hash")?;
        Ok(digest)
    }
}

impl Lab {
    /// What the image's manifest says about its measurements.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn measured(&self) -> Result<Measured> {
        let path = self.image.join("manifest.json");
        let text =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is malformed", path.display()))
    }

    /// The publisher of the image, who signs another security version too. The images of the tests are
    /// signed with the development key.
    ///
    /// # Errors
    /// When the key cannot be read, or is not the image's.
    pub fn publisher(&self, security_version: u16) -> Result<Release> {
        let cache = store::default_cache()?;
        let release = Release::open(&KeySource::Development, security_version, &cache)?;
        ensure!(
            hex::encode(release.point().to_compressed()) == self.measured()?.release_key,
            "the image is not signed with the development key of {}: build it anew",
            cache.display()
        );
        Ok(release)
    }

    /// Links a kernel image from the built one's parts, after `change` has changed them.
    ///
    /// # Errors
    /// When a part is missing, or the image cannot be linked.
    pub fn uki(&self, release: &Release, change: impl FnOnce(&mut Parts)) -> Result<Uki> {
        let mut parts = Parts::read(&self.image)?;
        change(&mut parts);
        uki::build(&parts, release)
    }

    /// As [`Self::uki`], by somebody without the publisher's key: the policies are those that the
    /// publisher signed for the unchanged image.
    ///
    /// # Errors
    /// When a part is missing, or the image cannot be linked.
    pub fn tampered_uki(
        &self,
        release: &Release,
        change: impl FnOnce(&mut Parts),
    ) -> Result<Vec<u8>> {
        let signed = self.uki(release, |_| {})?;
        let mut parts = Parts::read(&self.image)?;
        change(&mut parts);
        uki::with_policies_of(&parts, release, &signed)
    }
}

impl Context {
    /// A name of the scenario's folder that nothing else has.
    fn fresh(&self, name: &str) -> PathBuf {
        let number = self.trust.number.fetch_add(1, Ordering::Relaxed);
        self.directory().join(format!("{name}-{number}"))
    }

    /// The maker of the TPMs: [`Authority::roots_pem`] is for whoever configures a master.
    ///
    /// # Errors
    /// When it has no room.
    pub fn authority(&self) -> Result<Arc<Authority>> {
        let mut place = self
            .trust
            .authority
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(authority) = &*place {
            return Ok(Arc::clone(authority));
        }
        let authority = Arc::new(Authority::new(&self.directory().join("authority"))?);
        *place = Some(Arc::clone(&authority));
        Ok(authority)
    }

    /// A new TPM of this maker's.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn tpm(&self) -> Result<Tpm> {
        let authority = self.authority()?;
        let directory = self.fresh("tpm");
        std::fs::create_dir_all(&directory).context("cannot create a TPM's folder")?;
        Tpm::manufacture(&directory, &authority).await
    }

    /// The owner of the machines with Secure Boot.
    ///
    /// # Errors
    /// When its key cannot be made.
    pub fn owner(&self) -> Result<Owner> {
        let mut place = self
            .trust
            .owner
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = &*place {
            return Ok(owner.clone());
        }
        let owner = Owner::new(&self.directory().join("owner"))?;
        *place = Some(owner.clone());
        Ok(owner)
    }

    /// A new machine without Secure Boot, with this disk and TPM, started by its firmware. What is
    /// switched on with these options, or a clone of them, is the same machine each time.
    ///
    /// # Errors
    /// When this host has no firmware.
    pub fn measured_machine(&self, disk: &Disk, tpm: &Tpm) -> Result<MachineOptions> {
        let firmware = Firmware::new(&self.fresh("variables"))?;
        Ok(self.machine_with(firmware, disk, tpm))
    }

    /// As [`Self::measured_machine`], with Secure Boot and the owner's keys: it starts what the owner
    /// signed ([`Self::secure_disk`], [`Self::signed`]) and nothing else.
    ///
    /// # Errors
    /// When this host has no firmware or lacks a tool.
    pub fn secure_machine(&self, disk: &Disk, tpm: &Tpm) -> Result<MachineOptions> {
        let firmware = Firmware::with_secure_boot(&self.fresh("variables"), &self.owner()?)?;
        Ok(self.machine_with(firmware, disk, tpm))
    }

    fn machine_with(&self, firmware: Firmware, disk: &Disk, tpm: &Tpm) -> MachineOptions {
        let boot = Boot::Firmware(firmware);
        let disks = vec![disk.path().to_owned()];
        let mut options = MachineOptions::new(self.lab.accelerator, boot, disks);
        options.tpm = Some(tpm.clone());
        options
    }

    /// A UEFI program with the owner's signature.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn signed(&self, program: &[u8]) -> Result<Vec<u8>> {
        let owner = self.owner()?;
        let path = self.fresh("program");
        std::fs::write(&path, program).context("cannot write a program")?;
        let key = SecureBoot {
            key: owner.key,
            certificate: owner.certificate,
        };
        key.sign(&path)?;
        let signed = std::fs::read(&path).context("cannot read a program")?;
        std::fs::remove_file(&path).context("cannot remove a program")?;
        Ok(signed)
    }

    /// As [`Self::disk`], with the owner's signatures on boot loader and kernel image.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn secure_disk(&self) -> Result<Disk> {
        let disk = self.disk()?;
        let read = |name: &str| {
            let path = self.lab.image.join(name);
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        disk.install_boot_loader(&self.signed(&read("systemd-boot.efi")?)?)?;
        disk.install_uki(&self.signed(&read("uki.efi")?)?)?;
        Ok(disk)
    }
}
