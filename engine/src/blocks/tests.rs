//! The pool by itself: allocation, caching, eviction, and integrity checks.

use super::*;

const BLOCK: usize = 2;

fn ids(ids: &[u32]) -> Vec<BlockId> {
    ids.iter().copied().map(BlockId).collect()
}

thread_local! {
    static NAMER: Namer = Namer::default();
}

/// The names of the full blocks of `tokens`.
fn names(tokens: &[u32]) -> Vec<Prefix> {
    let mut names = Vec::new();
    for tokens in tokens.chunks_exact(BLOCK) {
        names.push(NAMER.with(|namer| namer.name(names.last().copied(), tokens)));
    }
    names
}

fn pool(blocks: usize) -> BlockPool {
    BlockPool::new(PoolSize { reach: Reach::Everything, blocks }, BLOCK)
}

/// Takes blocks for the full blocks of `tokens` that are not found, and publishes them.
fn compute(pool: &mut BlockPool, tokens: &[u32]) -> Vec<BlockId> {
    let mut held = found(pool, tokens);
    pool.share(&held.clone());
    let known = held.len();
    assert!(pool.take(tokens.len() / BLOCK - known, &mut held));
    publish(pool, tokens, &held);
    held
}

fn publish(pool: &mut BlockPool, tokens: &[u32], held: &[BlockId]) {
    for (at, &id) in held.iter().enumerate() {
        pool.publish(id, at, tokens, &names(tokens));
    }
}

fn found(pool: &BlockPool, tokens: &[u32]) -> Vec<BlockId> {
    let names = names(tokens);
    let usable = pool.usable(tokens, &names, names.len());
    (0..usable).map(|at| pool.find(tokens, &names, at).unwrap()).collect()
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
    // The same tokens after a different prefix are something else.
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
    // A use moves it to the end of the eviction order.
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
    pool.forget(&names(&[1, 2, 3, 4]));
    assert_eq!(found(&pool, &[1, 2]), []);
    assert_eq!(counts(&pool), [1, 0, 2]);
    pool.release(a.into_iter());
    assert_eq!(counts(&pool), [3, 0, 0]);
    assert_eq!(pool.check_integrity([]), Ok(()));
}

