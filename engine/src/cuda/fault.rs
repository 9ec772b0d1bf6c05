//! [`Fault`]: what an error of the driver or its libraries means, and what to do about it.
//!
//! A pure function of the names of NVIDIA's result codes. The text of an error contains them,
//! whichever crates it came through.

use std::fmt;

/// What is wrong with a GPU, or with the software between it and this process. It displays as the
/// end of a sentence: the problem, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The driver is present but sees no GPU.
    NoGpu,
    /// There are GPUs, but none with this ordinal.
    NoSuchGpu,
    /// The driver library is a stub for linking, which does nothing.
    NoDriver,
    /// The driver is older than the CUDA of this build.
    DriverTooOld,
    /// The driver library and its kernel module have different versions.
    DriverMismatch,
    /// Another process has exclusive use of the GPU.
    Taken,
    /// The GPU, or the fabric that connects it to others, is not up yet.
    NotReady,
    /// The kernels of this build are for other GPUs.
    OtherGpu,
    /// The device has no memory left.
    OutOfMemory,
    /// A kernel crashed. This process can no longer use the GPU.
    Crashed,
    /// The GPU hardware is faulty.
    Hardware,
    /// Anything else, with the original text.
    Other(String),
}

/// The result codes with a known meaning, by the suffix of their names.
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
    // The driver cannot translate the PTX: it is for newer GPUs, or for one architecture only.
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

/// The prefixes of the names of CUDA's result codes.
const FAMILIES: [&str; 4] = ["CUDA_", "CUBLAS_", "CURAND_", "NVRTC_"];

impl Fault {
    /// The meaning of `complaint`, the text of an error; [`Other`](Self::Other) if it names no
    /// known result code.
    pub fn of(complaint: &str) -> Self {
        let known = result_in(complaint).and_then(|name| {
            NAMES.iter().find(|(end, _)| name.ends_with(end)).map(|(_, fault)| fault.clone())
        });
        known.unwrap_or_else(|| Self::Other(complaint.into()))
    }

    /// Whether the machine lacks the GPU or driver that was asked for, as opposed to failing to use
    /// it.
    pub const fn is_absence(&self) -> bool {
        matches!(self, Self::NoGpu | Self::NoSuchGpu | Self::NoDriver)
    }
}

/// The name of the first result code in `text`.
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
                "the `libcuda.so.1` that was found is a stub for linking, not a driver; remove `stubs` from LD_LIBRARY_PATH, or install the driver"
            }
            Self::DriverTooOld => {
                "its driver is older than the CUDA that this was built with; install a newer driver, or build with the CUDA that `nvidia-smi` names"
            }
            Self::DriverMismatch => {
                "the driver library and the kernel module have different versions; reboot, or reload the module"
            }
            Self::Taken => {
                "another process has exclusive use of it; end that process, or share the GPU with `nvidia-smi --compute-mode=DEFAULT`"
            }
            Self::NotReady => {
                "it is not ready yet; start `nvidia-fabricmanager`, or wait until `nvidia-smi` shows it"
            }
            Self::OtherGpu => {
                "this was built for other GPUs; build again with CUDA_COMPUTE_CAP set to what `nvidia-smi --query-gpu=compute_cap --format=csv` shows, without the point"
            }
            Self::OutOfMemory => {
                "it is out of memory; stop what else runs on it, or make the KV cache, the steps or the weights smaller"
            }
            Self::Crashed => {
                "a kernel crashed on it, and this process can no longer use it; start again, under `compute-sanitizer` to learn where it crashed"
            }
            Self::Hardware => {
                "it reports a hardware fault; look with `nvidia-smi --query --display=ECC`, and reset or replace it"
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

    /// The sentence for a driver's result code, in the form in which the error arrives.
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
        assert_snapshot!(told("CUDA_ERROR_STUB_LIBRARY"), @"the `libcuda.so.1` that was found is a stub for linking, not a driver; remove `stubs` from LD_LIBRARY_PATH, or install the driver");
        assert_snapshot!(told("CUDA_ERROR_UNSUPPORTED_PTX_VERSION"), @"its driver is older than the CUDA that this was built with; install a newer driver, or build with the CUDA that `nvidia-smi` names");
        assert_snapshot!(told("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"), @"the driver library and the kernel module have different versions; reboot, or reload the module");
        assert_snapshot!(told("CUDA_ERROR_DEVICE_UNAVAILABLE"), @"another process has exclusive use of it; end that process, or share the GPU with `nvidia-smi --compute-mode=DEFAULT`");
        assert_snapshot!(told("CUDA_ERROR_SYSTEM_NOT_READY"), @"it is not ready yet; start `nvidia-fabricmanager`, or wait until `nvidia-smi` shows it");
        assert_snapshot!(told("CUDA_ERROR_NO_BINARY_FOR_GPU"), @"this was built for other GPUs; build again with CUDA_COMPUTE_CAP set to what `nvidia-smi --query-gpu=compute_cap --format=csv` shows, without the point");
        assert_snapshot!(told("CUDA_ERROR_OUT_OF_MEMORY"), @"it is out of memory; stop what else runs on it, or make the KV cache, the steps or the weights smaller");
        assert_snapshot!(told("CUDA_ERROR_ILLEGAL_ADDRESS"), @"a kernel crashed on it, and this process can no longer use it; start again, under `compute-sanitizer` to learn where it crashed");
        assert_snapshot!(told("CUDA_ERROR_ECC_UNCORRECTABLE"), @"it reports a hardware fault; look with `nvidia-smi --query --display=ECC`, and reset or replace it");
        assert_snapshot!(told("CUDA_ERROR_UNKNOWN"), @r#"DriverError(CUDA_ERROR_UNKNOWN, "some words"); see whether `nvidia-smi` works, and whether its CUDA is that of this build"#);
    }

    #[test]
    fn a_result_is_found_wherever_it_stands_and_nothing_else_is_taken_for_one() {
        let found = Fault::of("cannot load: CublasError(CUBLAS_STATUS_ALLOC_FAILED)");
        assert_eq!(found, Fault::OutOfMemory);
        assert_eq!(Fault::of("CUDA_ERROR_OUT_OF_MEMORY"), Fault::OutOfMemory);
        let found = "DriverError(CUDA_ERROR_INVALID_PTX, \"…\") when loading cast_f32_bf16";
        assert_eq!(Fault::of(found), Fault::OtherGpu);
        // A longer name is a different result code.
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
