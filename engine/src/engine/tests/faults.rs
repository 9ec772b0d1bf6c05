//! Passes that fail, and logits that are NaN.

use super::*;
use crate::sampler::NoToken;

/// The answer of an otherwise idle `engine` to `request`.
fn answer(engine: &mut Engine, request: Request) -> (Vec<u32>, Option<Finish>) {
    let mut told = Told::default();
    let id = engine.submit(request).unwrap();
    told.run(engine);
    told.0.remove(&(id, 0)).unwrap()
}

#[test]
fn a_failed_pass_answers_its_sequences_and_the_engine_goes_on() {
    let expected = answer(&mut engine(None), request(1, 9, 4));
    for pass in 0..3 {
        let mut engine = engine(Some(Fault::Error { pass }));
        let ids = [0, 1].map(|text| engine.submit(request(text, 9, 4)).unwrap());
        let mut ended = Vec::new();
        while !engine.is_idle() {
            for event in engine.step().events {
                let Event::Finished { request, finish, usage, .. } = event else { continue };
                let why = format!("tensor operation failed: pass {pass} was meant to fail");
                assert_eq!(finish, Finish::Error(why));
                assert_eq!(usage, Usage { prompt: 9, cached: 0, generated: pass });
                ended.push(request);
            }
            engine.check_integrity().unwrap();
        }
        assert_eq!(ended, ids);
        assert_eq!(engine.stats().blocks_used, 0);
        // Blocks that the failed pass should have filled are not found; those filled earlier are.
        assert_eq!(answer(&mut engine, request(1, 9, 4)), expected);
        let found = if pass == 0 { 0 } else { 8 };
        assert_eq!(engine.stats().prefix.tokens, found);
    }
}

#[test]
fn logits_without_numbers_end_one_sequence_and_poison_no_other() {
    let expected = answer(&mut engine(None), request(1, 9, 4));
    let mut engine = engine(Some(Fault::Nan { pass: 1, rows: 1..2 }));
    let ids = [0, 1, 2].map(|text| engine.submit(request(text, 9, 4)).unwrap());
    let mut finishes = Vec::new();
    while !engine.is_idle() {
        for event in engine.step().events {
            if let Event::Finished { request, finish, .. } = event {
                finishes.push((request, finish));
            }
        }
        engine.check_integrity().unwrap();
    }
    let failure = Finish::Error(NoToken::NotFinite.to_string());
    let [a, b, c] = ids;
    assert_eq!(finishes, [(b, failure), (a, Finish::Length), (c, Finish::Length)]);
    let cached = engine.stats().blocks_cached;
    assert_eq!(answer(&mut engine, request(1, 9, 4)), expected);
    assert_eq!(engine.stats().prefix.tokens, 0, "its blocks were found");
    assert!(engine.stats().blocks_cached > cached);
}

#[test]
fn a_pass_without_any_numbers_ends_all_who_draw_and_spares_the_rest() {
    // The third is in the middle of its prompt, the fourth is waiting.
    let texts = [(0, 5), (1, 5), (2, 20), (3, 5)];
    let submit = |engine: &mut Engine| {
        texts.map(|(text, prompt)| engine.submit(request(text, prompt, 4)).unwrap())
    };
    let (mut healthy, mut expected) = (engine_of(16, None), Told::default());
    submit(&mut healthy);
    expected.run(&mut healthy);
    let mut engine = engine_of(16, Some(Fault::Nan { pass: 1, rows: 0..2 }));
    let [a, b, c, d] = submit(&mut engine);
    let mut told = Told::default();
    told.step(&mut engine);
    assert_eq!((engine.stats().running, engine.stats().waiting), (3, 1));
    told.run(&mut engine);
    let failure = Finish::Error(NoToken::NotFinite.to_string());
    for id in [a, b] {
        let (tokens, _) = &expected.0[&(id, 0)];
        assert_eq!(told.0[&(id, 0)], (tokens[..1].into(), Some(failure.clone())));
    }
    for id in [c, d] {
        assert_eq!(told.0[&(id, 0)], expected.0[&(id, 0)]);
    }
}

#[test]
fn a_step_without_room_says_what_to_do_and_what_was_known_of_memory_is_kept() {
    let expected = answer(&mut engine(None), request(1, 9, 4));
    let mut engine = engine(Some(Fault::OutOfMemory { pass: 1 }));
    let (_, finish) = answer(&mut engine, request(1, 9, 4));
    let Some(Finish::Error(why)) = finish else { panic!("{finish:?}") };
    let exhausted = engine.exhausted(&why).cloned().unwrap();
    assert_eq!(engine.exhausted("another failure"), None);
    insta::assert_snapshot!(exhausted, @"out of memory for a step; lower `max_step_tokens` or `max_sequences`, or make the cache smaller");
    // There is no accelerator to report on.
    assert!(exhausted.devices.is_empty());
    assert_eq!(answer(&mut engine, request(1, 9, 4)), expected);
}

#[test]
fn a_text_that_is_scored_without_room_fails_with_what_was_known_of_memory() {
    let failure = |fault| {
        let mut engine = engine(Some(fault));
        crate::score(&mut engine, request(1, 9, 1).prompt, 1, &mut |_, _| {}).unwrap_err()
    };
    let exhausted = failure(Fault::OutOfMemory { pass: 0 });
    assert!(matches!(exhausted, crate::Error::Exhausted(_)), "{exhausted:?}");
    let failed = failure(Fault::Error { pass: 0 });
    assert!(matches!(failed, crate::Error::Scoring(_)), "{failed:?}");
}

#[test]
fn a_step_on_a_cpu_waits_for_no_device() {
    let mut engine = engine(None);
    answer(&mut engine, request(1, 9, 4));
    assert!(engine.stats().steps > 0);
    assert_eq!(engine.stats().waits, 0);
}
