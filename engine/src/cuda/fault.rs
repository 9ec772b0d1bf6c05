//! [`Fault`]: what a complaint of driver or libraries means, and what to do about it.
//!
//! A pure function of the names that NVIDIA gives its results. They stand in the text of an error,
//! whichever crates it came through.

use std::fmt;

/// What is wrong with a GPU, or with what lies between it and this process. Shown, it is the rest of
/// a sentence: what is the matter, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The driver is there and sees no GPU.
    NoGpu,
    /// There are GPUs, but none of this number.
    NoSuchGpu,
    /// The library of the driver is one that was made to be linked to, and does nothing.
    NoDriver,
    /// The driver is older than the CUDA that this was built with.
    DriverTooOld,
    /// The library of the driver and its part in the kernel are of two versions.
    DriverMismatch,
    /// Another process has the GPU for itself.
    Taken,
    /// The GPU, or what connects it with others, is not up yet.
    NotReady,
    /// The kernels in this build are for other GPUs.
    OtherGpu,
    /// The device has no room.
    OutOfMemory,
    /// A kernel did what it must not. Nothing works on the GPU any more in this process.
    Crashed,
    /// The GPU itself is at fault.
    Hardware,
    /// Anything else, in the words of whoever complained.
    Other(String),
}

/// The results that mean something to a person, by the end of their names.
const NAMES: &[(&str, Fault)] = &[
    ("ERROR_NO_DEVICE", Fault::NoGpu),
    ("ERROR_INVALID_DEVICE", Fault::NoSuchGpu),
    ("ERROR_STUB_LIBRARY", Fault::NoDriver),
    ("ERROR_INSUFFICIENT_DRIVER", Fault::DriverTooOld),
    ("ERROR_CALL_REQUIRES_NEWER_DRIVER", Fault::DriverTooOld),
    ("ERROR_UNSUPPORTED_PTX_VERSION", Fault::DriverTooOld),
    ("ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", Fault::DriverTooOld),
    ("ERROR_SYSTEM_DRIVER_MISMATCH", Fault::DriverMismatch),
    ("ERROR_DEVICE_UNAVAILABLE", Fault::Taken),
    ("ERROR_SYSTEM_NOT_READY", Fault::NotReady),
    ("ERROR_NO_BINARY_FOR_GPU", Fault::OtherGpu),
    ("ERROR_INVALID_IMAGE", Fault::OtherGpu),
    // A driver that cannot translate assembly, because it is for later GPUs or for one generation alone.
    ("ERROR_INVALID_PTX", Fault::OtherGpu),
    ("STATUS_ARCH_MISMATCH", Fault::OtherGpu),
    ("ERROR_OUT_OF_MEMORY", Fault::OutOfMemory),
    ("STATUS_ALLOC_FAILED", Fault::OutOfMemory),
    ("STATUS_ALLOCATION_FAILED", Fault::OutOfMemory),
    ("ERROR_ILLEGAL_ADDRESS", Fault::Crashed),
    ("ERROR_MISALIGNED_ADDRESS", Fault::Crashed),
    ("ERROR_ILLEGAL_INSTRUCTION", Fault::Crashed),
    ("ERROR_INVALID_ADDRESS_SPACE", Fault::Crashed),
    ("ERROR_INVALID_PC", Fault::Crashed),
    ("ERROR_ASSERT", Fault::Crashed),
    ("ERROR_LAUNCH_FAILED", Fault::Crashed),
    ("ERROR_LAUNCH_TIMEOUT", Fault::Crashed),
    ("ERROR_ECC_UNCORRECTABLE", Fault::Hardware),
    ("ERROR_NVLINK_UNCORRECTABLE", Fault::Hardware),
    ("ERROR_HARDWARE_STACK_ERROR", Fault::Hardware),
];

/// What begins the names of CUDA's results.
const FAMILIES: [&str; 4] = ["CUDA_", "CUBLAS_", "CURAND_", "NVRTC_"];

impl Fault {
    /// What `complaint` means, which is the text of an error; [`Other`](Self::Other) if it names
    /// no result that is known here.
    pub fn of(complaint: &str) -> Self {
        let known = result_in(complaint).and_then(|name| {
            NAMES.iter().find(|(end, _)| name.ends_with(end)).map(|(_, fault)| fault.clone())
        });
        known.unwrap_or_else(|| Self::Other(complaint.into()))
    }

    /// Whether the machine lacks what was asked for, as opposed to failing at it.
    pub const fn is_absence(&self) -> bool {
        matches!(self, Self::NoGpu | Self::NoSuchGpu | Self::NoDriver)
    }
}

