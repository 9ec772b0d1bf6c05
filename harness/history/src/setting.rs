//! What may change results without being under test: the first other cause that a reader should
//! think of where a series changed.

use windtunnel_ledger::environment::{Environment, Machine};

/// A line `name value` for each fact of an environment that can change without making it another
/// machine. Unknown facts have no line.
#[must_use]
pub fn setting(environment: &Environment) -> String {
    let Machine { kernel, governor, turbo, container, .. } = &environment.machine;
    let gpu = environment.machine.gpus.first();
    let mut facts = vec![
        ("kernel", kernel.clone()),
        ("governor", governor.clone()),
        ("turbo", turbo.map(|turbo| turbo.to_string()).unwrap_or_default()),
        ("container", container.clone()),
        ("GPU-driver", gpu.map(|gpu| gpu.driver.clone()).unwrap_or_default()),
    ];
    if let Some(build) = &environment.build {
        facts.extend([
            ("rustc", build.rustc.clone()),
            ("candle", build.candle.clone()),
            ("profile", build.profile.clone()),
            ("target-cpu", build.target_cpu.clone()),
        ]);
        let kernels = build.kernels.iter().map(|(name, version)| (name.as_str(), version.clone()));
        facts.extend(kernels);
    }
    let lines = facts.iter().filter(|(_, value)| !value.is_empty());
    lines.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join("\n")
}

/// How two settings differ, for the facts known on both sides: `rustc 1.94.0 → 1.95.0`.
#[must_use]
pub fn differences(before: &str, after: &str) -> Vec<String> {
    let told = |setting: &str| -> Vec<(String, String)> {
        let pair = |line: &str| {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            (name.to_owned(), value.to_owned())
        };
        setting.lines().map(pair).collect()
    };
    let after = told(after);
    let other = |(name, value): (String, String)| {
        let (_, now) = after.iter().find(|(known, _)| *known == name)?;
        (*now != value).then(|| format!("{name} {value} → {now}"))
    };
    told(before).into_iter().filter_map(other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_ledger::environment::Build;

    #[test]
    fn what_changed_beside_the_code_is_told_and_what_is_unknown_is_not() {
        let mut environment = Environment {
            machine: Machine { kernel: "6.1".into(), ..Machine::default() },
            build: Some(Build { rustc: "1.94.0".into(), ..Build::default() }),
        };
        let before = setting(&environment);
        assert_eq!(before, "kernel 6.1\nrustc 1.94.0");
        environment.machine.governor = "performance".into();
        environment.build = Some(Build { rustc: "1.95.0".into(), ..Build::default() });
        assert_eq!(differences(&before, &setting(&environment)), ["rustc 1.94.0 → 1.95.0"]);
        environment.build = None;
        assert_eq!(differences(&before, &setting(&environment)), [""; 0]);
    }
}
