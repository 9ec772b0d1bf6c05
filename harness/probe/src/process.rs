//! What this process knows of itself: how it was built, and the resources it holds and uses.

use windtunnel_ledger::environment::Build;
use windtunnel_ledger::{Bytes, Nanos};

/// How this probe was built.
#[must_use]
pub fn build() -> Build {
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
        target_cpu: env!("PROBE_TARGET_CPU").to_owned(),
        kernels: list(env!("PROBE_KERNELS"))
            .iter()
            .filter_map(|kernel| kernel.split_once(' '))
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .collect(),
    }
}

/// The peak resident set of this process so far, as counted by the kernel; none where the system
/// does not report it.
#[must_use]
pub fn peak_rss() -> Option<Bytes> {
    bytes(&status()?, "VmHWM:")
}

/// Resources that this process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Its resident set.
    pub rss: Bytes,
    /// Its threads.
    pub threads: u64,
    /// Its open files.
    pub files: u64,
}

/// The resources that this process holds now; none where the system does not report them.
#[must_use]
pub fn holdings() -> Option<Holdings> {
    let status = status()?;
    let threads = line(&status, "Threads:")?.parse().ok()?;
    // The listing always has one file open itself.
    let files = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(Holdings { rss: bytes(&status, "VmRSS:")?, threads, files })
}

/// CPU time of all threads of this process.
#[must_use]
pub fn cpu_time() -> Nanos {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Nanos::from_seconds(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

fn status() -> Option<String> {
    std::fs::read_to_string("/proc/self/status").ok()
}

fn line<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn bytes(status: &str, name: &str) -> Option<Bytes> {
    let kib: u64 = line(status, name)?.strip_suffix(" kB")?.trim().parse().ok()?;
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
        assert_eq!(build.kernels["candle-core"], build.candle);
        assert!(build.kernels.contains_key("gemm"), "{build:?}");
    }

    #[test]
    fn memory_is_read_from_the_kernels_words() {
        let status = "Name:\tx\nVmHWM:\t   12 kB\nVmRSS:\t 8 kB\nThreads:\t3\n";
        assert_eq!(bytes(status, "VmHWM:"), Some(Bytes(12 * 1024)));
        assert_eq!(bytes(status, "VmRSS:"), Some(Bytes(8 * 1024)));
        assert_eq!(line(status, "Threads:"), Some("3"));
        assert_eq!(bytes("Name:\tx\n", "VmHWM:"), None);
    }

    #[test]
    fn work_takes_time_on_a_processor_and_threads_are_counted() {
        let before = cpu_time();
        while cpu_time().since(before) == Nanos(0) {
            std::hint::black_box((0..1000).sum::<u64>());
        }
        if let Some(before) = holdings() {
            let (done, wait) = std::sync::mpsc::channel::<()>();
            let thread = std::thread::spawn(move || wait.recv().is_err());
            assert!(holdings().unwrap().threads > before.threads);
            assert!(before.rss > Bytes(0) && before.files >= 3);
            drop(done);
            assert!(thread.join().unwrap());
        }
    }
}
