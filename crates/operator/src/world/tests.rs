use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Value, json};

use super::*;

fn gateway(name: &str, created: u32, version: u32, spec: &Value) -> SeenGateway {
    generation(name, created, version, 1, spec)
}

fn generation(
    name: &str,
    created: u32,
    version: u32,
    generation: u32,
    spec: &Value,
) -> SeenGateway {
    let object = json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "McpGateway",
        "metadata": {
            "namespace": "crm",
            "name": name,
            "uid": name,
            "resourceVersion": version.to_string(),
            "generation": generation,
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
        ..PodFacts::default()
    }
}

fn key(name: &str) -> Key {
    Key::new("crm", name)
}

/// What is written of a certificate, and the kubelet's word on the sandbox, are
/// for streams: no status is looked at again for them.
#[test]
fn what_only_streams_want_to_know_touches_no_gateway() {
    let mut world = World::default();
    world.set_gateway(selecting("a", 1, &[("app", "a")]));
    let read = |transition: &str, certificate: &str, ready: &str| {
        let pod = json!({
            "metadata": {"uid": "u1", "labels": {"app": "a"}},
            "status": {"conditions": [
                {"type": "PodReadyToStartContainers", "status": "True",
                 "lastTransitionTime": transition},
                {"type": "sidegate.dev/Certificate", "status": "True", "reason": "Shown",
                 "message": certificate},
                {"type": "Ready", "status": ready},
            ]},
        });
        PodFacts::of(serde_json::from_value(pod).expect("a pod"))
    };
    let first = "2026-11-30T12:00:00Z";
    let pod = key("p");
    let touched = world.set_pod(&pod, read(first, "one", "False"));
    assert_eq!(names(touched), ["a"]);
    let facts = world.pod(&pod).expect("a pod");
    assert_eq!(facts.sandbox_unix, Some(1_796_040_000));
    for (transition, certificate) in [
        (first, "two"),
        ("2026-11-30T12:00:01Z", "two"),
        ("2026-11-30T12:00:01Z", "two"),
    ] {
        let touched = world.set_pod(&pod, read(transition, certificate, "False"));
        assert_eq!(touched, Touched::default());
    }
    let facts = world.pod(&pod).expect("a pod");
    assert_eq!(facts.sandbox_unix, Some(1_796_040_001));
    let told = facts.conditions.certificate.as_ref().expect("a condition");
    assert_eq!(told.message, "two");
    // With something else it is news.
    let touched = world.set_pod(&pod, read(first, "three", "True"));
    assert_eq!(names(touched), ["a"]);
}

fn names(touched: Touched) -> Vec<String> {
    sorted(touched.gateways)
}

fn sorted(keys: Vec<Key>) -> Vec<String> {
    let mut names: Vec<_> = keys.into_iter().map(|key| key.name.to_string()).collect();
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
    assert_eq!(view(&world, "a").pods.len(), 0);
    assert_eq!(view(&world, "b").pods.len(), 1);
    assert_eq!(names(world.remove_pod(&key("p"))), ["b"]);
    assert_eq!(view(&world, "b").pods.len(), 0);
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
    let pods = view(&world, "a").pods;
    assert!(pods.len() == 1 && pods[0].ready && pods[0].injected);
    facts.counted = false;
    assert_eq!(names(world.set_pod(&key("p"), facts)), ["a"]);
    assert_eq!(view(&world, "a").pods, []);
}

#[test]
fn pods_that_are_there_first_are_found() {
    let mut world = World::default();
    for index in 0..12 {
        world.set_pod(&key(&format!("p{index:02}")), pod(&[("app", "a")]));
    }
    world.set_gateway(selecting("a", 1, &[("app", "a")]));
    let view = view(&world, "a");
    assert_eq!(view.pods.len(), 12);
    assert_eq!(&*view.pods[0].name, "p00");
}

