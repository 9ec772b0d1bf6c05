//! How answers end: stop strings, stop tokens, cancellation, failures.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_choice_ends_before_the_first_stop_string_of_its_text(
        seed in any::<u64>(),
        choices in 1..4usize,
        stop_strings in proptest::collection::vec("[a-j]{1,4}", 0..4),
    ) {
        let (_runtime, client) = start(None);
        let logit_bias = vec![(EOS, f32::NEG_INFINITY)];
        let sampling = Sampling { temperature: 1.0, seed, logit_bias, ..Sampling::GREEDY };
        let asked = TextRequest { sampling, choices, ..request(words()) };
        let whole = completions(&client, asked.clone());
        let stops = stop_strings.clone();
        let stopped = completions(&client, TextRequest { stop_strings, ..asked });
        for (whole, stopped) in whole.iter().zip(&stopped) {
            let found = (1..=whole.text.len()).find_map(|end| {
                let ending = stops.iter().filter(|stop| whole.text[..end].ends_with(*stop));
                Some((end, ending.map(String::len).max()?))
            });
            let (end, length) = found.unwrap_or((whole.text.len(), 0));
            let tokens = end.div_ceil(3);
            prop_assert_eq!(&stopped.text, &whole.text[..end - length]);
            prop_assert_eq!(&stopped.tokens, &whole.tokens[..tokens]);
            prop_assert_eq!(stopped.usage.generated, tokens);
            let finish = if found.is_some() { Finish::Stop } else { Finish::Length };
            prop_assert_eq!(&stopped.finish, &finish);
            let text = stopped.stop_string.map(|stop| stops[stop].len());
            prop_assert_eq!(text, found.map(|(_, length)| length));
        }
    }
}

#[test]
fn a_stop_string_ends_its_choice_and_no_other() {
    let (runtime, client) = start(None);
    let asked = TextRequest { choices: 3, ..request(words()) };
    let whole = completions(&client, asked.clone());
    // The end of one token and the start of the next: only one of these three texts contains it.
    let stop = whole[1].text[11..15].to_owned();
    assert!([0, 2].iter().all(|choice| !whole[*choice].text.contains(&stop)));
    let stop_strings = vec!["!".into(), stop];
    let stopped = completions(&client, TextRequest { stop_strings, ..asked });
    assert_eq!(stopped[1].text, whole[1].text[..11]);
    assert_eq!(stopped[1].tokens, whole[1].tokens[..5]);
    assert_eq!((&stopped[1].finish, stopped[1].stop_string), (&Finish::Stop, Some(1)));
    assert_eq!((stopped[1].usage.prompt, stopped[1].usage.generated), (9, 5));
    for choice in [0, 2] {
        assert_eq!(stopped[choice].text, whole[choice].text);
        assert_eq!(stopped[choice].tokens, whole[choice].tokens);
        assert_eq!(
            (&stopped[choice].finish, stopped[choice].usage.generated),
            (&Finish::Length, 12)
        );
    }
    runtime.shutdown(Pending::Finish).unwrap().check_integrity().unwrap();
}

#[test]
fn the_blocks_of_a_stopped_choice_come_back_before_its_end_is_told() {
    let (_runtime, undisturbed) = start(None);
    let one = TextRequest { max_tokens: Some(1), ..request(words()) };
    let first = completion(&undisturbed, one).text;
    let (_runtime, client, gate) = gated();
    let asked = TextRequest { max_tokens: Some(40), stop_strings: vec![first], ..request(words()) };
    let mut answer = client.ask(asked).unwrap();
    // One pass for the prompt. The next waits at the gate when the stop string is read.
    gate.send(()).unwrap();
    let token = answer.nth(2).unwrap().event;
    assert!(matches!(&token, TextEvent::Token { text, .. } if text.is_empty()), "{token:?}");
    drop(gate);
    let end = answer.next().unwrap().event;
    let usage = Usage { prompt: 9, cached: 0, generated: 1 };
    let (rest, finish) = (String::new(), Finish::Stop);
    assert_eq!(end, TextEvent::Finished { choice: 0, rest, finish, stop_string: Some(0), usage });
    let stats = client.client.stats().unwrap();
    assert_eq!(stats.blocks_used, 0);
    assert!(stats.decoded <= 1, "the rest was computed for nobody");
    assert_eq!(answer.next(), None);
}

