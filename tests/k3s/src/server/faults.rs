//! Refusals that a test asks for: what a busy API server answers, or one that has forgotten a list.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use crate::http;

/// The answer to the next call of a kind, instead of what the API would do.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The call's method.
    pub method: Method,
    /// A part of its path and query.
    pub within: String,
    /// The status of the answer.
    pub status: StatusCode,
    /// One word for it, as in a `Status` object.
    pub reason: &'static str,
    /// The seconds of `Retry-After`, where there is one.
    pub retry_after: Option<u16>,
}

/// Faults that have not happened yet.
#[derive(Default)]
pub(super) struct Faults(Mutex<VecDeque<Fault>>);

impl Faults {
    pub(super) fn add(&self, fault: Fault) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.push_back(fault);
    }

    /// The answer to a call that is to fail.
    pub(super) fn answer(&self, method: &Method, path: &str) -> Option<Response<Full<Bytes>>> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let meant = |fault: &Fault| fault.method == *method && path.contains(&fault.within);
        let position = faults.iter().position(meant)?;
        let fault = faults.remove(position)?;
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": fault.status.as_u16(),
            "reason": fault.reason, "message": "asked for by a test",
        });
        let mut answer = http::json(fault.status, &status);
        if let Some(seconds) = fault.retry_after {
            answer
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        Some(answer)
    }
}
