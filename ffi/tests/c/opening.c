// Opening with options, versions, statuses, and keys.

#include <sys/stat.h>

#include "testsupport.h"

static void versions_and_statuses(void) {
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", STRONGROOM_VERSION_MAJOR, STRONGROOM_VERSION_MINOR,
             STRONGROOM_VERSION_PATCH);
    CHECK(strcmp(version, STRONGROOM_VERSION) == 0);
    CHECK(strcmp(version, strongroom_version()) == 0);

    CHECK(strcmp(strongroom_status_name(STRONGROOM_OK), "Ok") == 0);
    CHECK(strcmp(strongroom_status_name(STRONGROOM_WRONG_KEY), "WrongKey") == 0);
    CHECK(strcmp(strongroom_status_name(STRONGROOM_INTERNAL), "Internal") == 0);
    const int wrong[] = {-1, 22, 98, 100, 1000, -2147483647 - 1, 2147483647};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        CHECK(strcmp(strongroom_status_name(wrong[i]), "Unknown") == 0);
        CHECK(strstr(strongroom_status_message(wrong[i]), "unknown status") != NULL);
    }
    for (int status = 0; status <= 21; status++)
        CHECK(strcmp(strongroom_status_name(status), "Unknown") != 0 && strlen(strongroom_status_message(status)) > 5);
}

static void keys(void) {
    strongroom_error error;
    strongroom_record_key a, b;
    strongroom_index_key c, d;
    char text[STRONGROOM_KEY_TEXT_SIZE];
    union {
        char text[STRONGROOM_KEY_TEXT_SIZE];
        strongroom_record_key key;
    } room;

    CHECK_OK(strongroom_record_key_generate(&a, &error));
    CHECK_OK(strongroom_record_key_generate(&b, &error));
    CHECK(!strongroom_record_key_equal(&a, &b) && strongroom_record_key_equal(&a, &a));
    CHECK_OK(strongroom_record_key_to_text(&a, text, &error));
    CHECK(strlen(text) == STRONGROOM_KEY_TEXT_SIZE - 1 && strncmp(text, "srk1", 4) == 0);
    CHECK_OK(strongroom_record_key_from_text(text, strlen(text), &b, &error));
    CHECK(strongroom_record_key_equal(&a, &b));
    CHECK_OK(strongroom_record_key_from_bytes(a.bytes, sizeof a.bytes, &b, &error));
    CHECK(strongroom_record_key_equal(&a, &b));

    // The input may overlap the output.
    CHECK_OK(strongroom_record_key_from_bytes(b.bytes, sizeof b.bytes, &b, &error));
    CHECK(strongroom_record_key_equal(&a, &b));
    memcpy(room.text, text, sizeof text);
    CHECK_OK(strongroom_record_key_from_text(room.text, strlen(text), &room.key, &error));
    CHECK(strongroom_record_key_equal(&a, &room.key));

    // As in a file of an editor or a shell of any system.
    const char *const around[][2] = {{"", "\n"}, {"\xef\xbb\xbf", "\r\n"}, {" \t", " \r\n\n"}, {"\n", ""}};
    for (size_t i = 0; i < COUNT(around); i++) {
        char written[STRONGROOM_KEY_TEXT_SIZE + 8];
        snprintf(written, sizeof written, "%s%s%s", around[i][0], text, around[i][1]);
        memset(&b, 0, sizeof b);
        CHECK_OK(strongroom_record_key_from_text(written, strlen(written), &b, &error));
        CHECK(strongroom_record_key_equal(&a, &b));
    }
    CHECK_STATUS(STRONGROOM_INVALID_KEY, strongroom_record_key_from_text(" \n", 2, &b, &error));
    CHECK_STATUS(STRONGROOM_INVALID_KEY, strongroom_record_key_from_text("\xef\xbb\xbf", 3, &b, &error));

    CHECK_STATUS(STRONGROOM_INVALID_KEY, strongroom_index_key_from_text(text, strlen(text), &c, &error));
    CHECK(strcmp(error.message, "the text is not an index key but a record key: an index key starts with \"srx1\"") == 0);
    text[30] = text[30] == 'q' ? 'p' : 'q';
    CHECK_STATUS(STRONGROOM_INVALID_KEY, strongroom_record_key_from_text(text, strlen(text), &b, &error));
    CHECK(strstr(error.message, "typo") != NULL);
    CHECK_STATUS(STRONGROOM_INVALID_KEY, strongroom_record_key_from_text("\xff\xfe", 2, &b, &error));
    CHECK_STATUS(STRONGROOM_INVALID_KEY, strongroom_record_key_from_text(NULL, 0, &b, &error));
    CHECK_STATUS(STRONGROOM_INVALID_KEY, strongroom_record_key_from_bytes(a.bytes, 31, &b, &error));

    CHECK_OK(strongroom_index_key_generate(&c, &error));
    CHECK_OK(strongroom_index_key_to_text(&c, text, &error));
    CHECK(strncmp(text, "srx1", 4) == 0);
    CHECK_OK(strongroom_index_key_from_text(text, strlen(text), &d, &error));
    CHECK(strongroom_index_key_equal(&c, &d));
    CHECK_OK(strongroom_index_key_from_bytes(a.bytes, sizeof a.bytes, &d, &error));
    CHECK(!strongroom_index_key_equal(&c, &d));

    // A wiped key is invalid, and equals nothing.
    strongroom_wipe(&a, sizeof a);
    for (size_t i = 0; i < sizeof a.bytes; i++)
        CHECK(a.bytes[i] == 0);
    CHECK(!strongroom_record_key_equal(&a, &a));
    CHECK_STATUS(STRONGROOM_INVALID_KEY, strongroom_record_key_to_text(&a, text, &error));
    CHECK_STATUS(STRONGROOM_INVALID_KEY, strongroom_record_key_from_bytes(a.bytes, sizeof a.bytes, &b, &error));
}

