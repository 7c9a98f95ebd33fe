//! Messages of the Nitro Security Module: CBOR, as `aws-nitro-enclaves-nsm-api` lays them out.

use ciborium::Value;
use thiserror::Error;

use super::report::REPORT_DATA;

/// How deep an answer may nest. It has three levels.
const DEPTH: usize = 8;

/// Why an answer holds no document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Not CBOR.
    #[error("its answer is no CBOR")]
    Malformed,
    /// An error of the module's, by its name.
    #[error("it answered with the error {0}")]
    Module(String),
    /// An answer to something else.
    #[error("its answer is not to a request for a document")]
    Unexpected,
}

/// The request for a document with this nonce.
#[must_use]
pub fn request(nonce: &[u8; REPORT_DATA]) -> Vec<u8> {
    let text = |text: &str| Value::Text(text.to_owned());
    let request = Value::Map(vec![(
        text("Attestation"),
        Value::Map(vec![
            (text("user_data"), Value::Null),
            (text("nonce"), Value::Bytes(nonce.to_vec())),
            (text("public_key"), Value::Null),
        ]),
    )]);
    let mut bytes = Vec::new();
    // a vector takes all that is written to it, and these values all have an encoding
    let written = ciborium::into_writer(&request, &mut bytes);
    debug_assert!(written.is_ok());
    bytes
}

/// The document in an answer.
///
/// # Errors
///
/// When there is none.
pub fn document(answer: &[u8]) -> Result<Vec<u8>, AnswerError> {
    let mut rest = answer;
    let value: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH)
        .map_err(|_| AnswerError::Malformed)?;
    let (name, content) = only_entry(value).ok_or(AnswerError::Unexpected)?;
    match (name.as_str(), content) {
        ("Attestation", content) => match only_entry(content) {
            Some((name, Value::Bytes(document))) if name == "document" => Ok(document),
            _ => Err(AnswerError::Unexpected),
        },
        ("Error", Value::Text(error)) => Err(AnswerError::Module(error.chars().take(64).collect())),
        _ => Err(AnswerError::Unexpected),
    }
}

/// The one entry of a map, whose key is text.
fn only_entry(value: Value) -> Option<(String, Value)> {
    let [(name, content)] = <[_; 1]>::try_from(value.into_map().ok()?).ok()?;
    Some((name.into_text().ok()?, content))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cbor(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    fn map(name: &str, content: Value) -> Value {
        Value::Map(vec![(Value::Text(name.to_owned()), content)])
    }

    #[test]
    fn the_request_is_byte_for_byte_that_of_the_modules_own_library() {
        // serde_cbor of `Request::Attestation { user_data: None, nonce: Some(..), public_key: None }`
        let expected = [
            b"\xa1\x6bAttestation\xa3\x69user_data\xf6\x65nonce\x58\x40".as_slice(),
            &[7; REPORT_DATA],
            b"\x6apublic_key\xf6",
        ]
        .concat();
        assert_eq!(request(&[7; REPORT_DATA]), expected);
    }

    #[test]
    fn answers_are_documents_or_errors_by_name() {
        let answer = map("Attestation", map("document", Value::Bytes(vec![1, 2])));
        assert_eq!(document(&cbor(&answer)), Ok(vec![1, 2]));
        let answer = map("Error", Value::Text("InvalidArgument".to_owned()));
        assert_eq!(
            document(&cbor(&answer)),
            Err(AnswerError::Module("InvalidArgument".to_owned()))
        );
        let answer = map("GetRandom", map("random", Value::Bytes(vec![1])));
        assert_eq!(document(&cbor(&answer)), Err(AnswerError::Unexpected));
        assert_eq!(document(b"\xff"), Err(AnswerError::Malformed));
        assert_eq!(document(&[0x81; 4096]), Err(AnswerError::Malformed));
    }

    proptest! {
        #[test]
        fn no_answer_brings_it_down(answer in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = document(&answer);
        }
    }
}
