//! [`Recording`]: kernel launches captured as a CUDA graph, to be replayed in one go.
//!
//! Launching a kernel takes the host longer than most kernels of a decode take the GPU. A step with
//! the shapes of an earlier one launches the same kernels on the same memory, so they can be
//! launched together: <https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-graphs>.

use std::fmt;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::CudaGraph;
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use candle_core::{Device, Result, bail};

/// Launches that can be replayed.
pub(crate) struct Recording(CudaGraph);

// SAFETY: a graph may be used by any thread, one at a time; only `replay` uses it, and borrows it
// mutably.
unsafe impl Send for Recording {}

impl Recording {
    /// Calls `launches` once for real on `device`, then a second time to record without executing.
    /// Memory that it reads and has not allocated itself must exist whenever the recording is
    /// replayed; memory that it allocates must be dropped when it returns.
    ///
    /// The shapes that kernels read are cached by candle on the device, per calling thread. The
    /// thread must therefore live as long as the recording: one of rayon's pool does.
    ///
    /// # Errors
    ///
    /// When `launches` fails, waits for the device or reads from it, or the driver refuses. A
    /// device that cannot record allocations has still executed `launches` once.
    pub(crate) fn of(device: &Device, mut launches: impl FnMut() -> Result<()>) -> Result<Self> {
        let Device::Cuda(device) = device else { bail!("{device:?} records no launches") };
        let _kept = device.enable_cuda_graph_htod_cache();
        launches()?;
        let stream = device.cuda_stream();
        let context = stream.context();
        if !context.has_async_alloc() {
            bail!("a GPU without memory pools must be waited for whenever something is freed");
        }
        stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).w()?;
        let launched = launches();
        // The capture ends before any return: a capturing stream computes nothing. Errors from
        // drops are taken first, since cudarc would otherwise return them instead of ending the
        // capture.
        let dropped = context.check_err().w();
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let recorded = stream.end_capture(flags).w();
        launched?;
        dropped?;
        match recorded? {
            Some(graph) => Ok(Self(graph)),
            None => bail!("nothing was recorded"),
        }
    }

    /// Launches all of it again.
    ///
    /// # Errors
    ///
    /// When the driver refuses.
    pub(crate) fn replay(&mut self) -> Result<()> {
        self.0.launch().w()
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recording")
    }
}
