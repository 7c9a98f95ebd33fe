//! The builder's command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum as _};
use image::build::{self, Request};
use image::download::Vanished;
use image::filesystem::Compression;
use image::flash;
use image::formats::{self, Format};
use image::k3s::{self, Source};
use image::lock::Lock;
use image::programs::Programs;
use image::refresh;
use image::release::{KeySource, Release};
use image::runtime;
use image::secure_boot::SecureBoot;
use image::store;
use image::target::Target;
use image::verify;
use image::wanted::Wanted;

/// Exit code when a pinned package is no longer on the mirror.
const VANISHED: u8 = 3;

/// Builds the disk image of a K3s-DaaS node.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Directory that holds packages.toml and packages.lock
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR")))]
    definitions: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds an image from the lock, unless the output is what a build would make again
    Build {
        #[command(flatten)]
        arguments: BuildArguments,
        /// Builds in any case
        #[arg(long)]
        force: bool,
    },
    /// Builds an image twice, the second time with nothing but the downloads of the first, and compares the
    /// results byte for byte; leaves no files
    VerifyReproducible(BuildArguments),
    /// Gets the k3s release that the lock pins and prints its path
    K3s {
        /// Directory for what is kept between builds; default $K3S_DAAS_CACHE or ~/.cache/k3s-daas
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
    },
    /// Checks format, code and tests of the container runtime's own Go code
    CheckRuntime {
        /// Directory for what is kept between builds; default $K3S_DAAS_CACHE or ~/.cache/k3s-daas
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
    },
    /// Refreshes the lock: the newest version of every wanted package
    Lock,
    /// Writes a finished image in other formats, into the directory `formats` of its output, with a signed list of
    /// digests
    Formats {
        /// The image's output directory
        #[arg(long, value_name = "DIR", default_value = "out")]
        image: PathBuf,
        /// The release key, as for `build`
        #[arg(long, value_name = "FILE")]
        release_key: Option<PathBuf>,
        /// Directory for what is kept between builds; default $K3S_DAAS_CACHE or ~/.cache/k3s-daas
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
        /// The formats; all of them unless named
        #[arg(value_enum)]
        formats: Vec<Format>,
    },
    /// Lists the targets: name and purpose of each
    Targets,
    /// Writes an image to a disk and reads it back; without a device, lists the disks
    Flash(FlashArguments),
}

#[derive(Debug, clap::Args)]
struct FlashArguments {
    /// A whole disk, or a file that is to be a disk's image. All that is on it is lost
    device: Option<PathBuf>,
    /// The raw disk image, or a directory with one
    #[arg(long, value_name = "DIR|disk.raw", default_value = "out")]
    image: PathBuf,
    /// The node's configuration, checked before anything is written
    #[arg(long, value_name = "node.toml", conflicts_with = "sealed")]
    config: Option<PathBuf>,
    /// A configuration that `./build.sh seal` wrote
    #[arg(long, value_name = "FILE")]
    sealed: Option<PathBuf>,
    /// Does not ask whether what is on the disk may go; asks all the same where that is a node's state
    #[arg(long)]
    yes: bool,
    /// Does not ask whether a node's state may go
    #[arg(long)]
    wipe_state: bool,
}

