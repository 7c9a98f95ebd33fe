//! The software bill of materials: what an image holds, by package, as a document of SPDX 2.3 in JSON
//! (<https://spdx.github.io/spdx-spec/v2.3/>). It lies on the node and, the same byte for byte, beside the image.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::crates::Crate;
use crate::digest;
use crate::lock::{Lock, LockedPackage};
use crate::runtime::Runtime;
use crate::tree::Tree;
use crate::wanted::Wanted;

/// Its name beside the image.
pub const NAME: &str = "sbom.spdx.json";
/// Its path in the root.
pub const PATH: &str = "usr/share/k3s-daas/sbom.spdx.json";
/// What SPDX writes where nothing is said.
const UNKNOWN: &str = "NOASSERTION";

/// What an image is made of.
#[derive(Debug)]
pub struct Materials<'a> {
    /// The packages and files that were asked for.
    pub wanted: &'a Wanted,
    /// Their versions and digests.
    pub lock: &'a Lock,
    /// The package that holds the kernel.
    pub kernel: &'a str,
    /// The container runtime.
    pub runtime: &'a Runtime,
    /// What our programs link, and they themselves.
    pub crates: &'a BTreeSet<Crate>,
    /// Version of k3s, or `double`.
    pub k3s: &'a str,
    /// SHA-256 of k3s, hexadecimal.
    pub k3s_sha256: &'a str,
    /// Version of the image.
    pub version: &'a str,
}

/// One package of the document.
struct Component {
    name: String,
    version: String,
    /// SPDX expression, or [`UNKNOWN`].
    licence: String,
    sha256: Option<String>,
    /// Package URL (<https://github.com/package-url/purl-spec>).
    purl: Option<String>,
    supplier: &'static str,
    /// It makes the image, and is not part of it.
    is_tool: bool,
}

/// The names of Debian's packages that an image has files or code of. Tools of the build are not among them.
fn debian_packages(materials: &Materials<'_>) -> BTreeSet<String> {
    let wanted = materials.wanted;
    let mut names: BTreeSet<String> = wanted.root.iter().map(|it| it.package.clone()).collect();
    names.insert(materials.kernel.to_owned());
    for name in [
        &wanted.certificates.package,
        &wanted.stub.package,
        &wanted.boot_loader.package,
        &wanted.runtime.library,
    ] {
        names.insert(name.clone());
    }
    names
}

/// Writes the document, with a line end.
///
/// # Errors
/// When the lock lacks a package.
pub fn document(materials: &Materials<'_>) -> Result<String> {
    let mut components = Vec::new();
    for name in debian_packages(materials) {
        let package = materials.lock.package(&name)?;
        components.push(debian(
            package,
            &materials.lock.suite,
            &materials.lock.architecture,
        ));
    }
    components.push(Component {
        name: "k3s".to_owned(),
        version: materials.k3s.to_owned(),
        licence: "Apache-2.0".to_owned(),
        sha256: Some(materials.k3s_sha256.to_owned()),
        purl: None,
        supplier: UNKNOWN,
        is_tool: false,
    });
    components.extend(go(materials.runtime));
    components.extend(materials.crates.iter().map(of_crate));

    let packages: Vec<Value> = components
        .iter()
        .enumerate()
        .map(|(number, component)| package(number, component))
        .collect();
    let mut relationships = vec![relationship(
        "SPDXRef-DOCUMENT",
        "DESCRIBES",
        "SPDXRef-image",
    )];
    for (number, component) in components.iter().enumerate() {
        let id = identifier(number);
        relationships.push(if component.is_tool {
            relationship(&id, "BUILD_TOOL_OF", "SPDXRef-image")
        } else {
            relationship("SPDXRef-image", "CONTAINS", &id)
        });
    }
    // two documents that differ have two names
    let content = digest::of_bytes(json!(packages).to_string().as_bytes());
    let image = json!({
        "SPDXID": "SPDXRef-image",
        "name": "k3s-daas",
        "versionInfo": materials.version,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseDeclared": UNKNOWN,
        "licenseConcluded": UNKNOWN,
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    });
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("k3s-daas-{}", materials.version),
        "documentNamespace": format!("https://k3s-daas.invalid/sbom/{content}"),
        "creationInfo": {
            "created": timestamp(materials.lock.source_date_epoch),
            "creators": [format!("Tool: k3s-daas-image-{}", materials.version)],
        },
        "packages": std::iter::once(image).chain(packages).collect::<Vec<_>>(),
        "relationships": relationships,
    });
    Ok(format!("{document}\n"))
}

