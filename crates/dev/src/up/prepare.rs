//! From the file to configurations, by the functions that a cluster uses.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use sidegate_api::reference::CertificateRef;
use sidegate_config::documents::{self, Documents, SecretDocument};
use sidegate_config::sidecar_config::{KeysConfig, SecretText, SidecarConfig};
use sidegate_config::{Options, build, validate};
use sidegate_policy::clock::Clock;

use super::plan::{self, Plan};
use crate::certificates::folder::{Folder, Holder};
use crate::clients::CERTIFICATES;

/// The trust domain of the desk.
pub(super) const TRUST_DOMAIN: &str = "cluster.local";

/// How a file is read, again and again.
#[derive(Debug, Clone)]
pub(super) struct Preparation {
    pub(super) file: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
}

/// Everything that is needed to run it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) documents: Documents,
    /// One for each gateway, in the order of the plan.
    pub(super) configs: Vec<SidecarConfig>,
    /// Whether a gateway brings its own certificate.
    pub(super) own_certificates: bool,
}

// === impl Preparation ===

impl Preparation {
    /// Reads, checks and builds, away from the threads that serve requests.
    pub(super) async fn run(&self) -> anyhow::Result<Prepared> {
        let preparation = self.clone();
        tokio::task::spawn_blocking(move || preparation.read()).await?
    }

    fn read(&self) -> anyhow::Result<Prepared> {
        let mut documents = documents::read_file(&self.file)?;
        let plan = Plan::of(&documents)?;
        let own_certificates = documents
            .gateways
            .iter()
            .any(|gateway| gateway.spec.tls.certificate_ref.is_some());
        self.certify(&mut documents)?;
        let options = Options {
            allow_loopback: true,
            built_in_ca: false,
            trust_domain: TRUST_DOMAIN.to_owned(),
        };
        let mut configs = Vec::new();
        for gateway in &plan.gateways {
            configs.push(build(validate(
                &documents,
                Some(&gateway.full_name()),
                &options,
            )?));
        }
        check_issuer(&plan, &configs)?;
        Ok(Prepared {
            plan,
            documents,
            configs,
            own_certificates,
        })
    }

    /// Gives a certificate to every gateway that has none: here the desk stands
    /// in for the built-in authority.
    fn certify(&self, documents: &mut Documents) -> anyhow::Result<()> {
        let folder = Folder::open(&self.dir, self.clock.unix_seconds())?;
        // Callers live where the first gateway lives.
        let namespace = documents
            .gateways
            .first()
            .map(|gateway| gateway.namespace.clone());
        for name in CERTIFICATES {
            let id = spiffe_id(namespace.as_deref().unwrap_or("default"), name);
            folder.certificate(name, Holder::Client, &id)?;
        }
        let mut added = Documents::default();
        for gateway in &mut documents.gateways {
            if !plan::needs_certificate(gateway) {
                continue;
            }
            let hosts = plan::hosts(gateway);
            let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
            let (namespace, name) = (&gateway.namespace, &gateway.name);
            let file = format!("server-{namespace}-{name}");
            let id = spiffe_id(namespace, name);
            let issued = folder
                .certificate(&file, Holder::Server(&hosts), &id)
                .with_context(|| format!("McpGateway {namespace}/{name}"))?;
            let data = BTreeMap::from([
                (
                    "tls.crt".to_owned(),
                    SecretText::from(issued.certificate_pem),
                ),
                (
                    "tls.key".to_owned(),
                    SecretText::from(issued.key_pem.expose().to_owned()),
                ),
                (
                    "ca.crt".to_owned(),
                    SecretText::from(folder.authority().certificate_pem().to_owned()),
                ),
            ]);
            let secret = format!("sidegate-dev-tls-{name}");
            added.secrets.push(SecretDocument::new(
                namespace,
                &secret,
                "kubernetes.io/tls",
                data,
            ));
            gateway.spec.tls.certificate_ref = Some(CertificateRef { name: secret });
        }
        documents.merge(added)?;
        Ok(())
    }
}

fn spiffe_id(namespace: &str, service_account: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{service_account}")
}

/// An issuer on loopback must look for its keys where the desk has them;
/// otherwise no token would ever be accepted, without a reason in sight.
fn check_issuer(plan: &Plan, configs: &[SidecarConfig]) -> anyhow::Result<()> {
    let Some(run) = &plan.issuer else {
        return Ok(());
    };
    let expected = format!("{}/jwks", run.issuer.trim_end_matches('/'));
    for issuer in configs
        .iter()
        .flat_map(|config| &config.authentication.issuers)
    {
        match &issuer.keys {
            KeysConfig::Remote { uri, .. } if issuer.issuer == run.issuer && *uri != expected => {
                bail!(
                    "issuer {}: its keys are at {expected} on the desk, not at {uri}: write that \
                     in jwks.uri",
                    run.issuer
                );
            }
            KeysConfig::Remote { .. } | KeysConfig::Inline { .. } => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sidegate_config::sidecar_config::TlsConfig;
    use sidegate_policy::clock::ManualClock;

    use super::*;
    use crate::certificates::Facts;

    const QUICKSTART: &str = include_str!("../../../../manifests/quickstart.yaml");

    fn read(text: &str) -> anyhow::Result<Prepared> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gateway.yaml");
        fs::write(&file, text).unwrap();
        let clock = Arc::new(ManualClock::new(1_800_000_000));
        Preparation {
            file,
            dir: dir.path().join("dev"),
            clock,
        }
        .read()
    }

    #[test]
    fn a_gateway_without_a_certificate_gets_one_of_its_own_identity() {
        let prepared = read(QUICKSTART).unwrap();
        let TlsConfig::Mutual {
            certificate_pem, ..
        } = &prepared.configs[0].tls
        else {
            panic!("mode Mutual")
        };
        let facts = Facts::read(certificate_pem).unwrap();
        assert_eq!(facts.uris, ["spiffe://cluster.local/ns/crm/sa/support"]);
        assert!(
            facts
                .hosts
                .contains(&"support.crm.svc.cluster.local".to_owned())
        );
        assert!(!prepared.own_certificates);
    }

    #[test]
    fn the_same_file_gives_the_same_configuration_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gateway.yaml");
        fs::write(&file, QUICKSTART).unwrap();
        let clock = Arc::new(ManualClock::new(1_800_000_000));
        let preparation = Preparation {
            file,
            dir: dir.path().join("dev"),
            clock,
        };
        let versions = [(); 2].map(|()| preparation.read().unwrap().configs[0].version.clone());
        assert_eq!(versions[0], versions[1]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let broken = QUICKSTART.replace("port: 8080", "port: 0");
        let error = read(&broken).unwrap_err().to_string();
        assert!(
            error.contains("gateway.yaml:") && error.contains("servers[0].port"),
            "{error}"
        );
    }

    #[test]
    fn keys_that_the_desk_does_not_have_are_noticed() {
        let elsewhere = QUICKSTART.replace("15090/jwks", "15090/keys");
        let error = read(&elsewhere).unwrap_err().to_string();
        assert!(
            error.contains("are at http://127.0.0.1:15090/jwks"),
            "{error}"
        );
    }
}
