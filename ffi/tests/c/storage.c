// Storages of callbacks: the suite accepts a right one and rejects faulty ones; hostile callbacks are typed errors;
// ownership, versions of the struct, missing callbacks.

#include <signal.h>
#include <stddef.h>

#include "../../examples/table_storage.h"
#include "testsupport.h"

static strongroom_error error;
static strongroom_index_key index_key;

// Options with the index key, until the next call.
static const strongroom_options *keyed(void) {
    static strongroom_options options;
    options.size = sizeof options;
    options.index_key = &index_key;
    return &options;
}

// ---- The suite ------------------------------------------------------------------------------------------------------

// Changes a right storage.
typedef void (*change_fn)(strongroom_storage_callbacks *storage);

typedef struct {
    change_fn change;
    int promises, broken;
    char failed[100], why[2000];
} check;

static int make(void *context, const char *folder, strongroom_sink *sink) {
    CHECK(access(folder, W_OK) == 0);
    strongroom_storage_callbacks storage = table_storage(table_new());
    if (((check *)context)->change != NULL)
        ((check *)context)->change(&storage);
    const strongroom_status status = strongroom_give_storage(sink, &storage);
    if (status != STRONGROOM_OK)
        table_free(storage.context);
    return status;
}

static int count(void *context, const char *promise, const char *failure) {
    check *all = (check *)context;
    sigset_t blocked;
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0); // of a thread of the library
    CHECK(sigismember(&blocked, SIGINT) == 1 && sigismember(&blocked, SIGSEGV) == 0);
    all->promises++;
    if (failure != NULL) {
        all->broken++;
        snprintf(all->failed, sizeof all->failed, "%s", promise);
        snprintf(all->why, sizeof all->why, "%s", failure);
        CHECK(strchr(failure, '\n') == NULL);
    }
    return 0;
}

// Enough to call each callback, where all would take minutes.
static const char *const SOME[] = {"a_created_record_is_there",       "create_many_writes_all_or_none",
                                   "delete_heeds_the_expected_head",  "rename_moves_one_version",
                                   "read_at_is_pinned_to_a_head",     "list_is_in_order_and_paged",
                                   "purge_removes_those_that_are_due", "stats_count_expired_records",
                                   "a_dropped_upload_leaves_nothing", "an_uploads_mode_counts_at_its_commit",
                                   "of_concurrent_creates_one_wins",  "verify_goes_on_after_a_record",
                                   "settings_are_compared_and_swapped", "a_closed_storage_does_nothing"};

static void the_table_keeps_some_promises(void) {
    for (size_t i = 0; i < COUNT(SOME); i++) {
        check one = {NULL, 0, 0, "", ""};
        CHECK_OK(strongroom_check_storage(make, count, &one, STRONGROOM_VOLATILE, SOME[i], &error));
        CHECK(one.promises == 1 && one.broken == 0);
    }
}

static void the_table_keeps_all_promises(void) {
    check all = {NULL, 0, 0, "", ""};
    if (strongroom_check_storage(make, count, &all, STRONGROOM_VOLATILE, NULL, &error) != STRONGROOM_OK) {
        fprintf(stderr, "%s\n%s\n", error.message, all.why);
        exit(1);
    }
    CHECK(all.promises >= 45 && all.broken == 0);
}

// A table that survives closing, as long as the folder is the same.
typedef struct {
    char folder[300];
    table *rows;
} kept;

static int make_kept(void *context, const char *folder, strongroom_sink *sink) {
    kept *last = (kept *)context;
    if (strcmp(last->folder, folder) != 0) {
        if (last->rows != NULL)
            table_free(last->rows);
        last->rows = table_new();
        snprintf(last->folder, sizeof last->folder, "%s", folder);
    }
    strongroom_storage_callbacks storage = table_storage(last->rows);
    storage.destroy = NULL;
    return strongroom_give_storage(sink, &storage);
}

static void records_survive(void) {
    kept last = {"", NULL};
    if (!is_short())
        CHECK_OK(strongroom_check_storage(make_kept, NULL, &last, 0, "records_survive_reopening", &error));
    CHECK_OK(strongroom_check_storage(make_kept, NULL, &last, 0, "settings_survive_reopening", &error));
    table_free(last.rows);
    check lost = {NULL, 0, 0, "", ""};
    CHECK_STATUS(STRONGROOM_UNSUPPORTED,
                 strongroom_check_storage(make, count, &lost, 0, "settings_survive_reopening", &error));
    CHECK(lost.broken == 1);
}

