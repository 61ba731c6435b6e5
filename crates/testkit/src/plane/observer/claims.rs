//! What a status claims, what a sidecar enforces, and whether both agree.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a status may stay behind pods that enforce something newer. A
/// Secret changes no generation, and each replica tells its own pods, so a pod
/// can be ahead of what the leader has written; a new leader comes within this.
const FOLLOWED: Duration = Duration::from_secs(25);

/// A gateway that is `Ready` as it is: each of its ready pods enforces this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) resource_version: String,
    uid: String,
    version: String,
    selector: BTreeMap<String, String>,
}

/// A pod that counts for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadyPod {
    pub(super) name: String,
    pub(super) uid: String,
}

/// What a sidecar said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Enforced {
    /// The content hash of what is in force.
    version: String,
    snapshot: String,
}

/// Everything that was claimed and seen.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// By the uid of the gateway.
    told: HashMap<String, Told>,
    untrue: Vec<String>,
    looks: usize,
}

#[derive(Debug, Default)]
struct Told {
    /// Every version that the status ever named; the last one is what it says.
    versions: Vec<String>,
    /// Since when pods enforce what the status has not named yet, by uid.
    ahead: HashMap<String, Instant>,
}

// === impl Claim ===

impl Claim {
    /// What a gateway claims, if it claims anything.
    pub(super) fn of(gateway: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let conditions = gateway["status"]["conditions"].as_array()?;
        let ready = conditions.iter().find(|it| it["type"] == "Ready")?;
        let is_current = ready["observedGeneration"] == gateway["metadata"]["generation"];
        let labels = gateway["spec"]["selector"]["matchLabels"].as_object();
        let selector = labels.into_iter().flatten();
        let claim = Self {
            namespace: text(&gateway["metadata"]["namespace"])?,
            name: text(&gateway["metadata"]["name"])?,
            resource_version: text(&gateway["metadata"]["resourceVersion"])?,
            uid: text(&gateway["metadata"]["uid"])?,
            version: version(gateway)?,
            selector: selector
                .filter_map(|(label, value)| Some((label.clone(), text(value)?)))
                .collect(),
        };
        (is_current && ready["status"] == "True").then_some(claim)
    }

    /// The pods that it is about, of all in its namespace: as a Service would
    /// choose them.
    pub(super) fn pods(&self, list: &Value) -> Vec<ReadyPod> {
        assert!(!self.selector.is_empty(), "{self:?}: only labels are known");
        let pods = list["items"].as_array().into_iter().flatten();
        pods.filter(|pod| {
            let labels = &pod["metadata"]["labels"];
            let mut wanted = self.selector.iter();
            wanted.all(|(label, value)| labels[label] == value.as_str())
        })
        .filter_map(ReadyPod::of)
        .collect()
    }
}

/// The version that a status names.
fn version(gateway: &Value) -> Option<String> {
    let version = gateway["status"]["dataPlane"]["configVersion"].as_str();
    version.map(str::to_owned)
}

// === impl ReadyPod ===

impl ReadyPod {
    fn of(pod: &Value) -> Option<Self> {
        let metadata = &pod["metadata"];
        let mut conditions = pod["status"]["conditions"].as_array()?.iter();
        let is_ready = conditions.any(|it| it["type"] == "Ready" && it["status"] == "True");
        let ends = !metadata["deletionTimestamp"].is_null();
        let ready = Self {
            name: metadata["name"].as_str()?.to_owned(),
            uid: metadata["uid"].as_str()?.to_owned(),
        };
        (is_ready && !ends).then_some(ready)
    }
}

// === impl Enforced ===

impl Enforced {
    /// What `/config` says, unless the sidecar lets nothing through: a kubelet
    /// would not call its pod ready.
    pub(super) fn of(config: &Value) -> Option<Self> {
        let enforced = Self {
            version: config["version"].as_str()?.to_owned(),
            snapshot: config["source"]["snapshot"].to_string(),
        };
        (config["ready"] == true).then_some(enforced)
    }
}

