// docs/vectors.json, converted to databases and vectors.h: each record opens to its data in its namespace, each invalid one has its
// error, each text is parsed to its key or its error. The argument is the databases' folder.

#include "testsupport.h"
#include "vectors.h"

static uint8_t hex_digit(char c) {
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

// The bytes of hexadecimal digits, to be freed.
static uint8_t *from_hex(const char *text, size_t *len) {
    *len = strlen(text) / 2;
    uint8_t *bytes = pattern(*len);
    for (size_t i = 0; i < *len; i++)
        bytes[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
    return bytes;
}

static uint8_t *bytes_of(const vector_bytes *bytes, size_t *len) {
    if (bytes->pattern_len == 0)
        return from_hex(bytes->digits, len);
    *len = bytes->pattern_len;
    return pattern(*len);
}

static void record(const char *folder, const record_vector *vector) {
    strongroom_error error;
    strongroom *store = NULL, *space = NULL, *other = NULL;
    strongroom_record_key key;
    strongroom_buffer found;
    char path[4096];
    bool there = true;
    size_t space_len = 0, id_len = 0, key_len = 0, data_len = 0;
    uint8_t *name = bytes_of(&vector->space, &space_len), *id = bytes_of(&vector->id, &id_len);
    uint8_t *bytes = from_hex(vector->key, &key_len), *data = bytes_of(&vector->data, &data_len);
    snprintf(path, sizeof path, "%s/%s.db", folder, vector->name);
    CHECK_OK(strongroom_open(path, NULL, &store, &error));
    CHECK_OK(strongroom_record_key_from_bytes(bytes, key_len, &key, &error));
    CHECK_OK(strongroom_namespace(store, name, space_len, &space, &error));
    CHECK_OK(strongroom_namespace(store, "other", 5, &other, &error));
    CHECK_OK(strongroom_contains(other, id, id_len, &there, &error));
    CHECK(!there);
    const strongroom_status status = strongroom_retrieve(space, id, id_len, &key, &found, &error);
    if (strcmp(strongroom_status_name(status), vector->outcome) != 0) {
        fprintf(stderr, "%s is %s instead of %s\n", vector->name, strongroom_status_name(status), vector->outcome);
        exit(1);
    }
    if (status == STRONGROOM_OK) {
        CHECK(found.len == data_len && memcmp(found.data, data, data_len) == 0);
        strongroom_buffer_free(&found);
    }
    close_store(other);
    close_store(space);
    close_store(store);
    free(name);
    free(id);
    free(bytes);
    free(data);
}

static void key(const key_vector *vector) {
    strongroom_error error;
    strongroom_record_key record_key;
    strongroom_index_key index_key;
    char text[STRONGROOM_KEY_TEXT_SIZE];
    const bool record = strcmp(vector->kind, "srk") == 0;
    size_t len = 0;
    const strongroom_status status =
        record ? strongroom_record_key_from_text(vector->text, strlen(vector->text), &record_key, &error)
               : strongroom_index_key_from_text(vector->text, strlen(vector->text), &index_key, &error);
    CHECK(strcmp(strongroom_status_name(status), vector->outcome) == 0);
    if (status != STRONGROOM_OK)
        return;
    uint8_t *bytes = from_hex(vector->key, &len);
    CHECK(len == STRONGROOM_KEY_SIZE);
    CHECK(memcmp(record ? record_key.bytes : index_key.bytes, bytes, len) == 0);
    if (record)
        CHECK_OK(strongroom_record_key_to_text(&record_key, text, &error));
    else
        CHECK_OK(strongroom_index_key_to_text(&index_key, text, &error));
    for (size_t i = 0; text[i]; i++) // a text in upper case is the same key
        CHECK(text[i] == vector->text[i] || text[i] == vector->text[i] + ('a' - 'A'));
    free(bytes);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    for (size_t i = 0; i < COUNT(RECORD_VECTORS); i++)
        record(argv[1], &RECORD_VECTORS[i]);
    for (size_t i = 0; i < COUNT(KEY_VECTORS); i++)
        key(&KEY_VECTORS[i]);
    CHECK(COUNT(RECORD_VECTORS) >= 60 && COUNT(KEY_VECTORS) >= 20);
    return 0;
}
