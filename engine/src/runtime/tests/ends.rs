//! How a runtime ends, and how it begins: shutdown, death, warm-up.

use super::*;

#[test]
fn a_shutdown_answers_what_is_pending_and_gives_the_engine_back() {
    let (runtime, gate) = gated();
    let client = runtime.client();
    let responses: Vec<_> =
        (0..6).map(|text| client.submit(request(text, 5, 3)).unwrap()).collect();
    drop(gate);
    let engine = runtime.shutdown(Pending::Finish).unwrap();
    assert!(engine.is_idle());
    engine.check_integrity().unwrap();
    for response in responses {
        assert_eq!(read(response).1, [Finish::Length]);
    }
    assert!(matches!(client.submit(request(0, 5, 3)), Err(Error::Closed)));
    assert!(matches!(client.stats(), Err(Error::Closed)));
}

#[test]
fn a_shutdown_can_cancel_what_is_pending_and_so_does_dropping() {
    for drops in [false, true] {
        let (runtime, gate) = gated();
        let client = runtime.client();
        let responses: Vec<_> =
            (0..6).map(|text| client.submit(request(text, 5, 9)).unwrap()).collect();
        // The running pass is let through once the shutdown has been requested.
        let release = thread::spawn(move || {
            while *client.shared.open() {
                thread::yield_now();
            }
            drop(gate);
        });
        match drops {
            true => drop(runtime),
            false => drop(runtime.shutdown(Pending::Cancel).unwrap()),
        }
        release.join().unwrap();
        for response in responses {
            assert_eq!(read(response).1, [Finish::Cancelled]);
        }
    }
}

#[test]
fn a_warm_up_leaves_nothing_behind_or_says_what_went_wrong() {
    let runtime = Runtime::start(engine(None)).unwrap();
    let client = runtime.client();
    client.warm_up(Duration::from_secs(3600)).unwrap();
    let stats = client.stats().unwrap();
    assert_eq!((stats.prefilled, stats.decoded, stats.finished), (1, 1, 1));
    assert_eq!(stats.blocks_free, BLOCKS);

    let runtime = Runtime::start(engine(Some(Fault::Error { pass: 0 }))).unwrap();
    let failure = runtime.client().warm_up(Duration::from_secs(3600)).unwrap_err();
    assert!(matches!(&failure, Error::WarmUpFailed(why) if why.contains("meant to fail")));

    let (runtime, gate) = gated();
    let client = runtime.client();
    let failure = client.warm_up(Duration::from_millis(1)).unwrap_err();
    assert_eq!(
        failure.to_string(),
        "the warm-up request was not answered within 1ms; allow more time or choose a smaller model"
    );
    drop(gate);
    assert_eq!(read(client.submit(request(0, 5, 3)).unwrap()).1, [Finish::Length]);
    assert_eq!(used(&client), (0, 0, 0));
}

#[test]
fn a_thread_that_dies_closes_every_channel() {
    let runtime = Runtime::start(engine(Some(Fault::Panic))).unwrap();
    let response = runtime.client().submit(request(0, 5, 3)).unwrap();
    let events: Vec<_> = response.map(|stamped| stamped.event).collect();
    assert!(matches!(events[..], [Event::Queued { .. }]), "{events:?}");
    assert!(matches!(runtime.client().warm_up(Duration::MAX), Err(Error::Closed)));
    let closed = runtime.shutdown(Pending::Finish).map(drop).unwrap_err();
    assert!(matches!(closed, Error::Closed));
    assert_eq!(
        closed.to_string(),
        "the runtime was shut down, or its thread has died; start another one"
    );
}
