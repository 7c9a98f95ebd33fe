//! What each cloud is asked, and how.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud::Cloud;
use thiserror::Error;
use ureq::http::header::{HeaderName, HeaderValue};
use ureq::http::{Method, StatusCode};
use zeroize::Zeroizing;

use crate::http::{Answer, Client, HttpError};

/// Amazon EC2, "Use the Instance Metadata Service to access instance metadata": version 2 alone. A session
/// token comes by PUT, in a packet that goes as many hops as the instance's hop limit says, by default one.
/// Version 1, which answers whoever asks, is never fallen back to.
const EC2_TOKEN: &str = "/latest/api/token";
const EC2_TOKEN_LIFETIME: (&str, &str) = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
const EC2_TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
/// Longer than any token; ours is asked for and sent back, and read by nobody.
const EC2_TOKEN_LIMIT: usize = 1024;
const EC2_USER_DATA: &str = "/latest/user-data";

/// Google, "View and query VM metadata": the header is asked for, and comes back with every answer of the
/// real service. An attribute of our own comes before the one that other systems read.
const GOOGLE: (&str, &str) = ("metadata-flavor", "Google");
const GOOGLE_ATTRIBUTES: [&str; 2] = [
    "/computeMetadata/v1/instance/attributes/k3s-daas-node",
    "/computeMetadata/v1/instance/attributes/user-data",
];

/// Microsoft, "Azure Instance Metadata Service", "Get user data": base64, in the versions since that one.
const AZURE: (&str, &str) = ("metadata", "true");
const AZURE_USER_DATA: &str =
    "/metadata/instance/compute/userData?api-version=2021-01-01&format=text";

/// OpenStack Nova, "Metadata", "User-provided data".
const OPENSTACK_USER_DATA: &str = "/openstack/latest/user_data";
/// DigitalOcean, "Metadata API Reference".
const DIGITALOCEAN_USER_DATA: &str = "/metadata/v1/user-data";
/// Hetzner Cloud, "Server metadata".
const HETZNER_USER_DATA: &str = "/hetzner/v1/userdata";

/// Why there is no user data.
#[derive(Debug, Error)]
pub enum AskError {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It has none for this machine.
    #[error("it has no user data for this machine: give the machine a node.toml as its user data")]
    None,
    /// Another answer than user data.
    #[error("it answers {path} with {status}: {hint}")]
    Status {
        /// What was asked for.
        path: &'static str,
        /// The answer.
        status: StatusCode,
        /// What to do.
        hint: &'static str,
    },
    /// The answer is not that of the service.
    #[error("what answers {path} is not this cloud's service: {why}")]
    NotTheService {
        /// What was asked for.
        path: &'static str,
        /// What is missing.
        why: &'static str,
    },
}

impl AskError {
    /// Whether asking again within seconds can help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Http(HttpError::Body { .. }) | Self::None | Self::NotTheService { .. } => false,
            Self::Http(_) => true,
            Self::Status { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
        }
    }
}

/// Asks once for the user data of this machine. Blocks.
///
/// # Errors
/// [`AskError`].
pub fn user_data(client: &Client, cloud: Cloud) -> Result<Zeroizing<Vec<u8>>, AskError> {
    let found = match cloud {
        Cloud::Ec2 => ec2(client)?,
        Cloud::Google => google(client)?,
        Cloud::Azure => azure(client)?,
        Cloud::OpenStack => plain(client, OPENSTACK_USER_DATA)?,
        Cloud::DigitalOcean => plain(client, DIGITALOCEAN_USER_DATA)?,
        Cloud::Hetzner => plain(client, HETZNER_USER_DATA)?,
    };
    // some services answer with nothing where there is none
    found
        .filter(|user_data| !user_data.is_empty())
        .ok_or(AskError::None)
}

fn ec2(client: &Client) -> Result<Option<Zeroizing<Vec<u8>>>, AskError> {
    let lifetime = header(EC2_TOKEN_LIFETIME);
    let answer = client.ask(Method::PUT, EC2_TOKEN, &[lifetime])?;
    if answer.status != StatusCode::OK {
        return Err(AskError::Status {
            path: EC2_TOKEN,
            status: answer.status,
            hint: "is the metadata service switched on for this instance?",
        });
    }
    let token = Some(answer.body.as_slice())
        .filter(|token| !token.is_empty() && token.len() <= EC2_TOKEN_LIMIT)
        .and_then(|token| HeaderValue::from_bytes(token).ok());
    let mut token = token.ok_or(AskError::NotTheService {
        path: EC2_TOKEN,
        why: "it gives no session token",
    })?;
    token.set_sensitive(true);
    let token = (HeaderName::from_static(EC2_TOKEN_HEADER), token);
    let answer = client.ask(Method::GET, EC2_USER_DATA, &[token])?;
    if_there(EC2_USER_DATA, answer)
}

fn google(client: &Client) -> Result<Option<Zeroizing<Vec<u8>>>, AskError> {
    for path in GOOGLE_ATTRIBUTES {
        let flavor = header(GOOGLE);
        let answer = client.ask(Method::GET, path, std::slice::from_ref(&flavor))?;
        if answer.headers.get(&flavor.0) != Some(&flavor.1) {
            return Err(AskError::NotTheService {
                path,
                why: "its answer has no header Metadata-Flavor: Google",
            });
        }
        if let Some(found) = if_there(path, answer)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn azure(client: &Client) -> Result<Option<Zeroizing<Vec<u8>>>, AskError> {
    let answer = client.ask(Method::GET, AZURE_USER_DATA, &[header(AZURE)])?;
    let Some(encoded) = if_there(AZURE_USER_DATA, answer)? else {
        return Ok(None);
    };
    let decoded = STANDARD
        .decode(encoded.trim_ascii())
        .map_err(|_| AskError::NotTheService {
            path: AZURE_USER_DATA,
            why: "its answer is not base64",
        })?;
    Ok(Some(Zeroizing::new(decoded)))
}

fn plain(client: &Client, path: &'static str) -> Result<Option<Zeroizing<Vec<u8>>>, AskError> {
    let answer = client.ask(Method::GET, path, &[])?;
    if_there(path, answer)
}

/// The body of an answer; none where there is no such thing.
fn if_there(path: &'static str, answer: Answer) -> Result<Option<Zeroizing<Vec<u8>>>, AskError> {
    match answer.status {
        StatusCode::OK => Ok(Some(answer.body)),
        StatusCode::NOT_FOUND | StatusCode::NO_CONTENT => Ok(None),
        status => Err(AskError::Status {
            path,
            status,
            hint: "it was asked as its documentation says; what does the cloud's console show?",
        }),
    }
}

fn header((name, value): (&'static str, &'static str)) -> (HeaderName, HeaderValue) {
    (
        HeaderName::from_static(name),
        HeaderValue::from_static(value),
    )
}
