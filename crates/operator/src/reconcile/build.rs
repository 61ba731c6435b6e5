//! The steps that every replica takes: dereference, validate, build, publish.

use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Resource as _};
use serde_json::value::to_raw_value;
use sidegate_config::Options;
use sidegate_config::control::ReferenceVersions;
use sidegate_config::sidecar_config::SidecarConfig;
use tracing::{debug, error};

use super::assess::{Findings, assess, unreadable};
use super::certificate_hosts::Hosts;
use super::dereference::dereference;
use crate::board::{Assessment, Board, Program, Published};
use crate::key::Key;
use crate::metrics::BuildResult;
use crate::permission::Account;
use crate::queue::{Queue, Request};
use crate::references::References;
use crate::world::SeenGateway;

/// How long an answer about a reference may take before a status says so.
pub(super) const AWAITED: Duration = Duration::from_secs(2);

/// What builds share.
pub(crate) struct Building {
    pub(crate) board: Arc<Board>,
    pub(crate) references: References,
    /// Whoever has a new program also has another status.
    pub(crate) statuses: Arc<Queue>,
    pub(crate) options: Options,
    /// Hosts of `resources` that certificates may carry.
    pub(crate) certificate_hosts: Vec<String>,
    /// Who the operator is, for commands that grant it something.
    pub(crate) account: Account,
}

/// What gateways refer to: a change of it asks for their build.
pub(crate) fn references(
    client: Client,
    board: &Arc<Board>,
    builds: &Arc<Queue<Key>>,
) -> References {
    let (board, builds) = (Arc::clone(board), Arc::clone(builds));
    References::new(client, move |gateways| {
        board.reference_changed(&gateways);
        for gateway in gateways {
            builds.add(gateway, Duration::ZERO);
        }
    })
}

/// Builds a gateway, if anything that it is built of changed.
pub(crate) fn build(building: &Building, key: &Key) -> BuildResult {
    let Some((draft, object)) = building.board.begin(key) else {
        if building.board.world().gateway(key).is_none() {
            // Also the values of Secrets are forgotten.
            building.references.track(key, Default::default());
            return BuildResult::Gone;
        }
        return BuildResult::Unchanged;
    };
    let Some(Assessed {
        mut findings,
        config,
        references,
    }) = assessed(building, key, &object)
    else {
        // The answer asks for the next build. Until then nothing is published.
        building
            .statuses
            .add(Request::Gateway(key.clone()), AWAITED);
        return BuildResult::Waiting;
    };
    let mut hosts = Vec::new();
    if let Some(config) = &config {
        let found = Hosts::of(config, &building.certificate_hosts, &key.namespace);
        if let Some(built) = &mut findings.built {
            built.warnings.extend(found.note());
        }
        hosts = found.carried;
    }
    let published = config.and_then(|config| {
        let program = program(&object, &config, references)?;
        debug!(gateway = %key, version = config.version, "configuration built");
        Some(Published { program, hosts })
    });
    let result = match published {
        Some(_) => BuildResult::Built,
        None => BuildResult::Invalid,
    };
    let meta = object.meta();
    let assessment = Assessment {
        uid: meta.uid.clone(),
        generation: meta.generation,
        findings,
    };
    building.board.publish(key, draft, assessment, published);
    let request = Request::Gateway(key.clone());
    building.statuses.add(request, Duration::ZERO);
    result
}

/// What was found about a gateway, and of what.
struct Assessed {
    findings: Findings,
    /// What its sidecars are to enforce, if it is valid.
    config: Option<SidecarConfig>,
    references: ReferenceVersions,
}

/// None while an answer about a reference is awaited.
fn assessed(building: &Building, key: &Key, object: &SeenGateway) -> Option<Assessed> {
    match &object.0 {
        Ok(gateway) => {
            let dereferenced = dereference(&building.references, key, &gateway.spec)?;
            let Building {
                options, account, ..
            } = building;
            let (findings, config) = assess(key, &dereferenced, options, account);
            Some(Assessed {
                findings,
                config,
                references: dereferenced.versions,
            })
        }
        Err(invalid) => Some(Assessed {
            findings: unreadable(invalid),
            config: None,
            references: ReferenceVersions::default(),
        }),
    }
}