// === impl Judge ===

impl Judge {
    /// A gateway was read, and its status names a version.
    pub(super) fn read(&mut self, gateway: &Value) {
        let Some(uid) = gateway["metadata"]["uid"].as_str() else {
            return;
        };
        let told = self.told.entry(uid.to_owned()).or_default();
        if let Some(version) = version(gateway)
            && told.versions.last() != Some(&version)
        {
            told.versions.retain(|it| *it != version);
            told.versions.push(version);
        }
        if Claim::of(gateway).is_none() {
            // Nothing is claimed about anybody.
            told.ahead.clear();
        }
    }

    /// What a ready pod enforced while the claim stood.
    pub(super) fn look(
        &mut self,
        claim: &Claim,
        pod: &ReadyPod,
        enforced: &Enforced,
        now: Instant,
    ) {
        self.looks += 1;
        let told = self.told.entry(claim.uid.clone()).or_default();
        let Enforced { version, snapshot } = enforced;
        if *version == claim.version {
            told.ahead.remove(&pod.uid);
            return;
        }
        let why = if told.versions.contains(version) {
            "which is older"
        } else {
            let since = told.ahead.entry(pod.uid.clone()).or_insert(now);
            if now.duration_since(*since) <= FOLLOWED {
                return;
            }
            "and the status does not follow"
        };
        self.untrue.push(format!(
            "McpGateway {}/{} of resource version {} is Ready with {}, and pod {} enforces \
             {version}, {why} (snapshot {snapshot})",
            claim.namespace, claim.name, claim.resource_version, claim.version, pod.name
        ));
    }

    /// How often a pod was compared with a claim.
    pub(super) fn looks(&self) -> usize {
        self.looks
    }

