//! Words planted in a fake probe: they are appended to its executable file, so that base and head
//! of a comparison can be the same program and still behave differently.
//!
//! `\n#plant decode=6 noise=0.5` makes gaps between tokens 6 % longer and varies all times by half
//! a per cent.

use std::path::Path;

/// What precedes the words.
const MARK: &[u8] = b"\n#plant ";
/// How far before the end of the file the mark may be, in bytes.
const REACH: usize = 512;

/// The planted changes. Shares are fractions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plant {
    /// How much longer the time to first token is.
    pub(crate) prefill: f64,
    /// How much longer the gaps between tokens are.
    pub(crate) decode: f64,
    /// How much more memory is resident, in bytes.
    pub(crate) bytes: f64,
    /// By how much times vary from process to process.
    pub(crate) noise: f64,
    /// The seed of the noise, besides how often this probe was started.
    pub(crate) seed: u64,
    /// A behaviour, in place of the one named by the attention backend.
    pub(crate) behaviour: Option<String>,
}

impl Plant {
    /// The changes planted in the running executable.
    pub(crate) fn here() -> Plant {
        let exe = std::env::current_exe().expect("a running program has a file");
        let bytes = std::fs::read(&exe).expect("its file can be read");
        let end = &bytes[bytes.len().saturating_sub(REACH)..];
        let Some(at) = end.windows(MARK.len()).rposition(|window| window == MARK) else {
            return Plant::default();
        };
        let words = String::from_utf8_lossy(&end[at + MARK.len()..]).into_owned();
        let mut plant = Plant::default();
        for word in words.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, "0"));
            let number: f64 = value.parse().expect("what is planted is a number");
            match key {
                "prefill" => plant.prefill = number / 100.0,
                "decode" => plant.decode = number / 100.0,
                "noise" => plant.noise = number / 100.0,
                "bytes" => plant.bytes = number,
                "seed" => plant.seed = number as u64,
                behaviour => plant.behaviour = Some(behaviour.to_owned()),
            }
        }
        plant.noise *= luck(&exe, plant.seed);
        plant
    }
}

/// The luck of this process, between −1 and 1 and approximately normal: a function of the seed and
/// of how often the executable was started before.
fn luck(exe: &Path, seed: u64) -> f64 {
    let counter = exe.with_extension("started");
    let started: u64 =
        std::fs::read_to_string(&counter).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    std::fs::write(&counter, (started + 1).to_string()).expect("the folder of probes is writable");
    let mut state =
        seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ started.wrapping_mul(0xD1B5_4A32_D192_ED03);
    let mut uniform = || {
        // Steele, Lea and Flood 2014: SplitMix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    };
    (uniform() + uniform() + uniform()) / 1.5 - 1.0
}
