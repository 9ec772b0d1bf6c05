//! The thread and its channels. Nothing here depends on speed: what must not happen is counted in
//! iterations of the loop, and what must happen first is held back by a gate.

use super::*;
use crate::engine::tests::{BLOCKS, Fault, engine, request};
use crate::request::Usage;
use crate::sampler::Rng;

/// A runtime whose model runs one pass per message that is sent, and runs freely once the sender is
/// dropped.
fn gated() -> (Runtime, Sender<()>) {
    let (gate, passes) = channel();
    (Runtime::start(engine(Some(Fault::Gate(passes)))).unwrap(), gate)
}

/// Reads until the channel closes: the tokens, and how the choices ended.
fn read(response: Response) -> (Vec<u32>, Vec<Finish>) {
    let (mut tokens, mut finishes) = (Vec::new(), Vec::new());
    for Stamped { event, .. } in response {
        match event {
            Event::Token { token, .. } => tokens.push(token),
            Event::Finished { finish, .. } => finishes.push(finish),
            Event::Queued { .. } | Event::PromptDone { .. } => {}
        }
    }
    (tokens, finishes)
}

fn used(client: &Client) -> (usize, usize, usize) {
    let stats = client.stats().unwrap();
    (stats.blocks_used, stats.running, stats.waiting)
}

