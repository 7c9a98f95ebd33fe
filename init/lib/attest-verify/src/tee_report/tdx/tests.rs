//! On recorded quotes of real machines, and the collateral of their days. `fixtures/reports/README.md`
//! names their origin.

use attest::tee_report::TeeReport;
use fixtures::recorded::tdx as recorded;
use proptest::prelude::*;

use super::*;
use crate::tee_report::Expectations;

/// A quote, its collateral, a time at which both hold, and where its body starts.
#[derive(Clone, Copy)]
struct Recorded {
    quote: &'static [u8],
    collateral: &'static [u8],
    now: u64,
    body: usize,
}

/// Version 4. 2025-07-01.
const V4: Recorded = Recorded {
    quote: recorded::V4_QUOTE,
    collateral: recorded::V4_COLLATERAL,
    now: 1_751_328_000,
    body: 48,
};
/// Version 5, TDX 1.5, of a platform with firmware that is out of date. 2026-03-01.
const V5: Recorded = Recorded {
    quote: recorded::V5_OUTDATED_QUOTE,
    collateral: recorded::V5_OUTDATED_COLLATERAL,
    now: 1_772_323_200,
    body: 54,
};
/// Version 5 with the extended body of TDX 1.5. 2026-10-20.
const V5_EXTENDED: Recorded = Recorded {
    quote: recorded::V5_TD15EX_QUOTE,
    collateral: recorded::V5_TD15EX_COLLATERAL,
    now: 1_792_454_400,
    body: 54,
};

impl Recorded {
    fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        let offset = self.body + offset;
        self.quote[offset..offset + N].try_into().unwrap()
    }

    /// `TDREPORT` as the quote's body: TDX DCAP Quoting Library API, appendix A.3.2.
    fn image(&self) -> Image {
        Image {
            mrtd: self.field(136),
            rtmrs: [328, 376, 424, 472].map(|offset| Some(self.field(offset))),
        }
    }

    fn data(&self) -> [u8; 64] {
        self.field(520)
    }

    fn policy(&self) -> Policy {
        Policy {
            images: Some(vec![self.image()]),
            collateral: Some(Collateral::from_json(self.collateral).unwrap()),
            statuses: vec![TcbStatus::UpToDate],
            advisories: Vec::new(),
        }
    }

    fn check(&self, policy: &Policy) -> Result<VerifiedReport, Refusal> {
        check(self.quote, self.data(), policy, &Roots::vendors(), self.now)
    }
}

fn check(
    quote: &[u8],
    report_data: [u8; 64],
    policy: &Policy,
    roots: &Roots,
    now: u64,
) -> Result<VerifiedReport, Refusal> {
    let report = TeeReport::new(TeeKind::Tdx, quote.to_vec(), Vec::new()).unwrap();
    let expectations = Expectations {
        report_data,
        sev_snp: None,
        tdx: Some(policy.clone()),
        nitro: None,
    };
    crate::tee_report::verify(&report, &expectations, roots, now)
}

#[test]
fn the_root_is_the_one_that_the_library_carries() {
    // the verifier's own root accepts what ours does: they are the same certificate
    assert_eq!(
        Roots::vendors().intel,
        dcap_qvl_root(),
        "src/report/roots/intel-sgx-root.der"
    );
}

/// The root at the end of the recorded collateral's chain, which Intel serves.
fn dcap_qvl_root() -> Vec<u8> {
    let collateral: serde_json::Value = serde_json::from_slice(V4.collateral).unwrap();
    let chain = collateral["tcb_info_issuer_chain"].as_str().unwrap();
    let root = chain
        .split_inclusive("-----END CERTIFICATE-----")
        .nth(1)
        .unwrap();
    let (_, der) = x509_cert::der::pem::decode_vec(root.trim().as_bytes()).unwrap();
    der
}

#[test]
fn recorded_quotes_of_both_versions_verify_up_to_intels_root() {
    for (recorded, version) in [(V4, 4), (V5_EXTENDED, 5)] {
        let verified = recorded.check(&recorded.policy()).unwrap();
        assert_eq!(verified.measurement, recorded.image().mrtd);
        assert!(!verified.machine.is_empty());
        let expected = format!("UpToDate, quote {version}, FMSPC ");
        assert!(
            verified.platform.starts_with(&expected),
            "{}",
            verified.platform
        );
    }
}

#[test]
fn firmware_older_than_any_that_intel_lists_is_refused() {
    let mut policy = V5.policy();
    policy.statuses.push(TcbStatus::OutOfDate);
    let refusal = V5.check(&policy).unwrap_err();
    assert!(matches!(refusal, Refusal::Quote(_)), "{refusal}");
    assert!(
        refusal.to_string().contains("No matching TCB level"),
        "{refusal}"
    );
}

#[test]
fn a_platform_is_taken_only_with_a_standing_that_is_allowed() {
    let mut policy = V4.policy();
    policy.statuses = vec![TcbStatus::SWHardeningNeeded, TcbStatus::Revoked];
    assert_eq!(
        V4.check(&policy),
        Err(Refusal::Status("UpToDate".to_owned()))
    );

    policy.advisories = vec!["INTEL-SA-00837".to_owned()];
    let stands = |status, advisory: &str| check_standing(status, &[advisory.to_owned()], &policy);
    assert_eq!(
        stands(TcbStatus::SWHardeningNeeded, "INTEL-SA-00001"),
        Ok(())
    );
    assert_eq!(
        stands(TcbStatus::SWHardeningNeeded, "intel-sa-00837"),
        Err(Refusal::Advisory("intel-sa-00837".to_owned()))
    );
    assert_eq!(
        stands(TcbStatus::Revoked, "INTEL-SA-00001"),
        Err(Refusal::Status("Revoked".to_owned()))
    );
}