static int put_any(void *context, const uint8_t *locator, const void *record, size_t record_len,
                   strongroom_put_mode mode, const uint8_t *head) {
    (void)mode, (void)head;
    return table_put(context, locator, record, record_len, STRONGROOM_OVERWRITE, NULL);
}

static int put_nothing(void *context, const uint8_t *locator, const void *record, size_t record_len,
                       strongroom_put_mode mode, const uint8_t *head) {
    (void)context, (void)locator, (void)record, (void)record_len, (void)mode, (void)head;
    return STRONGROOM_STORAGE_FULL;
}

static int create_half(void *context, const strongroom_storage_record *records, size_t len) {
    int status = STRONGROOM_OK;
    for (size_t i = 0; status == STRONGROOM_OK && i < len; i++)
        status = table_put(context, records[i].locator, records[i].record, records[i].record_len, STRONGROOM_CREATE, NULL);
    return status;
}

static int remove_any(void *context, const uint8_t *locator, const uint8_t *head) {
    (void)head;
    return table_remove(context, locator, NULL);
}

static int read_from_the_start(void *context, const uint8_t *locator, const uint8_t *head, uint64_t offset, void *buffer,
                               size_t len) {
    (void)offset;
    return table_read_at(context, locator, head, 0, buffer, len);
}

static int rename_any(void *context, const uint8_t *from, const uint8_t *head, const uint8_t *to) {
    (void)head;
    table *all = table_lock(context);
    const table_row *row = table_row_of(all, from);
    uint8_t there[STRONGROOM_HEAD_SIZE];
    if (row != NULL)
        memcpy(there, row->record, sizeof there);
    table_unlock(all, 0);
    return row == NULL ? STRONGROOM_CONFLICT : table_rename(context, from, there, to);
}

static int damaged(void *context, const uint8_t *locator) {
    (void)context, (void)locator;
    return STRONGROOM_CORRUPT;
}

static void fault_put(strongroom_storage_callbacks *storage) { storage->put = put_any; }
static void fault_full(strongroom_storage_callbacks *storage) { storage->put = put_nothing; }
static void fault_batch(strongroom_storage_callbacks *storage) { storage->create_many = create_half; }
static void fault_remove(strongroom_storage_callbacks *storage) { storage->remove = remove_any; }
static void fault_read(strongroom_storage_callbacks *storage) { storage->read_at = read_from_the_start; }
static void fault_rename(strongroom_storage_callbacks *storage) { storage->rename = rename_any; }
static void fault_verify(strongroom_storage_callbacks *storage) { storage->verify_record = damaged; }
static void fault_none(strongroom_storage_callbacks *storage) { storage->put = NULL; }

static const struct {
    change_fn change;
    const char *promise;
} FAULTS[] = {
    {fault_put, "create_refuses_a_taken_locator"},
    {fault_put, "of_concurrent_creates_one_wins"},
    {fault_full, "readers_see_whole_records"},
    {fault_batch, "create_many_writes_all_or_none"},
    {fault_batch, "overlapping_batches_are_whole"},
    {fault_remove, "delete_heeds_the_expected_head"},
    {fault_read, "read_at_reads_any_range"},
    {fault_rename, "rename_moves_one_version"},
    {fault_verify, "verify_looks_at_every_record"},
    {fault_none, "a_created_record_is_there"},
};

static void faulty_storages_are_rejected(void) {
    for (size_t i = 0; i < COUNT(FAULTS); i++) {
        check one = {FAULTS[i].change, 0, 0, "", ""};
        CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_check_storage(make, count, &one, STRONGROOM_VOLATILE,
                                                                      FAULTS[i].promise, &error));
        CHECK(strstr(error.message, "breaks 1 of 1 promises") != NULL && strstr(error.message, FAULTS[i].promise) != NULL);
        CHECK(one.promises == 1 && one.broken == 1 && strcmp(one.failed, FAULTS[i].promise) == 0 && one.why[0] != 0);
    }
}

static int stop(void *context, const char *promise, const char *failure) {
    (void)promise, (void)failure;
    ++*(int *)context;
    return 1;
}

