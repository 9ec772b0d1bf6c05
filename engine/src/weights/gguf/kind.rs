//! The types in which tensors are stored: their numbers in files, and their names.

use candle_core::quantized::GgmlDType;

/// Every type that can be read, with its number and its name in files.
const READABLE: &[(u32, GgmlDType, &str)] = &[
    (0, GgmlDType::F32, "F32"),
    (1, GgmlDType::F16, "F16"),
    (30, GgmlDType::BF16, "BF16"),
    (2, GgmlDType::Q4_0, "Q4_0"),
    (3, GgmlDType::Q4_1, "Q4_1"),
    (6, GgmlDType::Q5_0, "Q5_0"),
    (7, GgmlDType::Q5_1, "Q5_1"),
    (8, GgmlDType::Q8_0, "Q8_0"),
    (9, GgmlDType::Q8_1, "Q8_1"),
    (10, GgmlDType::Q2K, "Q2_K"),
    (11, GgmlDType::Q3K, "Q3_K"),
    (12, GgmlDType::Q4K, "Q4_K"),
    (13, GgmlDType::Q5K, "Q5_K"),
    (14, GgmlDType::Q6K, "Q6_K"),
    (15, GgmlDType::Q8K, "Q8_K"),
];

/// The names of types that cannot be read.
const OTHERS: &[(u32, &str)] = &[
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];

/// The type with this number, or its name for messages.
pub(super) fn numbered(number: u32) -> Result<GgmlDType, String> {
    if let Some((_, kind, _)) = READABLE.iter().find(|(other, ..)| *other == number) {
        return Ok(*kind);
    }
    Err(match OTHERS.iter().find(|(other, _)| *other == number) {
        Some((_, name)) => (*name).into(),
        None => format!("type {number}"),
    })
}

/// The names of all types that can be read.
pub(super) fn readable() -> String {
    let names: Vec<&str> = READABLE.iter().map(|(.., name)| *name).collect();
    let (last, others) = names.split_last().unwrap_or((&"", &[]));
    format!("{} or {last}", others.join(", "))
}
