// Records written and read piece by piece, and through callbacks.

#include "testsupport.h"

enum { LEN = 5 * 1000 * 1000 };

static void write_and_read(strongroom *store, const uint8_t *data) {
    strongroom_error error;
    strongroom_writer *writer = NULL;
    strongroom_reader *reader = NULL;
    strongroom_record_key key, before;
    strongroom_buffer whole;
    uint8_t *buffer = (uint8_t *)malloc(LEN);
    uint64_t len = 0;
    size_t read = 0;
    bool found = true;
    CHECK(buffer != NULL);

    CHECK_OK(strongroom_create_record(store, "streamed", 8, &writer, &error));
    for (size_t from = 0, piece = 1; from < LEN; from += piece, piece = piece * 3 + 1) {
        if (piece > LEN - from)
            piece = LEN - from;
        CHECK_OK(strongroom_writer_write(writer, data + from, piece, &error));
    }
    CHECK_OK(strongroom_writer_write(writer, NULL, 0, &error));
    CHECK_OK(strongroom_writer_key(writer, &before, &error));
    CHECK_OK(strongroom_contains(store, "streamed", 8, &found, &error));
    CHECK(!found);
    CHECK_OK(strongroom_writer_finish(writer, &key, &error));
    CHECK(strongroom_record_key_equal(&before, &key));
    // It cannot be used any more, but must still be freed.
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_writer_finish(writer, &key, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_writer_write(writer, data, 1, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_writer_key(writer, &key, &error));
    strongroom_writer_free(writer);

    CHECK_OK(strongroom_retrieve(store, "streamed", 8, &key, &whole, &error));
    CHECK(whole.len == LEN && memcmp(whole.data, data, LEN) == 0);
    strongroom_buffer_free(&whole);

    CHECK_OK(strongroom_open_record(store, "streamed", 8, &key, &reader, &error));
    CHECK_OK(strongroom_reader_len(reader, &len, &error));
    CHECK(len == LEN);
    // One call returns all requested bytes, up to the end.
    CHECK_OK(strongroom_reader_read(reader, buffer, LEN, &read, &error));
    CHECK(read == LEN && memcmp(buffer, data, LEN) == 0);
    CHECK_OK(strongroom_reader_read(reader, buffer, LEN, &read, &error));
    CHECK(read == 0);
    const uint64_t places[] = {0, 1, 16383, 16384, 16385, 3000000, LEN - 10, LEN, LEN + 1, UINT64_MAX};
    for (size_t i = 0; i < COUNT(places); i++) {
        const size_t expected = places[i] >= LEN ? 0 : LEN - places[i] < 100 ? (size_t)(LEN - places[i]) : 100;
        CHECK_OK(strongroom_reader_seek(reader, places[i], &error));
        CHECK_OK(strongroom_reader_read(reader, buffer, 100, &read, &error));
        CHECK(read == expected && memcmp(buffer, data + (expected ? places[i] : 0), read) == 0);
    }
    CHECK_OK(strongroom_reader_read(reader, NULL, 0, &read, &error));
    CHECK(read == 0);

    // Replaced while it is read: versions are never mixed.
    CHECK_OK(strongroom_replace_record(store, "streamed", 8, &key, &writer, &error));
    CHECK_OK(strongroom_writer_write(writer, "short", 5, &error));
    CHECK_OK(strongroom_writer_finish(writer, &key, &error));
    strongroom_writer_free(writer);
    CHECK_OK(strongroom_record_key_generate(&before, &error));
    CHECK_OK(strongroom_replace_record_with(store, "streamed", 8, &key, under(&before), &writer, &error));
    CHECK_OK(strongroom_writer_write(writer, "shorter", 7, &error));
    CHECK_OK(strongroom_retrieve(store, "streamed", 8, &key, &whole, &error));
    CHECK(whole.len == 5);
    strongroom_buffer_free(&whole);
    CHECK_OK(strongroom_writer_finish(writer, &key, &error));
    strongroom_writer_free(writer);
    CHECK(strongroom_record_key_equal(&before, &key));
    CHECK_OK(strongroom_retrieve(store, "streamed", 8, &before, &whole, &error));
    CHECK(whole.len == 7 && memcmp(whole.data, "shorter", 7) == 0);
    strongroom_buffer_free(&whole);
    CHECK_OK(strongroom_record_key_generate(&before, &error));
    CHECK_OK(strongroom_reader_seek(reader, 2000000, &error));
    CHECK_STATUS(STRONGROOM_CONFLICT, strongroom_reader_read(reader, buffer, 100, &read, &error));
    strongroom_reader_free(reader);

    // An unfinished record is not stored.
    CHECK_OK(strongroom_create_record_with(store, "dropped", 7, under(&before), &writer, &error));
    CHECK_OK(strongroom_writer_write(writer, data, LEN, &error));
    strongroom_writer_free(writer);
    CHECK_OK(strongroom_contains(store, "dropped", 7, &found, &error));
    CHECK(!found);
    CHECK_OK(strongroom_create_record_with(store, "kept", 4, under(&before), &writer, &error));
    CHECK_OK(strongroom_writer_finish(writer, NULL, &error));
    strongroom_writer_free(writer);
    CHECK_OK(strongroom_retrieve(store, "kept", 4, &before, &whole, &error));
    CHECK(whole.len == 0);
    strongroom_buffer_free(&whole);
    strongroom_writer_free(NULL);
    strongroom_reader_free(NULL);
    strongroom_buffer_free(NULL);
    free(buffer);
}

typedef struct {
    const uint8_t *data;
    size_t at;
    size_t stop_at; // stops with an error there
    ptrdiff_t answer;
} tape;

static ptrdiff_t play(void *context, void *data, size_t size) {
    tape *source = (tape *)context;
    if (source->at >= source->stop_at)
        return source->answer;
    if (size > LEN - source->at)
        size = LEN - source->at;
    memcpy(data, source->data + source->at, size);
    source->at += size;
    return (ptrdiff_t)size;
}

static int record(void *context, const void *data, size_t len) {
    tape *sink = (tape *)context;
    if (sink->at >= sink->stop_at)
        return (int)sink->answer;
    CHECK(len > 0 && len <= LEN - sink->at && memcmp(sink->data + sink->at, data, len) == 0);
    sink->at += len;
    return 0;
}

static void functions(strongroom *store, const uint8_t *data) {
    strongroom_error error;
    strongroom_record_key key, old_key, made;
    bool found = true;
    const tape whole = {data, 0, SIZE_MAX, 0};

    tape source = whole, sink = whole;
    CHECK_OK(strongroom_store_stream(store, "played", 6, play, &source, &key, &error));
    CHECK(source.at == LEN);
    CHECK_OK(strongroom_retrieve_stream(store, "played", 6, &key, record, &sink, &error));
    CHECK(sink.at == LEN);

    CHECK_OK(strongroom_record_key_generate(&made, &error));
    source = whole;
    CHECK_OK(strongroom_store_stream_with(store, "made", 4, play, &source, under(&made), NULL, &error));
    source = whole;
    CHECK_OK(strongroom_store_stream_with(store, "made", 4, play, &source, under(&made), NULL, &error));
    source = whole;
    source.at = 1;
    CHECK_STATUS(STRONGROOM_ALREADY_EXISTS,
                 strongroom_store_stream_with(store, "made", 4, play, &source, under(&made), NULL, &error));

    // A callback that stops with an error, or returns an invalid number.
    const ptrdiff_t answers[] = {-1, PTRDIFF_MIN, PTRDIFF_MAX, 1 << 30};
    for (size_t i = 0; i < COUNT(answers); i++) {
        source = whole;
        source.stop_at = LEN / 2;
        source.answer = answers[i];
        CHECK_STATUS(STRONGROOM_STORAGE, strongroom_store_stream(store, "failed", 6, play, &source, &made, &error));
        CHECK(strstr(error.message, "the read function returned") != NULL);
        CHECK_OK(strongroom_contains(store, "failed", 6, &found, &error));
        CHECK(!found);
    }
    source = whole;
    source.stop_at = 0;
    source.answer = -1;
    CHECK_STATUS(STRONGROOM_STORAGE, strongroom_replace_stream(store, "played", 6, &key, play, &source, &made, &error));
    sink = whole;
    sink.stop_at = LEN / 2;
    sink.answer = 7;
    CHECK_STATUS(STRONGROOM_STORAGE, strongroom_retrieve_stream(store, "played", 6, &key, record, &sink, &error));
    CHECK(strstr(error.message, "the write function returned 7") != NULL && sink.at >= LEN / 2 && sink.at < LEN);

    source = whole;
    source.at = LEN - 3;
    old_key = key;
    CHECK_OK(strongroom_replace_stream(store, "played", 6, &key, play, &source, &key, &error)); // into the same struct
    sink = whole;
    CHECK_STATUS(STRONGROOM_WRONG_KEY, strongroom_retrieve_stream(store, "played", 6, &old_key, record, &sink, &error));
    sink.at = LEN - 3;
    CHECK_OK(strongroom_retrieve_stream(store, "played", 6, &key, record, &sink, &error));
    CHECK(sink.at == LEN);
}

static void they_outlive_the_store(const uint8_t *data) {
    strongroom_error error;
    strongroom *store = open_store();
    strongroom_writer *writer = NULL;
    strongroom_reader *reader = NULL;
    strongroom_record_key key;
    size_t len = 0;
    uint64_t whole_len = 0;
    uint8_t byte = 0;
    CHECK_OK(strongroom_store(store, "open", 4, data, LEN, &key, &error));
    CHECK_OK(strongroom_create_record(store, "late", 4, &writer, &error));
    CHECK_OK(strongroom_open_record(store, "open", 4, &key, &reader, &error));
    close_store(store);
    CHECK_STATUS(STRONGROOM_CLOSED, strongroom_reader_read(reader, &byte, 1, &len, &error));
    CHECK_OK(strongroom_reader_len(reader, &whole_len, &error)); // known since the reader was opened
    CHECK_STATUS(STRONGROOM_CLOSED, strongroom_writer_finish(writer, &key, &error));
    strongroom_reader_free(reader);
    strongroom_writer_free(writer);
}

int main(void) {
    enter_folder();
    uint8_t *data = pattern(LEN);
    strongroom *store = open_store();
    write_and_read(store, data);
    functions(store, data);
    close_store(store);
    they_outlive_the_store(data);
    free(data);
    leave_folder();
    return 0;
}
