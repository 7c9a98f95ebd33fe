//! A root that is not the one that was signed.

use anyhow::{Context as _, Result, ensure};

use crate::lab::Context;
use crate::qemu::{Boot, Ending, Machine};

/// Size of a data block of the root (dm-verity, and the file system).
const BLOCK: u64 = 4096;

pub(super) async fn corrupt_root_is_told(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;

    // the file system's superblock: nothing can be mounted
    let disk = context.disk()?;
    disk.flip_byte("root-a", 1024)?;
    let mut machine = context.power_on(&context.node(&disk, &devnet)?).await?;
    expect_screen(&mut machine, "root-a|data block 0|verity").await?;
    drop(machine);

    // again and again: the third time in a row all of it is read, and the screen stands
    let mut machine = context.power_on(&context.node(&disk, &devnet)?).await?;
    expect_screen(&mut machine, "in 10 seconds").await?;
    drop(machine);
    let mut machine = context.power_on(&context.node(&disk, &devnet)?).await?;
    machine
        .expect("the root could not be used 3 times in a row")
        .await?;
    machine.expect(r"1 of \d+ blocks are corrupt: 0\b").await?;
    machine
        .expect("the disk reports no error and gives other bytes")
        .await?;
    machine.expect("The machine restarts in 60 minutes").await?;
    // longer than the screen of a first failure
    tokio::time::sleep(std::time::Duration::from_secs(15)).await;
    ensure!(
        machine.is_running().await?,
        "the machine restarted after its third failure in a row"
    );
    drop(machine);

    // blocks all over the files: the first that is read ends the boot
    let disk = context.disk()?;
    let length = disk.partition("root-a")?.length;
    let mut flipped = Vec::new();
    for block in (1..length / BLOCK).step_by(16) {
        disk.flip_byte("root-a", block * BLOCK + 77)?;
        flipped.push(block);
    }
    let mut machine = context.power_on(&context.node(&disk, &devnet)?).await?;
    let told = expect_screen(&mut machine, r"data block (\d+)").await?;
    let block: u64 = told.first().context("the screen names no block")?.parse()?;
    ensure!(
        flipped.contains(&block),
        "the screen names block {block}, which was not touched"
    );
    Ok(())
}

pub(super) async fn wrong_root_hash_is_told(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let mut options = context.node(&disk, &devnet)?;
    let right = context.lab.command_line()?;
    let at = right
        .find("roothash=")
        .context("the command line has no roothash=")?
        + 9;
    let hash = right
        .get(at..at + 64)
        .context("the root hash is not 64 digits")?;
    // another last byte: the root is there, but no hash tree that belongs to this hash
    let last = if hash.ends_with("00") { "11" } else { "00" };
    let wrong = format!("{}{last}", hash.get(..62).unwrap_or_default());
    options.boot = context.lab.direct_boot(right.replace(hash, &wrong));
    let mut machine = context.power_on(&options).await?;
    expect_screen(&mut machine, "has the root, but not its hash tree").await?;
    drop(machine);

    // the partitions claim to belong to the wrong hash: the hash tree itself tells that they don't
    let identifier = identifier(wrong.get(32..).unwrap_or_default())?;
    disk.set_partition_identifier("root-a-verity", identifier)?;
    let mut machine = context.power_on(&options).await?;
    expect_screen(&mut machine, "verity|root hash")
        .await
        .map(drop)
}

pub(super) async fn missing_root_disk_is_told(context: &Context) -> Result<()> {
    let mut options = context.machine(&context.disk()?)?;
    options.disks.clear();
    ensure!(
        matches!(options.boot, Boot::Direct { .. }),
        "without a disk only a kernel can start"
    );
    let mut machine = context.power_on(&options).await?;
    expect_screen(&mut machine, "no disk at all")
        .await
        .map(drop)
}

/// Waits for the screen that ends a boot, with `what` on it, and for the restart after it; there is
/// no shell and no node that goes on. Gives the groups of `what`.
async fn expect_screen(machine: &mut Machine, what: &str) -> Result<Vec<String>> {
    let begin = machine
        .expect("this node cannot (?:start|go on)")
        .await?
        .index;
    let end = machine
        .expect_after(begin, "power action=reboot reason=failure")
        .await?;
    let expression = regex::Regex::new(what)?;
    let found = machine
        .console
        .find(&expression, begin)
        .filter(|found| found.index < end.index)
        .with_context(|| format!("the screen does not say /{what}/"))?;
    ensure!(
        machine.wait_end().await? == Ending::Reboot,
        "the machine should have restarted after its last screen"
    );
    Ok(found.groups)
}

/// A partition's identifier of 32 hexadecimal digits as the table stores it: the first three fields
/// are little-endian (UEFI specification, appendix A).
fn identifier(digits: &str) -> Result<[u8; 16]> {
    let bytes = hex::decode(digits).context("not hexadecimal digits")?;
    let mut raw: [u8; 16] = bytes.as_slice().try_into().context("not 32 digits")?;
    raw[..4].reverse();
    raw[4..6].reverse();
    raw[6..8].reverse();
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_stored_in_mixed_order() {
        let raw = identifier("00112233445566778899aabbccddeeff").unwrap();
        assert_eq!(hex::encode(raw), "33221100554477668899aabbccddeeff");
    }
}
