//! The engine's own GPU kernels, run on the CPU: a C compiler reads the same source, with a loop
//! over all threads in place of a GPU. Only their speed cannot be tested on a CPU.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

// Its threads are contexts of the GNU C library, which take turns.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[path = "cuda_kernels/decode.rs"]
mod decode;

/// Stand-ins for a GPU, and programs that read numbers from stdin, launch a kernel and print.
const HOST: &str = r#"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define KERNEL static
static struct { unsigned x, y, z; } gridDim, blockDim, blockIdx, threadIdx;
static unsigned long long atomicMax(unsigned long long *at, unsigned long long value) {
    unsigned long long before = *at;
    if (value > before) *at = value;
    return before;
}
#include KERNELS

#define LAUNCH(BLOCKS, ROWS, THREADS, CALL)                                                  \
    gridDim.x = BLOCKS, gridDim.y = ROWS, blockDim.x = THREADS;                              \
    for (blockIdx.y = 0; blockIdx.y < ROWS; blockIdx.y++)                                    \
        for (blockIdx.x = 0; blockIdx.x < BLOCKS; blockIdx.x++)                              \
            for (threadIdx.x = 0; threadIdx.x < THREADS; threadIdx.x++) CALL

static unsigned next(void) {
    unsigned number;
    if (scanf("%u", &number) != 1) exit(3);
    return number;
}

/* kernel, blocks and threads, then tokens, bytes per row, bytes of half a cache, the slots, and the
 * bytes of k and v */
static void store(int wide, unsigned blocks, unsigned threads) {
    unsigned tokens = next(), row = next(), half = next();
    unsigned unit = wide ? sizeof(Sixteen) : sizeof(Two);
    unsigned char *cache = calloc(2, half), *k = malloc(tokens * row), *v = malloc(tokens * row);
    unsigned *slots = malloc(tokens * sizeof(unsigned));
    for (unsigned i = 0; i < tokens; i++) slots[i] = next();
    for (unsigned i = 0; i < tokens * row; i++) k[i] = next();
    for (unsigned i = 0; i < tokens * row; i++) v[i] = next();
    if (wide) {
        LAUNCH(blocks, 1, threads, store_sixteen((Sixteen *)cache, (Sixteen *)k, (Sixteen *)v, slots, tokens, row / unit, half / unit));
    } else {
        LAUNCH(blocks, 1, threads, store_two((Two *)cache, (Two *)k, (Two *)v, slots, tokens, row / unit, half / unit));
    }
    for (unsigned i = 0; i < 2 * half; i++) printf("%u ", cache[i]);
}

/* rows, vocabulary, and the bits of the logits */
static void choose(unsigned blocks, unsigned threads) {
    unsigned rows = next(), vocabulary = next();
    unsigned *logits = malloc(rows * vocabulary * sizeof(unsigned));
    unsigned long long *best = calloc(rows, sizeof(unsigned long long));
    for (unsigned i = 0; i < rows * vocabulary; i++) logits[i] = next();
    LAUNCH(blocks, rows, threads, likeliest(best, logits, vocabulary));
    for (unsigned i = 0; i < rows; i++) printf("%llu ", best[i]);
}

static float real(void) {
    unsigned bits = next();
    float number;
    memcpy(&number, &bits, sizeof(number));
    return number;
}

/* tokens, half, border, the bits of the magnitude and of both frequencies, positions, lengths */
static void turn(unsigned blocks, unsigned threads) {
    unsigned tokens = next(), half = next(), border = next();
    float magnitude = real();
    Frequencies within = {{0}}, beyond = {{0}};
    for (unsigned i = 0; i < half; i++) within.of[i] = real();
    for (unsigned i = 0; i < half; i++) beyond.of[i] = real();
    unsigned *positions = malloc(2 * tokens * sizeof(unsigned));
    float *out = malloc(2 * tokens * half * sizeof(float));
    for (unsigned i = 0; i < 2 * tokens; i++) positions[i] = next();
    LAUNCH(blocks, 1, threads, angles(out, positions, tokens, half, border, magnitude, within, beyond));
    for (unsigned i = 0; i < 2 * tokens * half; i++) {
        unsigned bits;
        memcpy(&bits, &out[i], sizeof(bits));
        printf("%u ", bits);
    }
}

