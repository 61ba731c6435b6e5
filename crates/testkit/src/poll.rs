//! Waiting for something without sleeping for a guess.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a test waits for what shall happen.
pub const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(5);

/// Waits until `look` sees something.
///
/// # Panics
/// It sees nothing for [`PATIENCE`]; `what` is named.
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
    within(PATIENCE, what, look)
}

#[track_caller]
fn within<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        let end = Instant::now() + patience;
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            assert!(Instant::now() < end, "{place}: waited in vain until {what}");
            sleep(STEP).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "waited in vain until pigs fly")]
    async fn waiting_in_vain_ends() {
        within(Duration::from_millis(20), "pigs fly", || None::<()>).await;
    }

    #[tokio::test]
    async fn what_is_seen_is_returned() {
        let mut looks = 0;
        let seen = until("the third look", || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(seen.await, 3);
    }
}
