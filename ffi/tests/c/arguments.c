// Invalid arguments: NULL for every parameter, lengths larger than memory, unaligned pointers. Each returns a status,
// and nothing is stored or written.

#include "testsupport.h"

#define REFUSED(call) CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, call)

static const char ID[] = "id";
static strongroom_error error;
static strongroom *store;
static strongroom_record_key key, unwritten;
static strongroom_buffer data;
static bool flag;
static size_t len;

static ptrdiff_t no_data(void *context, void *to, size_t size) {
    (void)context, (void)to, (void)size;
    return 0;
}

static int no_matter(void *context, const void *from, size_t size) {
    (void)context, (void)from, (void)size;
    return 0;
}

static void keys(void) {
    char text[STRONGROOM_KEY_TEXT_SIZE];
    strongroom_index_key index_key;
    CHECK_OK(strongroom_record_key_to_text(&key, text, &error));
    CHECK_OK(strongroom_index_key_generate(&index_key, &error));

    REFUSED(strongroom_record_key_generate(NULL, &error));
    REFUSED(strongroom_record_key_from_bytes(NULL, 32, &unwritten, &error));
    REFUSED(strongroom_record_key_from_bytes(key.bytes, SIZE_MAX, &unwritten, &error));
    REFUSED(strongroom_record_key_from_bytes(key.bytes, 32, NULL, &error));
    REFUSED(strongroom_record_key_from_text(NULL, 62, &unwritten, &error));
    REFUSED(strongroom_record_key_from_text(text, SIZE_MAX, &unwritten, &error));
    REFUSED(strongroom_record_key_from_text(text, 62, NULL, &error));
    REFUSED(strongroom_record_key_to_text(NULL, text, &error));
    REFUSED(strongroom_record_key_to_text(&key, NULL, &error));
    CHECK(!strongroom_record_key_equal(NULL, &key) && !strongroom_record_key_equal(&key, NULL));
    CHECK(!strongroom_record_key_equal(NULL, NULL));

    REFUSED(strongroom_index_key_generate(NULL, &error));
    REFUSED(strongroom_index_key_from_bytes(NULL, 32, &index_key, &error));
    REFUSED(strongroom_index_key_from_bytes(key.bytes, SIZE_MAX, &index_key, &error));
    REFUSED(strongroom_index_key_from_bytes(key.bytes, 32, NULL, &error));
    REFUSED(strongroom_index_key_from_text(NULL, 62, &index_key, &error));
    REFUSED(strongroom_index_key_from_text(text, SIZE_MAX, &index_key, &error));
    REFUSED(strongroom_index_key_from_text(text, 62, NULL, &error));
    REFUSED(strongroom_index_key_to_text(NULL, text, &error));
    REFUSED(strongroom_index_key_to_text(&index_key, NULL, &error));
    CHECK(!strongroom_index_key_equal(NULL, &index_key) && !strongroom_index_key_equal(&index_key, NULL));

    strongroom_wipe(NULL, 0);
    strongroom_wipe(NULL, 10);
    strongroom_wipe(NULL, SIZE_MAX);
    strongroom_wipe(text, 0);
    strongroom_wipe(text, SIZE_MAX);
    CHECK(text[0] == 's');
}

