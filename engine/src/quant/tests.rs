use candle_core::{DType, Device, IndexOp, Tensor};

use super::*;
use crate::config::{Choice, CudaGraphs, Dtype, EngineConfig, ModelSource, PrefixCache};
use crate::engine::Engine;
use crate::error::Error;
use crate::layers::linear::{Linear, Matrix};
use crate::placement::Topology;
use crate::weights::{Random, Source};

fn random(name: &str, shape: &[usize]) -> Tensor {
    Random::new(3).tensor(name, shape, DType::F32, &Device::Cpu).unwrap()
}

fn rows(x: &Tensor) -> Vec<Vec<f32>> {
    x.to_vec2().unwrap()
}

#[test]
fn a_quantisation_has_a_name_a_spelling_of_ggml_and_perhaps_bits() {
    let of = |word: &str| word.parse::<Quant>().unwrap();
    for kind in QuantType::ALL {
        assert_eq!(of(kind.name()), Quant::Blocks(kind));
        assert_eq!(of(&format!("{:?}", kind.candle())), Quant::Blocks(kind));
    }
    assert_eq!(of("Q4_K"), Quant::Blocks(QuantType::Q4K));
    assert_eq!(of("none"), Quant::Dense);
    for (bits, kind) in [
        ("2", QuantType::Q2K),
        ("3", QuantType::Q3K),
        ("4", QuantType::Q4K),
        ("5", QuantType::Q5K),
        ("6", QuantType::Q6K),
        ("8", QuantType::Q8_0),
    ] {
        assert_eq!(of(bits), Quant::Blocks(kind));
    }
}

#[test]
fn what_is_no_quantisation_is_told_what_is() {
    let problem = |word: &str| word.parse::<Quant>().unwrap_err().to_string();
    insta::assert_snapshot!(problem("q7_0"), @"`q7_0` is not a quantisation; write `none`, one of `q4_0`, `q4_1`, `q5_0`, `q5_1`, `q8_0`, `q2k`, `q3k`, `q4k`, `q5k`, `q6k`, or bits: `2`, `3`, `4`, `5`, `6` or `8`");
    assert!(problem("7").starts_with("`7` is not a quantisation"));
}

#[test]
fn where_a_block_does_not_divide_a_smaller_one_does() {
    let table = [
        (QuantType::Q2K, QuantType::Q4_0),
        (QuantType::Q3K, QuantType::Q4_0),
        (QuantType::Q4K, QuantType::Q4_1),
        (QuantType::Q5K, QuantType::Q5_0),
        (QuantType::Q6K, QuantType::Q5_1),
    ];
    for (asked, instead) in table {
        assert_eq!(asked.fitting(512), Some(asked));
        assert_eq!(asked.fitting(896), Some(instead), "896 is not a multiple of 256");
        assert_eq!(asked.fitting(40), None);
    }
    assert_eq!(QuantType::Q8_0.fitting(96), Some(QuantType::Q8_0));
    assert_eq!(QuantType::Q8_0.fitting(40), None);
}

#[test]
fn a_plan_knows_the_exceptions_to_its_rule() {
    let blocks = |kind| Quant::Blocks(kind);
    let own = |layers, quant| LayerQuant { layers, quant };
    let plan = QuantPlan {
        weights: blocks(QuantType::Q4K),
        embedding: Some(Quant::Dense),
        head: None,
        layers: vec![own(0..4, blocks(QuantType::Q8_0)), own(3..5, Quant::Dense)],
    };
    let of = |layer| plan.of(Role::Projection, Some(layer));
    assert_eq!(of(2), blocks(QuantType::Q8_0));
    assert_eq!(of(3), Quant::Dense, "the last one that names a layer counts");
    assert_eq!(of(5), blocks(QuantType::Q4K));
    assert_eq!(plan.of(Role::Projection, None), blocks(QuantType::Q4K));
    assert_eq!(plan.of(Role::Embedding, None), Quant::Dense);
    assert_eq!(plan.of(Role::Head, None), blocks(QuantType::Q4K));
}

