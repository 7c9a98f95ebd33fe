//! What is said of a state that does not open once the boot phase is over: no try finds anything but that, so what the
//! tries before it found counts.

use std::io;
use std::path::Path;

use super::error::StateError;
use super::partition::StatePartition;

/// The exit status of the last try of this boot that failed for good in the boot phase, and on the next line its words.
const REFUSED: &str = "/run/daas/release/state-refused";
/// More than a sentence and its hint.
const LIMIT: usize = 4096;

/// Keeps why the state does not open in this boot.
pub(super) fn keep(status: u8, text: &str) {
    let write = |path: &Path| -> io::Result<()> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        files::replace(path, format!("{status}\n{text}").as_bytes(), 0o600)
    };
    if let Err(error) = write(Path::new(REFUSED)) {
        tracing::warn!(%error, "why the state does not open can't be kept");
    }
}

/// Why the state does not open, where the boot phase is over and nothing else is found any more. Where nothing was found
/// in the boot phase either that keeps it from opening, the next boot may open it: the machine is to restart, once.
pub(super) fn after_boot_phase(found: StateError) -> StateError {
    if let Some((status, text)) = parse(&files::read_text(REFUSED, LIMIT).unwrap_or_default()) {
        return StateError::Earlier { status, text };
    }
    let marked = StatePartition::find().and_then(|mut partition| {
        let device = partition.device().path();
        let restarts = partition.mark_restarted()?;
        Ok(StateError::BootPhaseOver { device, restarts })
    });
    marked.unwrap_or_else(|error| {
        // without the mark it could restart for ever
        tracing::error!("the restart can't be marked: {}", log::chain(&error));
        found
    })
}

fn parse(kept: &str) -> Option<(u8, String)> {
    let (status, text) = kept.split_once('\n')?;
    Some((status.parse().ok()?, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_refusal_is_read_back() {
        assert_eq!(parse("23\nwhy (hint)"), Some((23, "why (hint)".to_owned())));
        assert_eq!(parse(""), None);
        assert_eq!(parse("x\ny"), None);
    }
}
