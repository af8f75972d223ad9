// The script of operations, on each of the stores. It is the file operations.txt, which defines its format, in the folder
// that the first argument names. The program that STRONGROOM_PROGRAM names serves.

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "testsupport.h"

enum { MAX_WORDS = 40, MAX_ITEMS = 8, MAX_KEYS = 128, MAX_LEN = 4 << 20 };

typedef struct {
    uint8_t *data;
    size_t len;
} value;

static strongroom_error error;
static strongroom *store; // in the namespace of the steps
static strongroom *root;  // in the default namespace; the same as the store, or another handle
static strongroom_writer *writer;
static strongroom_reader *reader;
static bool is_server;

static struct {
    char name[16];
    strongroom_record_key key;
} keys[MAX_KEYS];
static size_t key_count;

// The step, its results that are still to come, and the values to be freed at its end.
static const char *line;
static char **expected;
static value values[2 * MAX_ITEMS];
static size_t value_count;

// As CHECK, and names the step.
#define REQUIRE(condition)                                 \
    do {                                                   \
        const bool is_so = (condition);                    \
        if (!is_so)                                        \
            fprintf(stderr, "operations.txt: %s\n", line); \
        CHECK(is_so && #condition);                        \
    } while (0)

// Gives the bytes that a word stands for, if it is one for bytes.
static bool as_bytes(const char *word, value *found) {
    unsigned start = 0, end = 0;
    size_t len = 0;
    if (strncmp(word, "text:", 5) == 0)
        len = strlen(word) - 5;
    else if (strncmp(word, "hex:", 4) == 0)
        len = (strlen(word) - 4) / 2;
    else if (sscanf(word, "pattern:%u..%u", &start, &end) == 2)
        len = end - start;
    else
        return false;
    uint8_t *data = pattern(len);
    for (size_t i = 0; i < len; i++) {
        unsigned byte = (unsigned)((start + i) % 251);
        if (word[0] == 't')
            byte = (uint8_t)word[5 + i];
        else if (word[0] == 'h')
            REQUIRE(sscanf(word + 4 + 2 * i, "%2x", &byte) == 1);
        data[i] = (uint8_t)byte;
    }
    found->data = data;
    found->len = len;
    return true;
}

static value bytes(const char *word) {
    REQUIRE(value_count < COUNT(values) && as_bytes(word, &values[value_count]));
    return values[value_count++];
}

// The next result, of which "A|B" has the one on an encryption server in the second place.
static const char *next_expected(void) {
    char *word = *expected;
    REQUIRE(word != NULL);
    expected++;
    char *bar = strchr(word, '|');
    if (bar == NULL)
        return word;
    *bar = 0;
    return is_server ? bar + 1 : word;
}

static void is_word(const char *found) {
    const char *word = next_expected();
    if (strcmp(found, word) != 0)
        fprintf(stderr, "operations.txt: %s\n  is %s instead of %s\n", line, found, word);
    CHECK(strcmp(found, word) == 0);
}

static void is_number(uint64_t found) {
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)found);
    is_word(text);
}

static void is_bytes(const uint8_t *data, size_t len) {
    value found = {NULL, 0};
    REQUIRE(as_bytes(next_expected(), &found));
    REQUIRE(found.len == len && memcmp(found.data, data, len) == 0);
    free(found.data);
}

static void is_status(strongroom_status status) {
    char text[32];
    snprintf(text, sizeof text, "error:%d", (int)status);
    is_word(status == STRONGROOM_OK ? "ok" : text);
}

// Whether a call was successful; its error is the step's result.
static bool is_ok(strongroom_status status) {
    REQUIRE(error.status == status && (error.message[0] == 0) == (status == STRONGROOM_OK));
    if (status != STRONGROOM_OK)
        is_status(status);
    return status == STRONGROOM_OK;
}

static const strongroom_record_key *key_named(const char *name) {
    size_t i = 0;
    while (i < key_count && strcmp(keys[i].name, name) != 0)
        i++;
    REQUIRE(i < key_count);
    return &keys[i].key;
}

