//! [`Templates`]: a model's Jinja templates, with what templates of the hub expect.
//!
//! Templates come with models, from anywhere: one that does not end, or nests without end, is an
//! error. What minijinja traverses itself, as in `~` and `==`, cannot be bounded from here, and
//! parsing a long source may take time quadratic in its length.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{
    AutoEscape, Environment, Error as JinjaError, ErrorKind, Output, State, escape_formatter,
};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Deserialize;

use super::chat::{Chat, Ending};
use super::json::{check_extent, tojson};
use super::{TextError, load, read};
use crate::error::Result;

/// The template that is used unless another is asked for.
pub(super) const DEFAULT: &str = "default";
/// The template for chats with tools.
const TOOL_USE: &str = "tool_use";

/// Longest source that is read, in bytes. Templates of the hub have up to 20,000.
const LONGEST: usize = 128 << 10;
/// Bytes of the stack on which templates are parsed and run: 4 KiB for each byte of the longest
/// source, as the parser recurses with each sign, dot or `elif`, and nothing else bounds it. Only
/// the part that is used takes memory.
const STACK: usize = LONGEST << 12;
/// Most instructions per rendering. Templates take a few hundred per message, so this suffices for
/// chats of thousands, and an infinite loop ends within a second. A value cannot have more levels
/// than there are instructions, so the stack has room to drop it.
const FUEL: u64 = 2_000_000;
/// Most levels of a rendering: a loop takes one, a macro call about five.
const RECURSION: usize = 200;

/// The chat templates of one model.
pub(super) struct Templates {
    environment: Environment<'static>,
    special_tokens: BTreeMap<&'static str, String>,
}