#[test]
fn forgotten_blocks_that_nobody_holds_are_free_at_once() {
    let mut pool = pool(3);
    let a = compute(&mut pool, &[1, 2, 3, 4]);
    pool.release(a.into_iter());
    pool.forget(&names(&[1, 2]));
    assert_eq!(found(&pool, &[1, 2, 3, 4]), []);
    assert_eq!(counts(&pool), [2, 1, 0]);
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

/// A cache with an unlimited pool of `everything` blocks and a windowed one of `windowed` blocks.
fn pools(everything: usize, window: usize, windowed: usize) -> Pools {
    let size = |reach, blocks| PoolSize { reach, blocks };
    let pools = vec![size(Reach::Everything, everything), size(Reach::Window(window), windowed)];
    Pools::new(Capacity { block: BLOCK, step_tokens: 100, pools })
}

/// A sequence of `tokens` that is computed in steps of two and releases what it no longer sees.
fn slide_through(pools: &mut Pools, tokens: &[u32]) -> Vec<Held> {
    let (mut held, mut names) = (pools.nothing(), Vec::new());
    pools.name(tokens, tokens.len() / BLOCK, &mut names);
    for computed in (BLOCK..=tokens.len()).step_by(BLOCK) {
        assert!(pools.take(&mut held, Stride { known: tokens.len(), computed }));
        pools.publish(&held, computed / BLOCK - 1, tokens, &names);
        pools.slide(&mut held, computed);
    }
    assert_eq!(pools.check_integrity(&[&held]), Ok(()));
    held
}

fn counted(text: u32, tokens: u32) -> Vec<u32> {
    (0..tokens).map(|at| 100 * text + at).collect()
}

/// How many leading blocks of `tokens` need not be computed.
fn usable(pools: &Pools, tokens: &[u32]) -> usize {
    let mut names = Vec::new();
    pools.name(tokens, tokens.len() / BLOCK, &mut names);
    let (blocks, held) = pools.find(tokens, &names);
    for (pool, held) in pools.iter().zip(held) {
        assert_eq!((held.gone, held.end()), (pool.first_needed(blocks * BLOCK), blocks));
    }
    blocks
}

#[test]
fn a_window_holds_what_the_next_token_sees() {
    let mut pools = pools(10, 5, 4);
    let held = slide_through(&mut pools, &counted(1, 20));
    // The token at 20 sees from 16 on, and so does every later one.
    assert_eq!((held[0].gone, held[0].blocks.len()), (0, 10));
    assert_eq!((held[1].gone, held[1].blocks.len()), (8, 2));
    assert_eq!(pools.iter().map(BlockPool::peak).collect::<Vec<_>>(), [10, 3]);
}

#[test]
fn blocks_are_taken_in_all_pools_or_in_none() {
    for [everything, windowed] in [[4, 1], [1, 4]] {
        let mut pools = pools(everything, 5, windowed);
        let mut held = pools.nothing();
        assert!(!pools.take(&mut held, Stride { known: 4, computed: 4 }));
        assert_eq!((held, pools.used()), (pools.nothing(), 0));
    }
}

#[test]
fn a_sequence_that_begins_anew_lets_go_of_its_window() {
    let mut pools = pools(10, 5, 4);
    let mut held = slide_through(&mut pools, &counted(1, 20));
    pools.slide(&mut held, 0);
    assert_eq!([held[0].blocks.len(), held[1].blocks.len()], [10, 0]);
    assert!(pools.take(&mut held, Stride { known: 20, computed: 8 }));
    assert_eq!((held[1].gone, held[1].blocks.len()), (0, 4));
    pools.release(&mut held);
    assert_eq!((held, pools.used()), (pools.nothing(), 0));
}

#[test]
fn a_beginning_is_usable_where_every_window_has_its_blocks() {
    let mut pools = pools(40, 5, 6);
    let text = counted(1, 20);
    let mut held = slide_through(&mut pools, &text);
    assert_eq!(usable(&pools, &text), 10);
    // Blocks that left the window are still known: six of ten, and a prefix needs its last two.
    let usable_up_to: Vec<_> =
        (0..=10).map(|blocks| usable(&pools, &text[..blocks * BLOCK])).collect();
    assert_eq!(usable_up_to, [0, 0, 0, 0, 0, 0, 6, 7, 8, 9, 10]);
    // Another text takes over the window blocks of the first one, and leaves the others alone.
    pools.release(&mut held);
    let mut other = slide_through(&mut pools, &counted(2, 8));
    assert!(pools.evictions() > 0);
    let after: Vec<_> = (0..=10).map(|blocks| usable(&pools, &text[..blocks * BLOCK])).collect();
    assert_eq!(after, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);
    pools.release(&mut other);
    assert_eq!(pools.check_integrity(&[]), Ok(()));
}

#[test]
fn what_is_forgotten_is_forgotten_behind_the_window_too() {
    let mut pools = pools(40, 5, 12);
    let text = counted(1, 20);
    let mut held = slide_through(&mut pools, &text);
    let mut names = Vec::new();
    pools.name(&text, 10, &mut names);
    pools.forget(&names);
    assert_eq!((usable(&pools, &text), pools.cached()), (0, 0));
    pools.release(&mut held);
    assert_eq!((pools.used(), pools.free()), (0, 52));
}

#[test]
fn one_sequence_needs_what_its_window_and_its_step_touch() {
    let capacity = |blocks| Capacity {
        block: 4,
        step_tokens: 6,
        pools: vec![PoolSize { reach: Reach::Window(5), blocks }],
    };
    // Four visible tokens and six computed ones, starting anywhere in a block.
    assert!(capacity(4).check(1000).is_ok());
    assert!(capacity(3).check(12).is_ok());
    let refusal = capacity(3).check(1000).unwrap_err().to_string();
    insta::assert_snapshot!(refusal, @"the request needs 10 cached tokens (4 blocks of 4), but the cache has 3 blocks; set `max_tokens` lower, lower `max_sequence_length`, or raise `kv_tokens`");
}
