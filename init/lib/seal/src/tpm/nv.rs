//! A counter in the TPM that never goes back, not even by being deleted.
//!
//! A counter's first value is above every value that a deleted counter of this TPM ever had (Part 1,
//! 37.2.4), so that deleting it and making it anew outdates files instead of reviving them. What it
//! starts at says nothing: a file's limit is what the counter stood at when the file was sealed.
//!
//! Only the boot phase of a publisher's image increments a counter of ours: the TPM asks for the policy that
//! the publisher signed, and nobody has it once the phase is over. The owner can delete one all the same,
//! and his password is empty: an index that only a policy deletes is the platform's to define (Part 3, 31.3).

use serde::{Deserialize, Serialize};
use tpm2_protocol::{
    TpmMarshal,
    basic::TpmHandle,
    data::{Tpm2bAuth, Tpm2bDigest, Tpm2bNvPublic, TpmAlgId, TpmCc, TpmRh, TpmaNv, TpmsNvPublic},
    frame::{
        TpmNvDefineSpaceCommand, TpmNvDefineSpaceResponse, TpmNvIncrementCommand,
        TpmNvIncrementResponse, TpmNvReadCommand, TpmNvReadPublicCommand, TpmNvReadPublicResponse,
        TpmNvReadResponse, TpmNvUndefineSpaceCommand, TpmNvUndefineSpaceResponse,
    },
};

use super::{
    Session, Tpm,
    crypto::{Digest, Point},
    error::Error,
    malformed, marshal,
    object::{Loaded, Name, hierarchy},
    policy::{Policy, Unsatisfied},
};
use crate::release::{Phase, ReleasePolicies};

/// The handle of the configuration's counter, in the owner's range (0x01800000 to 0x01bfffff: TCG Registry of Reserved TPM
/// 2.0 Handles and Localities 1.1, 2.2).
pub const COUNTER: u32 = 0x0180_daa5;

/// The state disk's counter: outdating one file must not outdate the other.
pub const STATE_COUNTER: u32 = 0x0180_daa6;

/// The certificate of the P-256 endorsement key: TCG EK Credential Profile 2.3, 2.2.1.4.
const ENDORSEMENT_CERTIFICATE: u32 = 0x01c0_000a;

/// The largest certificate that is read, in bytes.
const MAX_CERTIFICATE: u16 = 8192;

/// Bytes of one read; every TPM gives at least as many (`TPM_PT_NV_BUFFER_MAX` is 512 or more by the
/// PC Client profile).
const CHUNK: u16 = 512;

/// A counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Its handle.
    pub handle: u32,
    /// Its name.
    pub name: Name,
    /// What it stands at.
    pub count: u64,
}

/// A bound on a counter in a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterLimit {
    /// The counter's handle.
    pub handle: u32,
    /// The counter's name, which covers its attributes.
    pub name: Name,
    /// The highest value that the policy admits.
    pub limit: u64,
}

impl CounterLimit {
    pub(crate) fn index(&self) -> TpmHandle {
        TpmHandle::new(self.handle)
    }
}

impl Counter {
    /// The limit that the counter meets as it stands, and no more once it is incremented.
    #[must_use]
    pub fn as_it_stands(&self) -> CounterLimit {
        CounterLimit {
            handle: self.handle,
            name: self.name,
            limit: self.count,
        }
    }

    /// The limit that the counter still meets after one increment: for the file that replaces another,
    /// written before the increment that outdates the other.
    #[must_use]
    pub fn after_increment(&self) -> CounterLimit {
        CounterLimit {
            limit: self.count.saturating_add(1),
            ..self.as_it_stands()
        }
    }
}

/// What a counter of ours is: a policy increments it, the owner deletes it, everyone reads it, and wrong
/// attempts do not count against the lockout. Part 2, 13.4.
fn attributes() -> TpmaNv {
    TpmaNv::COUNTER | TpmaNv::POLICYWRITE | TpmaNv::OWNERREAD | TpmaNv::AUTHREAD | TpmaNv::NO_DA
}

