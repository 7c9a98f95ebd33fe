//! What the program does.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use p256::{
    ecdsa::SigningKey,
    pkcs8::{DecodePrivateKey, DecodePublicKey},
};
use seal::{
    envelope::{Envelope, RecoveryKey, Sealing},
    node,
    release::{self, Phase, ReleasePolicies},
    tpm::{
        Public, Tpm,
        crypto::{Digest, Point},
        nv, pcr,
        policy::Policy,
        transport::DEVICE,
    },
};
use zeroize::Zeroizing;

/// What the node's configuration is sealed as.
const LABEL: &str = node::DOCUMENT_LABEL;

/// The longest input in bytes.
const MAX_INPUT: u64 = 256 * 1024;

/// Seals a node's configuration so that one machine alone can open it, running a released image.
///
/// Nothing but public parts of keys is needed: the machine shows its own on its console (`seal show`),
/// the publisher of the image gives out the release key's.
#[derive(Debug, Parser)]
#[command(name = "seal", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    seal: Option<Seal>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints what others need to seal for this machine, and to check its quotes.
    Show {
        /// The TPM.
        #[arg(long, default_value = DEVICE)]
        tpm: PathBuf,
        /// Also write the storage root key's public part to a file, for `--for`.
        #[arg(long, value_name = "FILE")]
        srk: Option<PathBuf>,
    },
    /// On the node, in its boot phase: opens a file that was sealed from afar, and seals it anew under
    /// this machine's Secure Boot state and rollback counter.
    Import {
        /// The TPM.
        #[arg(long, default_value = DEVICE)]
        tpm: PathBuf,
        /// The signed policies of the running image.
        #[arg(long, value_name = "FILE")]
        releases: PathBuf,
        /// The sealed file.
        file: PathBuf,
        /// Where to write it; in its own place unless named.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// For a publisher: signs the policies that go with an image.
    Sign {
        /// The release key: a P-256 private key, PKCS #8 in PEM.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// PCR 11 as the boot stub leaves it, in hexadecimal.
        #[arg(long, value_name = "HEX")]
        pcr11: String,
        /// The image's security version: it opens what is sealed for this floor and those below.
        #[arg(long, value_name = "NUMBER")]
        security_version: u16,
        /// Where to write the signed policies.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Writes what is in a sealed file, by its recovery key, which is asked for on standard input.
    Recover {
        /// The sealed file.
        file: PathBuf,
        /// Where to write the configuration, readable by its owner alone.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Seal {
    /// The machine: the public part of its TPM's storage root key, as `seal show` or
    /// `tpm2_readpublic --object-context 0x81000001 --output` write it.
    #[arg(long = "for", value_name = "srk.pub")]
    machine: PathBuf,
    /// The publisher whose images may open the file: the public part of the release key, in PEM.
    #[arg(long, value_name = "release.pub")]
    policy: PathBuf,
    /// The lowest security version of an image that may open the file.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    floor: u32,
    /// PCR 7 of the machine in hexadecimal, as `seal show` prints it. Without it, the file opens in any
    /// Secure Boot state until the node has taken it in.
    #[arg(long, value_name = "HEX")]
    pcr7: Option<String>,
    /// Print a recovery key, once, that opens the file without the TPM: keep it off the machine.
    #[arg(long)]
    recovery: bool,
    /// The configuration.
    #[arg(value_name = "node.toml")]
    input: PathBuf,
    /// Where to write the sealed file.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Runs the program.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    match (arguments.command, arguments.seal) {
        (Some(Command::Show { tpm, srk }), _) => show(&tpm, srk.as_deref()),
        (
            Some(Command::Import {
                tpm,
                releases,
                file,
                output,
            }),
            _,
        ) => {
            let output = output.as_ref().unwrap_or(&file);
            import(&mut Tpm::open(&tpm)?, &releases, &file, output)
        }
        (
            Some(Command::Sign {
                key,
                pcr11,
                security_version,
                output,
            }),
            _,
        ) => sign(&key, &pcr11, security_version, &output),
        (Some(Command::Recover { file, output }), _) => recover(&file, &output),
        (None, Some(arguments)) => seal(&arguments),
        (None, None) => bail!("nothing to do; see `seal --help`"),
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)
        .and_then(|file| file.take(MAX_INPUT + 1).read_to_end(&mut bytes))
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let length = u64::try_from(bytes.len())?;
    ensure!(
        length <= MAX_INPUT,
        "{} is longer than {MAX_INPUT} bytes",
        path.display()
    );
    Ok(bytes)
}

fn read_text(path: &Path) -> Result<Zeroizing<String>> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes)
        .with_context(|| format!("{} is not UTF-8 text", path.display()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn digest(field: &str, text: &str) -> Result<Digest> {
    let mut digest = Digest::default();
    hex::decode_to_slice(text.trim(), &mut digest)
        .with_context(|| format!("{field} is not 64 hexadecimal digits"))?;
    Ok(digest)
}

/// A `TPM2B_PUBLIC`, as bytes or as hexadecimal digits.
fn read_public(path: &Path) -> Result<Public> {
    let bytes = read(path)?;
    let bytes = match std::str::from_utf8(&bytes).map(|text| hex::decode(text.trim())) {
        Ok(Ok(decoded)) => decoded,
        _ => bytes.to_vec(),
    };
    Public::from_bytes(&bytes).with_context(|| {
        format!(
            "{} is no public part of a TPM's key; expected what `seal show --srk` writes",
            path.display()
        )
    })
}

fn seal(arguments: &Seal) -> Result<()> {
    let text = read_text(&arguments.input)?;
    config::NodeConfig::parse(&arguments.input.display().to_string(), &text)?;
    let root = read_public(&arguments.machine)?;
    let pem = read_text(&arguments.policy)?;
    let key = p256::PublicKey::from_public_key_pem(&pem).with_context(|| {
        format!(
            "{} is no P-256 public key in PEM; expected what `openssl ec -pubout` writes",
            arguments.policy.display()
        )
    })?;
    let recovery = if arguments.recovery {
        Some(RecoveryKey::generate()?)
    } else {
        None
    };
    let sealing = Sealing {
        label: LABEL,
        policy: Policy {
            release_key: Point::from_public_key(&key),
            phase: Phase::Boot,
            floor: arguments.floor,
            secure_boot: match &arguments.pcr7 {
                Some(text) => Some(digest("--pcr7", text)?),
                None => None,
            },
            counter: None,
            auth_value: false,
        },
        recovery: recovery.as_ref().map(RecoveryKey::public),
    };
    Envelope::seal_for(&root, &sealing, text.as_bytes())?.write(&arguments.output)?;
    println!(
        "{} opens on the machine whose storage root key has the name {} alone",
        arguments.output.display(),
        root.name()?
    );
    if let Some(key) = recovery {
        println!("recovery key, shown this once: {}", *key.to_text());
    }
    Ok(())
}

fn show(device: &Path, srk: Option<&Path>) -> Result<()> {
    let mut tpm = Tpm::open(device)?;
    let root = tpm.storage_root_key()?;
    let endorsement = tpm.endorsement_public()?;
    let attestation = tpm.attestation_public()?;
    let bytes = root.public().to_bytes()?;
    println!("storage root key:         {}", hex::encode(&bytes));
    println!("  its name:               {}", root.name());
    println!(
        "endorsement key:          {}",
        hex::encode(endorsement.to_bytes()?)
    );
    println!("  its name:               {}", endorsement.name()?);
    println!(
        "  its certificate:        {}",
        match tpm.endorsement_certificate(&root)? {
            Some(certificate) => hex::encode(certificate),
            None => "none in the TPM".to_owned(),
        }
    );
    println!(
        "attestation key:          {}",
        hex::encode(attestation.to_bytes()?)
    );
    println!(
        "PCR 7, Secure Boot state: {}",
        hex::encode(tpm.read_pcr(pcr::SECURE_BOOT)?)
    );
    println!(
        "PCR 11, kernel and phase: {}",
        hex::encode(tpm.read_pcr(pcr::KERNEL)?)
    );
    if let Some(path) = srk {
        fs::write(path, bytes).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

fn import(tpm: &mut Tpm, releases: &Path, file: &Path, output: &Path) -> Result<()> {
    let releases = ReleasePolicies::from_json(&read(releases)?)
        .with_context(|| format!("{} cannot be used", releases.display()))?;
    let envelope = Envelope::read(file)?;
    let content = envelope.open(tpm, LABEL, &releases)?;
    let root = tpm.storage_root_key()?;
    let sealing = Sealing {
        label: LABEL,
        policy: Policy {
            secure_boot: Some(tpm.read_pcr(pcr::SECURE_BOOT)?),
            counter: Some(
                tpm.ensure_counter(&root, nv::COUNTER, &releases)?
                    .as_it_stands(),
            ),
            ..envelope.policy().clone()
        },
        recovery: envelope.recovery(),
    };
    Envelope::seal(tpm, &sealing, &content)?.write(output)?;
    println!("{} is sealed by this machine's TPM", output.display());
    Ok(())
}

fn sign(key: &Path, pcr11: &str, version: u16, output: &Path) -> Result<()> {
    let pem = read_text(key)?;
    let key = SigningKey::from_pkcs8_pem(&pem).map_err(|_| {
        // the library's error could repeat what it read
        anyhow::anyhow!("{} is no P-256 private key, PKCS #8 in PEM", key.display())
    })?;
    let policies = ReleasePolicies::sign(&key, &digest("--pcr11", pcr11)?, version.into())?;
    let json = policies.to_json()?;
    ensure!(
        json.len() <= release::MAX_FILE,
        "the security version {version} needs more signatures than a file takes ({} bytes)",
        release::MAX_FILE
    );
    fs::write(output, json).with_context(|| format!("{} cannot be written", output.display()))
}

fn recover(file: &Path, output: &Path) -> Result<()> {
    let envelope = Envelope::read(file)?;
    eprintln!("recovery key:");
    let mut text = Zeroizing::new(String::new());
    std::io::stdin()
        .lock()
        .take(256)
        .read_line(&mut text)
        .context("the key cannot be read")?;
    let key = RecoveryKey::from_text(&text)?;
    let content = if envelope.label() == node::LABEL {
        // what a node has sealed holds more than the document
        let content = node::Content::from_bytes(&envelope.recover(node::LABEL, &key)?)?;
        Zeroizing::new(content.document.as_bytes().to_vec())
    } else {
        envelope.recover(LABEL, &key)?
    };
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(output)
        .and_then(|mut file| file.write_all(&content))
        .with_context(|| format!("{} cannot be written", output.display()))
}