static void options(void) {
    strongroom_error error;
    strongroom *store = NULL;
    strongroom_index_key index_key, other;
    char text[STRONGROOM_KEY_TEXT_SIZE];
    strongroom_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;

    options.flags = STRONGROOM_MUST_EXIST;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("none.db", &options, &store, &error));
    CHECK(strstr(error.message, "none.db") != NULL && access("none.db", F_OK) != 0 && store == NULL);

    options.flags = STRONGROOM_RELAXED_DURABILITY;
    CHECK_OK(strongroom_index_key_generate(&index_key, &error));
    CHECK_OK(strongroom_index_key_generate(&other, &error));
    options.index_key = &index_key;
    CHECK_OK(strongroom_open("given.db", &options, &store, &error));
    close_store(store);
    CHECK(access("given.db.index-key", F_OK) != 0);
    CHECK_STATUS(STRONGROOM_INDEX_KEY_MISSING, strongroom_open("given.db", NULL, &store, &error));
    CHECK(strstr(error.message, "given.db.index-key") != NULL);
    options.index_key = &other;
    CHECK_STATUS(STRONGROOM_INDEX_KEY_MISMATCH, strongroom_open("given.db", &options, &store, &error));
    memset(&other, 0, sizeof other);
    CHECK_STATUS(STRONGROOM_INVALID_KEY, strongroom_open("given.db", &options, &store, &error));

    CHECK_OK(strongroom_index_key_to_text(&index_key, text, &error));
    FILE *file = fopen("key", "w");
    CHECK(file != NULL && fprintf(file, "\xef\xbb\xbf%s\r\n", text) > 0 && fclose(file) == 0);
    CHECK(chmod("key", 0666) == 0);
    options.index_key_file = "key";
    options.index_key = &index_key;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("given.db", &options, &store, &error));
    options.index_key = NULL;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("given.db", &options, &store, &error));
    CHECK(strstr(error.message, "others can change it") != NULL);
    CHECK(chmod("key", 0600) == 0);
    options.flags = STRONGROOM_MUST_EXIST | STRONGROOM_RELAXED_DURABILITY;
    CHECK_OK(strongroom_open("given.db", &options, &store, &error));
    close_store(store);

    // Read-only.
    strongroom_record_key key;
    options.flags = STRONGROOM_READ_ONLY;
    CHECK_OK(strongroom_open("given.db", &options, &store, &error));
    CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_store(store, "id", 2, NULL, 0, &key, &error));
    CHECK(strstr(error.message, "open read-only") != NULL && access("given.db-shm", F_OK) != 0);
    close_store(store);

    for (unsigned bit = 4; bit < 64; bit++) {
        options.flags = UINT64_C(1) << bit;
        CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("given.db", &options, &store, &error));
    }
    options.flags = 0;

    // A later version's options: valid if the new members are zero.
    struct {
        strongroom_options known;
        uint64_t later;
    } longer;
    memset(&longer, 0, sizeof longer);
    longer.known = options;
    longer.known.size = sizeof longer;
    CHECK_OK(strongroom_open("given.db", &longer.known, &store, &error));
    close_store(store);
    longer.later = 1;
    CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_open("given.db", &longer.known, &store, &error));
    const size_t wrong[] = {0, 1, sizeof options - 1, SIZE_MAX, SIZE_MAX / 2, 4097};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        options.size = wrong[i];
        CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("given.db", &options, &store, &error));
    }

    // Damage is distinguished from another program's file, and neither is treated as a new store.
    CHECK(truncate("given.db", 20000) == 0);
    options.size = sizeof options;
    CHECK_STATUS(STRONGROOM_CORRUPT, strongroom_open("given.db", &options, &store, &error));
    CHECK(truncate("given.db", 1) == 0);
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("given.db", &options, &store, &error));
    CHECK(strstr(error.message, "damaged") != NULL);

    // Paths.
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("", NULL, &store, &error));
    CHECK_STATUS(STRONGROOM_STORAGE, strongroom_open("no/such/folder/records.db", NULL, &store, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open(".", NULL, &store, &error));
    CHECK_OK(strongroom_open("not UTF-8 \xff\xfe.db", NULL, &store, &error));
    close_store(store);
    CHECK(access("not UTF-8 \xff\xfe.db", F_OK) == 0);
    // Control characters in a path are escaped, and the message has no repetition.
    CHECK_STATUS(STRONGROOM_STORAGE, strongroom_open("no/\x1b[2J\n/records.db", NULL, &store, &error));
    CHECK(strchr(error.message, '\n') == NULL && strchr(error.message, '\x1b') == NULL);
    options.index_key_file = "";
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("given.db", &options, &store, &error));
    CHECK(strstr(error.message, "is empty") != NULL);
    // A long path is truncated in the message.
    char path[4000];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = 0;
    CHECK(strongroom_open(path, NULL, &store, &error) != STRONGROOM_OK);
    CHECK(strlen(error.message) < sizeof error.message);
    // Without a strongroom_error, only the status is returned.
    CHECK(strongroom_open(".", NULL, &store, NULL) == STRONGROOM_INVALID_ARGUMENT);
}

