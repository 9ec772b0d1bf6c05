/* The engine's own kernels. NVRTC compiles them when a GPU is first used; they include nothing.
 *
 * They stay within the common subset of C and CUDA, because two checks depend on it:
 * ci/cuda-kernels.py compiles them for every GPU generation, and engine/tests/cuda_kernels.rs runs
 * them on the CPU, thread by thread. No thread waits for another.
 */

#ifdef __CUDACC_RTC__
#define KERNEL extern "C" __global__
#endif

typedef unsigned long long u64;

/* The unit that one thread moves at a time: 16 bytes where rows and addresses allow it. */
typedef struct { unsigned a, b, c, d; } Sixteen;
typedef unsigned short Two;

/* Writes the rows of keys and values that a step computed, `width` units each, to their slots of
 * the cache, where the values begin `values` units after the keys. */
#define STORE(NAME, UNIT)                                                                          \
    KERNEL void NAME(UNIT *cache, const UNIT *k, const UNIT *v, const unsigned *slots,             \
                     unsigned tokens, unsigned width, u64 values) {                                \
        u64 all = (u64)tokens * width;                                                             \
        u64 step = (u64)gridDim.x * blockDim.x;                                                    \
        for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {             \
            u64 to = (u64)slots[i / width] * width + i % width;                                    \
            cache[to] = k[i];                                                                      \
            cache[values + to] = v[i];                                                             \
        }                                                                                          \
    }

STORE(store_sixteen, Sixteen)
STORE(store_two, Two)

/* The likeliest token of each row of logits, which are read as the bits of f32; one row of the
 * grid per row. `best` starts as 0. It ends with the order key of the largest logit in the upper
 * half and the complement of the lowest id that has it in the lower half, so the larger number is
 * the better token. All ones mean that a logit is NaN or +infinity. */
KERNEL void likeliest(u64 *best, const unsigned *logits, unsigned vocabulary) {
    const unsigned *row = logits + (u64)blockIdx.y * vocabulary;
    unsigned step = gridDim.x * blockDim.x;
    u64 own = 0;
    for (unsigned id = blockIdx.x * blockDim.x + threadIdx.x; id < vocabulary; id += step) {
        unsigned bits = row[id];
        if ((bits & 0x7fffffffu) > 0x7f800000u || bits == 0x7f800000u) {
            own = ~0ull;
            break;
        }
        /* -0 equals 0. The bits of negative numbers are in descending order. */
        if (bits == 0x80000000u) {
            bits = 0;
        }
        unsigned order = bits >> 31 ? ~bits : bits | 0x80000000u;
        u64 candidate = (u64)order << 32 | (0xffffffffu - id);
        if (candidate > own) {
            own = candidate;
        }
    }
    if (own > 0) {
        atomicMax(&best[blockIdx.y], own);
    }
}

/* Angle per position for each pair of dims that rotate together, for heads of up to 512 numbers. */
typedef struct { float of[256]; } Frequencies;

/* Cosines of a step's angles, then as many sines, each a row of `half` per token, times
 * `magnitude`. `positions` holds the position of every token, then the length of every token's
 * sequence: sequences of more than `border` tokens use the frequencies `beyond`. Computed in
 * double: at position 100,000 a float angle is off by a hundredth. */
KERNEL void angles(float *out, const unsigned *positions, unsigned tokens, unsigned half,
                   unsigned border, double magnitude, Frequencies within, Frequencies beyond) {
    unsigned all = tokens * half;
    unsigned step = gridDim.x * blockDim.x;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        unsigned token = i / half;
        float frequency =
            positions[tokens + token] > border ? beyond.of[i % half] : within.of[i % half];
        double angle = (double)positions[token] * (double)frequency;
        out[i] = (float)(cos(angle) * magnitude);
        out[all + i] = (float)(sin(angle) * magnitude);
    }
}
