//! The second question before a reset, where a key in the TPM dies by it: what owns coins and a stake can't
//! be made again.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use kernel::console::{self, WIDTH, field};

use crate::system_partition::{self, SystemPartition};
use crate::tpm_address::{self, CONFIRMED};

/// How long a person has to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What stands for the address where it can't be read, and is typed in its place.
const UNKNOWN: &str = "unknown-address";

/// Whether the reset is to go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Confirmed {
    /// No key dies by it.
    NoKey,
    /// A person has named the key of this address.
    Key(String),
    /// Nobody has named it.
    No(String),
}

/// Asks, where there is a key: unless who chose the reset from outside the machine has named it there.
pub(super) fn ask() -> Confirmed {
    match look() {
        Ok((None, _)) => Confirmed::NoKey,
        Ok((Some(address), Some(named))) if named == address => Confirmed::Key(address),
        Ok((Some(address), _)) => ask_for(address, |screen, is_answer| {
            console::ask(screen, PATIENCE, is_answer)
        }),
        Err(error) => {
            // nobody is kept from resetting a machine by a file that can't be read
            tracing::error!(%error, "whether a key in the TPM dies can't be seen");
            ask_for(UNKNOWN.to_owned(), |screen, is_answer| {
                console::ask(screen, PATIENCE, is_answer)
            })
        }
    }
}

/// The key's address, and the one that was named from outside.
fn look() -> io::Result<(Option<String>, Option<String>)> {
    let Some(partition) = system_partition::own()? else {
        return Ok((None, None));
    };
    system_partition::load_modules();
    let mounted = SystemPartition::open(&partition)?;
    Ok((
        tpm_address::read(&mounted, tpm_address::FILE)?,
        tpm_address::read(&mounted, CONFIRMED)?,
    ))
}

fn ask_for(address: String, ask: impl FnOnce(&str, &dyn Fn(&str) -> bool) -> bool) -> Confirmed {
    let wanted = tpm_address::digits(&address);
    let is_answer = |line: &str| {
        let line = line.trim();
        line.strip_prefix("0x")
            .unwrap_or(line)
            .to_ascii_lowercase()
            .starts_with(wanted)
    };
    tracing::warn!(
        address,
        "a reset destroys the TPM's Sui key: it is to be confirmed"
    );
    if ask(&question(&address, &console::version()), &is_answer) {
        Confirmed::Key(address)
    } else {
        Confirmed::No(address)
    }
}

/// The screen's text.
fn question(address: &str, version: &str) -> String {
    let rule = "=".repeat(WIDTH);
    let mut text = format!("\n{rule}\n {version}: this reset destroys a key for good\n\n");
    // Writing to a String cannot fail.
    let _ = writeln!(text, " {address}");
    field(
        &mut text,
        "This is:",
        "the address of the Sui key that this machine's TPM made. Nobody has a copy: what is at that \
         address, coins and a stake, is out of reach once the key is gone. Have the node leave first \
         (chain.leave), to which chain.payout belongs.",
    );
    let what = format!(
        "the first {} characters (behind 0x), and Enter. Without them nothing is changed, and the machine \
         powers off in {} seconds.",
        tpm_address::digits(address).len(),
        PATIENCE.as_secs()
    );
    field(&mut text, "To go on:", &what);
    let _ = writeln!(text, "{rule}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(lines: &[&str]) -> bool {
        let address = format!("0xab12cd34{}", "5".repeat(56));
        let outcome = ask_for(address.clone(), |screen, is_answer| {
            assert!(screen.contains(&address), "{screen}");
            assert!(screen.lines().all(|line| line.chars().count() <= 80));
            assert!(screen.lines().count() <= 24, "{screen}");
            lines.iter().any(|line| is_answer(line))
        });
        assert!(
            matches!(&outcome, Confirmed::Key(found) | Confirmed::No(found) if *found == address)
        );
        matches!(outcome, Confirmed::Key(_))
    }

    #[test]
    fn unreadable_address_is_confirmed_by_its_stand_in() {
        let asked = |line: &'static str| {
            ask_for(UNKNOWN.to_owned(), |screen, is_answer| {
                assert!(
                    screen.contains(UNKNOWN) && is_answer("unknown-"),
                    "{screen}"
                );
                is_answer(line)
            })
        };
        assert!(matches!(asked("unknown-address"), Confirmed::Key(_)));
        assert!(matches!(asked("yes"), Confirmed::No(_)));
    }

    #[test]
    fn only_the_address_confirms() {
        for line in ["ab12cd34", "0xab12cd34", " AB12CD34\r\n", "0xab12cd3455555"] {
            assert!(answered(&["no", line]), "{line}");
        }
        for line in ["", "yes", "reset", "ab12cd3", "0x", "ab12cd35", "xab12cd34"] {
            assert!(!answered(&[line]), "{line}");
        }
        assert!(!answered(&[]));
    }
}
