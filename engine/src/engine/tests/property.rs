//! Random arrivals, cancellations and faults with real tensors in a small pool: a sequence that
//! ends by length has the tokens of an undisturbed run, every other one a prefix of them, and later
//! requests behave as if nothing had happened.

use proptest::prelude::*;

use super::*;

/// A request, and what happens after it.
#[derive(Debug, Clone)]
struct Arrival {
    text: u32,
    prompt: u32,
    new: usize,
    choices: usize,
    /// Steps before the next arrival.
    pause: usize,
    /// Which of the requests so far is cancelled then, if any.
    cancels: Option<(prop::sample::Index, Withdrawn)>,
}

#[derive(Debug, Clone)]
enum Withdrawn {
    Whole,
    Choice(usize),
}

impl Arrival {
    fn request(&self) -> Request {
        let Self { text, prompt, new, choices, .. } = *self;
        let sampling = Sampling { temperature: 1.0, seed: new as u64, ..Sampling::GREEDY };
        Request { sampling, choices, ..request(text, prompt, new) }
    }
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let withdrawn = prop_oneof![Just(Withdrawn::Whole), (0..3usize).prop_map(Withdrawn::Choice)];
    let cancels = prop::option::weighted(0.4, (any::<prop::sample::Index>(), withdrawn));
    ((0..3u32, 1..20u32, 1..10usize, 1..4usize), 0..4usize, cancels).prop_map(
        |((text, prompt, new, choices), pause, cancels)| Arrival {
            text,
            prompt,
            new,
            choices,
            pause,
            cancels,
        },
    )
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    let rows = prop::option::of((0..3usize, 1..4usize));
    prop::option::weighted(0.7, (0..12usize, rows)).prop_map(|fault| {
        fault.map(|(pass, rows)| match rows {
            Some((first, count)) => Fault::Nan { pass, rows: first..first + count },
            None => Fault::Error { pass },
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_happens_to_some_changes_what_others_are_told(
        step_tokens in prop::sample::select(vec![4, 7, 64]),
        fault in fault(),
        arrivals in prop::collection::vec(arrival(), 1..8),
    ) {
        let mut expected = Told::default();
        let mut undisturbed = engine(None);
        for arrival in &arrivals {
            let alone = Request { prefix_cache: PrefixCache::Off, ..arrival.request() };
            undisturbed.submit(alone).unwrap();
            expected.run(&mut undisturbed);
        }
        let mut engine = engine_of(step_tokens, fault);
        let mut told = Told::default();
        for (count, arrival) in (1..).zip(&arrivals) {
            engine.submit(arrival.request()).unwrap();
            (0..arrival.pause).for_each(|_| told.step(&mut engine));
            if let Some((victim, withdrawn)) = &arrival.cancels {
                let victim = RequestId(victim.index(count) as u64);
                match *withdrawn {
                    Withdrawn::Whole => told.add(engine.cancel(victim)),
                    Withdrawn::Choice(choice) => told.add(engine.cancel_choice(victim, choice)),
                }
                engine.check_integrity().unwrap();
            }
        }
        told.run(&mut engine);
        prop_assert_eq!(told.0.len(), expected.0.len());
        for (choice, (tokens, finish)) in &told.0 {
            let (whole, _) = &expected.0[choice];
            match finish {
                Some(Finish::Length) => prop_assert_eq!(tokens, whole),
                Some(Finish::Cancelled | Finish::Error(_)) => {
                    prop_assert!(whole.starts_with(tokens) && whole != tokens, "{choice:?}");
                }
                other => prop_assert!(false, "{choice:?} ended by {other:?}"),
            }
        }
        // Gets past all passes that were meant to fail.
        while engine.stats().steps < 12 {
            engine.submit(request(9, 1, 12)).unwrap();
            Told::default().run(&mut engine);
        }
        let mut later = Told::default();
        for arrival in &arrivals {
            engine.submit(arrival.request()).unwrap();
        }
        later.run(&mut engine);
        prop_assert!(later.0.values().eq(expected.0.values()));
    }
}
