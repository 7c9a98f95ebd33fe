//! A node that gets its configuration from what a cloud attaches or answers.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud::Cloud;
use fixtures::metadata_service::MetadataService;

use crate::devnet::{Devnet, node};
use crate::disk::drive;
use crate::lab::Context;
use crate::node::{eventually, health, text_at};
use crate::qemu::{CLOUD_HOST, CloudMachine};

/// The configuration is out, and sealed.
const SEALED: &str = r"daas: init INFO seal=tpm";
const CONFIGURED: &str = r"timeline phase=configured seconds=\d";

pub(super) async fn configuration_drive_is_taken_and_sealed(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let tpm = context.tpm().await?;
    let text = devnet.sealed_node_toml()?;
    let options = context.measured_machine(&disk, &tpm)?;

    // somebody else's, then ours, on media that can't be written to
    let theirs = context.directory().join("theirs.iso");
    drive::iso9660(&theirs, "config-2", "user-data", b"#cloud-config\n")?;
    let ours = context.directory().join("ours.iso");
    drive::iso9660(&ours, "CIDATA", "user-data", text.as_bytes())?;
    let mut first = options.clone();
    first.media = vec![theirs, ours.clone()];
    let mut machine = context.power_on(&first).await?;
    machine
        .expect(r#"configuration taken source="?/dev/sr\d:user-data"#)
        .await?;
    machine.expect(SEALED).await?;
    machine
        .expect(r"plain_copy=.*\(volume cidata\) can't be written to: detach it, or empty it")
        .await?;
    let root_key = eventually(
        "/health tells of the plain copy",
        machine.patience(),
        || async {
            let health = health(&machine).await?;
            ensure!(
                text_at(&health, "/plain_copy").contains("can't be written to"),
                "/health says {health}"
            );
            Ok(text_at(&health, "/tpm/storage_root_key").to_owned())
        },
    )
    .await?;
    ensure_silent(&machine.console.text(), &devnet)?;
    machine.cut_power().await?;
    drop(machine);

    // a newer one on a drive that can be written to, and on the disk: it goes from both
    let newer = format!("{text}\n# newer\n");
    disk.write_configuration(&newer)?;
    let image = context.directory().join("drive.raw");
    let path = "openstack/latest/user_data";
    drive::fat(&image, "config-2", path, newer.as_bytes())?;
    let mut second = options.clone();
    second.disks.push(image.clone());
    let mut machine = context.power_on(&second).await?;
    machine
        .expect(r"the plain configuration is overwritten and removed source=.*user_data")
        .await?;
    machine.expect(CONFIGURED).await?;
    machine.cut_power().await?;
    drop(machine);
    ensure!(
        drive::read_fat(&image, path)?.is_none(),
        "the configuration is still on the drive"
    );
    ensure!(
        !disk.list_esp("daas")?.contains(&"node.toml".to_owned()),
        "the configuration is still on the disk"
    );
    let left = std::fs::read(&image).context("cannot read the drive")?;
    let key = devnet.node_key().to_suiprivkey()?;
    ensure!(
        memchr::memmem::find(&left, key.as_bytes()).is_none(),
        "the node's key is still on the drive"
    );

    // the medium that still has the older one does not undo it, even where it is there at once
    let mut third = options.clone();
    third.disks.push(ours);
    let mut machine = context.power_on(&third).await?;
    machine
        .expect("is another configuration than the sealed one, and is not taken")
        .await?;
    machine
        .expect(r#"configuration taken source="?the sealed file"#)
        .await?;
    machine.cut_power().await?;
    drop(machine);

    // one that was sealed for this machine elsewhere, where the node has lost its own: no secret goes over
    let sealed = seal_from_afar(context, &root_key, &text)?;
    drive::fat(
        &image,
        "CIDATA",
        "user-data",
        STANDARD.encode(sealed).as_bytes(),
    )?;
    disk.remove_from_esp("daas/node.sealed")?;
    let mut machine = context.power_on(&second).await?;
    machine
        .expect("the configuration is sealed anew: what was sealed before opens no more")
        .await?;
    machine
        .expect(r#"configuration taken source="?/dev/vdb:user-data"#)
        .await?;
    machine.expect(CONFIGURED).await?;
    ensure!(
        disk.list_esp("daas")?.contains(&"node.sealed".to_owned()),
        "the node keeps no sealed file"
    );
    ensure!(
        !machine.console.text().contains("plain_copy"),
        "the node tells of a copy that is gone"
    );
    machine.cut_power().await
}

pub(super) async fn metadata_service_gives_the_configuration(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let tpm = context.tpm().await?;
    let service = MetadataService::start(Cloud::Ec2, Some(b"#cloud-config\n"))
        .await
        .context("no metadata service")?;
    let mut options = context.measured_machine(&disk, &tpm)?;
    let of = |manufacturer| {
        Some(CloudMachine {
            manufacturer,
            metadata: service.address(),
        })
    };

    // a machine that is in no cloud asks nobody, whoever would answer there
    options.cloud = of("Somebody");
    let mut machine = context.power_on(&options).await?;
    machine
        .expect("degraded=configuration detail=.*no configuration")
        .await?;
    ensure!(
        !machine.console.text().contains("started service=netd"),
        "the network came up without a configuration"
    );
    machine.cut_power().await?;
    drop(machine);
    ensure!(
        service.asked().is_empty(),
        "the metadata service was asked: {:?}",
        service.asked()
    );

    // one that is, with somebody else's user data, and then with ours
    options.cloud = of("Amazon EC2");
    let mut machine = context.power_on(&options).await?;
    machine
        .expect("the metadata service of Amazon EC2: it is not a node.toml: a cloud-config")
        .await?;
    let text = devnet.sealed_node_toml()?.replace(node::HOST, CLOUD_HOST);
    service.set_user_data(Some(text.as_bytes()));
    machine
        .expect(r#"configuration taken source="?the metadata service of Amazon EC2"#)
        .await?;
    machine.expect(SEALED).await?;
    machine
        .expect("plain_copy=.*the metadata service of Amazon EC2 keeps it")
        .await?;
    machine.expect("the network is set up anew").await?;
    // the node stakes and registers over that network
    machine
        .expect(r"timeline phase=registered seconds=\d")
        .await?;
    ensure_silent(&machine.console.text(), &devnet)?;
    machine.cut_power().await?;
    drop(machine);
    let asked = service.asked();
    ensure!(
        asked.starts_with(&[
            "PUT /latest/api/token".to_owned(),
            "GET /latest/user-data".to_owned()
        ]),
        "the metadata service was asked {asked:?}"
    );

    // from now on it is asked no more
    let mut machine = context.power_on(&options).await?;
    machine
        .expect(r#"configuration taken source="?the sealed file"#)
        .await?;
    machine
        .expect(r"timeline phase=registered seconds=\d")
        .await?;
    machine.cut_power().await?;
    ensure!(
        service.asked() == asked,
        "a node with a sealed configuration asks the metadata service"
    );
    Ok(())
}

/// Seals a configuration as a person does, with the program for it.
fn seal_from_afar(context: &Context, root_key: &str, text: &str) -> Result<Vec<u8>> {
    let place = |name: &str| context.directory().join(name);
    std::fs::write(place("srk.pub"), format!("{root_key}\n")).context("cannot write srk.pub")?;
    std::fs::write(place("node.toml"), text).context("cannot write node.toml")?;
    let output = Command::new(context.lab.programs.join("seal"))
        .arg("--for")
        .arg(place("srk.pub"))
        .arg("--policy")
        .arg(context.lab.image.join("release.pem"))
        .arg(place("node.toml"))
        .arg("--output")
        .arg(place("node.sealed"))
        .output()
        .context("cannot start seal")?;
    ensure!(
        output.status.success(),
        "seal ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::read(place("node.sealed")).context("cannot read the sealed file")
}

fn ensure_silent(console: &str, devnet: &Devnet) -> Result<()> {
    let key = devnet.node_key().to_suiprivkey()?;
    ensure!(
        !console.contains(key.as_str()),
        "the console shows the node's key"
    );
    Ok(())
}
