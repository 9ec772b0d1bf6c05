//! [`GgufError`]: what can be wrong with a GGUF file, and how to fix it.

/// Why a GGUF file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GgufError {
    /// Not a GGUF file.
    #[error(
        "`{file}` is not a GGUF file: it begins with {found}, not with `GGUF`; check the path, and that the download was the file itself"
    )]
    Foreign {
        /// The file.
        file: String,
        /// Its first bytes.
        found: String,
    },
    /// An unsupported version.
    #[error(
        "`{file}` is version {found} of GGUF, but only 2 and 3 can be read; convert the model again"
    )]
    Version {
        /// The file.
        file: String,
        /// What it says.
        found: u32,
    },
    /// A file in big-endian byte order.
    #[error(
        "`{file}` was written for big-endian machines; convert the model again for little-endian ones"
    )]
    BigEndian {
        /// The file.
        file: String,
    },
    /// A file that is incomplete, or claims to hold more than it does.
    #[error(
        "`{file}` ends after {length} bytes, but {what} needs {needed} more; it is cut short or damaged, so download or convert it again"
    )]
    Truncated {
        /// The file.
        file: String,
        /// Its length.
        length: u64,
        /// What did not fit.
        what: String,
        /// Bytes that are missing.
        needed: u64,
    },
    /// A file that contradicts itself.
    #[error("`{file}` is damaged: {problem}; download or convert it again")]
    Damaged {
        /// The file.
        file: String,
        /// What makes no sense.
        problem: String,
    },
    /// A tensor of a type that cannot be read.
    #[error(
        "`{file}`: tensor `{tensor}` is stored as {found}, which is not implemented; choose a file of {known}"
    )]
    UnknownType {
        /// The file.
        file: String,
        /// The tensor's name in the file.
        tensor: String,
        /// The type's name, or its number.
        found: String,
        /// The types that can be read.
        known: String,
    },
    /// A model whose architecture is not implemented.
    #[error(
        "`{file}` holds a model of architecture `{found}`; the known ones in GGUF are {}", known.join(", ")
    )]
    UnknownArchitecture {
        /// The file.
        file: String,
        /// What `general.architecture` says.
        found: String,
        /// What is known.
        known: Vec<&'static str>,
    },
    /// A required key that is missing.
    #[error("`{file}` has no key `{key}`, which this kind of model needs; convert the model again")]
    MissingKey {
        /// The file.
        file: String,
        /// The key.
        key: String,
    },
    /// A key with an unexpected value.
    #[error("`{file}`: key `{key}` is {found}, but must be {expected}")]
    WrongKey {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// A missing tensor that the metadata imply.
    #[error(
        "`{file}` has no tensor `{tensor}` (needed with shape {expected:?} as `{wanted}`); check that all of the model is in it"
    )]
    MissingTensor {
        /// The file, the first of several.
        file: String,
        /// The tensor's name in the file.
        tensor: String,
        /// Its name in the checkpoints of the hub.
        wanted: String,
        /// The shape that the metadata imply.
        expected: Vec<usize>,
    },
    /// A tensor whose shape is not the one that the metadata imply.
    #[error("`{file}`: tensor `{tensor}` has shape {found:?}, but the metadata imply {expected:?}")]
    WrongShape {
        /// The file that holds it.
        file: String,
        /// The tensor's name in the file.
        tensor: String,
        /// The shape that the metadata imply.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A missing part of a model.
    #[error(
        "`{file}` is one of {count} files, but `{missing}` does not exist; put all of them into one folder"
    )]
    MissingPart {
        /// The file that was named.
        file: String,
        /// How many there should be.
        count: u64,
        /// The one that is missing.
        missing: String,
    },
    /// Parts that do not belong together.
    #[error(
        "`{file}`: {problem}; put all files of one model into one folder, with their own names"
    )]
    Split {
        /// The file.
        file: String,
        /// What does not agree.
        problem: String,
    },
    /// A tokenizer that cannot be built.
    #[error(
        "`{file}`: {problem}; send token ids, or open the model's folder with its `tokenizer.json`"
    )]
    Tokenizer {
        /// The file.
        file: String,
        /// What is unknown or missing.
        problem: String,
    },
}
