/* Runs segment_0 of the generated source on memory of exactly the sizes it was promised, so that a sanitizer sees every
   step outside. Usage: program FILE, where FILE holds: constants, inputs and outputs as counted blocks, and the arena's
   size, samples and threads; the outputs are written to standard output. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __AMX_TILE__
#include <sys/syscall.h>
#include <unistd.h>
#endif

int segment_0(const void *const *, float *, const float *const *, float *const *, long, double *, int);

static int64_t number(FILE *f) {
    int64_t n;
    if (fread(&n, sizeof n, 1, f) != 1) exit(3);
    return n;
}

static void **blocks(FILE *f, int64_t *count, int64_t **sizes, int filled) {
    *count = number(f);
    void **result = malloc((size_t)(*count + 1) * sizeof *result);
    *sizes = malloc((size_t)(*count + 1) * sizeof **sizes);
    for (int64_t i = 0; i < *count; i++) {
        (*sizes)[i] = number(f);
        result[i] = malloc((size_t)(*sizes)[i]);
        if (filled && fread(result[i], 1, (size_t)(*sizes)[i], f) != (size_t)(*sizes)[i]) exit(3);
    }
    return result;
}

int main(int argc, char **argv) {
#ifdef __AMX_TILE__
    syscall(SYS_arch_prctl, 0x1023, 18); /* tile registers are permitted to a process, and exec takes that back */
#endif
    FILE *f = fopen(argv[argc - 1], "rb");
    if (!f) return 3;
    int64_t constants, inputs, outputs, *constant_sizes, *input_sizes, *output_sizes;
    void **constant = blocks(f, &constants, &constant_sizes, 1);
    void **input = blocks(f, &inputs, &input_sizes, 1);
    void **output = blocks(f, &outputs, &output_sizes, 0);
    float *arena = calloc((size_t)number(f), sizeof(float));
    long samples = (long)number(f);
    int threads = (int)number(f);
    fclose(f);
    double seconds[256] = {0};
    segment_0((const void *const *)constant, arena, (const float *const *)input, (float *const *)output, samples, 0, threads);
    segment_0((const void *const *)constant, arena, (const float *const *)input, (float *const *)output, samples, seconds, threads);
    for (int64_t i = 0; i < outputs; i++) fwrite(output[i], 1, (size_t)output_sizes[i], stdout);
    for (int64_t i = 0; i < constants; i++) free(constant[i]);
    for (int64_t i = 0; i < inputs; i++) free(input[i]);
    for (int64_t i = 0; i < outputs; i++) free(output[i]);
    free(constant), free(input), free(output), free(arena);
    free(constant_sizes), free(input_sizes), free(output_sizes);
    return 0;
}
