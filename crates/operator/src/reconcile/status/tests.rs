use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use sidegate_api::names::{condition, reason};

use super::*;
use crate::world::{PodCondition, PodConditionFacts, PodView, SeenGateway};

const HASH: &str = "0123";

fn object(exposure: &str, accept_bypass: bool) -> Arc<SeenGateway> {
    let mut server = json!({
        "name": "s", "port": 8080, "resources": ["https://s.example.com/mcp"],
        "exposure": exposure,
    });
    if exposure == "SeparatePort" {
        server["listenPort"] = json!(9000);
    }
    let object = json!({
        "metadata": {"name": "a", "namespace": "crm"},
        "spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "servers": [server],
            "acceptBypass": accept_bypass,
        },
    });
    Arc::new(serde_json::from_value(object).expect("a gateway"))
}

fn view(pods: Vec<PodView>) -> View {
    View {
        object: object("SamePort", false),
        namespace_enabled: true,
        pods,
        winner: None,
    }
}

/// A pod that is ready and has a sidecar that said nothing.
fn pod(name: &str) -> PodView {
    PodView {
        name: name.into(),
        ready: true,
        injected: true,
        uid: name.into(),
        addresses: Vec::new(),
        conditions: PodConditionFacts::default(),
        failing_container: None,
        had_by: None,
        declared: [8080].into(),
    }
}

fn said(holds: bool, reason: &str, message: &str) -> Option<Arc<PodCondition>> {
    Some(Arc::new(PodCondition {
        holds,
        reason: reason.to_owned(),
        message: message.to_owned(),
        since: None,
    }))
}

fn enforces(name: &str, hash: &str) -> PodView {
    let mut pod = pod(name);
    pod.conditions.programmed = said(true, "Programmed", hash);
    pod
}

fn fails_with(name: &str, reason: &str, message: &str) -> PodView {
    let mut pod = pod(name);
    pod.conditions.programmed = said(false, reason, message);
    pod
}

fn listens(name: &str, listeners: &str) -> PodView {
    let mut pod = enforces(name, HASH);
    pod.conditions.listeners = said(false, "ListenerFound", listeners);
    pod
}

fn bare(name: &str) -> PodView {
    PodView {
        injected: false,
        ..pod(name)
    }
}

fn not_ready(pod: PodView) -> PodView {
    PodView {
        ready: false,
        ..pod
    }
}

fn good() -> Findings {
    Findings {
        accepted: Ok(()),
        resolved: Some(Ok(())),
        built: Some(Built {
            version: HASH.to_owned(),
            warnings: Vec::new(),
        }),
    }
}

fn problem(reason: &'static str) -> Problem {
    Problem {
        reason,
        message: "bad".to_owned(),
    }
}

struct Case {
    view: View,
    findings: Findings,
    unbuilt: bool,
    answered: Answered,
    notes: Vec<String>,
}

impl Case {
    fn new(view: View) -> Self {
        Self {
            view,
            findings: good(),
            unbuilt: false,
            answered: HashMap::new(),
            notes: Vec::new(),
        }
    }

    fn status(&self) -> McpGatewayStatus {
        gateway(&Known {
            key: &Key::new("crm", "a"),
            view: &self.view,
            findings: &self.findings,
            generation: Some(3),
            unbuilt: self.unbuilt,
            answered: &self.answered,
            notes: self.notes.clone(),
        })
    }

    /// `Status/Reason` of a condition.
    fn words(&self, condition_type: &str) -> String {
        let status = self.status();
        let found = find(&status, condition_type);
        found.map_or_else(String::new, |it| format!("{:?}/{}", it.status, it.reason))
    }

    fn message(&self, condition_type: &str) -> String {
        let status = self.status();
        find(&status, condition_type)
            .expect("it is there")
            .message
            .clone()
    }
}

fn find<'a>(status: &'a McpGatewayStatus, condition_type: &str) -> Option<&'a Condition> {
    let mut conditions = status.conditions.iter();
    conditions.find(|it| it.condition_type == condition_type)
}

fn of(pods: Vec<PodView>) -> Case {
    Case::new(view(pods))
}