static int make_nothing(void *context, const char *folder, strongroom_sink *sink) {
    (void)context, (void)folder, (void)sink;
    return STRONGROOM_OK;
}

static int make_counted(void *context, const char *folder, strongroom_sink *sink) {
    (void)context;
    check none = {NULL, 0, 0, "", ""};
    return make(&none, folder, sink);
}

static void arguments_of_the_suite(void) {
    int reports = 0;
    CHECK_OK(strongroom_check_storage(make_counted, stop, &reports, STRONGROOM_VOLATILE, NULL, &error));
    CHECK(reports == 1);
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_check_storage(NULL, NULL, NULL, 0, NULL, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_check_storage(make, NULL, NULL, 2, NULL, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_check_storage(make, NULL, NULL, 0, "no_promise", &error));
    CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_check_storage(make_nothing, NULL, NULL, STRONGROOM_VOLATILE,
                                                                  "delete_removes", &error));
    CHECK(strongroom_give_storage(NULL, NULL) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(strongroom_give_bytes(NULL, "", 0) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(strongroom_give_info(NULL, NULL, 0) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(strongroom_give_entry(NULL, NULL, NULL, 0) == STRONGROOM_INVALID_ARGUMENT);
}

// ---- Hostile callbacks ----------------------------------------------------------------------------------------------

static const uint8_t RECORD[200] = {1, 1};
static const uint8_t LOCATORS[2][STRONGROOM_LOCATOR_SIZE] = {{1}, {2}};

static int give_twice(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    (void)context, (void)locator, (void)max_len;
    CHECK(strongroom_give_bytes(sink, RECORD, 100) == STRONGROOM_OK);
    CHECK(strongroom_give_bytes(sink, RECORD, 100) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(strongroom_give_info(sink, RECORD, UINT64_MAX) == STRONGROOM_INVALID_ARGUMENT);
    return STRONGROOM_OK;
}

static int give_nothing(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    (void)context, (void)locator, (void)max_len, (void)sink;
    return STRONGROOM_OK;
}

static int give_short(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    (void)context, (void)locator, (void)max_len;
    return strongroom_give_bytes(sink, RECORD, STRONGROOM_HEAD_SIZE - 1);
}

static int give_more(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    (void)context, (void)locator;
    const size_t len = (size_t)max_len + 1;
    uint8_t *record = pattern(len);
    CHECK(strongroom_give_bytes(sink, record, len) == STRONGROOM_INVALID_ARGUMENT);
    free(record);
    return STRONGROOM_OK;
}

static int give_too_much(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    (void)context, (void)locator, (void)max_len;
    CHECK(strongroom_give_bytes(sink, RECORD, SIZE_MAX) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(strongroom_give_bytes(sink, NULL, 100) == STRONGROOM_INVALID_ARGUMENT);
    return STRONGROOM_OK;
}

static int give_a_list(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    (void)context, (void)max_len;
    CHECK(strongroom_give_entry(sink, locator, RECORD, 100) == STRONGROOM_INVALID_ARGUMENT);
    return STRONGROOM_OK;
}

static int give_and_deny(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    (void)context, (void)locator, (void)max_len;
    CHECK(strongroom_give_bytes(sink, RECORD, 100) == STRONGROOM_OK);
    return STRONGROOM_NOT_FOUND;
}

static int give_only_the_info(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    (void)context, (void)locator, (void)max_len;
    CHECK(strongroom_give_info(sink, RECORD, 100) == STRONGROOM_INVALID_ARGUMENT);
    return STRONGROOM_INVALID_ARGUMENT;
}

// A record of 16 EiB.
static int give_the_longest(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    (void)context, (void)locator, (void)max_len;
    return strongroom_give_info(sink, RECORD, UINT64_MAX);
}

static int refuse(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    (void)context, (void)locator, (void)max_len, (void)sink;
    return -77;
}

static int fail(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    (void)context, (void)locator, (void)max_len, (void)sink;
    return STRONGROOM_STORAGE;
}

static int deny(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    (void)context, (void)locator, (void)max_len, (void)sink;
    return STRONGROOM_ACCESS_DENIED;
}

static int put_unknown(void *context, const uint8_t *locator, const void *record, size_t record_len,
                       strongroom_put_mode mode, const uint8_t *head) {
    (void)context, (void)locator, (void)record, (void)record_len, (void)mode, (void)head;
    return 12345;
}

static int list_backwards(void *context, const uint8_t *after, size_t limit, strongroom_sink *sink) {
    (void)context, (void)after, (void)limit;
    CHECK(strongroom_give_entry(sink, LOCATORS[1], RECORD, 100) == STRONGROOM_OK);
    CHECK(limit < 2 || strongroom_give_entry(sink, LOCATORS[0], RECORD, 100) == STRONGROOM_INVALID_ARGUMENT);
    return STRONGROOM_OK;
}

static int list_without_end(void *context, const uint8_t *after, size_t limit, strongroom_sink *sink) {
    (void)context, (void)after;
    uint8_t locator[STRONGROOM_LOCATOR_SIZE] = {0};
    for (size_t i = 0; i <= limit; i++) {
        locator[30] = (uint8_t)(i >> 8);
        locator[31] = (uint8_t)i;
        const strongroom_status status = strongroom_give_entry(sink, locator, RECORD, 100);
        CHECK((status == STRONGROOM_OK) == (i < limit));
    }
    return STRONGROOM_OK;
}

static int list_nothing(void *context, const uint8_t *after, size_t limit, strongroom_sink *sink) {
    (void)context, (void)after, (void)limit, (void)sink;
    return STRONGROOM_NOT_FOUND;
}

// They never expire.
static int list_all_as_expired(void *context, uint64_t now, size_t limit, strongroom_sink *sink) {
    (void)now;
    return table_list(context, NULL, limit, sink);
}

static int long_settings(void *context, strongroom_sink *sink) {
    (void)context;
    static const uint8_t document[STRONGROOM_SETTINGS_SIZE + 1] = {1};
    return strongroom_give_bytes(sink, document, sizeof document);
}

// Claims another length of the record, which is 2 MiB long. Reads past its end give zeros.
static uint64_t claimed;

static int claim(void *context, const uint8_t *locator, strongroom_sink *sink) {
    table *all = table_lock(context);
    const table_row *row = table_row_of(all, locator);
    if (row == NULL)
        return table_unlock(all, STRONGROOM_NOT_FOUND);
    const int status = strongroom_give_info(sink, row->record, claimed);
    return table_unlock(all, status);
}

static int claim_up_to(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    (void)max_len;
    return claim(context, locator, sink);
}

static int read_zeros(void *context, const uint8_t *locator, const uint8_t *head, uint64_t offset, void *buffer,
                      size_t len) {
    if (table_read_at(context, locator, head, offset, buffer, len) != STRONGROOM_OK)
        memset(buffer, 0, len);
    return STRONGROOM_OK;
}

static int commit_unknown(void *context, void *handle) {
    (void)context, (void)handle;
    return -1;
}

static strongroom *open_on(const strongroom_storage_callbacks *storage) {
    strongroom *store = NULL;
    CHECK_OK(strongroom_open_storage(storage, keyed(), &store, &error));
    return store;
}

static void hostile_callbacks_are_errors(void) {
    static const struct {
        int (*get_up_to)(void *, const uint8_t *, uint64_t, strongroom_sink *);
        strongroom_status status;
        const char *message;
    } GETS[] = {
        {give_twice, STRONGROOM_STORAGE, "`get_up_to` gave its result twice"},
        {give_nothing, STRONGROOM_STORAGE, "`get_up_to` gave no result"},
        {give_short, STRONGROOM_STORAGE, "`get_up_to` gave a record of less than 68 bytes"},
        {give_more, STRONGROOM_STORAGE, "`get_up_to` gave a record that is longer than wanted"},
        {give_too_much, STRONGROOM_STORAGE, "the length of data is invalid"},
        {give_a_list, STRONGROOM_STORAGE, "`get_up_to` gave an entry, which it must not"},
        {give_and_deny, STRONGROOM_STORAGE, "`get_up_to` returned 1"},
        {give_only_the_info, STRONGROOM_STORAGE, "`get_up_to` gave only the info of a short record"},
        {give_the_longest, STRONGROOM_WRONG_KEY, ""},
        {refuse, STRONGROOM_STORAGE, "`get_up_to` returned -77"},
        {fail, STRONGROOM_STORAGE, "`get_up_to` failed"},
        {deny, STRONGROOM_ACCESS_DENIED, "`get_up_to` was denied access"},
    };
    for (size_t i = 0; i < COUNT(GETS); i++) {
        strongroom_storage_callbacks storage = table_storage(table_new());
        storage.get_up_to = GETS[i].get_up_to;
        strongroom *store = open_on(&storage);
        strongroom_record_key key;
        strongroom_buffer data = {NULL, 0};
        CHECK_OK(strongroom_store(store, "id", 2, "data", 4, &key, &error));
        CHECK_STATUS(GETS[i].status, strongroom_retrieve(store, "id", 2, &key, &data, &error));
        if (strstr(error.message, GETS[i].message) == NULL) {
            fprintf(stderr, "%s\n", error.message);
            exit(1);
        }
        CHECK(data.data == NULL);
        close_store(store);
    }

    strongroom_storage_callbacks storage = table_storage(table_new());
    storage.put = put_unknown;
    storage.list_expired = list_all_as_expired;
    strongroom *store = open_on(&storage);
    strongroom_record_key key;
    strongroom_item item = {"id", 2, "data", 4};
    uint64_t purged = 0;
    CHECK_STATUS(STRONGROOM_INDETERMINATE, strongroom_store(store, "id", 2, "data", 4, &key, &error));
    CHECK(strstr(error.message, "`put` returned 12345") != NULL);
    CHECK_OK(strongroom_store_many(store, &item, 1, &key, &error));
    CHECK_STATUS(STRONGROOM_STORAGE, strongroom_purge(store, 10, &purged, &error));
    CHECK(strstr(error.message, "gave an entry that has not expired") != NULL);
    close_store(store);

    // Each of these fails the opening, or the first list.
    int (*const lists[])(void *, const uint8_t *, size_t, strongroom_sink *) = {list_backwards, list_without_end,
                                                                                list_nothing};
    for (size_t i = 0; i < COUNT(lists); i++) {
        storage = table_storage(table_new());
        store = open_on(&storage);
        close_store(store);
        storage = table_storage(table_new());
        storage.list = lists[i];
        strongroom *none = NULL;
        const strongroom_status expected = i == 0 ? STRONGROOM_CORRUPT : STRONGROOM_STORAGE;
        CHECK_STATUS(expected, strongroom_open_storage(&storage, keyed(), &none, &error));
        CHECK(none == NULL);
        table_free(storage.context);
    }
    storage = table_storage(table_new());
    strongroom_verify_report found;
    store = open_on(&storage);
    close_store(store);
    storage = table_storage(table_new());
    CHECK(table_swap_settings(storage.context, NULL, 0, "", 0) == STRONGROOM_OK);
    strongroom *none = NULL;
    CHECK_STATUS(STRONGROOM_CORRUPT, strongroom_open_storage(&storage, keyed(), &none, &error));
    storage.settings = long_settings;
    CHECK_STATUS(STRONGROOM_STORAGE, strongroom_open_storage(&storage, keyed(), &none, &error));
    CHECK(strstr(error.message, "`settings` gave a settings document of more than 4096 bytes") != NULL);
    table_free(storage.context);

    // Damage is found by the storage's checksums.
    storage = table_storage(table_new());
    store = open_on(&storage);
    CHECK_OK(strongroom_store(store, "id", 2, "data", 4, &key, &error));
    ((table *)storage.context)->rows[0].record[80] ^= 1;
    CHECK_OK(strongroom_verify(store, NULL, NULL, NULL, &found, &error));
    CHECK(found.records == 1 && found.damaged == 1);
    close_store(store);
}

static void claimed_lengths_are_checked(void) {
    const uint64_t lengths[] = {0, 67, 68, 69, 100, 1 << 20, (uint64_t)1 << 40, (uint64_t)1 << 52, INT64_MAX,
                                UINT64_MAX - 1, UINT64_MAX};
    const size_t len = 2 << 20;
    uint8_t *data = pattern(len);
    strongroom_storage_callbacks storage = table_storage(table_new());
    storage.info = claim;
    storage.get_up_to = claim_up_to;
    storage.read_at = read_zeros;
    strongroom *store = open_on(&storage);
    strongroom_record_key key;
    CHECK_OK(strongroom_store(store, "id", 2, data, len, &key, &error));
    for (size_t i = 0; i < COUNT(lengths); i++) {
        claimed = lengths[i];
        strongroom_buffer found = {NULL, 0};
        strongroom_reader *reader = NULL;
        strongroom_status outcomes[3];
        uint64_t found_len = 0;
        outcomes[0] = strongroom_retrieve(store, "id", 2, &key, &found, &error);
        outcomes[1] = strongroom_retrieve_range(store, "id", 2, &key, 0, 10, &found, &error);
        outcomes[2] = strongroom_open_record(store, "id", 2, &key, &reader, &error);
        if (outcomes[2] == STRONGROOM_OK)
            outcomes[2] = strongroom_reader_len(reader, &found_len, &error);
        strongroom_reader_free(reader);
        for (size_t at = 0; at < COUNT(outcomes); at++) {
            const strongroom_status is = outcomes[at];
            if (is != STRONGROOM_CORRUPT && is != STRONGROOM_TOO_LARGE && is != STRONGROOM_STORAGE) {
                fprintf(stderr, "call %zu, %zu: %s\n", i, at, strongroom_status_name(is));
                exit(1);
            }
        }
        CHECK(found.data == NULL);
    }
    close_store(store);

    storage = table_storage(table_new());
    storage.upload_commit = commit_unknown;
    store = open_on(&storage);
    strongroom_writer *writer = NULL;
    CHECK_OK(strongroom_create_record(store, "id", 2, &writer, &error));
    CHECK_OK(strongroom_writer_write(writer, data, len, &error));
    CHECK_STATUS(STRONGROOM_INDETERMINATE, strongroom_writer_finish(writer, &key, &error));
    CHECK(strstr(error.message, "`upload_commit` returned -1") != NULL);
    strongroom_writer_free(writer);
    close_store(store);
    free(data);
}

// ---- The struct and its ownership -----------------------------------------------------------------------------------

static int destroyed;

static void count_and_free(void *context) {
    destroyed++;
    table_free(context);
}

static void ownership(void) {
    strongroom_storage_callbacks storage = table_storage(table_new());
    storage.destroy = count_and_free;
    strongroom *store = NULL, *other = NULL;
    // A failed opening leaves it with the caller.
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open_storage(&storage, NULL, &store, &error));
    CHECK(strstr(error.message, "give an index key") != NULL);
    strongroom_options options = *keyed();
    options.flags = STRONGROOM_READ_ONLY;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open_storage(&storage, &options, &store, &error));
    options.flags = 0;
    options.timeout = 1;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open_storage(&storage, &options, &store, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open_storage(NULL, keyed(), &store, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open_storage(&storage, keyed(), NULL, &error));
    CHECK(destroyed == 0 && store == NULL);

    store = open_on(&storage);
    strongroom_index_key another;
    CHECK_OK(strongroom_index_key_generate(&another, &error));
    options = *keyed();
    options.index_key = &another;
    CHECK_STATUS(STRONGROOM_INDEX_KEY_MISMATCH, strongroom_open_storage(&storage, &options, &other, &error));
    CHECK(destroyed == 0 && other == NULL);

    // A reader outlives its store; the storage lives as long as the last of them.
    strongroom_record_key key;
    strongroom_reader *reader = NULL;
    strongroom_writer *writer = NULL;
    const size_t len = 3 << 20;
    uint8_t *data = pattern(len);
    CHECK_OK(strongroom_store(store, "id", 2, data, len, &key, &error));
    CHECK_OK(strongroom_open_record(store, "id", 2, &key, &reader, &error));
    CHECK_OK(strongroom_create_record(store, "new", 3, &writer, &error));
    CHECK_OK(strongroom_writer_write(writer, data, len, &error));
    CHECK_OK(strongroom_close(store, &error));
    CHECK(destroyed == 0);
    size_t read = 0;
    CHECK_OK(strongroom_reader_seek(reader, 2 << 20, &error));
    CHECK_STATUS(STRONGROOM_CLOSED, strongroom_reader_read(reader, data, 1 << 20, &read, &error));
    strongroom_reader_free(reader);
    CHECK_STATUS(STRONGROOM_CLOSED, strongroom_writer_finish(writer, &key, &error));
    strongroom_writer_free(writer);
    free(data);
    CHECK(destroyed == 1);
}

static void versions_of_the_struct(void) {
    struct {
        strongroom_storage_callbacks storage;
        uint64_t later;
    } newer;
    strongroom *store = NULL;
    memset(&newer, 0, sizeof newer);
    newer.storage = table_storage(table_new());
    newer.storage.size = sizeof newer;
    newer.later = 1;
    CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_open_storage(&newer.storage, keyed(), &store, &error));
    newer.later = 0;
    CHECK_OK(strongroom_open_storage(&newer.storage, keyed(), &store, &error));
    close_store(store);
    store = NULL;
    strongroom_storage_callbacks storage = table_storage(NULL);
    const size_t sizes[] = {0, 1, sizeof storage - 1, SIZE_MAX};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        storage.size = sizes[i];
        CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open_storage(&storage, keyed(), &store, &error));
    }
    const size_t lengths[] = {1, 65535, 16777217, SIZE_MAX};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        storage = table_storage(NULL);
        storage.part_len = lengths[i];
        CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open_storage(&storage, keyed(), &store, &error));
    }
    CHECK(store == NULL);
}