fn program(
    object: &SeenGateway,
    config: &SidecarConfig,
    references: ReferenceVersions,
) -> Option<Program> {
    let gateway = Key::of(object);
    let text = match to_raw_value(config) {
        Ok(text) => text,
        Err(error) => {
            error!(%gateway, %error, "a configuration cannot be written");
            return None;
        }
    };
    Some(Program {
        gateway,
        generation: object.meta().generation,
        references,
        hash: config.version.clone(),
        schema_version: config.schema_version,
        config: text.into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::board::{Assigned, Naming, PodRef};
    use crate::silent_api_server;
    use crate::world::PodFacts;

    fn building() -> Building {
        let naming = Naming {
            cluster_domain: "cluster.local".to_owned(),
        };
        let board = Arc::new(Board::new(naming, Arc::default()));
        board.everything_is_known();
        Building {
            references: references(silent_api_server::client(), &board, &Arc::default()),
            board,
            statuses: Arc::default(),
            options: Options {
                allow_loopback: false,
                built_in_ca: true,
                trust_domain: "cluster.local".to_owned(),
            },
            certificate_hosts: vec!["*.example.com".to_owned()],
            account: Account::default(),
        }
    }

    fn spec() -> Value {
        json!({
            "selector": {"matchLabels": {"app": "a"}},
            "servers": [{"name": "s", "port": 8080, "resources": ["https://s.example.com/mcp"]}],
            "authentication": {"jwt": [
                {"issuer": "https://idp.example.com/", "jwks": {"uri": "https://idp.example.com/k"}}
            ]},
            "authorization": {"rules": [{"name": "r", "tools": ["t"]}]},
        })
    }

    fn set(building: &Building, generation: u64, spec: &Value) {
        let object = json!({
            "metadata": {
                "namespace": "crm", "name": "a", "uid": "u", "generation": generation,
                "resourceVersion": generation.to_string(),
            },
            "spec": spec,
        });
        let object = serde_json::from_value(object).expect("a gateway");
        building.board.set_gateway(object, Some(generation));
    }

    fn assigned(building: &Building) -> (String, u64, Vec<String>) {
        let pod = PodRef {
            key: Key::new("crm", "p"),
            uid: "1".into(),
        };
        let facts = PodFacts {
            uid: "1".into(),
            labels: [("app".to_owned(), "a".to_owned())].into(),
            counted: true,
            ..PodFacts::default()
        };
        building.board.set_pod(&pod.key, facts);
        let assignment = building.board.follow(&pod).expect("a pod").borrow().clone();
        let hash = match assignment.assigned {
            Assigned::Program(program) => {
                let config: SidecarConfig =
                    serde_json::from_str(program.config.get()).expect("a configuration");
                assert_eq!(config.version, program.hash);
                program.hash.clone()
            }
            Assigned::NoGateway | Assigned::Waiting => String::new(),
        };
        (hash, assignment.revision, assignment.dns_names)
    }

    /// OPR-015: what is read in part is not published.
    #[tokio::test]
    async fn while_an_answer_is_awaited_the_last_good_program_stays() {
        let building = building();
        let key = Key::new("crm", "a");
        set(&building, 1, &spec());
        assert_eq!(build(&building, &key), BuildResult::Built);
        let good = assigned(&building);
        assert_eq!((good.1, &*good.2), (1, &["s.example.com".to_owned()][..]));
        assert_eq!(build(&building, &key), BuildResult::Unchanged);

        let mut with_reference = spec();
        with_reference["tls"] = json!({"mode": "Server", "certificateRef": {"name": "tls"}});
        set(&building, 2, &with_reference);
        assert_eq!(build(&building, &key), BuildResult::Waiting);
        assert_eq!(assigned(&building), good);
        let known = building.board.known_of(&key).expect("a gateway");
        assert!(known.unbuilt_for.is_some());
        let assessment = known.assessment.expect("what was found before");
        assert_eq!(assessment.generation, Some(1));

        let mut broken = spec();
        broken["authorization"]["rules"][0]["when"] = json!("args.a ==");
        set(&building, 3, &broken);
        assert_eq!(build(&building, &key), BuildResult::Invalid);
        assert_eq!(assigned(&building), good);

        building.board.remove_gateway(&key, Some(4));
        assert_eq!(build(&building, &key), BuildResult::Gone);
        assert_eq!(assigned(&building).0, "");
    }

    #[tokio::test]
    async fn a_host_that_no_certificate_carries_is_told() {
        let building = building();
        let key = Key::new("crm", "a");
        let notes = |generation, resources: &Value, tls: &Value| {
            let mut spec = spec();
            spec["servers"][0]["resources"] = resources.clone();
            spec["tls"] = tls.clone();
            set(&building, generation, &spec);
            assert_eq!(build(&building, &key), BuildResult::Built);
            let known = building.board.known_of(&key).expect("a gateway");
            let findings = &known.assessment.expect("assessed").findings;
            let built = findings.built.as_ref().expect("built");
            let notes = built.warnings.iter();
            let about = notes.filter(|it| it.contains("certificates of its sidecars"));
            about.cloned().collect::<Vec<_>>()
        };
        let mutual = json!({"mode": "Mutual"});
        let none: [&str; 0] = [];
        let good = json!(["https://s.example.com/mcp", "https://s.crm.svc/mcp"]);
        assert_eq!(notes(2, &good, &mutual), none);
        assert_eq!(assigned(&building).2, ["s.example.com"]);
        let bad = json!(["https://s.example.org/mcp", "https://s.crm/mcp"]);
        let told = notes(3, &bad, &mutual);
        assert!(told[0].contains("`s.crm` and 1 more"), "{told:?}");
        assert_eq!(notes(4, &bad, &json!({"mode": "Plaintext"})), none);
    }
}
