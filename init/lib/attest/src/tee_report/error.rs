//! Why a machine gives no report.

use std::io;
use std::time::Duration;

use thiserror::Error;

use super::nitro_message;
use super::report::SizeError;

/// Why there is no report on a machine that has a source of them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CollectError {
    /// No entry could be made.
    #[error("no report entry could be made in configfs")]
    Entry(#[source] io::Error),
    /// An attribute could not be read or written.
    #[error("the attribute {attribute} of the report entry failed")]
    Attribute {
        /// Its file name.
        attribute: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// An attribute that holds something else than its line of text.
    #[error("the attribute {attribute} of the report entry is not the text it should be")]
    NotText {
        /// Its file name.
        attribute: &'static str,
    },
    /// A provider that is not known here.
    #[error("the kernel's reports come from \"{0}\", and only sev_guest and tdx_guest are known")]
    Provider(String),
    /// Another program wrote to the entry, or the kernel did not take our write.
    #[error(
        "the report entry is at generation {found} in place of {expected}: another program writes \
         to it, or the kernel refused the data"
    )]
    Generation {
        /// One more than before our write.
        expected: u64,
        /// What the kernel says.
        found: u64,
    },
    /// The security module's ioctl.
    #[error("the Nitro Security Module did not answer")]
    NitroDevice(#[source] io::Error),
    /// The security module's answer.
    #[error("the Nitro Security Module gave no document")]
    NitroAnswer(#[from] nitro_message::AnswerError),
    /// An impossible size.
    #[error("what the machine reports is no report")]
    Size(#[from] SizeError),
    /// Nothing within the time allowed.
    #[error("there was no report within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The thread that waits for the report could not be started, or died.
    #[error("the wait for a report failed")]
    Thread(#[source] io::Error),
}
