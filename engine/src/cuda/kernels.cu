/* Our own kernels. NVRTC compiles them when a GPU is first used; they include nothing.
 *
 * They keep to what C and CUDA have in common, because two checks depend on it: ci/cuda-kernels.py
 * compiles them for every generation, and engine/tests/cuda_kernels.rs runs them on the CPU, thread
 * by thread. No thread waits for another.
 */

#ifdef __CUDACC_RTC__
#define KERNEL extern "C" __global__
#endif

typedef unsigned long long u64;

/* What one thread moves at a time: 16 bytes where rows and addresses allow it. */
typedef struct { unsigned a, b, c, d; } Sixteen;
typedef unsigned short Two;

/* Stores the rows of keys and values that a step computed, `width` units each, in their slots of the
 * cache, where the values lie `values` units behind the keys. */
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

/* The likeliest token of each row of logits, which are read as the bits of f32; a row of blocks for
 * each row. `best` begins as 0 and ends as the order of the largest logit, above all bits of the
 * lowest id that has it: the larger number is the better token. All ones stand for logits among which
 * is a NaN or +infinity. */
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
        /* -0 and 0 are equal. Of negative numbers those with more bits are less. */
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

/* Angle for each position of the dims that turn together, of heads of up to 512 numbers. */
typedef struct { float of[256]; } Frequencies;

/* Cosines of a step's angles, then as many sines, each a row of `half` for each token, times
 * `magnitude`. `positions` are those of all tokens, and behind them how long the sequence of each is:
 * those of more than `border` tokens have the frequencies `beyond`. In doubles: at position 100,000 an
 * angle of a float is off by a hundredth. */
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