#define MEMBER(name) {offsetof(strongroom_storage_callbacks, name), "storage." #name " is NULL"}

static void missing_callbacks(void) {
    static const struct {
        size_t offset;
        const char *message;
    } REQUIRED[] = {MEMBER(put),           MEMBER(get_up_to),   MEMBER(info),   MEMBER(read_at), MEMBER(upload),
                    MEMBER(upload_write),  MEMBER(upload_commit), MEMBER(upload_free), MEMBER(remove), MEMBER(rename),
                    MEMBER(list),          MEMBER(settings),    MEMBER(swap_settings), MEMBER(stats)};
    strongroom *store = NULL;
    for (size_t i = 0; i < COUNT(REQUIRED); i++) {
        strongroom_storage_callbacks storage = table_storage(NULL);
        memset((char *)&storage + REQUIRED[i].offset, 0, sizeof(void *));
        CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open_storage(&storage, keyed(), &store, &error));
        CHECK(strcmp(error.message, REQUIRED[i].message) == 0);
    }

    strongroom_storage_callbacks storage = table_storage(table_new());
    storage.create_many = NULL;
    storage.list_expired = NULL;
    storage.verify_record = NULL;
    store = open_on(&storage);
    strongroom_item item = {"id", 2, "data", 4};
    strongroom_record_key key;
    strongroom_verify_report report;
    uint64_t purged = 0;
    CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_store_many(store, &item, 1, &key, &error));
    CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_purge(store, 1, &purged, &error));
    CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_verify(store, NULL, NULL, NULL, &report, &error));
    CHECK_OK(strongroom_maintain(store, &error));
    CHECK_OK(strongroom_store(store, "id", 2, "data", 4, &key, &error));
    close_store(store);
}