/// Compares the document's packages with where the files of a root come from.
///
/// # Errors
/// Names the first origin that the document does not list.
pub fn check(materials: &Materials<'_>, tree: &Tree) -> Result<()> {
    let debian = debian_packages(materials);
    for (path, entry) in tree.iter() {
        let listed = match entry.origin.split_once([' ', '=']) {
            Some(("crate", name)) => materials.crates.iter().any(|it| it.name == name),
            Some(("go", module)) => materials
                .runtime
                .programs
                .iter()
                .any(|it| module == format!("{}@{}", it.module, it.version)),
            Some(("k3s", version)) => version == materials.k3s,
            Some(("overlay", _)) => true,
            Some((package, _)) => debian.contains(package),
            None => entry.origin == "builder",
        };
        if !listed {
            bail!(
                "/{path} comes from {}, which the software bill of materials does not list",
                entry.origin
            );
        }
    }
    Ok(())
}

fn debian(package: &LockedPackage, suite: &str, architecture: &str) -> Component {
    let version = package.version.replace('+', "%2B").replace(':', "%3A");
    Component {
        name: package.name.clone(),
        version: package.version.clone(),
        licence: UNKNOWN.to_owned(),
        sha256: Some(package.sha256.clone()),
        purl: Some(format!(
            "pkg:deb/debian/{}@{version}?arch={architecture}&distro={suite}",
            package.name.replace('+', "%2B")
        )),
        supplier: "Organization: Debian",
        is_tool: false,
    }
}

fn go(runtime: &Runtime) -> Vec<Component> {
    let module = |name: &str, version: &str, licence: &str| Component {
        name: name.to_owned(),
        version: version.to_owned(),
        licence: licence.to_owned(),
        sha256: None,
        purl: Some(format!("pkg:golang/{name}@{}", version.replace('+', "%2B"))),
        supplier: UNKNOWN,
        is_tool: false,
    };
    let tool = |name: &str, version: &str, licence: &str| Component {
        purl: None,
        is_tool: true,
        ..module(name, version, licence)
    };
    let mut modules: Vec<Component> = runtime
        .modules
        .iter()
        .map(|it| module(&it.path, &it.version, &it.licence))
        .collect();
    for program in &runtime.programs {
        if !modules
            .iter()
            .any(|it| it.name == program.module && it.version == program.version)
        {
            modules.push(module(&program.module, &program.version, UNKNOWN));
        }
    }
    // its library is linked into every program
    modules.push(module("stdlib", &runtime.go, "BSD-3-Clause"));
    modules.push(tool("zig", &runtime.zig, "MIT"));
    modules
}

fn of_crate(linked: &Crate) -> Component {
    let licence = if linked.licence.is_empty() {
        UNKNOWN
    } else {
        &linked.licence
    };
    Component {
        name: linked.name.clone(),
        version: linked.version.clone(),
        licence: licence.to_owned(),
        sha256: linked.sha256.clone(),
        // ours are not published
        purl: linked.sha256.as_ref().map(|_| {
            format!(
                "pkg:cargo/{}@{}",
                linked.name,
                linked.version.replace('+', "%2B")
            )
        }),
        supplier: UNKNOWN,
        is_tool: false,
    }
}

fn identifier(number: usize) -> String {
    format!("SPDXRef-{number}")
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to})
}

fn package(number: usize, component: &Component) -> Value {
    let mut package = json!({
        "SPDXID": identifier(number),
        "name": component.name,
        "versionInfo": component.version,
        "supplier": component.supplier,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseDeclared": component.licence,
        "licenseConcluded": UNKNOWN,
        "copyrightText": UNKNOWN,
    });
    if let Some(sha256) = &component.sha256 {
        package["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": sha256}]);
    }
    if let Some(purl) = &component.purl {
        package["externalRefs"] = json!([{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": purl,
        }]);
    }
    package
}

/// Unix seconds as `2026-09-12T07:55:41Z` (RFC 3339), the form that SPDX wants.
fn timestamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // the Gregorian date, counted in years that begin in March, since the first of March of the year 0
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests;