/// Programmed, Ready and the summary of each set of pods.
#[test]
fn what_pods_confirmed_is_what_a_status_says() {
    let old = || enforces("old", "ffff");
    let rejected = || fails_with("rejecting", "DataPlaneRejected", "0123: port 8080 is taken");
    let rejected_before = || fails_with("p", "DataPlaneRejected", "ffff: port 8080 is taken");
    let outdated = || fails_with("outdated", "SidecarOutdated", "0123: restart the pod");
    let behind = |hash: &str| {
        let words = format!("{hash}: raise the annotation");
        fails_with("behind", "OperatorBehind", &words)
    };
    let good = |name| enforces(name, HASH);
    for (pods, programmed, ready, summary) in [
        (vec![], "False/NoMatchingPods", "False/NoReadyPods", "0/0"),
        (vec![pod("p")], "False/Pending", "False/Pending", "0/1"),
        (vec![good("p")], "True/Programmed", "True/Ready", "1/1"),
        // Of another version, also if it was this gateway's before.
        (vec![old()], "False/Pending", "False/Pending", "0/1"),
        (
            vec![good("p"), old()],
            "False/PartiallyProgrammed",
            "False/PartiallyProgrammed",
            "1/2",
        ),
        // A pod that is not ready gets no requests.
        (
            vec![good("p"), not_ready(old())],
            "False/PartiallyProgrammed",
            "True/Ready",
            "1/2",
        ),
        (
            vec![not_ready(good("p"))],
            "True/Programmed",
            "False/NoReadyPods",
            "1/1",
        ),
        (
            vec![good("p"), rejected()],
            "False/DataPlaneRejected",
            "False/DataPlaneRejected",
            "1/2",
        ),
        (
            vec![rejected_before()],
            "False/Pending",
            "False/Pending",
            "0/1",
        ),
        (
            vec![good("p"), bare("bare"), outdated()],
            "False/SidecarOutdated",
            "False/PodsNotInjected",
            "1/3",
        ),
        (
            vec![good("p"), behind("4567")],
            "False/OperatorBehind",
            "False/OperatorBehind",
            "1/2",
        ),
        // The replica that has its stream is behind, and this one is not.
        (vec![behind(HASH)], "True/Programmed", "True/Ready", "1/1"),
        (
            vec![good("p"), not_ready(bare("bare"))],
            "False/PodsNotInjected",
            "True/Ready",
            "1/2",
        ),
        (
            vec![good("p"), bare("bare")],
            "False/PodsNotInjected",
            "False/PodsNotInjected",
            "1/2",
        ),
    ] {
        let case = of(pods);
        let told = format!("{:?}", case.view.pods);
        assert_eq!(case.words(condition::PROGRAMMED), programmed, "{told}");
        assert_eq!(case.words(condition::READY), ready, "{told}");
        let plane = case.status().data_plane.expect("a data plane");
        assert_eq!(plane.summary, summary, "{told}");
    }
}

/// There and back again: what counts is what is confirmed last.
#[test]
fn a_version_that_comes_back_is_enforced_by_who_confirms_it() {
    let mut case = of(vec![enforces("p", "aaaa"), enforces("q", "bbbb")]);
    let mut told = Vec::new();
    for version in ["aaaa", "bbbb", "aaaa"] {
        case.findings.built = Some(Built {
            version: version.to_owned(),
            warnings: Vec::new(),
        });
        told.push(case.words(condition::READY));
        case.view.pods = vec![enforces("p", version), enforces("q", version)];
        told.push(case.words(condition::READY));
    }
    assert_eq!(
        told,
        [
            "False/PartiallyProgrammed",
            "True/Ready",
            "False/Pending",
            "True/Ready",
            "False/Pending",
            "True/Ready"
        ]
    );
}

#[test]
fn a_change_that_is_not_built_yet_is_not_enforced_by_anybody() {
    let mut case = of(vec![enforces("p", HASH)]);
    assert_eq!(case.words(condition::READY), "True/Ready");
    case.unbuilt = true;
    assert_eq!(case.words(condition::READY), "False/Pending");
    assert_eq!(case.words(condition::PROGRAMMED), "False/Pending");
    // It is about what was assessed, and nothing newer.
    assert_eq!(case.status().observed_generation, Some(3));
}

#[test]
fn what_is_not_valid_is_not_enforced() {
    let mut case = of(vec![enforces("p", HASH)]);
    case.findings.built = None;
    for (accepted, resolved, expected) in [
        (Ok(()), Err(problem(reason::FORBIDDEN)), "False/Forbidden"),
        (Err(problem(reason::INVALID)), Ok(()), "False/Invalid"),
    ] {
        case.findings.accepted = accepted;
        case.findings.resolved = Some(resolved);
        assert_eq!(case.words(condition::READY), expected);
        assert_eq!(case.words(condition::PROGRAMMED), "False/Pending");
    }
    case.findings.resolved = None;
    assert_eq!(case.words(condition::RESOLVED_REFS), "Unknown/Pending");
    let plane = case.status().data_plane.expect("a data plane");
    assert_eq!((plane.programmed, plane.config_version), (0, None));
}

