//! A TPM with power: swtpm, its control channel (swtpm_ioctls(3)), and a way to speak to it where no
//! machine does.

use std::ffi::OsString;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use seal::tpm::error::Error;
use seal::tpm::transport::{COMMAND_TIMEOUT, MAX_MESSAGE, Transport};
use zeroize::Zeroizing;

use super::Measurements;
use crate::process::ManagedProcess;

/// swtpm itself starts and ends within this, also on a busy host.
const LIMIT: Duration = Duration::from_secs(30);
/// How often its socket is looked for.
const POLL: Duration = Duration::from_millis(10);

/// Commands of the control channel (swtpm: tpm_ioctl.h).
const GET_CAPABILITY: u32 = 1;
const INIT: u32 = 2;
const SHUTDOWN: u32 = 3;
const SET_DATA_DESCRIPTOR: u32 = 0x10;

/// `TPM2_Startup(TPM_SU_CLEAR)` (Part 3, 9.3), as firmware sends it.
const STARTUP: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0];
/// `TPM2_Shutdown(TPM_SU_CLEAR)` (Part 3, 9.4).
const SHUT_DOWN: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x45, 0, 0];
/// `TPM_RC_SUCCESS`, where a reply has its code.
const SUCCESS: [u8; 4] = [0; 4];

/// A TPM that has power. Dropping it takes the power away.
pub struct Running {
    process: ManagedProcess,
    control: PathBuf,
    taken: Option<(UnixStream, Channel)>,
}

impl Running {
    pub(super) async fn start(state: &Path, directory: &Path) -> Result<Self> {
        let control = directory.join("tpm.sock");
        // from an earlier power-on
        let _ = std::fs::remove_file(&control);
        let option = |name: &str, path: &Path| {
            let mut option = OsString::from(name);
            option.push(path);
            option
        };
        let arguments = [
            OsString::from("socket"),
            OsString::from("--tpm2"),
            OsString::from("--tpmstate"),
            option("dir=", state),
            OsString::from("--ctrl"),
            option("type=unixio,path=", &control),
        ];
        let record = directory.join("tpm.log");
        let process = ManagedProcess::spawn("swtpm", Path::new("swtpm"), arguments, &record)?;
        let running = Self {
            process,
            control,
            taken: None,
        };
        running
            .answers()
            .await
            .with_context(|| format!("swtpm did not start:\n{}", running.process.log.tail(20)))?;
        Ok(running)
    }

