//! How often the host waits for a device.
//!
//! An accelerator works behind the host: its work is queued. Only when its numbers are brought to
//! the host must everything in the queue be done. One such wait per step cannot be avoided, for its
//! tokens; each further one leaves the device idle for a while.

use std::cell::Cell;

use candle_core::{Device, Result, Tensor};

thread_local! {
    /// Waits of the step under way on this thread.
    static WAITS: Cell<u64> = const { Cell::new(0) };
}

/// Notes that the host waits for `device`, unless that is a CPU.
pub(crate) fn note_wait(device: &Device) {
    if !device.is_cpu() {
        WAITS.set(WAITS.get() + 1);
    }
}

/// `x` on the CPU.
pub(crate) fn to_host(x: &Tensor) -> Result<Tensor> {
    note_wait(x.device());
    x.to_device(&Device::Cpu)
}

/// The result of `run`, and how often the host waited for a device meanwhile.
pub(crate) fn waits_during<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let around = WAITS.take();
    let result = run();
    (result, WAITS.replace(around))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_a_cpu() {
        let x = Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap();
        let (y, waits) = waits_during(|| to_host(&x).unwrap());
        assert_eq!((y.to_vec1::<f32>().unwrap(), waits), (vec![1.0, 2.0], 0));
    }

    #[test]
    fn waits_in_the_midst_of_a_step_are_those_of_the_inner_one() {
        let wait = || WAITS.set(WAITS.get() + 1);
        let (inner, outer) = waits_during(|| {
            wait();
            let ((), inner) = waits_during(wait);
            wait();
            inner
        });
        assert_eq!((inner, outer), (1, 2));
        assert_eq!(waits_during(|| ()), ((), 0));
    }
}