static void name_key(const char *name, strongroom_record_key key) {
    REQUIRE(key_count < MAX_KEYS && strlen(name) < sizeof keys[0].name && strcmp(name, "unused") != 0);
    for (size_t i = 0; i < key_count; i++)
        REQUIRE(strcmp(keys[i].name, name) != 0);
    strcpy(keys[key_count].name, name);
    keys[key_count++].key = key;
}

// The caller's key of a new version; NULL if the store makes it.
static const strongroom_record_key *given(char **new_key) {
    if (strcmp(new_key[0], "under") == 0)
        return key_named(new_key[1]);
    REQUIRE(strcmp(new_key[0], "as") == 0);
    return NULL;
}

static void made(char **new_key, strongroom_record_key key) {
    const strongroom_record_key *callers = given(new_key);
    if (callers == NULL)
        name_key(new_key[1], key);
    else
        REQUIRE(strongroom_record_key_equal(callers, &key));
}

// A source of data that gives a few bytes at a time.
static ptrdiff_t give_some(void *context, void *data, size_t size) {
    value *rest = (value *)context;
    size_t len = size < 10007 ? size : 10007;
    len = len < rest->len ? len : rest->len;
    memcpy(data, rest->data, len);
    rest->data += len;
    rest->len -= len;
    return (ptrdiff_t)len;
}

// Takes data to the end of a buffer that has room for MAX_LEN bytes.
static int take(void *context, const void *data, size_t len) {
    value *taken = (value *)context;
    if (len > MAX_LEN - taken->len)
        return 1;
    memcpy(taken->data + taken->len, data, len);
    taken->len += len;
    return 0;
}

static void write_record(char **words, size_t new_key_at) {
    const bool replaces = strncmp(words[0], "replace", 7) == 0;
    const bool is_source = strstr(words[0], "_source") != NULL;
    char **new_key = words + new_key_at;
    const strongroom_record_key *callers = given(new_key), *old = replaces ? key_named(words[2]) : NULL;
    const strongroom_write_options *options = callers == NULL ? NULL : under(callers);
    const value id = bytes(words[1]);
    value data = bytes(words[new_key_at - 1]);
    strongroom_record_key key;
    strongroom_status status;
    if (replaces && is_source)
        status = options ? strongroom_replace_stream_with(store, id.data, id.len, old, give_some, &data, options, &key,
                                                          &error)
                         : strongroom_replace_stream(store, id.data, id.len, old, give_some, &data, &key, &error);
    else if (replaces)
        status = options ? strongroom_replace_with(store, id.data, id.len, old, data.data, data.len, options, &key,
                                                   &error)
                         : strongroom_replace(store, id.data, id.len, old, data.data, data.len, &key, &error);
    else if (is_source)
        status = options ? strongroom_store_stream_with(store, id.data, id.len, give_some, &data, options, &key, &error)
                         : strongroom_store_stream(store, id.data, id.len, give_some, &data, &key, &error);
    else
        status = options ? strongroom_store_with(store, id.data, id.len, data.data, data.len, options, &key, &error)
                         : strongroom_store(store, id.data, id.len, data.data, data.len, &key, &error);
    if (is_ok(status)) {
        made(new_key, key);
        is_word("ok");
    }
}

// Stores bytes that expire or are padded.
static void store_with(char **words, size_t new_key_at) {
    char **new_key = words + new_key_at;
    const value id = bytes(words[1]), data = bytes(words[2]);
    strongroom_write_options options;
    strongroom_record_key key;
    unsigned long long seconds = 0;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.key = given(new_key);
    if (new_key_at == 3)
        options.pad = 1;
    else if (sscanf(words[3], "in:%llu", &seconds) == 1)
        options.expires_in = seconds;
    else
        REQUIRE(sscanf(words[3], "at:%llu", &seconds) == 1);
    if (new_key_at == 4 && options.expires_in == 0)
        options.expires_at = seconds;
    if (is_ok(strongroom_store_with(store, id.data, id.len, data.data, data.len, &options, &key, &error))) {
        made(new_key, key);
        is_word("ok");
    }
}