    /// What was not true.
    pub(super) fn untrue(&self) -> &[String] {
        &self.untrue
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gateway(generation: u64, observed: u64, ready: &str, version: &str) -> Value {
        json!({
            "metadata": {
                "namespace": "crm", "name": "support", "uid": "u",
                "generation": generation, "resourceVersion": "7",
            },
            "spec": {"selector": {"matchLabels": {"app": "support"}}},
            "status": {
                "conditions": [
                    {"type": "Accepted", "status": "True", "observedGeneration": generation},
                    {"type": "Ready", "status": ready, "observedGeneration": observed},
                ],
                "dataPlane": {"configVersion": version},
            },
        })
    }

    fn pod(name: &str, app: &str, ready: &str) -> Value {
        json!({
            "metadata": {"name": name, "uid": name, "labels": {"app": app, "tier": "front"}},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn enforced(version: &str) -> Enforced {
        let config = json!({"ready": true, "version": version, "source": {"snapshot": "1.2.x"}});
        Enforced::of(&config).expect("something")
    }

    /// A judge who has read this, one after the other, and looks at a pod.
    fn judged(read: &[&Value], version: &str, after: Duration) -> Vec<String> {
        let mut judge = Judge::default();
        for gateway in read {
            judge.read(gateway);
        }
        let claim = read.last().and_then(|it| Claim::of(it)).expect("a claim");
        let pod = ReadyPod {
            name: "one".to_owned(),
            uid: "one".to_owned(),
        };
        let began = Instant::now();
        judge.look(&claim, &pod, &enforced(version), began);
        judge.look(&claim, &pod, &enforced(version), began + after);
        assert_eq!(judge.looks(), 2);
        judge.untrue().to_vec()
    }

    #[test]
    fn a_claim_is_ready_of_what_the_gateway_is_now() {
        let claim = Claim::of(&gateway(2, 2, "True", "v")).expect("a claim");
        assert_eq!(
            (claim.name.as_str(), claim.version.as_str()),
            ("support", "v")
        );
        for nothing in [
            gateway(3, 2, "True", "v"),
            gateway(2, 2, "False", "v"),
            gateway(2, 2, "Unknown", "v"),
            json!({"metadata": {"name": "support"}}),
        ] {
            assert_eq!(Claim::of(&nothing), None, "{nothing}");
        }
    }

    #[test]
    fn it_is_about_ready_pods_that_it_selects() {
        let claim = Claim::of(&gateway(2, 2, "True", "v")).expect("a claim");
        let mut leaving = pod("leaving", "support", "True");
        leaving["metadata"]["deletionTimestamp"] = json!("2026-11-30T12:00:00Z");
        let list = json!({"items": [
            pod("one", "support", "True"),
            pod("not-ready", "support", "False"),
            pod("other", "sales", "True"),
            leaving,
        ]});
        let names: Vec<_> = claim.pods(&list).into_iter().map(|pod| pod.name).collect();
        assert_eq!(names, ["one"]);
    }

    #[test]
    fn a_sidecar_that_lets_nothing_through_enforces_nothing() {
        let config = |ready: bool, version: Value| json!({"ready": ready, "version": version});
        assert!(Enforced::of(&config(true, json!("v"))).is_some());
        assert_eq!(Enforced::of(&config(false, json!("v"))), None);
        assert_eq!(Enforced::of(&config(true, Value::Null)), None);
    }

    #[test]
    fn what_is_claimed_is_true() {
        let now = gateway(2, 2, "True", "new");
        assert_eq!(judged(&[&now], "new", FOLLOWED * 2), [""; 0]);
    }

    /// The defect that it is there for: `Ready` before a pod confirmed.
    #[test]
    fn an_older_version_under_a_claim_is_told_at_once() {
        let before = gateway(1, 1, "True", "old");
        for between in ["True", "False"] {
            let between = gateway(2, 1, between, "old");
            let now = gateway(2, 2, "True", "new");
            let told = judged(&[&before, &between, &now], "old", Duration::ZERO);
            assert!(told[0].contains("is Ready with new"), "{told:?}");
            assert!(
                told[0].contains("pod one enforces old, which is older"),
                "{told:?}"
            );
        }
    }

    #[test]
    fn rules_that_come_back_are_the_newest_again() {
        let [a, b] = ["a", "b"].map(|version| gateway(1, 1, "True", version));
        assert_eq!(judged(&[&a, &b, &a], "a", FOLLOWED * 2), [""; 0]);
        assert_eq!(judged(&[&a, &b, &a], "b", Duration::ZERO).len(), 2);
    }

    #[test]
    fn a_pod_may_be_ahead_of_the_status_for_a_while() {
        let now = gateway(2, 2, "True", "new");
        assert_eq!(judged(&[&now], "newer", FOLLOWED), [""; 0]);
        let late = FOLLOWED + Duration::from_millis(1);
        let told = judged(&[&now], "newer", late);
        assert!(told[0].contains("the status does not follow"), "{told:?}");
    }

    #[test]
    fn who_is_followed_may_be_ahead_again() {
        let now = gateway(2, 2, "True", "new");
        let mut judge = Judge::default();
        let claim = Claim::of(&now).expect("a claim");
        let pod = claim.pods(&json!({"items": [pod("one", "support", "True")]}));
        let mut time = Instant::now();
        let later = Duration::from_secs(15);
        for followed in [json!(null), gateway(2, 2, "False", "new"), json!(null)] {
            judge.look(&claim, &pod[0], &enforced("newer"), time);
            time += later;
            judge.read(&followed);
            if followed.is_null() {
                judge.look(&claim, &pod[0], &enforced("new"), time);
            }
        }
        assert_eq!(judge.untrue(), [""; 0]);
        judge.look(&claim, &pod[0], &enforced("newer"), time);
        judge.look(&claim, &pod[0], &enforced("newer"), time + later * 2);
        assert_eq!(judge.untrue().len(), 1);
    }
}