#[test]
fn the_oldest_gateway_wins_then_the_first_name() {
    let mut world = World::default();
    world.set_pod(&key("p"), pod(&[("app", "a"), ("tier", "x")]));
    world.set_gateway(selecting("a-young", 9, &[("app", "a")]));
    assert_eq!(view(&world, "a-young").winner, None);
    let touched = world.set_gateway(selecting("z-old", 1, &[("tier", "x")]));
    assert_eq!(names(touched), ["a-young", "z-old"]);
    let winner = view(&world, "a-young").winner.expect("a winner");
    assert_eq!((&*winner.name, winner.shared_pods), ("z-old", 1));
    assert_eq!(view(&world, "z-old").winner, None);
    world.set_gateway(selecting("z-older", 1, &[("tier", "x"), ("app", "a")]));
    assert_eq!(view(&world, "z-old").winner, None, "a name decides");
    let older_than = |name: &str| {
        let older = world.older_than(&key(name));
        sorted(older.iter().map(|it| Key::of(&**it)).collect())
    };
    assert_eq!(older_than("a-young"), ["z-old", "z-older"]);
    assert_eq!(older_than("z-older"), ["z-old"]);
    assert_eq!(older_than("z-old"), [""; 0]);
    assert_eq!(older_than("nobody"), [""; 0]);
    let winner = view(&world, "z-older").winner.expect("a winner");
    assert_eq!(&*winner.name, "z-old");
    let touched = names(world.remove_gateway(&key("z-old")));
    assert_eq!(touched, ["a-young", "z-old", "z-older"]);
    let winner = view(&world, "a-young").winner.expect("a winner");
    assert_eq!(&*winner.name, "z-older");
}

#[test]
fn a_conflict_ends_when_the_pod_is_relabelled() {
    let mut world = World::default();
    world.set_gateway(selecting("z-old", 1, &[("tier", "x")]));
    world.set_gateway(selecting("a-young", 2, &[("app", "a")]));
    world.set_pod(&key("p"), pod(&[("app", "a"), ("tier", "x")]));
    assert!(view(&world, "a-young").winner.is_some());
    let touched = world.set_pod(&key("p"), pod(&[("app", "a")]));
    assert_eq!(names(touched), ["a-young", "z-old"]);
    assert_eq!(view(&world, "a-young").winner, None);
}

#[test]
fn equal_selectors_conflict_before_there_is_a_pod() {
    let mut world = World::default();
    world.set_gateway(selecting("z-old", 1, &[("app", "a")]));
    let touched = world.set_gateway(selecting("a-young", 2, &[("app", "a")]));
    assert_eq!(names(touched), ["a-young", "z-old"]);
    let winner = view(&world, "a-young").winner.expect("a winner");
    assert_eq!((&*winner.name, winner.shared_pods), ("z-old", 0));
}

#[test]
fn a_gateway_that_became_unreadable_keeps_its_pods() {
    let mut world = World::default();
    world.set_pod(&key("p"), pod(&[("app", "a")]));
    world.set_gateway(selecting("z-old", 1, &[("app", "a")]));
    world.set_gateway(selecting("a-young", 2, &[("app", "a")]));
    let bad = gateway("z-old", 1, 2, &json!({"selector": 7}));
    assert!(bad.0.is_err());
    assert_eq!(names(world.set_gateway(bad)), ["z-old"]);
    assert!(view(&world, "a-young").winner.is_some());
    assert_eq!(view(&world, "z-old").pods.len(), 1);
}