static void use_namespace(const char *name) {
    const value bytes_of_name = bytes(name);
    strongroom *opened = NULL;
    if (!is_ok(strongroom_namespace(root, bytes_of_name.data, bytes_of_name.len, &opened, &error)))
        return;
    if (store != root)
        CHECK_OK(strongroom_close(store, &error));
    store = opened;
    if (bytes_of_name.len == 0) {
        CHECK_OK(strongroom_close(opened, &error));
        store = root;
    }
    is_word("ok");
}

static void store_many(char **words, size_t count) {
    strongroom_item items[MAX_ITEMS];
    strongroom_write_options options[MAX_ITEMS];
    const strongroom_write_options *pointers[MAX_ITEMS];
    strongroom_record_key new_keys[MAX_ITEMS];
    REQUIRE(count % 4 == 0 && count / 4 <= MAX_ITEMS);
    count /= 4;
    memset(options, 0, sizeof options);
    for (size_t i = 0; i < count; i++) {
        const value id = bytes(words[4 * i]), data = bytes(words[4 * i + 1]);
        const strongroom_item item = {id.data, id.len, data.data, data.len};
        items[i] = item;
        options[i].size = sizeof options[i];
        options[i].key = given(words + 4 * i + 2);
        pointers[i] = &options[i];
    }
    const bool is_under = count > 0 && options[0].key != NULL;
    if (is_ok(is_under ? strongroom_store_many_with(store, items, count, pointers, new_keys, &error)
                       : strongroom_store_many(store, items, count, new_keys, &error))) {
        for (size_t i = 0; i < count; i++)
            made(words + 4 * i + 2, new_keys[i]);
        is_word("ok");
    }
}

static void retrieve_many(char **words, size_t count) {
    strongroom_request requests[MAX_ITEMS];
    strongroom_result results[MAX_ITEMS];
    REQUIRE(count % 2 == 0 && count / 2 <= MAX_ITEMS);
    count /= 2;
    for (size_t i = 0; i < count; i++) {
        const value id = bytes(words[2 * i]);
        const strongroom_request request = {id.data, id.len, key_named(words[2 * i + 1])};
        requests[i] = request;
    }
    if (!is_ok(strongroom_retrieve_many(store, requests, count, results, &error)))
        return;
    for (size_t i = 0; i < count; i++) {
        if (results[i].status == STRONGROOM_OK)
            is_bytes(results[i].data.data, results[i].data.len);
        else
            is_status(results[i].status);
        strongroom_buffer_free(&results[i].data);
    }
}

static void start_writer(char **words, size_t new_key_at) {
    char **new_key = words + new_key_at;
    const strongroom_record_key *callers = given(new_key), *old = new_key_at == 3 ? key_named(words[2]) : NULL;
    const strongroom_write_options *options = callers == NULL ? NULL : under(callers);
    const value id = bytes(words[1]);
    strongroom_record_key key;
    strongroom_status status;
    strongroom_writer_free(writer);
    writer = NULL;
    if (old == NULL)
        status = options ? strongroom_create_record_with(store, id.data, id.len, options, &writer, &error)
                         : strongroom_create_record(store, id.data, id.len, &writer, &error);
    else
        status = options ? strongroom_replace_record_with(store, id.data, id.len, old, options, &writer, &error)
                         : strongroom_replace_record(store, id.data, id.len, old, &writer, &error);
    if (is_ok(status)) {
        CHECK_OK(strongroom_writer_key(writer, &key, &error));
        made(new_key, key);
        is_word("ok");
    }
}

