// Each operation of a store, and each outcome of it.

#include <time.h>

#include "testsupport.h"

static void every_size_comes_back(strongroom *store) {
    strongroom_error error;
    for (size_t i = 0; i < COUNT(SIZES); i++) {
        const size_t len = SIZES[i];
        uint8_t *data = pattern(len), *buffer = pattern(len + 1);
        strongroom_record_key key;
        strongroom_buffer found;
        size_t found_len = 0;
        char id[32];
        const size_t id_len = (size_t)snprintf(id, sizeof id, "%zu bytes", len);

        CHECK_OK(strongroom_store(store, id, id_len, len ? data : NULL, len, &key, &error));
        CHECK_OK(strongroom_retrieve(store, id, id_len, &key, &found, &error));
        CHECK(found.data != NULL && found.len == len && memcmp(found.data, data, len) == 0);
        strongroom_buffer_free(&found);
        CHECK(found.data == NULL && found.len == 0);
        strongroom_buffer_free(&found);

        memset(buffer, 0xee, len + 1);
        CHECK_OK(strongroom_retrieve_into(store, id, id_len, &key, len ? buffer : NULL, len, &found_len, &error));
        CHECK(found_len == len && memcmp(buffer, data, len) == 0 && buffer[len] == 0xee);
        if (len > 0) {
            found_len = 0;
            CHECK_STATUS(STRONGROOM_TOO_LARGE, strongroom_retrieve_into(store, id, id_len, &key, buffer, len - 1,
                                                                        &found_len, &error));
            CHECK(found_len == len);
        }

        CHECK_OK(strongroom_retrieve_range(store, id, id_len, &key, len / 2, 10, &found, &error));
        CHECK(found.len == (len - len / 2 < 10 ? len - len / 2 : 10));
        CHECK(memcmp(found.data, data + len / 2, found.len) == 0);
        strongroom_buffer_free(&found);
        CHECK_OK(strongroom_retrieve_range(store, id, id_len, &key, UINT64_MAX, SIZE_MAX, &found, &error));
        CHECK(found.len == 0);
        strongroom_buffer_free(&found);
        CHECK_OK(strongroom_retrieve_range(store, id, id_len, &key, 0, SIZE_MAX, &found, &error));
        CHECK(found.len == len && memcmp(found.data, data, len) == 0);
        strongroom_buffer_free(&found);
        free(data);
        free(buffer);
    }
}

