use candle_core::{DType, Device, Tensor};

use super::{Linear, Matrix};
use crate::quant::{QuantType, Quantised};
use crate::weights::{Random, Source};

fn random(name: &str, shape: &[usize], dtype: DType) -> Tensor {
    Random::new(3).tensor(name, shape, dtype, &Device::Cpu).unwrap()
}

fn linear(weight: Tensor, bias: Option<Tensor>) -> Linear {
    Linear::new(Matrix::Dense(weight), bias)
}

fn rows(x: &Tensor) -> Vec<Vec<f32>> {
    x.to_dtype(DType::F32).unwrap().to_vec2().unwrap()
}

/// Compares with products summed in f64.
fn check(m: usize, k: usize, n: usize, dtype: DType) {
    let (x, w) = (random("x", &[m, k], dtype), random("w", &[n, k], dtype));
    let bias = random("bias", &[n], dtype);
    let y = rows(&linear(w.clone(), Some(bias.clone())).forward(&x).unwrap());
    let bias = rows(&bias.unsqueeze(0).unwrap());
    // Relative to outputs of about 1: one rounding of the result and one of the bias.
    let allowed = match dtype {
        DType::F32 => 2e-5,
        DType::F16 => 4e-3,
        _ => 3e-2,
    };
    for (x, y) in rows(&x).iter().zip(&y) {
        for ((w, y), b) in rows(&w).iter().zip(y).zip(&bias[0]) {
            let exact: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            let exact = exact + f64::from(*b);
            let error = (f64::from(*y) - exact).abs() / exact.abs().max(1.0);
            assert!(error < allowed, "{m}x{k}x{n} {dtype:?}: {y} instead of {exact}");
        }
    }
}

#[test]
fn products_are_right_for_every_dtype_and_odd_sizes() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for m in [1, 2, 3, 5, 16, 17, 40] {
            for (k, n) in [(1, 1), (7, 3), (16, 33), (100, 65), (1024, 5), (2500, 34)] {
                check(m, k, n, dtype);
            }
        }
    }
}

#[test]
fn a_panel_that_does_not_divide_the_rows_is_complete() {
    // More numbers than one panel, and a last panel of another size.
    check(17, 1100, 1900, DType::BF16);
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let linear = linear(random("w", &[131, 1500], dtype), None);
        let x = random("x", &[16, 1500], dtype);
        let together = rows(&linear.forward(&x).unwrap());
        for count in 1..16 {
            for (row, expected) in together.iter().enumerate().take(16 - count) {
                let some = linear.forward(&x.narrow(0, row, count).unwrap()).unwrap();
                assert_eq!(&rows(&some)[0], expected, "{dtype:?}: row {row} in {count}");
            }
        }
    }
}

#[test]
fn no_rows_give_no_rows() {
    let linear = linear(random("w", &[5, 4], DType::F32), None);
    let none = Tensor::zeros((0, 4), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(linear.forward(&none).unwrap().dims(), [0, 5]);
}

#[test]
fn inputs_of_another_width_or_dtype_are_an_error() {
    let linear = linear(random("w", &[5, 4], DType::F32), None);
    let message = |x: Tensor| linear.forward(&x).unwrap_err().to_string();
    assert!(message(random("x", &[2, 3], DType::F32)).contains("4 inputs got 3"));
    assert!(message(random("x", &[2, 4], DType::F16)).contains("dtype"));
}

fn quantised(kind: QuantType, shape: &[usize]) -> Quantised {
    Quantised::of(kind, &random("w", shape, DType::F32), &Device::Cpu).unwrap()
}

#[test]
fn products_with_blocks_are_those_with_the_numbers_in_them() {
    for kind in QuantType::ALL {
        // Sizes above and below a chunk, a tile and a panel.
        for (k, n) in [(256, 1), (256, 35), (1280, 67), (2560, 450)] {
            let blocks = quantised(kind, &[n, k]);
            let floats = linear(blocks.dequantised().unwrap(), None);
            let bias = random("bias", &[n], DType::F32);
            let ours = Linear::new(Matrix::Quantised(blocks), Some(bias.clone()));
            for m in [1, 2, 5, 16, 17, 40] {
                let x = random("x", &[m, k], DType::F32);
                let expected = rows(&floats.forward(&x).unwrap().broadcast_add(&bias).unwrap());
                let found = rows(&ours.forward(&x).unwrap());
                if m <= 16 {
                    assert_eq!(found, expected, "{kind} {m}x{k}x{n}");
                }
                // With more rows `gemm` chooses the order of sums by the shape of a panel and the
                // caches of the machine.
                for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                    let is_near = (found - expected).abs() <= 1e-5;
                    assert!(is_near, "{kind} {m}x{k}x{n}: {found} instead of {expected}");
                }
            }
        }
    }
}

#[test]
fn blocks_take_and_give_halves() {
    for dtype in [DType::F16, DType::BF16] {
        let blocks = quantised(QuantType::Q8_0, &[40, 256]);
        let floats = linear(blocks.dequantised().unwrap(), None);
        let ours = Linear::new(Matrix::Quantised(blocks), None);
        for m in [1, 3, 20] {
            let x = random("x", &[m, 256], dtype);
            let expected = floats.forward(&x.to_dtype(DType::F32).unwrap()).unwrap();
            let found = ours.forward(&x).unwrap();
            assert_eq!(found.dtype(), dtype);
            assert_eq!(rows(&found), rows(&expected.to_dtype(dtype).unwrap()), "{dtype:?} {m}");
        }
    }
}

#[test]
fn a_row_of_blocks_does_not_depend_on_the_rows_beside_it() {
    for kind in QuantType::ALL {
        let linear = Linear::new(Matrix::Quantised(quantised(kind, &[37, 1536])), None);
        let x = random("x", &[16, 1536], DType::F32);
        let together = rows(&linear.forward(&x).unwrap());
        for count in [1, 2, 7, 15] {
            for (row, expected) in together.iter().enumerate().take(16 - count) {
                let some = linear.forward(&x.narrow(0, row, count).unwrap()).unwrap();
                assert_eq!(&rows(&some)[0], expected, "{kind}: row {row} in {count}");
            }
        }
    }
}

#[test]
fn fused_layers_of_blocks_are_the_parts_of_the_whole() {
    for kind in QuantType::ALL {
        let bias = random("bias", &[24], DType::F32);
        let whole = Linear::new(Matrix::Quantised(quantised(kind, &[24, 512])), Some(bias));
        let x = random("x", &[3, 512], DType::F32);
        let expected = rows(&whole.forward(&x).unwrap());
        let mut first = 0;
        for part in whole.split([13, 6, 5]).unwrap() {
            let found = rows(&part.forward(&x).unwrap());
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found[..], expected[first..first + found.len()], "{kind}");
            }
            first += found[0].len();
        }
        assert_eq!(first, 24);
    }
}