/// What a counter of images before this policy was: the owner increments it.
fn former_attributes() -> TpmaNv {
    TpmaNv::COUNTER | TpmaNv::OWNERWRITE | TpmaNv::OWNERREAD | TpmaNv::AUTHREAD | TpmaNv::NO_DA
}

/// Who may increment a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Whoever satisfies the policy of this digest.
    Policy(Digest),
    /// The owner, whose password is empty.
    Owner,
}

/// What increments a counter: the boot phase of any image of the publisher's.
fn write_policy(release_key: &Point) -> Policy {
    Policy {
        release_key: *release_key,
        phase: Phase::Boot,
        // which every image has a signature for
        floor: 0,
        secure_boot: None,
        counter: None,
        auth_value: false,
    }
}

impl Tpm {
    fn nv_public(&mut self, handle: u32) -> Result<Option<(TpmsNvPublic, Name)>, Error> {
        let command = TpmNvReadPublicCommand {
            handles: [TpmHandle::new(handle)],
        };
        let reply: TpmNvReadPublicResponse = match self.run(&command, &[], &mut []) {
            Err(error) if error.is_absent() => return Ok(None),
            other => other?,
        };
        let public = reply.nv_public.inner;
        let name = Name::of(&marshal(TpmCc::NvReadPublic, |writer| {
            public.marshal(writer)
        })?);
        if *reply.nv_name != name.to_bytes() {
            return Err(Error::WrongName(TpmCc::NvReadPublic));
        }
        Ok(Some((public, name)))
    }

    fn nv_read(
        &mut self,
        root: &Loaded,
        handle: u32,
        name: &Name,
        offset: u16,
        size: u16,
    ) -> Result<Vec<u8>, Error> {
        let index = TpmHandle::new(handle);
        let command = TpmNvReadCommand {
            handles: [index, index],
            size: size.into(),
            offset: offset.into(),
        };
        let name = name.to_bytes();
        // through a session, so that nobody on the bus changes what is read
        let reply: TpmNvReadResponse = self.with_hmac(root, |tpm, session| {
            tpm.run(&command, &[&name, &name], &mut [session])
        })?;
        if reply.data.len() != usize::from(size) {
            return Err(malformed(TpmCc::NvRead, "it has not the size asked for"));
        }
        Ok(reply.data.to_vec())
    }

    /// Reads a counter, whoever may increment it; none is there when its handle is empty, or it was never
    /// incremented.
    ///
    /// # Errors
    ///
    /// When something else is at the handle.
    pub fn counter(&mut self, root: &Loaded, handle: u32) -> Result<Option<Counter>, Error> {
        let Some((public, name)) = self.nv_public(handle)? else {
            return Ok(None);
        };
        writer(handle, &public)?;
        if !public.attributes.contains(TpmaNv::WRITTEN) {
            return Ok(None);
        }
        let count = self.nv_read(root, handle, &name, 0, 8)?;
        let count = count
            .try_into()
            .map_err(|_| malformed(TpmCc::NvRead, "a counter has another size than 8"))?;
        Ok(Some(Counter {
            handle,
            name,
            count: u64::from_be_bytes(count),
        }))
    }

    /// Reads a counter, and makes it if it is not there, which takes the boot phase. One that the owner
    /// increments is taken, as something may be sealed under it.
    ///
    /// # Errors
    ///
    /// When something else is at the handle, the boot phase is over, or the TPM refuses.
    pub fn ensure_counter(
        &mut self,
        root: &Loaded,
        handle: u32,
        releases: &ReleasePolicies,
    ) -> Result<Counter, Unsatisfied> {
        self.find_or_make(root, handle, releases, false)
    }

    /// As [`Tpm::ensure_counter`], where nothing is sealed under the counter that is there: one that the owner
    /// increments is replaced.
    ///
    /// # Errors
    ///
    /// As [`Tpm::ensure_counter`].
    pub fn renew_counter(
        &mut self,
        root: &Loaded,
        handle: u32,
        releases: &ReleasePolicies,
    ) -> Result<Counter, Unsatisfied> {
        self.find_or_make(root, handle, releases, true)
    }

