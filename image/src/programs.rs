//! Our own programs, as cargo has left them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::elf;

/// Where our own programs are: directories, of which the first that has one counts.
#[derive(Debug, Clone)]
pub struct Programs(Vec<PathBuf>);

impl Programs {
    /// Programs in these directories.
    #[must_use]
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self(directories)
    }

    /// Where a program is.
    ///
    /// # Errors
    /// When no directory has it.
    pub fn find(&self, name: &str) -> Result<PathBuf> {
        let mut paths = self.0.iter().map(|directory| directory.join(name));
        paths
            .find(|path| path.is_file())
            .with_context(|| format!("the program {name} is missing: `./build.sh image` builds it"))
    }

    /// Reads a program and checks that it is static.
    ///
    /// # Errors
    /// When it is missing, or is not a static program.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.find(name)?;
        let content =
            std::fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        elf::check_static(name, &content)?;
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn programs_of_two_directories_are_of_the_first() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(one.path().join("init"), "one").unwrap();
        for name in ["init", "netd"] {
            fs::write(other.path().join(name), "other").unwrap();
        }
        let programs = Programs::new(vec![one.path().to_owned(), other.path().to_owned()]);
        assert_eq!(programs.find("init").unwrap(), one.path().join("init"));
        assert_eq!(programs.find("netd").unwrap(), other.path().join("netd"));
        let error = programs.find("staker").unwrap_err().to_string();
        assert!(error.contains("staker is missing"), "{error}");
        // not a static program
        assert!(programs.read("init").is_err());
    }
}
