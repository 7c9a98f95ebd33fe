//! `bench boot`: the time from PID 1 to where the agent may start, of nodes and of their peers, each in the
//! clock of its own guest.
//!
//! Every row boots once in each round, so that what the host does beside meets all of them. A boot ends at its
//! last mark: the machine's power is cut.

pub mod marks;
pub mod report;
pub mod row;
mod stage;
pub mod statistics;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use harness::lab::Lab;
use harness::qemu::Machine;
use harness::stops::Stops;

use crate::waterfall;
use marks::Marks;
use report::Measured;
use row::Row;
use stage::Stage;

/// What `bench boot` takes.
#[derive(Args, Clone, Debug)]
pub struct BootArguments {
    /// How often each row boots.
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Begins no round after so many minutes, but for the first three: says how many are missing.
    #[arg(long, value_name = "MINUTES", default_value_t = MINUTES)]
    within: u64,
    /// Only these rows; default: all.
    #[arg(long, value_name = "ROW,...", value_delimiter = ',')]
    rows: Vec<Row>,
    /// Also writes every figure as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also draws the node's later boot that is nearest to the median.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Keeps every console.
    #[arg(long, value_name = "DIR")]
    consoles: Option<PathBuf>,
}

const ROUNDS: u32 = 7;
const MINUTES: u64 = 12;
/// A median of fewer says nothing.
const LEAST_ROUNDS: u32 = 3;

impl Default for BootArguments {
    fn default() -> Self {
        Self {
            rounds: ROUNDS,
            within: MINUTES,
            rows: Vec::new(),
            json: None,
            svg: None,
            consoles: None,
        }
    }
}

/// One boot that was measured.
struct Boot {
    marks: Marks,
    console: String,
}

/// Measures, and prints the table.
///
/// # Errors
/// When a system does not boot, or a file cannot be written.
pub async fn run(lab: &Lab, arguments: BootArguments) -> Result<()> {
    let mut stops = Stops::new()?;
    tokio::select! {
        outcome = measure(lab, &arguments) => outcome,
        () = stops.next() => bail!("stopped before all rounds had ended"),
    }
}

async fn measure(lab: &Lab, arguments: &BootArguments) -> Result<()> {
    let started = Instant::now();
    let rows: Vec<Row> = Row::ALL
        .into_iter()
        .filter(|row| arguments.rows.is_empty() || arguments.rows.contains(row))
        .collect();
    let machine = format!("2 CPUs, 2 GiB, {}", lab.accelerator);
    eprintln!(
        "bench: {machine}; {} rounds of {} rows",
        arguments.rounds,
        rows.len()
    );
    let stage = Stage::prepare(lab, &rows).await?;
    eprintln!("bench: prepared after {} s", started.elapsed().as_secs());
    let mut boots: Vec<Vec<Boot>> = rows.iter().map(|_| Vec::new()).collect();
    let limit = Duration::from_secs(arguments.within.saturating_mul(60));
    for round in 1..=arguments.rounds {
        if round > LEAST_ROUNDS && started.elapsed() > limit {
            let missing = arguments.rounds - round + 1;
            eprintln!(
                "bench: TIME IS UP: {missing} of {} rounds are missing",
                arguments.rounds
            );
            break;
        }
        for (row, boots) in rows.iter().zip(&mut boots) {
            let boot = boot(&stage, *row)
                .await
                .with_context(|| format!("{row} did not boot in round {round}"))?;
            eprintln!("bench: round {round}: {row}: {}", short(&boot.marks));
            keep(arguments.consoles.as_deref(), *row, round, &boot.console)?;
            boots.push(boot);
        }
    }
    if let Some(path) = &arguments.svg {
        draw(&rows, &boots, path)?;
    }
    let measured: Vec<Measured> = rows
        .into_iter()
        .zip(boots)
        .map(|(row, boots)| Measured {
            row,
            boots: boots.into_iter().map(|boot| boot.marks).collect(),
        })
        .collect();
    if let Some(path) = &arguments.json {
        report::write_json(path, &machine, &measured)?;
    }
    println!("{}", report::table(&measured));
    eprintln!("bench: all of it took {} s", started.elapsed().as_secs());
    Ok(())
}

/// Boots a row once, up to its last mark.
async fn boot(stage: &Stage<'_>, row: Row) -> Result<Boot> {
    let place = harness::lab::directory()?;
    let options = stage.machine(row, place.path()).await?;
    let mut machine = Machine::start(&options, place.path(), None).await?;
    let last = machine.expect(&marks::last(row.last_mark())).await;
    machine.cut_power().await?;
    let found =
        last.with_context(|| format!("end of the console:\n{}", machine.console.tail(30)))?;
    let failure = found.groups.first().map_or("", String::as_str);
    ensure!(
        failure.is_empty() && !found.line.text.contains("Kernel panic"),
        "{}\n{}",
        found.line.text,
        machine.console.tail(30)
    );
    let console = machine.console.text();
    if let Some(line) = row.must_say() {
        // a row that measures something else than its name says would lie
        ensure!(console.contains(line), "the console does not say {line}");
    }
    let marks = marks::read(&console)?;
    ensure!(
        marks.contains_key(marks::AGENT_MAY_START),
        "the console has no mark {}",
        marks::AGENT_MAY_START
    );
    Ok(Boot { marks, console })
}

/// The marks of the table, for who watches.
fn short(marks: &Marks) -> String {
    [
        marks::ROOT,
        marks::CONTAINERD,
        marks::AGENT_MAY_START,
        marks::AGENT_STARTED,
    ]
    .into_iter()
    .filter_map(|name| Some(format!("{name} {:.2}", marks.get(name)?)))
    .collect::<Vec<_>>()
    .join(", ")
}

fn keep(directory: Option<&Path>, row: Row, round: u32, console: &str) -> Result<()> {
    let Some(directory) = directory else {
        return Ok(());
    };
    let path = directory.join(format!("{row}-{round}.log"));
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&path, console))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn draw(rows: &[Row], boots: &[Vec<Boot>], path: &Path) -> Result<()> {
    let later = rows.iter().position(|row| *row == Row::Later);
    let boots = later
        .and_then(|index| boots.get(index))
        .context("a picture needs the row \"later\"")?;
    let times: Vec<f64> = boots
        .iter()
        .filter_map(|boot| boot.marks.get(marks::AGENT_MAY_START).copied())
        .collect();
    let boot = statistics::nearest_to_median(&times)
        .and_then(|index| boots.get(index))
        .context("nothing was measured")?;
    waterfall::write(&boot.console, path)
}
