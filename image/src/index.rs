//! Debian's package indexes: the signed release file and the lists that it vouches for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::digest;
use crate::download::Downloader;
use crate::lock::{Archive, LockedPackage, LockedRelease};

/// An InRelease file is about 150 KB.
const RELEASE_BOUND: u64 = 4 << 20;
/// Packages.xz of the main component is about 10 MB, unpacked 57 MB.
const PACKAGES_BOUND: u64 = 64 << 20;
const UNPACKED_BOUND: u64 = 512 << 20;

/// One entry of a package index.
#[derive(Debug, Clone)]
pub struct Indexed {
    /// What the lock will say of it.
    pub package: LockedPackage,
    /// Its `Depends` field.
    pub depends: String,
}

/// What a suite of an archive offers.
#[derive(Debug)]
pub struct Index {
    /// What the lock will say of its release file.
    pub release: LockedRelease,
    /// The entries asked for, by name.
    pub packages: BTreeMap<String, Indexed>,
}

/// What to read of an archive.
#[derive(Debug, Clone, Copy)]
pub struct Suite<'a> {
    /// Code name, such as `trixie`.
    pub name: &'a str,
    /// Debian architecture.
    pub architecture: &'a str,
    /// Components, such as `main`.
    pub components: &'a [&'a str],
}

/// Reads the index of one suite: its release file, checked with Debian's keys, then the package list of each
/// component, checked against the release file. `wanted` says which names to keep.
///
/// # Errors
/// When the mirror can't be reached or something does not check out.
pub fn read(
    downloader: &Downloader,
    mirror: &str,
    archive: Archive,
    suite: Suite<'_>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Index> {
    let directory = match archive {
        Archive::Debian => suite.name.to_owned(),
        Archive::DebianSecurity => format!("{}-security", suite.name),
    };
    let base = format!("{mirror}dists/{directory}/");
    let url = format!("{base}InRelease");
    let signed = downloader
        .small(&url, RELEASE_BOUND)?
        .with_context(|| format!("{url} does not exist"))?;
    let (release, keys) = verify(&signed).with_context(|| format!("{url} is not vouched for"))?;
    let release = Release::parse(&release).with_context(|| format!("{url} is malformed"))?;
    if release.codename != directory {
        bail!(
            "{url} is the release file of {:?}, not of {directory:?}",
            release.codename
        );
    }
    let mut packages = BTreeMap::new();
    for component in suite.components {
        let place = format!("{component}/binary-{}", suite.architecture);
        let list = format!("{place}/Packages.xz");
        let sha256 = release
            .list(&list)
            .with_context(|| format!("{url} is malformed"))?;
        let packed = package_list(downloader, &base, &place, sha256)?;
        let unpacked = lzma_rust2::XzReader::new(packed.as_slice(), true).take(UNPACKED_BOUND);
        let found = parse_packages(BufReader::new(unpacked), archive, wanted)
            .with_context(|| format!("{base}{list} is malformed"))?;
        for entry in found.into_values() {
            insert_newer(&mut packages, entry);
        }
    }
    Ok(Index {
        release: LockedRelease {
            archive,
            date: release.date,
            valid_until: release.valid_until,
            sha256: digest::of_bytes(&signed),
            keys,
        },
        packages,
    })
}

/// Fetches a package list with this digest.
fn package_list(downloader: &Downloader, base: &str, place: &str, sha256: &str) -> Result<Vec<u8>> {
    // by hash: a mirror in the middle of its update still serves the list that belongs to the release file
    let by_hash = format!("{base}{place}/by-hash/SHA256/{sha256}");
    let url = format!("{base}{place}/Packages.xz");
    let packed = match downloader.small(&by_hash, PACKAGES_BOUND)? {
        Some(packed) => packed,
        None => downloader
            .small(&url, PACKAGES_BOUND)?
            .with_context(|| format!("{url} does not exist"))?,
    };
    if digest::of_bytes(&packed) != sha256 {
        bail!(
            "{url} does not have the SHA-256 that the release file names; the mirror may be updating, try again"
        );
    }
    Ok(packed)
}

/// Debian's keys, wherever this host keeps them: Debian 13 changed the name's end.
fn keyring() -> Result<PathBuf> {
    let directory = Path::new("/usr/share/keyrings");
    let found = ["debian-archive-keyring.pgp", "debian-archive-keyring.gpg"]
        .iter()
        .map(|name| directory.join(name));
    found.into_iter().find(|path| path.exists()).context(
        "this host has no /usr/share/keyrings/debian-archive-keyring.gpg to check Debian's signature with; \
         install the package debian-archive-keyring",
    )
}

