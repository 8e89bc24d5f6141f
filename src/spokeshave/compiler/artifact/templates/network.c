
/* ---- What the application calls: see $name.h. ---- */
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#pragma GCC diagnostic ignored "-Wpsabi" /* vectors are passed between inlined functions alone */
#endif
#include "$name.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the weights are little-endian"
#endif

enum { ALIGNMENT = 64, CONSTANTS = $constants };
static const size_t weights_bytes = $weights, arena_bytes = $arena;
static const uint32_t weights_checksum = $checksum;
static const size_t constant_offsets[CONSTANTS + 1] = {$offsets};

$shapes
static const ${name}_tensor input_tensors[] = {
$input_tensors
};
static const ${name}_tensor output_tensors[] = {
$output_tensors
};

struct ${name}_network {
    void *owned; /* the weights' memory where it is this network's own */
    void *working;
    float *arena;
    const void *constants[CONSTANTS + 1];
};

const ${name}_tensor *${name}_input(int index) {
    return index >= 0 && index < ${NAME}_INPUTS ? &input_tensors[index] : NULL;
}

const ${name}_tensor *${name}_output(int index) {
    return index >= 0 && index < ${NAME}_OUTPUTS ? &output_tensors[index] : NULL;
}

$length_definitions
const char *${name}_explain(${name}_status status) {
    switch (status) {
    case ${NAME}_OK: return "all is well";
    case ${NAME}_NO_MEMORY: return "there is not enough memory";
    case ${NAME}_NO_FILE: return "the weights file cannot be read";
    case ${NAME}_WRONG_WEIGHTS: return "the weights are damaged or belong to another network";
    case ${NAME}_WRONG_CPU: return "this CPU lacks instructions that the network was built with ($isa)";
    case ${NAME}_BAD_ARGUMENT: return "a pointer is null, the number of samples negative, a length out of range, or a row not in its table";
    }
    return "there is no such status";
}

static int cpu_is_right(void) {
$cpu_checks    return 1;
}

/* CRC-32 as zlib computes it. */
static uint32_t checksum(const unsigned char *bytes, size_t count) {
    uint32_t table[256], sum = 0xFFFFFFFFu;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++) table[i] = (table[i] >> 1) ^ (0xEDB88320u & (0u - (table[i] & 1u)));
    }
    for (size_t i = 0; i < count; i++) sum = table[(sum ^ bytes[i]) & 0xFFu] ^ (sum >> 8);
    return ~sum;
}

static char *aligned(void *memory) {
    return (char *)memory + (ALIGNMENT - (uintptr_t)memory % ALIGNMENT) % ALIGNMENT;
}

/* Takes over `owned`, whatever becomes of it. */
static ${name}_status make(${name}_network **made, const void *weights, void *owned) {
    ${name}_network *self = NULL;
    if (checksum((const unsigned char *)weights, weights_bytes) != weights_checksum) {
        free(owned);
        return ${NAME}_WRONG_WEIGHTS;
    }
    self = (${name}_network *)malloc(sizeof *self);
    void *working = calloc(1, arena_bytes + ALIGNMENT); /* zeros: kernels keep the gaps of feature maps zero */
    if (!self || !working) {
        free(owned), free(self), free(working);
        return ${NAME}_NO_MEMORY;
    }
    self->owned = owned;
    self->working = working;
    self->arena = (float *)(void *)aligned(working);
    for (int i = 0; i < CONSTANTS; i++) self->constants[i] = (const char *)weights + constant_offsets[i];
    *made = self;
    return ${NAME}_OK;
}

${name}_status ${name}_create_from_memory(${name}_network **made, const void *weights, size_t bytes) {
    if (!cpu_is_right()) return ${NAME}_WRONG_CPU;
    if (!made || !weights) return ${NAME}_BAD_ARGUMENT;
    *made = NULL;
    if (bytes != weights_bytes) return ${NAME}_WRONG_WEIGHTS;
    if ((uintptr_t)weights % ALIGNMENT == 0) return make(made, weights, NULL);
    void *owned = malloc(weights_bytes + ALIGNMENT);
    if (!owned) return ${NAME}_NO_MEMORY;
    return make(made, memcpy(aligned(owned), weights, weights_bytes), owned);
}

static ${name}_status read_weights(FILE *file, char *weights) {
    if (fread(weights, 1, weights_bytes, file) != weights_bytes)
        return ferror(file) ? ${NAME}_NO_FILE : ${NAME}_WRONG_WEIGHTS;
    return fgetc(file) == EOF ? ${NAME}_OK : ${NAME}_WRONG_WEIGHTS;
}

${name}_status ${name}_create(${name}_network **made, const char *weights_file) {
    if (!cpu_is_right()) return ${NAME}_WRONG_CPU;
    if (!made || !weights_file) return ${NAME}_BAD_ARGUMENT;
    *made = NULL;
    FILE *file = fopen(weights_file, "rb");
    if (!file) return ${NAME}_NO_FILE;
    void *owned = malloc(weights_bytes + ALIGNMENT);
    ${name}_status status = owned ? read_weights(file, aligned(owned)) : ${NAME}_NO_MEMORY;
    fclose(file);
    if (status == ${NAME}_OK) return make(made, aligned(owned), owned);
    free(owned);
    return status;
}

${name}_status ${name}_run(${name}_network *self, const void *const *inputs, void *const *outputs, long samples$length_parameter) {
    if (!self || !inputs || !outputs || samples < 0) return ${NAME}_BAD_ARGUMENT;
$length_checks    for (int i = 0; i < ${NAME}_INPUTS; i++)
        if (!inputs[i]) return ${NAME}_BAD_ARGUMENT;
    for (int i = 0; i < ${NAME}_OUTPUTS; i++)
        if (!outputs[i]) return ${NAME}_BAD_ARGUMENT;
$run
    return ${NAME}_OK;
}

void ${name}_destroy(${name}_network *self) {
    if (!self) return;
    free(self->owned), free(self->working), free(self);
}