#[test]
fn an_empty_selector_takes_no_pod() {
    let mut world = World::default();
    world.set_pod(&key("p"), pod(&[("app", "a")]));
    world.set_gateway(gateway("a", 1, 1, &json!({"selector": {}})));
    assert_eq!(view(&world, "a").pods.len(), 0);
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

/// They take as much room as the gateway, and thousands of gateways are kept.
#[test]
fn who_owns_which_field_is_forgotten_after_a_write() {
    let mut world = World::default();
    let spec = json!({"selector": {"matchLabels": {"app": "a"}}});
    let read = gateway("a", 1, 1, &spec);
    world.set_gateway(read.clone());
    let mut written = gateway("a", 1, 2, &spec);
    let owner = ManagedFieldsEntry::default();
    written.meta_mut().managed_fields = Some(vec![owner]);
    world.gateway_written(&read, written);
    let view = view(&world, "a");
    assert_eq!(view.object.meta().resource_version.as_deref(), Some("2"));
    assert_eq!(view.object.managed_fields(), []);
}

#[test]
fn a_namespace_touches_its_gateways_when_its_label_changes() {
    let mut world = World::default();
    world.set_gateway(selecting("a", 1, &[("app", "a")]));
    let crm: Arc<str> = "crm".into();
    assert_eq!(sorted(world.set_namespace(&crm, true)), ["a"]);
    assert_eq!(sorted(world.set_namespace(&crm, true)), [""; 0]);
    assert!(view(&world, "a").namespace_enabled);
    assert_eq!(sorted(world.set_namespace(&crm, false)), ["a"]);
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

fn owner(world: &World, pod: &str) -> String {
    match world.owner(&key(pod)) {
        Owner::NoGateway => "nobody".to_owned(),
        Owner::Unknown => "unknown".to_owned(),
        Owner::Gateway(gateway) => gateway.name.to_string(),
    }
}

#[test]
fn the_oldest_gateway_has_a_pod_also_one_that_is_being_deleted() {
    let mut world = World::default();
    world.set_gateway(selecting("z-old", 1, &[("app", "a")]));
    world.set_gateway(selecting("a-young", 2, &[("tier", "x")]));
    let mut both = pod(&[("app", "a"), ("tier", "x")]);
    world.set_pod(&key("p"), both.clone());
    world.set_pod(&key("q"), pod(&[("tier", "x")]));
    world.set_pod(&key("r"), pod(&[("tier", "y")]));
    assert_eq!(owner(&world, "p"), "z-old");
    assert_eq!(owner(&world, "q"), "a-young");
    assert_eq!(owner(&world, "r"), "nobody");
    both.counted = false;
    world.set_pod(&key("p"), both);
    assert_eq!(owner(&world, "p"), "z-old", "it drains");
    assert_eq!(
        view(&world, "a-young").winner,
        None,
        "it is counted no more"
    );
    let touched = world.remove_gateway(&key("z-old"));
    assert_eq!(sorted(touched.pods), ["p"]);
    assert_eq!(owner(&world, "p"), "a-young");
}

#[test]
fn where_a_selector_was_never_read_nobody_can_say_who_has_a_pod() {
    let mut world = World::default();
    world.set_pod(&key("p"), pod(&[("app", "a")]));
    world.set_gateway(gateway("odd", 1, 1, &json!({"selector": 7})));
    assert_eq!(owner(&world, "p"), "unknown");
    world.set_gateway(selecting("a", 2, &[("app", "a")]));
    assert_eq!(owner(&world, "p"), "a");
    world.remove_gateway(&key("a"));
    world.remove_gateway(&key("odd"));
    assert_eq!(owner(&world, "p"), "nobody");
}

#[test]
fn only_another_generation_or_object_is_to_be_built() {
    let mut world = World::default();
    let spec = json!({"selector": {"matchLabels": {"app": "a"}}});
    let set = |world: &mut World, object| {
        let touched = world.set_gateway(object);
        (touched.build, touched.replaced)
    };
    assert_eq!(set(&mut world, gateway("a", 1, 1, &spec)), (true, false));
    assert_eq!(set(&mut world, gateway("a", 1, 2, &spec)), (false, false));
    let changed = generation("a", 1, 3, 2, &spec);
    assert_eq!(set(&mut world, changed), (true, false));
    let mut other = generation("a", 1, 4, 2, &spec);
    other.meta_mut().uid = Some("another".to_owned());
    world.set_pod(&key("p"), pod(&[("app", "a")]));
    let touched = world.set_gateway(other);
    assert!(touched.build && touched.replaced);
    assert_eq!(sorted(touched.pods), ["p"]);
    assert!(world.remove_gateway(&key("a")).build, "to be forgotten");
}

#[test]
fn an_empty_namespace_is_forgotten_whatever_goes_last() {
    let mut world = World::default();
    let crm: Arc<str> = "crm".into();
    world.set_namespace(&crm, true);
    world.set_gateway(selecting("a", 1, &[("app", "a")]));
    world.set_pod(&key("p"), pod(&[("app", "a")]));
    world.set_service(&key("s"), ServiceFacts::default());
    world.set_namespace(&crm, false);
    world.remove_gateway(&key("a"));
    world.remove_service(&key("s"));
    assert_eq!(world.namespaces.len(), 1);
    world.remove_pod(&key("p"));
    assert!(world.namespaces.is_empty());
}

#[test]
fn a_container_that_does_not_stay_up_beside_the_sidecar_is_seen() {
    let facts = |started: bool, restarts: u32, state: Value| {
        let pod = json!({
            "metadata": {},
            "status": {
                "initContainerStatuses": [{
                    "name": "sidegate", "image": "", "imageID": "", "ready": true,
                    "restartCount": 0, "started": started,
                }],
                "containerStatuses": [{
                    "name": "app", "image": "", "imageID": "", "ready": false,
                    "restartCount": restarts, "state": state,
                }],
            },
        });
        PodFacts::of(serde_json::from_value(pod).expect("a pod")).failing_container
    };
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let ended = json!({"terminated": {"exitCode": 1}});
    assert_eq!(facts(true, 1, waiting.clone()).as_deref(), Some("app"));
    assert_eq!(facts(true, 7, ended).as_deref(), Some("app"));
    assert_eq!(facts(false, 1, waiting.clone()), None);
    assert_eq!(facts(true, 0, waiting), None, "it has just begun");
    assert_eq!(facts(true, 3, json!({"running": {}})), None);
}

#[test]
fn only_pods_with_addresses_of_servers_with_ports_of_their_own_are_dialled() {
    let mut world = World::default();
    let spec = |exposure: &str| {
        let mut server = json!({
            "name": "s", "port": 8080, "resources": ["https://s.example.com/mcp"],
            "exposure": exposure,
        });
        if exposure == "SeparatePort" {
            server["listenPort"] = json!(9000);
        }
        json!({"selector": {"matchLabels": {"app": exposure}}, "servers": [server]})
    };
    for exposure in ["SamePort", "SeparatePort"] {
        world.set_gateway(gateway(exposure, 1, 1, &spec(exposure)));
        let mut facts = pod(&[("app", exposure)]);
        facts.uid = exposure.into();
        world.set_pod(&key("no-address"), facts.clone());
        facts.addresses = vec!["10.0.0.1".parse().expect("an address")];
        world.set_pod(&key(exposure), facts);
    }
    let targets = world.dial_targets();
    assert_eq!(targets.len(), 1, "{targets:?}");
    assert_eq!(&*targets[0].uid, "SeparatePort");
    assert_eq!(
        targets[0].addresses,
        ["10.0.0.1:8080".parse().expect("one")]
    );
}

#[test]
fn a_provider_knows_the_gateways_that_refer_to_it() {
    let mut world = World::default();
    let llm = |version, providers: &[Value]| {
        let targets: Vec<_> = providers
            .iter()
            .map(|provider| json!({"provider": provider, "model": "m"}))
            .collect();
        let routes = json!([{"name": "r", "models": ["m"], "targets": targets}]);
        let llm = json!({"port": 15080, "resource": "https://llm.example.com", "routes": routes});
        let spec = json!({"selector": {"matchLabels": {"app": "a"}}, "llm": llm});
        gateway("a", 1, version, &spec)
    };
    let users = |world: &World, provider: &Key| world.users_of(provider).cloned().collect();
    let (own, other) = (key("openai"), Key::new("ai", "anthropic"));
    let both = [
        json!({"name": "openai"}),
        json!({"name": "anthropic", "namespace": "ai"}),
    ];
    let touched = world.set_gateway(llm(1, &both));
    assert_eq!(touched.providers, [other.clone(), own.clone()]);
    let found: Vec<Key> = users(&world, &other);
    assert_eq!(found, [key("a")]);
    let touched = world.set_gateway(llm(2, &both[..1]));
    assert_eq!(touched.providers, std::slice::from_ref(&other));
    let found: Vec<Key> = users(&world, &other);
    assert_eq!(found, []);
    let touched = world.remove_gateway(&key("a"));
    assert_eq!(touched.providers, std::slice::from_ref(&own));
    let found: Vec<Key> = users(&world, &own);
    assert_eq!(found, []);
}

/// Age counts before names, and what has a pod is told for each.
#[test]
fn a_younger_gateway_has_the_pods_that_no_older_one_selects() {
    let mut world = World::default();
    world.set_gateway(selecting("b-old", 1, &[("tier", "x")]));
    world.set_gateway(selecting("a-young", 2, &[("app", "a")]));
    world.set_gateway(selecting("c-as-old", 1, &[("app", "a")]));
    world.set_pod(&key("own"), pod(&[("app", "a")]));
    world.set_pod(&key("shared"), pod(&[("app", "a"), ("tier", "x")]));
    let had_by = |name: &str| {
        let pods = view(&world, name).pods.into_iter();
        pods.map(|it| (it.name.to_string(), it.had_by.map(|it| it.to_string())))
            .collect::<Vec<_>>()
    };
    let pods = |own: Option<&str>, shared: Option<&str>| {
        let [own, shared] = [own, shared].map(|it| it.map(str::to_owned));
        vec![("own".to_owned(), own), ("shared".to_owned(), shared)]
    };
    assert_eq!(had_by("b-old"), pods(None, None)[1..]);
    assert_eq!(had_by("c-as-old"), pods(None, Some("b-old")));
    assert_eq!(had_by("a-young"), pods(Some("c-as-old"), Some("b-old")));
    let winner = |name: &str| view(&world, name).winner.expect("a winner");
    assert!(!winner("c-as-old").is_older && winner("a-young").is_older);
}
