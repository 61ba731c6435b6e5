//! What a pod may choose about its sidecar, by annotations: CPU, memory, log
//! level and drain time. Everything else under `sidegate.dev/` is refused: a
//! misspelt annotation would otherwise be one that does nothing, and an image
//! or an argument that a pod chooses would be no sidecar of ours.

use std::collections::BTreeMap;
use std::time::Duration;

use sidegate_api::duration::DurationText;
use sidegate_api::names::{IDENTITY_ANNOTATION, IDENTITY_FILES};

use super::names::{
    CPU_ANNOTATION, DRAIN_TIME_ANNOTATION, INJECTED_ANNOTATION, LOG_LEVEL_ANNOTATION,
    MEMORY_ANNOTATION, is_own_annotation,
};
use super::{Cpu, InjectorSettings, LogLevel, Memory, SidecarResources};

const MAX_DRAIN_SECONDS: u64 = 600;
/// What is left of the grace period after the drain, for the server to stop.
const STOP_SECONDS: u64 = 5;
/// Longest part of an annotation that a message repeats.
const MAX_SHOWN_CHARS: usize = 64;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Overrides {
    cpu: Option<Cpu>,
    memory: Option<Memory>,
    log_level: Option<LogLevel>,
    drain_seconds: Option<u64>,
}

/// What wears a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wearer {
    /// A pod that a gateway selects.
    Guarded,
    /// A pod without one, which wants an identity.
    Caller,
}

/// An annotation that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pod's annotation `{name}` {problem}")]
pub struct InvalidOverride {
    name: String,
    problem: String,
}

// === impl Overrides ===

impl Overrides {
    pub(super) fn read(
        annotations: &BTreeMap<&str, &str>,
        grace_seconds: u64,
        wearer: Wearer,
    ) -> Result<Self, InvalidOverride> {
        let mut overrides = Self::default();
        for (name, value) in annotations
            .iter()
            .filter(|(name, _)| is_own_annotation(name))
        {
            overrides
                .set(name, value, grace_seconds, wearer)
                .map_err(|problem| InvalidOverride {
                    name: shown(name),
                    problem,
                })?;
        }
        Ok(overrides)
    }