static void stores(void) {
    strongroom *none = NULL;
    REFUSED(strongroom_open(NULL, NULL, &none, &error));
    REFUSED(strongroom_open("other.db", NULL, NULL, &error));
    CHECK(none == NULL && access("other.db", F_OK) != 0);
    strongroom_stats stats;
    REFUSED(strongroom_get_stats(NULL, &stats, &error));
    REFUSED(strongroom_get_stats(store, NULL, &error));
    uint64_t purged = 0;
    REFUSED(strongroom_purge(NULL, 1, &purged, &error));
    REFUSED(strongroom_purge(store, 1, NULL, &error));
    REFUSED(strongroom_compact(NULL, 1, &purged, &error));
    REFUSED(strongroom_compact(store, 1, NULL, &error));
    CHECK(purged == 0);
    strongroom_verify_report report = {7, 7, 7, 7};
    REFUSED(strongroom_verify(NULL, NULL, NULL, NULL, &report, &error));
    REFUSED(strongroom_verify(store, NULL, NULL, NULL, NULL, &error));
    strongroom_verify_options search;
    memset(&search, 0, sizeof search);
    REFUSED(strongroom_verify(store, &search, NULL, NULL, &report, &error));
    search.size = sizeof search;
    search.flags = 2;
    REFUSED(strongroom_verify(store, &search, NULL, NULL, &report, &error));
    search.flags = 0;
    search.start_at = "A";
    REFUSED(strongroom_verify(store, &search, NULL, NULL, &report, &error));
    search.start_at = "\xff";
    REFUSED(strongroom_verify(store, &search, NULL, NULL, &report, &error));
    CHECK(report.records == 7);
    REFUSED(strongroom_verify_path(NULL, NULL, NULL, NULL, NULL, &report, &error));
    REFUSED(strongroom_verify_path("records.db", NULL, &search, NULL, NULL, &report, &error));
    REFUSED(strongroom_verify_path("records.db", NULL, NULL, NULL, NULL, NULL, &error));
    REFUSED(strongroom_verify_path("missing.db", NULL, NULL, NULL, NULL, &report, &error));
    REFUSED(strongroom_verify_path(":memory:", NULL, NULL, NULL, NULL, &report, &error));
    CHECK(report.records == 7);
    REFUSED(strongroom_repair_from(NULL, store, &purged, &purged, &error));
    REFUSED(strongroom_repair_from(store, NULL, &purged, &purged, &error));
    REFUSED(strongroom_repair_from(store, store, NULL, &purged, &error));
    REFUSED(strongroom_repair_from(store, store, &purged, NULL, &error));
    uint64_t remaining = 7;
    REFUSED(strongroom_get_unrotated_count(NULL, 1, &remaining, &error));
    REFUSED(strongroom_get_unrotated_count(store, 1, NULL, &error));
    REFUSED(strongroom_get_unrotated_count(store, 1, &remaining, &error)); // no rotation
    CHECK(strstr(error.message, "not being rotated") != NULL && remaining == 7);
    strongroom_buffer locators;
    bool erased = true;
    REFUSED(strongroom_list_unrotated(NULL, 1, &locators, &error));
    REFUSED(strongroom_list_unrotated(store, 1, NULL, &error));
    REFUSED(strongroom_list_unrotated(store, 1, &locators, &error));
    REFUSED(strongroom_erase_unrotated(NULL, "0123456789abcdef0123456789abcdef", &erased, &error));
    REFUSED(strongroom_erase_unrotated(store, NULL, &erased, &error));
    REFUSED(strongroom_erase_unrotated(store, "0123456789abcdef0123456789abcdef", NULL, &error));
    REFUSED(strongroom_erase_unrotated(store, "0123456789abcdef0123456789abcdef", &erased, &error));
    CHECK(erased);
    REFUSED(strongroom_begin_rotation(NULL, &error));
    REFUSED(strongroom_finish_rotation(NULL, &error));
    REFUSED(strongroom_finish_rotation(store, &error));
    REFUSED(strongroom_maintain(NULL, &error));
    REFUSED(strongroom_namespace(NULL, "name", 4, &none, &error));
    REFUSED(strongroom_namespace(store, NULL, 4, &none, &error));
    REFUSED(strongroom_namespace(store, "name", SIZE_MAX, &none, &error));
    REFUSED(strongroom_namespace(store, "name", 4, NULL, &error));
    CHECK(none == NULL);
}