// A store in memory creates no file, with any options.
static void in_memory(void) {
    strongroom_error error;
    strongroom *store = NULL, *other = NULL;
    strongroom_record_key key;
    strongroom_index_key index_key;
    strongroom_buffer found;
    strongroom_options options;
    bool there = true;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    CHECK_OK(strongroom_index_key_generate(&index_key, &error));
    options.index_key = &index_key;
    options.flags = STRONGROOM_RELAXED_DURABILITY;
    CHECK_OK(strongroom_open(":memory:", NULL, &store, &error));
    CHECK_OK(strongroom_open(":memory:", &options, &other, &error));
    CHECK_OK(strongroom_store(store, "id", 2, "data", 4, &key, &error));
    CHECK_OK(strongroom_retrieve(store, "id", 2, &key, &found, &error));
    CHECK(found.len == 4 && memcmp(found.data, "data", 4) == 0);
    strongroom_buffer_free(&found);
    CHECK_OK(strongroom_contains(other, "id", 2, &there, &error));
    CHECK(!there);
    close_store(store);
    close_store(other);
    store = NULL;
    options.flags = STRONGROOM_MUST_EXIST;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open(":memory:", &options, &store, &error));
    CHECK(store == NULL && access(":memory:", F_OK) != 0 && access(":memory:.index-key", F_OK) != 0);
}

// The index key in the file `path`.
static void read_index_key(const char *path, strongroom_index_key *key) {
    strongroom_error error;
    char text[128];
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    const size_t len = fread(text, 1, sizeof text, file);
    fclose(file);
    CHECK_OK(strongroom_index_key_from_text(text, len, key, &error));
}

static uint64_t unrotated(const strongroom *store, uint64_t limit) {
    strongroom_error error;
    uint64_t count = UINT64_MAX;
    CHECK_OK(strongroom_get_unrotated_count(store, limit, &count, &error));
    return count;
}