#[test]
fn a_stop_string_in_the_last_token_is_no_end_by_length() {
    let (_runtime, client) = start(None);
    let whole = completion(&client, request(words()));
    let stop_strings = vec![whole.text[31..].to_owned()];
    let stopped = completion(&client, TextRequest { stop_strings, ..request(words()) });
    assert_eq!((stopped.finish, stopped.stop_string), (Finish::Stop, Some(0)));
    assert_eq!((stopped.text, stopped.usage.generated), (whole.text[..31].to_owned(), 12));
}

#[test]
fn the_tokenizer_s_own_end_of_a_sequence_ends_an_answer_unless_it_is_ignored() {
    let (_runtime, client) = start(None);
    let sampling = Sampling { logit_bias: vec![(EOS, 1e6)], ..Sampling::GREEDY };
    let asked = TextRequest { sampling, max_tokens: Some(3), ..request(words()) };
    let ignored = completion(&client, asked.clone());
    assert_eq!((ignored.tokens, ignored.text), (vec![EOS; 3], String::new()));
    assert_eq!(ignored.finish, Finish::Length);
    let stopped = completion(&client, TextRequest { eos: Eos::Stop, ..asked });
    assert_eq!((stopped.tokens, stopped.finish, stopped.stop_string), (vec![], Finish::Stop, None));
    assert_eq!(stopped.usage.generated, 1);
}

#[test]
fn a_stop_string_that_is_a_special_token_ends_an_answer_though_it_has_no_text() {
    let (_runtime, client) = start(None);
    let sampling = Sampling { logit_bias: vec![(EOS, 1e6)], ..Sampling::GREEDY };
    let stop_strings = vec!["!".into(), code(EOS)];
    let asked = TextRequest { sampling, max_tokens: Some(3), stop_strings, ..request(words()) };
    let stopped = completion(&client, asked);
    assert_eq!((stopped.tokens, stopped.finish, stopped.stop_string), (vec![], Finish::Stop, None));
    assert_eq!(stopped.usage.generated, 1);
}

#[test]
fn a_cancelled_answer_gives_what_it_had_and_a_dropped_one_gives_its_blocks_back() {
    let (runtime, client, gate) = gated();
    let asked = TextRequest { max_tokens: Some(40), ..request(words()) };
    let whole = client.ask(TextRequest { choices: 2, ..asked.clone() }).unwrap();
    drop(client.ask(asked).unwrap());
    whole.canceller().cancel();
    drop(gate);
    for choice in whole.complete().unwrap() {
        assert_eq!((&choice.finish, choice.stop_string), (&Finish::Cancelled, None));
        assert_eq!(choice.text, client.text.tokenizer().decode(&choice.tokens).unwrap());
    }
    assert_eq!(client.client.stats().unwrap().blocks_used, 0);
    let engine = runtime.shutdown(Pending::Finish).unwrap();
    engine.check_integrity().unwrap();
    assert_eq!((engine.stats().submitted, engine.stats().finished), (3, 3));
}

#[test]
fn a_failed_pass_ends_the_answer_with_its_text_so_far_and_later_ones_are_whole() {
    let (_runtime, healthy) = start(None);
    let expected = completion(&healthy, request(words()));
    for pass in [0, 1, 4] {
        for fault in [Fault::Error { pass }, Fault::Nan { pass, rows: 0..1 }] {
            let (_runtime, client) = start(Some(fault));
            let failed = completion(&client, request(words()));
            assert!(matches!(failed.finish, Finish::Error(_)), "{:?}", failed.finish);
            assert_eq!(failed.text, expected.text[..3 * pass]);
            assert_eq!(client.client.stats().unwrap().blocks_used, 0);
            let later = completion(&client, request(words()));
            assert_eq!((&later.text, later.finish), (&expected.text, Finish::Length));
        }
    }
}

#[test]
fn an_answer_of_a_thread_that_dies_is_an_error() {
    let (_runtime, client) = start(Some(Fault::Panic));
    let answer = client.ask(request(words())).unwrap();
    assert!(matches!(answer.complete(), Err(Error::Closed)));
}
