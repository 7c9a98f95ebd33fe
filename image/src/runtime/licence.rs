//! Recognises the licences of Go modules by the texts that they carry.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Names that a file with a licence begins with.
const NAMES: [&str; 3] = ["LICENSE", "LICENCE", "COPYING"];
/// How a licence's name ends that is for texts alone, which no program holds.
const DOCUMENTATION: &str = ".DOCS";
/// A licence's text is no longer than this, in bytes.
const BOUND: u64 = 1 << 20;

/// Each licence's SPDX identifier and a part of its text that no other has, in lower case, with single blanks.
/// Of the BSD licences, the one with three clauses has all of the other's text.
const TEXTS: [(&str, &str); 7] = [
    ("Apache-2.0", "apache license version 2.0, january 2004"),
    (
        "BSD-2-Clause",
        "redistributions in binary form must reproduce",
    ),
    (
        "BSD-3-Clause",
        "to endorse or promote products derived from this software",
    ),
    (
        "GPL",
        "everyone is permitted to copy and distribute verbatim copies of this license",
    ),
    ("ISC", "permission to use, copy, modify, and"),
    ("MIT", "permission is hereby granted, free of charge"),
    ("MPL-2.0", "mozilla public license"),
];

/// The licence of the module in a directory, an SPDX expression.
///
/// # Errors
/// When there is no text that this knows, or a licence that is not among those allowed.
pub(super) fn of(directory: &Path, allowed: &[String]) -> Result<String> {
    let mut found: Vec<&str> = Vec::new();
    for entry in
        fs::read_dir(directory).with_context(|| format!("can't read {}", directory.display()))?
    {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_ascii_uppercase();
        let is_licence = NAMES.iter().any(|begin| name.starts_with(begin));
        if !path.is_file() || !is_licence || name.ends_with(DOCUMENTATION) {
            continue;
        }
        if fs::metadata(&path)?.len() > BOUND {
            bail!("{} is too long for a licence", path.display());
        }
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let licences = recognise(&text);
        if licences.is_empty() {
            bail!(
                "{} is no licence that this builder knows; add its text to image/src/runtime/licence.rs",
                path.display()
            );
        }
        found.extend(licences);
    }
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        bail!("{} has no file with a licence", directory.display());
    }
    if let Some(other) = found
        .iter()
        .find(|licence| !allowed.iter().any(|allowed| allowed == *licence))
    {
        bail!(
            "{} has the licence {other}, which packages.toml does not allow",
            directory.display()
        );
    }
    Ok(found.join(" AND "))
}

/// The licences in a text.
fn recognise(text: &str) -> Vec<&'static str> {
    let words =
        text.split(|letter: char| letter.is_whitespace() || matches!(letter, '*' | '#' | '/'));
    let text = words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase();
    let mut found: Vec<&str> = TEXTS
        .iter()
        .filter(|(_, part)| text.contains(part))
        .map(|(licence, _)| *licence)
        .collect();
    if found.contains(&"BSD-3-Clause") {
        found.retain(|licence| *licence != "BSD-2-Clause");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIT: &str = "Permission is hereby granted,\nfree of charge, to any person";
    const BSD: &str = "Redistributions in binary form must reproduce the above";
    const THIRD: &str = "may be used to endorse or promote products derived from\n// this software";

    fn module(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn licences_are_recognised_by_their_texts() {
        assert_eq!(recognise(MIT), ["MIT"]);
        assert_eq!(recognise(BSD), ["BSD-2-Clause"]);
        assert_eq!(recognise(&format!("{BSD} {THIRD}")), ["BSD-3-Clause"]);
        assert_eq!(
            recognise("Apache License\n   Version 2.0, January 2004"),
            ["Apache-2.0"]
        );
        assert!(recognise("All rights reserved.").is_empty());
        // the MPL names the GPL as a secondary licence
        let mpl = "Mozilla Public License Version 2.0: GNU General Public License, Version 2.0";
        assert_eq!(recognise(mpl), ["MPL-2.0"]);
    }

    #[test]
    fn of_two_files_names_both_licences() {
        let module = module(&[
            ("LICENSE", MIT),
            ("COPYING.bsd", BSD),
            ("README", "Apache License Version 2.0, January 2004"),
        ]);
        let allowed = ["MIT", "BSD-2-Clause"].map(str::to_owned);
        assert_eq!(of(module.path(), &allowed).unwrap(), "BSD-2-Clause AND MIT");
    }

    #[test]
    fn of_unknown_or_forbidden_licence_fails() {
        let allowed = ["MIT".to_owned()];
        let error = of(module(&[("README", MIT)]).path(), &allowed)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no file with a licence"), "{error}");
        let error = of(
            module(&[("LICENSE", "All rights reserved.")]).path(),
            &allowed,
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("is no licence"), "{error}");
        let error = of(module(&[("LICENSE.md", BSD)]).path(), &allowed)
            .unwrap_err()
            .to_string();
        assert!(error.contains("BSD-2-Clause, which"), "{error}");
    }
}
