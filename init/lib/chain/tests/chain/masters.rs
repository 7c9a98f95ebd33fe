//! A directory with masters that can't be used.

use chain::ChainError;
use fullnode::Reply;
use prost::Message as _;
use sui_rpc::proto::sui::rpc::v2::get_object_result::Result as Found;
use sui_rpc::proto::sui::rpc::v2::{BatchGetObjectsResponse, GetObjectResult, Object};

use crate::administration::{Office, URL};
use fullnode::devnet::within;

/// The key of the master whose enclave is spoilt.
const BAD: [u8; 32] = [0x71; 32];

/// Changes what a fullnode says of that enclave.
type Spoil = fn(&mut GetObjectResult, Vec<u8>);

const SPOILS: [Spoil; 3] = [
    // it is gone
    |result, _| {
        let status = sui_rpc::proto::google::rpc::Status {
            code: 5,
            ..Default::default()
        };
        result.result = Some(Found::Error(status));
    },
    // it is of another layout
    |result, bytes| set(result, bytes[..40].to_vec()),
    // its key is another than the directory says
    |result, mut bytes| {
        let place = bytes.windows(32).position(|key| key == BAD).unwrap();
        bytes[place] ^= 1;
        set(result, bytes);
    },
];

fn object(result: &GetObjectResult) -> Option<&Object> {
    match result.result.as_ref()? {
        Found::Object(object) => Some(object),
        _ => None,
    }
}

fn contents(result: &GetObjectResult) -> Option<Vec<u8>> {
    let contents = object(result)?.contents.as_ref()?;
    Some(contents.value.as_ref()?.to_vec())
}

fn set(result: &mut GetObjectResult, bytes: Vec<u8>) {
    if let Some(Found::Object(object)) = &mut result.result {
        object.contents.as_mut().unwrap().value = Some(bytes.into());
    }
}

/// One bad entry does not keep nodes from the other masters; where there is no other, the error says
/// what is wrong.
#[tokio::test]
async fn a_listed_master_that_cannot_be_used_is_left_out() {
    for spoil in SPOILS {
        let office = Office::open().await;
        let bad = office.register(BAD[0]).await.unwrap();
        office.list(bad, URL).await.unwrap();
        office.devnet.running.tamper(move |method, message| {
            if method != "BatchGetObjects" {
                return Reply::Message(message.to_vec());
            }
            let mut reply = BatchGetObjectsResponse::decode(message).unwrap();
            for result in &mut reply.objects {
                let bytes = contents(result).unwrap_or_default();
                if bytes.windows(32).any(|key| key == BAD) {
                    spoil(result, bytes);
                }
            }
            Reply::Message(reply.encode_to_vec())
        });
        let directory = office.ids.directory;
        let error = within(office.chain.corroborated_masters(directory)).await;
        assert!(
            matches!(
                &error,
                Err(ChainError::NotFound { what: "enclave", id }) if *id == bad
            ) || matches!(&error, Err(ChainError::WrongObject { id, .. }) if *id == bad),
            "{error:?}"
        );

        let good = office.register(0x81).await.unwrap();
        office.list(good, "https://m2.example.org").await.unwrap();
        let masters = within(office.chain.corroborated_masters(directory)).await;
        let masters = masters.unwrap();
        assert_eq!(masters.len(), 1, "{masters:?}");
        assert_eq!(masters[0].enclave, good);
    }
}
