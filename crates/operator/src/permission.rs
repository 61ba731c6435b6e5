//! The command that lets the operator read an object.

use std::fmt;

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::references::Reference;

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Who the operator is to the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    username: String,
}

// === impl Account ===

impl Account {
    /// Asks the API server.
    ///
    /// # Errors
    /// It does not answer, or not with a name.
    pub(crate) async fn ask(client: Client) -> kube::Result<Self> {
        let review = Api::<SelfSubjectReview>::all(client)
            .create(&PostParams::default(), &SelfSubjectReview::default())
            .await?;
        let user = review.status.and_then(|status| status.user_info);
        let username = user.and_then(|user| user.username).unwrap_or_default();
        Ok(Self { username })
    }

    /// The command by which the owner of a namespace lets the operator read
    /// one object and no other.
    pub(crate) fn grant(&self, reference: &Reference) -> String {
        let Reference { kind, key } = reference;
        let (plural, namespace, name) = (kind.plural(), &key.namespace, &key.name);
        let role = format!("sidegate-{plural}-{name}");
        format!(
            "kubectl create role {role} -n {namespace} --verb=get,list,watch \
             --resource={plural} --resource-name={name} && \
             kubectl create rolebinding {role} -n {namespace} --role={role} {self}"
        )
    }
}

impl fmt::Display for Account {
    /// As `kubectl create rolebinding` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.username.strip_prefix(SERVICE_ACCOUNT) {
            Some(account) => write!(f, "--serviceaccount={account}"),
            None => write!(f, "--user={}", self.username),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::references::RefKind;

    #[test]
    fn the_command_names_the_object_and_the_account() {
        let reference = Reference {
            kind: RefKind::Secret,
            key: Key::new("crm", "support-tls"),
        };
        let account = |name: &str| Account {
            username: name.to_owned(),
        };
        assert_eq!(
            account("system:serviceaccount:sidegate-system:sidegate-operator").grant(&reference),
            "kubectl create role sidegate-secrets-support-tls -n crm --verb=get,list,watch \
             --resource=secrets --resource-name=support-tls && \
             kubectl create rolebinding sidegate-secrets-support-tls -n crm \
             --role=sidegate-secrets-support-tls \
             --serviceaccount=sidegate-system:sidegate-operator"
        );
        assert!(account("jane").grant(&reference).ends_with(" --user=jane"));
    }
}
