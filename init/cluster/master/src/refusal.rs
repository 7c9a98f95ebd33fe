//! Refusals, as nodes get to see them: a code, a sentence, and the HTTP status that goes with it.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use master_api::{Refusal, RefusalCode};

/// When to come back, in seconds, where the master itself can't verify.
const RETRY_AFTER_SECONDS: &str = "15";

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: RefusalCode,
    pub(crate) message: String,
    status: StatusCode,
}

impl Refused {
    pub(crate) fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        let status = match code {
            RefusalCode::Malformed => StatusCode::BAD_REQUEST,
            RefusalCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        };
        Self {
            code,
            message: message.into(),
            status,
        }
    }

    /// A request that is not of the protocol, where HTTP has a status of its own for it.
    pub(crate) fn malformed_as(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            ..Self::malformed(message)
        }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(RefusalCode::Malformed, message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(RefusalCode::Unavailable, message)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let code = self.code;
        let body = Json(Refusal {
            status: "refused".to_owned(),
            code,
            message: self.message,
        });
        if code == RefusalCode::Unavailable {
            (self.status, [(RETRY_AFTER, RETRY_AFTER_SECONDS)], body).into_response()
        } else {
            (self.status, body).into_response()
        }
    }
}