#[test]
fn the_first_thing_to_mend_makes_it_not_ready() {
    let mut case = of(vec![enforces("p", HASH)]);
    case.view.namespace_enabled = false;
    assert_eq!(case.words(condition::READY), "False/NamespaceNotEnabled");
    let message = case.message(condition::READY);
    let command = "`kubectl label namespace crm sidegate.dev/injection=enabled --overwrite`";
    assert!(message.contains(command), "{message}");
    case.findings.resolved = Some(Err(problem(reason::FORBIDDEN)));
    assert_eq!(case.words(condition::READY), "False/Forbidden");
    case.findings = good();
    case.view.winner = Some(Winner {
        name: "old".into(),
        shared_pods: 2,
        is_older: true,
    });
    assert_eq!(case.words(condition::READY), "False/Conflicted");
    let message = case.message(condition::ACCEPTED);
    assert!(
        message.contains("McpGateway old is older and selects 2 of its pods"),
        "{message}"
    );
}

#[test]
fn a_pod_that_could_not_be_prepared_is_told() {
    let mut undeclared = enforces("undeclared", HASH);
    undeclared.declared = [8081].into();
    let mut case = of(vec![enforces("p", HASH), undeclared.clone()]);
    let message = case.message(condition::ACCEPTED);
    let told = "note: in 1 of 2 pods no container declares port 8080, so its server was not told to \
                listen on 127.0.0.1, and may stop before";
    assert!(message.contains(told), "{message}");
    // The next pod of a rollout has another name.
    case.view.pods[1].name = "another".into();
    assert_eq!(case.message(condition::ACCEPTED), message);
    assert_eq!(case.words(condition::READY), "True/Ready");
    // Under the other exposure the server has the pod's addresses to itself.
    case.view.object = object("SeparatePort", false);
    let message = case.message(condition::ACCEPTED);
    let told = "in 1 of 2 pods no container declares port 8080, so its server may stop before";
    assert!(message.contains(told), "{message}");
    case.view.object = object("SamePort", false);
    // Others are nobody's business.
    undeclared.injected = false;
    case.view.pods = vec![undeclared];
    assert!(!case.message(condition::ACCEPTED).contains("note"));
}

/// Its other pods get every change of it.
#[test]
fn of_a_gateway_that_shares_pods_the_others_are_told() {
    let mut shared = enforces("shared", "other");
    shared.had_by = Some("old".into());
    let mut case = of(vec![enforces("own", HASH), shared.clone()]);
    case.view.winner = Some(Winner {
        name: "old".into(),
        shared_pods: 1,
        is_older: false,
    });
    let message = case.message(condition::ACCEPTED);
    assert!(
        message.contains("old is as old, comes first by its name and selects one of its pods"),
        "{message}"
    );
    assert_eq!(case.words(condition::READY), "False/Conflicted");
    assert_eq!(case.words(condition::PROGRAMMED), "False/Conflicted");
    let message = case.message(condition::PROGRAMMED);
    assert_eq!(
        message,
        "1 of 2 pods have another gateway, as pod shared has McpGateway old; 1 enforce this \
         configuration"
    );
    let status = case.status();
    assert_eq!(status.data_plane.expect("counted").summary, "1/2");
    let failing: Vec<_> = status
        .failing
        .iter()
        .map(|it| it.message.as_str())
        .collect();
    assert_eq!(failing, ["McpGateway old has it"]);
    // What the other gateway's pod says of its own configuration is no news.
    shared.conditions.programmed = said(false, "DataPlaneRejected", "other: no");
    case.view.pods = vec![enforces("own", HASH), shared];
    assert_eq!(case.words(condition::PROGRAMMED), "False/Conflicted");
}

#[test]
fn failing_pods_are_named_the_most_pressing_first() {
    let mut pods: Vec<_> = (0..12)
        .map(|index| pod(&format!("pending-{index:02}")))
        .collect();
    pods.push(bare("bare"));
    let mut down = pod("down");
    down.failing_container = Some("app".into());
    pods.push(down);
    pods.push(fails_with(
        "outdated",
        "SidecarOutdated",
        "0123: restart the pod",
    ));
    let long = format!("0123: {}", "x".repeat(5000));
    pods.push(fails_with("rejecting", "DataPlaneRejected", &long));
    pods.push(enforces("good", HASH));
    let case = of(pods);
    let failing = case.status().failing;
    let names: Vec<_> = failing.iter().map(|it| it.pod.as_str()).collect();
    assert_eq!(names.len(), 10);
    assert_eq!(
        names[..5],
        ["rejecting", "outdated", "down", "bare", "pending-00"]
    );
    assert_eq!(failing[0].message.len(), 4096);
    let message = case.message(condition::PROGRAMMED);
    assert!(
        message.starts_with("pod rejecting rejects it: xxx"),
        "{message}"
    );
}