static void outcomes(strongroom *store) {
    strongroom_error error;
    strongroom_record_key key, other, new_key;
    strongroom_buffer data;
    bool found = true;
    static const char long_id[4097] = {0};

    CHECK_OK(strongroom_contains(store, "id", 2, &found, &error));
    CHECK(!found);
    CHECK_OK(strongroom_record_key_generate(&key, &error));
    CHECK_OK(strongroom_record_key_generate(&other, &error));
    CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_retrieve(store, "id", 2, &key, &data, &error));
    CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_delete(store, "id", 2, &key, &error));
    CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_replace(store, "id", 2, &key, "new", 3, &new_key, &error));

    CHECK_OK(strongroom_store_with(store, "id", 2, "data", 4, NULL, &key, &error));
    CHECK_OK(strongroom_delete(store, "id", 2, &key, &error));
    CHECK_OK(strongroom_store_with(store, "id", 2, "data", 4, under(&key), &new_key, &error));
    CHECK(memcmp(&key, &new_key, sizeof key) == 0);
    CHECK_OK(strongroom_store_with(store, "id", 2, "data", 4, under(&key), NULL, &error));
    CHECK_STATUS(STRONGROOM_ALREADY_EXISTS, strongroom_store_with(store, "id", 2, "date", 4, under(&key), NULL, &error));
    CHECK_STATUS(STRONGROOM_ALREADY_EXISTS, strongroom_store(store, "id", 2, "data", 4, &new_key, &error));
    CHECK_OK(strongroom_contains(store, "id", 2, &found, &error));
    CHECK(found);
    CHECK_STATUS(STRONGROOM_WRONG_KEY, strongroom_retrieve(store, "id", 2, &other, &data, &error));
    CHECK_STATUS(STRONGROOM_WRONG_KEY, strongroom_delete(store, "id", 2, &other, &error));
    CHECK_STATUS(STRONGROOM_WRONG_KEY, strongroom_replace(store, "id", 2, &other, "new", 3, &new_key, &error));

    CHECK_OK(strongroom_replace(store, "id", 2, &key, "new", 3, &new_key, &error));
    CHECK_STATUS(STRONGROOM_WRONG_KEY, strongroom_retrieve(store, "id", 2, &key, &data, &error));
    CHECK_OK(strongroom_retrieve(store, "id", 2, &new_key, &data, &error));
    CHECK(data.len == 3 && memcmp(data.data, "new", 3) == 0);
    strongroom_buffer_free(&data);

    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT,
                 strongroom_replace_with(store, "id", 2, &new_key, "newer", 5, under(&new_key), NULL, &error));
    CHECK_OK(strongroom_replace_with(store, "id", 2, &new_key, "newer", 5, under(&other), NULL, &error));
    CHECK_OK(strongroom_replace_with(store, "id", 2, &new_key, "newer", 5, under(&other), NULL, &error));
    CHECK_OK(strongroom_delete(store, "id", 2, &other, &error));
    CHECK_OK(strongroom_erase(store, "id", 2, &found, &error));
    CHECK(!found);
    CHECK_OK(strongroom_store(store, "id", 2, NULL, 0, &key, &error));
    CHECK_OK(strongroom_erase(store, "id", 2, &found, &error));
    CHECK(found);

    // An id is any bytes, up to the limit.
    CHECK_OK(strongroom_store(store, "\xff\xfe\0\x80", 4, "data", 4, &key, &error));
    CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_retrieve(store, "\xff\xfe\0\x81", 4, &key, &data, &error));
    CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_retrieve(store, "\xff\xfe", 2, &key, &data, &error));
    CHECK_OK(strongroom_retrieve(store, "\xff\xfe\0\x80", 4, &key, &data, &error));
    strongroom_buffer_free(&data);
    CHECK_OK(strongroom_store(store, long_id, 4096, "data", 4, &key, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ID, strongroom_store(store, long_id, 4097, "data", 4, &key, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ID, strongroom_store(store, NULL, 0, "data", 4, &key, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ID, strongroom_contains(store, "", 0, &found, &error));

    // A key that was never filled, or was wiped, is invalid.
    strongroom_wipe(&key, sizeof key);
    CHECK_STATUS(STRONGROOM_INVALID_KEY, strongroom_retrieve(store, long_id, 4096, &key, &data, &error));
    CHECK_STATUS(STRONGROOM_INVALID_KEY, strongroom_store_with(store, "x", 1, "data", 4, under(&key), NULL, &error));
}

static void many(strongroom *store) {
    strongroom_error error;
    strongroom_item items[100];
    strongroom_request requests[101];
    strongroom_record_key keys[101];
    strongroom_result results[101];
    char ids[101][16];
    bool found = true;

    for (size_t i = 0; i < 101; i++)
        snprintf(ids[i], sizeof ids[i], "many %03zu", i);
    for (size_t i = 0; i < 100; i++) {
        const strongroom_item item = {ids[i], 8, ids[i], i % 9};
        items[i] = item;
    }
    // All or none.
    items[99].id = ids[0];
    CHECK_STATUS(STRONGROOM_ALREADY_EXISTS, strongroom_store_many(store, items, 100, keys, &error));
    CHECK_OK(strongroom_contains(store, ids[0], 8, &found, &error));
    CHECK(!found);
    items[99].id = ids[99];
    CHECK_OK(strongroom_store_many(store, items, 100, keys, &error));

    keys[100] = keys[0];
    for (size_t i = 0; i < 101; i++) {
        const strongroom_request request = {ids[i], 8, &keys[i == 7 ? 8 : i]};
        requests[i] = request;
    }
    CHECK_OK(strongroom_retrieve_many(store, requests, 101, results, &error));
    for (size_t i = 0; i < 101; i++) {
        if (i == 7 || i == 100) {
            CHECK(results[i].status == (i == 7 ? STRONGROOM_WRONG_KEY : STRONGROOM_NOT_FOUND));
            CHECK(results[i].data.data == NULL && results[i].data.len == 0);
        } else {
            CHECK(results[i].status == STRONGROOM_OK && results[i].data.len == i % 9);
            CHECK(memcmp(results[i].data.data, ids[i], i % 9) == 0);
        }
        strongroom_buffer_free(&results[i].data);
    }
    CHECK_OK(strongroom_store_many(store, NULL, 0, NULL, &error));
    CHECK_OK(strongroom_retrieve_many(store, NULL, 0, NULL, &error));
}

static void many_with_options(strongroom *store) {
    strongroom_error error;
    const strongroom_item items[] = {{"first", 5, "1", 1}, {"second", 6, "2", 1}};
    strongroom_record_key key, keys[2];
    bool found = true;

    // One key is the caller's, the other one is made.
    CHECK_OK(strongroom_record_key_generate(&key, &error));
    const strongroom_write_options *options[] = {under(&key), NULL};
    CHECK_OK(strongroom_store_many_with(store, items, 2, options, keys, &error));
    CHECK(strongroom_record_key_equal(&keys[0], &key) && !strongroom_record_key_equal(&keys[1], &key));
    for (size_t i = 0; i < 2; i++)
        CHECK_OK(strongroom_delete(store, items[i].id, items[i].id_len, &keys[i], &error));

    // The caller has all keys, and repeats the call.
    options[1] = options[0];
    CHECK_OK(strongroom_store_many_with(store, items, 2, options, NULL, &error));
    CHECK_OK(strongroom_store_many_with(store, items, 2, options, NULL, &error));
    CHECK_OK(strongroom_delete(store, "first", 5, &key, &error));
    options[1] = NULL;
    CHECK_STATUS(STRONGROOM_ALREADY_EXISTS, strongroom_store_many_with(store, items, 2, options, keys, &error));
    CHECK_OK(strongroom_contains(store, "first", 5, &found, &error));
    CHECK(!found);
    CHECK_OK(strongroom_delete(store, "second", 6, &key, &error));
    CHECK_OK(strongroom_store_many_with(store, NULL, 0, NULL, NULL, &error));
}

static strongroom_write_options expiring(uint64_t at, uint64_t in) {
    strongroom_write_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.expires_at = at;
    options.expires_in = in;
    return options;
}

static void expiry_times(strongroom *store) {
    strongroom_error error;
    const uint64_t now = (uint64_t)time(NULL);
    strongroom_record_key key, new_key;
    strongroom_buffer data;
    uint64_t purged = 1;

    const strongroom_write_options invalid[] = {expiring(1, 0), expiring(now, 0), expiring(UINT64_MAX, 0),
                                                expiring(now + 60, 60)};
    for (size_t i = 0; i < COUNT(invalid); i++)
        CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT,
                     strongroom_store_with(store, "late", 4, "data", 4, &invalid[i], &key, &error));
    CHECK(strstr(error.message, "not both") != NULL);

    const strongroom_write_options valid[] = {expiring(now + 3600, 0), expiring(0, 3600), expiring(0, UINT64_MAX)};
    for (size_t i = 0; i < COUNT(valid); i++) {
        CHECK_OK(strongroom_store_with(store, "late", 4, "data", 4, &valid[i], &key, &error));
        CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT,
                     strongroom_replace_with(store, "late", 4, &key, "new", 3, &invalid[i], &new_key, &error));
        CHECK_OK(strongroom_replace_with(store, "late", 4, &key, "new", 3, &valid[i], &new_key, &error));
        CHECK_OK(strongroom_retrieve(store, "late", 4, &new_key, &data, &error));
        CHECK(data.len == 3 && memcmp(data.data, "new", 3) == 0);
        strongroom_buffer_free(&data);
        CHECK_OK(strongroom_delete(store, "late", 4, &new_key, &error));
    }
    CHECK_OK(strongroom_purge(store, UINT64_MAX, &purged, &error));
    CHECK(purged == 0);
}