static void copies(void) {
    strongroom_copied copied = {7, 7, 7, 7, 7, 7};
    strongroom_copy_options options;
    memset(&options, 0, sizeof options);
    REFUSED(strongroom_copy(NULL, "other.db", NULL, &copied, NULL, &error));
    REFUSED(strongroom_copy("missing.db", NULL, NULL, &copied, NULL, &error));
    REFUSED(strongroom_copy("missing.db", "other.db", NULL, NULL, NULL, &error));
    REFUSED(strongroom_copy("missing.db", "other.db", NULL, &copied, NULL, &error));
    REFUSED(strongroom_copy("missing.db", "other.db", &options, &copied, NULL, &error));
    options.size = sizeof options;
    options.flags = 2;
    REFUSED(strongroom_copy("missing.db", "other.db", &options, &copied, NULL, &error));
    options.flags = 0;
    options.workers = 65;
    REFUSED(strongroom_copy("missing.db", "other.db", &options, &copied, NULL, &error));
    CHECK(copied.records == 7 && access("other.db", F_OK) != 0 && access("missing.db", F_OK) != 0);
}

static void records(void) {
    REFUSED(strongroom_store(NULL, ID, 2, "data", 4, &unwritten, &error));
    REFUSED(strongroom_store(store, NULL, 2, "data", 4, &unwritten, &error));
    REFUSED(strongroom_store(store, NULL, SIZE_MAX, "data", 4, &unwritten, &error));
    REFUSED(strongroom_store(store, ID, SIZE_MAX, "data", 4, &unwritten, &error));
    REFUSED(strongroom_store(store, ID, 2, NULL, 4, &unwritten, &error));
    REFUSED(strongroom_store(store, ID, 2, NULL, SIZE_MAX, &unwritten, &error));
    REFUSED(strongroom_store(store, ID, 2, "data", SIZE_MAX, &unwritten, &error));
    REFUSED(strongroom_store(store, ID, 2, "data", 4, NULL, &error));

    strongroom_write_options options;
    memset(&options, 0, sizeof options);
    REFUSED(strongroom_store_with(store, "options", 7, "data", 4, &options, &unwritten, &error));
    CHECK(strstr(error.message, "size") != NULL);
    struct {
        strongroom_write_options options;
        char newer;
    } newer;
    memset(&newer, 0, sizeof newer);
    newer.options.size = sizeof newer;
    newer.newer = 1;
    CHECK_STATUS(STRONGROOM_UNSUPPORTED,
                 strongroom_store_with(store, "options", 7, "data", 4, &newer.options, &unwritten, &error));
    options.size = sizeof options;
    REFUSED(strongroom_store_with(store, "options", 7, "data", 4, &options, NULL, &error));
    REFUSED(strongroom_store_with(store, "options", 7, "data", 4, NULL, NULL, &error));

    REFUSED(strongroom_store_with(NULL, ID, 2, "data", 4, under(&key), NULL, &error));
    REFUSED(strongroom_store_with(store, NULL, 2, "data", 4, under(&key), NULL, &error));
    REFUSED(strongroom_store_with(store, ID, SIZE_MAX, "data", 4, under(&key), NULL, &error));
    REFUSED(strongroom_store_with(store, ID, 2, "data", 4, under(NULL), NULL, &error));
    REFUSED(strongroom_store_with(store, ID, 2, NULL, 4, under(&key), NULL, &error));
    REFUSED(strongroom_store_with(store, ID, 2, "data", SIZE_MAX, under(&key), NULL, &error));

    REFUSED(strongroom_retrieve(NULL, ID, 2, &key, &data, &error));
    REFUSED(strongroom_retrieve(store, NULL, 2, &key, &data, &error));
    REFUSED(strongroom_retrieve(store, ID, SIZE_MAX, &key, &data, &error));
    REFUSED(strongroom_retrieve(store, ID, 2, NULL, &data, &error));
    REFUSED(strongroom_retrieve(store, ID, 2, &key, NULL, &error));

    REFUSED(strongroom_take(NULL, ID, 2, &key, &data, &error));
    REFUSED(strongroom_take(store, NULL, 2, &key, &data, &error));
    REFUSED(strongroom_take(store, ID, SIZE_MAX, &key, &data, &error));
    REFUSED(strongroom_take(store, ID, 2, NULL, &data, &error));
    REFUSED(strongroom_take(store, ID, 2, &key, NULL, &error));

    char buffer[8];
    REFUSED(strongroom_retrieve_into(NULL, ID, 2, &key, buffer, 8, &len, &error));
    REFUSED(strongroom_retrieve_into(store, NULL, 2, &key, buffer, 8, &len, &error));
    REFUSED(strongroom_retrieve_into(store, ID, SIZE_MAX, &key, buffer, 8, &len, &error));
    REFUSED(strongroom_retrieve_into(store, ID, 2, NULL, buffer, 8, &len, &error));
    REFUSED(strongroom_retrieve_into(store, ID, 2, &key, NULL, 8, &len, &error));
    REFUSED(strongroom_retrieve_into(store, ID, 2, &key, buffer, SIZE_MAX, &len, &error));
    REFUSED(strongroom_retrieve_into(store, ID, 2, &key, buffer, 8, NULL, &error));

    REFUSED(strongroom_retrieve_range(NULL, ID, 2, &key, 0, 8, &data, &error));
    REFUSED(strongroom_retrieve_range(store, NULL, 2, &key, 0, 8, &data, &error));
    REFUSED(strongroom_retrieve_range(store, ID, SIZE_MAX, &key, 0, 8, &data, &error));
    REFUSED(strongroom_retrieve_range(store, ID, 2, NULL, 0, 8, &data, &error));
    REFUSED(strongroom_retrieve_range(store, ID, 2, &key, 0, 8, NULL, &error));

    REFUSED(strongroom_replace(NULL, ID, 2, &key, "data", 4, &unwritten, &error));
    REFUSED(strongroom_replace(store, NULL, 2, &key, "data", 4, &unwritten, &error));
    REFUSED(strongroom_replace(store, ID, SIZE_MAX, &key, "data", 4, &unwritten, &error));
    REFUSED(strongroom_replace(store, ID, 2, NULL, "data", 4, &unwritten, &error));
    REFUSED(strongroom_replace(store, ID, 2, &key, NULL, 4, &unwritten, &error));
    REFUSED(strongroom_replace(store, ID, 2, &key, "data", SIZE_MAX, &unwritten, &error));
    REFUSED(strongroom_replace(store, ID, 2, &key, "data", 4, NULL, &error));

    strongroom_record_key other;
    CHECK_OK(strongroom_record_key_generate(&other, &error));
    REFUSED(strongroom_replace_with(NULL, ID, 2, &key, "data", 4, under(&other), NULL, &error));
    REFUSED(strongroom_replace_with(store, NULL, 2, &key, "data", 4, under(&other), NULL, &error));
    REFUSED(strongroom_replace_with(store, ID, SIZE_MAX, &key, "data", 4, under(&other), NULL, &error));
    REFUSED(strongroom_replace_with(store, ID, 2, NULL, "data", 4, under(&other), NULL, &error));
    REFUSED(strongroom_replace_with(store, ID, 2, &key, "data", 4, under(NULL), NULL, &error));
    REFUSED(strongroom_replace_with(store, ID, 2, &key, NULL, 4, under(&other), NULL, &error));
    REFUSED(strongroom_replace_with(store, ID, 2, &key, "data", SIZE_MAX, under(&other), NULL, &error));

    memset(&options, 0, sizeof options);
    REFUSED(strongroom_rekey(store, ID, 2, &key, &options, &unwritten, &error));
    CHECK(strstr(error.message, "size") != NULL);
    REFUSED(strongroom_rekey(NULL, ID, 2, &key, NULL, &unwritten, &error));
    REFUSED(strongroom_rekey(store, NULL, 2, &key, NULL, &unwritten, &error));
    REFUSED(strongroom_rekey(store, ID, SIZE_MAX, &key, NULL, &unwritten, &error));
    REFUSED(strongroom_rekey(store, ID, 2, NULL, NULL, &unwritten, &error));
    REFUSED(strongroom_rekey(store, ID, 2, &key, NULL, NULL, &error));
    REFUSED(strongroom_rekey(store, ID, 2, &key, under(NULL), NULL, &error));
    REFUSED(strongroom_rekey(store, ID, 2, NULL, under(&other), NULL, &error));

    REFUSED(strongroom_delete(NULL, ID, 2, &key, &error));
    REFUSED(strongroom_delete(store, NULL, 2, &key, &error));
    REFUSED(strongroom_delete(store, ID, SIZE_MAX, &key, &error));
    REFUSED(strongroom_delete(store, ID, 2, NULL, &error));
    REFUSED(strongroom_erase(NULL, ID, 2, &flag, &error));
    REFUSED(strongroom_erase(store, NULL, 2, &flag, &error));
    REFUSED(strongroom_erase(store, ID, SIZE_MAX, &flag, &error));
    REFUSED(strongroom_erase(store, ID, 2, NULL, &error));
    REFUSED(strongroom_contains(NULL, ID, 2, &flag, &error));
    REFUSED(strongroom_contains(store, NULL, 2, &flag, &error));
    REFUSED(strongroom_contains(store, ID, SIZE_MAX, &flag, &error));
    REFUSED(strongroom_contains(store, ID, 2, NULL, &error));
}