#[test]
fn steps_are_never_recorded_where_a_weight_is_in_blocks() {
    let recorded = |quant: QuantPlan, cuda_graphs| {
        let config = EngineConfig {
            model: ModelSource::Preset { name: "tiny-llama".into(), seed: 1 },
            dtype: Dtype::F32,
            quant,
            devices: "cpu:0".parse().unwrap(),
            topology: Topology::NONE,
            kv: "paged-32".parse().unwrap(),
            attention: Choice::Auto,
            prefix_cache: PrefixCache::Off,
            cuda_graphs,
            kv_tokens: 64,
            max_step_tokens: 64,
            max_sequences: 1,
            max_sequence_length: Some(64),
        };
        Engine::load(&config).unwrap().cuda_graphs()
    };
    assert_eq!(recorded(QuantPlan::DENSE, CudaGraphs::On), CudaGraphs::On);
    assert_eq!(recorded(QuantPlan::DENSE, CudaGraphs::Off), CudaGraphs::Off);
    let blocks = Quant::Blocks(QuantType::Q8_0);
    let own = LayerQuant { layers: 1..2, quant: blocks };
    for plan in [
        QuantPlan::uniform(blocks),
        QuantPlan { head: Some(blocks), ..QuantPlan::DENSE },
        QuantPlan { layers: vec![own], ..QuantPlan::DENSE },
    ] {
        assert_eq!(recorded(plan.clone(), CudaGraphs::On), CudaGraphs::Off, "{plan:?}");
    }
}

#[test]
fn blocks_are_as_near_to_the_numbers_as_their_bits_allow() {
    let numbers = random("w", &[24, 512]);
    for kind in QuantType::ALL {
        let matrix = Quantised::of(kind, &numbers, &Device::Cpu).unwrap();
        assert_eq!(matrix.bytes().unwrap().len() as u64, kind.bytes(24, 512));
        let again = matrix.dequantised().unwrap();
        let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        let error = (norm(&(&again - &numbers).unwrap()) / norm(&numbers)).sqrt();
        let allowed = match kind {
            QuantType::Q2K => 0.3,
            QuantType::Q3K => 0.2,
            QuantType::Q4_0 | QuantType::Q4_1 | QuantType::Q4K => 0.1,
            QuantType::Q5_0 | QuantType::Q5_1 | QuantType::Q5K => 0.05,
            QuantType::Q6K => 0.03,
            QuantType::Q8_0 => 0.01,
        };
        assert!(error < allowed && error > allowed / 10.0, "{kind}: {error}");
    }
}

#[test]
fn parts_share_the_rows_of_the_whole() {
    let numbers = random("w", &[12, 256]);
    for kind in QuantType::ALL {
        let whole = Quantised::of(kind, &numbers, &Device::Cpu).unwrap();
        let expected = rows(&whole.dequantised().unwrap());
        let part = whole.narrow(2..9).unwrap().narrow(1..5).unwrap();
        assert_eq!(rows(&part.dequantised().unwrap()), expected[3..7], "{kind}");
        let row = whole.bytes().unwrap().len() / 12;
        assert_eq!(part.bytes().unwrap().as_ptr(), whole.bytes().unwrap()[3 * row..].as_ptr());
        let ids = Tensor::new(&[3u32, 0, 0], &Device::Cpu).unwrap();
        let found = rows(&part.select(&ids).unwrap());
        assert_eq!(found, [&expected[6][..], &expected[3], &expected[3]], "{kind}");
    }
}

#[test]
fn bytes_make_the_same_matrix_wherever_they_lie() {
    let numbers = random("w", &[3, 256]);
    for kind in QuantType::ALL {
        let matrix = Quantised::of(kind, &numbers, &Device::Cpu).unwrap();
        let shifted = [&[0], matrix.bytes().unwrap()].concat();
        let again = Quantised::from_bytes(kind, &shifted[1..], [3, 256], &Device::Cpu).unwrap();
        assert_eq!(again.bytes().unwrap(), matrix.bytes().unwrap());
        assert_eq!((again.rows(), again.inputs()), (3, 256));
    }
}

