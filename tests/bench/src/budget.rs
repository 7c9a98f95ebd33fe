//! Budgets: figures beside what a file of the repository allows them, so that a change which takes more has
//! to say so in that file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// The budgets' folder.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/budget");
/// By how much of its budget a figure may be smaller before the budget counts as too high: a thirty-third,
/// and a few units for the small ones.
const SLACK: u64 = 33;
const SLACK_UNITS: u64 = 4;

/// What a section allows: each figure by its name.
pub type Section = BTreeMap<String, u64>;

/// A file of budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Budget(BTreeMap<String, Section>);

/// One figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The section that it belongs to.
    pub section: &'static str,
    /// Its name.
    pub name: String,
    /// What was measured; none where it was not reached.
    pub now: Option<u64>,
    /// What is aimed at, where something is.
    pub goal: Option<u64>,
}

/// How figures are shown and compared.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The unit of all figures.
    pub name: &'static str,
    /// Percent of its budget by which a figure may exceed it.
    pub tolerance: u64,
}

/// Where a figure stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Within,
    /// The budget can be lowered.
    Below,
    Exceeds,
    /// It has no budget.
    Unlisted,
    /// There is a budget, and nothing to compare with it.
    Missing,
}

impl Verdict {
    fn text(self) -> &'static str {
        match self {
            Self::Within => "",
            Self::Below => "lower the budget",
            Self::Exceeds => "EXCEEDS ITS BUDGET",
            Self::Unlisted => "HAS NO BUDGET",
            Self::Missing => "NOT MEASURED",
        }
    }

    fn fails(self) -> bool {
        matches!(self, Self::Exceeds | Self::Unlisted | Self::Missing)
    }
}

/// The path of a budget file.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{name}.toml"))
}

impl Budget {
    /// Reads a file of budgets.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is malformed", path.display()))
    }

    /// Writes what was measured as the new budgets, behind `comment`. `headroom` is what a figure gets
    /// beyond itself.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(
        path: &Path,
        comment: &str,
        figures: &[Figure],
        headroom: fn(&Figure, u64) -> u64,
    ) -> Result<()> {
        let mut budget = Self::default();
        for figure in figures {
            if let Some(now) = figure.now {
                let section = budget.0.entry(figure.section.to_owned()).or_default();
                section.insert(figure.name.clone(), now + headroom(figure, now));
            }
        }
        let text = toml::to_string(&budget).context("cannot encode the budgets")?;
        std::fs::write(path, format!("{comment}\n{text}"))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// A table of all figures, and the budgets' names without a figure.
    ///
    /// # Errors
    /// When a figure exceeds its budget or has none, or a budget has no figure; the table is printed before.
    pub fn check(&self, figures: &[Figure], scale: Scale) -> Result<()> {
        let (table, failed) = self.table(figures, scale);
        println!("{table}");
        ensure!(
            failed.is_empty(),
            "beside the budget: {}",
            failed.join("; ")
        );
        Ok(())
    }

    /// One section by itself, and the others.
    #[must_use]
    pub fn split(&self, section: &str) -> (Self, Self) {
        let (one, others) = self
            .0
            .clone()
            .into_iter()
            .partition(|(name, _)| name == section);
        (Self(one), Self(others))
    }

    /// Whether every figure is within its budget, and no budget too high.
    #[must_use]
    pub fn holds(&self, figures: &[Figure], scale: Scale) -> bool {
        let verdict = |figure: &Figure| {
            verdict(
                figure.now,
                self.of(figure.section, &figure.name),
                scale.tolerance,
            )
        };
        figures
            .iter()
            .all(|figure| verdict(figure) == Verdict::Within)
    }

    /// The table, and a sentence for each figure that fails.
    fn table(&self, figures: &[Figure], scale: Scale) -> (String, Vec<String>) {
        let mut rows: Vec<(Figure, Option<u64>)> = figures
            .iter()
            .map(|figure| (figure.clone(), self.of(figure.section, &figure.name)))
            .collect();
        for (section, entries) in &self.0 {
            for (name, budget) in entries {
                let known = |figure: &Figure| figure.section == section && &figure.name == name;
                if !figures.iter().any(known) {
                    let lost = Figure {
                        section: "",
                        name: format!("{section}: {name}"),
                        now: None,
                        goal: None,
                    };
                    rows.push((lost, Some(*budget)));
                }
            }
        }
        let mut text = format!(
            "{:<44}{:>12}{:>12}{:>12}\n",
            scale.name, "now", "budget", "goal"
        );
        let mut failed = Vec::new();
        let mut section = "";
        for (figure, budget) in &rows {
            if section != figure.section {
                section = figure.section;
                let _ = writeln!(text, "{section}");
            }
            let verdict = verdict(figure.now, *budget, scale.tolerance);
            let shown =
                |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
            let (now, limit, goal) = (shown(figure.now), shown(*budget), shown(figure.goal));
            let _ = writeln!(
                text,
                "  {:<42}{now:>12}{limit:>12}{goal:>12}  {}",
                figure.name,
                verdict.text()
            );
            if verdict.fails() {
                failed.push(format!(
                    "{} ({} now, {} allowed, {}): {}",
                    figure.name,
                    now,
                    limit,
                    scale.name,
                    verdict.text().to_lowercase()
                ));
            }
        }
        (text, failed)
    }

    fn of(&self, section: &str, name: &str) -> Option<u64> {
        self.0.get(section)?.get(name).copied()
    }
}

