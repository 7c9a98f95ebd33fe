//! Runs scenarios side by side and says how they ended.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use tokio::task::JoinSet;

use crate::devnet::K3s;
use crate::lab::{Context, Lab};
use crate::qemu::Accelerator;
use crate::scenarios::{self, Scenario};

/// No scenario takes longer than this, whatever hangs.
const LIMIT: Duration = Duration::from_secs(25 * 60);

/// What to run, and how.
pub struct Plan {
    /// Only scenarios whose names contain this.
    pub filter: Option<String>,
    /// Long scenarios too, without their being named.
    pub all: bool,
    /// How many at a time.
    pub jobs: usize,
    /// Where the full logs of failed scenarios are kept.
    pub records: PathBuf,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Scenarios that passed.
    pub passed: usize,
    /// Scenarios that failed.
    pub failed: usize,
    /// Scenarios that this k3s cannot run, and long ones.
    pub skipped: usize,
}

impl std::fmt::Display for Totals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(formatter, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// Runs what the plan names. Every result is printed when it is there, a failure with the ends of
/// its logs.
///
/// # Errors
/// When the filter names no scenario.
pub async fn run(lab: Lab, plan: &Plan) -> Result<Totals> {
    let chosen: Vec<&'static Scenario> = scenarios::of_target(&lab.target)
        .filter(|scenario| {
            plan.filter
                .as_ref()
                .is_none_or(|part| scenario.name.contains(part))
        })
        .collect();
    ensure!(
        !chosen.is_empty(),
        "no scenario's name contains {:?}; --list shows them",
        plan.filter.as_deref().unwrap_or_default()
    );
    let jobs = plan.jobs.clamp(1, chosen.len());
    println!(
        "running {} scenarios, {jobs} at a time, on {}",
        chosen.len(),
        lab.accelerator
    );
    let lab = Arc::new(lab);
    let next = Arc::new(AtomicUsize::new(0));
    let chosen = Arc::new(chosen);
    let mut workers = JoinSet::new();
    for _ in 0..jobs {
        let (lab, next, chosen) = (Arc::clone(&lab), Arc::clone(&next), Arc::clone(&chosen));
        let records = plan.records.clone();
        let leaves_out_long = plan.filter.is_none() && !plan.all;
        workers.spawn(async move {
            let mut totals = Totals::default();
            while let Some(scenario) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                if leaves_out_long && scenario.is_long() {
                    println!("skipped {} (it is long: name it, or --all)", scenario.name);
                    totals.skipped += 1;
                    continue;
                }
                play(scenario, &lab, &records, &mut totals).await;
            }
            totals
        });
    }
    let mut totals = Totals::default();
    while let Some(ended) = workers.join_next().await {
        let part = ended.context("a worker of the test runner broke")?;
        totals.passed += part.passed;
        totals.failed += part.failed;
        totals.skipped += part.skipped;
    }
    Ok(totals)
}

/// How often a scenario is run at the most, where it was the emulator that broke.
const ATTEMPTS: usize = 3;

/// Runs one scenario, prints how it ended, and counts it.
async fn play(
    scenario: &'static Scenario,
    lab: &Arc<Lab>,
    records: &std::path::Path,
    totals: &mut Totals,
) {
    let name = scenario.name;
    if scenario.needs_double && lab.k3s != K3s::Double {
        println!("skipped {name} (it needs the control port of the k3s double)");
        totals.skipped += 1;
        return;
    }
    println!("start   {name}");
    let started = Instant::now();
    let records = records.join(name);
    let mut outcome = attempt(scenario, Arc::clone(lab), records.clone()).await;
    for _ in 1..ATTEMPTS {
        let Some(assertion) = outcome
            .as_ref()
            .err()
            .and_then(|_| emulator_broke(&records, lab.accelerator))
        else {
            break;
        };
        println!("again   {name}: the emulator itself broke, not what it ran: {assertion}");
        outcome = attempt(scenario, Arc::clone(lab), records.clone()).await;
    }
    let seconds = started.elapsed().as_secs();
    match outcome {
        Ok(()) => {
            totals.passed += 1;
            println!("ok      {name} ({seconds} s)");
        }
        Err(report) => {
            totals.failed += 1;
            println!("FAILED  {name} ({seconds} s)\n{report}");
        }
    }
}

/// How the kernel ends, before anything of ours runs, on a machine whose clock does not interrupt it: one
/// that the host gave no time to while the kernel counted ticks (arch/x86/kernel/apic/io_apic.c).
const NO_TICKS: &str = "Kernel panic - not syncing: IO-APIC + timer doesn't work!";

/// How the kernel reports a processor that got no interrupt for 21 s (Documentation/RCU/stallwarn.rst). Under TCG with
/// several threads a timer's interrupt gets lost now and then, and the processor sleeps on. No program of a node causes
/// this; with KVM it would be the kernel's, and counts.
const STALLS: [&str; 2] = ["rcu: INFO: rcu_sched ", "rcu: INFO: rcu_preempt "];
const STALL: &str = "detected stall";

