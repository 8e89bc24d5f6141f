// Two networks in one C++ program, each run by eight threads at once that share its weights.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "face.h"
#include "hand.h"

static char *weights;
static size_t bytes;
static float input[3 * 17 * 15], expected[7];

template <class Network, class Create, class Run, class Destroy>
static int run_often(Create create, Run run, Destroy destroy) {
    Network *network;
    if (create(&network, weights, bytes)) return 1;
    int wrong = 0;
    for (int round = 0; round < 50; round++) {
        float output[7];
        const void *inputs[] = {input};
        void *outputs[] = {output};
        wrong += run(network, inputs, outputs, 1) || memcmp(output, expected, sizeof expected);
    }
    destroy(network);
    return wrong;
}

static void *work(void *) {
    int wrong = run_often<face_network>(face_create_from_memory, face_run, face_destroy);
    wrong += run_often<hand_network>(hand_create_from_memory, hand_run, hand_destroy);
    return (void *)(intptr_t)wrong;
}

int main() {
    FILE *file = fopen("face/weights.bin", "rb");
    if (!file || fseek(file, 0, SEEK_END)) return 2;
    bytes = (size_t)ftell(file);
    rewind(file);
    char *memory = (char *)malloc(bytes + 64);
    weights = memory + (64 - (uintptr_t)memory % 64);
    if (fread(weights, 1, bytes, file) != bytes) return 3;
    fclose(file);

    face_network *network;
    const void *inputs[] = {input};
    void *outputs[] = {expected};
    for (float &value : input) value = (float)rand() / (float)RAND_MAX;
    if (face_create(&network, "face/weights.bin") || face_run(network, inputs, outputs, 1)) return 4;
    face_destroy(network);

    pthread_t threads[8];
    for (pthread_t &thread : threads)
        if (pthread_create(&thread, nullptr, work, nullptr)) return 5;
    intptr_t wrong = 0;
    for (pthread_t &thread : threads) {
        void *result;
        pthread_join(thread, &result);
        wrong += (intptr_t)result;
    }
    free(memory);
    return wrong != 0;
}
