// Allocations that fail, of the library and of SQLite in it: each call has a typed error, or the process aborts; nothing
// that was acknowledged is lost. Each case is a process of its own. TEST_SECONDS above 30 tries each allocation.

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "testsupport.h"

enum { SHORT = 100, LONG = 700 * 1000, RECORDS = 5 };

// The C library's own functions, whose places this program takes.
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static struct {
    bool active, persists;
    long after, count;
} shortage;

static bool fails(void) {
    if (!__atomic_load_n(&shortage.active, __ATOMIC_SEQ_CST))
        return false;
    long number = __atomic_fetch_add(&shortage.count, 1, __ATOMIC_SEQ_CST);
    bool is_missing = number == shortage.after || (shortage.persists && number > shortage.after);
    if (is_missing)
        errno = ENOMEM;
    return is_missing;
}

void *malloc(size_t size) {
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
    return fails() ? NULL : __libc_realloc(old, size);
}

int posix_memalign(void **place, size_t alignment, size_t size) {
    void *memory = fails() ? NULL : __libc_memalign(alignment, size);
    if (memory == NULL)
        return ENOMEM;
    *place = memory;
    return 0;
}

// The state of a record, in memory that a case shares with the test.
typedef enum { ABSENT, UNKNOWN, PRESENT } state;

static struct {
    state states[RECORDS];
    size_t lens[RECORDS];
    strongroom_record_key keys[RECORDS];
    strongroom_status first_error;
    long allocations;
} *shared;

static uint8_t *data;
static const char *const IDS[RECORDS] = {"short", "replaced", "many", "stream", "taken"};

// Notes a call's outcome. Returns whether it succeeded.
static bool ok(strongroom_status status) {
    switch (status) {
    case STRONGROOM_OK:
        return true;
    case STRONGROOM_TOO_LARGE:
    case STRONGROOM_STORAGE:
    case STRONGROOM_INDETERMINATE:
        break;
    default: // a consequence of an earlier failure
        if (shared->first_error == STRONGROOM_OK || status == STRONGROOM_CORRUPT || status == STRONGROOM_INTERNAL) {
            shortage.active = false;
            fprintf(stderr, "unexpected: %s\n", strongroom_status_name(status));
            exit(1);
        }
    }
    if (shared->first_error == STRONGROOM_OK)
        shared->first_error = status;
    return false;
}

// Notes the outcome of a write of record `n`, whose state was UNKNOWN while it ran.
static void written(size_t n, state before, size_t len, strongroom_status status) {
    if (ok(status)) {
        shared->lens[n] = len;
        shared->states[n] = len > 0 ? PRESENT : ABSENT;
    } else if (status != STRONGROOM_INDETERMINATE) {
        shared->states[n] = before;
    }
}

static void store_one(strongroom *store, size_t n, size_t len) {
    shared->states[n] = UNKNOWN;
    written(n, ABSENT, len, strongroom_store(store, IDS[n], strlen(IDS[n]), data, len, &shared->keys[n], NULL));
}

static void store_many(strongroom *store, size_t n) {
    strongroom_item item = {IDS[n], strlen(IDS[n]), data, SHORT};
    shared->states[n] = UNKNOWN;
    written(n, ABSENT, SHORT, strongroom_store_many(store, &item, 1, &shared->keys[n], NULL));
}

static void store_stream(strongroom *store, size_t n) {
    strongroom_writer *writer = NULL;
    strongroom_error error;
    if (ok(strongroom_create_record(store, IDS[n], strlen(IDS[n]), &writer, &error)) &&
        ok(strongroom_writer_write(writer, data, LONG, &error))) {
        shared->states[n] = UNKNOWN;
        written(n, ABSENT, LONG, strongroom_writer_finish(writer, &shared->keys[n], &error));
    }
    strongroom_writer_free(writer);
}

static void replace(strongroom *store, size_t n) {
    strongroom_record_key old = shared->keys[n], new_key;
    if (shared->states[n] != PRESENT)
        return;
    shared->states[n] = UNKNOWN;
    strongroom_status status = strongroom_replace(store, IDS[n], strlen(IDS[n]), &old, data, LONG, &new_key, NULL);
    if (status == STRONGROOM_OK)
        shared->keys[n] = new_key;
    written(n, PRESENT, LONG, status);
}

static void take(strongroom *store, size_t n) {
    strongroom_buffer found = {NULL, 0};
    if (shared->states[n] != PRESENT)
        return;
    shared->states[n] = UNKNOWN;
    strongroom_status status = strongroom_take(store, IDS[n], strlen(IDS[n]), &shared->keys[n], &found, NULL);
    CHECK(status != STRONGROOM_OK || (found.len == SHORT && memcmp(found.data, data, SHORT) == 0));
    written(n, UNKNOWN, 0, status); // a failed one may have claimed the record
    strongroom_buffer_free(&found);
}

