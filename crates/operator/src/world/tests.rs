use serde_json::{Value, json};

use super::*;

fn gateway(name: &str, created: u32, version: u32, spec: &Value) -> SeenGateway {
    let object = json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "McpGateway",
        "metadata": {
            "namespace": "crm",
            "name": name,
            "uid": name,
            "resourceVersion": version.to_string(),
            "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z"),
        },
        "spec": spec,
    });
    serde_json::from_value(object).expect("an object")
}

fn selecting(name: &str, created: u32, labels: &[(&str, &str)]) -> SeenGateway {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    gateway(
        name,
        created,
        1,
        &json!({"selector": {"matchLabels": labels}}),
    )
}

fn pod(labels: &[(&str, &str)]) -> PodFacts {
    PodFacts {
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        counted: true,
        ready: false,
        injected: false,
    }
}

fn key(name: &str) -> Key {
    Key::new("crm", name)
}

fn names(touched: impl IntoIterator<Item = Key>) -> Vec<String> {
    let mut names: Vec<_> = touched
        .into_iter()
        .map(|key| key.name.to_string())
        .collect();
    names.sort();
    names
}

fn view(world: &World, name: &str) -> View {
    world.view(&key(name)).expect("a gateway")
}

#[test]
fn a_pod_touches_the_gateways_that_selected_or_select_it() {
    let mut world = World::default();
    world.set_gateway(selecting("a", 1, &[("app", "a")]));
    world.set_gateway(selecting("b", 2, &[("app", "b")]));
    world.set_gateway(selecting("c", 3, &[("app", "c")]));
    assert_eq!(names(world.set_pod(&key("p"), pod(&[("app", "a")]))), ["a"]);
    assert_eq!(
        names(world.set_pod(&key("p"), pod(&[("app", "a")]))),
        [""; 0]
    );
    let moved = world.set_pod(&key("p"), pod(&[("app", "b")]));
    assert_eq!(names(moved), ["a", "b"]);
    assert_eq!(view(&world, "a").pods.matched, 0);
    assert_eq!(view(&world, "b").pods.matched, 1);
    assert_eq!(names(world.remove_pod(&key("p"))), ["b"]);
    assert_eq!(view(&world, "b").pods.matched, 0);
    let elsewhere = world.set_pod(&Key::new("other", "p"), pod(&[("app", "a")]));
    assert_eq!(names(elsewhere), [""; 0]);
}

#[test]
fn only_what_matters_of_a_pod_is_a_change() {
    let mut world = World::default();
    world.set_gateway(selecting("a", 1, &[("app", "a")]));
    let mut facts = pod(&[("app", "a")]);
    world.set_pod(&key("p"), facts.clone());
    facts.ready = true;
    facts.injected = true;
    assert_eq!(names(world.set_pod(&key("p"), facts.clone())), ["a"]);
    let expected = PodCounts {
        matched: 1,
        injected: 1,
        ready: 1,
    };
    assert_eq!(view(&world, "a").pods, expected);
    facts.counted = false;
    assert_eq!(names(world.set_pod(&key("p"), facts)), ["a"]);
    assert_eq!(view(&world, "a").pods, PodCounts::default());
}

#[test]
fn pods_that_are_there_first_are_found() {
    let mut world = World::default();
    for index in 0..12 {
        world.set_pod(&key(&format!("p{index:02}")), pod(&[("app", "a")]));
    }
    world.set_gateway(selecting("a", 1, &[("app", "a")]));
    let view = view(&world, "a");
    assert_eq!(view.pods.matched, 12);
    assert_eq!(view.without_sidecar.len(), 10);
    assert_eq!(&*view.without_sidecar[0], "p00");
}

#[test]
fn the_oldest_gateway_wins_then_the_first_name() {
    let mut world = World::default();
    world.set_pod(&key("p"), pod(&[("app", "a"), ("tier", "x")]));
    world.set_gateway(selecting("young", 9, &[("app", "a")]));
    assert_eq!(view(&world, "young").winner, None);
    let touched = world.set_gateway(selecting("old", 1, &[("tier", "x")]));
    assert_eq!(names(touched), ["old", "young"]);
    let winner = view(&world, "young").winner.expect("a winner");
    assert_eq!((&*winner.name, winner.shared_pods), ("old", 1));
    assert_eq!(view(&world, "old").winner, None);
    world.set_gateway(selecting("older", 1, &[("tier", "x"), ("app", "a")]));
    assert_eq!(view(&world, "old").winner, None, "a name decides");
    let winner = view(&world, "older").winner.expect("a winner");
    assert_eq!(&*winner.name, "old");
    let touched = names(world.remove_gateway(&key("old")));
    assert_eq!(touched, ["old", "older", "young"]);
    let winner = view(&world, "young").winner.expect("a winner");
    assert_eq!(&*winner.name, "older");
}