#[test]
fn a_server_that_cannot_start_beside_the_sidecar_is_told_what_to_change() {
    let mut down = not_ready(enforces("p", HASH));
    down.failing_container = Some("app".into());
    let mut case = of(vec![down]);
    let failing = case.status().failing;
    assert_eq!(failing[0].reason, "ServerNotStarting");
    for word in [
        "container app",
        "port 8080",
        "127.0.0.1",
        "FASTMCP_HOST",
        "bindEnv",
        "SeparatePort",
    ] {
        assert!(
            failing[0].message.contains(word),
            "{word}: {}",
            failing[0].message
        );
    }
    // With a port of its own, the sidecar is not in its way.
    case.view.object = object("SeparatePort", false);
    assert_eq!(case.status().failing, []);
}

#[test]
fn a_listener_on_a_server_port_is_a_bypass_and_others_are_listed() {
    let mut case = of(vec![
        enforces("good", HASH),
        listens("p", "0.0.0.0:8080/1000 10.0.0.1:22/0 [::]:9229/1000"),
        listens("q", "10.0.0.2:22/0"),
    ]);
    assert_eq!(case.words(condition::BYPASS_POSSIBLE), "True/ListenerFound");
    assert_eq!(case.words(condition::READY), "False/ListenerFound");
    assert_eq!(case.words(condition::PROGRAMMED), "True/Programmed");
    let message = case.message(condition::BYPASS_POSSIBLE);
    for word in [
        "pod p",
        "0.0.0.0:8080",
        "user 1000",
        "127.0.0.1",
        "acceptBypass",
    ] {
        assert!(message.contains(word), "{word}: {message}");
    }
    let plane = case.status().data_plane.expect("a data plane");
    assert_eq!(
        plane.other_listeners,
        ["10.0.0.1:22", "10.0.0.2:22", "[::]:9229"]
    );
    case.view.object = object("SamePort", true);
    assert_eq!(case.words(condition::READY), "True/Ready", "it is accepted");
    assert_eq!(case.words(condition::BYPASS_POSSIBLE), "True/ListenerFound");
    case.view.pods.remove(1);
    assert_eq!(case.words(condition::BYPASS_POSSIBLE), "", "nothing to say");
}

#[test]
fn an_answer_from_outside_is_a_bypass_and_silence_proves_nothing() {
    let mut case = of(vec![listens("p", "0.0.0.0:8080/1000")]);
    case.view.object = object("SeparatePort", false);
    // There the server is expected to listen.
    assert_eq!(case.words(condition::BYPASS_POSSIBLE), "Unknown/Unknown");
    assert_eq!(case.words(condition::READY), "True/Ready");
    assert_eq!(
        case.status().data_plane.expect("one").other_listeners,
        [""; 0]
    );
    let address = "10.0.0.1:8080".parse().expect("an address");
    case.answered.insert("p".into(), vec![address]);
    assert_eq!(
        case.words(condition::BYPASS_POSSIBLE),
        "True/ServerAnswered"
    );
    assert_eq!(case.words(condition::READY), "False/ServerAnswered");
    assert!(case.message(condition::READY).contains("10.0.0.1:8080"));
    case.view.object = object("SeparatePort", true);
    assert_eq!(case.words(condition::READY), "True/Ready");
    // An answer of before the port was changed.
    case.view.pods = vec![enforces("p", HASH)];
    case.view.object = object("SamePort", false);
    assert_eq!(case.words(condition::BYPASS_POSSIBLE), "");
    case.view.object = object("SeparatePort", false);
    case.view.pods.clear();
    assert_eq!(case.words(condition::BYPASS_POSSIBLE), "");
}

#[test]
fn warnings_and_notes_are_part_of_the_acceptance() {
    let mut case = of(Vec::new());
    assert_eq!(case.message(condition::ACCEPTED), "it is valid");
    if let Some(built) = &mut case.findings.built {
        built.warnings = vec!["spec.tls.mode: Plaintext: unsafe".to_owned()];
    }
    case.notes = vec!["somebody's policy".to_owned()];
    assert_eq!(
        case.message(condition::ACCEPTED),
        "it is valid; note: spec.tls.mode: Plaintext: unsafe; somebody's policy"
    );
    // Of one that shares a pod, it is told why it has no policy.
    case.view.winner = Some(Winner {
        name: "old".into(),
        shared_pods: 1,
        is_older: true,
    });
    let message = case.message(condition::ACCEPTED);
    assert!(message.ends_with("; note: somebody's policy"), "{message}");
}

