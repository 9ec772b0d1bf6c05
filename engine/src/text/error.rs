//! [`TextError`]: what can go wrong between text and ids, and how to fix it.

/// Why something cannot be encoded, decoded or rendered as a chat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A model without a tokenizer.
    #[error(
        "{model} has no tokenizer; send token ids, or open a model folder that holds `tokenizer.json`"
    )]
    NoTokenizer {
        /// The preset or the folder.
        model: String,
    },
    /// The tokenizer failed on a text or on ids.
    #[error("the tokenizer failed: {0}; check that `tokenizer.json` belongs to this model")]
    Tokenizer(String),
    /// A model that was not made for chat, or whose template is elsewhere.
    #[error(
        "`{folder}` has no chat template (`chat_template.jinja`, or `chat_template` in `tokenizer_config.json`); send the prompt as text, or choose a model that was tuned for chats"
    )]
    NoTemplate {
        /// The model's folder.
        folder: String,
    },
    /// A GGUF file of a model that was not made for chat.
    #[error(
        "`{file}` has no chat template (key `tokenizer.chat_template`); send the prompt as text, or choose a model that was tuned for chats"
    )]
    NoTemplateInFile {
        /// The file.
        file: String,
    },
    /// Named templates, but none for this chat.
    #[error(
        "the chat templates are {known:?}, and none of them is `{wanted}`; send the prompt as text, or add that template to the model's folder"
    )]
    NoTemplateNamed {
        /// The name that this chat needs.
        wanted: &'static str,
        /// The names that exist.
        known: Vec<String>,
    },
    /// The system cannot start a thread to parse or run a template on.
    #[error(
        "no thread with a stack of {mebibytes} MiB can be started for the chat template: {cause}; raise the limit on memory or on threads"
    )]
    NoThread {
        /// Size of its stack.
        mebibytes: usize,
        /// What the system said.
        cause: String,
    },
    /// A template that is not Jinja as supported here, or too long.
    #[error("the chat template `{name}` cannot be understood: {problem}; correct its file")]
    BadTemplate {
        /// Its name.
        name: String,
        /// What the parser said, with the line.
        problem: String,
    },
    /// A template that failed on these messages.
    #[error("the chat template fails on these messages: {0}; check their roles and contents")]
    Render(String),
    /// A template that raised an exception about these messages.
    #[error("the chat template refuses these messages: {0}")]
    Refused(String),
    /// An empty text as a prompt.
    #[error("the prompt is an empty text; write at least one character")]
    EmptyText,
    /// A chat without messages.
    #[error("the chat has no messages; give it at least one")]
    NoMessages,
    /// An image, audio or something else that is not text.
    #[error(
        "message {message} has a part of type `{kind}`, but this model reads only text; leave the part out, or say in words what it shows"
    )]
    NotText {
        /// Which message, counting from 1.
        message: usize,
        /// The part's type.
        kind: String,
    },
    /// A part of a message without readable content.
    #[error(
        "message {message} has a part that cannot be read; each needs a `type`, and one of type `text` needs its `text`"
    )]
    BadPart {
        /// Which message, counting from 1.
        message: usize,
    },
    /// Messages that cannot be read.
    #[error(
        "the messages cannot be read: {0}; each needs a `role` (`system`, `user`, `assistant` or `tool`) and a `content`"
    )]
    Messages(String),
    /// Tools that cannot be read.
    #[error("the tools cannot be read: {0}; give a list with one JSON schema for each")]
    Tools(String),
    /// A text that is not JSON.
    #[error("not valid JSON: {0}")]
    Json(String),
    /// An empty stop string, which every text contains.
    #[error("a stop string is empty; leave it out")]
    EmptyStop,
}
