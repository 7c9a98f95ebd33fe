//! The master's configuration: one TOML file, checked before anything listens.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chain::{ChainId, ChainSettings, ObjectId, SettingsError};
use serde::Deserialize;
use wire::ServerUrl;
use zeroize::Zeroizing;

use crate::cluster::KubernetesSettings;
use crate::cluster::settings::KubernetesTable;
use crate::trust::settings::{AttestationTable, EnclaveTable, TrustSettings};

/// The longest configuration, certificate, key or token file, in bytes.
const LONGEST_FILE: u64 = 64 * 1024;
/// What others than owner and group must not be able to do with a secret (inode(7)).
const OTHERS: u32 = 0o007;

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

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MasterSettingsError {
    /// A file can't be read.
    #[error("{path}: the file can't be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The document is not as it should be; the parser names line and field.
    #[error("{path}: {detail}")]
    Document {
        /// Which file.
        path: PathBuf,
        /// What is wrong, where, and what was expected.
        detail: String,
    },
    /// The chain table is not as it should be.
    #[error("{path}: [chain]")]
    Chain {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: SettingsError,
    },
    /// A field is not as it should be.
    #[error("{path}: {field} = {found:?}; expected {expected}")]
    Field {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// Anybody can read a secret.
    #[error("{path}: everybody can read this secret (mode {mode:o}); run chmod o= on it")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
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

/// Reads a small file.
pub(crate) fn read_bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, MasterSettingsError> {
    read_up_to(path, LONGEST_FILE)
}

/// Reads a file of at most so many bytes.
pub(crate) fn read_up_to(
    path: &Path,
    longest: u64,
) -> Result<Zeroizing<Vec<u8>>, MasterSettingsError> {
    let read = || {
        let mut bytes = Zeroizing::new(Vec::with_capacity(8 * 1024));
        File::open(path)?
            .take(longest + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > longest {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    };
    read().map_err(|source| MasterSettingsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Reads a small file that holds a secret; one that everybody can read is refused.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, MasterSettingsError> {
    let metadata = fs::metadata(path).map_err(|source| MasterSettingsError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(MasterSettingsError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    read_bounded(path)
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
        assert_eq!(evidence.endorsement_roots, Path::new("/srv/makers.pem"));
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

    #[test]
    fn secrets_that_everybody_can_read_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = read_secret(&path).unwrap_err();
        assert!(error.to_string().contains("mode 644"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"secret");
        fs::write(&path, vec![b'x'; 65 * 1024]).unwrap();
        assert!(read_secret(&path).is_err());
    }
}
