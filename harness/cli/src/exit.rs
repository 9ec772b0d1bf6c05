//! The exit codes of `windtunnel`. The README explains them to users.

/// Success.
pub(crate) const PASS: u8 = 0;
/// Something is worse by at least its margin.
pub(crate) const REGRESSED: u8 = 1;
/// A usage error, input that cannot be read, or something the machine refused (a full disk, a
/// network, a missing tool).
pub(crate) const USAGE: u8 = 2;
/// Something could not be decided where the policy requires a decision.
pub(crate) const INCONCLUSIVE: u8 = 3;
/// Nothing was measured or compared, or the two sides are incomparable. Never green.
pub(crate) const INVALID: u8 = 4;
/// Wrong output, a crash, a hang, out of memory, or a subject that does not build.
pub(crate) const BROKEN: u8 = 5;
/// A bug of ours.
pub(crate) const BUG: u8 = 70;
/// Another run is measuring on this machine, or writing to the same file.
pub(crate) const BUSY: u8 = 75;
