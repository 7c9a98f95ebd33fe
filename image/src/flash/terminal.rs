//! The person at the terminal: progress, questions, and Ctrl-C.

use std::io::{BufRead, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sys::signals::{Signal, SignalReader};

use super::write::{Observer, Step};
use crate::progress::human_size;

/// How often a line on a terminal is drawn anew.
const REDRAW: Duration = Duration::from_millis(200);
/// Elsewhere, a line comes after so many percent.
const LINE_EVERY: u64 = 10;

/// Asks on a terminal; `Ok(None)`: there is none. What is asked stands in `question`.
///
/// # Errors
/// When the answer can't be read.
pub(super) fn ask(question: &str) -> Result<Option<String>> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(None);
    }
    eprint!("{question}");
    std::io::stderr()
        .flush()
        .context("the terminal can't be written to")?;
    let mut answer = String::new();
    input
        .lock()
        .read_line(&mut answer)
        .context("the answer can't be read")?;
    Ok(Some(answer.trim().to_owned()))
}

/// Shows progress on standard error, and looks for signals.
#[derive(Debug)]
pub(super) struct Progress {
    signals: SignalReader,
    is_terminal: bool,
    step: Option<Step>,
    started: Instant,
    drawn: Instant,
    shown: u64,
}

impl Progress {
    /// From now on Ctrl-C and SIGTERM end nothing by themselves.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn start() -> Result<Self> {
        Ok(Self {
            signals: SignalReader::new().context("signals can't be read")?,
            is_terminal: std::io::stderr().is_terminal(),
            step: None,
            started: Instant::now(),
            drawn: Instant::now(),
            shown: 0,
        })
    }
}

impl Observer for Progress {
    fn advance(&mut self, step: Step, done: u64, total: u64) {
        if self.step != Some(step) {
            (self.step, self.started, self.shown) = (Some(step), Instant::now(), 0);
        }
        let (percent, is_done) = (done * 100 / total.max(1), done >= total);
        let due = match self.is_terminal {
            true => self.drawn.elapsed() >= REDRAW,
            false => percent >= self.shown + LINE_EVERY,
        };
        if !due && !is_done {
            return;
        }
        (self.drawn, self.shown) = (Instant::now(), percent);
        let line = line(step, done, total, self.started.elapsed());
        match (self.is_terminal, is_done) {
            // erase to the end of the line (ECMA-48, EL)
            (true, false) => eprint!("\r{line}\x1b[K"),
            (true, true) => eprintln!("\r{line}\x1b[K"),
            (false, _) => eprintln!("{line}"),
        }
    }

    fn is_interrupted(&mut self) -> bool {
        let ends = matches!(
            self.signals.next(),
            Ok(Some(Signal::Interrupt | Signal::Terminate))
        );
        if ends && self.is_terminal {
            eprintln!();
        }
        ends
    }
}

/// Step, bytes, percent, rate, and what remains at that rate.
fn line(step: Step, done: u64, total: u64, elapsed: Duration) -> String {
    let milliseconds = u64::try_from(elapsed.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    let rate = done.saturating_mul(1000) / milliseconds;
    let remaining = (total - done.min(total)) / rate.max(1);
    format!(
        "{step}: {} of {} ({} %), {}/s, {}:{:02} remaining",
        human_size(done),
        human_size(total),
        done * 100 / total.max(1),
        human_size(rate),
        remaining / 60,
        remaining % 60,
    )
}

/// The answers that were given before anything was asked.
#[derive(Debug, Clone, Copy)]
pub struct Answers {
    /// All that is on the target may go.
    pub yes: bool,
    /// So may a node's state.
    pub wipe_state: bool,
}

/// Has a person confirm what is lost. `word` is the device's serial number or name, which confirms that a node's
/// state goes; `None` where there is none. `ask` asks.
///
/// # Errors
/// When nobody confirms; nothing was written then.
pub(super) fn confirm(
    answers: Answers,
    word: Option<&str>,
    ask: impl Fn(&str) -> Result<Option<String>>,
) -> Result<()> {
    if !answers.yes {
        match ask("All that is on it is lost. Type yes to go on: ")?.as_deref() {
            Some("yes") => {}
            Some(_) => bail!("not confirmed: nothing was written"),
            None => bail!("nothing was written: without a terminal to ask on, say --yes"),
        }
    }
    let Some(word) = word.filter(|_| !answers.wipe_state) else {
        return Ok(());
    };
    let question = format!(
        "It holds the state of a node: its identity, and keys that may exist nowhere else. Type {word} to wipe it: "
    );
    match ask(&question)? {
        Some(answer) if answer == word => Ok(()),
        Some(_) => bail!("not confirmed: nothing was written"),
        None => bail!(
            "nothing was written: it holds the state of a node; without a terminal to ask on, say --wipe-state"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn confirmed(yes: bool, wipe_state: bool, word: Option<&str>, typed: &[&str]) -> (bool, usize) {
        let typed = RefCell::new(typed.iter());
        let asked = RefCell::new(0);
        let ask = |_: &str| {
            *asked.borrow_mut() += 1;
            Ok(typed.borrow_mut().next().map(|text| (*text).to_owned()))
        };
        let result = confirm(Answers { yes, wipe_state }, word, ask);
        (result.is_ok(), asked.into_inner())
    }

    #[test]
    fn confirm_without_state_asks_once() {
        assert_eq!(confirmed(false, false, None, &["yes"]), (true, 1));
        assert_eq!(confirmed(false, false, None, &["y"]), (false, 1));
        assert_eq!(
            confirmed(false, false, None, &[]),
            (false, 1),
            "no terminal"
        );
        assert_eq!(confirmed(true, false, None, &[]), (true, 0));
    }

    #[test]
    fn confirm_with_state_takes_the_word_whatever_yes_says() {
        let word = Some("WD-1234");
        assert_eq!(
            confirmed(false, false, word, &["yes", "WD-1234"]),
            (true, 2)
        );
        assert_eq!(confirmed(false, false, word, &["yes", "yes"]), (false, 2));
        assert_eq!(confirmed(true, false, word, &["WD-1234"]), (true, 1));
        assert_eq!(confirmed(true, false, word, &[]), (false, 1), "no terminal");
        assert_eq!(confirmed(true, true, word, &[]), (true, 0));
        assert_eq!(confirmed(false, true, word, &["no"]), (false, 1));
    }

    #[test]
    fn line_has_bytes_rate_and_remaining_time() {
        let line = line(Step::Write, 100 << 20, 1000 << 20, Duration::from_secs(10));
        assert_eq!(
            line,
            "writing: 100.0 MiB of 1000.0 MiB (10 %), 10.0 MiB/s, 1:30 remaining"
        );
    }
}
