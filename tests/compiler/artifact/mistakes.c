/* Every mistake that a caller can make has its status, and frees what it took (the address sanitizer looks). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define EXPECT(condition)                                          \
    if (!(condition)) {                                            \
        fprintf(stderr, "line %d: %s\n", __LINE__, #condition);    \
        return 1;                                                  \
    }

int main(void) {
    model_network *made;
    EXPECT(model_create(&made, "missing.bin") == MODEL_NO_FILE && !made);
    EXPECT(model_create(&made, ".") == MODEL_NO_FILE && !made);
    EXPECT(model_create(&made, "empty.bin") == MODEL_WRONG_WEIGHTS && !made);
    EXPECT(model_create(&made, "cut.bin") == MODEL_WRONG_WEIGHTS && !made);
    EXPECT(model_create(&made, "long.bin") == MODEL_WRONG_WEIGHTS && !made);
    EXPECT(model_create(&made, "flipped.bin") == MODEL_WRONG_WEIGHTS && !made);
    EXPECT(model_create(&made, NULL) == MODEL_BAD_ARGUMENT);
    EXPECT(model_create(NULL, "weights.bin") == MODEL_BAD_ARGUMENT);
    EXPECT(model_create_from_memory(&made, NULL, 64) == MODEL_BAD_ARGUMENT);

    EXPECT(model_input(0) && model_input(0)->rank == 3 && model_input(0)->shape[0] == 3);
    EXPECT(model_input(0)->bytes == 3 * 17 * 15 * sizeof(float) && !strcmp(model_input(0)->type, "float32"));
    EXPECT(model_output(0) && model_output(0)->bytes == 7 * sizeof(float));
    EXPECT(!model_input(-1) && !model_input(MODEL_INPUTS) && !model_output(-1) && !model_output(MODEL_OUTPUTS));

    FILE *file = fopen("weights.bin", "rb");
    EXPECT(file && !fseek(file, 0, SEEK_END));
    size_t bytes = (size_t)ftell(file);
    char *memory = (char *)malloc(bytes + 128), *at_64 = memory + (64 - (uintptr_t)memory % 64);
    rewind(file);
    EXPECT(fread(at_64, 1, bytes, file) == bytes && !fclose(file));

    float input[3 * 17 * 15] = {0}, outputs[3][7] = {{0}};
    const void *inputs[] = {input}, *nothing[] = {NULL};
    model_network *from_file, *shared, *copied;
    EXPECT(model_create(&from_file, "weights.bin") == MODEL_OK);
    EXPECT(model_create_from_memory(&made, at_64, bytes - 64) == MODEL_WRONG_WEIGHTS && !made);
    EXPECT(model_create_from_memory(&shared, at_64, bytes) == MODEL_OK);
    EXPECT(model_run(shared, inputs, (void *[]){outputs[1]}, 1) == MODEL_OK);
    model_destroy(shared);
    memmove(at_64 + 4, at_64, bytes);
    EXPECT(model_create_from_memory(&copied, at_64 + 4, bytes) == MODEL_OK);
    free(memory); /* the copy needs it no more */

    EXPECT(model_run(from_file, inputs, (void *[]){outputs[0]}, 1) == MODEL_OK);
    EXPECT(model_run(copied, inputs, (void *[]){outputs[2]}, 1) == MODEL_OK);
    EXPECT(!memcmp(outputs[0], outputs[1], sizeof outputs[0]) && !memcmp(outputs[0], outputs[2], sizeof outputs[0]));
    EXPECT(outputs[0][0] > 0.0f);
    EXPECT(model_run(copied, inputs, (void *[]){outputs[2]}, 0) == MODEL_OK);
    EXPECT(model_run(copied, inputs, (void *[]){outputs[2]}, -1) == MODEL_BAD_ARGUMENT);
    EXPECT(model_run(copied, nothing, (void *[]){outputs[2]}, 1) == MODEL_BAD_ARGUMENT);
    EXPECT(model_run(copied, inputs, (void *[]){NULL}, 1) == MODEL_BAD_ARGUMENT);
    EXPECT(model_run(copied, NULL, (void *[]){outputs[2]}, 1) == MODEL_BAD_ARGUMENT);
    EXPECT(model_run(copied, inputs, NULL, 1) == MODEL_BAD_ARGUMENT);
    EXPECT(model_run(NULL, inputs, (void *[]){outputs[2]}, 1) == MODEL_BAD_ARGUMENT);
    model_destroy(copied), model_destroy(from_file), model_destroy(NULL);

    for (int status = MODEL_OK; status <= MODEL_BAD_ARGUMENT; status++)
        EXPECT(strlen(model_explain((model_status)status)) > 8);
    return 0;
}
