//! Keys and sealed objects: their public areas and names; making, loading and keeping them.

use std::fmt;

use tpm2_protocol::{
    TpmMarshal, TpmUnmarshal,
    basic::TpmHandle,
    data::{
        Tpm2bName, Tpm2bPrivate, Tpm2bPublic, TpmAlgId, TpmCc, TpmEccCurve, TpmRh,
        TpmlPcrSelection, TpmtPublic, TpmuPublicId, TpmuPublicParms,
    },
    frame::{
        TpmEvictControlCommand, TpmEvictControlResponse, TpmLoadCommand, TpmLoadResponse,
        TpmReadPublicCommand, TpmReadPublicResponse,
    },
};
use zeroize::Zeroizing;

use super::{
    Request, Session, Tpm,
    crypto::{Point, sha256},
    error::Error,
    malformed, marshal, put_sized, take_sized,
};

/// The name of an object or index: the identifier of its hash algorithm, SHA-256, and the hash of its
/// public area (Part 1, 16). Policies name keys and indices by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Name([u8; 2], [u8; 32]);

impl Name {
    /// Bytes of a name.
    pub const LENGTH: usize = 34;

    /// The name of something with this public area, marshalled.
    #[must_use]
    pub fn of(public_area: &[u8]) -> Self {
        Self(
            TpmAlgId::Sha256.value().to_be_bytes(),
            sha256(&[public_area]),
        )
    }

    /// The name's bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let parts = self.0.iter().chain(&self.1);
        bytes
            .iter_mut()
            .zip(parts)
            .for_each(|(to, from)| *to = *from);
        bytes
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.to_bytes()))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Name({self})")
    }
}

/// The public area of an object (`TPMT_PUBLIC`, Part 2, 12.2.4) with SHA-256 as its name's algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    pub(crate) area: TpmtPublic,
}

impl Public {
    /// Reads a `TPM2B_PUBLIC`: the form in which tpm2-tools write public parts
    /// (`tpm2_readpublic --output`).
    ///
    /// # Errors
    ///
    /// When the bytes are anything else, or its name is not one of SHA-256.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |what| malformed(TpmCc::ReadPublic, what);
        let (public, rest) =
            Tpm2bPublic::unmarshal(bytes).map_err(|_| wrong("it is not a public area"))?;
        if !rest.is_empty() {
            return Err(wrong("something follows the public area"));
        }
        let public = Self { area: public.inner };
        if public.area.name_alg != TpmAlgId::Sha256 {
            return Err(wrong("its name is not by SHA-256"));
        }
        // what was read must come out again the same, or names would differ from the TPM's
        if public.to_bytes()?.as_slice() != bytes {
            return Err(wrong("it is not in its one right encoding"));
        }
        Ok(public)
    }

    /// The public area as a `TPM2B_PUBLIC`.
    ///
    /// # Errors
    ///
    /// When the area is too long for a message.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        put_sized(&mut bytes, &self.marshalled()?, TpmCc::ReadPublic)?;
        Ok(bytes)
    }

    fn marshalled(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        marshal(TpmCc::ReadPublic, |writer| self.area.marshal(writer))
    }

    /// The object's name.
    ///
    /// # Errors
    ///
    /// When the area is too long for a message.
    pub fn name(&self) -> Result<Name, Error> {
        Ok(Name::of(&self.marshalled()?))
    }

    /// The public point of a P-256 key.
    ///
    /// # Errors
    ///
    /// When it is another kind of object, or the point is not on the curve.
    pub fn point(&self) -> Result<Point, Error> {
        match (&self.area.parameters, &self.area.unique) {
            (TpmuPublicParms::Ecc(parameters), TpmuPublicId::Ecc(point))
                if parameters.curve_id == TpmEccCurve::NistP256 =>
            {
                Point::new(&point.x, &point.y)
            }
            _ => Err(Error::NotP256("this object")),
        }
    }

    pub(crate) fn sized(&self) -> Tpm2bPublic {
        Tpm2bPublic {
            inner: self.area.clone(),
        }
    }
}

/// An object in the TPM, at a handle.
#[derive(Debug, Clone)]
pub struct Loaded {
    handle: TpmHandle,
    public: Public,
    name: Name,
}

