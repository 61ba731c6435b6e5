//! The health port: liveness, readiness, metrics, and the probes of the other
//! containers. Anyone who reaches the pod may ask, so the answers say nothing
//! else.

mod app_health;
mod probe;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use sidegate_config::probes::RewrittenProbes;

pub(crate) use self::app_health::AppHealth;
use crate::run::service_port::{Answer, Answering, answer, method_not_allowed, not_found, text};
use crate::shared::Shared;

/// The Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether requests are to be sent here: a configuration is in force that can
/// decide them, and the sidecar is not stopping.
#[must_use]
pub fn is_ready(shared: &Shared) -> bool {
    let now = shared.clock.unix_seconds();
    !shared.drain.is_draining()
        && shared
            .runtime
            .load()
            .as_deref()
            .is_some_and(|runtime| runtime.ready(now))
}

/// Answers the health port from `shared`.
pub(crate) fn answering(shared: Arc<Shared>, app_health: Arc<AppHealth>) -> Answering {
    Arc::new(move |request| {
        let path = request.uri().path();
        if RewrittenProbes::is_path(path) && is_read(request.method()) {
            let (path, drain) = (path.to_owned(), Arc::clone(&shared.drain));
            let app_health = Arc::clone(&app_health);
            return Box::pin(async move { app_health.answer(&path, &drain).await });
        }
        let answer = respond(&shared, &request);
        Box::pin(std::future::ready(answer))
    })
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn respond<B>(shared: &Shared, request: &Request<B>) -> Answer {
    let path = request.uri().path();
    let is_probe = RewrittenProbes::is_path(path);
    if !is_probe && !matches!(path, "/healthz" | "/readyz" | "/metrics") {
        return not_found();
    }
    if is_probe || !is_read(request.method()) {
        return method_not_allowed("GET, HEAD");
    }
    match path {
        "/healthz" => text(StatusCode::OK, "ok"),
        "/readyz" if is_ready(shared) => text(StatusCode::OK, "ok"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
        _ => answer(
            StatusCode::OK,
            METRICS_TYPE,
            Bytes::from(shared.metrics.render()),
        ),
    }
}
