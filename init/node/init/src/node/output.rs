//! What services write: read, repeats counted, and put into the log and onto the console.

use std::time::Duration;

use tracing::{Level, warn};

use super::{Node, OUTPUT_PAUSE};
use crate::event_loop::Token;
use crate::service::{Exit, Kind, Name};
use log::timeline;
use log::{Record, Verdict, parse_level, visible};

impl Node {
    /// Reads a service's output.
    pub(super) fn handle_output(&mut self, name: Name) {
        let now = timeline::now();
        let Some(slot) = self.slots.get_mut(&name) else {
            return;
        };
        let Some(output) = &mut slot.output else {
            return;
        };
        let lines = output.read(now);
        if output.take_flooded() && slot.output_resumes.is_none() {
            match self
                .events
                .change(&*output, Token::Output(name), false, false)
            {
                Ok(()) => slot.output_resumes = Some(now.saturating_add(OUTPUT_PAUSE)),
                Err(error) => warn!(service = %name, %error, "an output can't be left alone"),
            }
        }
        self.take_lines(name, lines, now);
    }

    pub(super) fn take_lines(&mut self, name: Name, lines: Vec<String>, now: Duration) {
        let quiet = matches!(name.service().kind, Kind::Task { quiet: true, .. });
        let ignored = name.service().ignored_until;
        let hold = ignored.is_some_and(|ignored| self.is_unfinished(ignored.finished));
        for line in lines {
            let (level, text) = parse_level(&line);
            let line = (level, visible(text));
            let line = match self.slots.get_mut(&name) {
                Some(slot) if quiet => slot.lines.take(line, hold),
                Some(slot) if line.0 == Level::ERROR && slot.complaint.is_none() => {
                    slot.complaint = Some(line.1.clone());
                    Some(line)
                }
                _ => Some(line),
            };
            if let Some((level, text)) = line
                && self.is_no_repeat(name, level, &text, now)
            {
                self.write_line(name, level, text, now);
            }
        }
    }

    /// Whether a line is news. Programs that are not ours say the same warning for as long as it holds.
    fn is_no_repeat(&mut self, name: Name, level: Level, text: &str, now: Duration) -> bool {
        if level > Level::WARN || name.service().talks_on_console {
            return true;
        }
        let Some(slot) = self.slots.get_mut(&name) else {
            return true;
        };
        let (passes, counted) = slot.repeats.take(level, text, now);
        self.write_counted(name, counted, now);
        passes
    }

    /// Says how often lines were repeated, where a minute of it is over.
    pub(super) fn count_repeats(&mut self, now: Duration) {
        for name in Name::ALL {
            if let Some(slot) = self.slots.get_mut(name) {
                let counted = slot.repeats.due(now);
                self.write_counted(*name, counted, now);
            }
        }
    }

    pub(super) fn write_counted(
        &mut self,
        name: Name,
        counted: impl IntoIterator<Item = log::Counted>,
        now: Duration,
    ) {
        for (level, text) in counted {
            self.write_line(name, level, text, now);
        }
    }

    /// Writes what was held of a task's run. `true` when its end is worth a line too.
    pub(super) fn run_of_task_ended(&mut self, name: Name, exit: &Exit) -> bool {
        let ignored = self.is_ignored(name, exit);
        let Some(slot) = self.slots.get_mut(&name) else {
            return true;
        };
        if !matches!(name.service().kind, Kind::Task { quiet: true, .. }) {
            return true;
        }
        if ignored {
            slot.lines.forget();
            return false;
        }
        let (lines, news) = slot.lines.end(exit);
        let now = timeline::now();
        for (level, text) in lines {
            self.write_line(name, level, text, now);
        }
        news
    }

    fn write_line(&mut self, name: Name, level: Level, text: String, now: Duration) {
        let least = if name.service().talks_on_console {
            Level::INFO
        } else {
            Level::WARN
        };
        let mut console = level <= least;
        if console && let Some(slot) = self.slots.get_mut(&name) {
            match slot.console_rate.take(now) {
                Verdict::Pass => {}
                Verdict::Drop => console = false,
                Verdict::PassAfter(dropped) => warn!(
                    service = %name,
                    "{dropped} of its lines are in the log's file alone: too many for the console"
                ),
            }
        }
        self.inputs.log.push(Record {
            at: now,
            level,
            source: name.text(),
            text,
            console,
        });
    }
}