#[test]
fn every_byte_of_a_recorded_quote_counts() {
    for recorded in [V4, V5_EXTENDED] {
        let quote = recorded.quote;
        // Behind the signatures come three certificates as text: their line breaks mean nothing, and
        // the last is a copy of the root, which is not read. Certificates are slow: a sample.
        let begin = b"-----BEGIN".as_slice();
        let certificates: Vec<_> = (0..quote.len())
            .filter(|index| quote[*index..].starts_with(begin))
            .collect();
        let [first, _, root] = certificates[..] else {
            panic!("{certificates:?}")
        };
        let text = (first..root)
            .step_by(7)
            .filter(|index| quote[*index] != b'\n');
        let mut passed = Vec::new();
        for index in (0..first).chain(text) {
            let mut changed = recorded.quote.to_vec();
            changed[index] ^= 1;
            // what is expected changes along, so that only the signatures are left to refuse it
            let mut policy = recorded.policy();
            let field = |offset: usize| -> [u8; 48] {
                let offset = recorded.body + offset;
                changed[offset..offset + 48].try_into().unwrap()
            };
            policy.images = Some(vec![Image {
                mrtd: field(136),
                rtmrs: [None; 4],
            }]);
            let data = recorded.body + 520;
            let data = changed[data..data + 64].try_into().unwrap();
            let outcome = check(&changed, data, &policy, &Roots::vendors(), recorded.now);
            if outcome.is_ok() {
                passed.push(index);
            }
        }
        assert_eq!(passed, [0; 0]);
    }
}

#[test]
fn what_a_recorded_quote_says_is_compared() {
    let fitting = V4.policy();
    let refusal = check(V4.quote, [0; 64], &fitting, &Roots::vendors(), V4.now).unwrap_err();
    assert_eq!(refusal, Refusal::ReportData(TeeKind::Tdx));

    let mut policy = fitting.clone();
    policy.images = Some(Vec::new());
    let other = |what| Refusal::Measurement {
        kind: TeeKind::Tdx,
        what,
    };
    assert_eq!(V4.check(&policy), Err(other("MRTD")));
    for (index, what) in ["RTMR 0", "RTMR 1", "RTMR 2", "RTMR 3"]
        .into_iter()
        .enumerate()
    {
        let mut policy = fitting.clone();
        let mut image = V4.image();
        image.rtmrs[index] = Some([7; 48]);
        policy.images = Some(vec![image]);
        assert_eq!(V4.check(&policy), Err(other(what)));
    }
    // a second image of the same firmware is looked at, too
    let mut policy = fitting;
    let mut image = V4.image();
    image.rtmrs[2] = Some([7; 48]);
    policy.images = Some(vec![image, V4.image()]);
    V4.check(&policy).unwrap();
    // without a list it is the caller's to judge
    policy.images = None;
    assert_eq!(V4.check(&policy).unwrap().measurement, V4.image().mrtd);
}

#[test]
fn no_collateral_foreign_collateral_and_other_times_are_refused() {
    let mut policy = V4.policy();
    policy.collateral = None;
    assert_eq!(V4.check(&policy), Err(Refusal::NoCollateral));
    policy.collateral = V5.policy().collateral;
    assert!(matches!(V4.check(&policy), Err(Refusal::Quote(_))));

    let policy = V4.policy();
    const DAY: u64 = 86_400;
    for now in [V4.now - 60 * DAY, V4.now + 60 * DAY] {
        let outcome = check(V4.quote, V4.data(), &policy, &Roots::vendors(), now);
        assert!(matches!(outcome, Err(Refusal::Quote(_))), "{outcome:?}");
    }
    let mut roots = Roots::vendors();
    roots.intel = roots.aws.clone();
    let outcome = check(V4.quote, V4.data(), &policy, &roots, V4.now);
    assert!(matches!(outcome, Err(Refusal::Quote(_))), "{outcome:?}");
}

#[test]
fn quotes_of_sgx_enclaves_and_other_versions_are_told_apart() {
    let mut sgx = V4.quote.to_vec();
    sgx[4..8].fill(0);
    let outcome = check(&sgx, V4.data(), &V4.policy(), &Roots::vendors(), V4.now);
    assert!(
        matches!(outcome, Err(Refusal::Malformed { .. })),
        "{outcome:?}"
    );
    let mut old = V4.quote.to_vec();
    old[0] = 3;
    let outcome = check(&old, V4.data(), &V4.policy(), &Roots::vendors(), V4.now);
    assert!(
        matches!(
            outcome,
            Err(Refusal::Malformed { .. } | Refusal::Version { .. })
        ),
        "{outcome:?}"
    );
}

#[test]
fn collateral_is_bounded_and_typed() {
    assert!(matches!(
        Collateral::from_json(&vec![b' '; MAXIMUM_COLLATERAL + 1]),
        Err(CollateralError::TooLong(_))
    ));
    assert!(matches!(
        Collateral::from_json(b"{}"),
        Err(CollateralError::Malformed(_))
    ));
}

proptest! {
    #[test]
    fn nothing_brings_the_parser_down(
        quote in proptest::collection::vec(any::<u8>(), 1..200),
        length in 1..5000usize,
    ) {
        let policy = V4.policy();
        let mut whole = V4.quote[..length].to_vec();
        for (to, from) in whole.iter_mut().zip(&quote).skip(8) {
            *to = *from;
        }
        for quote in [&quote, &whole] {
            prop_assert!(check(quote, [0; 64], &policy, &Roots::vendors(), V4.now).is_err());
        }
    }
}
