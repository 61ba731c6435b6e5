//! What a condition may consist of, and what it reads.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};

/// Deepest expression. The chains of `&&` and `||` do not count by their
/// length, since the parser balances them.
pub(super) const MAX_DEPTH: usize = 24;

/// The facts by their names.
pub(super) const VARIABLES: [&str; 8] = [
    "args",
    "claims",
    "scopes",
    "principal",
    "tool",
    "server",
    "model",
    "method",
];

/// Names of types, for `type(x) == int`.
const TYPES: [&str; 9] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "uint",
];

/// The functions that may be called: name, whether on a target, arguments. None
/// of them panics or does more than a pass over its arguments.
const FUNCTIONS: [(&str, bool, usize); 17] = [
    ("size", false, 1),
    ("size", true, 0),
    ("contains", true, 1),
    ("startsWith", true, 1),
    ("endsWith", true, 1),
    ("matches", true, 1),
    ("matches", false, 2),
    ("int", false, 1),
    ("uint", false, 1),
    ("double", false, 1),
    ("string", false, 1),
    ("bytes", false, 1),
    ("bool", false, 1),
    ("type", false, 1),
    ("dyn", false, 1),
    // Made by the macros `all` and `exists`.
    (operators::NOT_STRICTLY_FALSE, false, 1),
    (operators::CONDITIONAL, false, 3),
];

const OPERATORS: [&str; 17] = [
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::ADD,
    operators::SUBSTRACT,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::NEGATE,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER,
    operators::GREATER_EQUALS,
    operators::LESS,
    operators::LESS_EQUALS,
    operators::IN,
    operators::INDEX,
];

/// What is known of a condition that may be used.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) reads_arguments: bool,
    pub(super) loops: bool,
    /// Paths such as `args.x` that are read without `has`.
    pub(super) unguarded: Vec<String>,
}

/// Checks an expression.
///
/// # Errors
/// Everything that may not be in it.
pub(super) fn check(expression: &IdedExpr) -> Result<Findings, Vec<String>> {
    let mut walk = Walk::default();
    walk.expression(expression, 1);
    if walk.too_deep {
        walk.issues = vec![format!("nests more than {MAX_DEPTH} deep: split the rule")];
    } else if gives_no_bool(&expression.expr) {
        walk.issues
            .push("gives no bool: compare it with something".to_owned());
    }
    let Walk {
        issues,
        reads_arguments,
        loops,
        read,
        tested,
        ..
    } = walk;
    if issues.is_empty() {
        let unguarded = read.difference(&tested).cloned().collect();
        Ok(Findings {
            reads_arguments,
            loops,
            unguarded,
        })
    } else {
        Err(issues)
    }
}

#[derive(Debug, Default)]
struct Walk<'e> {
    issues: Vec<String>,
    too_deep: bool,
    reads_arguments: bool,
    loops: bool,
    /// In the body of a comprehension: its variables.
    bound: Vec<&'e str>,
    read: BTreeSet<String>,
    tested: BTreeSet<String>,
}

