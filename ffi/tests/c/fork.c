// A forked child gets STRONGROOM_FORKED from its parent's handles, and does not affect the parent.

#include <sys/wait.h>

#include "../../examples/table_storage.h"
#include "testsupport.h"

enum { LEN = 3 * 1000 * 1000, FORKS = 100 };

static ptrdiff_t no_data(void *context, void *data, size_t size) {
    (void)context, (void)data, (void)size;
    return 0;
}

// The child's calls with each handle of its parent. Does not return.
static void child(strongroom *store, strongroom_writer *writer, strongroom_reader *reader,
                  const strongroom_record_key *key, const uint8_t *data) {
    strongroom_error error;
    strongroom_record_key new_key;
    strongroom_buffer found;
    strongroom_writer *new_writer = NULL;
    strongroom_reader *new_reader = NULL;
    strongroom_stats stats;
    uint64_t purged = 0;
    strongroom *again = NULL;
    bool flag = false;
    size_t len = 0;
    uint8_t *buffer = pattern(LEN);

    CHECK_STATUS(STRONGROOM_FORKED, strongroom_store(store, "child", 5, "data", 4, &new_key, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_retrieve(store, "id", 2, key, &found, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_replace(store, "id", 2, key, "data", 4, &new_key, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_take(store, "id", 2, key, &found, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_take_record(store, "id", 2, key, &new_reader, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_rekey(store, "id", 2, key, NULL, &new_key, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_delete(store, "id", 2, key, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_erase(store, "id", 2, &flag, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_contains(store, "id", 2, &flag, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_get_stats(store, &stats, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_purge(store, 1, &purged, &error));
    strongroom_verify_report report;
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_verify(store, NULL, NULL, NULL, &report, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_maintain(store, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_compact(store, 1, &purged, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_create_record(store, "child", 5, &new_writer, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_store_stream(store, "child", 5, no_data, NULL, &new_key, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_open_record(store, "id", 2, key, &new_reader, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_open("records.db", NULL, &again, &error));
    CHECK_STATUS(STRONGROOM_FORKED, strongroom_open("other.db", NULL, &again, &error));

    // Data in memory may still be read or buffered, but the store is not read or written.
    strongroom_status status = STRONGROOM_OK;
    for (int i = 0; i < 3 && status == STRONGROOM_OK; i++)
        status = strongroom_reader_read(reader, buffer, LEN / 2, &len, &error);
    CHECK(status == STRONGROOM_FORKED);
    status = strongroom_writer_write(writer, data, LEN, &error);
    CHECK(status == STRONGROOM_OK || status == STRONGROOM_FORKED);
    status = strongroom_writer_finish(writer, &new_key, &error);
    CHECK(status == STRONGROOM_FORKED || status == STRONGROOM_INVALID_ARGUMENT);
    strongroom_reader_free(reader);
    strongroom_writer_free(writer);
    (void)strongroom_close(store, NULL);
    free(buffer);
    // The parent's handles are not freed here: after an ordinary exit a leak checker would report them.
    execl("/bin/true", "true", (char *)NULL);
    exit(1);
}

// A storage of callbacks: no callback runs in the child, where a thread of the parent may hold their locks for ever.
static void callbacks_are_not_called(void) {
    strongroom_error error;
    strongroom_record_key key;
    strongroom_index_key index_key;
    strongroom_writer *writer = NULL;
    strongroom *store = NULL;
    bool found = false;
    table *all = table_new();
    const strongroom_storage_callbacks storage = table_storage(all);
    CHECK_OK(strongroom_index_key_generate(&index_key, &error));
    strongroom_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.index_key = &index_key;
    CHECK_OK(strongroom_open_storage(&storage, &options, &store, &error));
    uint8_t *data = pattern(LEN);
    CHECK_OK(strongroom_create_record(store, "written", 7, &writer, &error));
    CHECK_OK(strongroom_writer_write(writer, data, LEN, &error));
    pthread_mutex_lock(&all->mutex);
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(60); // a callback would wait for the lock
        CHECK_STATUS(STRONGROOM_FORKED, strongroom_contains(store, "id", 2, &found, &error));
        CHECK_STATUS(STRONGROOM_FORKED, strongroom_store(store, "id", 2, "data", 4, &key, &error));
        strongroom_writer_free(writer);
        CHECK_STATUS(STRONGROOM_FORKED, strongroom_close(store, &error));
        execl("/bin/true", "true", (char *)NULL);
        exit(1);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    pthread_mutex_unlock(&all->mutex);
    CHECK_OK(strongroom_writer_finish(writer, &key, &error));
    strongroom_writer_free(writer);
    CHECK_OK(strongroom_contains(store, "written", 7, &found, &error));
    CHECK(found);
    close_store(store);
    free(data);
}

// A store in memory: the parent does not see the child's writes, and its threads may hold locks for ever in the child.
static void memory_is_not_used(void) {
    strongroom_error error;
    strongroom_record_key key;
    strongroom_reader *reader = NULL;
    strongroom *store = NULL;
    bool found = false;
    size_t len = 0;
    uint8_t *data = pattern(LEN), *buffer = pattern(LEN);
    CHECK_OK(strongroom_open(":memory:", NULL, &store, &error));
    CHECK_OK(strongroom_store(store, "id", 2, data, LEN, &key, &error));
    CHECK_OK(strongroom_open_record(store, "id", 2, &key, &reader, &error));
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(60);
        strongroom_record_key other;
        strongroom_buffer taken;
        strongroom *own = NULL;
        CHECK_STATUS(STRONGROOM_FORKED, strongroom_contains(store, "id", 2, &found, &error));
        CHECK_STATUS(STRONGROOM_FORKED, strongroom_store(store, "other", 5, "data", 4, &other, &error));
        CHECK_STATUS(STRONGROOM_FORKED, strongroom_retrieve(store, "id", 2, &key, &taken, &error));
        CHECK_STATUS(STRONGROOM_FORKED, strongroom_take(store, "id", 2, &key, &taken, &error));
        strongroom_status status = STRONGROOM_OK;
        for (int i = 0; i < 3 && status == STRONGROOM_OK; i++) // the reader may hold the first part
            status = strongroom_reader_read(reader, buffer, LEN / 2, &len, &error);
        CHECK(status == STRONGROOM_FORKED);
        strongroom_reader_free(reader);
        CHECK_STATUS(STRONGROOM_FORKED, strongroom_close(store, &error));
        CHECK_OK(strongroom_open(":memory:", NULL, &own, &error));
        CHECK_OK(strongroom_store(own, "id", 2, "data", 4, &other, &error));
        close_store(own);
        execl("/bin/true", "true", (char *)NULL);
        exit(1);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK_OK(strongroom_contains(store, "id", 2, &found, &error));
    CHECK(found);
    CHECK_OK(strongroom_reader_read(reader, buffer, LEN, &len, &error));
    CHECK(len == LEN && memcmp(buffer, data, LEN) == 0);
    strongroom_reader_free(reader);
    close_store(store);
    free(data);
    free(buffer);
}

int main(void) {
    strongroom_error error;
    strongroom_record_key key, keys[FORKS];
    strongroom_writer *writer = NULL;
    strongroom_reader *reader = NULL;
    strongroom_stats stats;
    size_t len = 0;
    uint8_t *data = pattern(LEN), *buffer = pattern(LEN);
    const int forks = is_short() ? 10 : FORKS;
    enter_folder();
    strongroom *store = open_store();
    CHECK_OK(strongroom_store(store, "id", 2, data, LEN, &key, &error));

    // Long enough for the library's threads.
    CHECK_OK(strongroom_create_record(store, "written", 7, &writer, &error));
    CHECK_OK(strongroom_writer_write(writer, data, LEN, &error));
    CHECK_OK(strongroom_open_record(store, "id", 2, &key, &reader, &error));
    CHECK_OK(strongroom_reader_read(reader, buffer, 1500000, &len, &error));

    for (int i = 0; i < forks; i++) {
        const pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            child(store, writer, reader, &key, data);
        char id[16];
        const size_t id_len = (size_t)snprintf(id, sizeof id, "fork %d", i);
        CHECK_OK(strongroom_store(store, id, id_len, id, id_len, &keys[i], &error)); // while the child runs
        int status = 0;
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    }

    // The parent is unaffected.
    CHECK_OK(strongroom_reader_read(reader, buffer + len, LEN - len, &len, &error));
    CHECK(len == LEN - 1500000 && memcmp(buffer, data, LEN) == 0);
    strongroom_reader_free(reader);
    CHECK_OK(strongroom_writer_write(writer, data, 10, &error));
    strongroom_record_key written;
    CHECK_OK(strongroom_writer_finish(writer, &written, &error));
    strongroom_writer_free(writer);
    close_store(store);

    store = open_store();
    CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK(stats.records == (uint64_t)forks + 2);
    for (int i = 0; i < forks; i++) {
        char id[16];
        strongroom_buffer found;
        const size_t id_len = (size_t)snprintf(id, sizeof id, "fork %d", i);
        CHECK_OK(strongroom_retrieve(store, id, id_len, &keys[i], &found, &error));
        CHECK(found.len == id_len && memcmp(found.data, id, id_len) == 0);
        strongroom_buffer_free(&found);
    }
    strongroom_buffer found;
    CHECK_OK(strongroom_retrieve(store, "written", 7, &written, &found, &error));
    CHECK(found.len == LEN + 10);
    strongroom_buffer_free(&found);
    close_store(store);

    free(data);
    free(buffer);

    // With no handle open at the fork, a child may open a store, and the parent again after it.
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        store = open_store();
        bool erased = false;
        CHECK_OK(strongroom_erase(store, "id", 2, &erased, &error));
        CHECK(erased);
        close_store(store);
        exit(0);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    store = open_store();
    bool there = true;
    CHECK_OK(strongroom_contains(store, "id", 2, &there, &error));
    CHECK(!there);
    close_store(store);
    callbacks_are_not_called();
    memory_is_not_used();
    leave_folder();
    return 0;
}