#[test]
fn what_makes_no_matrix_is_an_error() {
    let of = |kind, inputs| Quantised::of(kind, &random("w", &[2, inputs]), &Device::Cpu);
    let message = |error| Error::from(error).to_string();
    insta::assert_snapshot!(message(of(QuantType::Q4K, 96).unwrap_err()), @"tensor operation failed: rows of 96 numbers are not whole blocks of 256, as q4k needs");
    let bytes = Quantised::from_bytes(QuantType::Q8_0, &[0; 67], [2, 32], &Device::Cpu);
    insta::assert_snapshot!(message(bytes.unwrap_err()), @"tensor operation failed: 2 rows of 32 numbers in q8_0 take 68 bytes, not 67");
    let whole = of(QuantType::Q8_0, 32).unwrap();
    insta::assert_snapshot!(message(whole.narrow(1..3).unwrap_err()), @"tensor operation failed: rows 1..3 of a matrix that has 2");
    assert!(whole.select(&Tensor::new(&[2u32], &Device::Cpu).unwrap()).is_err());
    let outline = Quantised::outline(QuantType::Q8_0, [4, 32]).unwrap().narrow(1..2).unwrap();
    insta::assert_snapshot!(message(outline.bytes().unwrap_err()), @"tensor operation failed: the outline of a matrix has no numbers");
}

/// What other implementations made of the same numbers, and how they read the same bytes.
#[test]
fn blocks_are_those_of_ggml() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gguf/quant.safetensors");
    let golden = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    for kind in QuantType::ALL {
        let name = kind.name().to_uppercase().replace('K', "_K");
        let [expected, bytes] = ["f32", "bytes"].map(|part| &golden[&format!("{name}.{part}")]);
        let shape = [expected.dim(0).unwrap(), expected.dim(1).unwrap()];
        let bytes: Vec<u8> = bytes.flatten_all().unwrap().to_vec1().unwrap();
        let matrix = Quantised::from_bytes(kind, &bytes, shape, &Device::Cpu).unwrap();
        let found = rows(&matrix.dequantised().unwrap());
        for (found, expected) in found.iter().flatten().zip(rows(expected).iter().flatten()) {
            assert!(
                (found - expected).abs() <= 1e-6 * expected.abs(),
                "{kind}: {found} {expected}"
            );
        }
        let Some(product) = golden.get(&format!("{name}.matmul")) else { continue };
        let linear = Linear::new(Matrix::Quantised(matrix), None);
        let found = rows(&linear.forward(&golden["x"]).unwrap());
        for (found, expected) in found.iter().flatten().zip(rows(product).iter().flatten()) {
            assert!((found - expected).abs() < 1e-4 * expected.abs().max(1.0), "{kind}");
        }
        // The reference rounds halves away from zero, as GGML's own quantisers do.
        let again = Quantised::of(kind, &golden["f32"].i(..shape[0]).unwrap(), &Device::Cpu);
        let unequal =
            again.unwrap().bytes().unwrap().iter().zip(&bytes).filter(|(a, b)| a != b).count();
        assert!(unequal * 100 < bytes.len(), "{kind}: {unequal} of {} bytes", bytes.len());
    }
}

/// Offsets of the upper bytes of a block's factors.
const fn factors(kind: QuantType) -> &'static [usize] {
    match kind {
        QuantType::Q4_0 | QuantType::Q5_0 | QuantType::Q8_0 => &[1],
        QuantType::Q4_1 | QuantType::Q5_1 | QuantType::Q4K | QuantType::Q5K => &[1, 3],
        QuantType::Q2K => &[81, 83],
        QuantType::Q3K => &[109],
        QuantType::Q6K => &[209],
    }
}

#[test]
fn blocks_are_widened_to_the_numbers_that_candle_sees_in_them() {
    for kind in QuantType::ALL {
        let numbers = random("bytes", &[kind.bytes(8, 512) as usize]);
        let numbers = numbers.affine(1e4, 0.0).unwrap().to_vec1::<f32>().unwrap();
        let mut bytes: Vec<u8> = numbers.iter().map(|x| *x as i64 as u8).collect();
        // Any bytes make a block, as long as its factors are finite: a zero in their exponent
        // ensures it.
        for block in bytes.chunks_exact_mut(kind.bytes(1, kind.block()) as usize) {
            factors(kind).iter().for_each(|upper| block[*upper] &= 0b1011_1111);
        }
        let matrix = Quantised::from_bytes(kind, &bytes, [8, 512], &Device::Cpu).unwrap();
        let expected = rows(&matrix.dequantised().unwrap()).concat();
        let mut found = vec![0.0; 8 * 512];
        kind.widen()(&bytes, &mut found);
        assert!(expected.iter().all(|x| x.is_finite()), "{kind}");
        assert_eq!(found, expected, "{kind}");
    }
}