static void many(void) {
    strongroom_item item = {ID, 2, "data", 4};
    strongroom_request request = {ID, 2, &key};
    strongroom_result result;
    REFUSED(strongroom_store_many(NULL, &item, 1, &unwritten, &error));
    REFUSED(strongroom_store_many(store, NULL, 1, &unwritten, &error));
    REFUSED(strongroom_store_many(store, &item, SIZE_MAX, &unwritten, &error));
    REFUSED(strongroom_store_many(store, &item, SIZE_MAX / sizeof item, &unwritten, &error));
    REFUSED(strongroom_store_many(store, &item, 1, NULL, &error));
    item.id = NULL;
    REFUSED(strongroom_store_many(store, &item, 1, &unwritten, &error));
    item.id = ID;
    item.data_len = SIZE_MAX;
    REFUSED(strongroom_store_many(store, &item, 1, &unwritten, &error));
    item.data_len = 4;

    const strongroom_write_options *options = under(&key), *none = NULL;
    strongroom_write_options newer = *options;
    newer.size = 0;
    const strongroom_write_options *invalid = &newer;
    REFUSED(strongroom_store_many_with(NULL, &item, 1, &options, &unwritten, &error));
    REFUSED(strongroom_store_many_with(store, NULL, 1, &options, &unwritten, &error));
    REFUSED(strongroom_store_many_with(store, &item, 1, NULL, &unwritten, &error));
    REFUSED(strongroom_store_many_with(store, &item, 1, &invalid, &unwritten, &error));
    REFUSED(strongroom_store_many_with(store, &item, 1, &none, NULL, &error));
    REFUSED(strongroom_store_many_with(store, &item, SIZE_MAX, &options, NULL, &error));
    item.id = NULL;
    REFUSED(strongroom_store_many_with(store, &item, 1, &options, &unwritten, &error));

    REFUSED(strongroom_retrieve_many(NULL, &request, 1, &result, &error));
    REFUSED(strongroom_retrieve_many(store, NULL, 1, &result, &error));
    REFUSED(strongroom_retrieve_many(store, &request, SIZE_MAX, &result, &error));
    REFUSED(strongroom_retrieve_many(store, &request, 1, NULL, &error));
    request.key = NULL;
    REFUSED(strongroom_retrieve_many(store, &request, 1, &result, &error));
    request.key = &key;
    request.id_len = SIZE_MAX;
    REFUSED(strongroom_retrieve_many(store, &request, 1, &result, &error));
}

