//! Whether a further scope can make a condition hold, or no longer hold.
//!
//! A policy promises that a principal never loses by a further scope. The rules
//! keep that by themselves, but for conditions that read `scopes` the other way
//! round.

use cel::IdedExpr;
use cel::common::ast::{ComprehensionExpr, Expr, operators};

const EITHER: (bool, bool) = (true, true);

/// Whether further scopes can turn the expression from false to true, and from
/// true to false. Says yes when in doubt.
pub(super) fn influence(expression: &IdedExpr) -> (bool, bool) {
    if !mentions_scopes(expression) {
        return (false, false);
    }
    if let Expr::Call(call) = &expression.expr {
        of_call(&call.func_name, &call.args)
    } else if let Expr::Comprehension(comprehension) = &expression.expr {
        of_comprehension(comprehension)
    } else {
        EITHER
    }
}

/// Of `all` and `exists`, whose steps are `@result && body` and
/// `@result || body`.
fn of_comprehension(comprehension: &ComprehensionExpr) -> (bool, bool) {
    let Expr::Call(step) = &comprehension.loop_step.expr else {
        return EITHER;
    };
    let [_, body] = step.args.as_slice() else {
        return EITHER;
    };
    let is_exists = step.func_name == operators::LOGICAL_OR;
    if !is_exists && step.func_name != operators::LOGICAL_AND {
        return EITHER;
    }
    if !mentions_scopes(&comprehension.iter_range) {
        return influence(body);
    }
    if is_scopes(&comprehension.iter_range) && !mentions_scopes(body) {
        // With more elements `exists` can only open, and `all` only close.
        return (is_exists, !is_exists);
    }
    EITHER
}

fn of_call(name: &str, operands: &[IdedExpr]) -> (bool, bool) {
    match (name, operands) {
        (operators::LOGICAL_AND | operators::LOGICAL_OR, [left, right]) => {
            let (left, right) = (influence(left), influence(right));
            (left.0 || right.0, left.1 || right.1)
        }
        (operators::LOGICAL_NOT, [operand]) => {
            let (opens, closes) = influence(operand);
            (closes, opens)
        }
        (operators::CONDITIONAL, [condition, left, right]) if !mentions_scopes(condition) => {
            let (left, right) = (influence(left), influence(right));
            (left.0 || right.0, left.1 || right.1)
        }
        (operators::IN, [element, list]) if is_scopes(list) && !mentions_scopes(element) => {
            (true, false)
        }
        _ => EITHER,
    }
}

fn is_scopes(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == "scopes")
}

fn mentions_scopes(expression: &IdedExpr) -> bool {
    expression.references().has_variable("scopes")
}