static ptrdiff_t no_data(void *context, void *to, size_t size) {
    (void)context, (void)to, (void)size;
    return 0;
}

// Every function with options makes records that expire.
static void expired_records(strongroom *store) {
    strongroom_error error;
    enum { RECORDS = 8, WITH_EXPIRY = 7 };
    static const char *const ids[RECORDS] = {"exp 0", "exp 1", "exp 2", "exp 3", "exp 4", "exp 5", "exp 6", "exp 7"};
    strongroom_record_key keys[RECORDS], old, new_key;
    strongroom_writer *writer = NULL;
    strongroom_buffer data;
    strongroom_stats before, stats;
    uint64_t purged = 0;
    bool found = true;

    CHECK_OK(strongroom_get_stats(store, &before, &error));
    CHECK(before.expired == 0);
    const strongroom_write_options soon = expiring(0, 1);
    CHECK_OK(strongroom_store_with(store, ids[0], 5, "data", 4, &soon, &keys[0], &error));
    CHECK_OK(strongroom_store(store, ids[1], 5, "data", 4, &old, &error));
    CHECK_OK(strongroom_replace_with(store, ids[1], 5, &old, "new", 3, &soon, &keys[1], &error));
    CHECK_OK(strongroom_create_record_with(store, ids[2], 5, &soon, &writer, &error));
    CHECK_OK(strongroom_writer_finish(writer, &keys[2], &error));
    strongroom_writer_free(writer);
    CHECK_OK(strongroom_store(store, ids[3], 5, "data", 4, &old, &error));
    CHECK_OK(strongroom_replace_record_with(store, ids[3], 5, &old, &soon, &writer, &error));
    CHECK_OK(strongroom_writer_finish(writer, &keys[3], &error));
    strongroom_writer_free(writer);
    CHECK_OK(strongroom_store_stream_with(store, ids[4], 5, no_data, NULL, &soon, &keys[4], &error));
    CHECK_OK(strongroom_store(store, ids[5], 5, "data", 4, &old, &error));
    CHECK_OK(strongroom_replace_stream_with(store, ids[5], 5, &old, no_data, NULL, &soon, &keys[5], &error));
    // Each item has its own options: the second one never expires.
    const strongroom_item items[] = {{ids[6], 5, "data", 4}, {ids[7], 5, "data", 4}};
    const strongroom_write_options *options[] = {&soon, NULL};
    CHECK_OK(strongroom_store_many_with(store, items, 2, options, &keys[6], &error));

    for (stats = before; stats.expired < WITH_EXPIRY; usleep(50 * 1000))
        CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK(stats.expired == WITH_EXPIRY && stats.records == before.records + RECORDS);
    for (size_t i = 0; i < WITH_EXPIRY; i++) {
        CHECK_STATUS(STRONGROOM_EXPIRED, strongroom_retrieve(store, ids[i], 5, &keys[i], &data, &error));
        CHECK_STATUS(STRONGROOM_EXPIRED, strongroom_replace(store, ids[i], 5, &keys[i], "new", 3, &new_key, &error));
        CHECK_STATUS(STRONGROOM_WRONG_KEY, strongroom_retrieve(store, ids[i], 5, &keys[RECORDS - 1], &data, &error));
        CHECK_OK(strongroom_contains(store, ids[i], 5, &found, &error));
        CHECK(!found);
    }

    // The id is free, the record can still be removed, and the rest is purged.
    CHECK_OK(strongroom_store(store, ids[0], 5, "newer", 5, &new_key, &error));
    CHECK_OK(strongroom_delete(store, ids[0], 5, &new_key, &error));
    CHECK_OK(strongroom_delete(store, ids[1], 5, &keys[1], &error));
    CHECK_OK(strongroom_erase(store, ids[2], 5, &found, &error));
    CHECK(found);
    CHECK_OK(strongroom_purge(store, 0, &purged, &error));
    CHECK(purged == 0);
    CHECK_OK(strongroom_purge(store, 3, &purged, &error));
    CHECK(purged == 3);
    CHECK_OK(strongroom_purge(store, UINT64_MAX, &purged, &error));
    CHECK(purged == 1);
    CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_retrieve(store, ids[6], 5, &keys[6], &data, &error));
    CHECK_OK(strongroom_delete(store, ids[7], 5, &keys[7], &error));
    CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK(stats.records == before.records && stats.bytes == before.bytes && stats.expired == 0);
}

