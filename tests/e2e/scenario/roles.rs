//! The operator's permissions against what it did, by the API server's audit
//! log: it was refused nothing, and it needed everything that it has.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use crate::cluster::{audited, get};

const NAMESPACE: &str = "sidegate-system";
const NAME: &str = "sidegate-operator";
const USER: &str = "system:serviceaccount:sidegate-system:sidegate-operator";

/// Permissions that this scenario gives no reason to use.
const UNUSED: [(&str, &str); 4] = [
    (
        "get sidegate.dev/mcpgateways",
        "for objects that do not fit the operator's type, which the schema refuses",
    ),
    ("get sidegate.dev/llmproviders", "as for gateways"),
    (
        "get networking.k8s.io/networkpolicies",
        "when somebody else's policy has the name of ours",
    ),
    (
        "update /secrets",
        "the authority replaces its roots after months",
    ),
];

/// What was asked of the API server.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    verb: String,
    group: String,
    /// With the subresource.
    resource: String,
    namespace: String,
    name: String,
    refused: bool,
}

/// One verb on one resource, which a rule allows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Permission {
    verb: String,
    group: String,
    resource: String,
    names: Vec<String>,
    /// In this namespace only.
    namespace: Option<&'static str>,
}

pub(crate) fn proof() -> Result<String> {
    let requests = requests(&audited(USER)?);
    ensure!(!requests.is_empty(), "the audit log has nothing of {USER}");
    let mut permissions = permissions(&get(&["clusterrole", NAME])?, None);
    let role = get(&["role", NAME, "-n", NAMESPACE])?;
    permissions.extend(self::permissions(&role, Some(NAMESPACE)));
    let problems = problems(&requests, &permissions, &UNUSED);
    if problems.is_empty() {
        return Ok(format!("{} permissions", permissions.len()));
    }
    bail!("{}", problems.join("\n"))
}

fn requests(events: &[Value]) -> BTreeSet<Request> {
    let both = |event| [request(event), creation(event)];
    events.iter().flat_map(both).flatten().collect()
}

/// Requests for paths that are no resources, such as those of discovery, are
/// everybody's.
fn request(event: &Value) -> Option<Request> {
    let object = event.get("objectRef")?;
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let resource = match object["subresource"].as_str() {
        Some(subresource) => format!("{}/{subresource}", text("resource")),
        None => text("resource"),
    };
    Some(Request {
        verb: event["verb"].as_str()?.to_owned(),
        group: text("apiGroup"),
        resource,
        namespace: text("namespace"),
        name: text("name"),
        refused: event["responseStatus"]["code"] == 403,
    })
}

/// What a server-side apply needs when the object is not there yet: the API
/// server asks for this permission too, and logs only the other.
fn creation(event: &Value) -> Option<Request> {
    let created = event["verb"] == "patch" && event["responseStatus"]["code"] == 201;
    let mut request = request(event).filter(|_| created)?;
    "create".clone_into(&mut request.verb);
    Some(request)
}

fn permissions(role: &Value, namespace: Option<&'static str>) -> BTreeSet<Permission> {
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(|it| it.as_str().map(str::to_owned))
            .collect()
    };
    let mut permissions = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    permissions.insert(Permission {
                        verb,
                        group: group.clone(),
                        resource: resource.clone(),
                        names: texts(&rule["resourceNames"]),
                        namespace,
                    });
                }
            }
        }
    }
    permissions
}

impl Permission {
    fn allows(&self, request: &Request) -> bool {
        self.verb == request.verb
            && self.group == request.group
            && self.resource == request.resource
            && (self.names.is_empty() || self.names.contains(&request.name))
            && self
                .namespace
                .is_none_or(|namespace| namespace == request.namespace)
    }

    fn words(&self) -> String {
        format!("{} {}/{}", self.verb, self.group, self.resource)
    }
}

fn problems(
    requests: &BTreeSet<Request>,
    permissions: &BTreeSet<Permission>,
    unused: &[(&str, &str)],
) -> Vec<String> {
    let refused = requests
        .iter()
        .filter(|request| request.refused)
        .map(|request| format!("refused: {request:?}"));
    let elsewhere = requests
        .iter()
        .filter(|request| !request.refused)
        .filter(|request| !permissions.iter().any(|it| it.allows(request)))
        .map(|request| format!("not by the operator's roles: {request:?}"));
    let idle = permissions
        .iter()
        .filter(|permission| !requests.iter().any(|it| permission.allows(it)))
        .map(Permission::words)
        .filter(|words| !unused.iter().any(|(known, _)| known == words))
        .map(|words| format!("never needed: {words}"));
    let needed = unused
        .iter()
        .filter(|(known, _)| {
            let named = |it: &&Permission| it.words() == *known;
            let permission = permissions.iter().find(named);
            permission.is_none_or(|it| requests.iter().any(|request| it.allows(request)))
        })
        .map(|(known, _)| format!("said to be unused, and is used or gone: {known}"));
    refused.chain(elsewhere).chain(idle).chain(needed).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(verb: &str, resource: &str, name: &str, code: u16) -> Value {
        let object = json!({"resource": resource, "namespace": "a", "name": name});
        json!({"verb": verb, "objectRef": object, "responseStatus": {"code": code}})
    }

    fn role(verbs: &[&str], names: &[&str]) -> Value {
        let rule = json!({
            "apiGroups": [""], "resources": ["pods"], "verbs": verbs, "resourceNames": names,
        });
        json!({"rules": [rule]})
    }

    fn found(log: &[Value], role: &Value, unused: &[(&str, &str)]) -> Vec<String> {
        problems(&requests(log), &permissions(role, None), unused)
    }

    #[test]
    fn what_was_used_and_no_more_is_fine() {
        let log = [event("list", "pods", "", 200)];
        assert!(found(&log, &role(&["list"], &[]), &[]).is_empty());
        let discovery = json!({"verb": "get", "requestURI": "/version"});
        let log = [discovery, event("get", "pods", "x", 404)];
        assert!(found(&log, &role(&["get"], &["x"]), &[]).is_empty());
    }

    #[test]
    fn an_applied_object_that_was_not_there_is_created() {
        let role = role(&["create", "patch"], &[]);
        let log = [event("patch", "pods", "x", 201)];
        assert!(found(&log, &role, &[]).is_empty());
        let log = [event("patch", "pods", "x", 200)];
        assert_eq!(found(&log, &role, &[]), ["never needed: create /pods"]);
    }

    #[test]
    fn refused_foreign_and_idle_permissions_are_told() {
        let log = [event("get", "pods", "y", 403)];
        let problems = found(&log, &role(&["get"], &["x"]), &[]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("refused: "), "{problems:?}");
        assert_eq!(problems[1], "never needed: get /pods");
        let log = [event("watch", "pods", "", 200)];
        let problems = found(
            &log,
            &role(&["watch", "list"], &[]),
            &[("list /pods", "why")],
        );
        assert!(problems.is_empty(), "{problems:?}");
        let problems = found(&log, &role(&["watch"], &[]), &[("watch /pods", "why")]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let problems = found(&log, &role(&[], &[]), &[]);
        assert!(
            problems[0].starts_with("not by the operator's roles"),
            "{problems:?}"
        );
    }
}
