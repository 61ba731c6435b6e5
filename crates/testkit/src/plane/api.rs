//! Requests to the API server, as quick as a client can be.

use std::fs;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode, request};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, STEP};
use crate::apiserver::{Answer as KubectlAnswer, ApiServer};
use crate::client::{Answer, Client, Connection};

/// Who may do everything at an API server.
#[derive(Debug, Clone)]
pub struct Api {
    server: Arc<ApiServer>,
    client: Client,
}

/// How an object is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patch {
    /// Fields are replaced (RFC 7396).
    Merge,
    /// As kubelets do: elements of lists with a key are replaced one by one.
    Strategic,
}

// === impl Api ===

impl Api {
    /// # Panics
    /// The certificate of its authority cannot be read.
    #[must_use]
    pub fn new(server: Arc<ApiServer>) -> Self {
        let authority = fs::read_to_string(server.ca_file()).expect("a certificate");
        let address = server.url().trim_start_matches("https://").to_owned();
        let client = Client::tls(address.parse().expect("an address"), &authority);
        Self { server, client }
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &ApiServer {
        &self.server
    }

    /// Asks for something.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: &Value,
    ) -> anyhow::Result<Answer> {
        let body = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        let request = self.request(method, path);
        let request = request.header(CONTENT_TYPE, media_type).body(body)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.client.send(request.clone()).await?;
            // A server that has just started is ready before its caches are.
            let is_early = answer.status == StatusCode::TOO_MANY_REQUESTS;
            if !is_early || Instant::now() > end {
                return Ok(answer);
            }
            sleep(STEP).await;
        }
    }

    fn request(&self, method: &str, path: &str) -> request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {}", self.server.token()))
            .header(ACCEPT, "application/json")
    }

    /// A question that is to be asked over a connection of [`Api::connect`].
    pub(super) fn question(&self, path: &str) -> anyhow::Result<Request<Bytes>> {
        Ok(self.request("GET", path).body(Bytes::new())?)
    }

    /// A connection for many questions.
    pub(super) async fn connect(&self) -> anyhow::Result<Connection> {
        self.client.connect().await
    }

    /// Reads an object or a list; none when it is not there.
    ///
    /// # Panics
    /// It is refused.
    pub async fn find(&self, path: &str) -> Option<Value> {
        let answer = self.send("GET", path, JSON, &Value::Null).await;
        let answer = answer.expect("an answer");
        (answer.status != 404).then(|| read(path, &answer))
    }

    /// Reads an object or a list.
    ///
    /// # Panics
    /// It is not there.
    pub async fn get(&self, path: &str) -> Value {
        let found = self.find(path).await;
        found.unwrap_or_else(|| panic!("{path} is not there"))
    }

    /// Creates an object in a collection.
    ///
    /// # Panics
    /// It is refused.
    pub async fn create(&self, path: &str, object: &Value) -> Value {
        let answer = self.send("POST", path, JSON, object).await;
        read(path, &answer.expect("an answer"))
    }

    /// Writes an object by server-side apply.
    ///
    /// # Panics
    /// It is refused.
    pub async fn apply(&self, path: &str, object: &Value) -> Value {
        let path = format!("{path}?fieldManager=test&force=true");
        let media_type = "application/apply-patch+yaml";
        let answer = self.send("PATCH", &path, media_type, object).await;
        read(&path, &answer.expect("an answer"))
    }

    /// Changes an object, or a subresource of it.
    ///
    /// # Panics
    /// It is refused.
    pub async fn patch(&self, path: &str, kind: Patch, patch: &Value) -> Value {
        let media_type = match kind {
            Patch::Merge => "application/merge-patch+json",
            Patch::Strategic => "application/strategic-merge-patch+json",
        };
        let answer = self.send("PATCH", path, media_type, patch).await;
        read(path, &answer.expect("an answer"))
    }

    /// Deletes an object at once.
    ///
    /// # Panics
    /// It is refused.
    pub async fn delete(&self, path: &str) {
        let now = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "gracePeriodSeconds": 0,
        });
        let answer = self.send("DELETE", path, JSON, &now).await;
        let _gone = read(path, &answer.expect("an answer"));
    }

    /// One value of a Secret, as text.
    ///
    /// # Panics
    /// It is not there, or no text.
    pub async fn secret_text(&self, path: &str, key: &str) -> String {
        let secret = self.get(path).await;
        let encoded = secret["data"][key].as_str().expect("a value");
        let bytes = STANDARD.decode(encoded).expect("base64");
        String::from_utf8(bytes).expect("text")
    }

    /// A token of a service account, as a kubelet or a person asks for one.
    ///
    /// # Panics
    /// It is refused.
    pub async fn token(&self, namespace: &str, account: &str, spec: &Value) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": spec,
        });
        let answer = self.create(&path, &request).await;
        let token = answer["status"]["token"].as_str();
        token.expect("a token").to_owned()
    }

    /// Runs `kubectl` beside everything else.
    ///
    /// # Panics
    /// It cannot be run.
    pub async fn kubectl(&self, arguments: &[&str], stdin: &str) -> KubectlAnswer {
        let arguments: Vec<_> = arguments.iter().map(|it| (*it).to_owned()).collect();
        let stdin = stdin.to_owned();
        self.beside(move |server| {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            server.kubectl(&arguments, &stdin)
        })
        .await
    }

    /// Does something slow with the server, beside everything else.
    ///
    /// # Panics
    /// It does.
    pub async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ApiServer) -> T + Send + 'static,
    ) -> T {
        let server = Arc::clone(&self.server);
        let done = tokio::task::spawn_blocking(move || work(&server)).await;
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

const JSON: &str = "application/json";

#[track_caller]
fn read(path: &str, answer: &Answer) -> Value {
    assert!(
        answer.status.is_success(),
        "{path}: {} {}",
        answer.status,
        answer.text()
    );
    serde_json::from_slice(&answer.body).expect("JSON")
}