    fn set(
        &mut self,
        name: &str,
        value: &str,
        grace_seconds: u64,
        wearer: Wearer,
    ) -> Result<(), String> {
        match name {
            CPU_ANNOTATION => self.cpu = Some(parsed(value)?),
            MEMORY_ANNOTATION => self.memory = Some(parsed(value)?),
            LOG_LEVEL_ANNOTATION => self.log_level = Some(parsed(value)?),
            DRAIN_TIME_ANNOTATION if wearer == Wearer::Caller => {
                return Err("is for pods that an McpGateway selects: leave it out".to_owned());
            }
            DRAIN_TIME_ANNOTATION => self.drain_seconds = Some(drain(value, grace_seconds)?),
            // Ours: it is written anew.
            INJECTED_ANNOTATION => {}
            IDENTITY_ANNOTATION => identity(value, wearer)?,
            _ => {
                return Err(format!(
                    "is not known: a pod can set {CPU_ANNOTATION}, {MEMORY_ANNOTATION}, \
                     {LOG_LEVEL_ANNOTATION} and {DRAIN_TIME_ANNOTATION}"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn resources(&self, settings: &InjectorSettings) -> SidecarResources {
        let mut resources = settings.resources;
        if let Some(cpu) = self.cpu {
            resources.cpu_request = cpu;
            // A request above its limit is refused by the API server.
            resources.cpu_limit = resources.cpu_limit.map(|limit| limit.max(cpu));
        }
        if let Some(memory) = self.memory {
            resources.memory_request = memory;
            resources.memory_limit = memory;
        }
        resources
    }

    pub(super) fn log_level(&self, settings: &InjectorSettings) -> LogLevel {
        self.log_level.unwrap_or(settings.log_level)
    }

    /// How many seconds the sidecar drains; zero when the pod's grace period
    /// leaves no time for it.
    pub(super) fn drain(&self, settings: &InjectorSettings, grace_seconds: u64) -> u64 {
        let wanted = self.drain_seconds.unwrap_or(settings.drain_time.as_secs());
        wanted.min(grace_seconds.saturating_sub(STOP_SECONDS))
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|wanted| format!("is `{}`: it {wanted}", shown(value)))
}

/// A sidecar that guards a server has an identity of its own.
fn identity(value: &str, wearer: Wearer) -> Result<(), String> {
    match wearer {
        Wearer::Guarded => Err("is for pods that no McpGateway selects: leave it out".to_owned()),
        Wearer::Caller if value == IDENTITY_FILES => Ok(()),
        Wearer::Caller => Err(format!(
            "is `{}`: it must be {IDENTITY_FILES}",
            shown(value)
        )),
    }
}

/// Whole seconds that fit into the grace period.
fn drain(value: &str, grace_seconds: u64) -> Result<u64, String> {
    let time = value
        .parse::<DurationText>()
        .map_err(|it| format!("is not accepted: {it}"))?;
    let time = time.as_duration();
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    if !(1..=MAX_DRAIN_SECONDS).contains(&seconds) {
        let most = Duration::from_secs(MAX_DRAIN_SECONDS).as_secs();
        return Err(format!("is `{value}`: it must be from 1s to {most}s"));
    }
    let needed = seconds + STOP_SECONDS;
    if needed > grace_seconds {
        return Err(format!(
            "is `{value}`, but the pod has {grace_seconds} s to stop: set \
             terminationGracePeriodSeconds to {needed} or more"
        ));
    }
    Ok(seconds)
}

/// A text of the pod as a message may repeat it.
fn shown(text: &str) -> String {
    let printable = |it: char| if it.is_control() { '\u{fffd}' } else { it };
    text.chars().take(MAX_SHOWN_CHARS).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &'static str)], grace: u64) -> Result<Overrides, String> {
        let annotations = pairs.iter().copied().collect();
        Overrides::read(&annotations, grace, Wearer::Guarded).map_err(|it| it.to_string())
    }

    fn settings() -> InjectorSettings {
        InjectorSettings::new("sidegate:1", "https://operator:8443")
    }

    #[test]
    fn nothing_set_leaves_the_operators_settings() {
        let overrides = read(&[("example.com/cpu", "x"), ("note", "x")], 30).unwrap();
        assert_eq!(overrides, Overrides::default());
        assert_eq!(overrides.resources(&settings()), settings().resources);
        assert_eq!(overrides.log_level(&settings()), LogLevel::Info);
        assert_eq!(overrides.drain(&settings(), 30), 20);
    }

    #[test]
    fn the_four_annotations_take_effect() {
        let overrides = read(
            &[
                ("sidegate.dev/cpu", "500m"),
                ("sidegate.dev/memory", "512Mi"),
                ("sidegate.dev/log-level", "debug"),
                ("sidegate.dev/drain-time", "9500ms"),
            ],
            30,
        )
        .unwrap();
        let mut settings = settings();
        settings.resources.cpu_limit = Some(Cpu::millicores(100));
        let resources = overrides.resources(&settings);
        assert_eq!(resources.cpu_request, Cpu::millicores(500));
        assert_eq!(resources.cpu_limit, Some(Cpu::millicores(500)));
        assert_eq!(resources.memory_request, Memory::mebibytes(512));
        assert_eq!(resources.memory_limit, Memory::mebibytes(512));
        assert_eq!(overrides.log_level(&settings), LogLevel::Debug);
        assert_eq!(overrides.drain(&settings, 30), 10);
    }

    /// WHK-011.
    #[test]
    fn everything_else_of_ours_is_refused_with_what_there_is() {
        for name in [
            "sidegate.dev/image",
            "sidegate.dev/CPU",
            "sidegate.dev/identities",
            "sidegate.dev/",
        ] {
            let error = read(&[(name, "evil")], 30).unwrap_err();
            assert!(error.contains(&format!("`{name}`")), "{error}");
            assert!(error.contains("sidegate.dev/drain-time"), "{error}");
            assert!(!error.contains("evil"), "{error}");
        }
        assert!(
            read(
                &[("x.sidegate.dev/image", "y"), ("sidegate.device/a", "y")],
                30
            )
            .is_ok()
        );
        assert!(read(&[("sidegate.dev/injected", "anything")], 30).is_ok());
    }

    #[test]
    fn an_identity_is_for_pods_without_a_gateway() {
        let asks = |wearer, name, value| {
            let annotations = BTreeMap::from([(name, value)]);
            Overrides::read(&annotations, 30, wearer).map_err(|it| it.to_string())
        };
        let identity = "sidegate.dev/identity";
        assert!(asks(Wearer::Caller, identity, "Files").is_ok());
        assert!(asks(Wearer::Caller, "sidegate.dev/memory", "64Mi").is_ok());
        for (wearer, name, value, cure) in [
            (Wearer::Guarded, identity, "Files", "leave it out"),
            (Wearer::Caller, identity, "files", "must be Files"),
            (Wearer::Caller, DRAIN_TIME_ANNOTATION, "5s", "leave it out"),
            (Wearer::Caller, "sidegate.dev/image", "evil", "is not known"),
        ] {
            let error = asks(wearer, name, value).unwrap_err();
            assert!(error.contains(cure), "{error}");
        }
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        for (name, value) in [
            ("sidegate.dev/cpu", "9"),
            ("sidegate.dev/memory", "8Mi"),
            ("sidegate.dev/log-level", "INFO"),
            ("sidegate.dev/drain-time", "0s"),
            ("sidegate.dev/drain-time", "601s"),
            ("sidegate.dev/drain-time", "soon"),
        ] {
            let error = read(&[(name, value)], 3600).unwrap_err();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
        assert!(read(&[("sidegate.dev/drain-time", "600s")], 3600).is_ok());
    }

    #[test]
    fn a_drain_leaves_time_to_stop() {
        assert!(read(&[("sidegate.dev/drain-time", "25s")], 30).is_ok());
        let error = read(&[("sidegate.dev/drain-time", "26s")], 30).unwrap_err();
        assert!(
            error.contains("terminationGracePeriodSeconds to 31"),
            "{error}"
        );
        // The operator's own default yields.
        for (grace, drained) in [(60, 20), (25, 20), (24, 19), (6, 1), (5, 0), (0, 0)] {
            assert_eq!(Overrides::default().drain(&settings(), grace), drained);
        }
    }

    #[test]
    fn a_message_repeats_neither_control_characters_nor_everything() {
        let long: &'static str =
            Box::leak(format!("a\n\u{1b}{}", "x".repeat(500)).into_boxed_str());
        let error = read(&[("sidegate.dev/cpu", long)], 30).unwrap_err();
        assert!(!error.contains(char::is_control), "{error:?}");
        assert!(error.chars().count() < 250, "{error}");
    }
}
