//! What systemd's stub measures of a unified kernel image into PCR 11, told before it boots.
//!
//! After the source of systemd 257: `src/fundamental/uki.c` for the sections and their order,
//! `src/boot/stub.c` (`find_sections`, `measure_sections`) for what it takes and hashes, `src/boot/pe.c`
//! for how profiles divide the section table. A stub of another version may measure otherwise; the
//! scenario `measured_boot_matches_the_manifest` finds out.

use anyhow::{Context, Result, bail};
use seal::tpm::crypto::{Digest, sha256};
use seal::tpm::pcr;

use crate::pe::{self, Section};

/// The section that begins a profile.
pub const PROFILE: &str = ".profile";

/// The sections that the stub measures, in its order. `.pcrsig` is not among them: it is signed over the
/// result.
const MEASURED: [&str; 13] = [
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat",
    ".pcrpkey", PROFILE, ".dtbauto", ".hwids",
];

/// PCR 11 as the stub leaves it when it boots a profile of the image: 0 is the one that boots unless
/// another was asked for.
///
/// For each section that the profile has, by itself or from what stands before the first profile, the PCR
/// is extended by the hash of the section's name with its final zero, and by the hash of its content in
/// memory. Sections of the stub itself count, such as its `.sbat`; empty ones do not.
///
/// # Errors
/// When the program is no UEFI program, or has no such profile.
pub fn pcr11(program: &[u8], profile: usize) -> Result<Digest> {
    let extended = |value, digest| pcr::extended(&value, &digest);
    Ok(digests(program, profile)?
        .into_iter()
        .fold(Digest::default(), extended))
}

/// What the stub extends PCR 11 by, in its order.
///
/// # Errors
/// As [`pcr11`].
pub fn digests(program: &[u8], profile: usize) -> Result<Vec<Digest>> {
    let sections = pe::sections(program)?;
    let (base, own) = profile_of(&sections, profile)?;
    let find = |name| {
        let named = |section: &&Section<'_>| section.name == name;
        // one of the profile's own hides the common one, also where it is empty
        own.iter().find(named).or_else(|| base.iter().find(named))
    };
    find(".linux").context("it has no kernel")?;
    let mut digests = Vec::new();
    for name in MEASURED {
        let content = find(name).map(Section::in_memory).unwrap_or_default();
        if content.is_empty() {
            continue;
        }
        digests.push(sha256(&[name.as_bytes(), &[0]]));
        digests.push(sha256(&[&content]));
    }
    Ok(digests)
}

/// The sections that all profiles share, and those of one alone.
fn profile_of<'a, 'b>(
    sections: &'a [Section<'b>],
    profile: usize,
) -> Result<(&'a [Section<'b>], &'a [Section<'b>])> {
    let mut parts = sections.chunk_by(|_, next| next.name != PROFILE).peekable();
    let base = parts
        .next_if(|part| part.first().is_none_or(|first| first.name != PROFILE))
        .unwrap_or_default();
    match parts.nth(profile) {
        Some(own) => Ok((base, own)),
        // an image without any has one all the same
        None if profile == 0 => Ok((base, &[])),
        None => bail!("it has no profile {profile}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pe::{Addition, Kind, add_sections, tests::stub};

    fn program(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let sections: Vec<_> = sections
            .iter()
            .map(|(name, content)| Addition {
                name,
                content,
                kind: Kind::Data,
            })
            .collect();
        add_sections(stub(), &sections).unwrap()
    }

    /// The rule written out for sections that are known to count.
    fn expected(sections: &[(&str, &[u8])]) -> Digest {
        sections
            .iter()
            .fold(Digest::default(), |value, (name, content)| {
                let name = sha256(&[format!("{name}\0").as_bytes()]);
                let value = sha256(&[&value, &name]);
                sha256(&[&value, &sha256(&[content])])
            })
    }

    #[test]
    fn sections_count_in_the_stubs_order_with_the_stubs_own_and_without_the_signature() {
        let image = program(&[
            (".cmdline", b"quiet"),
            (".pcrsig", b"{}"),
            (".pcrpkey", b"key"),
            (".osrel", b""),
            (".other", b"x"),
            (".linux", b"kernel"),
        ]);
        let counted: [(&str, &[u8]); 4] = [
            (".linux", b"kernel"),
            (".cmdline", b"quiet"),
            // of the stub: longer in memory than in the file
            (".sbat", b"sba\0\0"),
            (".pcrpkey", b"key"),
        ];
        assert_eq!(pcr11(&image, 0).unwrap(), expected(&counted));
    }

    #[test]
    fn a_profile_has_what_all_have_but_for_its_own() {
        let image = program(&[
            (".linux", b"kernel"),
            (".cmdline", b"quiet"),
            (".uname", b"6.12"),
            (PROFILE, b"ID=main"),
            (PROFILE, b"ID=reset"),
            (".cmdline", b"quiet reset"),
            (".uname", b""),
        ]);
        let main: [(&str, &[u8]); 5] = [
            (".linux", b"kernel"),
            (".cmdline", b"quiet"),
            (".uname", b"6.12"),
            (".sbat", b"sba\0\0"),
            (PROFILE, b"ID=main"),
        ];
        assert_eq!(pcr11(&image, 0).unwrap(), expected(&main));
        let reset: [(&str, &[u8]); 4] = [
            (".linux", b"kernel"),
            (".cmdline", b"quiet reset"),
            (".sbat", b"sba\0\0"),
            (PROFILE, b"ID=reset"),
        ];
        assert_eq!(pcr11(&image, 1).unwrap(), expected(&reset));
        assert!(pcr11(&image, 2).is_err());
    }

    #[test]
    fn an_image_without_a_kernel_is_told() {
        let error = pcr11(&program(&[(".cmdline", b"quiet")]), 0).unwrap_err();
        assert!(error.to_string().contains("no kernel"), "{error}");
    }
}
