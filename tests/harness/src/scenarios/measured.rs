//! What a boot measures, and what Secure Boot lets start.

use anyhow::{Context as _, Result, ensure};
use image::measure;
use seal::release::Phase;
use seal::tpm::crypto::Digest;
use seal::tpm::pcr;

use crate::lab::Context;
use crate::qemu::MachineOptions;
use crate::tpm::Measurements;

/// What is given to the kernel from outside its image; zero when nothing is (systemd-stub(7)).
const OUTSIDE: u8 = 12;
/// The place of the entry that resets among the image's profiles.
const RESET: usize = 1;
/// The initramfs has come up.
const UP: &str = r"daas: init INFO timeline phase=verity seconds=\d";

pub(super) async fn measured_boot_matches_the_manifest(context: &Context) -> Result<()> {
    let disk = context.disk()?;
    let tpm = context.tpm().await?;
    let options = context.measured_machine(&disk, &tpm)?;
    let foretold = context.lab.measured()?.pcr11()?;

    let measured = boot(context, &options, UP).await?;
    measures(&measured, &foretold)?;
    ensure!(
        at(&measured, OUTSIDE)? == Digest::default(),
        "PCR {OUTSIDE} was extended, though nothing was given to the kernel from outside"
    );

    // the entry that resets: another command line, and the choice of it is measured as well
    disk.choose_reset(true)?;
    let line = r"Kernel command line: .* daas\.reset";
    let measured = boot(context, &options, line).await?;
    ensure!(
        measures(&measured, &foretold).is_err(),
        "the entry that resets measures as the one that does not"
    );
    let program = std::fs::read(context.lab.image.join("uki.efi")).context("uki.efi")?;
    measures(&measured, &measure::pcr11(&program, RESET)?)?;
    ensure!(
        at(&measured, OUTSIDE)? != Digest::default(),
        "PCR {OUTSIDE} does not tell that another profile was chosen"
    );

    // another image, linked from the same parts
    disk.choose_reset(false)?;
    let publisher = context.lab.publisher(0)?;
    let other = context
        .lab
        .uki(&publisher, |parts| parts.command_line.push_str(" other"))?;
    ensure!(
        other.pcr11 != foretold,
        "another command line is told to measure the same"
    );
    disk.install_uki(&other.program)?;
    let measured = boot(context, &options, UP).await?;
    measures(&measured, &other.pcr11)
}

pub(super) async fn secure_boot_starts_only_what_is_signed(context: &Context) -> Result<()> {
    let disk = context.secure_disk()?;
    let tpm = context.tpm().await?;
    let options = context.secure_machine(&disk, &tpm)?;
    let foretold = context.lab.measured()?.pcr11()?;

    let signed = boot(context, &options, UP).await?;
    measures(&signed, &foretold)?;

    // the same kernel image without its signature
    let kept = disk.read_from_esp(image::disk::UKI_PATH)?;
    let unsigned = std::fs::read(context.lab.image.join("uki.efi")).context("uki.efi")?;
    disk.install_uki(&unsigned)?;
    let refused = boot(
        context,
        &options,
        r"Error loading .*k3s-daas\.efi: .*(Access denied|Security)",
    )
    .await?;
    ensure!(
        at(&refused, pcr::KERNEL)? == Digest::default(),
        "a kernel image was started that nobody has signed"
    );

    // the machine has kept its keys
    disk.install_uki(&kept)?;
    let again = boot(context, &options, UP).await?;
    measures(&again, &foretold)?;
    ensure!(
        at(&again, pcr::SECURE_BOOT)? == at(&signed, pcr::SECURE_BOOT)?,
        "the same Secure Boot keys measure otherwise at another boot"
    );
    let plain = context.measured_machine(&disk, &tpm)?;
    let plain = boot(context, &plain, UP).await?;
    ensure!(
        at(&plain, pcr::SECURE_BOOT)? != at(&signed, pcr::SECURE_BOOT)?,
        "a machine without Secure Boot measures as one with it"
    );
    Ok(())
}

/// Boots until a line appears on the console, cuts the power, and gives what the TPM holds.
async fn boot(context: &Context, options: &MachineOptions, line: &str) -> Result<Measurements> {
    let mut machine = context.power_on(options).await?;
    machine.expect(line).await?;
    machine
        .cut_power_and_measure(&[pcr::SECURE_BOOT, pcr::KERNEL, OUTSIDE])
        .await
}

/// PCR 11 is that of an image that the stub leaves with `stub`, in whichever phase of its boot.
fn measures(measured: &Measurements, stub: &Digest) -> Result<()> {
    let value = at(measured, pcr::KERNEL)?;
    ensure!(
        value == *stub
            || [Phase::Boot, Phase::Run]
                .map(|phase| phase.predict(stub))
                .contains(&value),
        "PCR {} is {}, not what follows from {}",
        pcr::KERNEL,
        hex::encode(value),
        hex::encode(stub)
    );
    Ok(())
}

fn at(measured: &Measurements, pcr: u8) -> Result<Digest> {
    measured
        .get(&pcr)
        .copied()
        .with_context(|| format!("PCR {pcr} was not read"))
}