#[test]
fn a_conflict_ends_when_the_pod_is_relabelled() {
    let mut world = World::default();
    world.set_gateway(selecting("old", 1, &[("tier", "x")]));
    world.set_gateway(selecting("young", 2, &[("app", "a")]));
    world.set_pod(&key("p"), pod(&[("app", "a"), ("tier", "x")]));
    assert!(view(&world, "young").winner.is_some());
    let touched = world.set_pod(&key("p"), pod(&[("app", "a")]));
    assert_eq!(names(touched), ["old", "young"]);
    assert_eq!(view(&world, "young").winner, None);
}

#[test]
fn equal_selectors_conflict_before_there_is_a_pod() {
    let mut world = World::default();
    world.set_gateway(selecting("old", 1, &[("app", "a")]));
    let touched = world.set_gateway(selecting("young", 2, &[("app", "a")]));
    assert_eq!(names(touched), ["old", "young"]);
    let winner = view(&world, "young").winner.expect("a winner");
    assert_eq!((&*winner.name, winner.shared_pods), ("old", 0));
}

#[test]
fn a_gateway_that_became_unreadable_keeps_its_pods() {
    let mut world = World::default();
    world.set_pod(&key("p"), pod(&[("app", "a")]));
    world.set_gateway(selecting("old", 1, &[("app", "a")]));
    world.set_gateway(selecting("young", 2, &[("app", "a")]));
    let bad = gateway("old", 1, 2, &json!({"selector": 7}));
    assert!(bad.0.is_err());
    assert_eq!(names(world.set_gateway(bad)), ["old"]);
    assert!(view(&world, "young").winner.is_some());
    assert_eq!(view(&world, "old").pods.matched, 1);
}

#[test]
fn an_empty_selector_takes_no_pod() {
    let mut world = World::default();
    world.set_pod(&key("p"), pod(&[("app", "a")]));
    world.set_gateway(gateway("a", 1, 1, &json!({"selector": {}})));
    assert_eq!(view(&world, "a").pods.matched, 0);
}

#[test]
fn what_a_write_gave_is_no_news_but_what_others_wrote_is() {
    let mut world = World::default();
    let spec = json!({"selector": {"matchLabels": {"app": "a"}}});
    let read = gateway("a", 1, 1, &spec);
    world.set_gateway(read.clone());
    world.gateway_written(&read, gateway("a", 1, 2, &spec));
    let told = world.set_gateway(gateway("a", 1, 2, &spec));
    assert_eq!(names(told), [""; 0]);
    assert_eq!(names(world.set_gateway(gateway("a", 1, 3, &spec))), ["a"]);
    world.gateway_written(&read, gateway("a", 1, 2, &spec));
    let version = view(&world, "a").object.meta().resource_version.clone();
    assert_eq!(version.as_deref(), Some("3"), "an old write is not taken");
}

#[test]
fn a_namespace_touches_its_gateways_when_its_label_changes() {
    let mut world = World::default();
    world.set_gateway(selecting("a", 1, &[("app", "a")]));
    let crm: Arc<str> = "crm".into();
    assert_eq!(names(world.set_namespace(&crm, true)), ["a"]);
    assert_eq!(names(world.set_namespace(&crm, true)), [""; 0]);
    assert!(view(&world, "a").namespace_enabled);
    assert_eq!(names(world.set_namespace(&crm, false)), ["a"]);
}

#[test]
fn finished_and_deleted_pods_are_not_counted_and_sidecars_are_seen() {
    let facts = |pod: Value| PodFacts::of(serde_json::from_value(pod).expect("a pod"));
    let sidecar = json!([{"name": "sidegate", "restartPolicy": "Always"}]);
    let running = facts(json!({
        "metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [], "initContainers": sidecar},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }));
    assert!(running.counted && running.ready && running.injected);
    for phase in ["Succeeded", "Failed"] {
        assert!(!facts(json!({"metadata": {}, "status": {"phase": phase}})).counted);
    }
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    assert!(!facts(deleted).counted);
    let once = json!([{"name": "sidegate"}]);
    let spec = json!({"metadata": {}, "spec": {"containers": [], "initContainers": once}});
    assert!(!facts(spec).injected, "an init container that ends is none");
}
