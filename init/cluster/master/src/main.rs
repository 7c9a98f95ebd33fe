//! `master --config FILE`, `master --print-admission [--server NAME]...`: see the crate's documentation.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

/// Verifies the stakes of nodes on chain and hands out join tokens for the cluster.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, a TOML file.
    #[arg(long, required_unless_present = "print_admission")]
    config: Option<PathBuf>,
    /// Prints the objects by which the API server lets kubelets create those Nodes alone that the
    /// master has admitted, for `kubectl apply`, and ends.
    #[arg(long, conflicts_with = "config")]
    print_admission: bool,
    /// With `--print-admission`: the name of a Node that no stake stands for, such as a server with an
    /// agent. May be given more than once.
    #[arg(long, requires = "print_admission", value_name = "NAME", value_parser = server_name)]
    server: Vec<String>,
}

/// The name of a Node: a DNS subdomain (RFC 1123), as Kubernetes takes it.
fn server_name(text: &str) -> Result<String, &'static str> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let ends = [part.bytes().next(), part.bytes().last()];
        part.bytes().all(|byte| letter(byte) || byte == b'-')
            && ends.into_iter().all(|end| end.is_some_and(letter))
    };
    if text.len() <= 253 && text.split('.').all(part) {
        return Ok(text.to_owned());
    }
    Err("expected a Node's name: lower-case letters, digits, `-` and `.`, at most 253 characters")
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let Some(config) = arguments.config else {
        println!("{}", master::admission_manifest(&arguments.server));
        return ExitCode::SUCCESS;
    };
    match master::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure:#}");
            ExitCode::FAILURE
        }
    }
}
