// Ceilings of one core: arithmetic from registers, and loads from a working set of a given size.
// Each function returns how much it did: operations (a multiply and an add are two) or bytes.
#include <stdint.h>
#include <stddef.h>

#define EXPORT __attribute__((visibility("default")))

typedef float vector __attribute__((vector_size(4 * LANES)));
typedef int32_t words __attribute__((vector_size(4 * LANES)));

enum { ACCUMULATORS = 12 };  // more than latency times issue width of any core so far, and they fit 16 registers

// An empty statement that may have changed `value`: the compiler can neither drop nor merge what came before.
#define OPAQUE(value) __asm__ volatile("" : "+x"(value))

EXPORT double multiply_add_f32(long repeats) {
    vector sums[ACCUMULATORS], factor, addend;
    for (int lane = 0; lane < LANES; lane++) factor[lane] = 1.0f, addend[lane] = 0.0f;
    for (int i = 0; i < ACCUMULATORS; i++) sums[i] = factor;
    OPAQUE(factor);
    OPAQUE(addend);
    for (long step = 0; step < repeats; step++) {
#pragma GCC unroll 12
        for (int i = 0; i < ACCUMULATORS; i++) sums[i] = sums[i] * factor + addend;
    }
    vector total = addend;
    for (int i = 0; i < ACCUMULATORS; i++) total += sums[i];
    OPAQUE(total);
    return (double)repeats * ACCUMULATORS * LANES * 2;
}

// Instructions that the vector extension cannot say; the caller asks the CPU first whether it has them.
#ifdef __AVX512F__
#define DOT(NAME, INSTRUCTION, OPERATIONS)                                                            \
    EXPORT double NAME(long repeats) {                                                                \
        words sums[ACCUMULATORS] = {{0}}, factor = {0}, other = {0};                                  \
        for (long step = 0; step < repeats; step++) {                                                 \
            _Pragma("GCC unroll 12") for (int i = 0; i < ACCUMULATORS; i++)                           \
                __asm__ volatile(INSTRUCTION " %1, %2, %0" : "+v"(sums[i]) : "v"(factor), "v"(other)); \
        }                                                                                             \
        return (double)repeats * ACCUMULATORS * LANES * (OPERATIONS);                                 \
    }
DOT(dot_int8, "vpdpbusd", 8)
DOT(dot_bf16, "vdpbf16ps", 4)
#endif

#ifdef __AMX_TILE__
// Four products of all eight tile registers at a time: 16 rows by 16 columns of 16 words each.
#define TILES(NAME, INSTRUCTION, OPERATIONS)                                                  \
    EXPORT double NAME(long repeats) {                                                        \
        struct {                                                                              \
            uint8_t palette, start_row, reserved[14];                                         \
            uint16_t row_bytes[16];                                                           \
            uint8_t rows[16];                                                                 \
        } shape = {.palette = 1};                                                             \
        for (int tile = 0; tile < 8; tile++) shape.row_bytes[tile] = 64, shape.rows[tile] = 16; \
        __asm__ volatile("ldtilecfg %0" ::"m"(shape) : "memory");                             \
        for (long step = 0; step < repeats; step++)                                           \
            __asm__ volatile(INSTRUCTION " %%tmm6, %%tmm4, %%tmm0\n\t" INSTRUCTION " %%tmm6, %%tmm5, %%tmm1\n\t" \
                             INSTRUCTION " %%tmm7, %%tmm4, %%tmm2\n\t" INSTRUCTION " %%tmm7, %%tmm5, %%tmm3" ::: "memory"); \
        __asm__ volatile("tilerelease");                                                      \
        return (double)repeats * 4 * 16 * 16 * 16 * (OPERATIONS);                             \
    }
TILES(tiles_int8, "tdpbsud", 8)
TILES(tiles_bf16, "tdpbf16ps", 4)
#endif

EXPORT double load(const char *memory, long bytes, long repeats) {
    enum { VECTORS = 8 };
    const long step = VECTORS * sizeof(vector);
    words seen[VECTORS] = {{0}};
    for (long repeat = 0; repeat < repeats; repeat++)
        for (long at = 0; at + step <= bytes; at += step) {
#pragma GCC unroll 8
            for (int i = 0; i < VECTORS; i++) {
                seen[i] |= *(const words *)(memory + at + i * sizeof(words));
            }
        }
    words all = {0};
    for (int i = 0; i < VECTORS; i++) all |= seen[i];
    OPAQUE(all);
    return (double)repeats * (bytes / step * step);
}
