//! The service `tpm-broker`: it passes the TPM commands that the staker needs, and no other.
//!
//! A TPM trusts whoever can write to its device: its owner's passwords are empty, so that one command
//! clears it or deletes a counter, and what is sealed or signs under it is lost. So the device is this
//! program's user's alone. The staker's user, and no other, sends commands over a socket; each is parsed
//! once ([`command`]), and goes on to the TPM where its code and its handles are on a list ([`allowed`]).
//! Every other one is answered as by a TPM that has no such command, and logged.
//!
//! The program has no capability, one thread, and knows no secret: what it passes is encrypted or
//! authenticated between the staker and the TPM where it has to be. Each connection of the staker's is one
//! of the kernel's resource manager: what it leaves in the TPM goes with it, and no other sees it.
//!
//! On a machine without a TPM there is nothing to do, and it ends.
//!
//! Sections in comments are those of the TCG's "Trusted Platform Module Library Specification, Family 2.0",
//! revision 1.59.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::string_slice))]

pub mod allowed;
pub mod command;
mod refusals;
pub mod service;

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use sys::Notifier;
use thiserror::Error;
use tpm::presence::{self, Presence};
use wire::paths::TPM_BROKER;
use wire::users::STAKER;

use crate::service::{Broker, Limits};

/// Why no commands are passed.
#[derive(Debug, Error)]
enum BrokerError {
    #[error("{TPM_BROKER} can't be removed")]
    Remove(#[source] io::Error),
    #[error("{TPM_BROKER} can't be listened at")]
    Listen(#[source] io::Error),
    #[error("PID 1 can't be told that commands are passed, or that they still are")]
    Notify(#[source] io::Error),
    #[error("no more commands can be taken")]
    Serve(#[source] io::Error),
}

/// Runs the service.
#[must_use]
pub fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the staker has no TPM: {}", log::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Ends where the machine has no TPM.
fn serve() -> Result<(), BrokerError> {
    if presence::presence() != Presence::Ready {
        tracing::info!("this machine has no TPM that the kernel drives: nothing to do");
        return match fs::remove_file(TPM_BROKER) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(BrokerError::Remove(error))
            }
            _ => Ok(()),
        };
    }
    let mut notifier = Notifier::from_environment().map_err(BrokerError::Notify)?;
    let mut broker = Broker::listen(
        Path::new(TPM_BROKER),
        STAKER,
        Limits::default(),
        service::open_device,
    )
    .map_err(BrokerError::Listen)?;
    notifier.ready().map_err(BrokerError::Notify)?;
    tracing::info!("the staker's commands go to the TPM from here");
    loop {
        notifier.alive().map_err(BrokerError::Notify)?;
        broker
            .turn(notifier.interval())
            .map_err(BrokerError::Serve)?;
    }
}
