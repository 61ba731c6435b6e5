//! Example manifests: each must be one that a cluster or the desk takes.

use anyhow::Result;
use sidegate_config::{Options, documents, validate};

use crate::workspace::Workspace;

pub(super) fn run(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root().join("manifests");
    let generated = [folder.join("crds"), folder.join("operator")];
    let mut problems = Vec::new();
    for file in workspace.files(&folder)? {
        let is_document = file
            .extension()
            .is_some_and(|it| it == "yaml" || it == "yml");
        if is_document && !generated.iter().any(|it| file.starts_with(it)) {
            let text = std::fs::read_to_string(&file)?;
            problems.extend(refused(&workspace.name(&file), &text));
        }
    }
    Ok(problems)
}

/// Why the documents would not be taken.
fn refused(name: &str, text: &str) -> Vec<String> {
    let options = Options {
        allow_loopback: true,
        // The cluster's, or the desk's development certificates.
        built_in_ca: true,
        trust_domain: "cluster.local".to_owned(),
    };
    let documents = match documents::parse(name, text) {
        Ok(documents) => documents,
        Err(violations) => return lines(&violations.to_string()),
    };
    if documents.gateways.is_empty() && documents.providers.is_empty() {
        return vec![format!(
            "{name}: neither an McpGateway nor an LlmProvider is in it"
        )];
    }
    documents
        .gateways
        .iter()
        .map(|gateway| format!("{}/{}", gateway.namespace, gateway.name))
        .filter_map(|gateway| validate(&documents, Some(&gateway), &options).err())
        .flat_map(|violations| lines(&violations.to_string()))
        .collect()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = "\
apiVersion: sidegate.dev/v1alpha1
kind: McpGateway
metadata:
  name: support
  namespace: crm
spec:
  selector:
    matchLabels:
      app: support
  servers:
  - name: support
    port: 8080
    resources:
    - http://127.0.0.1:8080/mcp
  tls:
    mode: Plaintext
  authentication:
    jwt:
    - issuer: https://idp.example.com/
      jwks:
        uri: https://idp.example.com/jwks
  authorization:
    rules:
    - name: read
      tools:
      - get_*
      requiredScopes:
      - customer:read
";

    #[test]
    fn a_good_manifest_passes() {
        assert_eq!(refused("a.yaml", GATEWAY), [""; 0]);
    }

    #[test]
    fn a_manifest_that_cannot_be_used_is_refused_with_its_place() {
        for (from, to) in [
            ("port: 8080", "port: 15020"),
            ("      tools:\n      - get_*\n", ""),
            ("kind: McpGateway", "kind: McpGatewayy"),
            ("selector:", "selecter:"),
        ] {
            let problems = refused("a.yaml", &GATEWAY.replace(from, to));
            assert!(!problems.is_empty(), "{to}");
            assert!(problems[0].contains("a.yaml"), "{problems:?}");
        }
    }

    #[test]
    fn a_manifest_of_nothing_is_refused() {
        assert_eq!(refused("a.yaml", "").len(), 1);
    }
}