/// The line in which QEMU says that an assertion of its own failed. Under TCG with several threads
/// it does so now and then (`iotlb_to_section: Assertion …`), whatever the machine does; nothing
/// that runs in the machine can write into this log. Or the line in which the kernel says that the
/// machine has no clock, or that a processor of it gets no interrupts.
fn emulator_broke(records: &std::path::Path, accelerator: Accelerator) -> Option<String> {
    let entries = std::fs::read_dir(records).ok()?;
    entries.flatten().find_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let tells = |line: &&str| match name.as_str() {
            name if name.ends_with("-qemu.log") => {
                line.starts_with("qemu-system-") && line.contains(": Assertion `")
            }
            name if name.ends_with("-console.log") => {
                line.contains(NO_TICKS) || (accelerator == Accelerator::Tcg && is_stall(line))
            }
            _ => false,
        };
        let log = std::fs::read(entry.path()).ok()?;
        let log = String::from_utf8_lossy(&log);
        log.lines().find(tells).map(str::to_owned)
    })
}

/// Whether it is the kernel's own line: after its time stamp comes nothing but that.
fn is_stall(line: &str) -> bool {
    let Some((stamp, text)) = line.split_once("] ") else {
        return false;
    };
    stamp.trim_start().starts_with('[')
        && STALLS.iter().any(|start| text.starts_with(start))
        && text.contains(STALL)
}

/// Runs one scenario; an error is the report for a person.
async fn attempt(
    scenario: &'static Scenario,
    lab: Arc<Lab>,
    records: PathBuf,
) -> Result<(), String> {
    // a former run's logs are not this one's
    let _ = std::fs::remove_dir_all(&records);
    let context = Context::new(lab).map_err(|error| format!("  {error:#}"))?;
    let context = Arc::new(context);
    // in a task of its own, so that a panic is a failure with a report as well
    let task = tokio::spawn({
        let context = Arc::clone(&context);
        async move { (scenario.run)(&context).await }
    });
    let stop = task.abort_handle();
    let outcome = match tokio::time::timeout(LIMIT, task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Err(anyhow!("the scenario broke: {error}")),
        Err(_) => {
            stop.abort();
            Err(anyhow!(
                "the scenario took longer than {} minutes",
                LIMIT.as_secs() / 60
            ))
        }
    };
    outcome.map_err(|error| format!("  {error:#}\n{}", context.report(&records)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_emulators_own_assertion_is_a_reason_to_run_again() {
        let records = tempfile::tempdir().unwrap();
        let log = records.path().join("machine-1-qemu.log");
        assert_eq!(emulator_broke(records.path(), Accelerator::Tcg), None);
        std::fs::write(&log, "qemu-system-x86_64: warning: a feature is missing\n").unwrap();
        assert_eq!(emulator_broke(records.path(), Accelerator::Tcg), None);
        let line = "qemu-system-x86_64: system/physmem.c:2678: iotlb_to_section: Assertion `section_index < d->map.sections_nb' failed.";
        std::fs::write(records.path().join("machine-1-console.log"), line).unwrap();
        assert_eq!(emulator_broke(records.path(), Accelerator::Tcg), None);
        std::fs::write(&log, format!("{line}\n")).unwrap();
        assert_eq!(
            emulator_broke(records.path(), Accelerator::Tcg).as_deref(),
            Some(line)
        );
    }

    #[test]
    fn a_machine_without_ticks_is_a_reason_to_run_again_and_no_other_panic_is() {
        let records = tempfile::tempdir().unwrap();
        let log = records.path().join("machine-1-console.log");
        std::fs::write(&log, "[ 0.1] Kernel panic - not syncing: no init\n").unwrap();
        assert_eq!(emulator_broke(records.path(), Accelerator::Tcg), None);
        std::fs::write(&log, [b"\xff[ 0.1] ", NO_TICKS.as_bytes()].concat()).unwrap();
        assert!(
            emulator_broke(records.path(), Accelerator::Tcg)
                .is_some_and(|line| line.contains(NO_TICKS))
        );
    }

    #[test]
    fn stalled_processor_is_a_reason_to_run_again_under_tcg() {
        let records = tempfile::tempdir().unwrap();
        let log = records.path().join("machine-1-console.log");
        let of_node = "[   9.1] daas: k3s INFO rcu: INFO: rcu_sched self-detected stall on CPU";
        std::fs::write(&log, of_node).unwrap();
        assert_eq!(emulator_broke(records.path(), Accelerator::Tcg), None);
        let stall = "[  337.3] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:";
        std::fs::write(&log, format!("{of_node}\n{stall}\n")).unwrap();
        assert_eq!(
            emulator_broke(records.path(), Accelerator::Tcg).as_deref(),
            Some(stall)
        );
        assert_eq!(emulator_broke(records.path(), Accelerator::Kvm), None);
    }

    #[test]
    fn totals_have_the_closing_line_that_test_runs_are_read_by() {
        let totals = Totals {
            passed: 3,
            failed: 0,
            skipped: 0,
        };
        assert_eq!(totals.to_string(), "3 passed, 0 failed");
        let totals = Totals {
            passed: 3,
            failed: 1,
            skipped: 2,
        };
        assert_eq!(totals.to_string(), "3 passed, 1 failed, 2 skipped");
    }
}
