//! Conversation with one fullnode. The only module that knows Sui's protobuf.

mod answer;
mod events;
mod execute;
mod read;

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chain_types::ChainId;
use sui_rpc::Client;
use sui_rpc::client::ResponseExt;
use sui_rpc::proto::sui::rpc::v2 as proto;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use wire::ServerUrl;

use crate::error::{ChainError, SettingsError};
use crate::settings::{ChainSettings, Timeouts};

pub(crate) use events::{EventFeed, FeedItem};
pub(crate) use execute::Failure;
pub(crate) use read::{ObjectView, Owner, present};

/// Longest message that is read, compressed or not. The longest that is asked for, a page of
/// owned objects, is far shorter.
const LONGEST_MESSAGE: usize = 4 * 1024 * 1024;

/// How long a response may stand still, an event stream's too: a fullnode sends a progress frame
/// every few seconds.
const IDLE: Duration = Duration::from_secs(30);

/// How often an idle connection is probed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// HTTP/2 receive windows, for one stream and for all.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Where a fullnode stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tip {
    /// Its last checkpoint.
    pub(crate) height: u64,
    /// Its epoch.
    pub(crate) epoch: u64,
}

/// One fullnode. Connections are made when they are needed, and again after they broke.
pub(crate) struct Fullnode {
    url: String,
    client: Client,
    chain_id: ChainId,
    timeouts: Timeouts,
}

impl Fullnode {
    /// Prepares the connection; nothing is sent yet.
    pub(crate) fn new(url: &ServerUrl, settings: &ChainSettings) -> Result<Self, ChainError> {
        let timeouts = settings.timeouts;
        let tls = match &settings.root_certificate_pem {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_enabled_roots(),
        };
        let endpoint = Endpoint::from_shared(url.to_string())
            .map_err(|_error| SettingsError::Url {
                url: url.to_string(),
            })?
            .tls_config(tls.timeout(timeouts.connect))
            .map_err(|_error| SettingsError::Certificate)?
            .connect_timeout(timeouts.connect)
            .timeout(timeouts.call)
            .tcp_keepalive(Some(KEEP_ALIVE))
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(timeouts.call)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let client = Client::from_endpoint(&endpoint)
            .with_body_idle_timeout(IDLE)
            .with_max_decoding_message_size(LONGEST_MESSAGE);
        Ok(Self {
            url: url.to_string(),
            client,
            chain_id: settings.chain_id,
            timeouts,
        })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Checks that the fullnode serves the right chain, and that it keeps up with it; and tells
    /// where it stands.
    pub(crate) async fn verify(&self) -> Result<Tip, ChainError> {
        const CALL: &str = "GetServiceInfo";
        let info = self
            .ask(CALL, async |mut client| {
                client
                    .ledger_client()
                    .get_service_info(proto::GetServiceInfoRequest::default())
                    .await
            })
            .await?
            .into_inner();
        self.check_chain(info.chain_id())?;
        let seconds = info
            .timestamp
            .and_then(|timestamp| u64::try_from(timestamp.seconds).ok())
            .ok_or_else(|| self.invalid(CALL, "no time of the last checkpoint"))?;
        self.check_age(seconds)?;
        match (info.checkpoint_height, info.epoch) {
            (Some(height), Some(epoch)) => Ok(Tip { height, epoch }),
            _ => Err(self.invalid(CALL, "no height or no epoch")),
        }
    }

    fn check_chain(&self, found: &str) -> Result<(), ChainError> {
        if found.parse() == Ok(self.chain_id) {
            return Ok(());
        }
        Err(ChainError::WrongChain {
            fullnode: self.url.clone(),
            expected: self.chain_id,
            found: bounded(found),
        })
    }

    fn check_age(&self, checkpoint_seconds: u64) -> Result<(), ChainError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let behind_seconds = now.saturating_sub(checkpoint_seconds);
        if behind_seconds > self.timeouts.staleness.as_secs() {
            return Err(ChainError::Stale {
                fullnode: self.url.clone(),
                behind_seconds,
            });
        }
        Ok(())
    }

    /// One call, within the time limit, its failure told apart.
    async fn ask<T, F>(
        &self,
        call: &'static str,
        request: impl FnOnce(Client) -> F,
    ) -> Result<tonic::Response<T>, ChainError>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        tokio::time::timeout(self.timeouts.call, request(self.client.clone()))
            .await
            .map_err(|_elapsed| self.late(call, self.timeouts.call))?
            .map_err(|status| self.failure(call, &status))
    }

    /// One call whose answer counts only if it is of the right chain and not stale.
    async fn call<T, F>(
        &self,
        call: &'static str,
        request: impl FnOnce(Client) -> F,
    ) -> Result<T, ChainError>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let response = self.ask(call, request).await?;
        // fullnodes name their chain and the time of their last checkpoint with every answer
        match (response.chain_id(), response.timestamp_ms()) {
            (Some(chain_id), Some(milliseconds)) => {
                self.check_chain(&chain_id.to_string())?;
                self.check_age(milliseconds / 1000)?;
            }
            // a gateway can swallow them: then they are asked for
            _ => {
                self.verify().await?;
            }
        }
        Ok(response.into_inner())
    }

    pub(crate) fn late(&self, call: &'static str, limit: Duration) -> ChainError {
        ChainError::Unreachable {
            fullnode: self.url.clone(),
            call,
            detail: format!("no answer within {} s", limit.as_secs()),
        }
    }

    fn invalid(&self, call: &'static str, detail: impl Into<String>) -> ChainError {
        ChainError::InvalidAnswer {
            fullnode: self.url.clone(),
            call,
            detail: detail.into(),
        }
    }

    fn failure(&self, call: &'static str, status: &tonic::Status) -> ChainError {
        let fullnode = self.url.clone();
        let detail = answer::detail(status);
        match answer::kind(status) {
            answer::Kind::Unreachable => ChainError::Unreachable {
                fullnode,
                call,
                detail,
            },
            answer::Kind::Invalid => ChainError::InvalidAnswer {
                fullnode,
                call,
                detail,
            },
            answer::Kind::Refused => ChainError::Refused {
                fullnode,
                call,
                detail,
            },
        }
    }
}

/// A text from outside, cut to a length that fits a log line, without control characters.
fn bounded(text: &str) -> String {
    const LONGEST: usize = 300;
    let mut short: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}
