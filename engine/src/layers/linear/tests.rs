use candle_core::{DType, Device, Tensor};

use super::Linear;
use crate::weights::{Random, Source};

fn random(name: &str, shape: &[usize], dtype: DType) -> Tensor {
    Random::new(3).tensor(name, shape, dtype, &Device::Cpu).unwrap()
}

fn rows(x: &Tensor) -> Vec<Vec<f32>> {
    x.to_dtype(DType::F32).unwrap().to_vec2().unwrap()
}

/// Compares with products summed in f64.
fn check(m: usize, k: usize, n: usize, dtype: DType) {
    let (x, w) = (random("x", &[m, k], dtype), random("w", &[n, k], dtype));
    let bias = random("bias", &[n], dtype);
    let y = rows(&Linear::new(w.clone(), Some(bias.clone())).forward(&x).unwrap());
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
        let linear = Linear::new(random("w", &[131, 1500], dtype), None);
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
    let linear = Linear::new(random("w", &[5, 4], DType::F32), None);
    let none = Tensor::zeros((0, 4), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(linear.forward(&none).unwrap().dims(), [0, 5]);
}

#[test]
fn inputs_of_another_width_or_dtype_are_an_error() {
    let linear = Linear::new(random("w", &[5, 4], DType::F32), None);
    let message = |x: Tensor| linear.forward(&x).unwrap_err().to_string();
    assert!(message(random("x", &[2, 3], DType::F32)).contains("4 inputs got 3"));
    assert!(message(random("x", &[2, 4], DType::F16)).contains("dtype"));
}