impl Loaded {
    pub(crate) fn new(handle: TpmHandle, public: Public) -> Result<Self, Error> {
        let name = public.name()?;
        Ok(Self {
            handle,
            public,
            name,
        })
    }

    pub(crate) fn handle(&self) -> TpmHandle {
        self.handle
    }

    /// The object's public area.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> Name {
        self.name
    }

    pub(crate) fn point(&self) -> Result<Point, Error> {
        self.public.point()
    }
}

/// The handle of a hierarchy; its name is the handle itself (Part 1, 16).
pub(crate) fn hierarchy(which: TpmRh) -> (TpmHandle, [u8; 4]) {
    (TpmHandle::new(which.value()), which.value().to_be_bytes())
}

/// `TPM2B_SENSITIVE_CREATE` (Part 2, 11.1.16): an authorisation value and what is sealed.
fn sensitive_create(auth: &[u8], data: &[u8], out: &mut Vec<u8>, cc: TpmCc) -> Result<(), Error> {
    let mut inner = Zeroizing::new(Vec::with_capacity(auth.len() + data.len() + 4));
    put_sized(&mut inner, auth, cc)?;
    put_sized(&mut inner, data, cc)?;
    put_sized(out, &inner, cc)
}

/// The parameters of `TPM2_Create` and `TPM2_CreatePrimary` (Part 3, 12.1 and 24.1).
fn create_parameters(
    auth: &[u8],
    data: &[u8],
    template: &Public,
    command: TpmCc,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut parameters = Zeroizing::new(Vec::with_capacity(1024));
    sensitive_create(auth, data, &mut parameters, command)?;
    parameters.extend_from_slice(&template.to_bytes()?);
    put_sized(&mut parameters, &[], command)?;
    parameters.extend_from_slice(&marshal(command, |writer| {
        TpmlPcrSelection::default().marshal(writer)
    })?);
    Ok(parameters)
}

impl Tpm {
    /// Makes a primary key of a hierarchy whose authorisation value is empty.
    pub(crate) fn create_primary(
        &mut self,
        which: TpmRh,
        template: &Public,
    ) -> Result<Loaded, Error> {
        let command = TpmCc::CreatePrimary;
        let (handle, name) = hierarchy(which);
        let request = Request {
            command,
            handles: &[(handle, &name)],
            parameters: create_parameters(&[], &[], template, command)?,
            encrypt: false,
            decrypt: false,
            reply_handles: 1,
        };
        let reply = self.call(request, &mut [&mut Session::password()])?;
        let (public, name) = primary_reply(&reply.parameters)
            .ok_or_else(|| malformed(command, "its parameters are cut"))?;
        let handle = single_handle(&reply.handles, command)?;
        let checked = Public::from_bytes(public)
            .and_then(|public| Loaded::new(handle, public))
            .and_then(|loaded| {
                if name == loaded.name.to_bytes() && loaded.fits(template) {
                    Ok(loaded)
                } else {
                    Err(Error::WrongName(command))
                }
            });
        if checked.is_err() {
            self.flush(handle)?;
        }
        checked
    }

    /// Makes an object below the storage root key: its private part, encrypted by the root, and its
    /// public part. What is secret goes out encrypted.
    pub(crate) fn create(
        &mut self,
        root: &Loaded,
        auth: &[u8],
        data: &[u8],
        template: &Public,
    ) -> Result<(Vec<u8>, Public), Error> {
        let command = TpmCc::Create;
        let parameters = create_parameters(auth, data, template, command)?;
        let reply = self.with_hmac(root, |tpm, session| {
            let request = Request {
                command,
                handles: &[(root.handle, &root.name.to_bytes())],
                parameters,
                encrypt: true,
                decrypt: false,
                reply_handles: 0,
            };
            tpm.call(request, &mut [session])
        })?;
        let cut = || malformed(command, "its parameters are cut");
        let (private, rest) = take_sized(&reply.parameters).ok_or_else(cut)?;
        let (public, _) = take_sized(rest).ok_or_else(cut)?;
        let length = public.len() + 2;
        let public = Public::from_bytes(rest.get(..length).ok_or_else(cut)?)?;
        Ok((private.to_vec(), public))
    }

