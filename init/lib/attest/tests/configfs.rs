//! `configfs-tsm`, against a double of the kernel's side.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, io};

use attest::tee_report::configfs::{Configfs, Entries as _, collect, provider};
use attest::tee_report::{CollectError, REPORT_DATA, TeeKind};
use fixtures::configfs::{SimulatedKernel, report_over};

#[test]
fn the_report_is_over_the_data_and_the_entry_is_gone_afterwards() {
    for (provider, kind) in [("sev_guest", TeeKind::SevSnp), ("tdx_guest", TeeKind::Tdx)] {
        let kernel = SimulatedKernel::new(provider);
        for byte in [1, 2] {
            let report = collect(&kernel, "a", &[byte; REPORT_DATA])
                .unwrap()
                .unwrap();
            assert_eq!(report.kind(), kind);
            assert_eq!(report.bytes(), report_over(&[byte; REPORT_DATA]));
            assert!(report.auxiliary().is_empty());
            assert!(kernel.is_empty());
        }
    }
}

#[test]
fn the_table_of_certificates_of_sev_snp_comes_along() {
    let mut kernel = SimulatedKernel::new("sev_guest");
    kernel.auxiliary = Some(b"certificates".to_vec());
    let report = collect(&kernel, "a", &[1; REPORT_DATA]).unwrap().unwrap();
    assert_eq!(report.auxiliary(), b"certificates");
}

#[test]
fn the_interface_without_a_machine_behind_it_is_no_source() {
    let kernel = SimulatedKernel::new("");
    assert_eq!(provider(&kernel, "a").unwrap(), None);
    let other = SimulatedKernel::new("tdx_guest");
    assert_eq!(provider(&other, "a").unwrap(), Some(TeeKind::Tdx));
    assert!(other.is_empty());
    assert!(collect(&kernel, "a", &[1; REPORT_DATA]).unwrap().is_none());
}

#[test]
fn a_write_of_another_program_spoils_the_report() {
    let kernel = SimulatedKernel::new("tdx_guest");
    kernel.interference.set(1);
    let error = collect(&kernel, "a", &[1; REPORT_DATA]).unwrap_err();
    assert!(
        matches!(
            error,
            CollectError::Generation {
                expected: 1,
                found: 2
            }
        ),
        "{error}"
    );
    assert!(kernel.is_empty());
}

#[test]
fn data_that_the_kernel_refuses_without_a_word_is_noticed() {
    let mut kernel = SimulatedKernel::new("tdx_guest");
    kernel.refuses = true;
    let error = collect(&kernel, "a", &[1; REPORT_DATA]).unwrap_err();
    assert!(
        matches!(
            error,
            CollectError::Generation {
                expected: 1,
                found: 0
            }
        ),
        "{error}"
    );
}

#[test]
fn a_provider_that_is_not_known_is_named() {
    let kernel = SimulatedKernel::new("arm_cca_guest");
    let error = collect(&kernel, "a", &[1; REPORT_DATA]).unwrap_err();
    assert!(error.to_string().contains("arm_cca_guest"), "{error}");
    assert!(kernel.is_empty());
}

#[test]
fn an_entry_of_that_name_that_exists_is_not_touched() {
    let kernel = SimulatedKernel::new("tdx_guest");
    kernel.create("a").unwrap();
    let error = collect(&kernel, "a", &[1; REPORT_DATA]).unwrap_err();
    assert!(matches!(error, CollectError::Entry(_)), "{error}");
    assert_eq!(kernel.generation("a"), 0);
}

#[test]
fn an_endless_attribute_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let configfs = Configfs(directory.path().to_owned());
    configfs.create("a").unwrap();
    fs::write(directory.path().join("a/outblob"), vec![0; 65]).unwrap();
    assert_eq!(configfs.read("a", "outblob", 65).unwrap().len(), 65);
    let error = configfs.read("a", "outblob", 64).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
}