/// `chat_template` of `tokenizer_config.json`: one template, or several named ones.
#[derive(Deserialize)]
#[serde(untagged)]
enum Found {
    One(String),
    Several(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

impl Templates {
    /// Reads the templates in `folder`: `chat_template.jinja` with `additional_chat_templates/`, or
    /// `chat_template` in `tokenizer_config.json`.
    pub(super) fn open(
        folder: &Path,
        special_tokens: &BTreeMap<&'static str, String>,
    ) -> Result<Self> {
        let mut sources = find(folder)?;
        sources.extend(additional(folder)?);
        if sources.is_empty() {
            let folder = folder.display().to_string();
            return Err(TextError::NoTemplate { folder }.into());
        }
        Ok(Self::new(sources, special_tokens.clone())?)
    }

    /// From `sources` by name.
    pub(super) fn new(
        sources: Vec<(String, String)>,
        special_tokens: BTreeMap<&'static str, String>,
    ) -> Result<Self, TextError> {
        let mut environment = Environment::new();
        environment.set_syntax(syntax());
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.set_formatter(print);
        environment.set_recursion_limit(RECURSION);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", raise_exception);
        for (name, source) in sources {
            let add = || {
                let source = without_generation_tags(&source);
                environment.add_template_owned(name.clone(), source).map_err(|e| sentence(&e))
            };
            let added = match source.len() {
                ..=LONGEST => on_deep_stack(STACK, add)?,
                length => Err(format!("it has {length} bytes, and at most {LONGEST} are read")),
            };
            added.map_err(|problem| TextError::BadTemplate { name, problem })?;
        }
        Ok(Self { environment, special_tokens })
    }

    /// `chat` as text, rendered by its template.
    pub(super) fn render(&self, chat: &Chat) -> Result<String, TextError> {
        on_deep_stack(STACK, || self.write(chat)).flatten()
    }

    fn write(&self, chat: &Chat) -> Result<String, TextError> {
        let template = self.choose(chat)?;
        let mut context: BTreeMap<&str, Value> = BTreeMap::new();
        context.extend(self.special_tokens.iter().map(|(name, text)| (*name, text.into())));
        let now = chat.now;
        context.insert(
            "strftime_now",
            Value::from_function(move |format: &str| {
                let now = jiff::Timestamp::try_from(now).map_err(other)?;
                jiff::fmt::strtime::format(format, now).map_err(other)
            }),
        );
        context.insert("messages", Serde(&chat.messages).into());
        // As in transformers, these two are always defined.
        let tools = if chat.tools.is_empty() { ().into() } else { Serde(&chat.tools).into() };
        context.insert("tools", tools);
        context.insert("documents", ().into());
        context.insert("add_generation_prompt", (chat.ending == Ending::Answer).into());
        context.extend(chat.variables.iter().map(|(name, value)| (&**name, value.0.clone())));
        template.render(context).map_err(|e| failure(&e))
    }

    fn choose(&self, chat: &Chat) -> Result<minijinja::Template<'_, '_>, TextError> {
        let named = |name| self.environment.get_template(name).ok();
        let tool_use = if chat.tools.is_empty() { None } else { named(TOOL_USE) };
        tool_use.or_else(|| named(DEFAULT)).ok_or_else(|| TextError::NoTemplateNamed {
            wanted: if chat.tools.is_empty() { DEFAULT } else { TOOL_USE },
            known: self.environment.templates().map(|(name, _)| name.into()).collect(),
        })
    }
}

/// Runs `work` on a thread of its own with a stack of `bytes` bytes.
fn on_deep_stack<T: Send>(bytes: usize, work: impl FnOnce() -> T + Send) -> Result<T, TextError> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().stack_size(bytes).spawn_scoped(scope, work).map_err(
                |cause| TextError::NoThread { mebibytes: bytes >> 20, cause: cause.to_string() },
            )?;
        match thread.join() {
            Ok(made) => Ok(made),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Names and sources of the templates in the main files.
fn find(folder: &Path) -> Result<Vec<(String, String)>> {
    if let Some(source) = read(&folder.join("chat_template.jinja"))? {
        return Ok(vec![(DEFAULT.into(), source)]);
    }
    let path = folder.join("tokenizer_config.json");
    let Some(json) = read(&path)? else { return Ok(Vec::new()) };
    #[derive(Deserialize)]
    struct Keys {
        chat_template: Option<Found>,
    }
    let keys: Keys = serde_json::from_str(&json).map_err(|e| load(&path, e))?;
    Ok(match keys.chat_template {
        None => Vec::new(),
        Some(Found::One(source)) => vec![(DEFAULT.into(), source)],
        Some(Found::Several(all)) => {
            all.into_iter().map(|Named { name, template }| (name, template)).collect()
        }
    })
}

/// The templates beside `chat_template.jinja`, named after their files.
fn additional(folder: &Path) -> Result<Vec<(String, String)>> {
    let folder = folder.join("additional_chat_templates");
    let Ok(files) = folder.read_dir() else { return Ok(Vec::new()) };
    let mut sources = Vec::new();
    for file in files {
        let path = file.map_err(|e| load(&folder, e))?.path();
        let jinja = path.extension().is_some_and(|extension| extension == "jinja");
        if let (true, Some(name), Some(source)) = (jinja, path.file_stem(), read(&path)?) {
            sources.push((name.to_string_lossy().into_owned(), source));
        }
    }
    sources.sort();
    Ok(sources)
}

/// A line with only a block leaves no trace.
fn syntax() -> SyntaxConfig {
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    // Building fails only on bad delimiters, and these are the default ones.
    syntax.build().unwrap_or_default()
}

/// `{% generation %}` marks text that is trained on and writes nothing: it becomes a condition that
/// always holds, so that the whitespace around it is treated as around any other block.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        out += before;
        out += "{%";
        rest = tag;
        let name = tag.trim_start_matches(['-', '+']).trim_start();
        let lead = &tag[..tag.len() - name.len()];
        for (word, replacement) in [("generation", "if true"), ("endgeneration", "endif")] {
            let after = name.strip_prefix(word);
            let ends =
                |after: &&str| after.trim_start().trim_start_matches(['-', '+']).starts_with("%}");
            if let Some(after) = after.filter(ends) {
                out += lead;
                out += replacement;
                rest = after;
            }
        }
    }
    out + rest
}

/// Writes the value of an expression.
fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), JinjaError> {
    check_extent(value)?;
    escape_formatter(out, state, value)
}

/// The reason a template gives for refusing messages.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: Value) -> Result<Value, JinjaError> {
    check_extent(&message)?;
    let raised = Raised(message.to_string());
    Err(JinjaError::new(ErrorKind::InvalidOperation, raised.0.clone()).with_source(raised))
}

fn other(e: jiff::Error) -> JinjaError {
    JinjaError::new(ErrorKind::InvalidOperation, e.to_string())
}

fn failure(e: &JinjaError) -> TextError {
    let mut cause = e.source();
    while let Some(error) = cause {
        if let Some(Raised(message)) = error.downcast_ref() {
            return TextError::Refused(message.clone());
        }
        cause = error.source();
    }
    TextError::Render(sentence(e))
}

fn sentence(e: &JinjaError) -> String {
    let what = match e.kind() {
        ErrorKind::OutOfFuel => format!("it has not ended after {FUEL} instructions"),
        kind => e.detail().map_or_else(|| kind.to_string(), str::to_owned),
    };
    match e.line() {
        Some(line) => format!("{what} (line {line})"),
        None => what,
    }
}

#[cfg(test)]
mod tests;
