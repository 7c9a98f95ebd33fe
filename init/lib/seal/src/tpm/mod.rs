//! A client of a TPM 2.0: no C library, no thread, no async runtime.
//!
//! Numbers in comments such as "Part 2, 12.2.4" are sections of the TCG's "Trusted Platform Module
//! Library Specification, Family 2.0", revision 1.59. Structures and constants come from the
//! `tpm2-protocol` crate; what is secret is marshalled here, into memory that is wiped.

pub mod attest;
pub mod clear;
pub mod crypto;
mod import;
pub mod nv;
pub mod object;
pub mod policy;
pub mod policy_digest;
mod sealed_object;
mod session;
mod signing;
mod template;

use std::path::Path;

use tpm2_protocol::{
    TpmMarshal, TpmUnmarshal,
    basic::TpmHandle,
    data::{TpmCc, TpmSt, TpmaSession, TpmsAuthResponse},
    frame::{
        TpmFlushContextCommand, TpmFlushContextResponse, TpmHeader, TpmMarshalBody,
        TpmUnmarshalBody,
    },
};
use zeroize::Zeroizing;

use ::tpm::broker::BrokerSocket;
use ::tpm::channel::{Channel, HEADER, header, malformed, marshal};
use ::tpm::transport::MAX_MESSAGE;

pub use ::tpm::{error, pcr, transport};

use self::{
    crypto::{Digest, sha256},
    error::Error,
    transport::Transport,
};
pub use self::{
    import::Duplicate,
    object::{Loaded, Public},
    sealed_object::{MAX_SEALED, SealedObject},
    session::Session,
    signing::{SignatureBytes, SigningKey},
    template::STORAGE_ROOT_KEY,
};

/// An open TPM.
pub struct Tpm {
    channel: Channel,
}

/// A command as it goes out, apart from its authorisations.
pub(crate) struct Request<'a> {
    pub(crate) command: TpmCc,
    /// Each with the name of what is there; a name may be empty where no session is used.
    pub(crate) handles: &'a [(TpmHandle, &'a [u8])],
    pub(crate) parameters: Zeroizing<Vec<u8>>,
    /// Encrypt the first parameter, which must be a sized buffer.
    pub(crate) encrypt: bool,
    /// Have the reply's first parameter encrypted, which must be a sized buffer.
    pub(crate) decrypt: bool,
    /// How many handles the reply has.
    pub(crate) reply_handles: usize,
}

/// A reply's two areas.
pub(crate) struct Reply {
    pub(crate) handles: Vec<u8>,
    pub(crate) parameters: Zeroizing<Vec<u8>>,
}

