//! `k3s-double`, installed in test images as `/usr/bin/k3s`: see the library.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use k3s_double::agent::host::Host;
use k3s_double::agent::{Agent, commands};
use k3s_double::cli::{AgentFlags, CommandLine, Role, ServerFlags};
use k3s_double::server::{self, ServerSettings};
use k3s_double::{files, logging};
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

fn main() -> ExitCode {
    let result = match CommandLine::parse().role {
        Role::DoubleOrphan(flags) => commands::live_as_orphan(flags.parent).map_err(Into::into),
        Role::DoublePlanted => commands::live_planted().map_err(Into::into),
        Role::DoubleTpm(flags) => {
            commands::exchange_with_tpm(&flags.path, &flags.request);
            Ok(())
        }
        Role::Server(flags) => {
            logging::start(flags.debug);
            block_on(serve(*flags))
        }
        Role::Agent(flags) => {
            logging::start(flags.debug);
            block_on(join(*flags))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn block_on(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let result = runtime.block_on(future);
    // Nothing that is still under way, such as a look at a file, may hold up the end.
    runtime.shutdown_background();
    result
}

async fn serve(flags: ServerFlags) -> anyhow::Result<()> {
    let token = match (flags.token, flags.token_file) {
        (Some(token), _) => Some(Zeroizing::new(token)),
        (None, Some(path)) => {
            let text = Zeroizing::new(files::read(&path, 4096)?);
            Some(Zeroizing::new(text.trim().to_owned()))
        }
        (None, None) => None,
    };
    let running = server::start(ServerSettings {
        data_folder: flags.data_dir,
        listen: SocketAddr::new(flags.bind_address, flags.https_listen_port),
        advertise: flags.advertise_address,
        names: flags.tls_san,
        token,
        control: flags.control,
    })
    .await?;
    let token_file = running.token_file.display();
    let control = running
        .control
        .map(|address| address.to_string())
        .unwrap_or_default();
    tracing::info!(address = %running.address, control, %token_file, "listening");
    let mut signals = Signals::new()?;
    tokio::select! {
        () = running.run() => anyhow::bail!("the server ended by itself"),
        () = signals.next() => Ok(()),
    }
}

async fn join(flags: AgentFlags) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let agent = async {
        let agent = Agent::prepare(Host::real(), flags).await?;
        match agent.run().await {
            Ok(never) => match never {},
            Err(error) => Err(error.into()),
        }
    };
    tokio::select! {
        result = agent => result,
        // The tunnel closes with the runtime; the pod goes on, as under a real k3s.
        () = signals.next() => Ok(()),
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::info!("stopping");
    }
}
