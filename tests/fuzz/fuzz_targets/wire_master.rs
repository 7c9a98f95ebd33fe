//! Messages between node and master. What is read is written, and read as the same.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use master_api::{
    ChallengeRequest, ChallengeResponse, HeartbeatRequest, HeartbeatResponse, Refusal,
    RegisterRequest, RegisterResponse,
};
use serde_json::{from_slice, to_vec};
use wire::{JoinToken, NodeName, Secret, ServerUrl};

macro_rules! round_trip {
    ($bytes:ident, $($message:ty),+) => {
        $(if let Ok(message) = from_slice::<$message>($bytes) {
            let written = to_vec(&message).expect("JSON");
            same(&from_slice::<$message>(&written).expect("what was written"), &message);
        })+
    };
}

fn same<T: Debug>(left: &T, right: &T) {
    assert_eq!(format!("{left:?}"), format!("{right:?}"));
}

fuzz_target!(|bytes: &[u8]| {
    round_trip!(
        bytes,
        ChallengeRequest,
        ChallengeResponse,
        RegisterRequest,
        RegisterResponse,
        HeartbeatRequest,
        HeartbeatResponse,
        Refusal
    );
    if let Ok(request) = from_slice::<RegisterRequest>(bytes) {
        let _ = request.signed_bytes();
    }
    if let Ok(request) = from_slice::<HeartbeatRequest>(bytes) {
        let _ = request.signed_bytes();
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = JoinToken::new(Secret::new(text.to_owned()));
        let _ = text.parse::<ServerUrl>();
        let _ = text.parse::<NodeName>();
    }
});