/// Appends a sized buffer: its length in two bytes, then the bytes (Part 2, 10.4).
pub(crate) fn put_sized(out: &mut Vec<u8>, bytes: &[u8], command: TpmCc) -> Result<(), Error> {
    let length = u16::try_from(bytes.len()).map_err(|_| Error::TooLong(command))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Takes a sized buffer off the front: it, and what follows.
pub(crate) fn take_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn first_parameter(parameters: &mut [u8]) -> Option<&mut [u8]> {
    let (length, rest) = parameters.split_first_chunk_mut()?;
    rest.get_mut(..usize::from(u16::from_be_bytes(*length)))
}

impl Tpm {
    /// Takes a channel to a TPM.
    #[must_use]
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self {
            channel: Channel::new(transport),
        }
    }

    /// Opens a TPM's device node, see [`transport::DEVICE`].
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            channel: Channel::open(path)?,
        })
    }

    /// Connects to `tpm-broker`, which has a machine's TPM: see [`::tpm::broker`]. Blocks.
    ///
    /// # Errors
    ///
    /// When it can't be reached.
    pub fn through_broker(path: &Path) -> Result<Self, Error> {
        Ok(Self::new(Box::new(BrokerSocket::connect(path)?)))
    }

    /// Reads a PCR of the SHA-256 bank.
    ///
    /// # Errors
    ///
    /// When the TPM does not keep that bank.
    pub fn read_pcr(&mut self, number: u8) -> Result<Digest, Error> {
        pcr::read(&mut self.channel, number)
    }

    /// Extends a PCR of the SHA-256 bank. It does not go back before the next boot.
    ///
    /// # Errors
    ///
    /// When the TPM refuses.
    pub fn extend_pcr(&mut self, number: u8, by: &Digest) -> Result<(), Error> {
        pcr::extend(&mut self.channel, number, by)
    }

    /// Runs a command of `tpm2-protocol`'s, with nothing encrypted. `names` are those of its handles,
    /// as far as sessions need them.
    pub(crate) fn run<C, R>(
        &mut self,
        command: &C,
        names: &[&[u8]],
        sessions: &mut [&mut Session],
    ) -> Result<R, Error>
    where
        C: TpmHeader + TpmMarshalBody,
        R: TpmUnmarshalBody,
    {
        self.run_with(command, names, sessions, false, false)
    }

    /// As [`Tpm::run`], with the first parameter of command or reply encrypted.
    pub(crate) fn run_with<C, R>(
        &mut self,
        command: &C,
        names: &[&[u8]],
        sessions: &mut [&mut Session],
        encrypt: bool,
        decrypt: bool,
    ) -> Result<R, Error>
    where
        C: TpmHeader + TpmMarshalBody,
        R: TpmUnmarshalBody,
    {
        let area = marshal(C::CC, |writer| command.marshal_handles(writer))?;
        let mut names = names.iter();
        let handles: Vec<_> = area
            .chunks_exact(4)
            .filter_map(|bytes| Some(TpmHandle::new(u32::from_be_bytes(bytes.try_into().ok()?))))
            .map(|handle| (handle, names.next().copied().unwrap_or_default()))
            .collect();
        let reply = self.call(
            Request {
                command: C::CC,
                handles: &handles,
                parameters: marshal(C::CC, |writer| command.marshal_parameters(writer))?,
                encrypt,
                decrypt,
                reply_handles: R::HANDLES,
            },
            sessions,
        )?;
        R::unmarshal_body(&reply.handles, &reply.parameters)
            .map_err(|_| malformed(C::CC, "its parameters have another structure"))
    }

    /// Runs a command: marshals, encrypts, authorises, sends, checks, decrypts.
    pub(crate) fn call(
        &mut self,
        mut request: Request<'_>,
        sessions: &mut [&mut Session],
    ) -> Result<Reply, Error> {
        let command = request.command;
        for session in sessions.iter_mut() {
            session.roll()?;
        }
        let salted = sessions.iter().position(|session| session.is_salted());
        if request.encrypt
            && let Some(session) = salted.and_then(|index| sessions.get(index))
        {
            let first = first_parameter(&mut request.parameters).ok_or(Error::TooLong(command))?;
            session.encrypt(first);
        }

        let mut message = Zeroizing::new(Vec::with_capacity(MAX_MESSAGE));
        let tag = if sessions.is_empty() {
            TpmSt::NoSessions
        } else {
            TpmSt::Sessions
        };
        message.extend_from_slice(&tag.value().to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&command.value().to_be_bytes());
        for (handle, _) in request.handles {
            message.extend_from_slice(&handle.value().to_be_bytes());
        }
        if !sessions.is_empty() {
            let area = authorisations(&request, sessions, salted)?;
            let length = u32::try_from(area.len()).map_err(|_| Error::TooLong(command))?;
            message.extend_from_slice(&length.to_be_bytes());
            message.extend_from_slice(&area);
        }
        message.extend_from_slice(&request.parameters);
        if message.len() > MAX_MESSAGE {
            return Err(Error::TooLong(command));
        }
        let length = u32::try_from(message.len()).map_err(|_| Error::TooLong(command))?;
        if let Some(field) = message.get_mut(2..6) {
            field.copy_from_slice(&length.to_be_bytes());
        }

        let reply = self.channel.send(command, &message)?;
        read_reply(&request, sessions, salted, &reply)
    }

    /// Takes a session or a loaded object out of the TPM.
    pub(crate) fn flush(&mut self, handle: TpmHandle) -> Result<(), Error> {
        let command = TpmFlushContextCommand {
            handles: [],
            flush_handle: handle,
        };
        self.run::<_, TpmFlushContextResponse>(&command, &[], &mut [])
            .map(|_| ())
    }
}

