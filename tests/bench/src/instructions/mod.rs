//! `bench instructions`: how many instructions a node executes until each mark of its timeline. Unlike a time,
//! the figure hardly depends on what else this host does, so that a change can be held to it.
//!
//! The machine has one processor, since two would spin for one another, as often as the host lets them, and no
//! TPM, whose answers take as long as the host likes. The counts begin at power-on: what the kernel does beside
//! PID 1 in its first moments comes before PID 1 in one boot and behind it in the next, so that a count from
//! there on would be the less certain one.

mod marks;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use harness::lab::{self, Lab};
use harness::node;
use harness::qemu::{Accelerator, Machine};

use crate::budget::{self, Budget, Figure, Scale};
use marks::{Mark, Spread};

/// The plugin's source.
const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin/instructions.c");
/// Where a boot ends for this measurement.
const LAST: &str = "agent-started";
/// Marks of work that goes on side by side, PID 1's first moments beside the kernel's last ones among it: which
/// has the processor first differs from boot to boot, and with it the counts by several percent. They are shown;
/// the marks that wait for all of them are compared.
const SIDE_BY_SIDE: [&str; 6] = [
    "init",
    "root-device",
    "configured",
    "state",
    "network",
    "clock",
];
/// The first boot of a disk, which makes the state.
const FIRST: &str = "first boot";
/// A boot that finds its state.
const LATER: &str = "later boot";
/// How often boots are repeated at the most while a median is off its budget.
const ROUNDS: usize = 3;
/// The unit of all figures, in instructions.
const MILLION: u64 = 1_000_000;
/// The gate.
const SCALE: Scale = Scale {
    name: "millions of instructions since power-on",
    tolerance: 3,
};
const COMMENT: &str =
    "# Millions of guest instructions since power-on until each mark of the timeline, on one processor and without
# a TPM.
# `./build.sh bench instructions` fails where one exceeds its budget by more than 3 %, and says so where one is
# 3 % below; with --update it writes what it measured.
";

/// What `bench instructions` takes.
#[derive(Args, Clone, Debug)]
pub struct InstructionsArguments {
    /// How often the node is booted twice, at the least. Up to three times where a median is off its budget.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Writes what was measured as the new budgets.
    #[arg(long)]
    update: bool,
}

impl Default for InstructionsArguments {
    fn default() -> Self {
        Self {
            rounds: 1,
            update: false,
        }
    }
}

/// Measures, and compares with the budgets.
///
/// # Errors
/// When the node does not boot, or a budget is exceeded.
pub async fn run(lab: &Lab, arguments: &InstructionsArguments) -> Result<()> {
    let lab = Lab {
        // a plugin needs QEMU's translator
        accelerator: Accelerator::Tcg,
        ..lab.clone()
    };
    let place = lab::directory()?;
    let plugin = compile(place.path())?;
    let path = budget::path("instructions");
    let mut first = Vec::new();
    let mut later = Vec::new();
    let most = arguments.rounds.max(ROUNDS);
    loop {
        let (one, other) = boots(&lab, &plugin).await?;
        first.push(one);
        later.push(other);
        let enough = first.len() >= arguments.rounds;
        if arguments.update && enough {
            let figures = figures(&first, &later);
            Budget::write(&path, COMMENT, &figures, |_, _| 0)?;
            println!("written: {}", path.display());
        }
        let budget = Budget::read(&path)?;
        if enough && (first.len() >= most || budget.holds(&figures(&first, &later), SCALE)) {
            show_spreads(&first, &later);
            return budget.check(&figures(&first, &later), SCALE);
        }
    }
}

/// Compiles the plugin into a folder.
fn compile(place: &Path) -> Result<PathBuf> {
    let plugin = place.join("instructions.so");
    let output = Command::new("cc")
        .args([
            "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o",
        ])
        .arg(&plugin)
        .arg(PLUGIN)
        .output()
        .context("cannot start cc")?;
    ensure!(
        output.status.success(),
        "cc does not compile {PLUGIN}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(plugin)
}

/// Boots a node twice from one disk: the marks of its first boot and of a later one.
async fn boots(lab: &Lab, plugin: &Path) -> Result<(Vec<Mark>, Vec<Mark>)> {
    let context = lab::Context::new(lab.clone().into())?;
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let mut options = context.node(&disk, &devnet)?;
    options.processors = 1;
    let mut boots = Vec::new();
    for boot in [FIRST, LATER] {
        let log = context.directory().join("instructions.log");
        options.plugin = Some(format!("{},log={}", plugin.display(), log.display()));
        let mut machine = context.power_on(&options).await?;
        reach_the_end(&mut machine, boot).await?;
        let text = std::fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        boots.push(marks::read(&String::from_utf8_lossy(&text)));
    }
    let [first, later] = <[Vec<Mark>; 2]>::try_from(boots)
        .ok()
        .context("no two boots")?;
    Ok((first, later))
}

async fn reach_the_end(machine: &mut Machine, boot: &str) -> Result<()> {
    machine
        .expect(&format!("timeline phase={LAST} "))
        .await
        .with_context(|| format!("the {boot} does not come to {LAST}"))?;
    if boot == FIRST {
        // in order, so that the next one finds a clean file system
        return node::switch_off(machine).await;
    }
    machine.cut_power().await
}

/// The medians up to the last mark.
fn figures(first: &[Vec<Mark>], later: &[Vec<Mark>]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (section, boots) in [(FIRST, first), (LATER, later)] {
        let spreads = marks::spreads(boots);
        let end = spreads.iter().position(|spread| spread.phase == LAST);
        let counted = end.map_or(spreads.len(), |end| end + 1);
        let compared = spreads
            .iter()
            .take(counted)
            .filter(|spread| !SIDE_BY_SIDE.contains(&spread.phase.as_str()));
        figures.extend(compared.map(|spread| Figure {
            section,
            name: spread.phase.clone(),
            now: Some((spread.median + MILLION / 2) / MILLION),
            goal: None,
        }));
    }
    figures
}

/// Every mark, and how far the boots of this run lie apart.
fn show_spreads(first: &[Vec<Mark>], later: &[Vec<Mark>]) {
    for (section, boots) in [(FIRST, first), (LATER, later)] {
        println!(
            "{section}, {} of it: least, most and spread of each mark, in millions of instructions",
            boots.len()
        );
        for spread in marks::spreads(boots) {
            let Spread {
                phase, least, most, ..
            } = &spread;
            let (whole, tenth) = (spread.thousandths() / 10, spread.thousandths() % 10);
            println!(
                "  {phase:<24}{:>10} to {:>10}{whole:>6}.{tenth} %",
                least / MILLION,
                most / MILLION
            );
        }
    }
}
