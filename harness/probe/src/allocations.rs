//! [`Counting`]: the probe's allocator, which counts allocations on demand.
//!
//! It forwards every call to the system's allocator. While counting is off, as it is whenever
//! something is timed, it costs one load of a flag.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// The system's allocator, with a counter.
pub struct Counting;

/// What was allocated since [`begin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocations {
    /// How many allocations.
    pub count: u64,
    /// Their bytes in total.
    pub bytes: u64,
    /// Peak of the bytes held, beyond those held at the beginning.
    pub highest: u64,
}

static COUNTS: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
/// Bytes held beyond those held at the beginning; negative when older ones were freed.
static HELD: AtomicI64 = AtomicI64::new(0);
static HIGHEST: AtomicI64 = AtomicI64::new(0);

/// Starts counting from zero.
pub fn begin() {
    COUNTS.store(false, Relaxed);
    COUNT.store(0, Relaxed);
    BYTES.store(0, Relaxed);
    HELD.store(0, Relaxed);
    HIGHEST.store(0, Relaxed);
    COUNTS.store(true, Relaxed);
}

/// Stops counting and returns the counts; none where this program has another allocator.
pub fn end() -> Option<Allocations> {
    let so_far = Allocations {
        count: COUNT.load(Relaxed),
        bytes: BYTES.load(Relaxed),
        highest: u64::try_from(HIGHEST.load(Relaxed)).unwrap_or(0),
    };
    // An allocation that must show up if this allocator is in use.
    drop(black_box(vec![0_u8; 1]));
    COUNTS.store(false, Relaxed);
    (COUNT.load(Relaxed) > so_far.count).then_some(so_far)
}

fn taken(bytes: usize) {
    COUNT.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes as u64, Relaxed);
    let held = HELD.fetch_add(bytes as i64, Relaxed) + bytes as i64;
    HIGHEST.fetch_max(held, Relaxed);
}

fn given_back(bytes: usize) {
    HELD.fetch_sub(bytes as i64, Relaxed);
}

// SAFETY: every call is forwarded to `System` unchanged, and its result is returned unchanged. The
// rest is arithmetic on atomics, which allocates nothing and cannot unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds the contract of the same call of `System`.
        let memory = unsafe { System.alloc(layout) };
        if COUNTS.load(Relaxed) && !memory.is_null() {
            taken(layout.size());
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds the contract of the same call of `System`.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if COUNTS.load(Relaxed) && !memory.is_null() {
            taken(layout.size());
        }
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller upholds the contract of the same call of `System`.
        let moved = unsafe { System.realloc(memory, layout, size) };
        if COUNTS.load(Relaxed) && !moved.is_null() {
            given_back(layout.size());
            taken(size);
        }
        moved
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if COUNTS.load(Relaxed) {
            given_back(layout.size());
        }
        // SAFETY: the caller upholds the contract of the same call of `System`.
        unsafe { System.dealloc(memory, layout) };
    }
}
