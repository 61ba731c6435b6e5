//! A read-only view of a raw pod. What the injector walks over is checked for
//! its form and size once, here; everything else is left to the API server,
//! which checks the pod after the patch.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::{InjectError, Unguardable};
use super::names::{CONTAINERS, INJECTED_ANNOTATION, MIRROR_ANNOTATION, PRIVATE_VOLUMES};
use super::patch::Pointer;

const MAX_CONTAINERS: usize = 128;
const MAX_VOLUMES: usize = 1024;
const MAX_ANNOTATIONS: usize = 4096;
/// Ports, variables and mounts of one container.
const MAX_ENTRIES: usize = 4096;
/// What an injection adds to a list at most: two variables and all of `bindEnv`
/// of 16 servers. A pod at a bound stays acceptable when it is seen again.
const ROOM: usize = 2 + 16 * 16;

const MAX_LABEL_BYTES: usize = 63;
const DNS_LABEL: &str =
    "a name of lowercase letters, digits and `-`, 63 at most, without `-` at its ends";

/// Grace period of a pod that names none.
const DEFAULT_GRACE_SECONDS: u64 = 30;

pub(super) type Object = Map<String, Value>;

#[derive(Debug)]
pub(super) struct Pod<'a> {
    pub(super) metadata: &'a Object,
    pub(super) spec: &'a Object,
    pub(super) annotations: BTreeMap<&'a str, &'a str>,
    /// In the order of the pod: `initContainers`, then `containers`.
    containers: Vec<Container<'a>>,
    volumes: Vec<(&'a str, &'a Value)>,
}

#[derive(Debug)]
pub(super) struct Container<'a> {
    pub(super) name: &'a str,
    pub(super) object: &'a Object,
    pub(super) place: Pointer,
    pub(super) kind: ContainerKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContainerKind {
    /// Runs to its end before the pod's containers start.
    Init,
    /// An init container with `restartPolicy: Always`.
    NativeSidecar,
    /// One of `containers`.
    App,
}

/// A TCP port that a container declares.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeclaredPort<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) number: u16,
}

// === impl Pod ===

impl<'a> Pod<'a> {
    pub(super) fn read(pod: &'a Value) -> Result<Self, InjectError> {
        let root = Pointer::default();
        let pod = pod
            .as_object()
            .ok_or_else(|| malformed(&root, "an object"))?;
        let metadata = object(pod, &root, "metadata")?
            .ok_or_else(|| malformed(&root.key("metadata"), "an object"))?;
        let spec =
            object(pod, &root, "spec")?.ok_or_else(|| malformed(&root.key("spec"), "an object"))?;
        let annotations = read_annotations(metadata, &root.key("metadata"))?;
        let injected = annotations.contains_key(INJECTED_ANNOTATION);
        let room = if injected { ROOM } else { 0 };
        let at = root.key("spec");
        let mut containers = read_containers(spec, &at, "initContainers", room)?;
        containers.extend(read_containers(spec, &at, "containers", room)?);
        if !containers.iter().any(|it| it.kind == ContainerKind::App) {
            return Err(malformed(&at.key("containers"), "a list of containers"));
        }
        Ok(Self {
            metadata,
            spec,
            annotations,
            containers,
            volumes: named_items(spec, &at, "volumes", MAX_VOLUMES + room)?
                .map(|(name, _, value)| (name, value))
                .collect(),
        })
    }

    /// Refuses pods that no sidecar could guard.
    pub(super) fn refuse_unguardable(&self, sidecar_user: u32) -> Result<(), InjectError> {
        if let Some(kind) = self.kind_without_sidecars() {
            return Err(InjectError::Unguardable(kind));
        }
        let users = self
            .others()
            .map(|it| it.object)
            .chain(std::iter::once(self.spec));
        if users
            .filter_map(run_as_user)
            .any(|it| it == u64::from(sidecar_user))
        {
            return Err(InjectError::Unguardable(Unguardable::SameUser(
                sidecar_user,
            )));
        }
        self.refuse_foreign_mounts()
    }

