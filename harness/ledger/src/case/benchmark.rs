//! [`Benchmark`]: what a case runs that measures a part of an engine instead of a model.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One benchmark of a bench that is written with criterion.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// The package that the bench belongs to.
    pub package: String,
    /// The bench, as cargo names its target.
    pub bench: String,
    /// The benchmark, as criterion names it. Until the bench is built, and can tell which ones it
    /// has, this is what their names are to contain; empty for all.
    pub name: String,
}

impl Benchmark {
    /// The bench that it is one of: `package/bench`.
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
