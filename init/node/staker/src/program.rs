//! The program: the parts put together.

use std::convert::Infallible;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use chain::{ChainSettings, NodeKey};
use config::{MAXIMUM_LENGTH, NodeConfig};
use node_settings::StakerSettings;
use seal::tpm::transport::DEVICE;
use sys::Notifier;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};
use wire::child::FromInit;
use wire::paths;
use zeroize::Zeroizing;

use crate::board::{Board, TpmReport};
use crate::chain_link::ChainLink;
use crate::cluster;
use crate::explain;
use crate::init_link::InitLink;
use crate::journal::{Journal, Purpose};
use crate::master_client::MasterClient;
use crate::node::{Identity, Staker};
use crate::page;
use crate::prover::Prover;
use crate::seams::Init as _;
use crate::tee::Reporter;
use crate::tpm_key::TpmKey;
use crate::usage::NodeMeter;

/// Where the stake transaction is kept until it is on chain: on the state disk, or else on tmpfs,
/// where it survives this program, but no power cut.
const DIRECTORIES: &[&str] = &[paths::STAKER_STATE, paths::STAKER_RUN];
/// How long `init` has for its first status, before the life begins without it.
const FIRST_STATUS: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT. `configuration` is the path of the settings that `provision` wrote, or of
/// a whole document.
///
/// # Errors
/// When the configuration can't be used, or the runtime can't be set up. Nothing that happens
/// later ends the program.
pub fn run(configuration: &Path) -> anyhow::Result<()> {
    // no core dumps and no debugger: the key is in this process's memory (prctl(2))
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        warn!(%error, "core dumps can't be switched off");
    }
    let settings = read(configuration)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")?
        .block_on(live(settings, configuration))
}

/// What `provision` wrote, as JSON; or, for people, the same out of a configuration's document.
pub(crate) fn read(path: &Path) -> anyhow::Result<StakerSettings> {
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        return Ok(node_settings::read(path)?);
    }
    let shown = path.display();
    let mut text = Zeroizing::new(String::with_capacity(MAXIMUM_LENGTH + 1));
    File::open(path)
        .and_then(|file| {
            file.take(MAXIMUM_LENGTH as u64 + 1)
                .read_to_string(&mut text)
        })
        .with_context(|| format!("{shown}: the configuration can't be read"))?;
    ensure!(
        text.len() <= MAXIMUM_LENGTH,
        "{shown}: expected {MAXIMUM_LENGTH} bytes at most"
    );
    Ok(NodeConfig::parse(&shown.to_string(), &text)?.staker())
}

async fn live(settings: StakerSettings, configuration: &Path) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("no signal handler")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no signal handler")?;
    let init = InitLink::from_environment().context("the connection to init can't be used")?;
    if !init.present() {
        warn!("not started by init: nothing can be started or powered off from here");
    }
    let listen = settings.status_listen;
    let staker = assemble(settings, configuration, init)?;
    let health = staker.board().subscribe();
    let served = async {
        let listener = page::listen(listen).await;
        // init waits for this before it takes the service for ready; elsewhere nobody does
        let told = Notifier::from_environment().and_then(|notifier| notifier.ready());
        if let Err(error) = told {
            warn!(%error, "init could not be told that the staker is ready");
        }
        page::serve(listener, health).await
    };
    let lived = async {
        take_first_status(staker.board()).await;
        tokio::join!(take_status(staker.board()), staker.run())
    };
    tokio::select! {
        _ = served => {}
        _ = lived => {}
        _ = keep_alive() => {}
        _ = terminate.recv() => info!("SIGTERM: the staker ends"),
        _ = interrupt.recv() => info!("SIGINT: the staker ends"),
    }
    Ok(())
}

/// Tells `init` again and again that the staker works. Polled by the task that also serves and lives: where that one
/// hangs, `init` hears nothing more, and starts another staker.
async fn keep_alive() -> Infallible {
    let mut notifier = Notifier::from_environment().unwrap_or_else(|error| {
        warn!(%error, "init can't be told that the staker works");
        Notifier::default()
    });
    let Some(interval) = notifier.interval() else {
        return std::future::pending().await;
    };
    loop {
        if let Err(error) = notifier.alive() {
            warn!(%error, "init could not be told that the staker works");
        }
        sleep(interval).await;
    }
}

