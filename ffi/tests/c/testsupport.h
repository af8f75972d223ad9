// Helpers of the tests: checks that print their location, a temporary folder, and data. C11 and C++17.

#ifndef TESTSUPPORT_H
#define TESTSUPPORT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strongroom.h>
#include <unistd.h>

// No test waits for ever: SIGALRM ends the program. (A forked child has no alarm of its parent's.)
__attribute__((constructor)) static void end_in_time(void) {
    alarm(600);
}

// Ends the program if `condition` is false.
#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

// Ends the program if `call`, which gets &error, returns another status than `expected`.
#define CHECK_STATUS(expected, call) check_status(__FILE__, __LINE__, #call, expected, call, &error)
#define CHECK_OK(call) CHECK_STATUS(STRONGROOM_OK, call)

// Options with this key, until the next call.
static inline const strongroom_write_options *under(const strongroom_record_key *key) {
    static strongroom_write_options options;
    options.size = sizeof options;
    options.key = key;
    return &options;
}

static inline void check_status(const char *file, int line, const char *call, strongroom_status expected,
                                strongroom_status status, const strongroom_error *error) {
    if (status != expected || error->status != expected || (error->message[0] == 0) != (expected == STRONGROOM_OK)) {
        fprintf(stderr, "%s:%d: %s\n  is %s instead of %s, error %s: %s\n", file, line, call,
                strongroom_status_name(status), strongroom_status_name(expected),
                strongroom_status_name(error->status), error->message);
        exit(1);
    }
}

// Changes to a temporary folder, which `leave_folder` removes.
static char test_folder[] = "/tmp/strongroom-test-XXXXXX";

static inline void enter_folder(void) {
    CHECK(mkdtemp(test_folder) != NULL);
    CHECK(chdir(test_folder) == 0);
}

static inline void leave_folder(void) {
    char command[64];
    CHECK(chdir("/") == 0);
    snprintf(command, sizeof command, "rm -r %s", test_folder);
    CHECK(system(command) == 0);
}

static inline strongroom *open_store(void) {
    strongroom *store = NULL;
    strongroom_error error;
    CHECK_OK(strongroom_open("records.db", NULL, &store, &error));
    CHECK(store != NULL);
    return store;
}

static inline void close_store(strongroom *store) {
    strongroom_error error;
    CHECK_OK(strongroom_close(store, &error));
}

// `len` bytes, of which byte i is i modulo 251, to be freed.
static inline uint8_t *pattern(size_t len) {
    uint8_t *data = (uint8_t *)malloc(len ? len : 1);
    CHECK(data != NULL);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i % 251);
    return data;
}

// The sizes around the limits of chunks.
static const size_t SIZES[] = {0, 1, 15, 16, 17, 16383, 16384, 16385, 32768, 40000, 1 << 20};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

// Starts a thread with the smallest stack that the header allows.
static inline pthread_t start_small(void *(*work)(void *), void *context) {
    pthread_t thread;
    pthread_attr_t small;
    CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 64 << 10) == 0);
    CHECK(pthread_create(&thread, &small, work, context) == 0);
    CHECK(pthread_attr_destroy(&small) == 0);
    return thread;
}

// The duration of long tests in seconds, from the environment variable TEST_SECONDS.
static inline unsigned test_seconds(void) {
    const char *text = getenv("TEST_SECONDS");
    return text ? (unsigned)atoi(text) : 1;
}

// Whether valgrind runs the test: repetitions then only take time.
static inline bool is_short(void) {
    return getenv("TEST_SHORT") != NULL;
}

#endif
