// Two threads for each core use one handle for TEST_SECONDS: they store, retrieve, replace and remove their own records
// and a shared one. No record is lost or mixed with another. All threads try to take some records: each record has one
// taker.

#include <time.h>

#include "testsupport.h"

enum { IDS = 16, ONCE = 100, MOST_THREADS = 64 };

typedef struct {
    pthread_t thread;
    strongroom *store;
    time_t end;
    unsigned number;
    unsigned operations;
    unsigned won;   // replaces of the shared record
    unsigned taken; // records that were taken
} worker;

static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static strongroom_record_key shared_key, once_keys[ONCE];

// Replaces the shared record with its published key. Of several concurrent calls, one succeeds.
static void fight(worker *self) {
    strongroom_error error;
    strongroom_record_key old_key, new_key;
    CHECK(pthread_mutex_lock(&shared_lock) == 0);
    old_key = shared_key;
    CHECK(pthread_mutex_unlock(&shared_lock) == 0);
    const strongroom_status status =
        strongroom_replace(self->store, "shared", 6, &old_key, &self->number, sizeof self->number, &new_key, &error);
    if (status == STRONGROOM_OK) {
        CHECK(pthread_mutex_lock(&shared_lock) == 0);
        shared_key = new_key;
        CHECK(pthread_mutex_unlock(&shared_lock) == 0);
        self->won++;
    } else if (status != STRONGROOM_WRONG_KEY && status != STRONGROOM_CONFLICT) {
        fprintf(stderr, "%s: %s\n", strongroom_status_name(status), error.message);
        exit(1);
    }
}

// Each thread has its own handle of the namespace.
static void take(worker *self) {
    strongroom_error error;
    strongroom *once = NULL;
    CHECK_OK(strongroom_namespace(self->store, "once", 4, &once, &error));
    for (unsigned i = 0; i < ONCE; i++) {
        strongroom_buffer found;
        const strongroom_status status = strongroom_take(once, &i, sizeof i, &once_keys[i], &found, &error);
        CHECK(status == STRONGROOM_OK || status == STRONGROOM_NOT_FOUND);
        if (status == STRONGROOM_OK) {
            CHECK(found.len == sizeof i && memcmp(found.data, &i, sizeof i) == 0);
            strongroom_buffer_free(&found);
            self->taken++;
        }
    }
    CHECK_OK(strongroom_close(once, &error));
}

static void *work(void *context) {
    worker *self = (worker *)context;
    strongroom_error error;
    strongroom_record_key keys[IDS];
    unsigned versions[IDS];
    char id[32], data[64];
    for (unsigned i = 0; i < IDS; i++) {
        const size_t id_len = (size_t)snprintf(id, sizeof id, "thread %u, id %u", self->number, i);
        versions[i] = 0;
        memset(data, 0, sizeof data);
        CHECK_OK(strongroom_store(self->store, id, id_len, data, sizeof data, &keys[i], &error));
    }
    while (time(NULL) < self->end) {
        const unsigned i = self->operations++ % IDS;
        const size_t id_len = (size_t)snprintf(id, sizeof id, "thread %u, id %u", self->number, i);
        strongroom_buffer found;
        CHECK_OK(strongroom_retrieve(self->store, id, id_len, &keys[i], &found, &error));
        CHECK(found.len == sizeof data && memcmp(found.data, &versions[i], sizeof versions[i]) == 0);
        strongroom_buffer_free(&found);
        versions[i]++;
        memcpy(data, &versions[i], sizeof versions[i]);
        if (i % 4 == 0) {
            CHECK_OK(strongroom_delete(self->store, id, id_len, &keys[i], &error));
            CHECK_OK(strongroom_store(self->store, id, id_len, data, sizeof data, &keys[i], &error));
        } else {
            const strongroom_record_key old_key = keys[i];
            CHECK_OK(strongroom_replace(self->store, id, id_len, &old_key, data, sizeof data, &keys[i], &error));
        }
        fight(self);
    }
    take(self);
    for (unsigned i = 0; i < IDS; i++) {
        const size_t id_len = (size_t)snprintf(id, sizeof id, "thread %u, id %u", self->number, i);
        strongroom_buffer found;
        CHECK_OK(strongroom_retrieve(self->store, id, id_len, &keys[i], &found, &error));
        CHECK(memcmp(found.data, &versions[i], sizeof versions[i]) == 0);
        strongroom_buffer_free(&found);
    }
    return NULL;
}

int main(void) {
    strongroom_error error;
    strongroom_stats stats;
    worker workers[MOST_THREADS];
    unsigned count = 2 * (unsigned)sysconf(_SC_NPROCESSORS_ONLN), operations = 0, won = 0, taken = 0;
    if (count > MOST_THREADS)
        count = MOST_THREADS;
    enter_folder();
    strongroom *store = open_store();
    CHECK_OK(strongroom_store(store, "shared", 6, "", 0, &shared_key, &error));
    strongroom *once = NULL;
    CHECK_OK(strongroom_namespace(store, "once", 4, &once, &error));
    for (unsigned i = 0; i < ONCE; i++)
        CHECK_OK(strongroom_store(once, &i, sizeof i, &i, sizeof i, &once_keys[i], &error));
    CHECK_OK(strongroom_close(once, &error));
    for (unsigned i = 0; i < count; i++) {
        memset(&workers[i], 0, sizeof workers[i]);
        workers[i].store = store;
        workers[i].number = i;
        workers[i].end = time(NULL) + (time_t)test_seconds() + 1;
        workers[i].thread = start_small(work, &workers[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
        operations += workers[i].operations;
        won += workers[i].won;
        taken += workers[i].taken;
    }
    CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK(stats.records == count * IDS + 1);
    CHECK(won > 0 && taken == ONCE);
    strongroom_buffer found;
    CHECK_OK(strongroom_retrieve(store, "shared", 6, &shared_key, &found, &error));
    strongroom_buffer_free(&found);
    close_store(store);
    printf("%u threads, %u rounds, %u of them won the shared record\n", count, operations, won);
    leave_folder();
    return 0;
}