type NodeStaker = Staker<ChainLink, MasterClient, InitLink, NodeMeter>;

/// The node's key, and where the chain is.
pub(crate) fn identity(
    settings: &StakerSettings,
    configuration: &Path,
) -> anyhow::Result<(NodeKey, ChainSettings)> {
    let key = if settings.identity.is_in_tpm() {
        let stored = configuration.with_file_name(paths::name(paths::SUI_KEY));
        TpmKey::load(
            &stored,
            Path::new(paths::RELEASE_POLICIES),
            Path::new(paths::TPM_BROKER),
        )
        .map(|key| NodeKey::from_signer(Arc::new(key)))
        .context("identity.sui_key is the TPM's")?
    } else {
        NodeKey::import(settings.identity.sui_key.expose()).context("identity.sui_key")?
    };
    let chain = settings.chain.clone();
    let chain = ChainSettings::new(
        chain.chain_id,
        chain.fullnodes,
        chain.root_certificate,
        chain.package,
        chain.pool,
    )
    .context("[chain]")?;
    Ok((key, chain))
}

fn assemble(
    settings: StakerSettings,
    configuration: &Path,
    init: InitLink,
) -> anyhow::Result<NodeStaker> {
    let (key, chain_settings) = identity(&settings, configuration)?;
    let StakerSettings {
        node_name: node_id,
        chain: stake,
        master,
        identity,
        ..
    } = settings;
    let key = Rc::new(key);
    let purpose = Purpose {
        chain_id: stake.chain_id.to_string(),
        package: stake.package.to_string(),
        pool: stake.pool.to_string(),
        node_id: node_id.clone(),
        node_key: key.public().to_flagged_bytes().to_vec(),
        amount: stake.stake.0,
    };
    let chain = ChainLink::new(
        chain_settings,
        Rc::clone(&key),
        node_id.clone(),
        stake.stake,
    )
    .with_beneficiary(stake.beneficiary)
    .with_directory(master.directory);
    if stake.beneficiary.is_none() && identity.is_in_tpm() {
        warn!(
            "the Sui key is the TPM's, and chain.beneficiary names no address: its coins can't leave this \
             machine"
        );
    }
    let master = MasterClient::new(&master.url, &master.root_certificate)?;
    let board = Board::new(init, node_id.clone());
    board.show_fullnodes(stake.fullnodes.len());
    board.show_identity(&key.address(), TpmReport::read(Path::new(paths::EVIDENCE)));
    Ok(Staker::new(
        chain,
        master,
        board,
        NodeMeter::default(),
        Identity {
            node_id,
            key,
            restake: stake.restake,
            leave: stake.leave,
            beneficiary: stake.beneficiary,
            prover: Prover::through_broker(
                Path::new(DEVICE),
                Path::new(paths::TPM_BROKER),
                Path::new(paths::EVENT_LOG),
            )
            .with_reporter(Reporter::default()),
        },
        Journal::new(DIRECTORIES.iter().map(PathBuf::from).collect(), purpose),
        seconds_since_1970,
    )
    .with_cluster(cluster::probe()))
}

/// Learns what `init` knows of a former run of this program.
async fn take_first_status(board: &Board<InitLink>) {
    if !board.init().present() {
        return;
    }
    match timeout(FIRST_STATUS, board.init().receive()).await {
        Ok(Ok(FromInit::Status { status })) => board.take_status(status, true),
        Ok(Err(failure)) => error!(detail = explain(&failure), "init can't be understood"),
        Err(_) => warn!("init has sent no status yet"),
    }
}

async fn take_status(board: &Board<InitLink>) {
    loop {
        match board.init().receive().await {
            Ok(FromInit::Status { status }) => board.take_status(status, false),
            Err(failure @ crate::seams::InitError::Message(_)) => {
                error!(detail = explain(&failure), "init can't be understood");
            }
            Err(failure) => {
                error!(detail = explain(&failure), "init is gone");
                return std::future::pending().await;
            }
        }
    }
}

/// A clock before 1970 counts as 1970: the master then says what is wrong with it.
fn seconds_since_1970() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