/// The signed text of an InRelease file, checked with gpgv against Debian's keys, and the fingerprints of those that
/// signed it.
fn verify(signed: &[u8]) -> Result<(String, Vec<String>)> {
    let directory = tempfile::tempdir().context("can't create a temporary directory")?;
    let input = directory.path().join("InRelease");
    std::fs::write(&input, signed).context("can't write a temporary file")?;
    let output = Command::new("gpgv")
        .args(["--status-fd", "1"])
        .arg("--keyring")
        .arg(keyring()?)
        .args(["--homedir".as_ref(), directory.path().as_os_str()])
        .args([
            "--output".as_ref(),
            directory.path().join("Release").as_os_str(),
            input.as_os_str(),
        ])
        .stdin(Stdio::null())
        .output()
        .context("can't run gpgv to check Debian's signature; install the package gpgv")?;
    if !output.status.success() {
        _ = std::io::stderr().write_all(&output.stderr);
        bail!(
            "gpgv found no good signature by a key of Debian's; update the package debian-archive-keyring"
        );
    }
    let keys = signers(&String::from_utf8_lossy(&output.stdout));
    if keys.is_empty() {
        bail!("gpgv names no key that signed it");
    }
    let text = std::fs::read_to_string(directory.path().join("Release"));
    Ok((text.context("gpgv left no signed text")?, keys))
}

/// The fingerprints of the primary keys of all good signatures, from gpgv's status lines (doc/DETAILS of GnuPG:
/// `VALIDSIG`, whose last word is the primary key's).
fn signers(status: &str) -> Vec<String> {
    let valid = status
        .lines()
        .filter_map(|line| line.strip_prefix("[GNUPG:] VALIDSIG "));
    let keys = valid.filter_map(|line| line.split_whitespace().last());
    let keys: BTreeSet<String> = keys.map(str::to_owned).collect();
    keys.into_iter().collect()
}

/// What a build needs of a release file.
#[derive(Debug, PartialEq, Eq)]
struct Release {
    codename: String,
    date: u64,
    valid_until: Option<u64>,
    /// SHA-256 of the files that it lists, by path.
    lists: BTreeMap<String, String>,
}

impl Release {
    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.with_context(|| format!("it has no field {name}"))
        };
        let sums = text.lines().skip_while(|line| *line != "SHA256:").skip(1);
        let sums = sums.take_while(|line| line.starts_with(' '));
        let lists = sums.filter_map(|line| {
            let mut words = line.split_whitespace();
            let digest = words.next()?.to_owned();
            Some((words.nth(1)?.to_owned(), digest))
        });
        Ok(Self {
            codename: field("Codename")?.to_owned(),
            date: parse_date(field("Date")?)?,
            valid_until: field("Valid-Until").ok().map(parse_date).transpose()?,
            lists: lists.collect(),
        })
    }

    /// The SHA-256 of a file that it lists.
    fn list(&self, path: &str) -> Result<&str> {
        let sha256 = self.lists.get(path);
        Ok(sha256.with_context(|| format!("it does not list {path}"))?)
    }
}

/// A release file's date, `Sat, 12 Sep 2026 07:55:41 UTC`, in Unix seconds.
fn parse_date(text: &str) -> Result<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let parse = || {
        let words: Vec<&str> = text
            .split([' ', ':'])
            .filter(|word| !word.is_empty())
            .collect();
        let [
            _,
            day,
            month,
            year,
            hour,
            minute,
            second,
            "UTC" | "GMT" | "+0000",
        ] = words[..]
        else {
            return None;
        };
        let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
        let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
        let (hour, minute, second): (u64, u64, u64) = (
            hour.parse().ok()?,
            minute.parse().ok()?,
            second.parse().ok()?,
        );
        if !(1970..=9999).contains(&year) || day > 31 || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        // days since 1970 of a Gregorian date, counted in years that begin in March
        let shifted_year = if month <= 2 { year - 1 } else { year };
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let days = shifted_year * 365 + shifted_year / 4 - shifted_year / 100
            + shifted_year / 400
            + day_of_year;
        Some((days - 719_468) * 86_400 + hour * 3_600 + minute * 60 + second)
    };
    parse().with_context(|| {
        format!("its date {text:?} is not of the form `Sat, 12 Sep 2026 07:55:41 UTC`")
    })
}

