//! [`Recording`]: what was asked of a GPU, to be asked again in one go, as a CUDA graph.
//!
//! To launch a kernel takes the host longer than most kernels of a decode take the GPU. A step that
//! has the shapes of an earlier one launches the same kernels on the same memory, so that they can be
//! launched together: <https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-graphs>.

use std::fmt;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::CudaGraph;
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use candle_core::{Device, Result, bail};

/// Launches that can be asked for again.
pub(crate) struct Recording(CudaGraph);

// SAFETY: a graph may be used by any thread, as long as it is by one at a time; nothing but `replay`
// uses it, which borrows it mutably.
unsafe impl Send for Recording {}

impl Recording {
    /// Does what `launches` asks of `device`, then records what it asks when it is called again, which
    /// is not done. Memory that it reads and has not allocated itself must be there whenever the
    /// recording is replayed; what it allocates, it must have dropped when it returns.
    ///
    /// What candle tells kernels of shapes is kept on the device for the thread that calls this, which
    /// must therefore live as long as the recording: a thread of rayon's pool does.
    ///
    /// # Errors
    ///
    /// When `launches` fails, waits for the device or reads from it, or the driver refuses. Where the
    /// device cannot record what is allocated, it has done what `launches` asks once all the same.
    pub(crate) fn of(device: &Device, mut launches: impl FnMut() -> Result<()>) -> Result<Self> {
        let Device::Cuda(device) = device else { bail!("{device:?} records no launches") };
        let _kept = device.enable_cuda_graph_htod_cache();
        launches()?;
        let stream = device.cuda_stream();
        let context = stream.context();
        if !context.has_async_alloc() {
            bail!("without pools of memory a GPU must be waited for whenever something is freed");
        }
        stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).w()?;
        let launched = launches();
        // Ended before anything is returned: a stream that records computes nothing. What failed where
        // something was dropped is asked for first, since cudarc returns it instead of ending anything.
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

    /// Asks for all of it again.
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