fn verdict(now: Option<u64>, budget: Option<u64>, tolerance: u64) -> Verdict {
    match (now, budget) {
        (None, _) => Verdict::Missing,
        (Some(_), None) => Verdict::Unlisted,
        (Some(now), Some(budget)) if now > budget + budget * tolerance / 100 => Verdict::Exceeds,
        (Some(now), Some(budget)) if now + budget / SLACK + SLACK_UNITS < budget => Verdict::Below,
        _ => Verdict::Within,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale {
        name: "units",
        tolerance: 3,
    };

    fn figure(name: &str, now: u64) -> Figure {
        Figure {
            section: "marks",
            name: name.to_owned(),
            now: Some(now),
            goal: None,
        }
    }

    fn budget(entries: &[(&str, u64)]) -> Budget {
        let section = entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        Budget(BTreeMap::from([("marks".to_owned(), section)]))
    }

    #[test]
    fn figure_within_tolerance_passes_and_above_fails() {
        let budget = budget(&[("a", 1000)]);
        for (now, fails) in [(1000, false), (1030, false), (1031, true)] {
            let (_, failed) = budget.table(&[figure("a", now)], SCALE);
            assert_eq!(!failed.is_empty(), fails, "{now}");
        }
        let (_, failed) = budget.table(&[figure("a", 2000)], SCALE);
        assert_eq!(
            failed,
            ["a (2000 now, 1000 allowed, units): exceeds its budget"]
        );
        assert!(budget.check(&[figure("a", 2000)], SCALE).is_err());
    }

    #[test]
    fn figure_far_below_asks_for_a_lower_budget() {
        let budget = budget(&[("a", 1000)]);
        for (now, below) in [(966, false), (965, true)] {
            let (table, failed) = budget.table(&[figure("a", now)], SCALE);
            assert_eq!(table.contains("lower the budget"), below, "{now}");
            assert!(failed.is_empty());
        }
    }

    #[test]
    fn figure_without_budget_or_budget_without_figure_fails() {
        let budget = budget(&[("a", 1000)]);
        let (table, failed) = budget.table(&[figure("b", 1)], SCALE);
        assert_eq!(failed.len(), 2, "{failed:?}");
        assert!(table.contains("HAS NO BUDGET") && table.contains("NOT MEASURED"));
        let lost = Figure {
            now: None,
            ..figure("a", 0)
        };
        assert_eq!(budget.table(&[lost], SCALE).1.len(), 1);
    }

    #[test]
    fn budgets_written_are_read_again_with_headroom() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("budget.toml");
        Budget::write(&path, "# why", &[figure("an origin", 1000)], |_, now| {
            now / 100
        })
        .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# why\n"), "{text}");
        assert_eq!(Budget::read(&path).unwrap(), budget(&[("an origin", 1010)]));
    }
}