static void read_part(const char *places) {
    unsigned long long start = 0, end = 0;
    REQUIRE(sscanf(places, "%llu..%llu", &start, &end) == 2);
    uint8_t *data = (uint8_t *)malloc((size_t)(end - start));
    REQUIRE(data != NULL);
    size_t len = 0;
    if (is_ok(strongroom_reader_seek(reader, start, &error)) &&
        is_ok(strongroom_reader_read(reader, data, (size_t)(end - start), &len, &error)))
        is_bytes(data, len);
    free(data);
}

static void run_step(char **words, size_t count) {
    strongroom_record_key key;
    strongroom_buffer found;
    strongroom_stats stats;
    bool flag = false;
    char text[STRONGROOM_KEY_TEXT_SIZE];
    uint64_t record_len = 0;
    value id = {NULL, 0};
#define IS(name, words_in_step) (strcmp(words[0], name) == 0 && count == (words_in_step))

    if (IS("key", 2) || IS("key", 3)) {
        if (is_ok(count == 2 ? strongroom_record_key_generate(&key, &error)
                             : strongroom_record_key_from_text(words[2], strlen(words[2]), &key, &error))) {
            name_key(words[1], key);
            is_word("ok");
        }
    } else if (IS("key_text", 2)) {
        if (is_ok(strongroom_record_key_to_text(key_named(words[1]), text, &error)))
            is_word(text);
    } else if (IS("store", 5) || IS("store_source", 5)) {
        write_record(words, 3);
    } else if (IS("store_until", 6)) {
        store_with(words, 4);
    } else if (IS("store_padded", 5)) {
        store_with(words, 3);
    } else if (IS("namespace", 2)) {
        use_namespace(words[1]);
    } else if (IS("replace", 6) || IS("replace_source", 6)) {
        write_record(words, 4);
    } else if (IS("retrieve", 3)) {
        // Both forms, as a whole and by a callback.
        id = bytes(words[1]);
        value taken = {(uint8_t *)malloc(MAX_LEN), 0};
        REQUIRE(taken.data != NULL);
        const strongroom_status status =
            strongroom_retrieve_stream(store, id.data, id.len, key_named(words[2]), take, &taken, &error);
        strongroom_error other = error;
        REQUIRE(strongroom_retrieve(store, id.data, id.len, key_named(words[2]), &found, &error) == status);
        REQUIRE(other.status == status);
        if (is_ok(status)) {
            REQUIRE(found.len == taken.len && memcmp(found.data, taken.data, found.len) == 0);
            is_bytes(found.data, found.len);
            strongroom_buffer_free(&found);
        }
        free(taken.data);
    } else if (IS("retrieve_into", 4)) {
        const size_t size = (size_t)atoi(words[3]);
        size_t len = 0;
        uint8_t *data = (uint8_t *)malloc(size + 1);
        id = bytes(words[1]);
        REQUIRE(data != NULL);
        if (is_ok(strongroom_retrieve_into(store, id.data, id.len, key_named(words[2]), data, size, &len, &error)))
            is_bytes(data, len);
        free(data);
    } else if (IS("retrieve_range", 4)) {
        unsigned long long start = 0, end = 0;
        id = bytes(words[1]);
        REQUIRE(sscanf(words[3], "%llu..%llu", &start, &end) == 2);
        if (is_ok(strongroom_retrieve_range(store, id.data, id.len, key_named(words[2]), start, (size_t)(end - start),
                                            &found, &error))) {
            is_bytes(found.data, found.len);
            strongroom_buffer_free(&found);
        }
    } else if (IS("take", 3)) {
        id = bytes(words[1]);
        if (is_ok(strongroom_take(store, id.data, id.len, key_named(words[2]), &found, &error))) {
            is_bytes(found.data, found.len);
            strongroom_buffer_free(&found);
        }
    } else if (IS("rekey", 5)) {
        const strongroom_record_key *callers = given(words + 3);
        id = bytes(words[1]);
        if (is_ok(strongroom_rekey(store, id.data, id.len, key_named(words[2]), callers ? under(callers) : NULL, &key,
                                   &error))) {
            made(words + 3, key);
            is_word("ok");
        }
    } else if (IS("delete", 3)) {
        id = bytes(words[1]);
        if (is_ok(strongroom_delete(store, id.data, id.len, key_named(words[2]), &error)))
            is_word("ok");
    } else if (IS("erase", 2) || IS("contains", 2)) {
        id = bytes(words[1]);
        if (is_ok(words[0][0] == 'e' ? strongroom_erase(store, id.data, id.len, &flag, &error)
                                     : strongroom_contains(store, id.data, id.len, &flag, &error)))
            is_word(flag ? "true" : "false");
    } else if (strcmp(words[0], "store_many") == 0) {
        store_many(words + 1, count - 1);
    } else if (strcmp(words[0], "retrieve_many") == 0) {
        retrieve_many(words + 1, count - 1);
    } else if (IS("stats", 1)) {
        if (is_ok(strongroom_get_stats(store, &stats, &error))) {
            is_number(stats.records);
            is_number(stats.bytes);
        }
    } else if (IS("purge", 2)) {
        if (is_ok(strongroom_purge(store, (uint64_t)atoll(words[1]), &record_len, &error)))
            is_number(record_len);
    } else if (IS("verify", 1)) {
        strongroom_verify_report report;
        if (is_ok(strongroom_verify(store, NULL, NULL, NULL, &report, &error)))
            is_number(report.records - report.damaged);
    } else if (IS("maintain", 1)) {
        if (is_ok(strongroom_maintain(store, &error)))
            is_word("ok");
    } else if (IS("close", 1)) {
        if (is_ok(strongroom_close(store, &error)))
            is_word("ok");
        store = NULL;
    } else if (IS("writer_create", 4) || IS("writer_replace", 5)) {
        start_writer(words, count - 2);
    } else if (IS("writer_write", 2)) {
        const value data = bytes(words[1]);
        if (is_ok(strongroom_writer_write(writer, data.data, data.len, &error)))
            is_word("ok");
    } else if (IS("writer_finish", 1)) {
        if (is_ok(strongroom_writer_finish(writer, &key, &error)))
            is_word("ok");
    } else if (IS("writer_drop", 1)) {
        strongroom_writer_free(writer);
        writer = NULL;
        is_word("ok");
    } else if (IS("reader_open", 3) || IS("reader_take", 3)) {
        strongroom_reader *opened = NULL;
        id = bytes(words[1]);
        const strongroom_record_key *its_key = key_named(words[2]);
        if (is_ok(strcmp(words[0], "reader_open") == 0
                      ? strongroom_open_record(store, id.data, id.len, its_key, &opened, &error)
                      : strongroom_take_record(store, id.data, id.len, its_key, &opened, &error))) {
            strongroom_reader_free(reader);
            reader = opened;
            is_word("ok");
        }
    } else if (IS("reader_read", 2)) {
        read_part(words[1]);
    } else if (IS("reader_len", 1)) {
        if (is_ok(strongroom_reader_len(reader, &record_len, &error)))
            is_number(record_len);
    } else {
        fprintf(stderr, "no such step: %s\n", line);
        exit(1);
    }
    REQUIRE(*expected == NULL);
    while (value_count > 0)
        free(values[--value_count].data);
}

