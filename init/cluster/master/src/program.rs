//! The program: the parts put together.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::chain_link::ChainLink;
use crate::join::{self, Join};
use crate::server::{serve, tls};
use crate::service::Master;
use crate::settings::{MasterSettings, TokenSource};
use crate::trust::Trust;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the configuration can't be used, or the address is taken. A chain that is out of reach is
/// no error: nodes are told to come back later.
pub fn run(configuration: &Path) -> anyhow::Result<()> {
    let settings = MasterSettings::load(configuration)?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime can't be started")?
        .block_on(live(settings))
}

async fn live(settings: MasterSettings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("no signal handler")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no signal handler")?;
    let tls = tls(&settings.certificate, &settings.key)?;
    if let TokenSource::File(file) = &settings.join.source {
        match join::token(file) {
            Ok(_) => {}
            // said at the start already; the file can still come or change later
            Err(error @ join::JoinTokenError::File(_)) => warn!("{:#}", anyhow::Error::new(error)),
            Err(error) => return Err(error).context("join.token_file"),
        }
    }
    let join = Join::open(settings.join).context("[kubernetes]")?;
    let trust = Trust::load(&settings.trust, &settings.certificate)?;
    trust.announce();
    let chain = ChainLink::new(settings.chain);
    let master = Arc::new(Master::new(chain, join, seconds_since_1970)?.with_trust(trust));
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("can't listen on {}", settings.listen))?;
    info!("listening on {}", listener.local_addr()?);
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        warn!(%error, "the service manager could not be told");
    }
    tokio::select! {
        never = serve(listener, tls, Arc::clone(&master).router()) => match never {},
        never = Arc::clone(&master).tend() => match never {},
        never = master.watch_releases() => match never {},
        _ = terminate.recv() => info!("SIGTERM: the master ends"),
        _ = interrupt.recv() => info!("SIGINT: the master ends"),
    }
    Ok(())
}

/// A clock before 1970 counts as 1970: nodes then say what is wrong with it.
fn seconds_since_1970() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
