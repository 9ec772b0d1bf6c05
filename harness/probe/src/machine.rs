//! What only this process knows: how it was built, and how much memory it has used.

use windtunnel_ledger::Bytes;
use windtunnel_ledger::environment::Build;

/// How this probe was built.
pub(crate) fn build() -> Build {
    let list = |text: &str| {
        let mut list: Vec<String> =
            text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        list.sort();
        list
    };
    Build {
        engine: env!("CARGO_PKG_VERSION").to_owned(),
        candle: env!("PROBE_CANDLE").to_owned(),
        rustc: env!("PROBE_RUSTC").to_owned(),
        profile: env!("PROBE_PROFILE").to_owned(),
        target: env!("PROBE_TARGET").to_owned(),
        target_features: list(env!("PROBE_TARGET_FEATURES")),
        features: list(env!("PROBE_FEATURES")),
    }
}

/// The highest resident set of this process so far, as the kernel counted it; none where the system
/// does not tell.
pub(crate) fn peak_rss() -> Option<Bytes> {
    parse_peak(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_peak(status: &str) -> Option<Bytes> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(Bytes(kib * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_is_known() {
        let build = build();
        for fact in [&build.candle, &build.rustc, &build.profile, &build.target, &build.engine] {
            assert!(!fact.is_empty(), "{build:?}");
        }
        assert!(build.rustc.starts_with('1'), "{}", build.rustc);
    }

    #[test]
    fn the_peak_is_read_from_the_kernels_words() {
        assert_eq!(
            parse_peak("Name:\tx\nVmHWM:\t   12 kB\nVmRSS:\t 8 kB\n"),
            Some(Bytes(12 * 1024))
        );
        assert_eq!(parse_peak("Name:\tx\n"), None);
    }
}
