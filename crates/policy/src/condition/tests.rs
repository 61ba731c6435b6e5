use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::principal::{Claims, PeerIdentity, Principal};
use crate::resource::Context;

fn rule(when: &str) -> RuleConfig {
    RuleConfig {
        when: Some(when.to_owned()),
        ..RuleConfig::default()
    }
}

fn compile(when: &str) -> Result<Checked, Vec<String>> {
    let compiled = Condition::compile_all(&[RuleConfig::default(), rule(when)]);
    let [None, Some(compiled)] = <[_; 2]>::try_from(compiled).expect("one for each rule") else {
        panic!("one condition for one `when`");
    };
    compiled
}

fn refusal(when: &str) -> String {
    compile(when).expect_err(when).join("; ")
}

fn warnings(when: &str, effect: Effect) -> Vec<String> {
    compile(when)
        .unwrap_or_else(|issues| panic!("{when}: {issues:?}"))
        .warnings_for(effect)
}

fn scopes(text: &str) -> ScopeSet {
    text.split_whitespace()
        .map(|scope| scope.parse().expect("a scope"))
        .collect()
}

fn principal() -> Principal {
    let claims = Claims {
        issuer: "https://idp".into(),
        subject: "ann".into(),
        client_id: None,
        scopes: scopes("db:read db:write"),
        expires_at: 0,
        all: json!({"groups": ["a", "b"], "level": 7, "nested": {"deep": [1.5, null, true]}})
            .as_object()
            .expect("an object")
            .clone(),
    };
    let peer = PeerIdentity::new(Some("spiffe://td/ns/crm/sa/web".parse().expect("an id")));
    Principal::verified(Some(peer), Some(claims.into())).expect("a principal")
}

fn holds(when: &str, arguments: Option<&str>) -> Option<bool> {
    let principal = principal();
    let context = Context {
        method: "tools/call",
        arguments,
    };
    let facts = Facts::new(&principal, "td", "get", "", "support", &context);
    let checked = compile(when).unwrap_or_else(|issues| panic!("{when}: {issues:?}"));
    checked.condition.holds(&facts, principal.scopes())
}

#[test]
fn the_facts_are_there_under_their_names() {
    for when in [
        "tool == 'get' && model == '' && server == 'support' && method == 'tools/call'",
        "'db:read' in scopes && !('db:admin' in scopes) && size(scopes) == 2",
        "principal.subject == 'ann' && principal.issuer == 'https://idp'",
        "principal.spiffeId == 'spiffe://td/ns/crm/sa/web' && principal.serviceAccount == 'crm/web'",
        "principal.client == ''",
        "'a' in claims.groups && claims.level == 7 && claims.nested.deep[0] == 1.5",
        "claims.nested.deep[1] == null && claims.nested.deep[2] && !has(claims.absent)",
        "args == {}",
    ] {
        assert_eq!(holds(when, None), Some(true), "{when}");
    }
}

#[test]
fn a_service_account_of_another_trust_domain_is_no_fact() {
    let principal = principal();
    let facts = Facts::new(&principal, "other", "", "", "", &Context::default());
    let condition = compile("principal.serviceAccount == ''")
        .expect("compiles")
        .condition;
    assert_eq!(condition.holds(&facts, principal.scopes()), Some(true));
}

#[test]
fn numbers_are_ints_where_they_fit_and_doubles_otherwise() {
    let arguments =
        r#"{"a": 9223372036854775807, "b": 9223372036854775808, "c": -1, "d": 1.0, "e": 1e2}"#;
    for when in [
        "type(args.a) == int && type(args.b) == double && type(args.c) == int",
        "type(args.d) == double && type(args.e) == double",
        "args.a == 9223372036854775807 && args.c < 0 && args.d == 1 && args.e == 100",
    ] {
        assert_eq!(holds(when, Some(arguments)), Some(true), "{when}");
    }
}

#[test]
fn texts_with_and_without_escapes_are_the_same() {
    let arguments = r#"{"plain": "grün", "\u0065scaped": "gr\u00fcn"}"#;
    assert_eq!(
        holds("args.plain == args.escaped", Some(arguments)),
        Some(true)
    );
}