    fn find_or_make(
        &mut self,
        root: &Loaded,
        handle: u32,
        releases: &ReleasePolicies,
        replace_owners: bool,
    ) -> Result<Counter, Unsatisfied> {
        let policy = write_policy(&releases.key);
        let digest = policy.digest()?;
        if let Some((public, _)) = self.nv_public(handle)? {
            let keep = match writer(handle, &public)? {
                Writer::Policy(found) => found == digest,
                Writer::Owner => !replace_owners,
            };
            if keep {
                return match self.counter(root, handle)? {
                    Some(counter) => Ok(counter),
                    None => self.increment_counter(root, handle, releases),
                };
            }
        }
        // nothing is deleted or made that could not be incremented then
        self.with_policy(root, |tpm, session| {
            tpm.satisfy(root, session, &policy, releases)
        })?;
        if self.nv_public(handle)?.is_some() {
            tracing::warn!(
                index = format_args!("{handle:#010x}"),
                "a counter of another publisher's, or that its owner increments, is replaced"
            );
            self.delete_counter(handle)?;
        }
        self.define_counter(handle, attributes(), &digest)?;
        self.increment_counter(root, handle, releases)
    }

    fn define_counter(
        &mut self,
        handle: u32,
        attributes: TpmaNv,
        policy: &[u8],
    ) -> Result<(), Error> {
        let (owner, name) = hierarchy(TpmRh::Owner);
        let command = TpmNvDefineSpaceCommand {
            handles: [owner],
            auth: Tpm2bAuth::default(),
            public_info: Tpm2bNvPublic {
                inner: TpmsNvPublic {
                    nv_index: TpmHandle::new(handle),
                    name_alg: TpmAlgId::Sha256,
                    attributes,
                    auth_policy: Tpm2bDigest::try_from(policy)
                        .map_err(|_| Error::TooLong(TpmCc::NvDefineSpace))?,
                    data_size: 8.into(),
                },
            },
        };
        self.run::<_, TpmNvDefineSpaceResponse>(&command, &[&name], &mut [&mut Session::password()])
            .map(|_| ())
    }

    /// Increments a counter of ours, and reads it. That takes the boot phase.
    ///
    /// # Errors
    ///
    /// When it is not there or something else, the boot phase is over, or the TPM refuses.
    pub fn increment_counter(
        &mut self,
        root: &Loaded,
        handle: u32,
        releases: &ReleasePolicies,
    ) -> Result<Counter, Unsatisfied> {
        let gone = || Error::ForeignCounter(handle, "there is none");
        let (public, name) = self.nv_public(handle)?.ok_or_else(gone)?;
        match writer(handle, &public)? {
            Writer::Owner => self.increment_by_owner(handle, &name)?,
            Writer::Policy(found) => {
                let policy = write_policy(&releases.key);
                if found != policy.digest()? {
                    let what = "another publisher's images increment it";
                    return Err(Error::ForeignCounter(handle, what).into());
                }
                let index = TpmHandle::new(handle);
                let name = name.to_bytes();
                self.with_policy(root, |tpm, session| {
                    tpm.satisfy(root, session, &policy, releases)?;
                    // Part 3, 31.8: authHandle is the index itself
                    let command = TpmNvIncrementCommand {
                        handles: [index, index],
                    };
                    tpm.run::<_, TpmNvIncrementResponse>(&command, &[&name, &name], &mut [session])
                        .map_err(Unsatisfied::from)
                })?;
            }
        }
        Ok(self.counter(root, handle)?.ok_or_else(gone)?)
    }

    fn increment_by_owner(&mut self, handle: u32, name: &Name) -> Result<(), Error> {
        let (owner, owner_name) = hierarchy(TpmRh::Owner);
        let command = TpmNvIncrementCommand {
            handles: [owner, TpmHandle::new(handle)],
        };
        self.run::<_, TpmNvIncrementResponse>(
            &command,
            &[&owner_name, &name.to_bytes()],
            &mut [&mut Session::password()],
        )
        .map(|_| ())
    }

