//! What a reset shows at its end.

use std::fmt::Write as _;
use std::time::Duration;

use crate::step::Step;
use kernel::console::{WIDTH, field};

/// The screen's text.
pub(super) fn render(steps: &[Step], version: &str, off_after: Duration) -> String {
    let rule = "=".repeat(WIDTH);
    let failed = steps.iter().any(|step| matches!(step, Step::NotDone(_)));
    let (headline, next) = if failed {
        (
            "the reset is not complete",
            "Mend what is named above, and choose the reset entry once more.",
        )
    } else {
        (
            "this node was reset, as it was asked to be",
            "Start the machine without the reset entry: it begins as a new one, and needs a \
             configuration.",
        )
    };
    let mut text = format!("\n{rule}\n {version}: {headline}\n\n");
    let done = steps.iter().filter_map(|step| match step {
        Step::Done(what) => Some(what),
        Step::NotDone(_) => None,
    });
    let not_done = steps.iter().filter_map(|step| match step {
        Step::Done(_) => None,
        Step::NotDone(what) => Some(what),
    });
    let mut label = "Done:";
    for what in done {
        field(&mut text, label, what);
        label = "";
    }
    let mut label = "NOT done:";
    for what in not_done {
        field(&mut text, label, what);
        label = "";
    }
    field(&mut text, "What next:", next);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n The machine powers off in {} seconds.\n{rule}",
        off_after.as_secs()
    );
    text
}

/// The screen's text where nobody has confirmed that a key dies.
pub(super) fn not_confirmed(
    address: &str,
    menu: Option<&Step>,
    version: &str,
    off_after: Duration,
) -> String {
    let rule = "=".repeat(WIDTH);
    let mut text = format!("\n{rule}\n {version}: nothing was changed\n\n");
    // Writing to a String cannot fail.
    let _ = writeln!(text, " {address}");
    field(
        &mut text,
        "This is:",
        "the address of the key that the reset would have destroyed. Nobody has confirmed it.",
    );
    if let Some(Step::Done(what) | Step::NotDone(what)) = menu {
        field(&mut text, "Boot menu:", what);
    }
    let _ = writeln!(
        text,
        "\n The machine powers off in {} seconds.\n{rule}",
        off_after.as_secs()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Duration = Duration::from_secs(10);

    #[test]
    fn a_reset_that_is_through_is_no_failure() {
        let steps = [
            Step::Done(
                "/dev/vda6: the key of the encrypted state is gone, and what it stored with it"
                    .to_owned(),
            ),
            Step::Done("/dev/vda1:daas/node.sealed is overwritten and removed".to_owned()),
            Step::Done(
                "the TPM's counter of the state is gone: no copy from before opens any more"
                    .to_owned(),
            ),
        ];
        let screen = render(&steps, "OS 1", OFF);
        assert!(screen.lines().all(|line| line.chars().count() <= 80));
        assert!(screen.lines().count() <= 24, "{screen}");
        for part in [
            "OS 1: this node was reset",
            " Done:       /dev/vda6: the key",
            "\n             /dev/vda1:daas/node.sealed",
            "powers off in 10 seconds",
        ] {
            assert!(screen.contains(part), "{part} is not in {screen}");
        }
        assert!(!screen.contains("NOT"), "{screen}");
    }

    #[test]
    fn what_is_missing_is_named_and_not_called_a_reset() {
        let steps = [
            Step::Done("one".to_owned()),
            Step::NotDone("two".to_owned()),
        ];
        let screen = render(&steps, "OS 1", OFF);
        assert!(screen.contains("not complete"), "{screen}");
        assert!(screen.contains(" NOT done:   two"), "{screen}");
        assert!(!screen.contains("was reset"), "{screen}");
    }
}
