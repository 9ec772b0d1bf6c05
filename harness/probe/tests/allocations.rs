//! The probe's allocator, as the global one here. One test only: all threads share the counters.

use std::hint::black_box;

use windtunnel_probe::allocations::{self, Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn it_counts_what_is_asked_for_and_what_is_held_at_once() {
    const SIZE: usize = 1 << 20;
    let older = black_box(vec![1_u8; SIZE]);
    allocations::begin();
    drop(older);
    // It was held before `begin`, so freeing it offsets the next allocation.
    let mut first = black_box(vec![2_u8; SIZE]);
    let zeroed = black_box(vec![0_u8; 2 * SIZE]);
    first.reserve_exact(SIZE);
    black_box(&mut first).push(3);
    drop(zeroed);
    drop(black_box(vec![4_u8; SIZE]));
    let counted = allocations::end().unwrap();

    // The test harness may allocate a little too.
    let near =
        |found: u64, expected: usize| (expected as u64..expected as u64 + 65536).contains(&found);
    assert!((4..100).contains(&counted.count), "{counted:?}");
    // 1 + 2 + 1 MiB, and the full 2 MiB of the one that grew.
    assert!(near(counted.bytes, 6 * SIZE), "{counted:?}");
    // 2 + 2 MiB, minus the older 1 MiB that was freed.
    assert!(near(counted.highest, 3 * SIZE), "{counted:?}");

    // Reallocation keeps the contents.
    let mut numbers: Vec<u64> = Vec::new();
    (0..100_000).for_each(|number| numbers.push(number));
    assert!(numbers.iter().copied().eq(0..100_000));

    let before = allocations::end();
    assert_eq!(before, None, "nothing is counted any more");
}