    /// Deletes a counter, and has the next one at its handle begin so high that no copy of what was sealed
    /// under it opens, for a reset on purpose: in any phase, and with any image. One that is not there may have
    /// been deleted by a reset that the power cut off: it is treated the same.
    ///
    /// # Errors
    ///
    /// When something else is there, or the TPM refuses. It can be done again.
    pub fn retire_counter(&mut self, handle: u32) -> Result<(), Error> {
        if self.nv_public(handle)?.is_some() {
            self.delete_counter(handle)?;
        }
        self.define_counter(handle, former_attributes(), &[])?;
        // A counter begins one above all that a deleted one ever had. Twice more: a file that was to outdate
        // another, and was cut off before it did, admits one more than the counter stood at.
        for _ in 0..2 {
            let gone = || Error::ForeignCounter(handle, "there is none");
            let (_, name) = self.nv_public(handle)?.ok_or_else(gone)?;
            self.increment_by_owner(handle, &name)?;
        }
        self.delete_counter(handle)
    }

    /// Deletes a counter: what was sealed under it never opens again. For a reset on purpose.
    ///
    /// # Errors
    ///
    /// When it is not there or something else, or the TPM refuses.
    pub fn delete_counter(&mut self, handle: u32) -> Result<(), Error> {
        let gone = || Error::ForeignCounter(handle, "there is none");
        let (public, name) = self.nv_public(handle)?.ok_or_else(gone)?;
        writer(handle, &public)?;
        let (owner, owner_name) = hierarchy(TpmRh::Owner);
        let command = TpmNvUndefineSpaceCommand {
            handles: [owner, TpmHandle::new(handle)],
        };
        self.run::<_, TpmNvUndefineSpaceResponse>(
            &command,
            &[&owner_name, &name.to_bytes()],
            &mut [&mut Session::password()],
        )?;
        Ok(())
    }

    /// The manufacturer's certificate of the P-256 endorsement key (DER), if the TPM carries one.
    ///
    /// # Errors
    ///
    /// When the TPM refuses to read it.
    pub fn endorsement_certificate(&mut self, root: &Loaded) -> Result<Option<Vec<u8>>, Error> {
        let Some((public, name)) = self.nv_public(ENDORSEMENT_CERTIFICATE)? else {
            return Ok(None);
        };
        let size = public.data_size.value();
        if size > MAX_CERTIFICATE {
            return Err(malformed(
                TpmCc::NvReadPublic,
                "a certificate of more than 8192 bytes",
            ));
        }
        let mut certificate = Vec::with_capacity(size.into());
        let mut offset = 0;
        while offset < size {
            let chunk = CHUNK.min(size - offset);
            certificate.extend(self.nv_read(
                root,
                ENDORSEMENT_CERTIFICATE,
                &name,
                offset,
                chunk,
            )?);
            offset += chunk;
        }
        Ok(Some(certificate))
    }
}

/// Who may increment the counter that lies there.
fn writer(handle: u32, public: &TpmsNvPublic) -> Result<Writer, Error> {
    let foreign = |what| Error::ForeignCounter(handle, what);
    if public.nv_index.value() != handle || public.name_alg != TpmAlgId::Sha256 {
        return Err(foreign("it is another index"));
    }
    if public.data_size.value() != 8 {
        return Err(foreign("it has another size"));
    }
    let written = TpmaNv::WRITTEN;
    let found = public.attributes | written;
    if found == attributes() | written {
        let policy: &[u8] = &public.auth_policy;
        return policy
            .try_into()
            .map(Writer::Policy)
            .map_err(|_| foreign("its policy is not by SHA-256"));
    }
    if found != former_attributes() | written {
        return Err(foreign("its attributes are others"));
    }
    if public.auth_policy.is_empty() {
        Ok(Writer::Owner)
    } else {
        Err(foreign("it has a policy that nothing asks for"))
    }
}
