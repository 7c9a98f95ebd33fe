//! A lease for a link: got, renewed, lost.

use mozim::{DhcpError, DhcpV4Client, DhcpV4Config, DhcpV4State};
use thiserror::Error;
use tracing::{debug, info};
use wire::NodeName;

use crate::links::Link;
use crate::settings::Settings;

/// Why there is no lease, or no more.
#[derive(Debug, Error)]
pub(crate) enum LeaseError {
    /// The DHCP client gave up.
    #[error("no lease is had from DHCP on {link}")]
    Client {
        /// The link's name.
        link: String,
        /// Why.
        #[source]
        source: DhcpError,
    },
    /// A server offers what can't be used.
    #[error("the DHCP server on {link} offers an address or a mask that can't be used")]
    Unusable {
        /// The link's name.
        link: String,
    },
}

/// What becomes of a lease.
#[derive(Debug)]
pub(crate) enum LeaseEvent {
    /// There is one, or it was renewed.
    Leased(Settings),
    /// Its time is over, and no server renewed it.
    Lost,
}

/// A DHCP client on one link.
#[derive(Debug)]
pub(crate) struct Dhcp {
    client: DhcpV4Client,
    link: String,
    leased: bool,
}

impl Dhcp {
    /// Begins on a link that is up. `node_name` is the host name that the server is told, if any.
    pub(crate) async fn start(
        link: &Link,
        node_name: Option<&NodeName>,
    ) -> Result<Self, LeaseError> {
        let client_error = |source| LeaseError::Client {
            link: link.name.clone(),
            source,
        };
        let mut config = DhcpV4Config::new(&link.name);
        config.set_iface_index(link.index);
        config
            .set_iface_mac_raw(&link.address)
            .map_err(client_error)?;
        if let Some(node_name) = node_name {
            config.set_host_name(node_name.as_str());
        }
        config.use_mac_as_client_id();
        let client = DhcpV4Client::init(config, None)
            .await
            .map_err(client_error)?;
        Ok(Self {
            client,
            link: link.name.clone(),
            leased: false,
        })
    }

    /// Waits for the first lease, or for what becomes of it. It asks for ever: a network that comes
    /// late is found.
    pub(crate) async fn next(&mut self) -> Result<LeaseEvent, LeaseError> {
        loop {
            let state = self
                .client
                .run()
                .await
                .map_err(|source| LeaseError::Client {
                    link: self.link.clone(),
                    source,
                })?;
            let DhcpV4State::Done(lease) = state else {
                debug!(link = self.link, %state, "DHCP");
                // the client begins anew only when the time of its lease is over
                if self.leased && state == DhcpV4State::InitReboot {
                    self.leased = false;
                    return Ok(LeaseEvent::Lost);
                }
                continue;
            };
            self.leased = true;
            let settings = Settings::from_lease(&lease).ok_or_else(|| LeaseError::Unusable {
                link: self.link.clone(),
            })?;
            info!(
                link = self.link,
                address = %settings.address,
                prefix = settings.prefix,
                seconds = lease.lease_time_sec,
                server = %lease.srv_id,
                "lease"
            );
            return Ok(LeaseEvent::Leased(settings));
        }
    }
}