    /// Why the pod is of a kind that cannot have a sidecar of any sort.
    pub(super) fn kind_without_sidecars(&self) -> Option<Unguardable> {
        if self.is_true("hostNetwork") {
            Some(Unguardable::HostNetwork)
        } else if self.is_windows() {
            Some(Unguardable::Windows)
        } else if self.annotations.contains_key(MIRROR_ANNOTATION) {
            Some(Unguardable::StaticPod)
        } else {
            None
        }
    }

    /// A mount of a volume that is still to come would be good once it has.
    pub(super) fn refuse_foreign_mounts(&self) -> Result<(), InjectError> {
        for container in self.others() {
            let foreign = container
                .items("volumeMounts")
                .filter_map(|mount| text(mount, "name"))
                .find(|name| PRIVATE_VOLUMES.contains(name));
            if let Some(volume) = foreign {
                return Err(InjectError::ForeignMount {
                    container: container.name.to_owned(),
                    volume: volume.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// What a person should know about a pod that is accepted.
    pub(super) fn warnings(&self) -> Vec<String> {
        ["shareProcessNamespace", "hostPID"]
            .into_iter()
            .filter(|field| self.is_true(field))
            .map(|field| {
                format!(
                    "`{field}: true` lets containers of this pod see the sidecar's process, and \
                     those with root or CAP_SYS_PTRACE its key: leave it out if you can"
                )
            })
            .collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Container<'a>> {
        self.containers.iter()
    }

    /// Every container but ours.
    pub(super) fn others(&self) -> impl Iterator<Item = &Container<'a>> {
        self.all().filter(|it| !CONTAINERS.contains(&it.name))
    }

    /// The containers that run as long as the pod does, without ours.
    pub(super) fn long_running(&self) -> impl Iterator<Item = &Container<'a>> {
        self.others().filter(|it| it.kind != ContainerKind::Init)
    }

    pub(super) fn first_app(&self) -> Option<&Container<'a>> {
        self.others().find(|it| it.kind == ContainerKind::App)
    }

    pub(super) fn volume(&self, name: &str) -> Option<&'a Value> {
        let found = self.volumes.iter().find(|(it, _)| *it == name);
        found.map(|(_, value)| *value)
    }

    /// How long the kubelet lets the containers stop.
    pub(super) fn grace_seconds(&self) -> u64 {
        let grace = self.spec.get("terminationGracePeriodSeconds");
        grace
            .and_then(Value::as_u64)
            .unwrap_or(DEFAULT_GRACE_SECONDS)
    }

    fn is_true(&self, field: &str) -> bool {
        self.spec.get(field).and_then(Value::as_bool) == Some(true)
    }

    fn is_windows(&self) -> bool {
        let named = |object: &str, key: &str| {
            let value = self.spec.get(object).and_then(|it| it.get(key));
            value.and_then(Value::as_str) == Some("windows")
        };
        named("os", "name") || named("nodeSelector", "kubernetes.io/os")
    }
}

// === impl Container ===

impl<'a> Container<'a> {
    /// The objects of a list of the container.
    pub(super) fn items(&self, key: &str) -> impl Iterator<Item = &'a Object> + use<'a> {
        let list = self.object.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_object)
    }

    /// The TCP ports that it declares.
    pub(super) fn ports(&self) -> impl Iterator<Item = DeclaredPort<'a>> + use<'a> {
        self.items("ports").filter_map(|port| {
            let is_tcp = text(port, "protocol").is_none_or(|it| it == "TCP");
            let number = port.get("containerPort").and_then(port_number)?;
            is_tcp.then_some(DeclaredPort {
                name: text(port, "name"),
                number,
            })
        })
    }

    pub(super) fn declares(&self, port: u16) -> bool {
        self.ports().any(|it| it.number == port)
    }
}

// === reading ===

/// A text member that is not empty.
pub(super) fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    let text = object.get(key).and_then(Value::as_str);
    text.filter(|it| !it.is_empty())
}

pub(super) fn port_number(value: &Value) -> Option<u16> {
    let number = value.as_u64().and_then(|it| u16::try_from(it).ok());
    number.filter(|it| *it != 0)
}

