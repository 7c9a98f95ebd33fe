//! The master's configuration: one TOML file, checked before anything listens.

pub(crate) mod error;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chain::{ChainId, ChainSettings, ObjectId};
use serde::Deserialize;
use wire::ServerUrl;

use crate::cluster::KubernetesSettings;
use crate::cluster::settings::KubernetesTable;
use crate::files::read_bounded;
use crate::trust::settings::{AttestationTable, EnclaveTable, FirmwareMode, TrustSettings};

pub use error::MasterSettingsError;

/// How far a fullnode's last checkpoint may lie behind: a join token is not handed out on old
/// news.
const STALENESS: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    listen: SocketAddr,
    certificate: PathBuf,
    key: PathBuf,
    chain: ChainTable,
    join: JoinTable,
    kubernetes: Option<KubernetesTable>,
    #[serde(default)]
    attestation: AttestationTable,
    enclave: Option<EnclaveTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainTable {
    chain_id: ChainId,
    fullnodes: Vec<ServerUrl>,
    root_certificate: Option<String>,
    package: ObjectId,
    pool: ObjectId,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinTable {
    server: ServerUrl,
    token_file: Option<PathBuf>,
}

/// What the master is told.
#[derive(Debug, Clone)]
pub struct MasterSettings {
    /// Where it listens; port 0 takes any.
    pub listen: SocketAddr,
    /// Its certificate chain, a PEM file.
    pub certificate: PathBuf,
    /// The certificate's key, a PEM file that others can't read.
    pub key: PathBuf,
    /// Where stakes are.
    pub chain: ChainSettings,
    /// What an accepted node gets.
    pub join: JoinSettings,
    /// Who the master is, and what it asks of nodes beside their stake.
    pub trust: TrustSettings,
}

/// What an accepted node gets.
#[derive(Debug, Clone)]
pub struct JoinSettings {
    /// The cluster's address for `k3s agent`.
    pub server: ServerUrl,
    /// Where its token comes from.
    pub source: TokenSource,
}

/// Where join tokens come from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// A file with one token for all; it is read for every registration, so that it can be changed
    /// at any time.
    File(PathBuf),
    /// The cluster: a token for each node, and for a short time.
    Kubernetes(KubernetesSettings),
}

