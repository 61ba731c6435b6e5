//! A sidecar that a pod has already: because the API server asks a second time
//! after other webhooks, or because somebody copied a running pod.

use serde_json::Value;
use sidegate_config::probes::{PROBES_VARIABLE, RewrittenProbes};

use super::compare;
use super::error::InjectError;
use super::names::{HOLD, IDENTITY, INJECTED_ANNOTATION, SIDECAR, VOLUMES};
use super::patch::{Patch, Pointer};
use super::pod::{Container, ContainerKind, Pod, text};
use super::ports::GatewayPorts;
use super::render::{Rendered, escaped, unescaped};

#[derive(Debug)]
pub(super) struct Present {
    /// What the sidecar probes already.
    pub(super) probes: RewrittenProbes,
    /// Where the text of it is.
    place: Pointer,
}

// === impl Present ===

impl Present {
    /// The sidecar of the pod, if it has one. Whatever else has a name of ours
    /// is refused.
    pub(super) fn find(pod: &Pod<'_>, ports: &GatewayPorts) -> Result<Option<Self>, InjectError> {
        let named = |name| pod.all().find(|it| it.name == name);
        if named(IDENTITY).is_some() {
            return Err(taken("container", IDENTITY));
        }
        let (sidecar, hold) = (named(SIDECAR), named(HOLD));
        let injected = pod.annotations.contains_key(INJECTED_ANNOTATION);
        for container in [sidecar, hold].into_iter().flatten() {
            if container.kind == ContainerKind::App || !injected {
                return Err(taken("container", container.name));
            }
        }
        if let Some(sidecar) = sidecar {
            return Self::read(sidecar, ports).map(Some);
        }
        let leftover = hold.map(|it| ("container", it.name));
        let volume = VOLUMES.into_iter().find(|it| pod.volume(it).is_some());
        match leftover.or_else(|| volume.map(|it| ("volume", it))) {
            Some((kind, name)) => Err(taken(kind, name)),
            None => Ok(None),
        }
    }

    fn read(sidecar: &Container<'_>, ports: &GatewayPorts) -> Result<Self, InjectError> {
        let entries = sidecar.object.get("env").and_then(Value::as_array);
        let found = entries
            .into_iter()
            .flatten()
            .enumerate()
            .filter_map(|(index, it)| Some((index, it.as_object()?)))
            .find(|(_, it)| text(it, "name") == Some(PROBES_VARIABLE));
        let lacks = || altered(SIDECAR, format!("variable {PROBES_VARIABLE} is missing"));
        let (index, variable) = found.ok_or_else(lacks)?;
        let value = text(variable, "value").ok_or_else(lacks)?;
        let probes = RewrittenProbes::from_json(&unescaped(value))
            .map_err(|it| altered(SIDECAR, it.to_string()))?;
        // Nothing but a server's port is probed for anybody.
        let strange = probes
            .iter()
            .find(|(_, _, it)| !ports.guarded.contains(&it.target.port()));
        if let Some((_, _, probe)) = strange {
            let port = probe.target.port();
            return Err(altered(
                SIDECAR,
                format!("it probes port {port}, which is no server's of the gateway"),
            ));
        }
        Ok(Self {
            probes,
            place: sidecar.place.key("env").index(index).key("value"),
        })
    }

    /// Checks that the sidecar is as it should be, and tells it of probes of
    /// containers that came later.
    pub(super) fn keep(
        &self,
        pod: &Pod<'_>,
        rendered: &Rendered,
        probes: &RewrittenProbes,
        patch: &mut Patch,
    ) -> Result<(), InjectError> {
        verify(pod, rendered)?;
        if *probes != self.probes {
            let text = escaped(&probes.to_json()?);
            patch.replace(self.place.clone(), text.into());
        }
        Ok(())
    }
}

/// Checks that all that was made is there, as it was made.
pub(super) fn verify(pod: &Pod<'_>, rendered: &Rendered) -> Result<(), InjectError> {
    for made in rendered.containers.iter().filter_map(Value::as_object) {
        let name = text(made, "name").unwrap_or_default();
        let found = pod.all().find(|it| it.name == name);
        let found = found.ok_or_else(|| altered(name, "it is missing".to_owned()))?;
        compare::container(made, found.object).map_err(|it| altered(name, it))?;
    }
    for made in &rendered.volumes {
        let name = made.get("name").and_then(Value::as_str).unwrap_or_default();
        let found = pod.volume(name);
        let found = found.ok_or_else(|| altered(name, "it is missing".to_owned()))?;
        compare::volume(made, found).map_err(|it| altered(name, it))?;
    }
    Ok(())
}

pub(super) fn taken(kind: &'static str, name: &str) -> InjectError {
    InjectError::NameTaken {
        kind,
        name: name.to_owned(),
    }
}

fn altered(container: &str, difference: String) -> InjectError {
    InjectError::Altered {
        container: container.to_owned(),
        difference,
    }
}
