//! Faults that are planted on purpose: regressions that really happened upstream, and others that a
//! gate must find, each as close to the original as this engine allows.
//!
//! They exist only with the feature `faults`, and do nothing until [`plant`](plant)ed, by name and
//! once per process. Without the feature [`is_planted`] is constant, so nothing of them remains in
//! the code: a test has the compiler confirm that. What a fault does is in [`regressions`]; in the
//! engine itself a single line calls it.

mod regressions;
#[cfg(any(test, feature = "faults"))]
mod words;

pub(crate) use regressions::*;

/// Whether `fault` was planted in this process.
#[cfg(not(feature = "faults"))]
pub(crate) const fn is_planted(_: Fault) -> bool {
    false
}

#[cfg(feature = "faults")]
pub(crate) use planted::is_planted;
#[cfg(feature = "faults")]
pub use planted::{amount, plant};
#[cfg(any(test, feature = "faults"))]
pub use words::Unplantable;

/// How the amount of a fault is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// It is there or not.
    Whole,
    /// Per cent: `decode=5`.
    Percent,
    /// MiB: `mebibytes=64`.
    Mebibytes,
}

/// The one list of faults: a sentence, the variant, the name, and the measure.
macro_rules! faults {
    ($(#[doc = $about:literal] $fault:ident = $name:literal $measure:ident,)+) => {
        /// What can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $(#[doc = $about] $fault,)+
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &[Self] = &[$(Self::$fault),+];

            /// The word that plants it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$fault => $name),+ }
            }

            /// What it does, in a sentence.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$fault => $about.trim_ascii()),+ }
            }

            /// How much of it is asked for.
            pub const fn measure(self) -> Measure {
                match self { $(Self::$fault => Measure::$measure),+ }
            }
        }
    };
}

faults! {
    /// While sequences of unequal length run, all but the oldest are preempted in every step.
    RecomputeThrash = "recompute-thrash" Whole,
    /// The most likely token is found by sorting the whole vocabulary.
    SortedVocabulary = "sorted-vocabulary" Whole,
    /// In a batch of decodes on the CPU, every sequence gets the attention output of the last one.
    LastRow = "last-row" Whole,
    /// Weight files are read into memory completely instead of being mapped.
    LostMmap = "lost-mmap" Whole,
    /// A block with known content leaks a reference whenever the same content is published again.
    LeakedBlocks = "leaked-blocks" Whole,
    /// Special tokens of a GGUF file are added to its tokenizer one by one.
    TokensOneByOne = "tokens-one-by-one" Whole,
    /// Queries travel to the first device and back in every call of attention.
    SyncPerAttention = "sync-per-attention" Whole,
    /// The thread of an idle engine polls for work in a busy loop instead of sleeping.
    BusyIdle = "busy-idle" Whole,
    /// The thread of an idle engine sleeps through a message until the next one arrives.
    LostWakeUp = "lost-wake-up" Whole,
    /// Every chosen token is written to stdout.
    PrintedTokens = "printed-tokens" Whole,
    /// Norms are computed operation by operation, as if a dependency had lost its kernel for them.
    SlowNorm = "slow-norm" Whole,
    /// The build lacks the attention kernel of one dtype, which shows only on its first call.
    MissingKernel = "missing-kernel" Whole,
    /// A sequence that lacks blocks is preempted itself, even the oldest, instead of the youngest.
    OldestFirst = "oldest-first" Whole,
    /// Once a sliding window is full, its oldest quarter is lost.
    ShortWindow = "short-window" Whole,
    /// Activations run on a separate thread pool, beside the one of the matrix products.
    WrongPool = "wrong-pool" Whole,
    /// Every step that mostly decodes takes the given per cent longer.
    SlowDecode = "decode" Percent,
    /// Every step that mostly computes prompts takes the given per cent longer.
    SlowPrefill = "prefill" Percent,
    /// The given number of MiB is held for nothing.
    Ballast = "mebibytes" Mebibytes,
    /// The first token of every answer is replaced by another.
    WrongToken = "wrong-token" Whole,
}

#[cfg(feature = "faults")]
mod planted {
    use std::sync::OnceLock;

    use super::Fault;
    use super::words::{Amounts, Unplantable, read};

    static PLANTED: OnceLock<Amounts> = OnceLock::new();

    /// Plants the faults that `words` name, for the life of this process: `lost-mmap`, `decode=5
    /// mebibytes=64`.
    ///
    /// # Errors
    ///
    /// [`Unplantable`] when a word is not a fault, or something was planted before.
    pub fn plant(words: &str) -> Result<(), Unplantable> {
        PLANTED.set(read(words)?).map_err(|_| Unplantable::Twice)
    }

    /// The planted amount of `fault`, in its own measure; `None` if it is not planted.
    pub fn amount(fault: Fault) -> Option<f64> {
        let amount = PLANTED.get()?[fault as usize];
        (amount > 0.0).then_some(amount)
    }

    /// Whether `fault` was planted in this process.
    pub(crate) fn is_planted(fault: Fault) -> bool {
        amount(fault).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_names_of_their_own_and_sentences() {
        for (place, fault) in Fault::ALL.iter().enumerate() {
            assert_eq!(*fault as usize, place);
            let same = Fault::ALL.iter().filter(|other| other.name() == fault.name());
            assert_eq!(same.count(), 1, "{}", fault.name());
            let about = fault.about();
            assert!(about.ends_with('.') && !about.starts_with(' '), "{about}");
        }
    }

    /// The compiler knows the answer, so it removes whatever depends on it.
    #[test]
    #[cfg(not(feature = "faults"))]
    fn without_the_feature_nothing_can_be_planted_and_the_compiler_knows() {
        const { assert!(!is_planted(Fault::LastRow) && !is_planted(Fault::WrongToken)) };
    }
}