impl MasterSettings {
    /// Reads the file. Relative paths in it start from its folder.
    ///
    /// # Errors
    /// Names the file and, where the fault is in the document, line and field.
    pub fn load(path: &Path) -> Result<Self, MasterSettingsError> {
        let bytes = read_bounded(path)?;
        let document = |detail: String| MasterSettingsError::Document {
            path: path.to_owned(),
            detail,
        };
        let text = std::str::from_utf8(&bytes).map_err(|error| document(error.to_string()))?;
        Self::parse(path, text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, MasterSettingsError> {
        let parsed: Document =
            toml::from_str(text).map_err(|error| MasterSettingsError::Document {
                path: path.to_owned(),
                detail: error.to_string().trim_end().to_owned(),
            })?;
        let table = parsed.chain;
        let mut chain = ChainSettings::new(
            table.chain_id,
            table.fullnodes,
            table.root_certificate,
            table.package,
            table.pool,
        )
        .map_err(|source| MasterSettingsError::Chain {
            path: path.to_owned(),
            source,
        })?;
        chain.timeouts.staleness = STALENESS;
        let folder = path.parent().unwrap_or(Path::new(""));
        let source = match (parsed.join.token_file, parsed.kubernetes) {
            (Some(file), None) => TokenSource::File(folder.join(file)),
            (None, Some(table)) => TokenSource::Kubernetes(table.check(path)?),
            (file, _) => {
                return Err(MasterSettingsError::Field {
                    path: path.to_owned(),
                    field: "join.token_file, [kubernetes]",
                    found: if file.is_some() { "both" } else { "neither" }.to_owned(),
                    expected: "one of the two: [kubernetes] for a token of its own for each node, \
                               or a file with one token for all",
                });
            }
        };
        let trust = TrustSettings::parse(path, folder, parsed.attestation, parsed.enclave)?;
        let evidence = trust.evidence.as_ref();
        let pinned = evidence.is_some_and(|asked| asked.firmware == FirmwareMode::Pinned);
        if pinned && matches!(source, TokenSource::File(_)) {
            return Err(MasterSettingsError::Field {
                path: path.to_owned(),
                field: "attestation.firmware",
                found: "pinned".to_owned(),
                expected: "[kubernetes] beside it: that is where firmware is recorded",
            });
        }
        Ok(Self {
            listen: parsed.listen,
            certificate: folder.join(parsed.certificate),
            key: folder.join(parsed.key),
            chain,
            join: JoinSettings {
                server: parsed.join.server,
                source,
            },
            trust,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Credentials;

    fn id(byte: &str) -> String {
        format!("0x{}", byte.repeat(32))
    }

    fn document() -> String {
        format!(
            r#"listen = "127.0.0.1:8443"
certificate = "master.pem"
key = "/etc/daas/master.key"

[chain]
chain_id = "{chain_id}"
fullnodes = ["https://127.0.0.1:9000"]
package = "{package}"
pool = "{pool}"

[join]
server = "https://10.0.2.2:6443/"
token_file = "token"

[attestation]
endorsement_roots = "makers.pem"
secure_boot_certificates = "publisher.pem"
releases = "{releases}"

[enclave]
id = "{enclave}"
key = "enclave.key"
"#,
            chain_id = ChainId::from_bytes([7; 32]),
            package = id("a1"),
            pool = id("b2"),
            releases = id("c3"),
            enclave = id("d4"),
        )
    }

    fn parse(text: &str) -> Result<MasterSettings, MasterSettingsError> {
        MasterSettings::parse(Path::new("/srv/master.toml"), text)
    }

    #[test]
    fn firmware_settings_are_checked() {
        let with = |line: &str| {
            let text = document().replace("[enclave]", &format!("{line}\n[enclave]"));
            parse(&text).map(|settings| settings.trust.evidence.unwrap())
        };
        let plain = with("").unwrap();
        assert_eq!(plain.firmware, FirmwareMode::Recorded);
        assert!(plain.allowed_firmware.is_none());
        let listed = with(&format!(
            "allowed_firmware = [{{ pcr0 = \"{0}\" }}, {{ pcr0 = \"{0}\", pcr2 = \"{0}\" }}]",
            "ab".repeat(32)
        ));
        let listed = listed.unwrap().allowed_firmware.unwrap();
        assert_eq!(listed[0].pcr0, Some([0xab; 32]));
        assert_eq!((listed[0].pcr2, listed[1].pcr2), (None, Some([0xab; 32])));
        for wrong in [
            "allowed_firmware = []",
            "allowed_firmware = [{}]",
            "allowed_firmware = [{ pcr0 = \"ab\" }]",
            "firmware = \"any\"",
            // nowhere to record it
            "firmware = \"pinned\"",
        ] {
            let error = with(wrong).unwrap_err();
            assert!(error.to_string().contains("firmware"), "{wrong}: {error}");
        }
    }

    #[test]
    fn admitted_endorsement_keys_are_checked() {
        let with = |line: &str| {
            let text = document().replace("[enclave]", &format!("{line}\n[enclave]"));
            parse(&text).map(|settings| settings.trust.evidence.unwrap())
        };
        let entry = |key: &str, reason: &str| format!("{{ key = {key:?}, reason = {reason:?} }}");
        let list =
            |entries: &[String]| format!("admitted_endorsement_keys = [{}]", entries.join(", "));
        let key = format!("000b{}", "ab".repeat(32));
        let good = entry(&key.to_uppercase(), " fTPM of rack 7 ");
        let admitted = with(&list(std::slice::from_ref(&good))).unwrap();
        let admitted = admitted.admitted_endorsement_keys;
        assert_eq!(admitted[0].name, key);
        assert_eq!(admitted[0].reason, "fTPM of rack 7");
        for wrong in [
            vec![entry(&key, "")],
            vec![entry(&key, "two\nlines")],
            vec![entry(&key, &"x".repeat(201))],
            vec![entry(&"ab".repeat(32), "no algorithm")],
            vec![entry("000b", "no digest")],
            vec![entry(&key.replace("000b", "000c"), "SHA-384")],
            vec![good, entry(&key, "twice")],
        ] {
            let error = with(&list(&wrong)).unwrap_err().to_string();
            assert!(
                error.contains("attestation.admitted_endorsement_keys"),
                "{wrong:?}: {error}"
            );
        }
    }

    #[test]
    fn paths_start_from_the_file() {
        let settings = parse(&document()).unwrap();
        assert_eq!(settings.certificate, Path::new("/srv/master.pem"));
        assert_eq!(settings.key, Path::new("/etc/daas/master.key"));
        let file = matches!(&settings.join.source,
            TokenSource::File(file) if file == Path::new("/srv/token"));
        assert!(file);
        assert_eq!(settings.join.server.as_str(), "https://10.0.2.2:6443");
        assert_eq!(settings.chain.timeouts.staleness, STALENESS);
        let trust = settings.trust;
        assert!(trust.required);
        let evidence = trust.evidence.unwrap();
        assert_eq!(
            evidence.endorsement_roots.unwrap(),
            Path::new("/srv/makers.pem")
        );
        assert_eq!(
            evidence.secure_boot_certificates.unwrap(),
            Path::new("/srv/publisher.pem")
        );
        assert_eq!(trust.enclave.unwrap().key, Path::new("/srv/enclave.key"));
    }

    #[test]
    fn nodes_without_evidence_are_admitted_where_it_is_said_alone() {
        let end = document().find("[attestation]").unwrap();
        let bare = document()[..end].to_owned();
        let error = parse(&bare).unwrap_err().to_string();
        assert!(error.contains("required = false"), "{error}");
        let trust = parse(&format!("{bare}[attestation]\nrequired = false"))
            .unwrap()
            .trust;
        assert!(!trust.required && trust.evidence.is_none() && trust.enclave.is_none());
        let trust = parse(&document().replace("[attestation]", "[attestation]\nrequired = false"))
            .unwrap()
            .trust;
        assert!(!trust.required && trust.evidence.is_some());
        let lenient = document().replace(
            "secure_boot_certificates = \"publisher.pem\"",
            "require_secure_boot = false",
        );
        let evidence = parse(&lenient).unwrap().trust.evidence.unwrap();
        assert!(evidence.secure_boot_certificates.is_none());
    }

    #[test]
    fn reports_are_verified_where_nothing_else_is_said() {
        let reports = |text: &str| parse(text).unwrap().trust.evidence.unwrap().reports;
        let default = reports(&document()).unwrap();
        assert!(!default.required && default.tdx_collateral.is_none());
        let set = |words: &str| document().replace("[enclave]", &format!("{words}\n[enclave]"));
        let asked =
            reports(&document().replace("[attestation]", "[attestation]\nreports = \"required\""));
        assert!(asked.unwrap().required);
        let none = document().replace("[attestation]", "[attestation]\nreports = \"ignored\"");
        assert!(reports(&none).is_none());
        let tables = "[attestation.sev_snp]\nminimum_tcb = { snp = 22, microcode = 72 }\n\
                      certificates = \"chips.pem\"\n[attestation.tdx]\n\
                      collateral = \"/srv/intel.json\"\n\
                      statuses = [\"UpToDate\", \"SWHardeningNeeded\"]";
        let full = reports(&set(tables)).unwrap();
        assert_eq!((full.minimum_tcb.snp, full.minimum_tcb.tee), (22, 0));
        let chips = full.sev_snp_certificates.unwrap();
        assert_eq!(chips, Path::new("/srv/chips.pem"));
        assert_eq!(full.tdx_statuses.len(), 2);
        // tables that nobody would look at
        let error = parse(&none.replace("[enclave]", &format!("{tables}\n[enclave]")));
        assert!(error.unwrap_err().to_string().contains("ignored"));
    }

    #[test]
    fn faults_name_file_line_and_field() {
        for (from, to, expected) in [
            ("listen", "listens", "line 1"),
            ("127.0.0.1:8443", "here", "line 1"),
            ("\"master.pem\"", "3", "line 2"),
            (&format!("pool = \"{}\"\n", id("b2")), "", "pool"),
            ("0xb2", "b2", "a Sui object id"),
            ("0xb2b2", "0xb2", "line 9"),
            ("https://127.0.0.1:9000", "http://127.0.0.1", "line 7"),
            ("https://10.0.2.2:6443/", "http://10.0.2.2", "line 12"),
            ("https://10.0.2.2:6443/", "https://u@h/x", "an https URL"),
            ("[join]", "[join]\nextra = 1", "extra"),
            (
                "endorsement_roots = \"makers.pem\"\n",
                "",
                "endorsement_roots",
            ),
            (
                &format!("releases = \"{}\"\n", id("c3")),
                "",
                "attestation.releases",
            ),
            ("0xc3", "c3", "releases = "),
            (
                "secure_boot_certificates = \"publisher.pem\"\n",
                "",
                "secure_boot_certificates",
            ),
            (
                "releases =",
                "require_secure_boot = false\nreleases =",
                "require_secure_boot",
            ),
            ("releases =", "reports = \"perhaps\"\nreleases =", "perhaps"),
            (
                "releases =",
                "required = false\nreports = \"required\"\nreleases =",
                "attestation.reports",
            ),
            (
                "[enclave]",
                "[attestation.tdx]\nstatuses = [\"Revoked\"]\n[enclave]",
                "attestation.tdx.statuses",
            ),
            (
                "[enclave]",
                "[attestation.sev_snp]\nmaximum_vmpl = 4\n[enclave]",
                "attestation.sev_snp.maximum_vmpl",
            ),
            (
                "[enclave]",
                "[attestation.sev_snp]\nminimum_tcb = { microcode = 256 }\n[enclave]",
                "microcode",
            ),
            ("0xd4", "d4", "line 21"),
            (
                &format!("[enclave]\nid = \"{}\"\nkey = \"enclave.key\"\n", id("d4")),
                "",
                "[enclave]",
            ),
        ] {
            let text = document().replace(from, to);
            assert_ne!(text, document(), "{from}");
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains("/srv/master.toml"), "{error}");
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn tokens_come_from_a_file_or_from_the_cluster() {
        let cluster = |credentials: &str| {
            let file = "token_file = \"token\"\n";
            let table = "[kubernetes]\nserver = \"https://127.0.0.1:6443/\"\n\
                         root_certificate = \"ca.crt\"\n";
            parse(&document().replace(file, &format!("{table}{credentials}\n")))
        };
        let settings = cluster("token_file = \"token\"").unwrap();
        let TokenSource::Kubernetes(settings) = settings.join.source else {
            panic!("{settings:?}")
        };
        assert_eq!(settings.server.as_str(), "https://127.0.0.1:6443");
        assert_eq!(settings.root_certificate, Path::new("/srv/ca.crt"));
        let token = matches!(settings.credentials,
            Credentials::Token(file) if file == Path::new("/srv/token"));
        assert!(token);
        cluster("client_certificate = \"a\"\nclient_key = \"b\"").unwrap();

        let (both, neither) = ("client_certificate = \"a\"\ntoken_file = \"b\"", "");
        for credentials in [both, neither, "client_key = \"b\"", "extra = 1"] {
            let error = cluster(credentials).unwrap_err().to_string();
            assert!(error.contains("token_file"), "{credentials}: {error}");
        }
        let file = "token_file = \"token\"\n";
        let neither = parse(&document().replace(file, ""))
            .unwrap_err()
            .to_string();
        assert!(
            neither.contains("neither") && neither.contains("[kubernetes]"),
            "{neither}"
        );
        let both = "[kubernetes]\nserver = \"https://a\"\nroot_certificate = \"a\"\n\
                    token_file = \"a\"\n";
        let both = parse(&format!("{}{both}", document()))
            .unwrap_err()
            .to_string();
        assert!(both.contains("both"), "{both}");
    }
}