    /// Loads an object below the storage root key.
    pub(crate) fn load(
        &mut self,
        root: &Loaded,
        private: &[u8],
        public: &Public,
    ) -> Result<Loaded, Error> {
        let command = TpmLoadCommand {
            handles: [root.handle],
            in_private: Tpm2bPrivate::try_from(private).map_err(|_| Error::TooLong(TpmCc::Load))?,
            in_public: public.sized(),
        };
        let reply: TpmLoadResponse = self.with_hmac(root, |tpm, session| {
            tpm.run(&command, &[&root.name.to_bytes()], &mut [session])
        })?;
        let [handle] = reply.handles;
        let loaded = Loaded::new(handle, public.clone())?;
        if *reply.name == loaded.name.to_bytes() {
            Ok(loaded)
        } else {
            self.flush(handle)?;
            Err(Error::WrongName(TpmCc::Load))
        }
    }

    /// Loads an object, works with it, and takes it out again whatever comes of the work.
    pub(crate) fn with_loaded<T, E: From<Error>>(
        &mut self,
        root: &Loaded,
        private: &[u8],
        public: &Public,
        work: impl FnOnce(&mut Self, &Loaded) -> Result<T, E>,
    ) -> Result<T, E> {
        let loaded = self.load(root, private, public)?;
        let result = work(self, &loaded);
        let flushed = self.flush(loaded.handle);
        let value = result?;
        flushed?;
        Ok(value)
    }

    /// Reads what lies at a handle.
    pub(crate) fn read_public(&mut self, handle: TpmHandle) -> Result<Loaded, Error> {
        let command = TpmReadPublicCommand { handles: [handle] };
        let reply: TpmReadPublicResponse = self.run(&command, &[], &mut [])?;
        let loaded = Loaded::new(
            handle,
            Public {
                area: reply.out_public.inner,
            },
        )?;
        if *reply.name == loaded.name.to_bytes() {
            Ok(loaded)
        } else {
            Err(Error::WrongName(TpmCc::ReadPublic))
        }
    }

    /// Keeps a primary key of the owner's in the TPM, at a persistent handle.
    pub(crate) fn persist(&mut self, loaded: &Loaded, at: TpmHandle) -> Result<Loaded, Error> {
        let (owner, name) = hierarchy(TpmRh::Owner);
        let command = TpmEvictControlCommand {
            handles: [owner, loaded.handle],
            persistent_handle: at,
        };
        let names: [&[u8]; 2] = [&name, &loaded.name.to_bytes()];
        self.run::<_, TpmEvictControlResponse>(&command, &names, &mut [&mut Session::password()])?;
        Ok(Loaded {
            handle: at,
            ..loaded.clone()
        })
    }
}

impl Loaded {
    /// Whether this is what the template asked for, apart from the key itself.
    pub(crate) fn fits(&self, template: &Public) -> bool {
        self.public.fits(template)
    }
}

impl Public {
    /// Whether this is what the template asks for, apart from the key itself.
    pub(crate) fn fits(&self, template: &Self) -> bool {
        TpmtPublic {
            unique: template.area.unique.clone(),
            ..self.area.clone()
        } == template.area
    }
}

/// Of `TPM2_CreatePrimary`'s reply: the public area, and the name at the end.
fn primary_reply(parameters: &[u8]) -> Option<(&[u8], &[u8])> {
    let (public, _) = take_sized(parameters)?;
    let (public, rest) = parameters.split_at_checked(public.len() + 2)?;
    let (_creation_data, rest) = take_sized(rest)?;
    let (_creation_hash, rest) = take_sized(rest)?;
    // TPMT_TK_CREATION: a tag and a hierarchy, then a digest (Part 2, 10.7.3)
    let (_ticket, rest) = take_sized(rest.get(6..)?)?;
    let (name, rest) = take_sized(rest)?;
    rest.is_empty().then_some((public, name))
}

pub(crate) fn single_handle(bytes: &[u8], command: TpmCc) -> Result<TpmHandle, Error> {
    let bytes = bytes
        .try_into()
        .map_err(|_| malformed(command, "its handle is cut"))?;
    Ok(TpmHandle::new(u32::from_be_bytes(bytes)))
}

pub(crate) fn name_of(bytes: &[u8]) -> Result<Tpm2bName, Error> {
    Tpm2bName::try_from(bytes).map_err(|_| Error::TooLong(TpmCc::Load))
}
