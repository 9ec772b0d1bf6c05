use super::*;
use crate::record::Outcome;
use crate::record::tests::record;
use crate::summary::summarise;

/// 10 GB/s, 100 GFLOP/s in f32 and half of that in bf16.
const ROOF: Roof = Roof {
    threads: 2,
    read: 10_000_000_000,
    copy: 0,
    f32: 100_000_000_000,
    bf16: 50_000_000_000,
    multiprocessors: None,
};

/// A round of a decode at 5 tokens per second, each of which needs these bytes and operations.
fn round(round: u32, bytes: f64, flops: f64, roof: Option<Roof>) -> Record {
    let mut record = record(".", "gate/decode/m/batch=1", round, &[5.0]);
    let Outcome::Measured(samples) = &mut record.outcome else { unreachable!() };
    samples.once = [(Metric::TokenBytes, bytes), (Metric::TokenFlops, flops)].into();
    record.conditions.roof = roof;
    record
}

fn standings_of(records: &[Record]) -> Vec<Standing> {
    standings(&summarise(records), records)
}

#[test]
fn the_longer_of_reading_and_computing_is_the_roof() {
    // A token reads 1 GB in 100 ms and computes 1 GFLOP in 10 ms; it took 200 ms.
    let [memory] = &standings_of(&[round(1, 1e9, 1e9, Some(ROOF))])[..] else { panic!() };
    assert_eq!((memory.limit, memory.share), (Limit::Memory, 0.5));
    // 15 GFLOP take 150 ms in f32.
    let [arithmetic] = &standings_of(&[round(1, 1e9, 15e9, Some(ROOF))])[..] else { panic!() };
    assert_eq!(arithmetic.limit, Limit::Arithmetic);
    assert!((arithmetic.share - 0.75).abs() < 1e-12);
}

#[test]
fn arithmetic_is_held_to_the_rate_of_its_own_number_format() {
    assert_eq!(ROOF.least(0.0, 1e11, Dtype::F32), (1.0, Limit::Arithmetic));
    assert_eq!(ROOF.least(0.0, 1e11, Dtype::Bf16), (2.0, Limit::Arithmetic));
    assert_eq!((ROOF.ridge(Dtype::F32), ROOF.ridge(Dtype::Bf16)), (10.0, 5.0));
}

#[test]
fn of_several_roofs_the_one_in_the_middle_counts() {
    let reads = [5_000_000_000, 10_000_000_000, 40_000_000_000];
    let records: Vec<Record> = (1..)
        .zip(reads)
        .map(|(number, read)| round(number, 1e9, 1e9, Some(Roof { read, ..ROOF })))
        .collect();
    let [standing] = &standings_of(&records)[..] else { panic!() };
    assert_eq!((standing.roof.read, standing.share), (10_000_000_000, 0.5));
}

#[test]
fn without_a_roof_or_a_demand_there_is_no_share() {
    assert!(standings_of(&[round(1, 1e9, 1e9, None)]).is_empty());
    let mut silent = round(1, 1e9, 1e9, Some(ROOF));
    let Outcome::Measured(samples) = &mut silent.outcome else { unreachable!() };
    samples.once.clear();
    assert!(standings_of(&[silent]).is_empty());
}

#[test]
fn a_machine_that_does_nothing_divides_by_nothing() {
    let idle = Roof { threads: 1, read: 0, copy: 0, f32: 0, bf16: 0, multiprocessors: None };
    assert_eq!(idle.least(2.0, 1.0, Dtype::F32), (2.0, Limit::Memory));
    assert_eq!(idle.ridge(Dtype::F32), 0.0);
}

#[test]
fn a_case_is_held_to_the_roof_of_the_device_that_has_all_of_it() {
    let mut case = record(".", "gate/decode/m/batch=1", 1, &[5.0]).case;
    let mut on = |map: &str| {
        case.placement.devices = map.parse().unwrap();
        place(&case).map(str::to_owned)
    };
    for map in ["cpu:0", "cpu:0=12,cpu:1", "auto", "auto:cpu:0=8GiB"] {
        assert_eq!(on(map).as_deref(), Some("cpu"), "{map}");
    }
    for map in ["cuda:1", "cuda:1=28", "auto:cuda:1", "auto:cuda:1=8GiB"] {
        assert_eq!(on(map).as_deref(), Some("cuda:1"), "{map}");
    }
    for map in ["cuda:0=20,cpu:0=8", "cpu:0=8,cuda:0", "cuda:0=1,cuda:1", "auto:cuda:0,cpu:0"] {
        assert_eq!(on(map), None, "{map}");
    }
    assert_eq!(on("cpu:0").as_deref(), Some("cpu"));
    case.placement.topology.text = "0: { device: \"cuda:0\" }".into();
    assert_eq!(place(&case), None);
}
