//! Services: the answers that a stream of requests gets, and what it leaves behind.

use super::*;

/// A small service with this traffic.
pub(super) fn serve(arrival: &str, prompt: &str, shared: u32) -> Workload {
    let arrival = arrival.parse().unwrap();
    let (prompt, output) = (prompt.parse().unwrap(), "uniform-2-6".parse().unwrap());
    let hour = Nanos::from_seconds(3600.0);
    let slo = Slo { time_to_first_token: hour, time_per_output_token: hour, end_to_end: hour };
    Workload::Serve { arrival, batch: 4, requests: 12, prompt, output, shared, slo }
}

#[test]
fn a_service_gives_the_same_answers_whenever_its_requests_come_and_however_many_run() {
    let digests = |workload| -> Vec<String> {
        let (iterations, _) = measured(&case(workload));
        iterations.iter().map(|iteration| iteration.digest.to_string()).collect()
    };
    let closed = serve("closed", "lognormal-12-40", 0);
    let Workload::Serve { arrival, requests, prompt, output, shared, slo, .. } = closed else {
        unreachable!()
    };
    let one = Workload::Serve { batch: 1, arrival, requests, prompt, output, shared, slo };
    assert_eq!(digests(closed), digests(one));
    assert_eq!(digests(closed), digests(serve("poisson-200", "lognormal-12-40", 0)));
    assert_eq!(digests(closed), digests(serve("fixed-200", "lognormal-12-40", 0)));
}

#[test]
fn an_open_loop_is_no_faster_than_its_requests_come() {
    let slow = case(Workload::Serve {
        arrival: Arrival::Fixed("20".parse().unwrap()),
        batch: 4,
        requests: 5,
        prompt: Lengths::Fixed(Tokens(4)),
        output: Lengths::Fixed(Tokens(1)),
        shared: 0,
        slo: Slo {
            time_to_first_token: Nanos(0),
            time_per_output_token: Nanos(0),
            end_to_end: Nanos(0),
        },
    });
    // The last of five requests is due after a fifth of a second.
    let rate = value(&slow, Metric::RequestRate);
    assert!(rate <= 25.0, "{rate} requests a second");
    assert_eq!(value(&slow, Metric::Goodput), 0.0, "nothing takes no time");
}

#[test]
fn the_prefix_cache_finds_what_prompts_share_and_nothing_of_other_iterations() {
    let hits = |shared, prefix_cache| {
        let case = Case { prefix_cache, ..case(serve("closed", "64", shared)) };
        value(&case, Metric::PrefixHitRate)
    };
    assert_eq!(hits(100, Switch::Off), 0.0);
    assert_eq!(hits(0, Switch::On), 0.0);
    // Blocks have 16 tokens; of a fully cached prompt, the last token is computed all the same.
    assert_eq!(hits(50, Switch::On), 11.0 * 32.0 / (12.0 * 64.0));
    assert_eq!(hits(100, Switch::On), 11.0 * 48.0 / (12.0 * 64.0));
}

#[test]
fn what_a_preempted_request_finds_again_is_no_hit() {
    let tight = Case {
        prefix_cache: Switch::On,
        kv_share: NonZeroU32::new(30).unwrap(),
        ..case(serve("closed", "uniform-30-60", 0))
    };
    assert_eq!(value(&tight, Metric::PrefixHitRate), 0.0, "its prompts share nothing");
}

#[test]
fn a_prefix_cache_that_cannot_be_is_no_silence() {
    let case = Case {
        prefix_cache: Switch::On,
        kv: KvLayout::Contiguous,
        ..case(serve("closed", "8", 0))
    };
    let Some(Message::Unsupported { reason }) = messages(&case).pop() else { panic!() };
    insta::assert_snapshot!(reason, @r#"this model or its KV cache cannot share prefixes; choose prefix-cache = "off""#);
}

#[test]
fn a_small_pool_preempts_and_changes_no_token() {
    let ample = case(serve("closed", "uniform-30-60", 0));
    let tight = Case { kv_share: NonZeroU32::new(30).unwrap(), ..ample.clone() };
    assert_eq!(value(&ample, Metric::PrefillAmplification), 1.0);
    assert_eq!(value(&ample, Metric::Preemptions), 0.0);
    assert!(value(&tight, Metric::PeakBlocks) < value(&ample, Metric::PeakBlocks));
    let digests = |case: &Case| -> Vec<String> {
        measured(case).0.iter().map(|iteration| iteration.digest.to_string()).collect()
    };
    assert_eq!(digests(&ample), digests(&tight));
}

#[test]
fn a_soak_leaves_nothing_behind() {
    let soak = case(Workload::Soak {
        duration: Nanos::from_seconds(1.0),
        batch: 4,
        prompt: "uniform-1-40".parse().unwrap(),
        output: "uniform-2-12".parse().unwrap(),
        shared: 50,
    });
    for prefix_cache in [Switch::Off, Switch::On] {
        let soak = Case { prefix_cache, ..soak.clone() };
        assert_eq!(value(&soak, Metric::LeakedBlocks), 0.0);
        assert_eq!(value(&soak, Metric::ThreadGrowth), 0.0);
        assert_eq!(value(&soak, Metric::FileGrowth), 0.0);
    }
    // However short the soak and slow the machine, all requests of the digest are sent.
    let digest = |duration| {
        let Workload::Soak { batch, prompt, output, shared, .. } = soak.workload else { panic!() };
        let workload = Workload::Soak { duration, batch, prompt, output, shared };
        measured(&Case { workload, ..soak.clone() }).0[0].digest.clone()
    };
    assert_eq!(digest(Nanos(1)), digest(Nanos::from_seconds(0.5)));
}
