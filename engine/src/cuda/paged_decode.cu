/* Attention of one query per sequence to all of its keys in a paged KV cache. The keys of a
 * sequence are split over several thread blocks: with few long sequences, one block per head would
 * leave most of a GPU idle. A second kernel joins the partial results, as in
 * https://arxiv.org/abs/2211.05102 (Flash-Decoding splits keys like this).
 *
 * NVRTC compiles it for the heads of a model, given as:
 *   DIM    numbers of a head, 8 to 256, a power of two
 *   GROUP  query heads per thread block, all of one key head; at most 8
 *   BLOCK  tokens per block of the cache
 *   HALF   1 for f16, 0 for bf16
 *
 * Outside `__CUDACC_RTC__` it stays within the common subset of C and CUDA:
 * engine/tests/cuda_kernels.rs runs it on the CPU, its threads in turns.
 */

typedef unsigned long long u64;
typedef unsigned short Number;
typedef struct __align__(16) { unsigned pairs[4]; } Eight;

#define THREADS 128
/* A lane holds eight numbers of a key; a team of lanes holds a whole key. */
#define LANES (DIM / 8)
#define TEAMS (THREADS / LANES)
/* Keys that a team loads at a time. */
#define AHEAD 4
/* A partial result of a head: the weighted sum of values, the largest score, the sum of weights. */
#define PART (DIM + 2)
#define LOWEST __int_as_float(0xff800000)
#define LOG2_E 1.44269504f

#ifdef __CUDACC_RTC__
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

__device__ float of_f16(Number bits) {
    float number;
    asm("cvt.f32.f16 %0, %1;" : "=f"(number) : "h"(bits));
    return number;
}

__device__ Number to_f16(float number) {
    Number bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(number));
    return bits;
}

__device__ Number to_bf16(float number) {
    Number bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(number));
    return bits;
}
#endif

__device__ void widen(Eight eight, float *to) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        unsigned pair = eight.pairs[i];
#if HALF
        to[2 * i] = of_f16(pair & 0xffff);
        to[2 * i + 1] = of_f16(pair >> 16);
#else
        to[2 * i] = __uint_as_float(pair << 16);
        to[2 * i + 1] = __uint_as_float(pair & 0xffff0000u);
#endif
    }
}

__device__ Number narrow(float number) {
#if HALF
    return to_f16(number);
#else
    return to_bf16(number);
#endif
}

/* Grid: parts of a sequence, groups of query heads, sequences. With a single part the result goes
 * to `out`, otherwise the partial results go to `parts`. `cap` is 0 without a softcap; a query sees
 * `before` keys before its own, or all of them if that is negative. */
KERNEL attend_parts(Number *out, float *parts, const Number *q, const Number *keys,
                    const Number *values, const unsigned *key_ends, const unsigned *tables,
                    unsigned table_width, unsigned kv_heads, float scale, float cap, int before) {
    unsigned sequence = blockIdx.z, count = gridDim.x, heads = gridDim.y * GROUP;
    unsigned first_head = blockIdx.y * GROUP;
    unsigned kv_head = blockIdx.y / (gridDim.y / kv_heads);
    unsigned team = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const unsigned *table = tables + (u64)sequence * table_width;

    int length = key_ends[sequence + 1] - key_ends[sequence];
    int first = before >= 0 && length > before + 1 ? length - 1 - before : 0;
    int share = (length - first + count - 1) / count;
    int begin = first + blockIdx.x * share;
    int end = min(begin + share, length);

    float query[GROUP][8], sum[GROUP][8], largest[GROUP], weights[GROUP];
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
        u64 at = ((u64)sequence * heads + first_head + g) * DIM + lane * 8;
        widen(*(const Eight *)(q + at), query[g]);
        largest[g] = LOWEST;
        weights[g] = 0;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            query[g][i] *= cap > 0 ? scale : scale * LOG2_E;
            sum[g][i] = 0;
        }
    }

    for (int base = begin; base < end; base += TEAMS * AHEAD) {
        Eight key[AHEAD], value[AHEAD];
        const Eight nothing = {{0, 0, 0, 0}};
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            int at = base + a * TEAMS + team;
            key[a] = value[a] = nothing;
            if (at < end) {
                u64 slot = (u64)table[at / BLOCK] * BLOCK + at % BLOCK;
                u64 row = (slot * kv_heads + kv_head) * DIM + lane * 8;
                key[a] = *(const Eight *)(keys + row);
                value[a] = *(const Eight *)(values + row);
            }
        }
        float score[AHEAD][GROUP];
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            bool is_there = base + a * TEAMS + (int)team < end;
            float k[8];
            widen(key[a], k);
