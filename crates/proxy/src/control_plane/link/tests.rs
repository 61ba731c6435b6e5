use sidegate_policy::clock::SystemClock;

use super::*;
use crate::control_plane::test_client;

fn link() -> Link {
    let url = "https://localhost:1".parse().expect("a URL");
    Link::new(url, "token".into(), "trust".into(), Arc::new(SystemClock))
}

fn identity() -> IssuedIdentity {
    test_client::identity(&test_client::authority())
}

/// As a connection that shows what there is.
fn connected(link: &mut Link) {
    link.showed = link.kept.as_ref().map(|it| it.certificate_pem().to_owned());
}

#[tokio::test(start_paused = true)]
async fn the_first_certificate_is_shown_soon_and_a_newer_one_some_time() {
    let mut link = link();
    connected(&mut link);
    assert!(!link.has_to_show());
    let first = identity();
    link.kept(first.clone());
    assert!(!link.has_to_show());
    tokio::time::advance(WITHOUT_CERTIFICATE).await;
    assert!(link.has_to_show());
    connected(&mut link);
    assert!(!link.has_to_show());
    // Only among other authorities: it is the same certificate.
    link.kept(first);
    tokio::time::advance(WITH_ANOTHER).await;
    assert!(!link.has_to_show());
    link.kept(identity());
    tokio::time::advance(WITH_ANOTHER).await;
    assert!(link.has_to_show());
}

#[tokio::test(start_paused = true)]
async fn pods_that_were_renewed_together_do_not_come_back_together() {
    let waits: Vec<_> = (0..64)
        .map(|_| {
            let mut link = link();
            link.kept(identity());
            connected(&mut link);
            link.kept(identity());
            link.show_from - Instant::now()
        })
        .collect();
    let (least, most) = (waits.iter().min(), waits.iter().max());
    let (least, most) = (*least.expect("some"), *most.expect("some"));
    assert!(
        most <= WITH_ANOTHER && most - least > WITH_ANOTHER / 4,
        "{waits:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_refused_is_not_shown_again_at_once() {
    let mut link = link();
    link.kept(identity());
    tokio::time::advance(WITHOUT_CERTIFICATE).await;
    assert!(link.has_to_show());
    link.shows_certificate = false;
    assert!(!link.has_to_show());
}
