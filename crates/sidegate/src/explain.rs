//! `sidegate explain`: the decision about one call, as the sidecar would make
//! it, and its reasons.

mod answer;
mod who;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use sidegate_config::sidecar_config::{ServerConfig, SidecarConfig};
use sidegate_config::{build, validate};
use sidegate_policy::policy_set::PolicySet;
use sidegate_policy::resource::{Action, Context, Resource};

use self::answer::Answer;
use self::who::{Asking, asking};
use crate::args::{ExplainArgs, Output, What};
use crate::documents::{options, read_all};
use crate::{EXIT_INVALID, complain, say};

const EXIT_DENIED: u8 = 3;

/// Methods that every principal may use unless a rule denies them.
const SESSION_METHODS: [&str; 9] = [
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "server/discover",
    "tasks/list",
    "tools/list",
];

/// Methods that name what they are about, and the option that says it.
const NAMING_METHODS: [(&str, &str); 3] = [
    ("tools/call", "--tool"),
    ("prompts/get", "--prompt"),
    ("resources/read", "--resource"),
];

pub(crate) fn explain(args: &ExplainArgs) -> ExitCode {
    let answer = match answer_for(args) {
        Ok(answer) => answer,
        Err(error) => {
            complain(format_args!("{error:#}"));
            return ExitCode::from(EXIT_INVALID);
        }
    };
    match args.output {
        Output::Text => say(answer.as_text()),
        Output::Json => say(answer.as_json()),
    }
    if answer.allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_DENIED)
    }
}

fn answer_for(args: &ExplainArgs) -> anyhow::Result<Answer> {
    if let Some(arguments) = &args.args {
        let parsed: serde_json::Value =
            serde_json::from_str(arguments).context("--args is not JSON")?;
        if !parsed.is_object() {
            bail!("--args must be a JSON object, such as '{{\"customer_id\": \"42\"}}'");
        }
    }
    let config = load(args)?;
    let server = find_server(&config, &args.server)?;
    let policies = match PolicySet::compile(&config.policy) {
        Ok(compiled) => compiled.policies,
        Err(_) => bail!("the rules do not compile: `sidegate check` says why"),
    };
    let subject = Subject::of(&args.what, &args.server)?;
    let principal = match asking(&args.who, &config, server, &policies)? {
        Asking::Principal(principal) => principal,
        Asking::Refused(why) => return Ok(Answer::refused(why)),
    };
    let context = Context {
        method: subject.method,
        arguments: args.args.as_deref(),
    };
    let decision = policies.decide(&principal, subject.action, &subject.resource, &context);
    Ok(Answer::of(decision, &config, &principal))
}

fn load(args: &ExplainArgs) -> anyhow::Result<SidecarConfig> {
    let documents =
        read_all(&args.source.files).map_err(|violations| anyhow::anyhow!("{violations}"))?;
    let options = options(&args.source.trust_domain);
    let validated = validate(&documents, args.gateway.as_deref(), &options)
        .map_err(|violations| anyhow::anyhow!("{violations}"))?;
    Ok(build(validated))
}

fn find_server<'a>(config: &'a SidecarConfig, name: &str) -> anyhow::Result<&'a ServerConfig> {
    let Some(server) = config.servers.iter().find(|server| server.name == name) else {
        let known: Vec<_> = config
            .servers
            .iter()
            .map(|server| server.name.as_str())
            .collect();
        bail!(
            "gateway `{}` has no server `{name}`; it has: {}",
            config.gateway,
            known.join(", ")
        );
    };
    Ok(server)
}

/// What the question is about.
#[derive(Debug)]
struct Subject<'a> {
    action: Action,
    resource: Resource<'a>,
    method: &'a str,
}

impl<'a> Subject<'a> {
    fn of(what: &'a What, server: &'a str) -> anyhow::Result<Self> {
        let What {
            tool,
            prompt,
            resource,
            method,
        } = what;
        let subject = |action, resource, method| Self {
            action,
            resource,
            method,
        };
        Ok(match (tool, prompt, resource, method) {
            (Some(name), ..) => subject(
                Action::CallTool,
                Resource::Tool { server, name },
                "tools/call",
            ),
            (_, Some(name), ..) => subject(
                Action::GetPrompt,
                Resource::Prompt { server, name },
                "prompts/get",
            ),
            (_, _, Some(uri), _) => subject(
                Action::ReadResource,
                Resource::McpResource { server, uri },
                "resources/read",
            ),
            (.., Some(method)) => subject(action_of(method)?, Resource::Server { server }, method),
            (None, None, None, None) => bail!("say what is asked for, for example --tool NAME"),
        })
    }
}

fn action_of(method: &str) -> anyhow::Result<Action> {
    if let Some((_, option)) = NAMING_METHODS.iter().find(|(name, _)| *name == method) {
        bail!("`{method}` is decided by what it names: use {option}");
    }
    let session = SESSION_METHODS.contains(&method) || method.starts_with("notifications/");
    Ok(if session {
        Action::UseSession
    } else {
        Action::CallMethod
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what() -> What {
        What {
            tool: None,
            prompt: None,
            resource: None,
            method: None,
        }
    }

    #[test]
    fn the_options_name_the_action() {
        let tool = What {
            tool: Some("a".to_owned()),
            ..what()
        };
        let subject = Subject::of(&tool, "s").expect("a subject");
        assert_eq!(
            (subject.action, subject.method),
            (Action::CallTool, "tools/call")
        );
        let resource = What {
            resource: Some("a://b".to_owned()),
            ..what()
        };
        let subject = Subject::of(&resource, "s").expect("a subject");
        assert_eq!(subject.action, Action::ReadResource);
        assert!(Subject::of(&what(), "s").is_err());
    }

    #[test]
    fn methods_are_session_methods_or_unknown_ones() {
        assert_eq!(action_of("tools/list").expect("known"), Action::UseSession);
        assert_eq!(
            action_of("vendor/thing").expect("unknown"),
            Action::CallMethod
        );
        let error = action_of("tools/call")
            .expect_err("names a tool")
            .to_string();
        assert!(error.contains("--tool"), "{error}");
    }
}