/// Parses a package list (deb822(5)) as it streams by; of several versions the newest is kept.
fn parse_packages(
    list: impl BufRead,
    archive: Archive,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, Indexed>> {
    let mut packages = BTreeMap::new();
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let keep: BTreeSet<&str> = [
        "Package", "Version", "Depends", "Filename", "Size", "SHA256",
    ]
    .into();
    let mut finish = |fields: &mut BTreeMap<String, String>| -> Result<()> {
        let mut fields = std::mem::take(fields);
        let Some(name) = fields.remove("Package").filter(|name| wanted(name)) else {
            return Ok(());
        };
        let mut field = |field: &str| {
            fields
                .remove(field)
                .with_context(|| format!("{name} has no field {field}"))
        };
        let size = field("Size")?;
        let package = LockedPackage {
            version: field("Version")?,
            archive,
            path: field("Filename")?,
            size: size
                .parse()
                .with_context(|| format!("{name} has the size {size:?}"))?,
            sha256: field("SHA256")?,
            name: name.clone(),
        };
        let depends = fields.remove("Depends").unwrap_or_default();
        insert_newer(&mut packages, Indexed { package, depends });
        Ok(())
    };
    for line in list.lines() {
        let line = line?;
        if line.is_empty() {
            finish(&mut fields)?;
        } else if let Some((name, value)) = line.split_once(": ")
            && keep.contains(name)
        {
            fields.insert(name.to_owned(), value.to_owned());
        }
    }
    finish(&mut fields)?;
    Ok(packages)
}

/// Adds an entry, unless one of the same or a newer version is there.
pub fn insert_newer(packages: &mut BTreeMap<String, Indexed>, entry: Indexed) {
    let older = packages.get(&entry.package.name).is_none_or(|present| {
        crate::version::compare(&present.package.version, &entry.package.version).is_lt()
    });
    if older {
        packages.insert(entry.package.name.clone(), entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: &str = "Origin: Debian\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nMD5Sum:\n \
        00 1 main/binary-amd64/Packages.xz\nSHA256:\n aa 1 main/binary-amd64/Packages.xz.old\n \
        bb 2 main/binary-amd64/Packages.xz\n";

    #[test]
    fn a_release_file_is_read() {
        let release = Release::parse(RELEASE).unwrap();
        assert_eq!(
            (release.codename.as_str(), release.date, release.valid_until),
            ("trixie", 1_789_199_741, None)
        );
        assert_eq!(release.list("main/binary-amd64/Packages.xz").unwrap(), "bb");
        let error = release.list("main/binary-arm64/Packages.xz").unwrap_err();
        assert!(error.to_string().contains("does not list"));
    }

    #[test]
    fn signers_are_the_primary_keys_of_good_signatures() {
        let status = "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 6ED0 Debian\n\
            [GNUPG:] VALIDSIG AA11 2026-11-21 1795252600 0 4 0 1 8 01 BB22\n[GNUPG:] ERRSIG 1 2 3\n\
            [GNUPG:] VALIDSIG AA12 2026-11-21 1795252600 0 4 0 1 8 01 BB22\n";
        assert_eq!(signers(status), ["BB22"]);
        assert!(signers("[GNUPG:] NODATA 1\n").is_empty());
    }

    #[test]
    fn dates_are_checked() {
        assert_eq!(parse_date("Thu, 01 Jan 1970 00:00:00 UTC").unwrap(), 0);
        assert_eq!(
            parse_date("Thu, 29 Feb 2024 23:59:59 UTC").unwrap(),
            1_709_251_199
        );
        for broken in [
            "",
            "Sat, 12 Sep 2026 07:55:41 CET",
            "Sat, 12 Foo 2026 07:55:41 UTC",
            "12 Sep 2026",
        ] {
            assert!(parse_date(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_package_list_is_read() {
        let list = "Package: a\nVersion: 1-9\nFilename: pool/a_1-9.deb\nSize: 3\nSHA256: aa\nDescription: x\n y: z\n\n\
            Package: skip\nVersion: 1\n\nPackage: a\nVersion: 1-10\nDepends: b (= 1), c\nFilename: pool/a_1-10.deb\n\
            Size: 4\nSHA256: bb\n";
        let packages =
            parse_packages(list.as_bytes(), Archive::Debian, &|name| name != "skip").unwrap();
        assert_eq!(packages.len(), 1);
        assert_eq!(packages["a"].package.version, "1-10");
        assert_eq!(packages["a"].depends, "b (= 1), c");
        let error = parse_packages(
            "Package: a\nVersion: 1\n".as_bytes(),
            Archive::Debian,
            &|_| true,
        )
        .unwrap_err();
        assert!(error.to_string().contains("a has no field"));
    }
}