// A new index key takes the place of the one in the file beside the database.
static void rotation(void) {
    strongroom_error error;
    strongroom *store = NULL, *one = NULL, *other = NULL;
    strongroom_record_key a, b, unknown;
    strongroom_buffer found;
    strongroom_index_key new_key, old_key;
    strongroom_options options;
    uint64_t count = 7;
    bool there = false;
    CHECK_OK(strongroom_open("rotated.db", NULL, &store, &error));
    CHECK_OK(strongroom_namespace(store, "one", 3, &one, &error));
    CHECK_OK(strongroom_store(store, "a", 1, "data", 4, &a, &error));
    CHECK_OK(strongroom_store(one, "b", 1, "data", 4, &b, &error));
    CHECK_OK(strongroom_store(one, "unknown", 7, "data", 4, &unknown, &error));
    close_store(one);
    close_store(store);

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.previous_index_key_file = "rotated.db.index-key";
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("rotated.db", &options, &store, &error));
    CHECK(strstr(error.message, "new index key") != NULL);
    read_index_key("rotated.db.index-key", &old_key);
    CHECK_OK(strongroom_index_key_generate(&new_key, &error));
    options.index_key = &new_key;
    options.previous_index_key = &old_key;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("rotated.db", &options, &store, &error));
    CHECK(strstr(error.message, "not both") != NULL);
    options.previous_index_key_file = NULL;
    options.previous_index_key = &new_key;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("rotated.db", &options, &store, &error));
    memset(&old_key, 0, sizeof old_key);
    options.previous_index_key = &old_key;
    CHECK_STATUS(STRONGROOM_INVALID_KEY, strongroom_open("rotated.db", &options, &store, &error));

    options.previous_index_key = NULL;
    options.previous_index_key_file = "rotated.db.index-key";
    CHECK_OK(strongroom_open("rotated.db", &options, &store, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_get_unrotated_count(store, 1, &count, &error));
    CHECK_OK(strongroom_contains(store, "a", 1, &there, &error));
    CHECK(there);
    CHECK_OK(strongroom_begin_rotation(store, &error));
    CHECK_OK(strongroom_begin_rotation(store, &error));
    CHECK_OK(strongroom_list_unrotated(store, 2, &found, &error));
    CHECK(found.len == 64);
    strongroom_buffer_free(&found);
    CHECK_OK(strongroom_list_unrotated(store, 10, &found, &error));
    CHECK(found.len == 96 && unrotated(store, UINT64_MAX) == 3);
    strongroom_buffer_free(&found);
    CHECK(unrotated(store, UINT64_MAX) == 3 && unrotated(store, 1) == 1 && unrotated(store, 0) == 0);
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_finish_rotation(store, &error));
    CHECK(strstr(error.message, "records remain") != NULL);
    CHECK_OK(strongroom_contains(store, "a", 1, &there, &error));
    CHECK(there && unrotated(store, 10) == 2);

    // Until the end, both keys are needed; here the previous one is not in a file.
    read_index_key("rotated.db.index-key", &old_key);
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("rotated.db", NULL, &other, &error));
    options.previous_index_key_file = NULL;
    options.previous_index_key = &old_key;
    CHECK_OK(strongroom_open("rotated.db", &options, &other, &error));
    CHECK_OK(strongroom_namespace(other, "one", 3, &one, &error));
    CHECK_OK(strongroom_retrieve(one, "b", 1, &b, &found, &error));
    strongroom_buffer_free(&found);
    CHECK_OK(strongroom_list_unrotated(other, 10, &found, &error));
    CHECK(found.len == 32);
    CHECK_OK(strongroom_erase_unrotated(other, found.data, &there, &error));
    CHECK(there);
    CHECK_OK(strongroom_erase_unrotated(other, found.data, &there, &error));
    CHECK(!there && unrotated(other, 10) == 0);
    memset(found.data, 2, 32);
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_erase_unrotated(other, found.data, &there, &error));
    strongroom_buffer_free(&found);
    CHECK_OK(strongroom_finish_rotation(other, &error));
    close_store(one);
    close_store(other);
    close_store(store);

    CHECK_OK(strongroom_open("rotated.db", &options, &store, &error)); // the previous key has no effect
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_get_unrotated_count(store, 1, &count, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_finish_rotation(store, &error));
    CHECK(count == 7);
    close_store(store);
    CHECK_STATUS(STRONGROOM_INDEX_KEY_MISMATCH, strongroom_open("rotated.db", NULL, &store, &error));
    options.previous_index_key = NULL;
    CHECK_OK(strongroom_open("rotated.db", &options, &store, &error));
    CHECK_OK(strongroom_retrieve(store, "a", 1, &a, &found, &error));
    CHECK(found.len == 4 && memcmp(found.data, "data", 4) == 0);
    strongroom_buffer_free(&found);
    close_store(store);
}

// With any umask, new files are accessible only to their owner.
static void modes(void) {
    strongroom_error error;
    strongroom *store = NULL;
    strongroom_writer *writer = NULL;
    const mode_t before = umask(0);
    CHECK_OK(strongroom_open("modes.db", NULL, &store, &error));
    uint8_t *data = pattern(3000000);
    CHECK_OK(strongroom_create_record(store, "id", 2, &writer, &error));
    CHECK_OK(strongroom_writer_write(writer, data, 3000000, &error));
    const char *const files[] = {"modes.db", "modes.db-wal", "modes.db-shm", "modes.db.index-key"};
    for (size_t i = 0; i < COUNT(files); i++) {
        struct stat info;
        CHECK(stat(files[i], &info) == 0 && (info.st_mode & 0777) == 0600);
    }
    strongroom_writer_free(writer);
    close_store(store);
    free(data);
    umask(before);
}

int main(void) {
    strongroom_error error;
    enter_folder();
    versions_and_statuses();
    keys();
    options();
    in_memory();
    rotation();
    modes();
    CHECK_OK(strongroom_close(NULL, &error));
    CHECK(strongroom_close(NULL, NULL) == STRONGROOM_OK);
    leave_folder();
    return 0;
}