// Runs all steps on the store, and closes it.
static void run_script(const char *script) {
    char *copy = strdup(script);
    root = store;
    CHECK(copy != NULL);
    long steps = 0;
    bool are_counted = false;
    char *rest = copy, *next_line, *words[MAX_WORDS + 1], *original = NULL;
    while ((next_line = strsep(&rest, "\n")) != NULL) {
        if (next_line[0] == 0 || next_line[0] == '#')
            continue;
        free(original);
        line = original = strdup(next_line);
        size_t count = 0, arrow = 0;
        for (char *word; (word = strsep(&next_line, " ")) != NULL; count++) {
            REQUIRE(count < MAX_WORDS);
            words[count] = word;
        }
        words[count] = NULL;
        are_counted = strcmp(words[0], "steps") == 0;
        if (are_counted) {
            REQUIRE(atol(words[1]) == steps);
            continue;
        }
        while (arrow < count && strcmp(words[arrow], "->") != 0)
            arrow++;
        REQUIRE(arrow < count);
        words[arrow] = NULL;
        expected = words + arrow + 1;
        run_step(words, arrow);
        steps++;
    }
    CHECK(are_counted && store == NULL);
    free(original);
    free(copy);
    strongroom_writer_free(writer);
    strongroom_reader_free(reader);
    writer = NULL;
    reader = NULL;
    key_count = 0;
}

