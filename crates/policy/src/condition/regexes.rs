//! Regular expressions in conditions: compiled once, with the rule.
//!
//! `cel` would compile a pattern at each evaluation, and take one from the
//! caller's arguments. Here the literals are taken out of the expression, and
//! `matches` is declared for what they are compiled to.

use std::any::Any;

use cel::common::ast::{EntryExpr, Expr};
use cel::common::types::{CelBool, CelString, STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError, IdedExpr};
use regex::{Regex, RegexBuilder};

use super::check::literal_text;

/// Bound of a compiled pattern; `\w{1000}` is over it.
const MAX_REGEX_BYTES: usize = 512 * 1024;
const MATCHES: &str = "matches";
/// Names of compiled patterns; no expression can spell them.
const PREFIX: &str = "@regex";

static REGEX_TYPE: Type = Type::new_unspecified_type("regex");

/// A compiled pattern, as a value of CEL.
#[derive(Debug, Clone)]
pub(super) struct CompiledRegex(Regex);

impl Val for CompiledRegex {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static Type {
        &REGEX_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for CompiledRegex {}

/// Declares `x.matches(pattern)` and `matches(x, pattern)`.
pub(super) fn declare(environment: &mut Env) -> Result<(), DeclarationError> {
    let pattern = || REGEX_TYPE.to_owned();
    environment.add_member_overload(
        MATCHES,
        "string_matches_compiled",
        STRING_TYPE,
        vec![pattern()],
        is_match,
    )?;
    environment.add_overload(
        MATCHES,
        "matches_compiled",
        vec![STRING_TYPE, pattern()],
        is_match,
    )
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature of `cel` functions"
)]
fn is_match<'b, 'v>(operands: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, pattern] = operands.as_slice() else {
        return Err(ExecutionError::missing_argument_or_target());
    };
    match (
        text.downcast_ref::<CelString<'_>>(),
        pattern.downcast_ref::<CompiledRegex>(),
    ) {
        (Some(text), Some(CompiledRegex(regex))) => {
            Ok(CowVal::owned(CelBool::from(regex.is_match(text.inner()))))
        }
        _ => Err(ExecutionError::missing_argument_or_target()),
    }
}

/// The pattern that a name made by [`take`] stands for.
pub(super) fn named<'r>(name: &str, regexes: &'r [CompiledRegex]) -> Option<&'r CompiledRegex> {
    regexes.get(name.strip_prefix(PREFIX)?.parse::<usize>().ok()?)
}

/// Replaces the pattern of each `matches` by the name of what it is compiled
/// to.
///
/// # Errors
/// Patterns that are not literals, are not valid, or compile to too much.
pub(super) fn take(expression: &mut IdedExpr) -> Result<Vec<CompiledRegex>, Vec<String>> {
    let mut taker = Taker::default();
    taker.expression(expression);
    if taker.issues.is_empty() {
        Ok(taker.regexes)
    } else {
        Err(taker.issues)
    }
}

#[derive(Debug, Default)]
struct Taker {
    regexes: Vec<CompiledRegex>,
    issues: Vec<String>,
}

impl Taker {
    fn expression(&mut self, expression: &mut IdedExpr) {
        match &mut expression.expr {
            Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) | Expr::Struct(_) => {}
            Expr::Select(select) => self.expression(&mut select.operand),
            Expr::List(list) => {
                for element in &mut list.elements {
                    self.expression(element);
                }
            }
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.expression(&mut entry.key);
                        self.expression(&mut entry.value);
                    }
                }
            }
            Expr::Comprehension(comprehension) => {
                self.expression(&mut comprehension.iter_range);
                self.expression(&mut comprehension.accu_init);
                self.expression(&mut comprehension.loop_cond);
                self.expression(&mut comprehension.loop_step);
                self.expression(&mut comprehension.result);
            }
            Expr::Call(call) => {
                if let Some(target) = &mut call.target {
                    self.expression(target);
                }
                match call.args.as_mut_slice() {
                    [operands @ .., pattern] if call.func_name == MATCHES => {
                        self.pattern(pattern);
                        operands
                            .iter_mut()
                            .for_each(|operand| self.expression(operand));
                    }
                    operands => operands
                        .iter_mut()
                        .for_each(|operand| self.expression(operand)),
                }
            }
        }
    }

    fn pattern(&mut self, pattern: &mut IdedExpr) {
        let Some(text) = literal_text(pattern) else {
            self.issues.push(
                "`matches` takes a pattern that is written in the rule: callers could make another one expensive"
                    .to_owned(),
            );
            return;
        };
        match RegexBuilder::new(text).size_limit(MAX_REGEX_BYTES).build() {
            Ok(regex) => {
                pattern.expr = Expr::Ident(format!("{PREFIX}{}", self.regexes.len()));
                self.regexes.push(CompiledRegex(regex));
            }
            Err(error) => {
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default();
                self.issues.push(format!(
                    "`{}` is not a regular expression that can be used: {}",
                    text.escape_debug(),
                    reason.trim_start_matches("error: ").escape_debug()
                ));
            }
        }
    }
}
