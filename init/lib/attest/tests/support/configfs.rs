//! A double of the kernel's side of `configfs-tsm`: a real directory, whose files change as
//! Documentation/ABI/testing/configfs-tsm says that the kernel's do.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test program uses its own part of this, and fails by panicking"
)]

use std::cell::Cell;
use std::{fs, io};

use attest::report::configfs::{Configfs, Entries};
use tempfile::TempDir;

/// What makes a report of data.
pub type Firmware = dyn Fn(&[u8]) -> io::Result<Vec<u8>> + Send;

/// A double of the kernel's side. Everything goes through the real file operations first.
pub struct SimulatedKernel {
    directory: TempDir,
    configfs: Configfs,
    provider: &'static str,
    /// What the firmware or the host makes of the data; an error is what reading its report gives.
    pub firmware: Box<Firmware>,
    pub auxiliary: Option<Vec<u8>>,
    /// Another program's writes between ours and the read of the report.
    pub interference: Cell<u64>,
    /// Whether the kernel refuses what was written, of which close(2) says nothing.
    pub refuses: bool,
}

impl SimulatedKernel {
    pub fn new(provider: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            configfs: Configfs(directory.path().to_owned()),
            directory,
            provider,
            firmware: Box::new(|data| Ok(report_over(data))),
            auxiliary: None,
            interference: Cell::new(0),
            refuses: false,
        }
    }

    fn put(&self, entry: &str, attribute: &str, value: &[u8]) {
        fs::write(self.directory.path().join(entry).join(attribute), value).unwrap();
    }

    pub fn generation(&self, entry: &str) -> u64 {
        let path = self.directory.path().join(entry).join("generation");
        fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }

    fn advance(&self, entry: &str, by: u64) {
        let next = self.generation(entry) + by;
        self.put(entry, "generation", format!("{next}\n").as_bytes());
    }

    pub fn is_empty(&self) -> bool {
        fs::read_dir(self.directory.path())
            .unwrap()
            .next()
            .is_none()
    }
}

/// What the double's firmware makes of its input where the test has no better one.
pub fn report_over(report_data: &[u8]) -> Vec<u8> {
    [b"a report over ", report_data].concat()
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
            self.put(entry, "outblob", &(self.firmware)(&input)?);
            if let Some(auxiliary) = &self.auxiliary {
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