// Starts a service on the Unix socket `name`, and returns once it listens.
static pid_t serve(const char *name, const char *command, const char *served, const char *index_key_file) {
    const char *program = getenv("STRONGROOM_PROGRAM");
    char url[64], log_name[64];
    snprintf(url, sizeof url, "unix:%s", name);
    snprintf(log_name, sizeof log_name, "%s.log", name);
    const pid_t service = fork();
    CHECK(service >= 0);
    if (service == 0) {
        CHECK(freopen(log_name, "w", stderr) != NULL);
        execl(program, program, command, "--store", served, "--listen", url,
              "--timeout", "60",
              index_key_file ? "--index-key-file" : (char *)NULL, index_key_file, (char *)NULL);
        exit(1);
    }
    char log[4096] = "";
    for (int i = 0; i < 600 && strstr(log, url) == NULL; i++) {
        FILE *file = fopen(log_name, "r");
        if (file != NULL) {
            log[fread(log, 1, sizeof log - 1, file)] = 0;
            fclose(file);
        }
        usleep(50 * 1000);
    }
    CHECK(strstr(log, url) != NULL);
    return service;
}

static void stop(pid_t service) {
    int status = 0;
    CHECK(kill(service, SIGTERM) == 0);
    CHECK(waitpid(service, &status, 0) == service && status == 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 2 && getenv("STRONGROOM_PROGRAM") != NULL);
    char path[4096];
    snprintf(path, sizeof path, "%s/operations.txt", argv[1]);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    char *script = (char *)calloc(1, 1 << 16);
    CHECK(script != NULL && fread(script, 1, (1 << 16) - 1, file) > 0 && feof(file));
    fclose(file);
    enter_folder();

    CHECK_OK(strongroom_open(":memory:", NULL, &store, &error));
    run_script(script);
    store = open_store();
    run_script(script);

    strongroom_index_key index_key;
    char text[STRONGROOM_KEY_TEXT_SIZE];
    CHECK_OK(strongroom_index_key_generate(&index_key, &error));
    CHECK_OK(strongroom_index_key_to_text(&index_key, text, &error));
    const int key_file = open("index-key", O_WRONLY | O_CREAT, 0600);
    CHECK(key_file >= 0 && write(key_file, text, strlen(text)) == (ssize_t)strlen(text) && close(key_file) == 0);
    strongroom_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.index_key = &index_key;
    pid_t service = serve("storage1", "serve-storage", "1.db", NULL);
    CHECK_OK(strongroom_open("unix:storage1", &options, &store, &error));
    run_script(script);
    stop(service);

    is_server = true;
    service = serve("server2", "serve", "2.db", NULL);
    CHECK_OK(strongroom_connect("unix:server2", NULL, &store, &error));
    run_script(script);
    stop(service);

    // The library's part is the same as with the server before.
    if (!is_short()) {
        service = serve("storage3", "serve-storage", "3.db", NULL);
        const pid_t server = serve("server3", "serve", "unix:storage3", "index-key");
        CHECK_OK(strongroom_connect("unix:server3", NULL, &store, &error));
        run_script(script);
        stop(server);
        stop(service);
    }

    free(script);
    leave_folder();
    return 0;
}