static void streams(void) {
    strongroom_writer *writer = NULL;
    strongroom_reader *reader = NULL;
    uint64_t whole = 0;
    strongroom_record_key other;
    CHECK_OK(strongroom_record_key_generate(&other, &error));
    REFUSED(strongroom_create_record(NULL, "new", 3, &writer, &error));
    REFUSED(strongroom_create_record(store, NULL, 3, &writer, &error));
    REFUSED(strongroom_create_record(store, "new", SIZE_MAX, &writer, &error));
    REFUSED(strongroom_create_record(store, "new", 3, NULL, &error));
    REFUSED(strongroom_create_record_with(NULL, "new", 3, under(&key), &writer, &error));
    REFUSED(strongroom_create_record_with(store, NULL, 3, under(&key), &writer, &error));
    REFUSED(strongroom_create_record_with(store, "new", 3, under(&key), NULL, &error));
    REFUSED(strongroom_replace_record(NULL, ID, 2, &key, &writer, &error));
    REFUSED(strongroom_replace_record(store, NULL, 2, &key, &writer, &error));
    REFUSED(strongroom_replace_record(store, ID, 2, NULL, &writer, &error));
    REFUSED(strongroom_replace_record(store, ID, 2, &key, NULL, &error));
    REFUSED(strongroom_replace_record_with(NULL, ID, 2, &key, under(&other), &writer, &error));
    REFUSED(strongroom_replace_record_with(store, NULL, 2, &key, under(&other), &writer, &error));
    REFUSED(strongroom_replace_record_with(store, ID, 2, NULL, under(&other), &writer, &error));
    REFUSED(strongroom_replace_record_with(store, ID, 2, &key, under(&other), NULL, &error));
    REFUSED(strongroom_replace_record_with(store, ID, 2, &key, under(&key), &writer, &error));
    CHECK(writer == NULL);

    CHECK_OK(strongroom_create_record(store, "new", 3, &writer, &error));
    REFUSED(strongroom_writer_write(NULL, "data", 4, &error));
    REFUSED(strongroom_writer_key(NULL, &unwritten, &error));
    REFUSED(strongroom_writer_key(writer, NULL, &error));
    REFUSED(strongroom_writer_finish(NULL, &unwritten, &error));
    CHECK_OK(strongroom_writer_write(writer, "data", 4, &error));
    // A failed write is final, also for these causes.
    REFUSED(strongroom_writer_write(writer, NULL, 4, &error));
    REFUSED(strongroom_writer_write(writer, "data", 4, &error));
    CHECK(strstr(error.message, "an earlier write") != NULL);
    REFUSED(strongroom_writer_finish(writer, &unwritten, &error));
    CHECK(strstr(error.message, "an earlier write") != NULL);
    strongroom_writer_free(writer);
    CHECK_OK(strongroom_create_record(store, "new", 3, &writer, &error));
    REFUSED(strongroom_writer_write(writer, "data", SIZE_MAX, &error));
    REFUSED(strongroom_writer_finish(writer, &unwritten, &error));
    strongroom_writer_free(writer);

    REFUSED(strongroom_open_record(NULL, ID, 2, &key, &reader, &error));
    REFUSED(strongroom_open_record(store, NULL, 2, &key, &reader, &error));
    REFUSED(strongroom_open_record(store, ID, SIZE_MAX, &key, &reader, &error));
    REFUSED(strongroom_open_record(store, ID, 2, NULL, &reader, &error));
    REFUSED(strongroom_open_record(store, ID, 2, &key, NULL, &error));
    REFUSED(strongroom_take_record(NULL, ID, 2, &key, &reader, &error));
    REFUSED(strongroom_take_record(store, NULL, 2, &key, &reader, &error));
    REFUSED(strongroom_take_record(store, ID, SIZE_MAX, &key, &reader, &error));
    REFUSED(strongroom_take_record(store, ID, 2, NULL, &reader, &error));
    REFUSED(strongroom_take_record(store, ID, 2, &key, NULL, &error));
    CHECK(reader == NULL);
    CHECK_OK(strongroom_open_record(store, ID, 2, &key, &reader, &error));
    char buffer[8];
    REFUSED(strongroom_reader_read(NULL, buffer, 8, &len, &error));
    REFUSED(strongroom_reader_read(reader, NULL, 8, &len, &error));
    REFUSED(strongroom_reader_read(reader, buffer, SIZE_MAX, &len, &error));
    REFUSED(strongroom_reader_read(reader, buffer, 8, NULL, &error));
    REFUSED(strongroom_reader_seek(NULL, 0, &error));
    REFUSED(strongroom_reader_len(NULL, &whole, &error));
    REFUSED(strongroom_reader_len(reader, NULL, &error));
    strongroom_reader_free(reader);

    REFUSED(strongroom_store_stream(NULL, "new", 3, no_data, NULL, &unwritten, &error));
    REFUSED(strongroom_store_stream(store, NULL, 3, no_data, NULL, &unwritten, &error));
    REFUSED(strongroom_store_stream(store, "new", 3, NULL, NULL, &unwritten, &error));
    REFUSED(strongroom_store_stream(store, "new", 3, no_data, NULL, NULL, &error));
    REFUSED(strongroom_store_stream_with(NULL, "new", 3, no_data, NULL, under(&key), NULL, &error));
    REFUSED(strongroom_store_stream_with(store, NULL, 3, no_data, NULL, under(&key), NULL, &error));
    REFUSED(strongroom_store_stream_with(store, "new", 3, no_data, NULL, under(NULL), NULL, &error));
    REFUSED(strongroom_store_stream_with(store, "new", 3, NULL, NULL, under(&key), NULL, &error));
    REFUSED(strongroom_replace_stream(NULL, ID, 2, &key, no_data, NULL, &unwritten, &error));
    REFUSED(strongroom_replace_stream(store, NULL, 2, &key, no_data, NULL, &unwritten, &error));
    REFUSED(strongroom_replace_stream(store, ID, 2, NULL, no_data, NULL, &unwritten, &error));
    REFUSED(strongroom_replace_stream(store, ID, 2, &key, NULL, NULL, &unwritten, &error));
    REFUSED(strongroom_replace_stream(store, ID, 2, &key, no_data, NULL, NULL, &error));
    REFUSED(strongroom_retrieve_stream(NULL, ID, 2, &key, no_matter, NULL, &error));
    REFUSED(strongroom_retrieve_stream(store, NULL, 2, &key, no_matter, NULL, &error));
    REFUSED(strongroom_retrieve_stream(store, ID, 2, NULL, no_matter, NULL, &error));
    REFUSED(strongroom_retrieve_stream(store, ID, 2, &key, NULL, NULL, &error));
}