static void remove_optional(strongroom_storage_callbacks *storage) {
    storage->create_many = NULL;
    storage->list_expired = NULL;
    storage->verify_record = NULL;
    storage->part_len = 65536;
    storage->parallel_parts = 1;
}

static void promises_without_optional_callbacks(void) {
    const char *promises[] = {"create_many_writes_all", "list_expired_gives_those_that_are_due",
                              "purge_removes_those_that_are_due", "verify_looks_at_every_record",
                              "limits_are_kept", "a_closed_storage_does_nothing"};
    for (size_t i = 0; i < COUNT(promises); i++) {
        check one = {remove_optional, 0, 0, "", ""};
        CHECK_OK(strongroom_check_storage(make, count, &one, STRONGROOM_VOLATILE, promises[i], &error));
        CHECK(one.promises == 1);
    }
}

int main(void) {
    enter_folder();
    CHECK_OK(strongroom_index_key_generate(&index_key, &error));
    if (is_short())
        the_table_keeps_some_promises();
    else
        the_table_keeps_all_promises();
    records_survive();
    faulty_storages_are_rejected();
    arguments_of_the_suite();
    hostile_callbacks_are_errors();
    claimed_lengths_are_checked();
    ownership();
    versions_of_the_struct();
    missing_callbacks();
    promises_without_optional_callbacks();
    leave_folder();
    return 0;
}
