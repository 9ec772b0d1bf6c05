//! Templates against the output of transformers.

use std::time::{Duration, SystemTime};

use super::*;
use crate::text::Json;
use crate::text::chat::{Content, Message, messages};

#[derive(Deserialize)]
struct Golden {
    templates: BTreeMap<String, String>,
    conversations: BTreeMap<String, Vec<Message>>,
    tools: Vec<Json>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    conversation: String,
    tools: bool,
    add_generation_prompt: bool,
    variables: BTreeMap<String, Json>,
    expected: Option<String>,
    expected_error: Option<String>,
}

fn templates(sources: &[(&str, &str)]) -> Result<Templates, TextError> {
    let owned = sources.iter().map(|(name, source)| ((*name).into(), (*source).into()));
    Templates::new(owned.collect(), BTreeMap::from([("bos_token", "<s>".into())]))
}

fn chat(messages: Vec<Message>) -> Chat {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_753_500_000);
    Chat { messages, tools: vec![], ending: Ending::Answer, variables: BTreeMap::new(), now }
}

fn hello() -> Chat {
    chat(vec![Message::User { content: Content::Text("Hi".into()), name: None }])
}

/// What `source` renders for a greeting, or the refusal.
fn check(source: &str) -> String {
    let rendered = templates(&[("default", source)]).and_then(|all| all.render(&hello()));
    rendered.unwrap_or_else(|refusal| refusal.to_string())
}

#[test]
fn every_conversation_is_rendered_as_the_reference_does() {
    let json = include_str!("../../../tests/golden/chat/chat.json");
    let golden: Golden = serde_json::from_str(json).unwrap();
    assert_eq!(golden.cases.len(), 111);
    for case in golden.cases {
        let templates = templates(&[("default", &golden.templates[&case.template])]).unwrap();
        let tools = if case.tools { golden.tools.clone() } else { Vec::new() };
        let ending = match case.add_generation_prompt {
            true => Ending::Answer,
            false => Ending::Nothing,
        };
        let messages = golden.conversations[&case.conversation].clone();
        let rendered =
            templates.render(&Chat { tools, ending, variables: case.variables, ..chat(messages) });
        let expected = match (case.expected, case.expected_error) {
            (Some(text), None) => Ok(text),
            (None, Some(message)) => Err(TextError::Refused(message)),
            other => panic!("a case is a text or an error, not {other:?}"),
        };
        assert_eq!(rendered, expected, "{} {}", case.template, case.conversation);
    }
}

