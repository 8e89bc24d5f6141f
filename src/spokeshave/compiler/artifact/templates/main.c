/* Every call that an application makes. Usage:

       example                                        run one sample of zeros
       example ${length_usage}INPUT_FILE ... OUTPUT_FILE ...         one raw file for each input and output, any number of samples

   Both print the time of the fastest of five runs. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "$name.h"
$include
enum { LENGTHS = $length_count };
#define INPUT_BYTES(i) $input_bytes
#define OUTPUT_BYTES(i) $output_bytes

static void *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    char *data = NULL;
    *bytes = 0;
    while (file && !feof(file)) {
        char *longer = (char *)realloc(data, *bytes + 65536);
        if (!longer) exit(1);
        data = longer;
        *bytes += fread(data + *bytes, 1, 65536, file);
    }
    if (file) fclose(file);
    return data;
}

static int fail(const char *what, ${name}_status status) {
    fprintf(stderr, "%s: %s\n", what, ${name}_explain(status));
    return (int)status;
}

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv) {
    void *inputs[${NAME}_INPUTS + 1], *outputs[${NAME}_OUTPUTS + 1];
    char **input_files = argv + 1 + LENGTHS, **output_files = input_files + ${NAME}_INPUTS;
    int from_files = argc == 1 + LENGTHS + ${NAME}_INPUTS + ${NAME}_OUTPUTS;
    long samples = 1;
    if (argc != 1 && !from_files) {
        fprintf(stderr, "usage: %s [%d lengths, %d input files, %d output files]\n", argv[0], LENGTHS, ${NAME}_INPUTS,
                ${NAME}_OUTPUTS);
        return 64;
    }
$length_reading
    ${name}_network *network;
    ${name}_status status = $create;
    if (status != ${NAME}_OK) return fail("cannot create the network", status);

    for (int i = 0; i < ${NAME}_INPUTS; i++) {
        size_t one = INPUT_BYTES(i), bytes = one;
        if (!one) return fail("an input is empty", ${NAME}_BAD_ARGUMENT);
        inputs[i] = from_files ? read_file(input_files[i], &bytes) : calloc(1, bytes);
        long count = (long)(bytes / one);
        if (!inputs[i] || bytes % one || (i && count != samples)) {
            fprintf(stderr, "input %s must be whole samples of %zu bytes, as many as of the others\n",
                    ${name}_input(i)->name, one);
            return 65;
        }
        samples = count;
    }
    for (int i = 0; i < ${NAME}_OUTPUTS; i++) {
        outputs[i] = malloc((size_t)samples * OUTPUT_BYTES(i) + 1);
        if (!outputs[i]) return 1;
    }

    double fastest = 1e30;
    long calls = 1; /* as many as the clock can tell apart from none */
    for (int round = 0; round < 5;) {
        double start = now();
        for (long call = 0; call < calls; call++) {
            status = ${name}_run(network, (const void *const *)inputs, outputs, samples$length_argument);
            if (status != ${NAME}_OK) return fail("cannot run the network", status);
        }
        double seconds = now() - start;
        if (seconds < 1e-3 && calls < 1000000) {
            calls *= 2;
            continue;
        }
        if (seconds / (double)calls < fastest) fastest = seconds / (double)calls;
        round++;
    }
    printf("%ld samples, %.6f ms a sample\n", samples, samples ? 1e3 * fastest / (double)samples : 0.0);

    for (int i = 0; i < ${NAME}_OUTPUTS; i++) {
        if (from_files) {
            FILE *file = fopen(output_files[i], "wb");
            size_t bytes = (size_t)samples * OUTPUT_BYTES(i);
            if (!file || fwrite(outputs[i], 1, bytes, file) != bytes || fclose(file)) return 66;
        }
        free(outputs[i]);
    }
    for (int i = 0; i < ${NAME}_INPUTS; i++) free(inputs[i]);
    ${name}_destroy(network);
    return 0;
}
