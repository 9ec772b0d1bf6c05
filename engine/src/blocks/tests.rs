//! The pool by itself: what is handed out, what is kept, what is evicted, what is noticed.

use super::*;

const BLOCK: usize = 2;

fn ids(ids: &[u32]) -> Vec<BlockId> {
    ids.iter().copied().map(BlockId).collect()
}

fn pool(blocks: u32) -> BlockPool {
    BlockPool::new(blocks, BLOCK)
}

/// Takes blocks for the whole blocks of `tokens`, beyond those that are found, and publishes them.
fn compute(pool: &mut BlockPool, tokens: &[u32]) -> Vec<BlockId> {
    let mut held = found(pool, tokens);
    pool.share(&held.clone());
    let known = held.len();
    assert!(pool.take(tokens.len() / BLOCK - known, &mut held));
    publish(pool, tokens, &held);
    held
}

fn publish(pool: &mut BlockPool, tokens: &[u32], held: &[BlockId]) {
    let mut names = Vec::new();
    for (index, &id) in held.iter().enumerate() {
        pool.name(tokens, index + 1, &mut names);
        pool.publish(id, tokens, &names);
    }
}

fn found(pool: &BlockPool, tokens: &[u32]) -> Vec<BlockId> {
    let mut names = Vec::new();
    pool.name(tokens, tokens.len() / BLOCK, &mut names);
    pool.find(tokens, &names)
}

/// Free, cached and used blocks.
fn counts(pool: &BlockPool) -> [usize; 3] {
    assert_eq!(pool.free() + pool.cached() + pool.used(), pool.total());
    [pool.free(), pool.cached(), pool.used()]
}

#[test]
fn blocks_are_taken_all_or_none() {
    let mut pool = pool(3);
    let mut a = Vec::new();
    assert!(pool.take(2, &mut a));
    assert_eq!(a, ids(&[0, 1]));
    assert!(!pool.take(2, &mut a));
    assert_eq!((a.len(), pool.free()), (2, 1));
}

#[test]
fn released_blocks_come_back_in_order() {
    let mut pool = pool(4);
    let mut a = Vec::new();
    assert!(pool.take(3, &mut a));
    pool.release(a.drain(..));
    assert!(pool.take(4, &mut a));
    assert_eq!(a, ids(&[0, 1, 2, 3]));
}

#[test]
fn a_prefix_is_found_as_far_as_it_is_the_same() {
    let mut pool = pool(8);
    let a = compute(&mut pool, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(found(&pool, &[1, 2, 3, 4, 9, 9]), a[..2]);
    assert_eq!(found(&pool, &[1, 2, 3]), a[..1]);
    // The same tokens behind other ones are something else.
    assert_eq!(found(&pool, &[3, 4, 5, 6]), []);
    assert_eq!(found(&pool, &[9, 9, 3, 4]), []);
}

#[test]
fn known_blocks_outlive_their_sequence_and_are_shared() {
    let mut pool = pool(4);
    let a = compute(&mut pool, &[1, 2, 3, 4]);
    pool.release(a.iter().copied());
    assert_eq!(counts(&pool), [2, 2, 0]);
    let b = compute(&mut pool, &[1, 2, 3, 4]);
    let c = compute(&mut pool, &[1, 2, 9, 9]);
    assert_eq!((&b, c[0]), (&a, a[0]));
    assert_eq!(counts(&pool), [1, 0, 3]);
    assert_eq!(pool.check_integrity([&b[..], &c[..]]), Ok(()));
    pool.release(b.into_iter());
    assert_eq!(counts(&pool), [1, 1, 2]);
    pool.release(c.into_iter());
    assert_eq!(counts(&pool), [1, 3, 0]);
}

#[test]
fn what_was_released_longest_ago_is_evicted_first_and_ends_before_beginnings() {
    let mut pool = pool(4);
    let a = compute(&mut pool, &[1, 2, 3, 4]);
    let b = compute(&mut pool, &[5, 6, 7, 8]);
    pool.release(a.iter().copied());
    pool.release(b.iter().copied());
    // A use makes young again.
    let again = compute(&mut pool, &[1, 2]);
    pool.release(again.into_iter());
    let mut taken = Vec::new();
    assert!(pool.take(4, &mut taken));
    assert_eq!(taken, [a[1], b[1], b[0], a[0]]);
    assert_eq!((pool.evictions(), counts(&pool)), (4, [0, 0, 4]));
    assert_eq!(found(&pool, &[1, 2]), []);
    assert_eq!(pool.check_integrity([&taken[..]]), Ok(()));
}

#[test]
fn free_blocks_go_before_cached_ones() {
    let mut pool = pool(3);
    let a = compute(&mut pool, &[1, 2]);
    pool.release(a.iter().copied());
    let mut taken = Vec::new();
    assert!(pool.take(2, &mut taken));
    assert_eq!((pool.evictions(), counts(&pool)), (0, [0, 1, 2]));
}

#[test]
fn content_that_is_published_twice_leaks_nothing() {
    let mut pool = pool(2);
    for _ in 0..100 {
        // Two sequences computed the same block at the same time, or one computed it again.
        let (mut a, mut b) = (Vec::new(), Vec::new());
        assert!(pool.take(1, &mut a) && pool.take(1, &mut b));
        publish(&mut pool, &[1, 2], &a);
        publish(&mut pool, &[1, 2], &b);
        publish(&mut pool, &[1, 2], &a);
        assert_eq!(found(&pool, &[1, 2]), a);
        assert_eq!(pool.check_integrity([&a[..], &b[..]]), Ok(()));
        pool.release(b.into_iter());
        pool.release(a.into_iter());
        assert_eq!(counts(&pool), [1, 1, 0]);
        assert_eq!(pool.check_integrity([]), Ok(()));
    }
}

#[test]
fn forgotten_blocks_stay_held_and_are_free_afterwards() {
    let mut pool = pool(3);
    let a = compute(&mut pool, &[1, 2, 3, 4]);
    pool.forget(&a);
    assert_eq!(found(&pool, &[1, 2]), []);
    assert_eq!(counts(&pool), [1, 0, 2]);
    pool.release(a.into_iter());
    assert_eq!(counts(&pool), [3, 0, 0]);
    assert_eq!(pool.check_integrity([]), Ok(()));
}

#[test]
fn only_blocks_that_nobody_can_share_may_be_written() {
    let mut pool = pool(2);
    let mut a = Vec::new();
    assert!(pool.take(1, &mut a));
    assert!(pool.is_exclusive(a[0]));
    publish(&mut pool, &[1, 2], &a);
    assert!(!pool.is_exclusive(a[0]));
}

#[test]
fn integrity_sees_a_leak_and_a_double_use() {
    let mut pool = pool(2);
    let mut a = Vec::new();
    assert!(pool.take(1, &mut a));
    assert_eq!(pool.check_integrity([&a[..]]), Ok(()));
    assert!(pool.check_integrity([]).is_err_and(|why| why.contains("held 0 times, but 1")));
    assert!(pool.check_integrity([&a[..], &a[..]]).is_err());
}
