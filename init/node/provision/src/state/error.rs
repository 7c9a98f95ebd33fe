//! Why there is no state: a sentence, an exit status, and what a person can do.

use std::io;
use std::path::PathBuf;

use seal::envelope;

use super::directories;
use super::mapping::MappingError;
use super::volume::{Refusal, Unable};
use super::{MOUNT_POINT, SIZE_LIMIT};
use crate::machine_id::MachineIdError;
use crate::recovery;
use crate::sealing::CannotSeal;
use gpt::{ReadError, WriteError};
use wire::exit::{PHASE_OVER, STATE_FAILED};

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    #[error("the disk that the root is on is not known")]
    NoBootDisk,
    #[error("the kernel's block devices cannot be listed")]
    Devices(#[source] io::Error),
    #[error("{} cannot be opened for writing", disk.display())]
    Disk {
        disk: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the partition table of {} cannot be used", disk.display())]
    Table {
        disk: PathBuf,
        #[source]
        source: ReadError,
    },
    #[error("{} has no state partition", disk.display())]
    NoPartition { disk: PathBuf },
    #[error("the kernel has no device for the state partition, number {number}")]
    NoDevice { number: u32 },
    #[error("{} cannot be read", device.display())]
    Read {
        device: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot be written", device.display())]
    Write {
        device: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the state partition {} would have {} MiB with all of its disk, and needs {} MiB", device.display(), size >> 20, SIZE_LIMIT >> 20)]
    TooSmall { device: PathBuf, size: u64 },
    #[error("the state partition {} holds {description}, and nothing of this system", device.display())]
    Foreign {
        device: PathBuf,
        description: String,
    },
    #[error("the state on {} has version {found}, and this system knows version {}", device.display(), directories::VERSION)]
    Version { device: PathBuf, found: String },
    #[error("the state file system on {} is damaged beyond what can be repaired without loss", device.display())]
    Damaged { device: PathBuf },
    #[error("the state on {} is encrypted, and both copies of its header are damaged", device.display())]
    HeaderDamaged { device: PathBuf },
    #[error("the state on {} is encrypted, and its header has version {found}, which this system does not know", device.display())]
    HeaderVersion { device: PathBuf, found: u32 },
    #[error("the state on {} {}", device.display(), told(*refusal))]
    Refused {
        device: PathBuf,
        refusal: Refusal,
        /// Whether a recovery key was named when it was made.
        recoverable: bool,
    },
    #[error("the state on {} is encrypted, and this machine {why}", device.display())]
    Unable { device: PathBuf, why: Unable },
    #[error("the state on {} is not encrypted, and on this machine it would be: another system has put it there", device.display())]
    Unencrypted { device: PathBuf },
    #[error("the state on {} opens, and holds {description} instead of its file system: it was overwritten", device.display())]
    Overwritten {
        device: PathBuf,
        description: String,
    },
    #[error("the state on {} names no owner, though it has had one, or holds volumes of pods: it is damaged, and not made anew", device.display())]
    OwnerLost { device: PathBuf },
    #[error("the state on {} did not open before the boot phase ended, in which alone it opens{}", device.display(), then(*restarts))]
    BootPhaseOver {
        device: PathBuf,
        /// Whether the machine is restarted for it.
        restarts: bool,
    },
    /// What the first try in this boot found, when more could be found.
    #[error("{text}")]
    Earlier { status: u8, text: String },
    #[error(transparent)]
    Machine(#[from] CannotSeal),
    #[error("the key of the state on {} can be neither sealed nor opened", device.display())]
    Seal {
        device: PathBuf,
        #[source]
        source: envelope::Error,
    },
    #[error("the kernel gives no random numbers: {0}")]
    Random(getrandom::Error),
    #[error("the state on {} cannot be mapped", device.display())]
    Mapping {
        device: PathBuf,
        #[source]
        source: MappingError,
    },
    #[error(transparent)]
    WriteTable(#[from] WriteError),
    #[error("the kernel does not take the partition's new size")]
    Resize(#[source] io::Error),
    #[error("{tool} cannot be started")]
    Start {
        tool: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{tool} failed with status {status}")]
    Tool { tool: &'static str, status: i32 },
    #[error("{} cannot be mounted on {MOUNT_POINT}", device.display())]
    Mount {
        device: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{MOUNT_POINT} cannot be unmounted")]
    Unmount(#[source] io::Error),
    #[error("{path} cannot be prepared")]
    Directory {
        path: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Identity(#[from] MachineIdError),
}

/// How a sentence about a state goes on.
const fn told(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::OtherTpm => "was made on another machine: its key is sealed by that machine's TPM",
        Refusal::Cleared => {
            "cannot be opened any more: this machine's TPM was cleared since it was made"
        }
        Refusal::OtherOrCleared => {
            "was made on another machine, or this machine's TPM was cleared since"
        }
        Refusal::SecureBoot => {
            "does not open in this boot: Secure Boot, its keys or the firmware were changed since \
             it was made (PCR 7)"
        }
        Refusal::NotReleased { .. } => {
            "does not open in this boot: its publisher has signed nothing for what was booted \
             (PCR 11), which is changed, too old, or past its start"
        }
        Refusal::Overridden => {
            "does not open in this boot: the kernel was given a command line or credentials from \
             outside its image (PCR 12)"
        }
        Refusal::OtherPublisher => "was made by an image of another publisher",
        Refusal::RolledBack => {
            "is an older copy: the TPM's counter has left it behind, at a reset or when a newer \
             release sealed it anew"
        }
        Refusal::Edited => "has a header that was edited",
        Refusal::Newer => "was sealed by a newer system, whose format this one does not know",
        Refusal::ForeignTpm => {
            "does not open: this machine's TPM was set up by another system, or keeps no SHA-256 \
             registers"
        }
    }
}

const fn then(restarts: bool) -> &'static str {
    match restarts {
        true => ": the machine restarts, once",
        false => ", as in the boot before, after which the machine was restarted",
    }
}

impl StateError {
    /// Whether what was booted is no image that the state is sealed for, or is past its boot phase.
    pub(super) const fn is_not_released(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                refusal: Refusal::NotReleased { .. },
                ..
            }
        )
    }

    /// The task's exit status. From [`STATE_FAILED`] on: a person has to do something, and trying again is of no
    /// use.
    pub(super) fn status(&self) -> u8 {
        match self {
            Self::NoBootDisk | Self::NoPartition { .. } => STATE_FAILED,
            Self::TooSmall { .. } => 11,
            Self::Foreign { .. } => 12,
            Self::Version { .. } | Self::HeaderVersion { .. } => 13,
            Self::Damaged { .. } => 14,
            Self::HeaderDamaged { .. } => 15,
            Self::Unable { why, .. } => match why {
                Unable::NoTpm => 16,
                Unable::NotMeasured => 17,
            },
            Self::Unencrypted { .. } => 18,
            Self::Overwritten { .. } => 19,
            Self::Refused { refusal, .. } => match refusal {
                Refusal::OtherTpm => 20,
                Refusal::Cleared => 21,
                Refusal::OtherOrCleared => 22,
                Refusal::SecureBoot => 23,
                Refusal::NotReleased { .. } => 24,
                Refusal::OtherPublisher => 25,
                Refusal::RolledBack => 26,
                Refusal::Edited => 27,
                Refusal::Newer => 13,
                Refusal::ForeignTpm => 28,
                Refusal::Overridden => 29,
            },
            Self::Machine(CannotSeal::Policies(_) | CannotSeal::OtherKey) => 30,
            Self::BootPhaseOver { restarts: true, .. } => PHASE_OVER,
            Self::BootPhaseOver { .. } => 32,
            Self::Machine(CannotSeal::NotStarted) => 33,
            Self::OwnerLost { .. } => 34,
            Self::Earlier { status, .. } => *status,
            _ => 1,
        }
    }

    /// All of it in one line: what, why, and what a person can do.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Earlier { text, .. } => text.clone(),
            _ => format!("{} ({})", log::chain(self), self.hint()),
        }
    }

    /// What a person can do.
    fn hint(&self) -> String {
        const RESET: &str = "the boot menu's reset entry starts anew, and loses what is stored";
        let text = match self {
            Self::NoBootDisk => "start the node from its own image",
            Self::NoPartition { .. } => "write the image to the disk again",
            Self::TooSmall { .. } => "give the machine a larger disk; nothing was written",
            Self::Foreign { .. } => {
                "keep what is there, then fill the partition's first 16 MiB with zeros; nothing \
                 was written"
            }
            Self::Damaged { .. } => {
                return format!(
                    "if it is not encrypted, e2fsck on another machine may repair it; {RESET}"
                );
            }
            Self::HeaderDamaged { .. } | Self::Overwritten { .. } | Self::OwnerLost { .. } => {
                return format!("write a copy of the disk back, if there is one; {RESET}");
            }
            Self::Version { .. } | Self::HeaderVersion { .. } => {
                return format!("boot the image that made it; {RESET}; nothing was written");
            }
            Self::Unencrypted { .. } => {
                return format!("keep what is there, if it is yours; {RESET}; nothing was written");
            }
            Self::Unable { why, .. } => {
                let way = match why {
                    Unable::NoTpm => "switch the TPM on in the firmware's setup",
                    Unable::NotMeasured => "boot the image by the machine's UEFI firmware",
                };
                return format!(
                    "{way}, or put the disk back into its machine; {RESET}; nothing was written"
                );
            }
            Self::Refused {
                refusal,
                recoverable,
                ..
            } => {
                let recovery = match recoverable {
                    true => format!("; or {}", recovery::HINT),
                    false => String::new(),
                };
                let way = way_out(*refusal);
                return format!("{way}{recovery}; {RESET}; nothing was written");
            }
            Self::Machine(CannotSeal::Policies(_) | CannotSeal::OtherKey) => {
                "write the image to the disk again"
            }
            Self::BootPhaseOver { .. } => {
                "the lines above say what kept it from opening; a power cycle may help; otherwise look after the \
                 TPM in the firmware's setup"
            }
            Self::Machine(_) | Self::Seal { .. } => {
                "a power cycle may help; otherwise look after the TPM in the firmware's setup"
            }
            _ => "check the disk",
        };
        text.to_owned()
    }
}

/// What opens a state that was refused.
fn way_out(refusal: Refusal) -> String {
    let text = match refusal {
        Refusal::OtherTpm | Refusal::OtherOrCleared => "put the disk back into its machine",
        Refusal::Cleared => "what the TPM has forgotten does not come back",
        Refusal::SecureBoot => "undo the change in the firmware's setup and start again",
        Refusal::NotReleased { floor } => {
            return format!(
                "boot an unchanged image of the same publisher with a security version of at least \
                 {floor}"
            );
        }
        Refusal::Overridden => "boot the image as it is",
        Refusal::OtherPublisher => "boot an image of the publisher that made it",
        Refusal::RolledBack => "use the disk as this machine left it last",
        Refusal::Edited => "write a copy of the disk back, if there is one",
        Refusal::Newer => "boot the image that made it",
        Refusal::ForeignTpm => "look after the TPM in the firmware's setup",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSALS: [Refusal; 11] = [
        Refusal::OtherTpm,
        Refusal::Cleared,
        Refusal::OtherOrCleared,
        Refusal::SecureBoot,
        Refusal::NotReleased { floor: 7 },
        Refusal::OtherPublisher,
        Refusal::RolledBack,
        Refusal::Edited,
        Refusal::Newer,
        Refusal::ForeignTpm,
        Refusal::Overridden,
    ];

    fn device() -> PathBuf {
        PathBuf::from("/dev/vda6")
    }

    #[test]
    fn what_a_person_must_decide_has_a_status_of_its_own() {
        let device = device();
        let description = "x".to_owned();
        let mut errors = vec![
            StateError::NoBootDisk,
            StateError::TooSmall {
                device: device.clone(),
                size: 5 << 20,
            },
            StateError::Foreign {
                device: device.clone(),
                description: description.clone(),
            },
            StateError::Version {
                device: device.clone(),
                found: "2".to_owned(),
            },
            StateError::Damaged {
                device: device.clone(),
            },
            StateError::HeaderDamaged {
                device: device.clone(),
            },
            StateError::Unable {
                device: device.clone(),
                why: Unable::NoTpm,
            },
            StateError::Unable {
                device: device.clone(),
                why: Unable::NotMeasured,
            },
            StateError::Unencrypted {
                device: device.clone(),
            },
            StateError::Overwritten {
                device: device.clone(),
                description,
            },
        ];
        errors.extend(
            REFUSALS
                .iter()
                .filter(|refusal| **refusal != Refusal::Newer)
                .map(|refusal| StateError::Refused {
                    device: device.clone(),
                    refusal: *refusal,
                    recoverable: false,
                }),
        );
        let statuses: Vec<_> = errors.iter().map(StateError::status).collect();
        assert_eq!(statuses, (10..=29).collect::<Vec<_>>());
        let text = errors[1].to_string();
        assert!(
            text.contains("/dev/vda6") && text.contains("1024 MiB"),
            "{text}"
        );
        for error in &errors[1..] {
            let (text, hint) = (error.to_string(), error.hint());
            assert!(text.contains("/dev/vda6") && !text.ends_with('.'), "{text}");
            assert_ne!(hint, "check the disk", "{text}");
        }
    }

    #[test]
    fn whatever_is_encrypted_and_does_not_open_names_the_reset() {
        for refusal in REFUSALS {
            let error = |recoverable| StateError::Refused {
                device: device(),
                refusal,
                recoverable,
            };
            let hint = error(false).hint();
            assert!(hint.contains("reset entry"), "{hint}");
            assert!(!hint.contains("recovery key"), "{hint}");
            assert!(error(true).hint().contains("recovery key"));
        }
        let floor = way_out(Refusal::NotReleased { floor: 7 });
        assert!(floor.contains("at least 7"), "{floor}");
    }

    /// A TPM that is busy or a disk that fails may do better the next time.
    #[test]
    fn what_may_go_away_is_tried_again() {
        let source = envelope::Error::Tpm(seal::tpm::error::Error::OutOfStep);
        let error = StateError::Seal {
            device: device(),
            source,
        };
        assert_eq!(error.status(), 1);
        let error = CannotSeal::Tpm(seal::tpm::error::Error::OutOfStep);
        assert_eq!(StateError::from(error).status(), 1);
    }

    #[test]
    fn state_past_the_boot_phase_restarts_the_machine_once() {
        let error = |restarts| StateError::BootPhaseOver {
            device: device(),
            restarts,
        };
        assert_eq!(error(true).status(), PHASE_OVER);
        assert!(error(true).text().contains("restarts, once"));
        let again = error(false).status();
        assert!(again != PHASE_OVER && again >= STATE_FAILED);
        // a kernel that could not start its TPM does not try again
        let error = StateError::from(CannotSeal::NotStarted);
        assert!(error.status() >= STATE_FAILED && error.status() != again);
    }

    #[test]
    fn state_without_its_owners_name_waits_for_a_person() {
        let error = StateError::OwnerLost { device: device() };
        assert!(error.status() > STATE_FAILED && error.status() != PHASE_OVER);
        assert!(error.text().contains("reset entry"), "{}", error.text());
    }

    #[test]
    fn earlier_refusal_is_told_in_its_own_words() {
        let text = "the state was made on another machine (put it back)".to_owned();
        let error = StateError::Earlier {
            status: 20,
            text: text.clone(),
        };
        assert_eq!((error.status(), error.text()), (20, text));
    }
}