/// The name of the first result in `text`.
fn result_in(text: &str) -> Option<&str> {
    let begin = FAMILIES.iter().filter_map(|family| text.find(family)).min()?;
    let name = &text[begin..];
    let end = name.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    Some(&name[..end.unwrap_or(name.len())])
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoGpu => {
                "the driver sees no GPU here; look with `nvidia-smi`, give the container its GPUs (`--gpus all`), or choose `cpu:0`"
            }
            Self::NoSuchGpu => {
                "there are fewer GPUs here; `nvidia-smi --list-gpus` counts them from 0"
            }
            Self::NoDriver => {
                "the library `libcuda.so.1` that was found is one to link with and no driver; take `stubs` out of LD_LIBRARY_PATH, or install the driver"
            }
            Self::DriverTooOld => {
                "its driver is older than the CUDA that this was built with; install a newer driver, or build with the CUDA that `nvidia-smi` names"
            }
            Self::DriverMismatch => {
                "the library of its driver and the module in the kernel differ; reboot, or load the module again"
            }
            Self::Taken => {
                "another process has it for itself; end that one, or share it with `nvidia-smi --compute-mode=DEFAULT`"
            }
            Self::NotReady => {
                "it is not ready yet; start `nvidia-fabricmanager`, or wait until `nvidia-smi` shows it"
            }
            Self::OtherGpu => {
                "this was built for other GPUs; build again with CUDA_COMPUTE_CAP set to what `nvidia-smi --query-gpu=compute_cap --format=csv` shows, without the point"
            }
            Self::OutOfMemory => {
                "it is out of memory; end what else runs on it, or make cache, step or weights smaller"
            }
            Self::Crashed => {
                "a kernel failed on it, and nothing can be computed on it by this process any more; start again, and under `compute-sanitizer` to learn where"
            }
            Self::Hardware => {
                "it reports a fault of its hardware; look with `nvidia-smi --query --display=ECC`, and reset or replace it"
            }
            Self::Other(complaint) => {
                return write!(
                    f,
                    "{complaint}; see whether `nvidia-smi` works, and whether its CUDA is that of this build"
                );
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    /// The sentence for a driver's result, in the form in which it arrives.
    fn told(name: &str) -> String {
        Fault::of(&format!("DriverError({name}, \"some words\")")).to_string()
    }

    #[test]
    fn every_known_result_is_a_sentence_that_says_what_to_do() {
        for (end, fault) in NAMES {
            for family in FAMILIES {
                assert_eq!(Fault::of(&format!("DriverError({family}{end}, \"…\")")), *fault);
            }
            let sentence = fault.to_string();
            let (problem, remedy) = sentence.split_once("; ").unwrap();
            assert!(!problem.is_empty() && !remedy.ends_with('.'), "{sentence}");
            assert!(!sentence.contains('\n') && !sentence.contains("ERROR_"), "{sentence}");
        }
    }

    #[test]
    fn the_sentences() {
        assert_snapshot!(told("CUDA_ERROR_NO_DEVICE"), @"the driver sees no GPU here; look with `nvidia-smi`, give the container its GPUs (`--gpus all`), or choose `cpu:0`");
        assert_snapshot!(told("CUDA_ERROR_INVALID_DEVICE"), @"there are fewer GPUs here; `nvidia-smi --list-gpus` counts them from 0");
        assert_snapshot!(told("CUDA_ERROR_STUB_LIBRARY"), @"the library `libcuda.so.1` that was found is one to link with and no driver; take `stubs` out of LD_LIBRARY_PATH, or install the driver");
        assert_snapshot!(told("CUDA_ERROR_UNSUPPORTED_PTX_VERSION"), @"its driver is older than the CUDA that this was built with; install a newer driver, or build with the CUDA that `nvidia-smi` names");
        assert_snapshot!(told("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"), @"the library of its driver and the module in the kernel differ; reboot, or load the module again");
        assert_snapshot!(told("CUDA_ERROR_DEVICE_UNAVAILABLE"), @"another process has it for itself; end that one, or share it with `nvidia-smi --compute-mode=DEFAULT`");
        assert_snapshot!(told("CUDA_ERROR_SYSTEM_NOT_READY"), @"it is not ready yet; start `nvidia-fabricmanager`, or wait until `nvidia-smi` shows it");
        assert_snapshot!(told("CUDA_ERROR_NO_BINARY_FOR_GPU"), @"this was built for other GPUs; build again with CUDA_COMPUTE_CAP set to what `nvidia-smi --query-gpu=compute_cap --format=csv` shows, without the point");
        assert_snapshot!(told("CUDA_ERROR_OUT_OF_MEMORY"), @"it is out of memory; end what else runs on it, or make cache, step or weights smaller");
        assert_snapshot!(told("CUDA_ERROR_ILLEGAL_ADDRESS"), @"a kernel failed on it, and nothing can be computed on it by this process any more; start again, and under `compute-sanitizer` to learn where");
        assert_snapshot!(told("CUDA_ERROR_ECC_UNCORRECTABLE"), @"it reports a fault of its hardware; look with `nvidia-smi --query --display=ECC`, and reset or replace it");
        assert_snapshot!(told("CUDA_ERROR_UNKNOWN"), @r#"DriverError(CUDA_ERROR_UNKNOWN, "some words"); see whether `nvidia-smi` works, and whether its CUDA is that of this build"#);
    }

    #[test]
    fn a_result_is_found_wherever_it_stands_and_nothing_else_is_taken_for_one() {
        let found = Fault::of("cannot load: CublasError(CUBLAS_STATUS_ALLOC_FAILED)");
        assert_eq!(found, Fault::OutOfMemory);
        assert_eq!(Fault::of("CUDA_ERROR_OUT_OF_MEMORY"), Fault::OutOfMemory);
        let found = "DriverError(CUDA_ERROR_INVALID_PTX, \"…\") when loading cast_f32_bf16";
        assert_eq!(Fault::of(found), Fault::OtherGpu);
        // A longer name is another result.
        for complaint in ["CUDA_ERROR_NO_DEVICE_AT_ALL", "shape mismatch", "out of memory", ""] {
            assert_eq!(Fault::of(complaint), Fault::Other(complaint.into()));
        }
    }

    #[test]
    fn only_what_is_not_there_is_absent() {
        let absent = NAMES.iter().filter(|(_, fault)| fault.is_absence()).map(|(name, _)| *name);
        let absent: Vec<_> = absent.collect();
        assert_eq!(absent, ["ERROR_NO_DEVICE", "ERROR_INVALID_DEVICE", "ERROR_STUB_LIBRARY"]);
    }
}
