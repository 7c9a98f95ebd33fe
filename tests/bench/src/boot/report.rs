//! What was measured, as a table for people and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::marks::{AGENT_MAY_START, AGENT_STARTED, CONTAINERD, Marks, ROOT};
use super::row::Row;
use super::statistics::Summary;

/// A ratio of two rows' medians, and where it is to be.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// What is measured.
    pub row: Row,
    /// Beside what.
    pub beside: Row,
    /// What it must not exceed now.
    pub target: f64,
    /// Where it is to come.
    pub goal: f64,
}

/// PID 1 to where the agent may start, of a node that has run before, without a TPM.
pub const GOALS: [Goal; 2] = [
    Goal {
        row: Row::Later,
        beside: Row::Floor,
        target: 1.8,
        goal: 1.15,
    },
    Goal {
        row: Row::Later,
        beside: Row::Systemd,
        target: 0.3,
        goal: 0.16,
    },
];

/// The columns of the table.
const COLUMNS: [(&str, &str); 4] = [
    (ROOT, "root"),
    (CONTAINERD, "containerd"),
    (AGENT_MAY_START, "may start"),
    (AGENT_STARTED, "started"),
];

/// All boots of one row.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What was booted.
    pub row: Row,
    /// The marks of each boot, in seconds from PID 1.
    pub boots: Vec<Marks>,
}

impl Measured {
    /// The times of one mark, of the boots that have it.
    #[must_use]
    pub fn times(&self, mark: &str) -> Vec<f64> {
        self.boots
            .iter()
            .filter_map(|marks| marks.get(mark).copied())
            .collect()
    }

    fn summary(&self, mark: &str) -> Option<Summary> {
        Summary::of(&self.times(mark))
    }
}

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    machine: &'a str,
    rows: Vec<RowDocument<'a>>,
    ratios: Vec<RatioDocument>,
}

#[derive(Serialize)]
struct RowDocument<'a> {
    row: &'static str,
    boots: &'a [Marks],
    summary: std::collections::BTreeMap<&'a str, Summary>,
}

#[derive(Serialize)]
struct RatioDocument {
    row: &'static str,
    beside: &'static str,
    now: f64,
    target: f64,
    goal: f64,
    reached: bool,
}

/// A ratio with its goal, where both rows were booted.
fn ratio(rows: &[Measured], goal: &Goal) -> Option<f64> {
    let median = |row| {
        let measured = rows.iter().find(|measured| measured.row == row)?;
        Some(measured.summary(AGENT_MAY_START)?.median)
    };
    Some(median(goal.row)? / median(goal.beside)?)
}

/// Writes every figure.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, machine: &str, rows: &[Measured]) -> Result<()> {
    let document = Document {
        format: 1,
        machine,
        rows: rows.iter().map(row_document).collect(),
        ratios: GOALS
            .iter()
            .filter_map(|goal| {
                let now = ratio(rows, goal)?;
                Some(RatioDocument {
                    row: goal.row.name(),
                    beside: goal.beside.name(),
                    now,
                    target: goal.target,
                    goal: goal.goal,
                    reached: now <= goal.target,
                })
            })
            .collect(),
    };
    let text = serde_json::to_string_pretty(&document).context("the figures have no form")?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

fn row_document(measured: &Measured) -> RowDocument<'_> {
    let names: std::collections::BTreeSet<&str> = measured
        .boots
        .iter()
        .flat_map(|marks| marks.keys().map(String::as_str))
        .collect();
    RowDocument {
        row: measured.row.name(),
        boots: &measured.boots,
        summary: names
            .into_iter()
            .filter_map(|name| Some((name, measured.summary(name)?)))
            .collect(),
    }
}

/// The table: medians of the columns, the spread where it counts, and now beside goal.
#[must_use]
pub fn table(rows: &[Measured]) -> String {
    let mut text = String::from("PID 1 to ... in seconds of the guest's clock, medians\n");
    // writing to a String never fails
    let _ = write!(text, "{:<11}{:>6}", "", "boots");
    for (_, title) in COLUMNS {
        let _ = write!(text, "{title:>12}");
    }
    let _ = writeln!(text, "{:>16}{:>8}", "min..max", "MAD");
    for measured in rows {
        let _ = write!(text, "{:<11}{:>6}", measured.row, measured.boots.len());
        for (mark, _) in COLUMNS {
            let cell = measured
                .summary(mark)
                .map_or_else(|| "-".to_owned(), |it| format!("{:.2}", it.median));
            let _ = write!(text, "{cell:>12}");
        }
        if let Some(spread) = measured.summary(AGENT_MAY_START) {
            let range = format!("{:.2}..{:.2}", spread.min, spread.max);
            let _ = write!(text, "{range:>16}{:>8.2}", spread.mad);
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "\n{:<44}{:>8}{:>9}{:>7}",
        "PID 1 to where the agent may start", "now", "target", "goal"
    );
    for goal in &GOALS {
        let title = format!("{} to {}", goal.row, goal.beside);
        let (now, verdict) = match ratio(rows, goal) {
            None => ("-".to_owned(), ""),
            Some(now) if now <= goal.goal => (format!("{now:.2} x"), "  at the goal"),
            Some(now) if now <= goal.target => (format!("{now:.2} x"), ""),
            Some(now) => (format!("{now:.2} x"), "  ABOVE THE TARGET"),
        };
        let _ = writeln!(
            text,
            "{title:<44}{now:>8}{:>7.2} x{:>5.2} x{verdict}",
            goal.target, goal.goal
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(row: Row, times: &[f64]) -> Measured {
        let boots = times
            .iter()
            .map(|time| Marks::from([(AGENT_MAY_START.to_owned(), *time)]))
            .collect();
        Measured { row, boots }
    }

    #[test]
    fn table_has_now_beside_goal() {
        let rows = [
            measured(Row::Floor, &[3.0, 4.0, 5.0]),
            measured(Row::Systemd, &[20.0]),
            measured(Row::Later, &[8.0, 8.0]),
        ];
        let text = table(&rows);
        let line = |start: &str| {
            let found = text.lines().find(|line| line.starts_with(start));
            found
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(line("floor"), "floor 3 - - 4.00 - 3.00..5.00 1.00");
        assert_eq!(
            line("later to floor"),
            "later to floor 2.00 x 1.80 x 1.15 x ABOVE THE TARGET"
        );
        assert_eq!(
            line("later to systemd"),
            "later to systemd 0.40 x 0.30 x 0.16 x ABOVE THE TARGET"
        );
    }

    #[test]
    fn table_without_a_row_has_no_ratio() {
        let rows = [measured(Row::Later, &[8.0])];
        assert!(table(&rows).contains("later to floor                                     -"));
        assert_eq!(ratio(&rows, &GOALS[0]), None);
    }

    #[test]
    fn json_has_every_boot_and_the_ratios() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("boot.json");
        let rows = [
            measured(Row::Floor, &[4.0]),
            measured(Row::Later, &[4.0, 6.0]),
        ];
        write_json(&path, "a machine", &rows).unwrap();
        let value: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(value["rows"][1]["boots"][1][AGENT_MAY_START], 6.0);
        assert_eq!(value["rows"][1]["summary"][AGENT_MAY_START]["median"], 5.0);
        assert_eq!(value["ratios"][0]["now"], 1.25);
        assert_eq!(value["ratios"][0]["reached"], true);
    }
}