#[test]
fn a_status_fits_its_definition() {
    let many = (0..300).map(|index| {
        listens(
            &format!("p{index}"),
            &format!("10.0.0.1:{}/0", 10_000 + index),
        )
    });
    let plane = of(many.collect()).status().data_plane.expect("one");
    assert_eq!(plane.other_listeners.len(), 64);
    let value: Value = serde_json::to_value(plane).expect("JSON");
    assert_eq!(value["summary"], "300/300");
}

#[derive(Debug, Clone)]
enum Step {
    /// The gateway says something else, and it was built.
    Built(u8),
    /// It changed and was not built.
    Changed,
    Confirmed(usize, u8),
    Rejected(usize, u8),
    /// Another pod of the same name.
    Replaced(usize),
    Ready(usize, bool),
    Injected(usize, bool),
    Gone(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (pod, version) = (0_usize..3, 0_u8..3);
    prop_oneof![
        version.clone().prop_map(Step::Built),
        Just(Step::Changed),
        (pod.clone(), version.clone()).prop_map(|(pod, version)| Step::Confirmed(pod, version)),
        (pod.clone(), version.clone()).prop_map(|(pod, version)| Step::Confirmed(pod, version)),
        (pod.clone(), version).prop_map(|(pod, version)| Step::Rejected(pod, version)),
        pod.clone().prop_map(Step::Replaced),
        (pod.clone(), any::<bool>()).prop_map(|(pod, ready)| Step::Ready(pod, ready)),
        (pod.clone(), any::<bool>()).prop_map(|(pod, with)| Step::Injected(pod, with)),
        pod.prop_map(Step::Gone),
    ]
}

proptest! {
    /// Whatever happens in whatever order: what is said to be ready is enforced
    /// by every ready pod, by its own last word.
    #[test]
    fn ready_is_never_said_of_what_a_ready_pod_has_not_confirmed_last(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let hash = |version: u8| format!("hash-{version}");
        let mut case = of((0..3).map(|index| not_ready(pod(&format!("p{index}")))).collect());
        // What each pod said last about what it enforces.
        let mut last: HashMap<Arc<str>, Option<String>> = HashMap::new();
        for step in steps {
            let count = case.view.pods.len();
            let at = |pods: &mut Vec<PodView>, index: usize, what: &mut dyn FnMut(&mut PodView)| {
                if let Some(pod) = pods.get_mut(index % count.max(1)) {
                    what(pod);
                }
            };
            let pods = &mut case.view.pods;
            match step {
                Step::Built(version) => {
                    case.findings.built = Some(Built { version: hash(version), warnings: Vec::new() });
                    case.unbuilt = false;
                }
                Step::Changed => case.unbuilt = true,
                Step::Confirmed(index, version) => at(pods, index, &mut |pod| {
                    pod.conditions.programmed = said(true, "Programmed", &hash(version));
                    last.insert(Arc::clone(&pod.name), Some(hash(version)));
                }),
                Step::Rejected(index, version) => at(pods, index, &mut |pod| {
                    let message = format!("{}: no", hash(version));
                    pod.conditions.programmed = said(false, "DataPlaneRejected", &message);
                    last.insert(Arc::clone(&pod.name), None);
                }),
                Step::Replaced(index) => at(pods, index, &mut |old| {
                    let uid = format!("{}+", old.uid).into();
                    *old = PodView { uid, ..pod(&old.name.clone()) };
                    last.insert(Arc::clone(&old.name), None);
                }),
                Step::Ready(index, ready) => at(pods, index, &mut |pod| pod.ready = ready),
                Step::Injected(index, with) => at(pods, index, &mut |pod| pod.injected = with),
                Step::Gone(index) => if count > 0 {
                    pods.remove(index % count);
                },
            }
            let current = case.findings.built.as_ref().map(|built| built.version.clone());
            let ready: Vec<_> = case.view.pods.iter().filter(|pod| pod.ready).collect();
            let truth = !case.unbuilt && !ready.is_empty() && ready.iter().all(|pod| {
                pod.injected && current.is_some() && last.get(&pod.name) == Some(&current)
            });
            let told = case.words(condition::READY);
            prop_assert_eq!(told == "True/Ready", truth, "{} {:?}", told, case.view.pods);
        }
    }
}
