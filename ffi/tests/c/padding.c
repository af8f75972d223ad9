// Padded records: each function that takes options hides the length of the data, and so does a store with the flag.

#include "testsupport.h"

enum { SHORT = 995, LONG = 1000, PADDED = 1024 };
enum { HEADER = 12, MESSAGE = 56 + 16 };

// How a record is written.
typedef strongroom_status (*write_fn)(strongroom *store, const uint8_t *data, size_t len,
                                      const strongroom_write_options *options, strongroom_record_key *key,
                                      strongroom_error *error);

typedef struct {
    const uint8_t *data;
    size_t len;
} source;

static ptrdiff_t read_source(void *context, void *to, size_t size) {
    source *from = (source *)context;
    const size_t len = from->len < size ? from->len : size;
    memcpy(to, from->data, len);
    from->data += len;
    from->len -= len;
    return (ptrdiff_t)len;
}

static strongroom_status stored(strongroom *store, const uint8_t *data, size_t len,
                                const strongroom_write_options *options, strongroom_record_key *key,
                                strongroom_error *error) {
    return strongroom_store_with(store, "id", 2, data, len, options, key, error);
}

static strongroom_status many(strongroom *store, const uint8_t *data, size_t len,
                              const strongroom_write_options *options, strongroom_record_key *key,
                              strongroom_error *error) {
    const strongroom_item item = {"id", 2, data, len};
    return strongroom_store_many_with(store, &item, 1, &options, key, error);
}

static strongroom_status streamed(strongroom *store, const uint8_t *data, size_t len,
                                  const strongroom_write_options *options, strongroom_record_key *key,
                                  strongroom_error *error) {
    source from = {data, len};
    return strongroom_store_stream_with(store, "id", 2, read_source, &from, options, key, error);
}

static strongroom_status finish(strongroom_status started, strongroom_writer *writer, const uint8_t *data, size_t len,
                                strongroom_record_key *key, strongroom_error *error) {
    if (started == STRONGROOM_OK)
        started = strongroom_writer_write(writer, data, len, error);
    if (started == STRONGROOM_OK)
        started = strongroom_writer_finish(writer, key, error);
    strongroom_writer_free(writer);
    return started;
}

static strongroom_status written(strongroom *store, const uint8_t *data, size_t len,
                                 const strongroom_write_options *options, strongroom_record_key *key,
                                 strongroom_error *error) {
    strongroom_writer *writer = NULL;
    const strongroom_status started = strongroom_create_record_with(store, "id", 2, options, &writer, error);
    return finish(started, writer, data, len, key, error);
}

static strongroom_status replaced(strongroom *store, const uint8_t *data, size_t len,
                                  const strongroom_write_options *options, strongroom_record_key *key,
                                  strongroom_error *error) {
    const strongroom_status first = strongroom_store(store, "id", 2, "first", 5, key, error);
    return first ? first : strongroom_replace_with(store, "id", 2, key, data, len, options, key, error);
}

static strongroom_status replaced_by_stream(strongroom *store, const uint8_t *data, size_t len,
                                            const strongroom_write_options *options, strongroom_record_key *key,
                                            strongroom_error *error) {
    source from = {data, len};
    const strongroom_status first = strongroom_store(store, "id", 2, "first", 5, key, error);
    return first ? first
                 : strongroom_replace_stream_with(store, "id", 2, key, read_source, &from, options, key, error);
}

static strongroom_status replaced_by_writer(strongroom *store, const uint8_t *data, size_t len,
                                            const strongroom_write_options *options, strongroom_record_key *key,
                                            strongroom_error *error) {
    strongroom_writer *writer = NULL;
    strongroom_status started = strongroom_store(store, "id", 2, "first", 5, key, error);
    if (started == STRONGROOM_OK)
        started = strongroom_replace_record_with(store, "id", 2, key, options, &writer, error);
    return finish(started, writer, data, len, key, error);
}

static strongroom_status rekeyed(strongroom *store, const uint8_t *data, size_t len,
                                 const strongroom_write_options *options, strongroom_record_key *key,
                                 strongroom_error *error) {
    const strongroom_status first = strongroom_store(store, "id", 2, data, len, key, error);
    return first ? first : strongroom_rekey(store, "id", 2, key, options, key, error);
}

// The bytes of the record, which opens to its data and is then removed.
static uint64_t bytes_of_record(strongroom *store, write_fn write, size_t len,
                                const strongroom_write_options *options) {
    strongroom_error error;
    strongroom_record_key key;
    strongroom_buffer found;
    strongroom_stats before, after;
    uint8_t *data = pattern(len);
    CHECK_OK(strongroom_get_stats(store, &before, &error));
    CHECK_OK(write(store, data, len, options, &key, &error));
    CHECK_OK(strongroom_get_stats(store, &after, &error));
    CHECK_OK(strongroom_retrieve(store, "id", 2, &key, &found, &error));
    CHECK(found.len == len && memcmp(found.data, data, len) == 0);
    strongroom_buffer_free(&found);
    CHECK_OK(strongroom_delete(store, "id", 2, &key, &error));
    free(data);
    return after.bytes - before.bytes;
}