static void taken_records(strongroom *store) {
    strongroom_error error;
    strongroom_record_key key, other;
    strongroom_buffer data;
    strongroom_reader *reader = NULL;
    char buffer[8];
    size_t len = 0;
    uint64_t whole = 0;
    bool found = true;

    CHECK_OK(strongroom_record_key_generate(&other, &error));
    CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_take(store, "once", 4, &other, &data, &error));
    for (size_t i = 0; i < COUNT(SIZES); i++) {
        uint8_t *expected = pattern(SIZES[i]);
        CHECK_OK(strongroom_store(store, "once", 4, expected, SIZES[i], &key, &error));
        CHECK_STATUS(STRONGROOM_WRONG_KEY, strongroom_take(store, "once", 4, &other, &data, &error));
        CHECK_OK(strongroom_take(store, "once", 4, &key, &data, &error));
        CHECK(data.data != NULL && data.len == SIZES[i] && memcmp(data.data, expected, data.len) == 0);
        strongroom_buffer_free(&data);
        CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_take(store, "once", 4, &key, &data, &error));
        free(expected);
    }

    // From the call on, only the reader has the record.
    CHECK_OK(strongroom_store(store, "once", 4, "data", 4, &key, &error));
    CHECK_STATUS(STRONGROOM_WRONG_KEY, strongroom_take_record(store, "once", 4, &other, &reader, &error));
    CHECK(reader == NULL);
    CHECK_OK(strongroom_take_record(store, "once", 4, &key, &reader, &error));
    CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_retrieve(store, "once", 4, &key, &data, &error));
    CHECK_OK(strongroom_contains(store, "once", 4, &found, &error));
    CHECK(!found);
    CHECK_OK(strongroom_reader_len(reader, &whole, &error));
    CHECK(whole == 4);
    CHECK_OK(strongroom_reader_read(reader, buffer, sizeof buffer, &len, &error));
    CHECK(len == 4 && memcmp(buffer, "data", 4) == 0);
    CHECK_OK(strongroom_reader_seek(reader, 2, &error));
    CHECK_OK(strongroom_reader_read(reader, buffer, sizeof buffer, &len, &error));
    CHECK(len == 2 && memcmp(buffer, "ta", 2) == 0);
    strongroom_reader_free(reader);
}