#[test]
fn a_response_tells_everything_in_order_and_closes() {
    let runtime = Runtime::start(engine(None)).unwrap();
    let events: Vec<_> = runtime.client().submit(request(0, 5, 2)).unwrap().collect();
    assert!(events.is_sorted_by_key(|stamped| stamped.at));
    let events: Vec<_> = events.into_iter().map(|stamped| stamped.event).collect();
    let &[
        Event::Queued { request },
        _,
        Event::Token { token: a, .. },
        Event::Token { token: b, .. },
        _,
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    let usage = Usage { prompt: 5, cached: 0, generated: 2 };
    assert_eq!(
        events,
        [
            Event::Queued { request },
            Event::PromptDone { request, choice: 0, cached: 0 },
            Event::Token { request, choice: 0, token: a, logprobs: None },
            Event::Token { request, choice: 0, token: b, logprobs: None },
            Event::Finished { request, choice: 0, finish: Finish::Length, usage },
        ]
    );
}

#[test]
fn requests_from_many_threads_get_what_the_engine_alone_gives() {
    let runtime = Runtime::start(engine(None)).unwrap();
    let outputs: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|text| {
                let client = runtime.client();
                scope.spawn(move || read(client.submit(request(text, 3 + text, 6)).unwrap()))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (text, (tokens, finishes)) in (0..).zip(outputs) {
        let mut alone = engine(None);
        alone.submit(request(text, 3 + text, 6)).unwrap();
        let mut expected = Vec::new();
        while !alone.is_idle() {
            for event in alone.step().events {
                if let Event::Token { token, .. } = event {
                    expected.push(token);
                }
            }
        }
        assert_eq!((tokens, finishes), (expected, vec![Finish::Length]));
    }
}

#[test]
fn an_idle_thread_sleeps_and_wakes_for_work_from_another_thread() {
    let runtime = Runtime::start(engine(None)).unwrap();
    let client = runtime.client();
    for _ in 0..3 {
        // Answered by the loop itself, which afterwards has nothing more to do.
        client.stats().unwrap();
        let before = client.turns();
        thread::sleep(Duration::from_millis(60));
        assert_eq!(client.turns(), before, "the thread turned without being woken");
        let late = client.clone();
        let response = thread::spawn(move || late.submit(request(0, 5, 3)).unwrap()).join();
        let (tokens, finishes) = read(response.unwrap());
        assert_eq!((tokens.len(), finishes), (3, vec![Finish::Length]));
        // One iteration per step; the first also received the request.
        assert_eq!(client.turns(), before + 3);
    }
}

#[test]
fn a_cancelled_request_says_so_and_its_blocks_come_back() {
    let (runtime, gate) = gated();
    let client = runtime.client();
    let victim = client.submit(request(0, 9, 20)).unwrap();
    let other = client.submit(request(1, 9, 3)).unwrap();
    victim.canceller().cancel();
    victim.canceller().cancel();
    drop(gate);
    assert_eq!(read(victim).1, [Finish::Cancelled]);
    assert_eq!(read(other).1, [Finish::Length]);
    assert_eq!(used(&client), (0, 0, 0));
    runtime.shutdown(Pending::Finish).unwrap().check_integrity().unwrap();
}

#[test]
fn dropping_a_response_cancels_running_and_waiting_requests() {
    let (runtime, gate) = gated();
    let client = runtime.client();
    // One running for as long as the engine allows, then more than there are slots.
    let mut responses: Vec<_> =
        (0..6).map(|text| client.submit(request(text, 3, 8)).unwrap()).collect();
    let kept = responses.swap_remove(2);
    drop(responses);
    drop(gate);
    assert_eq!(read(kept).1, [Finish::Length]);
    assert_eq!(used(&client), (0, 0, 0));
    let stats = client.stats().unwrap();
    assert_eq!((stats.submitted, stats.finished), (6, 6));
    assert!(stats.decoded < 6 * 7, "those that nobody reads were computed to their end");
}

#[test]
fn all_choices_share_a_channel_that_closes_after_the_last_one() {
    let runtime = Runtime::start(engine(None)).unwrap();
    let asked = Request { choices: 3, ..request(0, 9, 4) };
    let (tokens, finishes) = read(runtime.client().submit(asked.clone()).unwrap());
    assert_eq!((tokens.len(), finishes), (12, vec![Finish::Length; 3]));
    let response = runtime.client().submit(Request { max_tokens: Some(30), ..asked }).unwrap();
    response.canceller().cancel();
    assert_eq!(read(response).1.len(), 3);
}

#[test]
fn one_choice_can_be_cancelled_while_the_others_go_on() {
    let (runtime, gate) = gated();
    let client = runtime.client();
    let asked = Request { choices: 3, ..request(0, 9, 12) };
    let response = client.submit(asked).unwrap();
    // One that is running, one that has ended, one that never existed.
    for choice in [1, 1, 3] {
        response.canceller().cancel_choice(choice);
    }
    drop(gate);
    let (tokens, finishes) = read(response);
    assert_eq!(finishes, [Finish::Cancelled, Finish::Length, Finish::Length]);
    assert!((24..=25).contains(&tokens.len()), "{} tokens", tokens.len());
    assert_eq!(used(&client), (0, 0, 0));
}

#[test]
fn refusals_come_from_the_caller_s_own_thread() {
    let (runtime, gate) = gated();
    let client = runtime.client();
    // The engine is in the middle of a pass, and these are answered all the same.
    let busy = client.submit(request(0, 5, 3)).unwrap();
    let refuse = |request| client.submit(request).map(drop).unwrap_err();
    assert!(matches!(refuse(request(0, 0, 3)), Error::EmptyPrompt));
    assert!(matches!(refuse(Request { choices: 0, ..request(0, 5, 3) }), Error::NoChoices));
    assert!(matches!(refuse(request(0, 64, 1)), Error::TooLong { tokens: 64, limit: 63 }));
    drop(gate);
    assert_eq!(read(busy).1, [Finish::Length]);
    assert_eq!(client.stats().unwrap().submitted, 1);
}

#[test]
fn a_failed_pass_closes_its_channels_and_spares_later_requests() {
    let runtime = Runtime::start(engine(Some(Fault::Error { pass: 1 }))).unwrap();
    let client = runtime.client();
    let (tokens, finishes) = read(client.submit(request(0, 5, 4)).unwrap());
    assert_eq!(tokens.len(), 1);
    assert!(matches!(&finishes[..], [Finish::Error(why)] if why.contains("meant to fail")));
    assert_eq!(used(&client), (0, 0, 0));
    assert_eq!(read(client.submit(request(0, 5, 4)).unwrap()).1, [Finish::Length]);
}

#[test]
fn nothing_is_left_of_many_requests_that_come_and_go() {
    let runtime = Runtime::start(engine(None)).unwrap();
    thread::scope(|scope| {
        for thread in 0..4u64 {
            let client = runtime.client();
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                for _ in 0..60 {
                    let [text, prompt, new, choices, fate] =
                        [8, 20, 12, 3, 4].map(|below| (rng.bits() % below) as u32);
                    let asked = request(text, 1 + prompt, 1 + new as usize);
                    let asked = Request { choices: 1 + choices as usize, ..asked };
                    let mut response = client.submit(asked).unwrap();
                    match fate {
                        0 => drop(response),
                        1 => response.canceller().cancel(),
                        2 => drop(response.nth(3)),
                        _ => assert_eq!(read(response).1.len(), 1 + choices as usize),
                    }
                }
            });
        }
    });
    let mut engine = runtime.shutdown(Pending::Finish).unwrap();
    engine.check_integrity().unwrap();
    let stats = engine.stats();
    assert_eq!((stats.finished, stats.blocks_used), (stats.submitted, 0));
    assert_eq!(stats.blocks_free + stats.blocks_cached, BLOCKS);
    assert!(stats.prefix.hits > 0 && stats.prefix.evictions > 0, "{stats:?}");
    assert_eq!(engine.step().events, []);
}

mod ends;
