//! Root certificates in PEM, checked as far as those who trust them later will look.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::values::Expectation;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The most certificates that are taken as roots.
const MAXIMUM_ROOTS: usize = 16;

const WHY: Expectation = Expectation::new(
    "1 to 16 X.509 certificates in PEM (RFC 7468)",
    "put the whole text of the file between two lines of three quotation marks; `openssl x509 \
     -noout -text` must be able to read it",
);

/// Checks that a text is certificates and nothing else, each of them whole DER (RFC 5280).
pub(crate) fn certificates(text: &str) -> Result<String, Expectation> {
    let mut rest = text.trim();
    let mut count = 0;
    while !rest.is_empty() || count == 0 {
        let (body, after) = rest
            .strip_prefix(BEGIN)
            .and_then(|inner| inner.split_once(END))
            .ok_or(WHY)?;
        let body: String = body.split_whitespace().collect();
        let bytes = STANDARD.decode(body).map_err(|_| WHY)?;
        Certificate::from_der(&bytes).map_err(|_| WHY)?;
        count += 1;
        if count > MAXIMUM_ROOTS {
            return Err(WHY);
        }
        rest = after.trim_start();
    }
    Ok(text.trim().to_owned() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1`.
    use fixtures::documents::ROOT;

    fn pem(bytes: &[u8]) -> String {
        format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(bytes))
    }

    fn der() -> Vec<u8> {
        let body: String = ROOT.lines().filter(|line| !line.starts_with('-')).collect();
        STANDARD.decode(body).expect("base64")
    }

    #[test]
    fn one_and_several_are_taken() {
        assert_eq!(certificates(ROOT), Ok(ROOT.to_owned()));
        assert!(certificates(&format!("\n{ROOT}\n{ROOT}")).is_ok());
        assert!(certificates(&ROOT.repeat(MAXIMUM_ROOTS + 1)).is_err());
        assert!(certificates(&pem(&der())).is_ok());
    }

    #[test]
    fn what_only_looks_like_one_is_refused() {
        let der = der();
        let mut longer = der.clone();
        longer.push(0);
        let mut other_tag = der.clone();
        other_tag[4] = 0x31;
        for bytes in [
            &b""[..],
            &[0x30, 0x00],
            &[0x30, 0x82, 0x01],
            &der[..der.len() - 1],
            &longer,
            &other_tag,
        ] {
            assert!(certificates(&pem(bytes)).is_err(), "{bytes:?}");
        }
        assert!(certificates("").is_err());
        assert!(certificates(&format!("{ROOT}-----BEGIN PRIVATE KEY-----")).is_err());
    }
}