#[derive(Debug, clap::Args)]
struct BuildArguments {
    /// The machines that the image is for: the name of a file in the definitions' directory `targets`
    #[arg(long, default_value = "cloud", value_name = "NAME")]
    target: String,
    /// The processor's architecture, as Debian names it
    #[arg(long, default_value = "amd64", value_name = "NAME")]
    arch: String,
    /// k3s: a path, a URL (with #sha256=DIGEST, or listed in the sha256sum-amd64.txt beside it), `pinned`
    /// (the release in the lock), or `double` (the tests' stand-in; such an image is for tests alone)
    #[arg(long, default_value = "pinned", value_name = "PATH|URL|pinned|double")]
    k3s: Source,
    /// Directory with our static programs: initramfs, init, provision, tee-report, tpm-broker, probe, netd, metadata, staker, pause
    /// (and k3s-double); can be given several times, and the first that has a program counts
    #[arg(long, value_name = "DIR", required = true)]
    programs: Vec<PathBuf>,
    /// Directory for the finished files
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Directory for what is kept between builds; default $K3S_DAAS_CACHE or ~/.cache/k3s-daas
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The release key, which signs what the image measures: a P-256 private key, PKCS #8 in PEM. Without it,
    /// a development key is made in the cache
    #[arg(long, value_name = "FILE")]
    release_key: Option<PathBuf>,
    /// The image's security version: it opens what is sealed for this floor and those below
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    security_version: u16,
    /// How long to compress
    #[arg(long, value_enum, default_value = "fast")]
    compression: Compression,
    /// Signs boot loader and kernel image for Secure Boot, with an RSA private key in PEM (and the host's
    /// sbsign). The signatures hold the time, so such an image is not the same byte for byte
    #[arg(long, value_name = "FILE", requires = "secure_boot_certificate")]
    secure_boot_key: Option<PathBuf>,
    /// The X.509 certificate of that key in PEM, which goes into the machine's variable `db`
    #[arg(long, value_name = "FILE", requires = "secure_boot_key")]
    secure_boot_certificate: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<Vanished>() {
                ExitCode::from(VANISHED)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let definitions = arguments.definitions;
    match arguments.command {
        Command::Build { arguments, force } => {
            build::build_where_stale(&request(arguments, definitions)?, force)
        }
        Command::VerifyReproducible(arguments) => {
            verify::reproducible(&request(arguments, definitions)?)
        }
        Command::CheckRuntime { cache } => {
            let wanted = Wanted::read(&definitions.join("packages.toml"))?;
            runtime::check(
                &wanted.runtime,
                &definitions.join("runtime"),
                &cache_or_default(cache)?,
            )
        }
        Command::K3s { cache } => {
            let lock = Lock::read(&definitions.join("packages.lock"))?;
            let cache = cache_or_default(cache)?;
            let k3s = k3s::obtain(&Source::Pinned, &lock, &Programs::new(Vec::new()), &cache)?;
            println!("{}", k3s.path.display());
            Ok(())
        }
        Command::Lock => {
            let wanted = Wanted::read(&definitions.join("packages.toml"))?;
            let targets = Target::all(&definitions, &wanted.architecture)?;
            refresh::refresh(&wanted, &targets, &definitions.join("packages.lock"))
        }
        Command::Formats {
            image,
            release_key,
            cache,
            formats,
        } => {
            let key = release_key.map_or(KeySource::Development, KeySource::File);
            let release = Release::open(&key, 0, &cache_or_default(cache)?)?;
            let all = Format::value_variants();
            let formats = if formats.is_empty() { all } else { &formats };
            formats::write(&image, formats, &release)
        }
        Command::Flash(arguments) => flash(arguments),
        Command::Targets => {
            let wanted = Wanted::read(&definitions.join("packages.toml"))?;
            for target in Target::all(&definitions, &wanted.architecture)? {
                println!("{:<10}{}", target.name, target.purpose);
            }
            Ok(())
        }
    }
}

fn flash(arguments: FlashArguments) -> Result<()> {
    let Some(device) = arguments.device else {
        flash::list();
        return Ok(());
    };
    let plain = arguments.config.map(flash::Source::Plain);
    flash::flash(&flash::Request {
        device,
        image: arguments.image,
        configuration: plain.or(arguments.sealed.map(flash::Source::Sealed)),
        answers: flash::Answers {
            yes: arguments.yes,
            wipe_state: arguments.wipe_state,
        },
    })
}

fn cache_or_default(cache: Option<PathBuf>) -> Result<PathBuf> {
    cache.map_or_else(store::default_cache, Ok)
}

fn request(arguments: BuildArguments, definitions: PathBuf) -> Result<Request> {
    let BuildArguments {
        target,
        arch,
        k3s,
        programs,
        out,
        cache,
        release_key,
        security_version,
        compression,
        secure_boot_key,
        secure_boot_certificate,
    } = arguments;
    let cache = cache_or_default(cache)?;
    // a name that is none is said before anything is read or compiled
    Target::read(&definitions, &target, &arch)?;
    Ok(Request {
        k3s,
        programs: Programs::new(programs),
        out,
        cache,
        definitions,
        target,
        architecture: arch,
        release_key: release_key.map_or(KeySource::Development, KeySource::File),
        security_version,
        compression,
        secure_boot: secure_boot_key
            .zip(secure_boot_certificate)
            .map(|(key, certificate)| SecureBoot { key, certificate }),
    })
}
