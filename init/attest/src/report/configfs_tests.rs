//! Against a double of the kernel: a real directory, whose files change as
//! Documentation/ABI/testing/configfs-tsm says that the kernel's do.

use std::cell::Cell;

use sha2::{Digest as _, Sha512};
use tempfile::TempDir;

use super::*;

/// A double of the kernel's side. Everything goes through the real file operations first.
struct SimulatedKernel {
    directory: TempDir,
    configfs: Configfs,
    provider: &'static str,
    auxiliary: Option<&'static [u8]>,
    /// Another program's writes between ours and the read of the report.
    interference: Cell<u64>,
    /// Whether the kernel refuses what was written, of which close(2) says nothing.
    refuses: bool,
}

impl SimulatedKernel {
    fn new(provider: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            configfs: Configfs(directory.path().to_owned()),
            directory,
            provider,
            auxiliary: None,
            interference: Cell::new(0),
            refuses: false,
        }
    }

    fn put(&self, entry: &str, attribute: &str, value: &[u8]) {
        fs::write(self.directory.path().join(entry).join(attribute), value).unwrap();
    }

    fn generation(&self, entry: &str) -> u64 {
        let path = self.directory.path().join(entry).join("generation");
        fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }

    fn advance(&self, entry: &str, by: u64) {
        let next = self.generation(entry) + by;
        self.put(entry, "generation", format!("{next}\n").as_bytes());
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(self.directory.path())
            .unwrap()
            .next()
            .is_none()
    }
}

/// What the double's firmware makes of its input.
fn report_over(report_data: &[u8]) -> Vec<u8> {
    Sha512::digest(report_data).to_vec()
}

impl Entries for SimulatedKernel {
    fn create(&self, entry: &str) -> io::Result<()> {
        if self.provider.is_empty() {
            return Err(io::Error::from_raw_os_error(6));
        }
        self.configfs.create(entry)?;
        self.put(entry, "generation", b"0\n");
        self.put(entry, "provider", format!("{}\n", self.provider).as_bytes());
        self.put(entry, "inblob", b"");
        Ok(())
    }

    fn remove(&self, entry: &str) -> io::Result<()> {
        // in configfs the attributes go with their directory
        for file in fs::read_dir(self.directory.path().join(entry)).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        self.configfs.remove(entry)
    }

    fn read(&self, entry: &str, attribute: &str, maximum: usize) -> io::Result<Vec<u8>> {
        if attribute == "outblob" {
            let path = self.directory.path().join(entry).join("inblob");
            let input = fs::read(path).unwrap();
            if self.generation(entry) == 0 || input.is_empty() {
                return Err(io::Error::from(io::ErrorKind::InvalidInput));
            }
            self.advance(entry, self.interference.take());
            self.put(entry, "outblob", &report_over(&input));
            if let Some(auxiliary) = self.auxiliary {
                self.put(entry, "auxblob", auxiliary);
            }
        }
        self.configfs.read(entry, attribute, maximum)
    }

    fn write(&self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<()> {
        self.configfs.write(entry, attribute, value)?;
        // TSM_REPORT_INBLOB_MAX
        if !self.refuses && value.len() <= 64 {
            self.advance(entry, 1);
        }
        Ok(())
    }
}

#[test]
fn the_report_is_over_the_data_and_the_entry_is_gone_afterwards() {
    for (provider, kind) in [("sev_guest", Kind::SevSnp), ("tdx_guest", Kind::Tdx)] {
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
    kernel.auxiliary = Some(b"certificates");
    let report = collect(&kernel, "a", &[1; REPORT_DATA]).unwrap().unwrap();
    assert_eq!(report.auxiliary(), b"certificates");
}

#[test]
fn the_interface_without_a_machine_behind_it_is_no_source() {
    let kernel = SimulatedKernel::new("");
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