static void rekeyed_records(strongroom *store) {
    strongroom_error error;
    strongroom_record_key key, old, other;
    strongroom_buffer data;

    CHECK_OK(strongroom_record_key_generate(&other, &error));
    CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_rekey(store, "rekey", 5, &other, NULL, &key, &error));
    for (size_t i = 0; i < COUNT(SIZES); i++) {
        uint8_t *expected = pattern(SIZES[i]);
        CHECK_OK(strongroom_store(store, "rekey", 5, expected, SIZES[i], &old, &error));
        CHECK_STATUS(STRONGROOM_WRONG_KEY, strongroom_rekey(store, "rekey", 5, &other, NULL, &key, &error));
        CHECK_OK(strongroom_rekey(store, "rekey", 5, &old, NULL, &key, &error));
        CHECK_STATUS(STRONGROOM_WRONG_KEY, strongroom_retrieve(store, "rekey", 5, &old, &data, &error));
        CHECK_OK(strongroom_retrieve(store, "rekey", 5, &key, &data, &error));
        CHECK(data.len == SIZES[i] && memcmp(data.data, expected, data.len) == 0);
        strongroom_buffer_free(&data);
        CHECK_OK(strongroom_rekey(store, "rekey", 5, &key, NULL, &key, &error)); // into the same struct
        CHECK_OK(strongroom_delete(store, "rekey", 5, &key, &error));
        free(expected);
    }

    // Under the caller's key, the call may be repeated.
    CHECK_OK(strongroom_store(store, "rekey", 5, "data", 4, &old, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_rekey(store, "rekey", 5, &old, under(&old), NULL, &error));
    CHECK_OK(strongroom_rekey(store, "rekey", 5, &old, under(&other), NULL, &error));
    CHECK_OK(strongroom_rekey(store, "rekey", 5, &old, under(&other), &key, &error));
    CHECK(strongroom_record_key_equal(&key, &other));

    // The expiry time remains unless another one is given.
    const strongroom_write_options past = expiring(1, 0), soon = expiring(0, 1);
    strongroom_stats stats;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_rekey(store, "rekey", 5, &key, &past, &key, &error));
    CHECK_OK(strongroom_rekey(store, "rekey", 5, &key, &soon, &key, &error));
    const strongroom_status rekeyed = strongroom_rekey(store, "rekey", 5, &key, NULL, &key, &error);
    CHECK(rekeyed == STRONGROOM_OK || rekeyed == STRONGROOM_EXPIRED); // on a slow machine
    for (memset(&stats, 0, sizeof stats); stats.expired == 0; usleep(50 * 1000))
        CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK_STATUS(STRONGROOM_EXPIRED, strongroom_rekey(store, "rekey", 5, &key, NULL, &key, &error));
    CHECK_STATUS(STRONGROOM_EXPIRED, strongroom_take(store, "rekey", 5, &key, &data, &error));
    CHECK_OK(strongroom_delete(store, "rekey", 5, &key, &error));
}

