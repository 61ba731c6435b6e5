//! What a role permits, and what a request needs.

use serde_json::Value;
use sidegate_testkit::plane::HOME;

/// One verb on one kind of object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Permission {
    /// Whether it counts in every namespace, or in the operator's own.
    everywhere: bool,
    group: String,
    resource: String,
    verb: String,
    /// The only names; none means any.
    names: Vec<String>,
}

/// What the operator did.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) verb: String,
    pub(super) namespace: String,
    name: String,
}

/// What a rule of a role permits, one by one.
pub(super) fn permissions(rule: &Value, everywhere: bool) -> Vec<Permission> {
    let texts = |field: &str| -> Vec<String> {
        let texts = rule[field].as_array().into_iter().flatten();
        texts
            .map(|text| text.as_str().unwrap().to_owned())
            .collect()
    };
    let mut permissions = Vec::new();
    for group in texts("apiGroups") {
        for resource in texts("resources") {
            for verb in texts("verbs") {
                permissions.push(Permission {
                    everywhere,
                    group: group.clone(),
                    resource: resource.clone(),
                    verb,
                    names: texts("resourceNames"),
                });
            }
        }
    }
    permissions
}

/// What an event says that was done: two things when an apply created.
pub(super) fn uses(event: &Value) -> Vec<Use> {
    let object = &event["objectRef"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let path = text(&event["requestURI"]);
    if object.is_null() {
        // Every account may read which kinds there are.
        let discovery = ["/api", "/apis", "/version", "/readyz", "/livez"];
        assert!(discovery.iter().any(|it| path.starts_with(it)), "{event}");
        return Vec::new();
    }
    let resource = match object["subresource"].as_str() {
        Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
        None => text(&object["resource"]),
    };
    let done = |verb: &str| Use {
        group: text(&object["apiGroup"]),
        resource: resource.clone(),
        verb: verb.to_owned(),
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
    };
    let verb = text(&event["verb"]);
    let mut uses = vec![done(&verb)];
    if verb == "patch" && event["responseStatus"]["code"] == 201 {
        uses.push(done("create"));
    }
    uses
}

// === impl Permission ===

impl Permission {
    /// Whether a request may be made because of it.
    pub(super) fn covers(&self, it: &Use) -> bool {
        // A name does not restrict what is created by a POST: it is in the body.
        let names = self.names.is_empty() || self.names.contains(&it.name);
        (self.everywhere || it.namespace == HOME)
            && self.group == it.group
            && self.resource == it.resource
            && self.verb == it.verb
            && names
    }

    pub(super) fn in_words(&self) -> String {
        let Self {
            group,
            resource,
            verb,
            names,
            everywhere: _,
        } = self;
        format!("{verb} {group}/{resource} {}", names.join(","))
            .trim()
            .to_owned()
    }
}