int main(void) {
    unsigned kernel = next(), blocks = next(), threads = next();
    if (kernel == 3) turn(blocks, threads);
    else if (kernel == 2) choose(blocks, threads);
    else store(kernel == 1, blocks, threads);
    return 0;
}
"#;

/// Launches with few and many threads, fewer and more than there is work for.
const LAUNCHES: [[u64; 2]; 3] = [[1, 1], [3, 7], [16, 64]];

/// A program with kernels, compiled for the CPU.
struct Program(tempfile::TempDir);

impl Program {
    /// Compiles `host`, C source that includes the kernels in the file `source`, with the macros in
    /// `defined`.
    #[expect(clippy::disallowed_methods, reason = "a compiler is another program")]
    fn compile(host: &str, source: &str, defined: &[(&str, usize)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cuda").join(source);
        let file = folder.path().join("host.c");
        std::fs::write(&file, host).unwrap();
        let compiled = Command::new("cc")
            .args(["-std=c11", "-O1", "-Wall", "-Werror", "-Wno-unknown-pragmas"])
            .args(["-fsanitize=undefined", "-fno-sanitize-recover"])
            .arg(format!("-DKERNELS=\"{}\"", source.display()))
            .args(defined.iter().map(|(name, value)| format!("-D{name}={value}")))
            .arg(&file)
            .arg("-o")
            .arg(folder.path().join("program"))
            .arg("-lm")
            .output()
            .expect("the C compiler that the README asks for");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        Self(folder)
    }

    /// The numbers that it prints for `input`.
    #[expect(clippy::disallowed_methods, reason = "the kernels are another program")]
    fn run(&self, input: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut child = Command::new(self.0.path().join("program"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let text: Vec<String> = input.map(|number| number.to_string()).collect();
        child.stdin.take().unwrap().write_all(text.join(" ").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{:?}", output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().map(|number| number.parse().unwrap()).collect()
    }
}

/// The kernels of `kernels.cu`, none of whose threads waits for another.
struct Kernels(Program);

impl Kernels {
    fn compile() -> Self {
        Self(Program::compile(HOST, "kernels.cu", &[]))
    }

    /// The output of kernel `kernel` for `input`.
    fn run(&self, kernel: u64, launch: [u64; 2], input: impl Iterator<Item = u64>) -> Vec<u64> {
        self.0.run(std::iter::once(kernel).chain(launch).chain(input))
    }
}

#[test]
fn every_row_of_keys_and_values_lies_in_its_slot_and_no_other_slot_is_touched() {
    let kernels = Kernels::compile();
    // Rows of 16 and of 2 bytes; slots out of order.
    for (kernel, row) in [(1, 32), (0, 6), (0, 32)] {
        let slots = [6, 1, 7, 0, 3];
        let (tokens, half) = (slots.len(), 9 * row);
        let k: Vec<u64> = (0..tokens * row).map(|i| (i * 7 + 1) as u64 % 251).collect();
        let v: Vec<u64> = (0..tokens * row).map(|i| (i * 5 + 2) as u64 % 241).collect();
        let mut expected = vec![0; 2 * half];
        for (token, slot) in slots.into_iter().enumerate() {
            let (from, to) = (token * row..(token + 1) * row, slot * row);
            expected[to..to + row].copy_from_slice(&k[from.clone()]);
            expected[half + to..half + to + row].copy_from_slice(&v[from]);
        }
        for launch in LAUNCHES {
            let sizes = [tokens, row, half].map(|size| size as u64);
            let input = sizes.into_iter().chain(slots.map(|slot| slot as u64));
            let input = input.chain(k.iter().copied()).chain(v.iter().copied());
            assert_eq!(kernels.run(kernel, launch, input), expected, "{kernel} {row} {launch:?}");
        }
    }
}

#[test]
fn the_likeliest_token_is_the_largest_logit_and_of_equals_the_lowest_id() {
    let kernels = Kernels::compile();
    let spread = |row: u32| -> Vec<f32> {
        (0..1000u32).map(|id| ((id * 7919 + row * 31) % 1009) as f32 - 500.0).collect()
    };
    let mut rows: Vec<Vec<f32>> = (0..4).map(spread).collect();
    let mut only = |at: usize, logit: f32, others: f32| {
        let mut row = vec![others; 1000];
        row[at] = logit;
        rows.push(row);
    };
    only(999, -1.0, f32::NEG_INFINITY);
    only(3, f32::MIN, f32::NEG_INFINITY);
    only(500, 0.0, -0.0);
    only(0, -3.5, -3.5);
    only(7, 1e-40, 0.0);
    only(998, f32::MAX, 5.0);
    // Rows from which nothing can be chosen.
    only(998, f32::NAN, 5.0);
    only(2, -f32::NAN, 5.0);
    only(2, f32::INFINITY, 5.0);
    only(0, f32::NEG_INFINITY, f32::NEG_INFINITY);

    let likeliest = |row: &Vec<f32>| -> Option<u32> {
        if row.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
            return None;
        }
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let first = row.iter().position(|logit| *logit == largest)?;
        (largest > f32::NEG_INFINITY).then_some(first as u32)
    };
    let expected: Vec<Option<u32>> = rows.iter().map(likeliest).collect();
    for launch in LAUNCHES {
        let bits = rows.iter().flatten().map(|logit| u64::from(logit.to_bits()));
        let best = kernels.run(2, launch, [rows.len() as u64, 1000].into_iter().chain(bits));
        let found = best.iter().map(|best| {
            // If nothing in a row is larger, the order of −∞ remains.
            let is_nothing = *best == u64::MAX || best >> 32 <= 0x007F_FFFF;
            (!is_nothing).then_some(!(*best as u32))
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{launch:?}");
    }
}

#[test]
fn angles_are_those_of_the_frequencies_for_the_length_of_each_sequence() {
    let kernels = Kernels::compile();
    let within = [1.0f32, 0.1, 1e-4];
    let beyond = [0.5f32, 0.02, 3e-5];
    let (border, magnitude) = (100, 1.25f32);
    let positions = [0u32, 7, 99, 100, 131_071];
    let lengths = [100u32, 101, 100, 8000, 131_072];
    let angle = |token: usize, dim: usize| {
        let frequency = if lengths[token] > border { beyond[dim] } else { within[dim] };
        f64::from(positions[token]) * f64::from(frequency)
    };
    let all = (0..positions.len()).flat_map(|token| (0..3).map(move |dim| (token, dim)));
    let expected = |f: fn(f64) -> f64| -> Vec<f32> {
        let numbers = all.clone().map(|(token, dim)| f(angle(token, dim)) * f64::from(magnitude));
        numbers.map(|number| number as f32).collect()
    };
    let expected = [expected(f64::cos), expected(f64::sin)].concat();
    for launch in LAUNCHES {
        let sizes = [positions.len() as u64, 3, u64::from(border)];
        let numbers = std::iter::once(magnitude).chain(within).chain(beyond);
        let input = sizes.into_iter().chain(numbers.map(|number| u64::from(number.to_bits())));
        let input = input.chain(positions.into_iter().chain(lengths).map(u64::from));
        let bits = kernels.run(3, launch, input);
        let found: Vec<f32> = bits.into_iter().map(|bits| f32::from_bits(bits as u32)).collect();
        assert_eq!(found.len(), expected.len(), "{launch:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-6, "{found} instead of {expected}");
        }
    }
}
