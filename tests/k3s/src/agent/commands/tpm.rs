//! One command to the machine's TPM, from a process of any user: what somebody could do who took over a
//! program of the node.
//!
//! The agent starts itself as that user, without the right to become another.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};
use seal::tpm::transport::{Device, MAX_MESSAGE, Transport as _};
use thiserror::Error;
use tokio::process::Command;

use crate::control::TpmAnswer;

/// How long the process may live. A TPM in software answers within a second.
const LIFETIME: Duration = Duration::from_secs(30);

/// The process gave no answer.
#[derive(Debug, Error)]
pub(super) enum TpmError {
    /// The program cannot start itself as that user.
    #[error("cannot start a process of the user {0}")]
    Start(u32, #[source] std::io::Error),
    /// It did not end in time.
    #[error("a command to the TPM took more than {} s", LIFETIME.as_secs())]
    Timeout,
    /// It said something else.
    #[error("the process gave no account of itself: {0:?}")]
    Account(String),
}

/// Sends a command as a user, and takes the reply.
pub(super) async fn ask_as(user: u32, path: &Path, request: &str) -> Result<TpmAnswer, TpmError> {
    let output = Command::new("/proc/self/exe")
        .arg("double-tpm")
        .arg("--path")
        .arg(path)
        .args(["--request", request])
        .env_clear()
        .current_dir("/")
        .uid(user)
        .gid(user)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIFETIME, output)
        .await
        .map_err(|_| TpmError::Timeout)?
        .map_err(|error| TpmError::Start(user, error))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| TpmError::Account(String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The life of `double-tpm`: sends the command, and prints what came of it.
pub fn exchange_with_tpm(path: &Path, request: &str) {
    let answer = match exchange(path, request) {
        Ok(reply) => TpmAnswer::Reply(hex::encode(reply)),
        Err(error) => TpmAnswer::Failed(format!("{error:#}")),
    };
    // both are text
    println!("{}", serde_json::json!(answer));
}

fn exchange(path: &Path, request: &str) -> anyhow::Result<Vec<u8>> {
    let request = hex::decode(request)?;
    if !fs::metadata(path)?.file_type().is_socket() {
        return Ok(Device::open(path)?.transact(&request)?.to_vec());
    }
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    send(&socket, &request, SendFlags::NOSIGNAL)?;
    let mut reply = vec![0; MAX_MESSAGE];
    let (_, length) = recv(&socket, &mut *reply, RecvFlags::empty())?;
    anyhow::ensure!(length > 0, "the other side hung up");
    reply.truncate(length);
    Ok(reply)
}
