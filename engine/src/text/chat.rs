//! [`Chat`]: messages as applications send them.
//!
//! The shapes are those of OpenAI's API; [`messages`] and [`tools`] read them from JSON.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize, Serializer};

use super::{Json, TextError};

/// The type of parts that hold text.
const TEXT: &str = "text";

/// A conversation, and what its template needs besides.
#[derive(Debug, Clone, PartialEq)]
pub struct Chat {
    /// What was said, in order.
    pub messages: Vec<Message>,
    /// Functions that the model may call, as JSON schemas. If empty, the template sees `none`.
    pub tools: Vec<Json>,
    /// What comes after the last message.
    pub ending: Ending,
    /// Additional variables of the template, such as `enable_thinking`.
    pub variables: BTreeMap<String, Json>,
    /// The time that `strftime_now` uses, in UTC: some templates write the date, and a measurement
    /// wants the same prompt every day.
    pub now: SystemTime,
}

/// What comes after the last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The beginning of the model's answer.
    Answer,
    /// Nothing.
    Nothing,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase", from = "Sent")]
pub enum Message {
    /// Instructions for the whole conversation. The role `developer` is read as this one, and a
    /// `name` is ignored.
    System {
        /// The text.
        content: Content,
    },
    /// What the user says.
    User {
        /// The text.
        content: Content,
        /// Who the user is.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// What the model said. A `name` and `annotations` are ignored.
    Assistant {
        /// The text; may be absent beside tool calls. A `refusal` is read as this if there is
        /// nothing else.
        content: Option<Content>,
        /// Its reasoning, where that is kept apart from the text.
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<String>,
        /// The functions it called.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
    },
    /// What a function returned.
    Tool {
        /// The result.
        content: Content,
        /// [`ToolCall::id`] of the call.
        #[serde(skip_serializing_if = "Option::is_none")]
        tool_call_id: Option<String>,
        /// Name of the function.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
}

/// A [`Message`] as applications send it: null is the same as absent, and some keys are only for
/// the API and never shown to templates.
#[derive(Deserialize)]
#[serde(tag = "role", rename_all = "lowercase", deny_unknown_fields)]
enum Sent {
    #[serde(alias = "developer")]
    System {
        content: Content,
        #[serde(rename = "name")]
        _name: Option<String>,
    },
    User {
        content: Content,
        name: Option<String>,
    },
    Assistant {
        content: Option<Content>,
        reasoning_content: Option<String>,
        tool_calls: Option<Vec<ToolCall>>,
        refusal: Option<String>,
        #[serde(rename = "name")]
        _name: Option<String>,
        #[serde(rename = "annotations")]
        _annotations: Option<IgnoredAny>,
        #[serde(rename = "audio")]
        _audio: Option<()>,
        #[serde(rename = "function_call")]
        _function_call: Option<()>,
    },
    Tool {
        content: Content,
        tool_call_id: Option<String>,
        name: Option<String>,
    },
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Objects with a `type`. If all are of type `text`, the template sees their texts joined;
    /// otherwise it sees the list, which is refused if a model reads text only.
    Parts(Vec<Json>),
}

/// A function call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The id that the result refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`.
    #[serde(default = "function")]
    pub r#type: String,
    /// The called function.
    pub function: FunctionCall,
}

/// A function's name and arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// An object, or its JSON in a string, which the template sees as the object.
    #[serde(serialize_with = "as_object")]
    pub arguments: Json,
}

/// Reads a JSON list of messages.
///
/// # Errors
///
/// [`TextError::Messages`] on an unknown role or key, or a value of the wrong type.
pub fn messages(json: &str) -> Result<Vec<Message>, TextError> {
    parse(json).map_err(TextError::Messages)
}

/// Reads a JSON list of tools.
///
/// # Errors
///
/// [`TextError::Tools`] when it is not a list.
pub fn tools(json: &str) -> Result<Vec<Json>, TextError> {
    parse(json).map_err(TextError::Tools)
}

fn parse<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|e| e.to_string())
}

impl Chat {
    /// Refuses content that a text-only model cannot be shown.
    pub(super) fn check(&self) -> Result<(), TextError> {
        if self.messages.is_empty() {
            return Err(TextError::NoMessages);
        }
        for (message, said) in (1..).zip(&self.messages) {
            let Some(Content::Parts(parts)) = said.content() else { continue };
            let Some(part) = parts.iter().find(|part| text(part).is_none()) else { continue };
            return Err(match kind(part) {
                Some(kind) if kind != TEXT => TextError::NotText { message, kind },
                _ => TextError::BadPart { message },
            });
        }
        Ok(())
    }
}

impl From<Sent> for Message {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::System { content, .. } => Self::System { content },
            Sent::User { content, name } => Self::User { content, name },
            Sent::Assistant { content, reasoning_content, tool_calls, refusal, .. } => {
                Self::Assistant {
                    content: content.or_else(|| refusal.map(Content::Text)),
                    reasoning_content,
                    tool_calls: tool_calls.unwrap_or_default(),
                }
            }
            Sent::Tool { content, tool_call_id, name } => {
                Self::Tool { content, tool_call_id, name }
            }
        }
    }
}

impl Message {
    const fn content(&self) -> Option<&Content> {
        match self {
            Self::System { content } | Self::User { content, .. } | Self::Tool { content, .. } => {
                Some(content)
            }
            Self::Assistant { content, .. } => content.as_ref(),
        }
    }
}

impl Serialize for Content {
    /// As templates see it.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let parts = match self {
            Self::Text(text) => return to.serialize_str(text),
            Self::Parts(parts) => parts,
        };
        match parts.iter().map(text).collect::<Option<Vec<_>>>() {
            Some(texts) => to.serialize_str(&texts.concat()),
            None => parts.serialize(to),
        }
    }
}

/// The text of a part of type `text`.
fn text(part: &Json) -> Option<String> {
    (kind(part)? == TEXT).then(|| attribute(part, "text"))?
}

/// The type of a part.
fn kind(part: &Json) -> Option<String> {
    attribute(part, "type")
}

fn attribute(Json(part): &Json, name: &str) -> Option<String> {
    part.get_attr(name).ok()?.as_str().map(str::to_owned)
}

fn as_object<S: Serializer>(arguments: &Json, to: S) -> Result<S::Ok, S::Error> {
    let parsed = arguments.0.as_str().and_then(|text| text.parse::<Json>().ok());
    parsed.as_ref().unwrap_or(arguments).serialize(to)
}

fn function() -> String {
    "function".into()
}
