//! The schedule of roots: tables and laws.

use proptest::prelude::*;

use super::super::rotation::{Facts, Step, Times, due};
use super::*;

const NOT_BEFORE: i64 = 1_000_000;
const ROOT: i64 = 9_000;

/// A root with a life of [`ROOT`] seconds from its `since`.
fn root(since: i64, signs: Option<i64>, retired: Option<i64>) -> Facts {
    Facts {
        times: Times {
            trusted_since: NOT_BEFORE + since,
            signs_since: signs.map(|it| NOT_BEFORE + it),
            retired_since: retired.map(|it| NOT_BEFORE + it),
        },
        not_before: NOT_BEFORE + since,
        not_after: NOT_BEFORE + since + ROOT,
    }
}

#[test]
fn each_step_comes_in_its_second() {
    let signer = root(0, Some(0), None);
    let candidate = root(6_000, None, None);
    let retired = root(0, Some(0), Some(6_100));
    let next = root(6_000, Some(6_100), None);
    let promote = Step::Promote { candidate: 1 };
    let drop = Step::Drop { index: 0 };
    // leaf 500, spread 100
    let table: [(&str, &[Facts], bool, i64, Step); 14] = [
        ("young", &[signer], false, 5_999, Step::Rest),
        ("two thirds are over", &[signer], false, 6_000, Step::Create),
        ("asked for", &[signer], true, 1, Step::Create),
        (
            "not yet known to all",
            &[signer, candidate],
            false,
            6_099,
            Step::Rest,
        ),
        ("known to all", &[signer, candidate], false, 6_100, promote),
        (
            "asked for, and coming",
            &[signer, candidate],
            true,
            6_050,
            Step::Rest,
        ),
        (
            "signed may live",
            &[retired, next],
            false,
            6_699,
            Step::Rest,
        ),
        ("nothing lives", &[retired, next], false, 6_700, drop),
        (
            "a second request",
            &[retired, next],
            true,
            6_200,
            Step::Create,
        ),
        (
            "a third one waits",
            &[retired, root(5_900, Some(6_000), Some(6_100)), next],
            true,
            6_200,
            Step::Rest,
        ),
        // After a long sleep of the leader.
        ("expired", &[signer], false, 9_001, Step::Create),
        (
            "an expired signer is not waited for",
            &[signer, root(8_990, None, None)],
            false,
            9_000,
            promote,
        ),
        ("long retired", &[retired, next], false, 9_500, drop),
        // A clock that goes back makes nothing happen.
        (
            "before its time",
            &[signer, candidate],
            false,
            -50,
            Step::Rest,
        ),
    ];
    let lifetimes = lifetimes(9_000, 500, 100);
    for (what, roots, requested, at, wanted) in table {
        let step = due(roots, &lifetimes, requested, NOT_BEFORE + at);
        assert_eq!(step, wanted, "{what}");
    }
}

#[test]
fn extreme_times_do_not_overflow() {
    let mut root = root(0, Some(0), None);
    root.times.trusted_since = i64::MAX;
    root.not_before = i64::MIN;
    root.not_after = i64::MAX;
    let lifetimes = lifetimes(u64::MAX, u64::MAX, u64::MAX);
    let mut retired = root;
    retired.times.retired_since = Some(i64::MAX);
    for now in [i64::MIN, 0, i64::MAX] {
        // It signs, and what is retired at the end of time is never dropped.
        assert_eq!(
            due(&[root, retired], &lifetimes, false, now.min(i64::MAX - 1)),
            match now {
                i64::MIN => Step::Rest,
                _ => Step::Create,
            }
        );
    }
}

#[test]
fn the_shipped_lifetimes_leave_time_for_a_change() {
    let settings = AuthoritySettings::new("a", "b");
    for lifetimes in [settings.workload, settings.endpoints] {
        // Even when the set is full: what waits is dropped first.
        let needed = (lifetimes.spread + lifetimes.leaf) + lifetimes.spread;
        assert!(lifetimes.root / 3 > needed);
    }
}

/// What a cluster goes through.
#[derive(Debug, Clone)]
struct Story {
    lifetimes: Lifetimes,
    /// Seconds until the leader looks again, and whether somebody asks for a
    /// new root before.
    looks: Vec<(i64, bool)>,
}