/// The authorisation area of a command: Part 1, 18.6.
fn authorisations(
    request: &Request<'_>,
    sessions: &[&mut Session],
    salted: Option<usize>,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let code = request.command.value().to_be_bytes();
    let mut parts = vec![code.as_slice()];
    parts.extend(request.handles.iter().map(|(_, name)| *name));
    parts.push(&request.parameters);
    let command_hash = sha256(&parts);

    let mut area = Zeroizing::new(Vec::new());
    for (index, session) in sessions.iter().enumerate() {
        let mut attributes = TpmaSession::CONTINUE_SESSION;
        let mut bound = Vec::new();
        if salted == Some(index) {
            if request.encrypt {
                attributes |= TpmaSession::DECRYPT;
            }
            if request.decrypt {
                attributes |= TpmaSession::ENCRYPT;
            }
        } else if index == 0
            && (request.encrypt || request.decrypt)
            && let Some(other) = salted.and_then(|index| sessions.get(index))
        {
            // Part 1, 19.6.5: nonceTPM of the decrypting, else of the encrypting session
            bound.push(other.nonce_tpm());
        }
        let authorisation = session.authorise(attributes, &command_hash, &bound)?;
        area.extend_from_slice(&marshal(request.command, |writer| {
            authorisation.marshal(writer)
        })?);
    }
    Ok(area)
}

fn read_reply(
    request: &Request<'_>,
    sessions: &mut [&mut Session],
    salted: Option<usize>,
    reply: &[u8],
) -> Result<Reply, Error> {
    let command = request.command;
    let expected = if sessions.is_empty() {
        TpmSt::NoSessions
    } else {
        TpmSt::Sessions
    };
    if header(command, reply)?.tag != expected.value() {
        return Err(malformed(
            command,
            "its tag does not fit the command's sessions",
        ));
    }
    let cut = || malformed(command, "it ends too early");
    let body = reply.get(HEADER..).ok_or_else(cut)?;
    let (handles, body) = body
        .split_at_checked(request.reply_handles * 4)
        .ok_or_else(cut)?;
    if sessions.is_empty() {
        return Ok(Reply {
            handles: handles.to_vec(),
            parameters: Zeroizing::new(body.to_vec()),
        });
    }
    let (length, body) = body.split_first_chunk().ok_or_else(cut)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| cut())?;
    let (parameters, mut area) = body.split_at_checked(length).ok_or_else(cut)?;
    let mut parameters = Zeroizing::new(parameters.to_vec());

    // Part 1, 16.8: rpHash. The response code is zero, else this was not reached.
    let response_hash = sha256(&[&[0; 4], &command.value().to_be_bytes(), &parameters]);
    for session in sessions.iter_mut() {
        let (authorisation, rest) = TpmsAuthResponse::unmarshal(area)
            .map_err(|_| malformed(command, "its authorisation area is cut"))?;
        session.accept(command, &authorisation, &response_hash)?;
        area = rest;
    }
    if !area.is_empty() {
        return Err(malformed(
            command,
            "something follows its authorisation area",
        ));
    }
    if request.decrypt
        && let Some(session) = salted.and_then(|index| sessions.get(index))
    {
        let first = first_parameter(&mut parameters).ok_or_else(cut)?;
        session.decrypt(first);
    }
    Ok(Reply {
        handles: handles.to_vec(),
        parameters,
    })
}
