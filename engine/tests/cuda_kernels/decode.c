/* Stands in for a GPU that runs engine/src/cuda/paged_decode.cu: the threads of a block take turns,
 * each up to the point where it needs the others. Reads numbers from stdin, launches the kernels,
 * and prints the bits of the output. */

#define _XOPEN_SOURCE 700
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define KERNEL static void
#define __device__ static
#define __shared__ static
#define __align__(BYTES) __attribute__((aligned(BYTES)))
#define __int_as_float as_float
#define __uint_as_float as_float
#define __shfl_xor_sync(MASK, NUMBER, OTHER) exchange(NUMBER, OTHER)
#define __syncthreads wait_for_others

static struct { unsigned x, y, z; } gridDim, blockIdx, threadIdx;

static float as_float(unsigned bits) {
    float number;
    memcpy(&number, &bits, sizeof(number));
    return number;
}

static unsigned bits_of(float number) {
    unsigned bits;
    memcpy(&bits, &number, sizeof(bits));
    return bits;
}

static int min(int a, int b) { return a < b ? a : b; }

/* For finite numbers, and the NaN that arithmetic makes. */
static inline unsigned short to_bf16(float number) {
    unsigned bits = bits_of(number);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/* For numbers between -65,504 and 65,504. */
static inline unsigned short to_f16(float number) {
    int exponent;
    frexpf(number, &exponent);
    float step = ldexpf(1, exponent < -13 ? -24 : exponent - 11);
    float size = nearbyintf(fabsf(number) / step) * step;
    unsigned bits = bits_of(size);
    unsigned short sign = number < 0 ? 0x8000 : 0;
    return sign | (size < 0x1p-14f ? (unsigned)ldexpf(size, 24) : (bits >> 13) - (112 << 10));
}

static inline float of_f16(unsigned short bits) {
    int exponent = bits >> 10 & 31, rest = bits & 1023;
    float size = exponent == 0 ? ldexpf(rest, -24) : ldexpf(1024 + rest, exponent - 25);
    return bits >> 15 ? -size : size;
}

#define MOST_THREADS 128
static ucontext_t turns, threads[MOST_THREADS];
static char stacks[MOST_THREADS][1 << 16];
static bool has_ended[MOST_THREADS];

/* Waits until every thread of the block has come this far. */
static void wait_for_others(void) {
    unsigned own = threadIdx.x;
    swapcontext(&threads[own], &turns);
}

/* The `number` passed by the thread whose index differs from this one's in the bits of `other`. Two
 * tables: while the last threads still read those of one exchange, the first write those of the
 * next. */
static float exchange(float number, int other) {
    static float said[2][MOST_THREADS];
    static unsigned times[MOST_THREADS];
    unsigned own = threadIdx.x;
    float *all = said[times[own]++ % 2];
    all[own] = number;
    wait_for_others();
    return all[own ^ (unsigned)other];
}

#include KERNELS

static void (*kernel)(void);

static void thread(void) {
    kernel();
    has_ended[threadIdx.x] = true;
}

/* Runs the threads of one block. */
static void block(void) {
    for (unsigned i = 0; i < THREADS; i++) {
        getcontext(&threads[i]);
        threads[i].uc_stack.ss_sp = stacks[i];
        threads[i].uc_stack.ss_size = sizeof(stacks[i]);
        threads[i].uc_link = &turns;
        has_ended[i] = false;
        makecontext(&threads[i], thread, 0);
    }
    for (unsigned running = THREADS; running > 0;) {
        running = 0;
        for (unsigned i = 0; i < THREADS; i++) {
            if (!has_ended[i]) {
                threadIdx.x = i;
                swapcontext(&turns, &threads[i]);
                running += !has_ended[i];
            }
        }
    }
}

static void launch(void (*of)(void), unsigned x, unsigned y, unsigned z) {
    kernel = of;
    gridDim.x = x, gridDim.y = y, gridDim.z = z;
    for (blockIdx.z = 0; blockIdx.z < z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < x; blockIdx.x++) block();
}

static unsigned next(void) {
    unsigned number;
    if (scanf("%u", &number) != 1) exit(3);
    return number;
}

/* Reads the next `count` numbers; nothing after them may be read. */
static unsigned *words(unsigned count) {
    unsigned *all = malloc(count * sizeof(unsigned));
    for (unsigned i = 0; i < count; i++) all[i] = next();
    return all;
}

static Number *halves(unsigned count) {
    Number *all = aligned_alloc(16, (count * sizeof(Number) + 15) / 16 * 16);
    for (unsigned i = 0; i < count; i++) all[i] = next();
    return all;
}

static Number *out, *q, *keys, *values;
static float *scratch, scale, cap;
static unsigned *key_ends, *tables, width, kv_heads, parts;
static int before;

static void attend(void) {
    attend_parts(out, scratch, q, keys, values, key_ends, tables, width, kv_heads, scale, cap, before);
}

static void join(void) { join_parts(out, scratch, parts); }

/* Input: sequences, key heads, query heads, parts, blocks of the cache, width of the tables, how
 * many keys before its own a query sees plus 1 (0 for all), the bits of scale and cap; then key
 * ends, tables, queries, keys and values. */
int main(void) {
    unsigned sequences = next(), heads;
    kv_heads = next(), heads = next(), parts = next();
    unsigned blocks = next();
    width = next(), before = (int)next() - 1;
    scale = as_float(next()), cap = as_float(next());
    key_ends = words(sequences + 1), tables = words(sequences * width);
    q = halves(sequences * heads * DIM);
    keys = halves(blocks * BLOCK * kv_heads * DIM), values = halves(blocks * BLOCK * kv_heads * DIM);
    out = calloc(sequences * heads * DIM, sizeof(Number));
    scratch = malloc(sequences * heads * parts * PART * sizeof(float));
    launch(attend, parts, heads / GROUP, sequences);
    if (parts > 1) launch(join, sequences * heads, 1, 1);
    for (unsigned i = 0; i < sequences * heads * DIM; i++) printf("%u ", out[i]);
    return 0;
}
