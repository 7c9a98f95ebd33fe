//! Nodes that a master takes by the evidence of their TPMs, and masters that nodes know by the chain.

use anyhow::{Result, ensure};

use crate::devnet::Devnet;
use crate::devnet::evidence::{Demand, RELEASE};
use crate::lab::Context;
use crate::node::{self, eventually, health, text_at};
use crate::qemu::{Machine, Owner};

/// A devnet whose master demands evidence of this image, on machines with these TPMs and perhaps with
/// this owner's Secure Boot.
pub(super) async fn demanding(
    context: &Context,
    owner: Option<&Owner>,
) -> Result<(Devnet, chain::ObjectId)> {
    let mut devnet = context.devnet().await?;
    let measured = context.lab.measured()?;
    let enclave = devnet
        .demand_evidence(&Demand {
            endorsement_roots: &context.authority()?.roots_pem()?,
            secure_boot_certificate: owner.map(|owner| owner.certificate.clone()),
            root_hash: measured.root_hash()?,
            pcr11: measured.pcr11()?,
        })
        .await?;
    Ok((devnet, enclave))
}

pub(super) async fn attested_node_joins_until_its_release_is_revoked(
    context: &Context,
) -> Result<()> {
    let tpm = context.tpm().await?;
    let disk = context.secure_disk()?;
    let options = context.secure_machine(&disk, &tpm)?;
    let (devnet, _) = demanding(context, Some(&context.owner()?)).await?;
    disk.write_configuration(&devnet.sealed_node_toml()?)?;

    let mut first = context.power_on(&options).await?;
    node::joined(&first, &devnet).await?;
    check_health(&first).await?;
    let stake = devnet.stake().await?;
    first.cut_power().await?;
    drop(first);

    // the same machine with the same identity, while a release is revoked that is in use
    let mut second = context.power_on(&options).await?;
    node::joined(&second, &devnet).await?;
    ensure!(
        devnet.stake().await? == stake,
        "the stake is another after a restart"
    );
    devnet.revoke_release(RELEASE).await?;
    second
        .expect("degraded=registration-refused detail=.*revoked.*newer image")
        .await?;
    ended(&second, &devnet).await?;
    ensure!(
        devnet.stake().await? == stake,
        "the stake is another after its release was revoked"
    );
    second.cut_power().await?;
    drop(second);

    let mut third = context.power_on(&options).await?;
    third
        .expect("degraded=registration-refused detail=.*revoked")
        .await?;
    ensure!(
        !third.console.text().contains("timeline phase=joined"),
        "a node with a revoked release has joined"
    );
    third.cut_power().await
}

pub(super) async fn nothing_is_gained_between_node_and_master(context: &Context) -> Result<()> {
    let tpm = context.tpm().await?;
    let disk = context.disk()?;
    let options = context.measured_machine(&disk, &tpm)?;
    let (devnet, _) = demanding(context, None).await?;

    // a certificate that the node's root vouches for, and the master's own answers
    let other = devnet.intercept(false).await?;
    disk.write_configuration(&devnet.node_toml_through(&other)?)?;
    let mut machine = context.power_on(&options).await?;
    machine.expect("degraded=master-untrusted detail=").await?;
    machine.cut_power().await?;
    drop(machine);
    ensure!(
        other.heard("nonce") && !other.heard("evidence"),
        "somebody between node and master has heard more than a nonce"
    );

    // the master's key itself: a registration that was heard is of no use a second time
    let thief = devnet.intercept(true).await?;
    disk.write_configuration(&devnet.node_toml_through(&thief)?)?;
    let mut machine = context.power_on(&options).await?;
    node::joined(&machine, &devnet).await?;
    ensure!(
        thief.heard("evidence"),
        "the node did not register through the thief"
    );
    let answers = thief
        .say_again("\"evidence\"", "the nonce was used before")
        .await?;
    ensure!(
        !answers.contains("join_token") && !answers.contains("sealed"),
        "the master gave somebody a token: {answers}"
    );
    machine.cut_power().await
}

/// Without a restart: agent and pods are stopped, and the Node is not in the cluster any more.
async fn ended(machine: &Machine, devnet: &Devnet) -> Result<()> {
    eventually(
        "a revoked release ends what runs",
        machine.patience(),
        || async {
            let health = health(machine).await?;
            ensure!(
                text_at(&health, "/agent") == "stopped",
                "/health says {health}"
            );
            let node = devnet.cluster.node(&devnet.node_name()?).await?;
            ensure!(
                node.as_ref().is_none_or(|node| !node.registered),
                "the server says {node:?}"
            );
            Ok(())
        },
    )
    .await
}

async fn check_health(machine: &Machine) -> Result<()> {
    eventually(
        "/health tells by what node and master know one another",
        machine.patience(),
        || async {
            let health = health(machine).await?;
            ensure!(
                text_at(&health, "/master_known_by").contains("chain")
                    && text_at(&health, "/evidence").contains("quote")
                    && text_at(&health, "/services/tee-report") == "done"
                    && text_at(&health, "/tee_report").contains("in no trusted execution"),
                "/health says {health}"
            );
            Ok(())
        },
    )
    .await
}

pub(super) async fn unregistered_master_gets_no_evidence(context: &Context) -> Result<()> {
    let tpm = context.tpm().await?;
    let disk = context.disk()?;
    let options = context.measured_machine(&disk, &tpm)?;
    let (devnet, enclave) = demanding(context, None).await?;
    devnet.retire_master(enclave).await?;
    disk.write_configuration(&devnet.sealed_node_toml()?)?;

    let mut machine = context.power_on(&options).await?;
    machine.expect("degraded=master-untrusted detail=").await?;
    machine.cut_power().await?;
    let log = devnet.master.log()?.text();
    ensure!(
        !log.contains("registered") && !log.contains("refused"),
        "a master that is not registered was sent a registration:\n{log}"
    );
    Ok(())
}
