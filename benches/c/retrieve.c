// Retrieves the records 0 to COUNT - 1 repeatedly, and prints the nanoseconds of one retrieve: retrieve DATABASE KEYS
// COUNT RETRIEVALS. KEYS has the records' keys, 32 bytes each.

#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strongroom.h>
#include <time.h>

static void check(strongroom_status status, const strongroom_error *error) {
    if (status != STRONGROOM_OK) {
        fprintf(stderr, "%s\n", error->message);
        exit((int)status);
    }
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

int main(int argc, char **argv) {
    strongroom *store = NULL;
    strongroom_error error;
    if (argc != 5)
        return 64;
    const uint32_t count = (uint32_t)atol(argv[3]), retrievals = (uint32_t)atol(argv[4]);
    strongroom_record_key *keys = (strongroom_record_key *)calloc(count, sizeof *keys);
    FILE *file = fopen(argv[2], "rb");
    if (keys == NULL || file == NULL || fread(keys, sizeof *keys, count, file) != count)
        return 66;
    fclose(file);
    check(strongroom_open(argv[1], NULL, &store, &error), &error);

    const uint64_t start = now();
    for (uint32_t i = 0; i < retrievals; i++) {
        const uint32_t id = i % count;
        strongroom_buffer data;
        check(strongroom_retrieve(store, &id, sizeof id, &keys[id], &data, &error), &error);
        strongroom_buffer_free(&data);
    }
    printf("%" PRIu64 "\n", (now() - start) / retrievals);
    strongroom_close(store, NULL);
    free(keys);
    return 0;
}