impl<'e> Walk<'e> {
    fn expression(&mut self, expression: &'e IdedExpr, depth: usize) {
        if depth > MAX_DEPTH {
            self.too_deep = true;
            return;
        }
        let deeper = depth + 1;
        match &expression.expr {
            Expr::Unspecified => self.issue("is not complete"),
            Expr::Literal(_) => {}
            Expr::Ident(name) => self.identifier(name),
            Expr::Select(select) => {
                if let Some(path) = argument_path(&select.operand) {
                    let paths = if select.test {
                        &mut self.tested
                    } else {
                        &mut self.read
                    };
                    paths.insert(format!("{path}.{}", select.field));
                }
                self.expression(&select.operand, deeper);
            }
            Expr::Call(call) => {
                self.function(&call.func_name, call.target.is_some(), call.args.len());
                self.paths_of_call(&call.func_name, &call.args);
                for operand in call.target.as_deref().into_iter().chain(&call.args) {
                    self.expression(operand, deeper);
                }
            }
            Expr::List(list) => {
                for element in &list.elements {
                    self.expression(element, deeper);
                }
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            self.expression(&entry.key, deeper);
                            self.expression(&entry.value, deeper);
                        }
                        EntryExpr::StructField(_) => self.issue("constructs a message"),
                    }
                }
            }
            Expr::Struct(message) => {
                self.issue(format!("constructs a message `{}`", message.type_name));
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, deeper),
        }
    }

    fn identifier(&mut self, name: &str) {
        if self.bound.contains(&name) {
            return;
        }
        if name == "args" {
            self.reads_arguments = true;
        } else if !VARIABLES.contains(&name) && !TYPES.contains(&name) {
            self.issue(format!(
                "reads `{}`, which does not exist: there are {}",
                name.escape_debug(),
                VARIABLES.join(", ")
            ));
        }
    }

    fn function(&mut self, name: &str, on_target: bool, arguments: usize) {
        let is_operator = !on_target && OPERATORS.contains(&name);
        if is_operator || FUNCTIONS.contains(&(name, on_target, arguments)) {
            return;
        }
        let exists = FUNCTIONS.iter().any(|(known, ..)| *known == name);
        let name = name.escape_debug();
        self.issue(if exists {
            format!("calls `{name}` in a way that does not exist")
        } else {
            format!("calls `{name}`, which does not exist")
        });
    }

    /// `args["x"]` reads like `args.x`, and `"x" in args` looks like
    /// `has(args.x)`.
    fn paths_of_call(&mut self, name: &str, arguments: &[IdedExpr]) {
        let (Some(first), Some(second)) = (arguments.first(), arguments.get(1)) else {
            return;
        };
        if name == operators::INDEX {
            if let (Some(path), Some(key)) = (argument_path(first), literal_text(second)) {
                self.read.insert(format!("{path}.{key}"));
            }
        } else if name == operators::IN
            && let (Some(key), Some(path)) = (literal_text(first), argument_path(second))
        {
            self.tested.insert(format!("{path}.{key}"));
        }
    }

    fn comprehension(&mut self, comprehension: &'e ComprehensionExpr, depth: usize) {
        let ComprehensionExpr {
            iter_range,
            iter_var,
            iter_var2,
            accu_var,
            accu_init,
            loop_cond,
            loop_step,
            result,
        } = comprehension;
        self.loops = true;
        if !self.bound.is_empty() {
            self.issue(
                "has a comprehension (all, exists, exists_one, filter, map) within another one, which callers could make expensive",
            );
        }
        self.expression(iter_range, depth);
        let before = self.bound.len();
        for name in [Some(iter_var), iter_var2.as_ref(), Some(accu_var)]
            .into_iter()
            .flatten()
        {
            if VARIABLES.contains(&name.as_str()) || TYPES.contains(&name.as_str()) {
                self.issue(format!(
                    "hides `{name}` by a variable of that name: rename it"
                ));
            }
            self.bound.push(name);
        }
        for body in [accu_init, loop_cond, loop_step, result] {
            self.expression(body, depth);
        }
        self.bound.truncate(before);
    }

    fn issue(&mut self, message: impl Into<String>) {
        self.issues.push(message.into());
    }
}

/// `args.a.b` for an expression that reads just that. Comprehensions cannot
/// hide `args`, so the name is enough.
fn argument_path(expression: &IdedExpr) -> Option<String> {
    if let Expr::Ident(name) = &expression.expr {
        return (name == "args").then(|| name.clone());
    }
    if let Expr::Select(select) = &expression.expr {
        let path = argument_path(&select.operand).filter(|_| !select.test)?;
        return Some(format!("{path}.{}", select.field));
    }
    let Expr::Call(call) = &expression.expr else {
        return None;
    };
    let [target, key] = call.args.as_slice() else {
        return None;
    };
    let path = argument_path(target).filter(|_| call.func_name == operators::INDEX)?;
    Some(format!("{path}.{}", literal_text(key)?))
}

pub(super) fn literal_text(expression: &IdedExpr) -> Option<&str> {
    if let Expr::Literal(LiteralValue::String(text)) = &expression.expr {
        Some(text.inner())
    } else {
        None
    }
}

/// Whether it is plain that it gives something else than true or false.
fn gives_no_bool(expression: &Expr) -> bool {
    match expression {
        Expr::Literal(literal) => !matches!(literal, LiteralValue::Boolean(_)),
        Expr::List(_) | Expr::Map(_) => true,
        Expr::Call(call) => [
            operators::ADD,
            operators::SUBSTRACT,
            operators::MULTIPLY,
            operators::DIVIDE,
            operators::MODULO,
            operators::NEGATE,
            "size",
            "int",
            "uint",
            "double",
            "string",
            "bytes",
            "type",
        ]
        .contains(&call.func_name.as_str()),
        Expr::Ident(name) => VARIABLES.contains(&name.as_str()) || TYPES.contains(&name.as_str()),
        Expr::Unspecified | Expr::Select(_) | Expr::Struct(_) | Expr::Comprehension(_) => false,
    }
}
