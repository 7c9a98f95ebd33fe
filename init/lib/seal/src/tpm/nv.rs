//! A counter in the TPM that never goes back, not even by being deleted.
//!
//! A counter's first value is above every value that a deleted counter of this TPM ever had (Part 1,
//! 37.2.4), so that deleting it and making it anew outdates files instead of reviving them. What it
//! starts at says nothing: a file's limit is what the counter stood at when the file was sealed.

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
    error::Error,
    malformed, marshal,
    object::{Loaded, Name, hierarchy},
};

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

/// What a counter of ours is: the owner increments and deletes it, everyone reads it, and wrong
/// attempts do not count against the lockout. Part 2, 13.4.
fn attributes() -> TpmaNv {
    TpmaNv::COUNTER | TpmaNv::OWNERWRITE | TpmaNv::OWNERREAD | TpmaNv::AUTHREAD | TpmaNv::NO_DA
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

    /// Reads a counter; none is there when its handle is empty, or it was never incremented.
    ///
    /// # Errors
    ///
    /// When something else is at the handle.
    pub fn counter(&mut self, root: &Loaded, handle: u32) -> Result<Option<Counter>, Error> {
        let Some((public, name)) = self.nv_public(handle)? else {
            return Ok(None);
        };
        check_counter(handle, &public)?;
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

    /// Reads a counter, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// When something else is at the handle, or the TPM refuses.
    pub fn ensure_counter(&mut self, root: &Loaded, handle: u32) -> Result<Counter, Error> {
        if let Some(counter) = self.counter(root, handle)? {
            return Ok(counter);
        }
        if self.nv_public(handle)?.is_none() {
            let (owner, name) = hierarchy(TpmRh::Owner);
            let command = TpmNvDefineSpaceCommand {
                handles: [owner],
                auth: Tpm2bAuth::default(),
                public_info: Tpm2bNvPublic {
                    inner: TpmsNvPublic {
                        nv_index: TpmHandle::new(handle),
                        name_alg: TpmAlgId::Sha256,
                        attributes: attributes(),
                        auth_policy: Tpm2bDigest::default(),
                        data_size: 8.into(),
                    },
                },
            };
            self.run::<_, TpmNvDefineSpaceResponse>(
                &command,
                &[&name],
                &mut [&mut Session::password()],
            )?;
        }
        self.increment_counter(root, handle)
    }

    /// Increments a counter of ours, and reads it.
    ///
    /// # Errors
    ///
    /// When it is not there or something else, or the TPM refuses.
    pub fn increment_counter(&mut self, root: &Loaded, handle: u32) -> Result<Counter, Error> {
        let gone = || Error::ForeignCounter(handle, "there is none");
        let (public, name) = self.nv_public(handle)?.ok_or_else(gone)?;
        check_counter(handle, &public)?;
        let (owner, owner_name) = hierarchy(TpmRh::Owner);
        let command = TpmNvIncrementCommand {
            handles: [owner, TpmHandle::new(handle)],
        };
        self.run::<_, TpmNvIncrementResponse>(
            &command,
            &[&owner_name, &name.to_bytes()],
            &mut [&mut Session::password()],
        )?;
        self.counter(root, handle)?.ok_or_else(gone)
    }

    /// Deletes a counter: what was sealed under it never opens again. For a reset on purpose.
    ///
    /// # Errors
    ///
    /// When it is not there, or the TPM refuses.
    pub fn delete_counter(&mut self, handle: u32) -> Result<(), Error> {
        let gone = || Error::ForeignCounter(handle, "there is none");
        let (_, name) = self.nv_public(handle)?.ok_or_else(gone)?;
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

fn check_counter(handle: u32, public: &TpmsNvPublic) -> Result<(), Error> {
    let foreign = |what| Error::ForeignCounter(handle, what);
    let written = TpmaNv::WRITTEN;
    if public.nv_index.value() != handle || public.name_alg != TpmAlgId::Sha256 {
        return Err(foreign("it is another index"));
    }
    if public.attributes | written != attributes() | written {
        return Err(foreign("its attributes are others"));
    }
    if !public.auth_policy.is_empty() || public.data_size.value() != 8 {
        return Err(foreign("it has a policy or another size"));
    }
    Ok(())
}
