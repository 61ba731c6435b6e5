//! What is signed, and what it says.

use sidegate_tls::{MAX_DNS_NAMES, new_key_and_request, validity};

use super::super::SignError;
use super::super::rotation::Step;
use super::*;

const HOUR: i64 = 60 * 60;

#[test]
fn a_workload_gets_forty_eight_hours_and_an_endpoint_ninety_days() {
    let trust = trust();
    let now = now();
    let request = new_key_and_request().expect("a request");
    let chain = trust
        .sign_workload(&request.request_pem, &identity(), now)
        .expect("it is signed");
    assert_eq!(validity(&chain).unwrap().not_after_unix, now + 48 * HOUR);
    let material = trust.issue_endpoint(now).expect("it is issued");
    let chain = String::from_utf8(material.certificate_pem).unwrap();
    assert_eq!(
        validity(&chain).unwrap().not_after_unix,
        now + 90 * 24 * HOUR
    );
    assert!(material.client_ca_pem.is_none());
    assert_ne!(trust.workload_roots_pem(), trust.endpoint_roots_pem());
}

#[test]
fn the_names_of_the_endpoints_are_those_of_the_service() {
    assert_eq!(
        settings().endpoint_names,
        [
            "sidegate-operator.sidegate-system.svc",
            "sidegate-operator.sidegate-system.svc.cluster.local",
            "localhost",
        ]
    );
    let mut named = settings();
    for host in [
        "Operator.Example.",
        "operator.example",
        "192.0.2.1",
        "[::1]",
        "::1",
    ] {
        named.add_endpoint_name(host);
    }
    assert_eq!(named.endpoint_names[3..], ["operator.example"]);
    // A name that does not fit into a common name.
    let namespace = "n".repeat(63);
    let settings = AuthoritySettings::new(&namespace, "cluster.local");
    let trust = Trust::new(&stored(), &settings);
    trust.issue_endpoint(now()).expect("it is issued");
}

#[test]
fn what_is_no_request_or_identity_is_refused() {
    let trust = trust();
    let request = new_key_and_request().expect("a request").request_pem;
    let refused = trust.sign_workload("nothing", &identity(), now());
    assert!(matches!(refused, Err(SignError::Request(_))));
    let strange = WorkloadIdentity {
        service_account: "../admin".to_owned(),
        ..identity()
    };
    let refused = trust.sign_workload(&request, &strange, now());
    assert!(matches!(refused, Err(SignError::Identity(_))));
    let nameless = WorkloadIdentity {
        pod_uid: String::new(),
        ..identity()
    };
    let refused = trust.sign_workload(&request, &nameless, now());
    assert!(matches!(refused, Err(SignError::Sign(_))));
    let late = now() + 366 * 24 * HOUR;
    let refused = trust.sign_workload(&request, &identity(), late);
    assert!(
        matches!(refused, Err(SignError::Sign(_))),
        "the root has expired"
    );
}

#[test]
fn names_that_cannot_be_signed_are_left_out() {
    let trust = trust();
    let request = new_key_and_request().expect("a request").request_pem;
    let mut many = identity();
    let odd = ["a_b.example.com", "support.2024", "*.example.com", "UP", ""];
    many.dns_names = odd.map(str::to_owned).to_vec();
    many.dns_names.push("support.2024.svc".to_owned());
    assert_eq!(many.signable_names(), ["support.2024.svc"]);
    let numbered = (0..300).map(|number| format!("n{number}.crm.svc"));
    many.dns_names.extend(numbered);
    assert_eq!(many.signable_names().len(), MAX_DNS_NAMES);
    let signed = trust.sign_workload(&request, &many, now());
    signed.expect("it is signed");
}

#[test]
fn both_roots_are_trusted_during_a_change() {
    let mut stored = stored();
    let settings = settings();
    let old = stored.workload.certificates_pem();
    let lifetimes = settings.lifetimes(Purpose::Workload);
    let mut go = |step, at| {
        let set = stored
            .workload
            .after(step, Purpose::Workload, lifetimes, at);
        stored.workload = Arc::new(set.expect("a set"));
        Trust::new(&stored, &settings)
    };
    let both = go(Step::Create, now());
    let roots = both.workload_roots_pem();
    assert!(roots.starts_with(&old));
    assert_eq!(roots.matches("BEGIN CERTIFICATE").count(), 2);
    let promoted = go(Step::Promote { candidate: 1 }, now() + 1);
    assert_eq!(promoted.workload_roots_pem(), roots);
    let dropped = go(Step::Drop { index: 0 }, now() + 2);
    assert_eq!(format!("{old}{}", dropped.workload_roots_pem()), roots);
}
