use candle_core::{DType, Device, Tensor};

use super::Norm;
use crate::weights::{Random, Source};

const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
const EPS: f32 = 1e-5;

/// `[rows, width]`, each element from a distribution of mean 0 and deviation 1.
fn random(rows: usize, width: usize, dtype: DType) -> Tensor {
    let x = Random::new(3).tensor("x", &[rows, width], DType::F32, &Device::Cpu).unwrap();
    (x * (width as f64).sqrt()).unwrap().to_dtype(dtype).unwrap()
}

/// An RMS norm and a layer norm.
fn norms(width: usize, dtype: DType) -> [Norm; 2] {
    let random = |name| Random::new(3).tensor(name, &[width], dtype, &Device::Cpu).unwrap();
    [Norm::rms(random("weight"), EPS), Norm::layer(random("weight"), random("bias"), EPS)]
}

fn rows(x: &Tensor) -> Vec<Vec<f32>> {
    x.to_dtype(DType::F32).unwrap().to_vec2().unwrap()
}

fn numbers(x: &Tensor) -> Vec<f64> {
    let numbers: Vec<f32> =
        x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    numbers.into_iter().map(f64::from).collect()
}

/// `norm` by its definition, in f64.
fn defined(norm: &Norm, x: &[f32]) -> Vec<f64> {
    let count = x.len() as f64;
    let mean = match &norm.bias {
        Some(_) => x.iter().copied().map(f64::from).sum::<f64>() / count,
        None => 0.0,
    };
    let x: Vec<f64> = x.iter().map(|x| f64::from(*x) - mean).collect();
    let size = (x.iter().map(|x| x * x).sum::<f64>() / count + f64::from(norm.eps)).sqrt();
    let bias = norm.bias.as_ref().map_or_else(|| vec![0.0; x.len()], numbers);
    let parts = x.iter().zip(numbers(&norm.weight)).zip(bias);
    parts.map(|((x, weight), bias)| x / size * weight + bias).collect()
}

/// Compares with the definition. `allowed` is the largest error, relative for numbers above 1.
fn check(norm: &Norm, x: &Tensor, allowed: f64) {
    let y = norm.forward(x).unwrap();
    assert_eq!((y.dtype(), y.dims()), (x.dtype(), x.dims()));
    for (x_row, row) in rows(x).iter().zip(rows(&y)) {
        for (found, exact) in row.into_iter().zip(defined(norm, x_row)) {
            let error = (f64::from(found) - exact).abs() / exact.abs().max(1.0);
            // Written so that a NaN fails.
            assert!(
                error <= allowed,
                "{:?} {:?}, weight {:?}: {found} instead of {exact}",
                x.dtype(),
                x.shape(),
                norm.weight.dtype()
            );
        }
    }
}

/// The largest relative error of rounding a number once.
fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 0.0,
        DType::F16 => 0.5f64.powi(11),
        _ => 0.5f64.powi(8),
    }
}

#[test]
fn norms_are_right_for_every_dtype_and_odd_widths() {
    for dtype in DTYPES {
        // Less than one set of lanes, whole lanes, more than all sums, more than a chunk, and
        // remainders.
        for width in [1, 3, 16, 17, 64, 100, 128, 256, 259, 1024, 2050] {
            let x = random(5, width, dtype);
            let once = 5e-6 + rounding(dtype);
            let [rms, layer] = norms(width, dtype);
            check(&rms, &x, once + rounding(dtype));
            check(&layer, &x, once);
            let [rms, layer] = norms(width, DType::F32);
            check(&rms, &x, once);
            check(&layer, &x, once);
        }
    }
}

#[test]
fn halves_are_rounded_where_the_references_round() {
    let x = Tensor::new(&[[1f32, 1.0, 1.0, 5.0]], &Device::Cpu).unwrap();
    let x = x.to_dtype(DType::BF16).unwrap();
    let normed = |dtype| {
        let weight = Tensor::new(&[129f32 / 128.0; 4], &Device::Cpu).unwrap();
        rows(&Norm::rms(weight.to_dtype(dtype).unwrap(), 0.0).forward(&x).unwrap())
    };
    // 1/√7 is 0.37796, in bf16 0.37891; times the weight, that is 195.03/512 and 195.52/512.
    let [once, twice] = [195f32 / 512.0, 196.0 / 512.0];
    assert_eq!(normed(DType::F32), [[once, once, once, 1.90625]]);
    assert_eq!(normed(DType::BF16), [[twice, twice, twice, 1.90625]]);
}

#[test]
fn a_row_far_from_zero_keeps_its_deviation() {
    let [_, layer] = norms(2050, DType::F32);
    check(&layer, &(random(5, 2050, DType::F32) + 300.0).unwrap(), 1e-3);
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    for dtype in DTYPES {
        // Together they make several tasks.
        let x = random(64, 1500, dtype);
        for norm in norms(1500, dtype) {
            let together = rows(&norm.forward(&x).unwrap());
            for count in [1, 2, 7, 30] {
                for first in (0..64 - count).step_by(5) {
                    let some = norm.forward(&x.narrow(0, first, count).unwrap()).unwrap();
                    assert_eq!(rows(&some), together[first..first + count], "{dtype:?} {count}");
                }
            }
        }
    }
}

#[test]
fn every_shape_and_layout_is_taken_and_the_shape_is_kept() {
    let [norm, _] = norms(20, DType::F32);
    let x = random(6, 20, DType::F32);
    let expected = norm.forward(&x).unwrap();
    let deep = norm.forward(&x.reshape((2, 3, 20)).unwrap()).unwrap();
    assert_eq!(deep.dims(), [2, 3, 20]);
    assert_eq!(rows(&deep.reshape((6, 20)).unwrap()), rows(&expected));
    let across = x.t().unwrap().contiguous().unwrap().t().unwrap();
    assert_eq!(rows(&norm.forward(&across).unwrap()), rows(&expected));
}

#[test]
fn no_rows_give_no_rows_and_rows_of_another_width_are_an_error() {
    for norm in norms(4, DType::F32) {
        let of = |shape: (usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(norm.forward(&of((0, 4))).unwrap().dims(), [0, 4]);
        let message = norm.forward(&of((2, 3))).unwrap_err().to_string();
        assert!(message.contains("a norm of 4 numbers got [2, 3]"), "{message}");
    }
}