#[test]
fn the_example_of_an_urgent_ticket_holds_as_written() {
    let when = "!has(args.priority) || args.priority != 'urgent' || 'support:lead' in scopes";
    assert_eq!(holds(when, None), Some(true));
    assert_eq!(holds(when, Some(r#"{"priority": "low"}"#)), Some(true));
    assert_eq!(holds(when, Some(r#"{"priority": "urgent"}"#)), Some(false));
    assert!(warnings(when, Effect::Allow).is_empty());
}

#[test]
fn what_cannot_be_evaluated_is_told_apart_from_false() {
    for when in [
        "args.absent == 1",
        "claims.absent == 1",
        "args.text > 1",
        "args.number / 0 == 1",
        "args.number % 0 == 1",
        "args.big + 1 > 0",
        "-args.small > 0",
        "args.small / -1 > 0",
        "args.big * args.big > 0",
        "args.small - 1 > 0",
        "int(args.huge) > 0",
        "uint(args.number - 2) > 0u",
        "int(args.text) > 0",
        "args.list[99] == 1",
        "args.list[-1] == 1",
        "args.text[0] == 'a'",
        "args.text",
        "args.number",
        "args.text.number",
        "!args.number",
        "args.number ? true : false",
        "bool(args.text)",
        "string(b'\\377') == ''",
        "args.list.all(x, x.y)",
        "args.number.exists(x, true)",
        "{args.list: true}[1]",
        "args.text.matches('a') && args.number.matches('a')",
    ] {
        let arguments = r#"{"text": "a", "number": 1, "big": 9223372036854775807,
            "small": -9223372036854775808, "huge": 1e300, "list": [1, 2]}"#;
        assert_eq!(holds(when, Some(arguments)), None, "{when}");
    }
}

#[test]
fn arguments_that_cannot_be_read_are_not_forgiven_by_other_branches() {
    for arguments in [
        "[1]",
        "1",
        "null",
        "{",
        "{} {}",
        r#"{"a": 1, "a": 2}"#,
        r#"{"a": 1e999}"#,
        "",
    ] {
        assert_eq!(
            holds("args.a == 1 || true", Some(arguments)),
            None,
            "{arguments}"
        );
    }
    assert_eq!(
        holds("args.a == 1 || true", Some("{}")),
        Some(true),
        "an absent one is"
    );
    assert_eq!(
        holds("tool == 'get'", Some("[1]")),
        Some(true),
        "who does not read does not mind"
    );
}

#[test]
fn lists_and_maps_of_arguments_have_at_most_1000_elements() {
    let list = |length: usize| json!({"list": vec![0; length]}).to_string();
    assert_eq!(
        holds("size(args.list) == 1000", Some(&list(1000))),
        Some(true)
    );
    assert_eq!(holds("size(args.list) == 1001", Some(&list(1001))), None);
    assert_eq!(
        holds("true || size(args.list) > 0", Some(&list(1001))),
        Some(true),
        "not read"
    );
    let map = |length: usize| {
        let map: serde_json::Map<_, _> = (0..length).map(|at| (at.to_string(), json!(0))).collect();
        json!({"map": map}).to_string()
    };
    assert_eq!(
        holds("size(args.map) == 1000", Some(&map(1000))),
        Some(true)
    );
    assert_eq!(holds("size(args.map) == 1001", Some(&map(1001))), None);
    let nested = json!({"a": {"b": [[vec![0; 1001]]]}}).to_string();
    assert_eq!(holds("has(args.a)", Some(&nested)), None);
}

#[test]
fn a_comprehension_reads_at_most_64_kib_of_arguments() {
    let of_length = |length: usize| {
        let text = json!({"list": [1], "text": ""}).to_string();
        text.replace(
            r#""text":"""#,
            &format!(r#""text":"{}""#, "x".repeat(length - text.len())),
        )
    };
    let (at_limit, over) = (of_length(65_536), of_length(65_537));
    assert_eq!((at_limit.len(), over.len()), (65_536, 65_537));
    assert_eq!(
        holds("args.list.all(x, x == 1)", Some(&at_limit)),
        Some(true)
    );
    assert_eq!(holds("args.list.all(x, x == 1)", Some(&over)), None);
    assert_eq!(
        holds("args.list[0] == 1", Some(&over)),
        Some(true),
        "others read more"
    );
    assert_eq!(holds("scopes.all(x, x != '')", Some(&over)), Some(true));
}

#[test]
fn arguments_nested_beyond_the_json_limit_are_not_read() {
    let nested = |depth: usize| format!(r#"{{"a": {}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert_eq!(holds("has(args.a)", Some(&nested(100))), Some(true));
    assert_eq!(holds("has(args.a)", Some(&nested(100_000))), None);
}

#[test]
fn expressions_have_at_most_2048_bytes() {
    let of_length =
        |length: usize| format!("tool == '{}'", "x".repeat(length - "tool == ''".len()));
    assert!(compile(&of_length(2048)).is_ok());
    assert!(refusal(&of_length(2049)).contains("has 2049 bytes: at most 2048"));
}

#[test]
fn expressions_nest_at_most_24_deep() {
    // `a + b == c` is 3 deep: comparison, sum, operand.
    let sum = |terms: usize| format!("{} == 0", vec!["1"; terms].join(" + "));
    assert!(compile(&sum(check::MAX_DEPTH - 1)).is_ok());
    assert!(refusal(&sum(check::MAX_DEPTH)).contains("nests more than 24 deep"));
}

#[test]
fn long_chains_of_alternatives_are_not_deep() {
    let chain = |word: &str| vec!["tool == 'a'"; 100].join(word);
    assert!(compile(&chain(" || ")).is_ok());
    assert!(compile(&chain(" && ")).is_ok());
}

/// Everything that nests, as deep as 2,048 bytes allow.
fn deep_expressions() -> Vec<String> {
    let nested = |open: &str, inner: &str, close: &str| {
        let times = (MAX_SOURCE_BYTES - inner.len()) / (open.len() + close.len());
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    vec![
        nested("(", "true", ")"),
        nested("[", "1", "]"),
        nested("{1:", "1", "}"),
        nested("size(", "1", ")"),
        nested("args[", "1", "]"),
        nested("!", "true", ""),
        nested("!(", "true", ")"),
        nested("-", "1", ""),
        nested("-(", "1", ")"),
        nested("", "1", "+1"),
        nested("", "1", "-1"),
        nested("", "true", "==1"),
        nested("", "tool", " in [1]"),
        nested("", "args", ".a"),
        nested("", "args", "[1]"),
        nested("", "args", ".a()"),
        nested("true?", "1", ":1"),
        nested("true?1:", "1", ""),
        nested("", "true", "&&true"),
        nested("", "true", "||true"),
        nested("args.all(x,", "true", ")"),
        nested("", "args", ".map(x,x)"),
        nested("", "args", ".filter(x,x)"),
        nested("((((true||", "true", "))))"),
        nested("(", "", ""),
        nested("[", "", ""),
        nested("a(", "", ""),
        nested("'", "", ""),
        nested("a.", "", ""),
        nested("a{", "", ""),
        nested("?", "", ":"),
    ]
}

#[test]
fn no_expression_exhausts_the_stack_of_the_parser() {
    for when in deep_expressions() {
        if compile(&when).is_ok() {
            let _ = std::hint::black_box(holds(&when, Some("{}")));
        }
    }
    assert!(refusal(&"(".repeat(MAX_SOURCE_BYTES)).contains("is not CEL"));
}

#[test]
fn an_accepted_expression_is_evaluated_on_a_small_stack() {
    let deepest = check::MAX_DEPTH - 3;
    let expressions = [
        format!("{} == 0", vec!["1"; deepest].join(" + ")),
        format!("{}true{}", "!(".repeat(deepest), ")".repeat(deepest)),
        format!(
            "{}1{} == 1",
            "[".repeat(deepest / 2),
            "][0]".repeat(deepest / 2)
        ),
        format!("{}true", "false ? false : ".repeat(deepest)),
        format!("scopes.all(x, {} == 0)", vec!["1"; deepest - 3].join(" + ")),
        format!("{}1{} == 1", "dyn(".repeat(deepest), ")".repeat(deepest)),
    ];
    for when in &expressions {
        assert!(compile(when).is_ok(), "{when}");
    }
    let evaluate = move || {
        for when in &expressions {
            let _ = std::hint::black_box(holds(when, Some(r#"{"a": 1}"#)));
        }
    };
    // Half of what worker threads have; unoptimised code needs most.
    let thread = thread::Builder::new()
        .stack_size(1024 * 1024)
        .spawn(evaluate)
        .expect("a thread");
    thread.join().expect("no overflow");
}

#[test]
fn unknown_names_are_refused() {
    assert!(refusal("arg.x == 1").contains("reads `arg`, which does not exist: there are args,"));
    assert!(refusal("now() > 1").contains("calls `now`, which does not exist"));
    for when in [
        ".args == 1",
        "args.x.lowerAscii() == 'a'",
        "duration('1s') > 1",
        "timestamp('2020-01-01T00:00:00Z') == 1",
        "optional.of(1).hasValue()",
        "args.?x.hasValue()",
        "max(1, 2) == 2",
        "size(1, 2) == 1",
        "args.x.size(1) == 1",
        "Message{a: 1} == 1",
        "args.all(x, y, true) == 1",
        "args.list.all(true)",
        "@result == 1",
        "@regex0 == 1",
        "args.x.matches()",
        "x.all(x, true)",
        "scopes.exists(x, true) && x == 1",
        "`args` == 1",
    ] {
        let _ = refusal(when);
    }
}

#[test]
fn what_is_not_cel_is_refused_with_the_place() {
    assert!(refusal("args.x ==").contains("is not CEL: line 1, column"));
    for when in [
        "",
        " ",
        "==",
        "'open",
        "a b",
        "1 = 1",
        "has(args)",
        "has(1)",
        "1 +",
        "\0",
        "99999999999999999999 == 1",
    ] {
        let _ = refusal(when);
    }
}

#[test]
fn what_is_plainly_no_bool_is_refused() {
    for when in [
        "1",
        "'a'",
        "[true]",
        "{}",
        "args",
        "size(scopes)",
        "1 + 1",
        "-1",
        "string(1)",
        "int",
    ] {
        assert!(refusal(when).contains("gives no bool"), "{when}");
    }
}

#[test]
fn comprehensions_within_comprehensions_are_refused() {
    for when in [
        "args.a.all(x, args.b.all(y, x == y))",
        "args.a.exists(x, x.exists(y, y == 1))",
        "args.a.map(x, args.b.filter(y, y == x)) == []",
        "args.a.exists_one(x, args.b.existsOne(y, y == x))",
        "args.a.all(x, size(args.b.map(y, y).filter(z, z == x)) == 0)",
    ] {
        assert!(refusal(when).contains("within another one"), "{when}");
    }
    let chain = "args.a.filter(x, x > 1).map(x, x * 2).all(x, x > 2)";
    assert_eq!(
        holds(chain, Some(r#"{"a": [1, 2, 3]}"#)),
        Some(true),
        "one after the other is fine"
    );
    assert!(compile("args.a.all(x, x > 1) && args.b.all(x, x > 1)").is_ok());
}

#[test]
fn a_comprehension_cannot_hide_a_fact() {
    for when in [
        "scopes.all(args, args == 1)",
        "scopes.exists(tool, true)",
        "scopes.map(int, int) == []",
    ] {
        assert!(refusal(when).contains("hides"), "{when}");
    }
}

#[test]
fn regular_expressions_are_literal_valid_and_bounded() {
    assert!(
        refusal("args.a.matches(args.b)").contains("takes a pattern that is written in the rule")
    );
    assert!(refusal("matches(args.a, args.b)").contains("takes a pattern"));
    assert!(refusal("args.a.matches('a' + 'b')").contains("takes a pattern"));
    assert!(refusal("scopes.exists(x, args.a.matches(x))").contains("takes a pattern"));
    assert!(refusal("args.a.matches('[')").contains("is not a regular expression"));
    assert!(refusal("args.a.matches('(\\\\w{100}){100}')").contains("is not a regular expression"));
    assert!(refusal("args.a.matches('(?=a)')").contains("is not a regular expression"));
    let arguments = r#"{"a": "order-17", "list": ["x1", "y2"]}"#;
    for (when, expected) in [
        ("args.a.matches('^order-[0-9]+$')", true),
        ("matches(args.a, '^order$')", false),
        ("args.a.matches('^order') && args.a.matches('17$')", true),
        ("args.list.all(x, x.matches('^[a-z][0-9]$'))", true),
        ("args.list.filter(x, x.matches('^x')).size() == 1", true),
        (
            "{'k': args.a.matches('^x')}['k'] || [args.a.matches('order')][0]",
            true,
        ),
        (
            "scopes.exists(s, s.matches('^db:')) && !tool.matches('^set')",
            true,
        ),
    ] {
        assert_eq!(holds(when, Some(arguments)), Some(expected), "{when}");
    }
}

#[test]
fn reading_arguments_is_noticed_wherever_it_happens() {
    for (when, expected) in [
        ("args.x == 1", true),
        ("has(args.x)", true),
        ("args == {}", true),
        ("'x' in args", true),
        ("scopes.exists(s, s == args.x)", true),
        ("{'a': args}['a'] == {}", true),
        ("[args] == []", true),
        ("claims.args == 1", false),
        ("tool == 'args'", false),
        ("scopes.exists(s, s == 'args')", false),
    ] {
        assert_eq!(
            compile(when).expect(when).condition.reads_arguments(),
            expected,
            "{when}"
        );
    }
}

#[test]
fn unguarded_arguments_are_warned_about() {
    let warning = warnings("args.x == 1", Effect::Allow);
    assert_eq!(warning.len(), 1);
    assert!(
        warning[0].starts_with("`args.x` is read without `has(args.x)`"),
        "{warning:?}"
    );
    assert!(warning[0].ends_with("the rule does not match"));
    assert!(warnings("args.x == 1", Effect::Deny)[0].ends_with("matches and denies"));
    for (when, count) in [
        ("has(args.x) && args.x == 1", 0),
        ("has(args.x) && args.y == 1", 1),
        ("'x' in args && args['x'] == 1", 0),
        ("args['x'] == 1", 1),
        ("has(args.a.b) && args.a.b == 1", 1),
        ("has(args.a) && has(args.a.b) && args.a.b == 1", 0),
        ("has(args.list) && args.list.all(x, x.y == 1)", 0),
        ("args.x == 1 || args.x == 2", 1),
        ("has(args.x)", 0),
        ("claims.x == 1", 0),
    ] {
        assert_eq!(warnings(when, Effect::Allow).len(), count, "{when}");
    }
}

#[test]
fn scopes_that_take_away_are_warned_about() {
    for (when, by_allow, by_deny) in [
        ("'a' in scopes", false, true),
        ("!('a' in scopes)", true, false),
        (
            "tool == 'x' || !!('a' in scopes) && 'b' in scopes",
            false,
            true,
        ),
        ("tool == 'x' ? 'a' in scopes : !('b' in scopes)", true, true),
        ("size(scopes) == 1", true, true),
        ("scopes.exists(s, s.startsWith('a'))", false, true),
        ("scopes.all(s, s.startsWith('a'))", true, false),
        ("!scopes.all(s, s.startsWith('a'))", false, true),
        ("['a', 'b'].exists(s, s in scopes)", false, true),
        ("['a', 'b'].all(s, !(s in scopes))", true, false),
        ("scopes.exists(s, size(scopes) == 1)", true, true),
        ("('a' in scopes) == true", true, true),
        ("('a' in scopes) ? true : false", true, true),
        ("scopes.filter(s, s == 'a') == []", true, true),
        ("tool == 'scopes'", false, false),
    ] {
        assert_eq!(
            !warnings(when, Effect::Allow).is_empty(),
            by_allow,
            "{when}"
        );
        assert_eq!(!warnings(when, Effect::Deny).is_empty(), by_deny, "{when}");
    }
}

#[test]
fn without_conditions_nothing_is_compiled() {
    let compiled = Condition::compile_all(&[RuleConfig::default(), RuleConfig::default()]);
    assert!(compiled.iter().all(Option::is_none));
    assert_eq!(compiled.len(), 2);
}

#[test]
fn debug_output_is_the_source() {
    let condition = compile("tool == 'a'").expect("compiles").condition;
    assert_eq!(format!("{condition:?}"), r#"Condition("tool == 'a'")"#);
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "args",
        "scopes",
        "claims",
        "tool",
        "x",
        "y",
        ".",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "?",
        ":",
        ",",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        " in ",
        "'a'",
        "\"b\"",
        "'''c'''",
        "r'\\d'",
        "b'\\xff'",
        "1",
        "-1",
        "0",
        "1u",
        "1.5",
        "0x1F",
        "1e3",
        "9223372036854775807",
        "null",
        "true",
        "false",
        "has",
        "has(args.x)",
        ".all(x,",
        ".exists(y,",
        ".exists_one(x,",
        ".map(x,",
        ".filter(x,",
        ".matches('a')",
        ".size()",
        "size(",
        "int(",
        "uint(",
        "double(",
        "string(",
        "bytes(",
        "bool(",
        "type(",
        "dyn(",
        "'",
        "\"",
        "\\",
        "@",
        "`",
        "//",
        "\n",
        "\u{e9}",
        "\u{1f600}",
        " ",
        ";",
        "=",
        "&",
        "|",
        "r'",
        "b",
    ])
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<u64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        "\\PC{0,4}".prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|value| json!(value)),
            prop::collection::hash_map("[xya]", inner, 0..4).prop_map(|value| json!(value)),
        ]
    })
}

fn operation() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "args.x",
        "args.y",
        "args.x.y",
        "args.x[0]",
        "args['a']",
        "args",
        "scopes",
        "claims",
        "tool",
        "1",
        "-1",
        "0",
        "2u",
        "1.5",
        "'a'",
        "b'a'",
        "null",
        "true",
        "false",
        "int",
        "[1, 'a']",
        "{'x': 1, 2: 'y'}",
        "9223372036854775807",
        "-9223372036854775808",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 16, 3, |inner| {
        let operators = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||",
        ]);
        let functions = prop::sample::select(vec![
            "size", "int", "uint", "double", "string", "bytes", "bool", "type", "dyn", "!", "-",
        ]);
        let members = prop::sample::select(vec![
            ".size()",
            ".contains('a')",
            ".startsWith('a')",
            ".endsWith(args.x)",
            ".matches('^a')",
            "[0]",
            "[args.x]",
            ".x",
            ".all(i, i == 1)",
            ".exists(i, i)",
            ".map(i, i)",
            ".filter(i, i > 0)",
            ".exists_one(i, i == args.x)",
        ]);
        prop_oneof![
            (inner.clone(), operators, inner.clone())
                .prop_map(|(l, o, r)| format!("({l} {o} {r})")),
            (functions, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), members).prop_map(|(a, m)| format!("({a}){m}")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(c, a, b)| format!("({c} ? {a} : {b})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_text_compiles_or_is_refused(tokens in prop::collection::vec(token(), 0..24)) {
        let _ = compile(&tokens.concat());
    }

    #[test]
    fn whatever_compiles_is_evaluated_without_panic(when in operation(), arguments in any_json()) {
        if compile(&when).is_ok() {
            let _ = holds(&when, Some(&arguments.to_string()));
        }
    }

    #[test]
    fn any_characters_compile_or_are_refused(text in "\\PC{0,40}") {
        let _ = compile(&text);
    }

    #[test]
    fn arguments_are_read_as_they_were_written(arguments in any_json()) {
        use cel::common::value::Val;
        let text = arguments.to_string();
        let read = arguments::parse(&text);
        prop_assert_eq!(read.is_some(), arguments.is_object());
        if let Some(read) = read {
            // Read back, as the last digit of a double may differ.
            let arguments: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let expected = arguments::from_claims(arguments.as_object().expect("an object"));
            prop_assert!(read.equals(&expected), "{:?} {:?}", read, expected);
        }
    }
}
