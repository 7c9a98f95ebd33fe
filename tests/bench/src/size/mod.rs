//! `bench size`: what takes the room in an image, by origin and by file, beside what each may take.

mod manifest;
mod room;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::budget::{self, Budget, Figure, Scale};
use manifest::Manifest;
use room::Room;

/// Files that are shown.
const LARGEST: usize = 15;
const SCALE: Scale = Scale {
    name: "KiB",
    tolerance: 0,
};
const COUNTS: Scale = Scale {
    name: "packages",
    tolerance: 0,
};
const COMMENT: &str = "# What an image with the double of k3s may take, in KiB; `packages` is a number.
# `./build.sh bench size` fails where something takes more or is not listed; with --update it writes what it
# measured. `root` is what an origin takes in the root as it is compressed, a package by its name.
";
/// The sections of the budget file.
const IMAGE: &str = "image";
const PROGRAMS: &str = "programs";
const ROOT: &str = "root";
const PACKAGES: &str = "packages";
/// The origin of the double of k3s.
const DOUBLE: &str = "k3s double";
/// Goals, in KiB: of the root without k3s, and of the programs.
const ROOT_GOAL: u64 = 40 << 10;
const PROGRAM_GOALS: [(&str, u64); 4] = [
    ("init", 1464),
    ("metadata", 976),
    ("netd", 2441),
    ("staker", 4882),
];

/// What `bench size` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct SizeArguments {
    /// Writes what was measured as the new budgets.
    #[arg(long)]
    update: bool,
}

/// Measures the image in a folder, and compares it with the budgets.
///
/// # Errors
/// When the image is not complete, or a budget is exceeded.
pub fn run(image: &std::path::Path, arguments: &SizeArguments) -> Result<()> {
    let manifest = Manifest::read(image)?;
    let room = Room::measure(&manifest, image)?;
    show_files(&room);
    let sizes = sizes(&manifest, &room)?;
    let packages = vec![Figure {
        section: PACKAGES,
        name: "root and initramfs".to_owned(),
        now: Some(manifest.packages().len() as u64),
        goal: None,
    }];
    let path: PathBuf = budget::path("size");
    if arguments.update {
        let mut all = sizes.clone();
        all.extend(packages.iter().cloned());
        Budget::write(&path, COMMENT, &all, headroom)?;
        println!("written: {}", path.display());
    }
    let budget = Budget::read(&path)?;
    let (counts, sections) = budget.split(PACKAGES);
    let first = sections.check(&sizes, SCALE);
    let second = counts.check(&packages, COUNTS);
    first.and(second)
}

/// What a compiler's or a package's next version may take more, in KiB: a hundredth, and at least a block.
/// A package more is one that the budget has to name.
fn headroom(figure: &Figure, now: u64) -> u64 {
    if figure.section == PACKAGES {
        return 0;
    }
    (now / 100).max(4)
}

/// The largest files.
fn show_files(room: &Room) {
    println!("largest files, KiB in the root and as they are:");
    for file in room.files.iter().take(LARGEST) {
        println!(
            "  {:<60}{:>8}{:>8}",
            file.path,
            file.compressed >> 10,
            file.size >> 10
        );
    }
    println!();
}

fn sizes(manifest: &Manifest, room: &Room) -> Result<Vec<Figure>> {
    let figure = |section, name: &str, bytes: u64, goal| Figure {
        section,
        name: name.to_owned(),
        now: Some(bytes.div_ceil(1024)),
        goal,
    };
    let root = manifest.part("root.erofs")?;
    let mut figures = vec![figure(IMAGE, "root.erofs", root, None)];
    if let Some(double) = room.origins.get(DOUBLE) {
        let without = root.saturating_sub(*double);
        figures.push(figure(IMAGE, "root without k3s", without, Some(ROOT_GOAL)));
    }
    for name in ["root.verity", "vmlinuz", "initramfs.img", "uki.efi"] {
        figures.push(figure(IMAGE, name, manifest.part(name)?, None));
    }
    for (name, size) in manifest.programs() {
        let goal = PROGRAM_GOALS.iter().find(|(program, _)| *program == name);
        figures.push(figure(PROGRAMS, name, size, goal.map(|(_, goal)| *goal)));
    }
    let of_files: u64 = room.origins.values().sum();
    let rest = root
        .checked_sub(of_files)
        .context("the files take more than the root")?;
    for (origin, size) in &room.origins {
        figures.push(figure(ROOT, origin, *size, None));
    }
    figures.push(figure(ROOT, "the file system's own", rest, None));
    Ok(figures)
}
