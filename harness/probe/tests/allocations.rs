//! The allocator of the probe, as that of this program. One test: all threads of a program share it.

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
    // Held before: what is asked for now takes its place.
    let mut first = black_box(vec![2_u8; SIZE]);
    let zeroed = black_box(vec![0_u8; 2 * SIZE]);
    first.reserve_exact(SIZE);
    black_box(&mut first).push(3);
    drop(zeroed);
    drop(black_box(vec![4_u8; SIZE]));
    let counted = allocations::end().unwrap();

    // The harness of the tests may ask for a little beside.
    let near =
        |found: u64, expected: usize| (expected as u64..expected as u64 + 65536).contains(&found);
    assert!((4..100).contains(&counted.count), "{counted:?}");
    // 1 + 2 + 1 MiB, and the whole of what grew.
    assert!(near(counted.bytes, 6 * SIZE), "{counted:?}");
    // 2 and 2 MiB, less what was given back of before.
    assert!(near(counted.highest, 3 * SIZE), "{counted:?}");

    // What is written is read again wherever it lies.
    let mut numbers: Vec<u64> = Vec::new();
    (0..100_000).for_each(|number| numbers.push(number));
    assert!(numbers.iter().copied().eq(0..100_000));

    let before = allocations::end();
    assert_eq!(before, None, "nothing is counted any more");
}