    /// Waits until the control channel answers.
    async fn answers(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let asked = connect(&self.control)
                .and_then(|mut control| exchange::<8>(&mut control, &GET_CAPABILITY.to_be_bytes()));
            match asked {
                Ok(_) => return Ok(()),
                Err(error) if started.elapsed() > LIMIT => return Err(error),
                Err(_) => tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    () = self.process.log.ended() => bail!("it ended at once"),
                },
            }
        }
    }

    /// The socket that QEMU takes.
    pub fn socket(&self) -> &Path {
        &self.control
    }

    /// Takes the TPM over from a machine that is gone, or that never was, as it is.
    ///
    /// # Errors
    /// When swtpm has ended, or a machine still has it.
    pub(super) fn channel(&mut self) -> Result<Channel> {
        if let Some((_, channel)) = &self.taken {
            return Ok(channel.clone());
        }
        let mut control = connect(&self.control)?;
        let (ours, theirs) = UnixStream::pair().context("cannot make a pair of sockets")?;
        ours.set_read_timeout(Some(COMMAND_TIMEOUT))
            .context("cannot bound a socket")?;
        let descriptors = [theirs.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ensure!(
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)),
            "no room for a descriptor"
        );
        let request = SET_DATA_DESCRIPTOR.to_be_bytes();
        let flags = SendFlags::empty();
        sendmsg(&control, &[IoSlice::new(&request)], &mut ancillary, flags)
            .context("cannot send to swtpm")?;
        command(&mut control, &[]).context("swtpm takes no channel: a machine has the TPM")?;
        let channel = Channel::over(ours);
        self.taken = Some((control, channel.clone()));
        Ok(channel)
    }

    /// Starts it up without a machine.
    ///
    /// # Errors
    /// When it does not start, as where another process holds its state.
    pub(super) fn start_up(&mut self) -> Result<seal::tpm::Tpm> {
        let mut channel = self.channel()?;
        let Some((control, _)) = &mut self.taken else {
            bail!("the TPM was not taken over");
        };
        let request = [INIT.to_be_bytes(), [0; 4]].concat();
        command(control, &request).context("the TPM has no power: is it in use?")?;
        ensure_success(&mut channel, &STARTUP)?;
        Ok(seal::tpm::Tpm::new(Box::new(channel)))
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When it does not end.
    pub(super) async fn shut_down(mut self) -> Result<()> {
        ensure_success(&mut self.channel()?, &SHUT_DOWN)?;
        if let Some((control, _)) = &mut self.taken {
            command(control, &SHUTDOWN.to_be_bytes())?;
        }
        self.ended().await
    }

    /// Waits for swtpm's end, which QEMU brings about when its machine goes off.
    pub(crate) async fn ended(&mut self) -> Result<()> {
        self.process.wait(LIMIT).await.map(drop)
    }

    /// Takes its power away.
    pub(crate) async fn cut_power(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Reads PCRs after the machine has gone.
    pub(crate) fn measurements(&mut self, pcrs: &[u8]) -> Result<Measurements> {
        let mut client = seal::tpm::Tpm::new(Box::new(self.channel()?));
        pcrs.iter()
            .map(|pcr| Ok((*pcr, client.read_pcr(*pcr)?)))
            .collect()
    }
}

fn connect(path: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(path)
        .with_context(|| format!("cannot connect to {}", path.display()))?;
    stream
        .set_read_timeout(Some(LIMIT))
        .context("cannot bound a socket")?;
    Ok(stream)
}

/// Sends a control command and reads a reply of this length.
fn exchange<const LENGTH: usize>(control: &mut UnixStream, request: &[u8]) -> Result<[u8; LENGTH]> {
    control
        .write_all(request)
        .context("cannot write to swtpm")?;
    let mut reply = [0; LENGTH];
    control
        .read_exact(&mut reply)
        .context("swtpm did not answer")?;
    Ok(reply)
}

/// Sends a control command whose reply is a result.
fn command(control: &mut UnixStream, request: &[u8]) -> Result<()> {
    let reply = exchange::<4>(control, request)?;
    ensure!(reply == SUCCESS, "swtpm refused: {}", hex::encode(reply));
    Ok(())
}

fn ensure_success(channel: &mut Channel, request: &[u8]) -> Result<()> {
    let reply = channel.transact(request)?;
    ensure!(
        reply.get(6..10) == Some(&SUCCESS),
        "the TPM refused: {}",
        hex::encode(&*reply)
    );
    Ok(())
}

/// Commands straight to the TPM.
#[derive(Clone)]
pub(super) struct Channel(Arc<Mutex<UnixStream>>);

impl Channel {
    /// Over the other end of swtpm's data channel.
    pub(super) fn over(stream: UnixStream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }
}

impl Transport for Channel {
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = stream.write_all(command);
        reply
            .and_then(|()| read_message(&stream))
            .map_err(Error::Channel)
    }
}

/// Reads a command or a reply: tag, size, code (TPM 2.0 Library, Part 3, 4.4), and what follows.
pub(super) fn read_message(mut from: &UnixStream) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut header = [0; 10];
    from.read_exact(&mut header)?;
    let [_, _, a, b, c, d, ..] = header;
    let size = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if !(header.len()..=MAX_MESSAGE).contains(&size) {
        return Err(std::io::Error::other("a message of an impossible size"));
    }
    let mut message = Zeroizing::new(vec![0; size]);
    let (start, rest) = message.split_at_mut(header.len());
    start.copy_from_slice(&header);
    from.read_exact(rest)?;
    Ok(message)
}