static void each_function_pads(strongroom *store) {
    static const write_fn ways[] = {stored, many, streamed, written, replaced, replaced_by_stream, replaced_by_writer,
                                    rekeyed};
    const uint64_t values[] = {1, 256, UINT64_MAX};
    strongroom_write_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    for (size_t i = 0; i < COUNT(ways); i++) {
        options.pad = 0;
        CHECK(bytes_of_record(store, ways[i], SHORT, &options) == HEADER + MESSAGE + SHORT);
        CHECK(bytes_of_record(store, ways[i], LONG, NULL) == HEADER + MESSAGE + LONG);
        for (size_t n = 0; n < COUNT(values); n++) {
            options.pad = values[n];
            CHECK(bytes_of_record(store, ways[i], SHORT, &options) == HEADER + MESSAGE + PADDED);
            CHECK(bytes_of_record(store, ways[i], LONG, &options) == HEADER + MESSAGE + PADDED);
        }
    }
}

static void every_size_comes_back(strongroom *store) {
    strongroom_write_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.pad = 1;
    for (size_t i = 0; i < COUNT(SIZES); i++)
        CHECK(bytes_of_record(store, stored, SIZES[i], &options) >= HEADER + MESSAGE + SIZES[i] + 8);
}

// A record stays padded under its new key, and readers see only the data.
static void readers_see_the_data(strongroom *store) {
    strongroom_error error;
    strongroom_write_options options;
    strongroom_record_key key;
    strongroom_reader *reader = NULL;
    strongroom_buffer part;
    strongroom_stats before, after;
    uint64_t whole = 0;
    size_t len = 0;
    uint8_t *data = pattern(LONG), buffer[PADDED];
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.pad = 1;
    CHECK_OK(strongroom_store_with(store, "padded", 6, data, LONG, &options, &key, &error));
    CHECK_OK(strongroom_get_stats(store, &before, &error));
    CHECK_OK(strongroom_rekey(store, "padded", 6, &key, NULL, &key, &error));
    CHECK_OK(strongroom_get_stats(store, &after, &error));
    CHECK(before.bytes == after.bytes);

    CHECK_OK(strongroom_open_record(store, "padded", 6, &key, &reader, &error));
    CHECK_OK(strongroom_reader_len(reader, &whole, &error));
    CHECK(whole == LONG);
    CHECK_OK(strongroom_reader_read(reader, buffer, sizeof buffer, &len, &error));
    CHECK(len == LONG && memcmp(buffer, data, len) == 0);
    CHECK_OK(strongroom_reader_read(reader, buffer, sizeof buffer, &len, &error));
    CHECK(len == 0);
    strongroom_reader_free(reader);
    CHECK_OK(strongroom_retrieve_range(store, "padded", 6, &key, LONG - 5, PADDED, &part, &error));
    CHECK(part.len == 5 && memcmp(part.data, data + LONG - 5, 5) == 0);
    strongroom_buffer_free(&part);
    CHECK_OK(strongroom_retrieve_into(store, "padded", 6, &key, buffer, LONG, &len, &error));
    CHECK(len == LONG && memcmp(buffer, data, len) == 0);
    free(data);
}

// A store keeps the setting that it pads, also in its namespaces.
static void a_store_pads(void) {
    strongroom_error error;
    strongroom *store = NULL, *one = NULL;
    strongroom_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    CHECK_OK(strongroom_open("padded.db", NULL, &store, &error));
    CHECK(bytes_of_record(store, stored, LONG, NULL) == HEADER + MESSAGE + LONG);
    close_store(store);
    options.flags = STRONGROOM_PAD;
    CHECK_OK(strongroom_open("padded.db", &options, &store, &error));
    CHECK(bytes_of_record(store, stored, LONG, NULL) == HEADER + MESSAGE + PADDED);
    close_store(store);
    CHECK_OK(strongroom_open("padded.db", NULL, &store, &error));
    CHECK_OK(strongroom_namespace(store, "one", 3, &one, &error));
    CHECK(bytes_of_record(store, stored, LONG, NULL) == HEADER + MESSAGE + PADDED);
    CHECK(bytes_of_record(one, stored, LONG, NULL) == HEADER + MESSAGE + PADDED);
    close_store(one);
    close_store(store);
}

int main(void) {
    enter_folder();
    strongroom *store = open_store();
    each_function_pads(store);
    every_size_comes_back(store);
    readers_see_the_data(store);
    close_store(store);
    a_store_pads();
    leave_folder();
    return 0;
}
