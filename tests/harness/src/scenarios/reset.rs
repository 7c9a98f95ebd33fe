//! The reset of a node that runs for a person, from another terminal.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::devnet::K3s;
use crate::lab::Context;
use crate::process::ManagedProcess;

pub(super) async fn running_node_is_reset_from_another_terminal(context: &Context) -> Result<()> {
    let harness = std::env::current_exe().context("the harness does not find itself")?;
    let devnet = context.directory().join("devnet");
    let records = context.directory().join("terminals");
    std::fs::create_dir(&records).context("no place for records")?;
    let start = |name: &str, arguments: &[&Path]| {
        let arguments = arguments.iter().map(OsString::from);
        let record = records.join(name).with_extension("log");
        ManagedProcess::spawn(name, &harness, arguments, &record)
    };
    let word = Path::new;
    let patience = context.patience();
    let lab = &context.lab;
    let k3s = match &lab.k3s {
        K3s::Double => word("double"),
        K3s::Real(path) => path,
    };
    let mut run = start(
        "run",
        &[
            word("run"),
            word("--image"),
            &lab.image,
            word("--programs"),
            &lab.programs,
            word("--k3s"),
            k3s,
            word("--devnet"),
            &devnet,
        ],
    )?;
    run.log
        .wait(r"timeline phase=joined seconds=\d", 0, patience)
        .await?;

    let before = run.log.position();
    let mut reset = start(
        "reset",
        &[word("reset"), word("--yes"), word("--devnet"), &devnet],
    )?;
    let status = reset.wait(patience).await?;
    ensure!(
        status.success(),
        "reset ended with {status}:\n{}",
        reset.log.tail(20)
    );
    // without being asked for, it would not have come so far: there is no terminal
    let mut unasked = start("unasked", &[word("reset"), word("--devnet"), &devnet])?;
    unasked.log.wait("say --yes", 0, patience).await?;
    ensure!(
        !unasked.wait(patience).await?.success(),
        "a reset that nobody confirmed was done"
    );

    for line in [
        "power action=power-off reason=power-button",
        "this node was reset, as it was asked to be",
        "power action=power-off reason=reset",
        "making the state file system",
        "the plain configuration is overwritten and removed",
        r"timeline phase=joined seconds=\d",
    ] {
        run.log.wait(line, before, patience).await?;
    }
    run.kill().await
}