static void namespaces(strongroom *store) {
    strongroom_error error;
    strongroom *one = NULL, *other = NULL, *longest = NULL, *plain = NULL, *none = NULL;
    strongroom_record_key key, own;
    strongroom_buffer data;
    strongroom_stats before, stats;
    bool found = true;
    static const char name[256] = {0};

    CHECK_OK(strongroom_get_stats(store, &before, &error));
    CHECK_OK(strongroom_namespace(store, "one", 3, &one, &error));
    CHECK_OK(strongroom_namespace(one, "other", 5, &other, &error)); // not nested
    CHECK_OK(strongroom_namespace(store, name, 255, &longest, &error));
    CHECK_OK(strongroom_namespace(one, NULL, 0, &plain, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_namespace(store, name, 256, &none, &error));
    CHECK(none == NULL);

    CHECK_OK(strongroom_store(one, "shared", 6, "data", 4, &key, &error));
    strongroom *const without[] = {store, plain, other, longest};
    for (size_t i = 0; i < COUNT(without); i++) {
        CHECK_OK(strongroom_contains(without[i], "shared", 6, &found, &error));
        CHECK(!found);
        CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_retrieve(without[i], "shared", 6, &key, &data, &error));
    }
    CHECK_OK(strongroom_store(plain, "shared", 6, "own", 3, &own, &error));
    CHECK_OK(strongroom_get_stats(other, &stats, &error)); // of the whole store
    CHECK(stats.records == before.records + 2);
    CHECK_OK(strongroom_delete(store, "shared", 6, &own, &error));

    // Closing a namespace's handle leaves the store and its other handles open.
    CHECK_OK(strongroom_close(one, &error));
    CHECK_OK(strongroom_namespace(other, "one", 3, &one, &error));
    CHECK_OK(strongroom_take(one, "shared", 6, &key, &data, &error));
    strongroom_buffer_free(&data);
    CHECK_OK(strongroom_close(one, &error));
    CHECK_OK(strongroom_close(other, &error));
    CHECK_OK(strongroom_close(longest, &error));
    CHECK_OK(strongroom_close(plain, &error));
}

// Closing the store closes it for the handles of its namespaces, which must still be freed.
static void closed_stores(void) {
    strongroom_error error;
    strongroom *store = NULL, *namespace_ = NULL;
    strongroom_reader *reader = NULL;
    strongroom_record_key key;
    bool found = false;
    CHECK_OK(strongroom_open(":memory:", NULL, &store, &error));
    CHECK_OK(strongroom_namespace(store, "one", 3, &namespace_, &error));
    CHECK_OK(strongroom_store(namespace_, "id", 2, "data", 4, &key, &error));
    CHECK_OK(strongroom_take_record(namespace_, "id", 2, &key, &reader, &error));
    CHECK_OK(strongroom_close(store, &error));
    CHECK_STATUS(STRONGROOM_CLOSED, strongroom_contains(namespace_, "id", 2, &found, &error));
    CHECK_OK(strongroom_close(namespace_, &error));
    strongroom_reader_free(reader);
}

// Counts the calls, and stops the copy if there is no room for their number.
static int copy_progress(void *context, const strongroom_copied *progress) {
    int *calls = (int *)context;
    CHECK(progress->records <= 2 && progress->damaged == 0);
    if (calls == NULL) return 1;
    ++*calls;
    return 0;
}

