/* AMX: eight tile registers, each 16 rows of 16 words. A product takes a tile of weights, rows of the layer by columns of
   the matrix, and a tile of x, columns of the matrix by lanes; its sums are rows of the layer by lanes. Built with
   SPOKESHAVE_EMULATE_AMX the same is done by vectors, for tests on CPUs without tiles. */
#define TILE 16
#define TILE_WORDS (TILE * TILE)

#ifdef SPOKESHAVE_EMULATE_AMX
static _Thread_local _Alignas(64) int32_t emulated[8][TILE_WORDS];
static _Thread_local int emulated_ready; /* an instruction on tiles that are not set up is a fault there, and here */

INLINE int tiles_permitted(void) { return 1; }
INLINE void begin_tiles(void) {
    memset(emulated, 0, sizeof emulated);
    emulated_ready = 1;
}
INLINE void end_tiles(void) { emulated_ready = 0; }
INLINE int32_t *emulated_tile(int tile) {
    if (!emulated_ready) __builtin_trap();
    return emulated[tile];
}
#define TILE_ZERO(tile) memset(emulated_tile(tile), 0, TILE_WORDS * 4)
#define TILE_LOAD(tile, from, apart) \
    for (int i = 0; i < TILE; i++) memcpy(emulated_tile(tile) + i * TILE, (const char *)(from) + i * (apart), TILE * 4)
#define TILE_STORE_ROWS(tile, to, apart) \
    for (int i = 0; i < TILE; i++) memcpy((char *)(to) + i * (apart), emulated_tile(tile) + i * TILE, TILE * 4)
static void emulated_words(int sums, int weights, int x) {
    for (int i = 0; i < TILE; i++) {
        lanes_mask row = load_words(emulated_tile(sums) + i * TILE);
        for (int j = 0; j < TILE; j++)
            row = dot_words(row, load_words(emulated_tile(x) + j * TILE), splat_word(emulated_tile(weights)[i * TILE + j]));
        *(unaligned_mask *)(emulated_tile(sums) + i * TILE) = row;
    }
}
static void emulated_pairs(int sums, int weights, int x) {
    for (int i = 0; i < TILE; i++) {
        vector row = (vector)load_words(emulated_tile(sums) + i * TILE);
        for (int j = 0; j < TILE; j++)
            row = dot_pairs(row, load_words(emulated_tile(x) + j * TILE), splat_word(emulated_tile(weights)[i * TILE + j]));
        *(unaligned_mask *)(emulated_tile(sums) + i * TILE) = (lanes_mask)row;
    }
}
#define TILE_DOT_WORDS(sums, weights, x) emulated_words(sums, weights, x)
#define TILE_DOT_PAIRS(sums, weights, x) emulated_pairs(sums, weights, x)
#else
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
long syscall(long number, ...); /* which -std=c11 hides */

/* Whether the CPU has tiles of both kinds and Linux lets this process use them: it asks for that once, for all threads
   (arch_prctl ARCH_REQ_XCOMP_PERM of XTILEDATA, Documentation/arch/x86/xstate.rst). */
static inline int tiles_permitted(void) {
    unsigned a, b, c, d, wanted = 1u << 22 | 1u << 24 | 1u << 25; /* amx_bf16, amx_tile, amx_int8 */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & wanted) != wanted) return 0;
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}
INLINE void begin_tiles(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        shape.row_bytes[tile] = TILE * 4;
        shape.rows[tile] = TILE;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(shape) : "memory");
}
INLINE void end_tiles(void) { __asm__ volatile("tilerelease" ::: "memory"); }
#define TILE_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile ::: "memory")
#define TILE_LOAD(tile, from, apart) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"((long)(apart)) : "memory")
#define TILE_STORE_ROWS(tile, to, apart) \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"((long)(apart)) : "memory")
#define TILE_DOT_WORDS(sums, weights, x) \
    __asm__ volatile("tdpbsud %%tmm" #x ", %%tmm" #weights ", %%tmm" #sums ::: "memory")
#define TILE_DOT_PAIRS(sums, weights, x) \
    __asm__ volatile("tdpbf16ps %%tmm" #x ", %%tmm" #weights ", %%tmm" #sums ::: "memory")
#endif

#define TILE_STORE(tile, to) TILE_STORE_ROWS(tile, to, TILE * 4)
#define NOT_INLINE static __attribute__((noinline, unused)) /* what is called beside tile products, in registers of its own */

/* Sixteen columns of x as tiles, one for each vector of lanes. */
#define GATHER_COLUMNS(vectors) \
    NOT_INLINE void gather_columns_##vectors(const char *x, const int32_t *columns, int32_t *to) { \
        for (int j = 0; j < TILE; j++) { \
            const int32_t *p = (const int32_t *)(x + columns[j]); \
            for (int v = 0; v < vectors; v++) *(lanes_mask *)(to + v * TILE_WORDS + j * TILE) = load_words(p + v * LANES); \
        } \
    }
GATHER_COLUMNS(1)
GATHER_COLUMNS(2)
GATHER_COLUMNS(3)
GATHER_COLUMNS(4)

/* Goes over panels, in each over tiles of lanes, and for each of these over the panel's columns, a tile at a time. */
typedef struct {
    int panel, tile, column;
} tile_cursor;
INLINE tile_cursor first_tile(int panel, const int32_t *column_start) {
    return (tile_cursor){panel, 0, column_start[panel]};
}
INLINE int is_last_tile(tile_cursor at, const int32_t *column_start) {
    return at.column + TILE == column_start[at.panel + 1];
}
INLINE void next_tile(tile_cursor *at, const int32_t *column_start, int tiles) {
    at->column += TILE;
    if (at->column < column_start[at->panel + 1]) return;
    if (++at->tile == tiles) {
        at->tile = 0;
        at->panel++;
    }
    at->column = column_start[at->panel];
}
INLINE void prefetch_part(const int32_t *words, int lines, int part, int parts) { /* of as many lines of the cache */
    for (int line = lines * part / parts; line < lines * (part + 1) / parts; line++)
        __builtin_prefetch(words + line * TILE);
}
/* Up to which row the sums before are finished in this step, so that all are when the panel's columns end. */
INLINE int rows_of_step(int row, int units, int unit, tile_cursor at, const int32_t *column_start) {
    int steps = (column_start[at.panel + 1] - column_start[at.panel]) / TILE, all = units * unit;
    int until = row + (units + steps - 1) / steps * unit;
    return until < all ? until : all;
}
