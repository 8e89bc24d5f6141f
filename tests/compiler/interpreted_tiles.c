/* AMX instructions for CPUs that lack them: each is an illegal instruction there, and the signal's handler does what the
   manual says (Intel 64 and IA-32 architectures software developer's manual, volume 2, the entries of LDTILECFG,
   TILELOADD, TILESTORED, TILEZERO, TILERELEASE, TDPBSUD and TDPBF16PS), decoded from the machine code itself. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

typedef struct {
    int row_bytes, rows;
    uint8_t data[16][64];
} tile;
static _Thread_local tile tiles[8];
static _Thread_local int ready;

static const int REGISTERS[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

typedef struct {
    uint8_t *base;
    int64_t stride;
    const uint8_t *end; /* of the instruction */
} operand;

static void fail(const char *what) {
    fprintf(stderr, "interpreted tiles: %s\n", what);
    _Exit(4);
}

/* The memory operand behind a ModRM byte; X and B are the extensions of index and base. */
static operand memory(const uint8_t *modrm, int x, int b, const greg_t *r) {
    int mod = *modrm >> 6, rm = *modrm & 7;
    const uint8_t *next = modrm + 1;
    int64_t base = 0, index = 0, shift = 0;
    if (rm == 4) {
        int sib_index = (*next >> 3 & 7) + 8 * x, sib_base = *next & 7;
        shift = *next++ >> 6;
        if (sib_index != 4) index = r[REGISTERS[sib_index]];
        if (sib_base == 5 && mod == 0) fail("an address without a base");
        base = r[REGISTERS[sib_base + 8 * b]];
    } else if (rm == 5 && mod == 0) {
        fail("an address relative to the instruction");
    } else {
        base = r[REGISTERS[rm + 8 * b]];
    }
    int32_t displacement = 0;
    if (mod == 1) displacement = (int8_t)*next++;
    if (mod == 2) memcpy(&displacement, next, 4), next += 4;
    return (operand){(uint8_t *)(base + displacement), index * ((int64_t)1 << shift), next};
}

static void configure(const uint8_t *config) {
    if (config[0] != 1) fail("a palette other than 1");
    memset(tiles, 0, sizeof tiles);
    for (int t = 0; t < 8; t++) {
        uint16_t row_bytes;
        memcpy(&row_bytes, config + 16 + 2 * t, 2);
        tiles[t].row_bytes = row_bytes, tiles[t].rows = config[48 + t];
    }
    ready = 1;
}

static float half(const uint8_t *p) {
    uint32_t bits = (uint32_t)(p[0] | p[1] << 8) << 16;
    float v;
    memcpy(&v, &bits, 4);
    return v;
}

static void multiply(tile *c, const tile *a, const tile *b, int floats) {
    if (c->rows != a->rows || c->row_bytes != b->row_bytes || a->row_bytes != 4 * b->rows) fail("shapes that do not fit");
    for (int m = 0; m < c->rows; m++)
        for (int k = 0; k < a->row_bytes / 4; k++)
            for (int n = 0; n < c->row_bytes / 4; n++) {
                const uint8_t *left = a->data[m] + 4 * k, *right = b->data[k] + 4 * n;
                uint8_t *to = c->data[m] + 4 * n;
                if (floats) {
                    float sum;
                    memcpy(&sum, to, 4);
                    sum += half(left) * half(right) + half(left + 2) * half(right + 2);
                    memcpy(to, &sum, 4);
                } else {
                    int32_t sum;
                    memcpy(&sum, to, 4);
                    for (int i = 0; i < 4; i++) sum += (int8_t)left[i] * right[i]; /* signed times unsigned */
                    memcpy(to, &sum, 4);
                }
            }
}

/* VEX with three bytes, map 0F38: C4, RXB and map, W vvvv L pp (registers inverted), opcode, ModRM. */
static void on_illegal(int signal, siginfo_t *info, void *context) {
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *p = (const uint8_t *)r[REG_RIP];
    if (p[0] != 0xC4 || (p[1] & 0x1F) != 2 || (p[2] & 0x84) != 0) fail("an instruction that is none of AMX");
    int x = !(p[1] & 0x40), b = !(p[1] & 0x20), prefix = p[2] & 3, third = ~p[2] >> 3 & 15;
    int opcode = p[3], mod = p[4] >> 6, reg = p[4] >> 3 & 7, rm = p[4] & 7;
    enum { NONE = 0, F3 = 2, F2 = 3 };
    if (opcode == 0x49 && prefix == NONE && p[4] == 0xC0) {
        ready = 0;
        r[REG_RIP] = (greg_t)(p + 5);
        return;
    }
    if (opcode == 0x49 && prefix == NONE && mod != 3) {
        operand from = memory(p + 4, x, b, r);
        configure(from.base);
        r[REG_RIP] = (greg_t)from.end;
        return;
    }
    if (!ready) fail("tiles that are not configured");
    tile *t = tiles + reg;
    r[REG_RIP] = (greg_t)(p + 5);
    if (opcode == 0x49 && prefix == F2 && mod == 3) {
        memset(t->data, 0, sizeof t->data);
    } else if (opcode == 0x4B && (prefix == F2 || prefix == F3) && mod != 3 && rm == 4) {
        operand at = memory(p + 4, x, b, r);
        for (int row = 0; row < t->rows; row++) {
            uint8_t *there = at.base + row * at.stride;
            if (prefix == F2) memcpy(t->data[row], there, (size_t)t->row_bytes);
            else memcpy(there, t->data[row], (size_t)t->row_bytes);
        }
        r[REG_RIP] = (greg_t)at.end;
    } else if ((opcode == 0x5C || opcode == 0x5E) && prefix == F3 && mod == 3 && third < 8) {
        multiply(t, tiles + rm, tiles + third, opcode == 0x5C);
    } else {
        fail("an instruction of AMX that is not known here");
    }
    (void)signal, (void)info;
}

__attribute__((constructor)) static void catch_illegal(void) {
    struct sigaction action = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGILL, &action, 0);
}