fn story() -> impl Strategy<Value = Story> {
    (200_000_u64..2_000_000).prop_flat_map(|root| {
        let spread = 1..=root / 20;
        let leaf = 1..=root / 20;
        let wait = 1..=i64::try_from(root / 20).unwrap();
        let looks = prop::collection::vec((wait, prop::bool::weighted(0.1)), 1..120);
        (leaf, spread, looks).prop_map(move |(leaf, spread, looks)| Story {
            lifetimes: lifetimes(root, leaf, spread),
            looks,
        })
    })
}

/// A root over its whole life, as an observer knows it.
struct Known {
    certificate: String,
    signed_from: Option<i64>,
    retired: Option<i64>,
    not_after: i64,
}

struct Observer {
    /// Certificates that are trusted from a time on.
    bundles: Vec<(i64, Vec<String>)>,
    known: Vec<Known>,
    lifetimes: Lifetimes,
}

impl Observer {
    fn note(&mut self, set: &RootSet, now: i64) {
        let trusted = set.roots().iter().map(|it| it.authority.certificate_pem());
        self.bundles
            .push((now, trusted.map(str::to_owned).collect()));
        for root in set.roots() {
            let certificate = root.authority.certificate_pem();
            let at = self
                .known
                .iter()
                .position(|it| it.certificate == certificate);
            let at = at.unwrap_or_else(|| {
                self.known.push(Known {
                    certificate: certificate.to_owned(),
                    signed_from: None,
                    retired: None,
                    not_after: root.authority.not_after_unix(),
                });
                self.known.len() - 1
            });
            self.known[at].signed_from = root.times.signs_since;
            self.known[at].retired = root.times.retired_since;
        }
    }

    /// Roots of which something may be alive. A replica may hear of a change
    /// as late as `spread` and sign with the old root until then.
    fn alive(&self, now: i64) -> impl Iterator<Item = &Known> {
        let Lifetimes { leaf, spread, .. } = self.lifetimes;
        let seconds = |it: Duration| i64::try_from(it.as_secs()).unwrap();
        self.known.iter().filter(move |root| {
            let last = root.retired.map_or(now, |it| it + seconds(spread));
            let end = (last + seconds(leaf)).min(root.not_after);
            root.signed_from.is_some() && now < end
        })
    }

    /// What somebody trusts who hears of changes at most `spread` late.
    fn late_bundles(&self, now: i64) -> impl Iterator<Item = &Vec<String>> {
        let oldest = now - i64::try_from(self.lifetimes.spread.as_secs()).unwrap();
        let replaced = self.bundles.iter().skip(1).map(|(at, _)| *at);
        let until = replaced.chain([i64::MAX]);
        let bundles = self.bundles.iter().zip(until);
        bundles
            .filter(move |(_, until)| *until > oldest)
            .map(|((_, trusted), _)| trusted)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// At every moment, whatever may be alive is trusted by everybody who
    /// hears of changes at most `spread` late, also by those.
    #[test]
    fn whatever_is_alive_is_trusted(story in story()) {
        let Story { lifetimes, looks } = story;
        let purpose = Purpose::Workload;
        let mut now = 1_800_000_000;
        let mut set = RootSet::create(purpose, &lifetimes, now).unwrap();
        let mut observer = Observer { bundles: Vec::new(), known: Vec::new(), lifetimes };
        observer.note(&set, now);
        let mut requested = false;
        for (wait, asks) in looks {
            requested |= asks;
            // Between the leader's looks, just before what it does next.
            for at in [now + wait / 2, now + wait - 1] {
                check(&observer, at.max(now))?;
            }
            now += wait;
            let mut steps = 0;
            loop {
                let step = set.due(&lifetimes, requested, now);
                if step == Step::Rest {
                    break;
                }
                steps += 1;
                prop_assert!(steps <= 4, "it does not come to rest");
                set = set.after(step, purpose, &lifetimes, now).unwrap();
                if matches!(step, Step::Promote { .. }) {
                    requested = false;
                }
                observer.note(&set, now);
                check(&observer, now)?;
            }
            prop_assert!(set.signer().authority.not_after_unix() > now, "nobody can sign");
        }
    }
}

fn check(observer: &Observer, now: i64) -> Result<(), TestCaseError> {
    for root in observer.alive(now) {
        for trusted in observer.late_bundles(now) {
            prop_assert!(trusted.contains(&root.certificate), "not trusted at {now}");
        }
    }
    Ok(())
}