// Never dereferenced, only compared and rejected.
static void pointers_that_are_not_aligned(void) {
    char *const odd = (char *)&len + 1;
    size_t *odd_len;
    const strongroom *odd_store;
    memcpy(&odd_len, &odd, sizeof odd);
    memcpy(&odd_store, &odd, sizeof odd);
    char buffer[8];
    REFUSED(strongroom_contains(odd_store, ID, 2, &flag, &error));
    REFUSED(strongroom_retrieve_into(store, ID, 2, &key, buffer, 8, odd_len, &error));
    CHECK(strstr(error.message, "len") != NULL);
    strongroom_error *odd_error;
    memcpy(&odd_error, &odd, sizeof odd);
    CHECK(strongroom_contains(store, ID, 2, &flag, odd_error) == STRONGROOM_INVALID_ARGUMENT);
}

int main(void) {
    enter_folder();
    store = open_store();
    CHECK_OK(strongroom_store(store, ID, 2, "data", 4, &key, &error));
    keys();
    stores();
    copies();
    records();
    many();
    streams();
    pointers_that_are_not_aligned();

    // Without a strongroom_error, only the status is returned.
    CHECK(strongroom_store(NULL, ID, 2, "data", 4, &unwritten, NULL) == STRONGROOM_INVALID_ARGUMENT);
    // Nothing was written, and nothing changed.
    strongroom_stats stats;
    CHECK(unwritten.bytes[0] == 0 && memcmp(unwritten.bytes, unwritten.bytes + 1, 31) == 0);
    CHECK(data.data == NULL && data.len == 0 && !flag && len == 0);
    CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK(stats.records == 1);
    CHECK_OK(strongroom_retrieve(store, ID, 2, &key, &data, &error));
    CHECK(data.len == 4 && memcmp(data.data, "data", 4) == 0);
    strongroom_buffer_free(&data);
    close_store(store);
    leave_folder();
    return 0;
}