/// The form of names of namespaces and containers.
pub(super) fn is_dns_label(name: &str) -> bool {
    let inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    name.len() <= MAX_LABEL_BYTES
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn run_as_user(object: &Object) -> Option<u64> {
    object.get("securityContext")?.get("runAsUser")?.as_u64()
}

fn malformed(place: &Pointer, wanted: &'static str) -> InjectError {
    InjectError::Malformed {
        path: place.to_string(),
        wanted,
    }
}

/// A member that is an object; null is as good as missing.
fn object<'a>(
    parent: &'a Object,
    place: &Pointer,
    key: &str,
) -> Result<Option<&'a Object>, InjectError> {
    match parent.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(malformed(&place.key(key), "an object")),
    }
}

/// A member that is a list of bounded length; null is as good as empty.
fn list<'a>(
    parent: &'a Object,
    place: &Pointer,
    key: &str,
    most: usize,
) -> Result<&'a [Value], InjectError> {
    let items = match parent.get(key) {
        None | Some(Value::Null) => return Ok(&[]),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(malformed(&place.key(key), "a list")),
    };
    check_number(&place.key(key), items.len(), most)?;
    Ok(items)
}

fn check_number(place: &Pointer, found: usize, most: usize) -> Result<(), InjectError> {
    if found <= most {
        return Ok(());
    }
    Err(InjectError::TooMany {
        path: place.to_string(),
        found,
        most,
    })
}

type NamedItem<'a> = (&'a str, &'a Object, &'a Value);

/// The items of a list whose items all have a name.
fn named_items<'a>(
    parent: &'a Object,
    place: &Pointer,
    key: &str,
    most: usize,
) -> Result<impl Iterator<Item = NamedItem<'a>> + use<'a>, InjectError> {
    let mut named = Vec::new();
    for (index, value) in list(parent, place, key, most)?.iter().enumerate() {
        let item = value
            .as_object()
            .and_then(|item| Some((text(item, "name")?, item, value)))
            .ok_or_else(|| malformed(&place.key(key).index(index), "an object with a name"))?;
        named.push(item);
    }
    Ok(named.into_iter())
}

fn read_containers<'a>(
    spec: &'a Object,
    at: &Pointer,
    key: &'static str,
    room: usize,
) -> Result<Vec<Container<'a>>, InjectError> {
    let mut containers = Vec::new();
    let items = named_items(spec, at, key, MAX_CONTAINERS + room)?;
    for (index, (name, object, _)) in items.enumerate() {
        let place = at.key(key).index(index);
        // The API server asks for it, too, but after the injection: the name
        // becomes a segment of the path at which the sidecar is probed.
        if !is_dns_label(name) {
            return Err(malformed(&place.key("name"), DNS_LABEL));
        }
        for entries in ["ports", "env", "envFrom", "volumeMounts"] {
            list(object, &place, entries, MAX_ENTRIES + room)?;
        }
        let always = text(object, "restartPolicy") == Some("Always");
        let kind = match (key, always) {
            ("containers", _) => ContainerKind::App,
            (_, true) => ContainerKind::NativeSidecar,
            (_, false) => ContainerKind::Init,
        };
        containers.push(Container {
            name,
            object,
            place,
            kind,
        });
    }
    Ok(containers)
}

fn read_annotations<'a>(
    metadata: &'a Object,
    place: &Pointer,
) -> Result<BTreeMap<&'a str, &'a str>, InjectError> {
    let Some(annotations) = object(metadata, place, "annotations")? else {
        return Ok(BTreeMap::new());
    };
    let place = place.key("annotations");
    let injected = annotations.contains_key(INJECTED_ANNOTATION);
    let room = if injected { ROOM } else { 0 };
    check_number(&place, annotations.len(), MAX_ANNOTATIONS + room)?;
    annotations
        .iter()
        .map(|(name, value)| {
            let value = value
                .as_str()
                .ok_or_else(|| malformed(&place.key(name), "a text"))?;
            Ok((name.as_str(), value))
        })
        .collect()
}
