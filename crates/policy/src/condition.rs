//! Conditions of rules (`when`), in CEL.
//!
//! The language has no cost budget, so what could be made expensive by the
//! values that a caller sends is refused when a rule is compiled: comprehensions
//! within comprehensions, and regular expressions that are not literals. What
//! is left is linear in the arguments, whose lists are bounded, and whose size
//! is bounded as well where a comprehension could read them once per element.
//!
//! Evaluation does not panic: arithmetic in `cel` is checked, and what is not
//! (expressions nested without bound, message construction, functions that
//! were never looked at) is refused here.

mod arguments;
mod check;
mod facts;
mod regexes;
mod scopes;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::thread;

use cel::common::types::CelBool;
use cel::{Env, IdedExpr, Value};

use self::check::Findings;
use self::facts::Evaluation;
pub(crate) use self::facts::Facts;
use self::regexes::CompiledRegex;
use crate::policy_config::{Effect, RuleConfig};
use crate::scope::ScopeSet;

/// Longest expression.
const MAX_SOURCE_BYTES: usize = 2048;
/// Longest arguments that a condition with a comprehension reads: each of up
/// to 1,000 elements may be held against all of them.
const MAX_LOOP_ARGUMENTS_BYTES: usize = 64 * 1024;
/// For parsing. The parser recurses as deep as 2,048 bytes can nest, which is
/// known only afterwards; what is accepted is shallow.
const PARSER_STACK_BYTES: usize = 64 * 1024 * 1024;

/// A compiled condition.
pub(crate) struct Condition {
    source: Box<str>,
    expression: IdedExpr,
    regexes: Vec<CompiledRegex>,
    reads_arguments: bool,
    loops: bool,
}

/// A condition that compiled, and what is likely not meant in it.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) condition: Condition,
    /// Arguments that are read without a look whether they are there.
    unguarded: Vec<String>,
    /// Whether a further scope can make it hold, or no longer hold.
    scopes_can_open: bool,
    scopes_can_close: bool,
}

impl Condition {
    /// Compiles the conditions of all rules: None for a rule without one, else
    /// the condition or all that is wrong with it.
    pub(crate) fn compile_all(rules: &[RuleConfig]) -> Vec<Option<Result<Checked, Vec<String>>>> {
        if rules.iter().all(|rule| rule.when.is_none()) {
            return rules.iter().map(|_| None).collect();
        }
        let compile = || {
            rules
                .iter()
                .map(|rule| rule.when.as_deref().map(Self::compile))
                .collect()
        };
        thread::scope(|scope| {
            let parser = thread::Builder::new().stack_size(PARSER_STACK_BYTES);
            match parser.spawn_scoped(scope, compile) {
                Ok(parser) => match parser.join() {
                    Ok(compiled) => compiled,
                    Err(panic) => std::panic::resume_unwind(panic),
                },
                Err(error) => {
                    let issue = format!("cannot be compiled at the moment: {error}");
                    let refuse =
                        |rule: &RuleConfig| rule.when.as_ref().map(|_| Err(vec![issue.clone()]));
                    rules.iter().map(refuse).collect()
                }
            }
        })
    }

    /// Compiles one; recurses as deep as the expression nests.
    fn compile(source: &str) -> Result<Checked, Vec<String>> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(vec![format!(
                "has {} bytes: at most {MAX_SOURCE_BYTES} are allowed, split the rule",
                source.len()
            )]);
        }
        let mut expression = parse(source)?;
        let Findings {
            reads_arguments,
            loops,
            unguarded,
        } = check::check(&expression)?;
        let (scopes_can_open, scopes_can_close) = scopes::influence(&expression);
        let regexes = regexes::take(&mut expression)?;
        let condition = Self {
            source: source.into(),
            expression,
            regexes,
            reads_arguments,
            loops,
        };
        Ok(Checked {
            condition,
            unguarded,
            scopes_can_open,
            scopes_can_close,
        })
    }

    /// Whether it depends on the arguments of the call.
    pub(crate) fn reads_arguments(&self) -> bool {
        self.reads_arguments
    }

    /// Whether it holds for whoever has these scopes; None when it cannot be
    /// told.
    pub(crate) fn holds(&self, facts: &Facts<'_>, scopes: &ScopeSet) -> Option<bool> {
        let too_long = || facts.arguments_len() > MAX_LOOP_ARGUMENTS_BYTES;
        if self.loops && self.reads_arguments && too_long() {
            return None;
        }
        let evaluation = Evaluation::new(facts, scopes, &self.regexes);
        let mut context = cel::Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(&evaluation);
        let holds = Value::resolve_val(&self.expression, &context)
            .ok()
            .and_then(|value| value.downcast_ref::<CelBool>().map(|holds| *holds.inner()));
        // In CEL an error in one branch is forgiven when the other decides; not
        // so for arguments that cannot be read at all.
        holds.filter(|_| !facts.arguments_failed())
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Condition")
            .field(&self.source)
            .finish()
    }
}

/// The functions of CEL without optional values, and `matches` with compiled
/// patterns.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib().with_optional_support(false);
    // Fails only for a name that is taken, which `check` would find at the
    // first use: then `matches` is no function.
    let declared = regexes::declare(&mut environment);
    debug_assert!(declared.is_ok(), "{declared:?}");
    Arc::new(environment)
});

fn parse(source: &str) -> Result<IdedExpr, Vec<String>> {
    ENVIRONMENT.parser().parse(source).map_err(|errors| {
        let described = errors.errors.iter().take(3).map(|error| {
            let (line, column) = error.pos;
            let message = error.msg.trim().escape_debug();
            format!("is not CEL: line {line}, column {column}: {message}")
        });
        described.collect()
    })
}

// === impl Checked ===

impl Checked {
    /// What is likely not meant, for a rule of this effect.
    pub(crate) fn warnings_for(&self, effect: Effect) -> Vec<String> {
        let consequence = match effect {
            Effect::Allow => "without it the rule does not match",
            Effect::Deny => "without it the rule matches and denies",
        };
        let mut warnings: Vec<String> = self
            .unguarded
            .iter()
            .map(|path| {
                format!(
                    "`{path}` is read without `has({path})`: callers may leave it out, and {consequence}"
                )
            })
            .collect();
        let takes_away = match effect {
            Effect::Allow => self.scopes_can_close,
            Effect::Deny => self.scopes_can_open,
        };
        if takes_away {
            warnings.push(
                "a further scope can take away what was allowed: use `scopes` so that more of them never deny"
                    .to_owned(),
            );
        }
        warnings
    }
}
