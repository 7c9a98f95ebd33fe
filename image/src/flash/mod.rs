//! `image flash`: writes a disk image to a disk, with a configuration, and proves what it wrote.

pub mod candidates;
pub mod configuration;
pub mod contents;
pub mod medium;
pub mod plan;
pub mod refusals;
pub mod system;
mod terminal;
pub mod write;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

pub use configuration::Source;
pub use terminal::Answers;

use crate::progress::human_size;
use candidates::{Bus, Disk};
use configuration::Configuration;
use contents::Contents;
use medium::Device;
use plan::Plan;
use refusals::Target;
use system::System;
use terminal::Progress;

/// Bytes of a sector of the image, and so of the disks that it is for.
const SECTOR: u32 = 512;
/// The disk image in a directory that `image build` wrote.
const IMAGE: &str = "disk.raw";
/// The manifest beside it.
const MANIFEST: &str = "manifest.json";
/// The longest manifest that is read, in bytes.
const MANIFEST_LIMIT: usize = 64 << 20;
/// The target of images for virtual machines.
const CLOUD: &str = "cloud";

/// What is written, and where to.
#[derive(Debug, Clone)]
pub struct Request {
    /// A whole disk, or a file.
    pub device: PathBuf,
    /// A raw image, or the directory with one.
    pub image: PathBuf,
    /// The node's configuration.
    pub configuration: Option<Source>,
    /// What needs not be asked.
    pub answers: Answers,
}

/// Prints the disks that an image can be written to.
pub fn list() {
    let system = System::of_this_machine();
    let own = system.own_disks();
    let disks = candidates::all(&system);
    if disks.is_empty() {
        println!("no disks here: plug one in, or name a file");
        return;
    }
    println!(
        "{:<14} {:>11}  {:<6}  {:<28}  SERIAL",
        "DEVICE", "SIZE", "BUS", "MODEL"
    );
    for disk in disks {
        println!("{disk}");
        println!("    {}", disk.contents());
        if own.contains(&disk.name) {
            println!("    the system that runs here: refused");
        } else if let Err(refusal) = refusals::disk(&system, &disk.name, 0) {
            println!("    refused: {refusal}");
        }
    }
}

/// Writes an image to a disk, and reads it back.
///
/// # Errors
/// When the image, the configuration or the disk is refused, nobody confirms, or the disk fails: the error says what
/// is on it then.
pub fn flash(request: &Request) -> Result<()> {
    let configuration = request
        .configuration
        .as_ref()
        .map(Configuration::read)
        .transpose()?;
    let path = image_path(&request.image);
    let image = File::open(&path).with_context(|| {
        format!(
            "{} can't be opened; expected a disk image: ./build.sh image --target edge writes one, --image names it",
            path.display()
        )
    })?;
    let needs = image.metadata()?.len();
    let about = About::beside(&path);
    let target = refusals::check(&System::of_this_machine(), &request.device, &image, needs)?;
    let plan = plan(image, &path, &target)?;
    if let Some(configuration) = &configuration {
        configuration.put(&plan)?;
    }

    let mut device = Device::open(&target)?;
    eprintln!("image:   {}{}", path.display(), about.shown());
    eprintln!("target:  {}", shown(&target));
    let contents = contents(&target)?;
    eprintln!("holds:   {contents}");
    match &configuration {
        Some(configuration) => eprintln!("config:  {}", configuration.description()),
        None => eprintln!("config:  none: the node asks for one (docs/flash.md)"),
    }
    about.warn(&target);
    let word = contents.holds_state().then(|| word(&target));
    terminal::confirm(request.answers, word.as_deref(), terminal::ask)?;

    let mut progress = Progress::start()?;
    write::write(&plan, &mut device, &mut progress)
        .with_context(|| target.path().display().to_string())?;
    eprintln!(
        "done: {} holds the image, read back {}; {}",
        target.path().display(),
        device.way_to_read(),
        match target {
            Target::Disk(_) => "it can be unplugged",
            Target::File { .. } => "write it to a disk as it is",
        }
    );
    Ok(())
}

fn image_path(image: &Path) -> PathBuf {
    match image.is_dir() {
        true => image.join(IMAGE),
        false => image.to_owned(),
    }
}

fn plan(image: File, path: &Path, target: &Target) -> Result<Plan> {
    let whole = image.metadata()?.len().is_multiple_of(u64::from(SECTOR));
    ensure!(
        whole,
        "{} is not a whole number of sectors; expected an uncompressed raw image",
        path.display()
    );
    Plan::new(image, target.size()).with_context(|| {
        format!(
            "{} is no disk image of this system; expected the raw image, not compressed and in no other format",
            path.display()
        )
    })
}

fn contents(target: &Target) -> Result<Contents> {
    Ok(match target {
        Target::Disk(disk) => disk.contents(),
        Target::File { path, size } => Contents::of(&File::open(path)?, *size),
    })
}

fn shown(target: &Target) -> String {
    match target {
        Target::Disk(Disk {
            node,
            size,
            bus,
            model,
            serial,
            ..
        }) => format!(
            "{}, {}, {bus}, {}, serial {}",
            node.display(),
            human_size(*size),
            model.as_deref().unwrap_or("no model"),
            serial.as_deref().unwrap_or("unknown"),
        ),
        Target::File { path, size } => {
            format!("the file {}, {}", path.display(), human_size(*size))
        }
    }
}

/// What a person types for a state to go: what stands on the disk itself, or else its name.
fn word(target: &Target) -> String {
    match target {
        Target::Disk(disk) => disk.serial.clone().unwrap_or_else(|| disk.name.clone()),
        Target::File { path, .. } => {
            let name = path.file_name().unwrap_or(path.as_os_str());
            name.to_string_lossy().into_owned()
        }
    }
}

/// What the manifest beside an image says, where there is one.
#[derive(Debug, Default, Deserialize)]
struct About {
    version: Option<String>,
    target: Option<String>,
}

impl About {
    fn beside(image: &Path) -> Self {
        let manifest = image.with_file_name(MANIFEST);
        if fs::metadata(&manifest).is_err() || image.file_name() != Some(IMAGE.as_ref()) {
            return Self::default();
        }
        files::read_bounded(manifest, MANIFEST_LIMIT)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    fn shown(&self) -> String {
        match (&self.version, &self.target) {
            (Some(version), Some(target)) => format!(", version {version} for {target}"),
            _ => String::new(),
        }
    }

    /// A disk of a virtual machine is virtio's; any other is likely a real one.
    fn warn(&self, target: &Target) {
        let is_real =
            matches!(target, Target::Disk(disk) if !matches!(disk.bus, Bus::Virtio | Bus::Loop));
        if is_real && self.target.as_deref() == Some(CLOUD) {
            eprintln!(
                "NOTICE:  this image is for virtual machines, and lacks the drivers of most hardware: \
                 ./build.sh image --target edge builds the one for bare metal"
            );
        }
    }
}

#[cfg(test)]
mod tests;
