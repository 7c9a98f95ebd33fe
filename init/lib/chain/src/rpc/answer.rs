//! What a failed call means.

use std::error::Error;

use tonic::{Code, Status};

use super::bounded;

/// What to make of a failed call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing was learnt: try again.
    Unreachable,
    /// The fullnode says no to what was asked.
    Refused,
    /// The fullnode says what makes no sense.
    Invalid,
}

/// Sorts a status by what is to be done about it.
pub(super) fn kind(status: &Status) -> Kind {
    match status.code() {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Cancelled
        | Code::Internal
        // what tonic makes of HTTP 401, 403 and 404 (gRPC, "HTTP to gRPC Status Code Mapping"):
        // a gateway says so, and knows nothing of the chain
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::Unimplemented => Kind::Unreachable,
        // tonic's code for what broke below gRPC; the fullnode itself sends it without a source
        Code::Unknown if status.source().is_some() => Kind::Unreachable,
        // tonic's code for a message beyond the size limit
        Code::OutOfRange | Code::DataLoss | Code::Unknown | Code::Ok => Kind::Invalid,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition => Kind::Refused,
    }
}

/// The status in words: its message and, where the transport broke, why.
pub(super) fn detail(status: &Status) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut add = |text: String| {
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    };
    add(status.message().to_owned());
    let mut source = status.source();
    while let Some(error) = source {
        add(error.to_string());
        source = error.source();
    }
    if parts.is_empty() {
        parts.push(format!("{:?}", status.code()));
    }
    bounded(&parts.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_and_refusals_are_told_apart() {
        assert_eq!(kind(&Status::unavailable("x")), Kind::Unreachable);
        assert_eq!(kind(&Status::unknown("x")), Kind::Invalid);
        assert_eq!(kind(&Status::invalid_argument("x")), Kind::Refused);
        for gateway in [
            Status::unauthenticated("x"),
            Status::permission_denied("x"),
            Status::unimplemented("x"),
        ] {
            assert_eq!(kind(&gateway), Kind::Unreachable, "{gateway}");
        }
        assert_eq!(kind(&Status::out_of_range("too large")), Kind::Invalid);
        let broken = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        assert_eq!(kind(&broken), Kind::Unreachable);
    }

    #[test]
    fn details_are_bounded_and_on_one_line() {
        let text = detail(&Status::unavailable("a\nb".repeat(10_000)));
        assert!(text.len() < 1000 && !text.contains('\n'), "{text}");
        assert_eq!(detail(&Status::unavailable("")), "Unavailable");
    }
}
