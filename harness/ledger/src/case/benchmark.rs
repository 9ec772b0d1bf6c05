//! [`Benchmark`]: what a case runs to measure a part of an engine instead of a model.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One benchmark of a criterion bench.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// The package of the bench.
    pub package: String,
    /// The name of the bench's cargo target.
    pub bench: String,
    /// Criterion's name for the benchmark. Until the bench is built and can list its benchmarks,
    /// this is a substring that their names must contain; empty for all.
    pub name: String,
}

impl Benchmark {
    /// The bench it belongs to: `package/bench`.
    #[must_use]
    pub fn target(&self) -> String {
        format!("{}/{}", self.package, self.bench)
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} of {}", self.name, self.target()))
    }
}