static void read_one(strongroom *store, size_t n) {
    strongroom_buffer found = {NULL, 0};
    strongroom_reader *reader = NULL;
    static uint8_t buffer[LONG];
    size_t len = 0;
    if (shared->states[n] != PRESENT)
        return;
    if (ok(strongroom_retrieve(store, IDS[n], strlen(IDS[n]), &shared->keys[n], &found, NULL)))
        CHECK(found.len == shared->lens[n] && memcmp(found.data, data, found.len) == 0);
    strongroom_buffer_free(&found);
    if (ok(strongroom_open_record(store, IDS[n], strlen(IDS[n]), &shared->keys[n], &reader, NULL)) &&
        ok(strongroom_reader_read(reader, buffer, sizeof buffer, &len, NULL)))
        CHECK(memcmp(buffer, data, len) == 0);
    strongroom_reader_free(reader);
}

static void *work(void *context) {
    strongroom *store = NULL;
    strongroom_stats stats;
    strongroom_verify_report report;
    (void)context;
    __atomic_store_n(&shortage.active, true, __ATOMIC_SEQ_CST);
    if (ok(strongroom_open("records.db", NULL, &store, NULL))) {
        store_one(store, 0, SHORT);
        store_one(store, 1, SHORT);
        replace(store, 1);
        store_many(store, 2);
        store_stream(store, 3);
        store_one(store, 4, SHORT);
        for (size_t n = 0; n < RECORDS; n++)
            read_one(store, n);
        take(store, 4);
        (void)ok(strongroom_get_stats(store, &stats, NULL));
        if (ok(strongroom_verify(store, NULL, NULL, NULL, &report, NULL)))
            CHECK(report.damaged == 0);
        (void)ok(strongroom_close(store, NULL));
    }
    __atomic_store_n(&shortage.active, false, __ATOMIC_SEQ_CST);
    shared->allocations = shortage.count;
    return NULL;
}

// The check after a case.
static void check(void) {
    strongroom_error error;
    strongroom *store = open_store();
    for (size_t n = 0; n < RECORDS; n++) {
        strongroom_buffer found = {NULL, 0};
        bool exists = false;
        if (shared->states[n] == PRESENT) {
            CHECK_OK(strongroom_retrieve(store, IDS[n], strlen(IDS[n]), &shared->keys[n], &found, &error));
            CHECK(found.len == shared->lens[n] && memcmp(found.data, data, found.len) == 0);
            strongroom_buffer_free(&found);
        } else if (shared->states[n] == ABSENT) {
            CHECK_OK(strongroom_contains(store, IDS[n], strlen(IDS[n]), &exists, &error));
            CHECK(!exists);
        }
    }
    strongroom_verify_report report;
    CHECK_OK(strongroom_verify(store, NULL, NULL, NULL, &report, &error));
    CHECK(report.damaged == 0);
    close_store(store);
}

// Runs `function` in a process. Returns its wait status. An abort, which is expected, says nothing and leaves no core.
static int run(void *(*function)(void *), bool is_quiet) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        CHECK(setrlimit(RLIMIT_CORE, &none) == 0);
        if (is_quiet)
            CHECK(freopen("said", "w", stderr) != NULL);
        alarm(60);
        function(NULL);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static void *check_in_process(void *context) {
    (void)context;
    check();
    return NULL;
}

static bool is_abort(int status) {
    char said[400] = "";
    FILE *file = fopen("said", "r");
    CHECK(file != NULL);
    (void)!fread(said, 1, sizeof said - 1, file);
    fclose(file);
    bool is_lack = strstr(said, "memory allocation of ") != NULL || strstr(said, "out of memory") != NULL;
    if (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && is_lack))
        fprintf(stderr, "after %ld allocations%s: %s\n", shortage.after, shortage.persists ? ", all" : "", said);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && is_lack;
}

int main(void) {
    enter_folder();
    data = pattern(LONG);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    shortage.after = -1;
    CHECK(run(work, false) == 0 && shared->first_error == STRONGROOM_OK);
    long all = shared->allocations, step = test_seconds() > 30 ? 1 : all / 100 + 1, cases = 0, aborts = 0, errors = 0;
    CHECK(all > 1000);
    for (long after = 0; after < 2 * all; after += step) {
        memset(shared, 0, sizeof *shared);
        CHECK(system("rm -f records.db*") == 0);
        shortage.after = after / 2;
        shortage.persists = after % 2 != 0;
        int status = run(work, true);
        bool aborted = is_abort(status);
        CHECK(aborted || status == 0);
        CHECK(run(check_in_process, false) == 0);
        cases++;
        aborts += aborted;
        errors += !aborted && shared->first_error != STRONGROOM_OK;
    }
    printf("%ld cases of %ld: %ld aborts, %ld errors\n", cases, 2 * all, aborts, errors);
    CHECK(aborts > 0 && errors > 0);
    munmap(shared, sizeof *shared);
    free(data);
    leave_folder();
    return 0;
}