// Counts the calls. The first one makes another copy, and stops it.
static int copy_in_copy(void *context, const strongroom_copied *progress) {
    (void)progress;
    if (++*(int *)context > 1) return 0;
    strongroom_error error;
    strongroom_copied copied;
    strongroom_copy_options how;
    memset(&how, 0, sizeof how);
    how.size = sizeof how;
    how.progress = copy_progress;
    const strongroom_status stopped = strongroom_copy("source.db", "inner.db", &how, &copied, NULL, &error);
    CHECK(stopped == STRONGROOM_BUSY || stopped == STRONGROOM_OK);
    usleep(100000); // a copy learns within 50 ms that it is stopped
    return 0;
}

// A copy opens with the index key's file of its source, and is updated by another copy.
static void copied_store(void) {
    strongroom_error error;
    strongroom_record_key key;
    strongroom_buffer data, not_copied;
    strongroom_copied copied;
    strongroom_options options;
    strongroom_copy_options how;
    strongroom *store = NULL;
    int calls = 0;
    memset(&how, 0, sizeof how);
    how.size = sizeof how;

    CHECK_OK(strongroom_open("source.db", NULL, &store, &error));
    CHECK_OK(strongroom_store(store, "first", 5, "data", 4, &key, &error));
    CHECK_OK(strongroom_store(store, "second", 6, "data", 4, &key, &error));
    CHECK_OK(strongroom_copy("source.db", "copy.db", NULL, &copied, &not_copied, &error));
    CHECK(copied.records == 2 && copied.unchanged == 0 && copied.damaged == 0 && copied.too_large == 0);
    CHECK(not_copied.len == 0);
    strongroom_buffer_free(&not_copied);
    bool erased = false;
    CHECK_OK(strongroom_erase(store, "first", 5, &erased, &error));
    close_store(store);
    how.workers = 1;
    how.progress = copy_progress;
    // A short copy may be complete before it stops.
    const strongroom_status stopped = strongroom_copy("source.db", "copy.db", &how, &copied, NULL, &error);
    CHECK(stopped == STRONGROOM_BUSY || stopped == STRONGROOM_OK);
    // The end of the inner copy is not that of the outer one, which deletes a record after it.
    how.workers = 8;
    how.progress = copy_in_copy;
    how.context = &calls;
    how.flags = STRONGROOM_MIRROR;
    CHECK_OK(strongroom_copy("source.db", "copy.db", &how, &copied, NULL, &error));
    CHECK(calls > 0);
    CHECK(copied.records == 0 && copied.unchanged == 1 && copied.deleted == 1);

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.index_key_file = "source.db.index-key";
    how.from = &options;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT,
                 strongroom_copy("source.db", "copy.db", &how, &copied, NULL, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT,
                 strongroom_copy("source.db", "source.db", NULL, &copied, NULL, &error));
    CHECK_OK(strongroom_open("copy.db", &options, &store, &error));
    CHECK_OK(strongroom_retrieve(store, "second", 6, &key, &data, &error));
    CHECK(data.len == 4 && memcmp(data.data, "data", 4) == 0);
    strongroom_buffer_free(&data);
    close_store(store);
}

int main(void) {
    strongroom_error error;
    strongroom_stats stats;
    enter_folder();
    strongroom *store = open_store();
    CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK(stats.records == 0 && stats.bytes == 0 && stats.expired == 0);
    every_size_comes_back(store);
    outcomes(store);
    many(store);
    many_with_options(store);
    expiry_times(store);
    expired_records(store);
    taken_records(store);
    rekeyed_records(store);
    namespaces(store);
    closed_stores();
    CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK(stats.records == COUNT(SIZES) + 2 + 100);
    CHECK(stats.bytes > 16383 + 16384 + 16385 + 32768 + 40000);
    CHECK_OK(strongroom_maintain(store, &error));
    CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK(stats.free > 100000);
    uint64_t compacted = 0;
    CHECK_OK(strongroom_compact(store, 8192, &compacted, &error));
    CHECK(compacted == 8192);
    CHECK_OK(strongroom_compact(store, UINT64_MAX, &compacted, &error));
    CHECK(compacted >= stats.free - 8192);
    CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK(stats.free == 0);
    close_store(store);
    copied_store();
    leave_folder();
    return 0;
}
