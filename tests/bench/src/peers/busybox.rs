//! BusyBox with a shell script as PID 1: what a person writes in an afternoon.

use anyhow::{Context as _, Result};
use image::tree::Tree;

use super::packages::Packages;

/// The script in the initramfs.
pub const INIT: &str = "bench/init";
const SCRIPT: &str = include_str!("busybox.sh");
/// The second script, which goes on from the root.
const STAGE_TWO: (&str, &str) = ("bench/stage-two", include_str!("busybox-stage-two.sh"));
const BUSYBOX: &str = "bench/busybox";
/// The table by which `dmsetup` opens the root.
const TABLE: &str = "bench/verity";
/// What opens the root, and its libraries.
const DMSETUP: [(&str, &str); 9] = [
    ("dmsetup", "usr/sbin/dmsetup"),
    (
        "libdevmapper1.02.1",
        "usr/lib/x86_64-linux-gnu/libdevmapper.so.1.02.1",
    ),
    ("libudev1", "usr/lib/x86_64-linux-gnu/libudev.so.1"),
    ("libcap2", "usr/lib/x86_64-linux-gnu/libcap.so.2"),
    ("libselinux1", "usr/lib/x86_64-linux-gnu/libselinux.so.1"),
    ("libpcre2-8-0", "usr/lib/x86_64-linux-gnu/libpcre2-8.so.0"),
    ("libc6", "usr/lib/x86_64-linux-gnu/libm.so.6"),
    ("libc6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
    ("libc6", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
];
const LINKER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// The files of its initramfs; `table` is of the root's mapped device.
///
/// # Errors
/// When a package lacks a file.
pub fn tree(packages: &Packages, table: &str) -> Result<Tree> {
    let mut tree = Tree::usr_merged()?;
    for (package, path) in DMSETUP {
        // a library's name is a link to the file of its version
        let file = packages.file(package, path)?;
        let file = file
            .canonicalize()
            .with_context(|| format!("{} leads nowhere", file.display()))?;
        let mode = if path.contains("bin/") || path.contains("/ld-") {
            0o755
        } else {
            0o644
        };
        tree.file(path, mode, &file, package)?;
        if path.contains("/ld-") {
            tree.file(LINKER, mode, &file, package)?;
        }
    }
    let busybox = packages.file("busybox-static", "usr/bin/busybox")?;
    tree.file(BUSYBOX, 0o755, &busybox, "busybox-static")?;
    scripts(&mut tree, table)?;
    image::elf::check_closure(&tree)?;
    Ok(tree)
}

fn scripts(tree: &mut Tree, table: &str) -> Result<()> {
    tree.bytes(INIT, 0o755, SCRIPT, "bench")?;
    tree.bytes(STAGE_TWO.0, 0o755, STAGE_TWO.1, "bench")?;
    tree.bytes(TABLE, 0o644, format!("{table}\n"), "bench")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_shell_and_set_every_mark() {
        for script in [SCRIPT, STAGE_TWO.1] {
            let status = std::process::Command::new("sh")
                .args(["-n", "-c", script])
                .status()
                .unwrap();
            assert!(status.success());
        }
        for mark in super::super::marks_of_peers() {
            let marked = [SCRIPT, STAGE_TWO.1]
                .iter()
                .any(|script| script.contains(&format!("mark {mark}")));
            assert!(marked, "{mark}");
        }
    }

    #[test]
    fn scripts_are_where_the_command_line_looks() {
        let mut tree = Tree::default();
        scripts(&mut tree, "0 8 verity").unwrap();
        assert!(tree.get(INIT).is_some() && tree.get(TABLE).is_some());
    }
}
