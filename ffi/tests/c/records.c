// Each operation of a store, and each outcome of it.

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

int main(void) {
    strongroom_error error;
    strongroom_stats stats;
    enter_folder();
    strongroom *store = open_store();
    CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK(stats.records == 0 && stats.bytes == 0);
    every_size_comes_back(store);
    outcomes(store);
    many(store);
    many_with_options(store);
    CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK(stats.records == COUNT(SIZES) + 2 + 100);
    CHECK(stats.bytes > 16383 + 16384 + 16385 + 32768 + 40000);
    CHECK_OK(strongroom_maintain(store, &error));
    close_store(store);
    leave_folder();
    return 0;
}