#pragma unroll
            for (int g = 0; g < GROUP; g++) {
                float dot = 0;
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    dot += query[g][i] * k[i];
                }
#pragma unroll
                for (int other = 1; other < LANES; other *= 2) {
                    dot += __shfl_xor_sync(0xffffffffu, dot, other);
                }
                if (cap > 0) {
                    dot = cap * tanhf(dot / cap) * LOG2_E;
                }
                score[a][g] = is_there ? dot : LOWEST;
            }
        }
#pragma unroll
        for (int g = 0; g < GROUP; g++) {
            float now = largest[g];
#pragma unroll
            for (int a = 0; a < AHEAD; a++) {
                now = fmaxf(now, score[a][g]);
            }
            if (now > LOWEST) {
                float shrunk = exp2f(largest[g] - now);
                largest[g] = now;
                weights[g] *= shrunk;
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    sum[g][i] *= shrunk;
                }
            }
        }
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            float v[8];
            widen(value[a], v);
#pragma unroll
            for (int g = 0; g < GROUP; g++) {
                /* NaN is not LOWEST: it shows in the result, as in the other kernels. */
                float weight = score[a][g] != LOWEST ? exp2f(score[a][g] - largest[g]) : 0;
                weights[g] += weight;
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    sum[g][i] += weight * v[i];
                }
            }
        }
    }

    __shared__ float all_largest[TEAMS][GROUP], all_weights[TEAMS][GROUP];
    __shared__ float sums[TEAMS][GROUP][DIM];
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
        if (lane == 0) {
            all_largest[team][g] = largest[g];
            all_weights[team][g] = weights[g];
        }
#pragma unroll
        for (int i = 0; i < 8; i++) {
            sums[team][g][lane * 8 + i] = sum[g][i];
        }
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < GROUP * DIM; i += THREADS) {
        unsigned g = i / DIM, d = i % DIM;
        float most = LOWEST, weight = 0, joined = 0;
        for (int t = 0; t < TEAMS; t++) {
            most = fmaxf(most, all_largest[t][g]);
        }
        for (int t = 0; t < TEAMS; t++) {
            float factor = all_largest[t][g] > LOWEST ? exp2f(all_largest[t][g] - most) : 0;
            weight += factor * all_weights[t][g];
            joined += factor * sums[t][g][d];
        }
        u64 head = (u64)sequence * heads + first_head + g;
        if (count == 1) {
            out[head * DIM + d] = narrow(joined / weight);
        } else {
            float *part = parts + (head * count + blockIdx.x) * PART;
            part[d] = joined;
            if (d == 0) {
                part[DIM] = most;
                part[DIM + 1] = weight;
            }
        }
    }
}

/* One thread block per head of each sequence joins its `count` parts. */
KERNEL join_parts(Number *out, const float *parts, unsigned count) {
    const float *own = parts + (u64)blockIdx.x * count * PART;
    float most = LOWEST, weight = 0;
    for (unsigned p = 0; p < count; p++) {
        most = fmaxf(most, own[p * PART + DIM]);
    }
    for (unsigned p = 0; p < count; p++) {
        weight += exp2f(own[p * PART + DIM] - most) * own[p * PART + DIM + 1];
    }
    for (unsigned d = threadIdx.x; d < DIM; d += THREADS) {
        float joined = 0;
        for (unsigned p = 0; p < count; p++) {
            joined += exp2f(own[p * PART + DIM] - most) * own[p * PART + d];
        }
        out[(u64)blockIdx.x * DIM + d] = narrow(joined / weight);
    }
}