#[test]
fn json_is_written_as_python_writes_it() {
    let value = r#"{"b": [1, 2.0, "ü<🙂"], "a": {}}"#;
    let check = |filter: &str| {
        let templates = templates(&[("default", &format!("{{{{ x | {filter} }}}}"))]).unwrap();
        let variables = BTreeMap::from([("x".to_owned(), value.parse().unwrap())]);
        templates.render(&Chat { variables, ..hello() }).unwrap()
    };
    assert_eq!(check("tojson"), r#"{"b": [1, 2.0, "ü<🙂"], "a": {}}"#);
    assert_eq!(
        check("tojson(indent=2)"),
        "{\n  \"b\": [\n    1,\n    2.0,\n    \"ü<🙂\"\n  ],\n  \"a\": {}\n}"
    );
    assert_eq!(check("tojson(indent=none, sort_keys=true)"), r#"{"a": {}, "b": [1, 2.0, "ü<🙂"]}"#);
    let ascii = check("tojson(ensure_ascii=true, separators=(',', ':'))");
    assert_eq!(ascii, r#"{"b":[1,2.0,"\u00fc<\ud83d\ude42"],"a":{}}"#);
    let numbers = "{{ [1e16, 1.5e-7, 0.0001, 1e22, 3, true, none, '\\n\\x7f'] | tojson }}";
    assert_eq!(
        super::tests::check(numbers),
        "[1e+16, 1.5e-07, 0.0001, 1e+22, 3, true, null, \"\\n\u{7f}\"]"
    );
    assert_eq!(
        super::tests::check("{{ missing | tojson }}"),
        "the chat template fails on these messages: an undefined value has no JSON (line 1); check their roles and contents"
    );
}

#[test]
fn what_templates_of_the_hub_use_is_there() {
    assert_eq!(check("{{ bos_token }}{{ messages[::-1][0].content.strip() }}"), "<s>Hi");
    assert_eq!(check("{{ strftime_now('%d %b %Y') }}"), "26 Jul 2025");
    assert_eq!(check("{% for i in range(3, -1, -1) %}{{ i }}{% endfor %}"), "3210");
    assert_eq!(
        check("{% for m in messages %}{% if loop.first %}{% break %}{% endif %}{% endfor %}ok"),
        "ok"
    );
    assert_eq!(check("{%- set ns = namespace(n=1) %}{% set ns.n = 2 %}{{ ns.n }}"), "2");
    assert_eq!(check("{{ 'a,b'.split(',')[-1] ~ ('x' in 'xyz') ~ none }}"), "bTrueNone");
    assert_eq!(check("a\n  {%- generation -%}\n b \n{%- endgeneration %}\nc"), "abc");
    assert_eq!(check("  {% if true %}\n  x\n  {% endif %}\ny"), "  x\ny");
    assert_eq!(check("{{ generation }}{% set generation = 1 %}{{ generation }}"), "1");
    assert_eq!(check("{{ add_generation_prompt }} {{ tools is none }}"), "True True");
}

#[test]
fn parts_that_are_all_text_are_joined_and_others_are_kept() {
    let check = |content: &str| {
        let json = format!(r#"[{{"role": "user", "content": {content}}}]"#);
        let templates = templates(&[("default", "{{ messages[0].content | tojson }}")]).unwrap();
        templates.render(&chat(messages(&json).unwrap())).unwrap()
    };
    let text = r#"{"type": "text", "text": "a"}"#;
    assert_eq!(check(&format!("[{text}, {text}]")), r#""aa""#);
    assert_eq!(check("[]"), r#""""#);
    let mixed = format!(r#"[{text}, {{"type": "image"}}]"#);
    assert_eq!(check(&mixed), mixed);
}

#[test]
fn arguments_in_a_string_are_seen_as_the_object_that_they_are() {
    let json = r#"[{"role": "assistant", "content": null, "tool_calls": [
        {"id": "1", "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": 2}"}}]}]"#;
    let templates = templates(&[("default", "{{ messages | tojson }}")]).unwrap();
    let expected = r#"[{"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": 2}}}]}]"#;
    assert_eq!(templates.render(&chat(messages(json).unwrap())).unwrap(), expected);
}

#[test]
fn messages_of_openais_own_shape_are_rendered_as_plain_ones() {
    let templates = templates(&[("default", "{{ messages | tojson }}")]).unwrap();
    let check = |json: &str| templates.render(&chat(messages(json).unwrap())).unwrap();
    let plain = r#"[{"role": "system", "content": "x"}, {"role": "assistant", "content": "y"}]"#;
    let own = r#"[{"role": "developer", "name": "a", "content": "x"},
        {"role": "assistant", "name": "b", "content": "y", "refusal": null, "tool_calls": null,
            "annotations": [], "audio": null, "function_call": null}]"#;
    assert_eq!(check(plain), plain);
    assert_eq!(check(own), plain);
    let refused = r#"[{"role": "assistant", "content": null, "refusal": "y"}]"#;
    assert_eq!(check(refused), r#"[{"role": "assistant", "content": "y"}]"#);
}

#[test]
fn a_template_without_an_end_is_an_error() {
    let own = "{% set ns = namespace() %}{% set ns.own = ns %}";
    let holds_itself = "a value has more than 200 levels, or contains itself";
    for writes in ["ns", "ns | tojson", "ns | tojson(sort_keys=true)", "raise_exception(ns)"] {
        let refusal = check(&format!("{own}{{{{ {writes} }}}}"));
        assert!(refusal.contains(holds_itself), "{writes}: {refusal}");
    }
    let twice = "{% set ns = namespace() %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}";
    let refusal = check(twice);
    assert!(refusal.contains("a value contains more than 1048576 others"), "{refusal}");
    let loops = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}";
    let refusal = check(loops);
    assert!(refusal.contains("it has not ended after 2000000 instructions"), "{refusal}");
    let macros = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
    let refusal = check(macros);
    assert!(refusal.contains("recursion limit"), "{refusal}");
}

#[test]
fn a_thread_that_cannot_be_started_is_no_fault_of_the_template() {
    let told = on_deep_stack(usize::MAX >> 2, || ()).unwrap_err().to_string();
    assert!(
        told.starts_with("no thread with a stack of 4398046511103 MiB can be started"),
        "{told}"
    );
    assert!(told.ends_with("; raise the limit on memory or on threads"), "{told}");
}

#[test]
fn a_source_may_be_long_but_not_endless() {
    let branches = format!("{{% if false %}}{}b{{% endif %}}", "{% elif false %}a".repeat(5000));
    assert_eq!(check(&branches), "");
    assert_eq!(check(&"x".repeat(128 << 10)).len(), 128 << 10);
    insta::assert_snapshot!(check(&"x".repeat((128 << 10) + 1)), @"the chat template `default` cannot be understood: it has 131073 bytes, and at most 131072 are read; correct its file");
}

#[test]
fn tools_choose_their_template_if_there_is_one() {
    let tools = vec![r#"{"type": "function"}"#.parse().unwrap()];
    let check = |sources: &[(&str, &str)], tools: &[Json]| {
        let rendered = templates(sources).unwrap().render(&Chat { tools: tools.into(), ..hello() });
        rendered.unwrap_or_else(|refusal| refusal.to_string())
    };
    let both = [("default", "plain"), ("tool_use", "{{ tools | length }} tools")];
    assert_eq!(check(&both, &[]), "plain");
    assert_eq!(check(&both, &tools), "1 tools");
    assert_eq!(check(&both[..1], &tools), "plain");
    let missing = r#"the chat templates are ["rag"], and none of them is `tool_use`; send the prompt as text, or add that template to the model's folder"#;
    assert_eq!(check(&[("rag", "")], &tools), missing);
}

#[test]
fn what_goes_wrong_is_said_with_its_place() {
    insta::assert_snapshot!(check("a\n{% if %}"), @"the chat template `default` cannot be understood: unexpected end of block (line 2); correct its file");
    insta::assert_snapshot!(check("a\n{{ messages[0].x.y }}"), @"the chat template fails on these messages: `messages[0].x` is undefined (line 2); check their roles and contents");
    insta::assert_snapshot!(check("{{ raise_exception('no ' ~ messages[0].role) }}"), @"the chat template refuses these messages: no user");
    insta::assert_snapshot!(check("{{ strftime_now('%!') }}"), @"the chat template fails on these messages: strftime formatting failed: found unrecognized specifier directive `!` (line 1); check their roles and contents");
    let refused = |json| messages(json).unwrap_err();
    insta::assert_snapshot!(refused(r#"[{"role": "narrator", "content": "x"}]"#), @"the messages cannot be read: unknown variant `narrator`, expected one of `developer`, `system`, `user`, `assistant`, `tool` at line 1 column 20; each needs a `role` (`system`, `user`, `assistant` or `tool`) and a `content`");
    insta::assert_snapshot!(refused(r#"[{"role": "user"}]"#), @"the messages cannot be read: missing field `content` at line 1 column 18; each needs a `role` (`system`, `user`, `assistant` or `tool`) and a `content`");
    insta::assert_snapshot!(refused(r#"[{"role": "user", "content": 3}]"#), @"the messages cannot be read: data did not match any variant of untagged enum Content at line 1 column 32; each needs a `role` (`system`, `user`, `assistant` or `tool`) and a `content`");
    insta::assert_snapshot!(refused(r#"[{"role": "user", "content": "x", "tool_calls": []}]"#), @"the messages cannot be read: unknown field `tool_calls`, expected `content` or `name` at line 1 column 52; each needs a `role` (`system`, `user`, `assistant` or `tool`) and a `content`");
    insta::assert_snapshot!(crate::text::chat::tools("{}").unwrap_err(), @"the tools cannot be read: invalid type: map, expected a sequence at line 1 column 0; give a list with one JSON schema for each");
}
