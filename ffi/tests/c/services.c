// Stores on a storage service and on an encryption server, which the program STRONGROOM_PROGRAM runs on Unix sockets and
// with TLS. The first argument is the folder with the certificates.

#include <dirent.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "testsupport.h"

enum { LEN = 3 * 1000 * 1000 };

static strongroom_error error;
static strongroom_index_key index_key;
static char https[64];

static strongroom_options options_with(const char *token_file) {
    strongroom_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.index_key = &index_key;
    options.token_file = token_file;
    return options;
}

static void run(const char *format, const char *value) {
    char command[4096];
    CHECK(snprintf(command, sizeof command, format, value) < (int)sizeof command);
    CHECK(system(command) == 0);
}

// Starts the service, and notes its URL as soon as it listens.
static pid_t serve(const char *program) {
    run("%s token new --scopes storage --tokens tokens >token", program);
    run("%s token new --scopes storage --tokens other-tokens >other-token", program);
    const pid_t service = fork();
    CHECK(service >= 0);
    if (service == 0) {
        CHECK(freopen("log", "w", stderr) != NULL);
        execl(program, program, "serve-storage", "--store", "served.db", "--listen", "unix:socket", "--listen",
              "127.0.0.1:0", "--tokens", "tokens", "--tls-certificate", "server.pem", "--tls-key", "server.key",
              "--tls-client-authorities", "authority.pem", (char *)NULL);
        exit(1);
    }
    for (int i = 0; i < 600 && https[0] == 0; i++) {
        char log[4096] = "";
        FILE *file = fopen("log", "r");
        if (file != NULL) {
            log[fread(log, 1, sizeof log - 1, file)] = 0;
            fclose(file);
        }
        const char *address = strstr(log, "127.0.0.1:");
        if (address != NULL)
            snprintf(https, sizeof https, "https://127.0.0.1:%d", atoi(address + strlen("127.0.0.1:")));
        usleep(50 * 1000);
    }
    CHECK(https[0] != 0);
    return service;
}

// A record with an expiry time, and a purge that removes nothing.
static void expiry_times(strongroom *store) {
    strongroom_record_key key;
    uint64_t purged = 1;
    strongroom_write_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.expires_at = 1;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_store_with(store, "late", 4, "", 0, &options, &key, &error));
    options.expires_at = 0;
    options.expires_in = 3600;
    CHECK_OK(strongroom_store_with(store, "late", 4, "", 0, &options, &key, &error));
    CHECK_OK(strongroom_purge(store, UINT64_MAX, &purged, &error));
    CHECK(purged == 0);
    CHECK_OK(strongroom_delete(store, "late", 4, &key, &error));
}

// A record whose length is hidden: 1000 bytes are padded to 1024.
static void padding(strongroom *store, const uint8_t *data) {
    strongroom_record_key key;
    strongroom_buffer found;
    strongroom_stats before, after;
    strongroom_write_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.pad = 1;
    CHECK_OK(strongroom_get_stats(store, &before, &error));
    CHECK_OK(strongroom_store_with(store, "padded", 6, data, 1000, &options, &key, &error));
    CHECK_OK(strongroom_get_stats(store, &after, &error));
    CHECK(after.bytes - before.bytes == 12 + 56 + 1024 + 16);
    CHECK_OK(strongroom_retrieve(store, "padded", 6, &key, &found, &error));
    CHECK(found.len == 1000 && memcmp(found.data, data, 1000) == 0);
    strongroom_buffer_free(&found);
    CHECK_OK(strongroom_delete(store, "padded", 6, &key, &error));
}

// Records that are read once, new keys for the same data, and namespaces.
static void once_and_again(strongroom *store, const uint8_t *data) {
    strongroom *one = NULL;
    strongroom_record_key key, old;
    strongroom_buffer found;
    strongroom_reader *reader = NULL;
    size_t len = 0;
    bool flag = true;
    uint8_t *buffer = (uint8_t *)malloc(LEN);
    CHECK(buffer != NULL);

    CHECK_OK(strongroom_namespace(store, "one", 3, &one, &error));
    CHECK_OK(strongroom_store(one, "once", 4, data, LEN, &old, &error));
    CHECK_OK(strongroom_contains(store, "once", 4, &flag, &error));
    CHECK(!flag);
    CHECK_OK(strongroom_rekey(one, "once", 4, &old, NULL, &key, &error));
    CHECK(strongroom_retrieve(one, "once", 4, &old, &found, &error) != STRONGROOM_OK);
    CHECK_OK(strongroom_take(one, "once", 4, &key, &found, &error));
    CHECK(found.len == LEN && memcmp(found.data, data, LEN) == 0);
    strongroom_buffer_free(&found);
    CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_take(one, "once", 4, &key, &found, &error));

    CHECK_OK(strongroom_store(one, "once", 4, data, LEN, &key, &error));
    CHECK_OK(strongroom_take_record(one, "once", 4, &key, &reader, &error));
    CHECK_OK(strongroom_contains(one, "once", 4, &flag, &error));
    CHECK(!flag);
    CHECK_OK(strongroom_reader_read(reader, buffer, LEN, &len, &error));
    CHECK(len == LEN && memcmp(buffer, data, LEN) == 0);
    strongroom_reader_free(reader);
    CHECK_OK(strongroom_close(one, &error));
    CHECK_OK(strongroom_contains(store, "once", 4, &flag, &error)); // the store is open
    free(buffer);
}

static void all_operations(const char *url, strongroom_options options, const uint8_t *data) {
    strongroom *store = NULL;
    strongroom_record_key key, keys[2];
    strongroom_buffer found;
    strongroom_writer *writer = NULL;
    strongroom_reader *reader = NULL;
    size_t len = 0;
    bool flag = false;
    uint8_t *buffer = (uint8_t *)malloc(LEN);
    CHECK(buffer != NULL);

    CHECK_OK(strongroom_open(url, &options, &store, &error));
    for (size_t i = 0; i < COUNT(SIZES); i++) {
        CHECK_OK(strongroom_store(store, "id", 2, data, SIZES[i], &key, &error));
        CHECK_STATUS(STRONGROOM_ALREADY_EXISTS, strongroom_store(store, "id", 2, data, 1, &keys[0], &error));
        CHECK_OK(strongroom_retrieve(store, "id", 2, &key, &found, &error));
        CHECK(found.len == SIZES[i] && memcmp(found.data, data, found.len) == 0);
        strongroom_buffer_free(&found);
        CHECK_STATUS(STRONGROOM_WRONG_KEY, strongroom_retrieve(store, "id", 2, (const strongroom_record_key *)&index_key,
                                                               &found, &error));
        CHECK_OK(strongroom_replace(store, "id", 2, &key, "new", 3, &key, &error));
        CHECK_OK(strongroom_delete(store, "id", 2, &key, &error));
        CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_retrieve(store, "id", 2, &key, &found, &error));
    }
    const strongroom_item items[] = {{"one", 3, "1", 1}, {"two", 3, "2", 1}};
    CHECK_OK(strongroom_store_many(store, items, 2, keys, &error));
    CHECK_OK(strongroom_erase(store, "one", 3, &flag, &error));
    CHECK(flag);

    CHECK_OK(strongroom_create_record(store, "long", 4, &writer, &error));
    for (size_t from = 0; from < LEN; from += 100000)
        CHECK_OK(strongroom_writer_write(writer, data + from, 100000, &error));
    CHECK_OK(strongroom_writer_finish(writer, &key, &error));
    strongroom_writer_free(writer);
    CHECK_OK(strongroom_create_record(store, "dropped", 7, &writer, &error));
    CHECK_OK(strongroom_writer_write(writer, data, LEN, &error));
    strongroom_writer_free(writer);
    CHECK_OK(strongroom_contains(store, "dropped", 7, &flag, &error));
    CHECK(!flag);
    expiry_times(store);
    padding(store, data);
    once_and_again(store, data);
    CHECK_OK(strongroom_close(store, &error));

    // Another handle finds the records, but not with another index key.
    CHECK_OK(strongroom_open(url, &options, &store, &error));
    CHECK_OK(strongroom_retrieve_into(store, "long", 4, &key, buffer, LEN, &len, &error));
    CHECK(len == LEN && memcmp(buffer, data, LEN) == 0);
    memset(buffer, 0, LEN);
    CHECK_OK(strongroom_open_record(store, "long", 4, &key, &reader, &error));
    CHECK_OK(strongroom_reader_read(reader, buffer, LEN, &len, &error));
    CHECK(len == LEN && memcmp(buffer, data, LEN) == 0);
    CHECK_OK(strongroom_reader_seek(reader, 0, &error));
    CHECK_OK(strongroom_close(store, &error));
    CHECK_STATUS(STRONGROOM_CLOSED, strongroom_reader_read(reader, buffer, LEN, &len, &error));
    strongroom_reader_free(reader);

    CHECK_OK(strongroom_open(url, &options, &store, &error));
    CHECK_OK(strongroom_open_record(store, "long", 4, &key, &reader, &error));
    CHECK_OK(strongroom_delete(store, "long", 4, &key, &error));
    CHECK_STATUS(STRONGROOM_CONFLICT, strongroom_reader_read(reader, buffer, LEN, &len, &error));
    strongroom_reader_free(reader);
    CHECK_OK(strongroom_delete(store, "two", 3, &keys[1], &error));
    CHECK_OK(strongroom_close(store, &error));

    strongroom_index_key other;
    CHECK_OK(strongroom_index_key_generate(&other, &error));
    options.index_key = &other;
    CHECK_STATUS(STRONGROOM_INDEX_KEY_MISMATCH, strongroom_open(url, &options, &store, &error));
    free(buffer);
}

typedef struct {
    strongroom_options options;
    const uint8_t *data;
} with_tls;

static void *all_operations_with_tls(void *context) {
    const with_tls *tls = (const with_tls *)context;
    all_operations(https, tls->options, tls->data);
    return NULL;
}

static void what_is_refused(void) {
    strongroom *store = NULL;
    strongroom_options options = options_with("other-token");
    CHECK_STATUS(STRONGROOM_ACCESS_DENIED, strongroom_open("unix:socket", &options, &store, &error));
    CHECK(strstr(error.message, "token") != NULL);
    options.token_file = NULL;
    CHECK_STATUS(STRONGROOM_ACCESS_DENIED, strongroom_open("unix:socket", &options, &store, &error));
    // A key instead of the token is reported, and not sent.
    run("%s key new --index --key-out index.key", getenv("STRONGROOM_PROGRAM"));
    options.token_file = "index.key";
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("unix:no-socket", &options, &store, &error));
    CHECK(strstr(error.message, "not a token but an index key") != NULL && strstr(error.message, "srx1") == NULL);
    options.token_file = "no-file";
    CHECK_STATUS(STRONGROOM_STORAGE, strongroom_open("unix:socket", &options, &store, &error));
    CHECK(strstr(error.message, "token") != NULL);

    // The system does not trust the service's authority, and the service requires a client certificate.
    options = options_with("token");
    options.timeout = 2000;
    CHECK_STATUS(STRONGROOM_STORAGE, strongroom_open(https, &options, &store, &error));
    options.authorities_file = "authority.pem";
    CHECK_STATUS(STRONGROOM_ACCESS_DENIED, strongroom_open(https, &options, &store, &error));
    options.client_certificate_file = "client.pem";
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open(https, &options, &store, &error));
    CHECK(strstr(error.message, "both") != NULL);

    options.client_key_file = "authority.pem"; // without a key
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open(https, &options, &store, &error));

    options = options_with("token");
    options.index_key = NULL;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("unix:socket", &options, &store, &error));
    CHECK(strstr(error.message, "index key") != NULL);
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("unix:socket", NULL, &store, &error));
    const uint64_t flags[] = {STRONGROOM_RELAXED_DURABILITY, STRONGROOM_READ_ONLY};
    for (size_t i = 0; i < COUNT(flags); i++) {
        options = options_with("token");
        options.flags = flags[i];
        CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("unix:socket", &options, &store, &error));
    }
    options = options_with("token");
    options.authorities_file = "authority.pem";
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("unix:socket", &options, &store, &error));
    options = options_with("token");
    const char *const urls[] = {"http://192.0.2.1:8421", "https://", "unix:", "https://127.0.0.1:1/path",
                                "http://127.0.0.1:99999", "http://127.0.0.1:0", "https://127.0.0.1:"};
    for (size_t i = 0; i < COUNT(urls); i++)
        CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open(urls[i], &options, &store, &error));

    // A cluster needs the names of its hosts.
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("cluster:unix:socket", &options, &store, &error));
    const char *const several[] = {"unix:no-socket,unix:socket", "cluster:unix:socket?names=a.example&zone=b"};
    for (size_t i = 0; i < COUNT(several); i++) {
        CHECK_OK(strongroom_open(several[i], &options, &store, &error));
        CHECK_OK(strongroom_close(store, &error));
        store = NULL;
    }

    // Options for a database are invalid.
    for (int i = 0; i < 6; i++) {
        options = options_with(i == 0 ? "token" : NULL);
        options.authorities_file = i == 1 ? "authority.pem" : NULL;
        options.client_certificate_file = i == 2 ? "client.pem" : NULL;
        options.client_key_file = i == 3 ? "client.key" : NULL;
        options.timeout = i == 4;
        options.revocations_file = i == 5 ? "authority.pem" : NULL;
        CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("local.db", &options, &store, &error));
    }
    CHECK(store == NULL && access("local.db", F_OK) != 0);
}

static double seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// A service that does not exist, and one that accepts connections but does not answer: with a timeout, both fail long
// before the default of 30 seconds.
static void in_time(void) {
    strongroom *store = NULL;
    strongroom_options options = options_with("token");
    options.timeout = 300;
    const double start = seconds();
    CHECK_STATUS(STRONGROOM_STORAGE, strongroom_open("unix:no-socket", &options, &store, &error));

    struct sockaddr_un address = {AF_UNIX, "silent"};
    const int silent = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(silent >= 0 && bind(silent, (const struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(silent, 5) == 0);
    CHECK_STATUS(STRONGROOM_BUSY, strongroom_open("unix:silent", &options, &store, &error));
    close(silent);
    CHECK(seconds() - start < 20);
    options.timeout = UINT64_MAX;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_open("http://192.0.2.1:1", &options, &store, &error));
}

// Starts an encryption server on a Unix socket.
static pid_t serve_encryption(const char *program) {
    run("%s token new --scopes store,retrieve,take,erase --tokens server-tokens >server-token", program);
    const pid_t server = fork();
    CHECK(server >= 0);
    if (server == 0) {
        CHECK(freopen("server-log", "w", stderr) != NULL);
        execl(program, program, "serve", "--store", "encrypted.db", "--listen", "unix:server", "--tokens",
              "server-tokens", (char *)NULL);
        exit(1);
    }
    for (int i = 0; i < 600 && access("server", F_OK) != 0; i++)
        usleep(50 * 1000);
    return server;
}

// An encryption server has the functions of a store.
static void encryption_server(const char *program, const uint8_t *data) {
    strongroom *store = NULL;
    strongroom_record_key key, wrong, keys[2];
    strongroom_buffer found;
    strongroom_stats stats;
    const pid_t server = serve_encryption(program);
    strongroom_options options = options_with("server-token");
    options.index_key = NULL;
    options.timeout = 60 * 1000;
    CHECK_OK(strongroom_connect("unix:server", &options, &store, &error));
    CHECK_OK(strongroom_store(store, "id", 2, data, LEN, &key, &error));
    CHECK_OK(strongroom_retrieve(store, "id", 2, &key, &found, &error));
    CHECK(found.len == LEN && memcmp(found.data, data, LEN) == 0);
    strongroom_buffer_free(&found);
    CHECK_OK(strongroom_record_key_generate(&wrong, &error));
    CHECK_STATUS(STRONGROOM_NOT_FOUND, strongroom_retrieve(store, "id", 2, &wrong, &found, &error));
    const strongroom_item items[] = {{"one", 3, "1", 1}, {"two", 3, "2", 1}};
    CHECK_OK(strongroom_store_many(store, items, 2, keys, &error));
    CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK(stats.records == 3);
    expiry_times(store);
    padding(store, data);
    once_and_again(store, data);
    CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_maintain(store, &error));
    uint64_t compacted = 0;
    CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_compact(store, 1, &compacted, &error));
    uint64_t remaining = 7;
    CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_get_unrotated_count(store, 1, &remaining, &error));
    CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_begin_rotation(store, &error));
    CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_finish_rotation(store, &error));
    CHECK(remaining == 7);
    close_store(store);

    // A server is asked when it is used.
    CHECK_OK(strongroom_connect("unix:server", NULL, &store, &error));
    CHECK_STATUS(STRONGROOM_ACCESS_DENIED, strongroom_get_stats(store, &stats, &error));
    CHECK(strstr(error.message, "token") != NULL);
    close_store(store);
    options.timeout = 300;
    CHECK_OK(strongroom_connect("unix:no-socket", &options, &store, &error));
    CHECK_STATUS(STRONGROOM_STORAGE, strongroom_store(store, "id", 2, data, 1, &key, &error));
    close_store(store);

    CHECK(kill(server, SIGTERM) == 0);
    int status = 0;
    CHECK(waitpid(server, &status, 0) == server && status == 0);
}

// The index key is the server's, and flags are for a database.
static void what_connect_refuses(void) {
    strongroom *store = NULL;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_connect(NULL, NULL, &store, &error));
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_connect("unix:server", NULL, NULL, &error));
    const char *const urls[] = {"", "records.db", ":memory:", "unix:", "https://", "http://192.0.2.1:8420",
                                "https://127.0.0.1:1/path", "http://127.0.0.1:99999", "http://127.0.0.1:1\xff"};
    for (size_t i = 0; i < COUNT(urls); i++)
        CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_connect(urls[i], NULL, &store, &error));
    const uint64_t flags[] = {STRONGROOM_MUST_EXIST, STRONGROOM_RELAXED_DURABILITY, STRONGROOM_READ_ONLY, STRONGROOM_PAD,
                              1u << 20};
    for (size_t i = 0; i < COUNT(flags); i++) {
        strongroom_options options = options_with(NULL);
        options.index_key = NULL;
        options.flags = flags[i];
        CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_connect("unix:server", &options, &store, &error));
    }
    strongroom_options options = options_with("server-token");
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_connect("unix:server", &options, &store, &error));
    CHECK(strstr(error.message, "index key") != NULL);
    options.index_key = NULL;
    options.index_key_file = "index.key";
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_connect("unix:server", &options, &store, &error));
    options.index_key_file = NULL;
    options.previous_index_key = &index_key;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_connect("unix:server", &options, &store, &error));
    options.previous_index_key = NULL;
    options.previous_index_key_file = "index.key";
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_connect("unix:server", &options, &store, &error));
    CHECK(strstr(error.message, "index key") != NULL);
    options.previous_index_key_file = NULL;
    options.authorities_file = "authority.pem"; // of TLS
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_connect("unix:server", &options, &store, &error));
    options.authorities_file = NULL;
    options.token_file = "index.key"; // which is not sent
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_connect("unix:server", &options, &store, &error));
    options.token_file = "no-file";
    CHECK_STATUS(STRONGROOM_STORAGE, strongroom_connect("unix:server", &options, &store, &error));
    CHECK(strstr(error.message, "token") != NULL);
    CHECK(store == NULL);
}

// The child gets an error, may free its copies, and may connect to a service itself.
static void forked(const uint8_t *data) {
    strongroom *store = NULL, *own = NULL;
    strongroom_record_key key, new_key;
    strongroom_writer *writer = NULL;
    strongroom_reader *reader = NULL;
    strongroom_buffer found;
    size_t len = 0;
    uint8_t *buffer = (uint8_t *)malloc(LEN);
    CHECK(buffer != NULL);
    strongroom_options options = options_with("token");
    CHECK_OK(strongroom_open("unix:socket", &options, &store, &error));
    CHECK_OK(strongroom_store(store, "id", 2, data, LEN, &key, &error));
    CHECK_OK(strongroom_open_record(store, "id", 2, &key, &reader, &error));
    CHECK_OK(strongroom_reader_read(reader, buffer, 1000000, &len, &error));
    CHECK_OK(strongroom_create_record(store, "written", 7, &writer, &error));
    CHECK_OK(strongroom_writer_write(writer, data, LEN, &error));

    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        CHECK_STATUS(STRONGROOM_FORKED, strongroom_store(store, "child", 5, "data", 4, &new_key, &error));
        CHECK_STATUS(STRONGROOM_FORKED, strongroom_retrieve(store, "id", 2, &key, &found, &error));
        strongroom_status status = STRONGROOM_OK;
        for (int i = 0; i < 3 && status == STRONGROOM_OK; i++)
            status = strongroom_reader_read(reader, buffer, LEN, &len, &error);
        CHECK(status == STRONGROOM_OK || status == STRONGROOM_FORKED);
        CHECK_STATUS(STRONGROOM_FORKED, strongroom_writer_finish(writer, &new_key, &error));
        strongroom_reader_free(reader);
        strongroom_writer_free(writer);
        CHECK_STATUS(STRONGROOM_FORKED, strongroom_close(store, &error));
        CHECK_OK(strongroom_open("unix:socket", &options, &own, &error));
        CHECK_OK(strongroom_store(own, "child", 5, "data", 4, &new_key, &error));
        CHECK_OK(strongroom_close(own, &error));
        execl("/bin/true", "true", (char *)NULL); // without freeing the parent's handles
        exit(1);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status == 0);

    CHECK_OK(strongroom_reader_read(reader, buffer + 1000000, LEN - 1000000, &len, &error));
    CHECK(len == LEN - 1000000 && memcmp(buffer, data, LEN) == 0);
    strongroom_reader_free(reader);
    CHECK_OK(strongroom_writer_finish(writer, &new_key, &error));
    strongroom_writer_free(writer);
    CHECK_OK(strongroom_retrieve(store, "written", 7, &new_key, &found, &error));
    CHECK(found.len == LEN && memcmp(found.data, data, LEN) == 0);
    strongroom_buffer_free(&found);
    strongroom_stats stats;
    CHECK_OK(strongroom_get_stats(store, &stats, &error));
    CHECK(stats.records == 3);
    close_store(store);
    free(buffer);
}

// The library's threads leave the host's signals to the host.
static void signals_are_blocked(void) {
    DIR *folder = opendir("/proc/self/task");
    CHECK(folder != NULL);
    int found = 0;
    for (struct dirent *task; (task = readdir(folder)) != NULL;) {
        char path[300], text[4096] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        text[fread(text, 1, sizeof text - 1, file)] = 0;
        fclose(file);
        if (strncmp(text, "Name:\tstrongroom", strlen("Name:\tstrongroom")) != 0)
            continue;
        found++;
        const char *mask = strstr(text, "SigBlk:\t");
        CHECK(mask != NULL);
        const unsigned long long blocked = strtoull(mask + strlen("SigBlk:\t"), NULL, 16);
        const int signals[] = {SIGPIPE, SIGTERM, SIGINT, SIGCHLD, SIGALRM, SIGUSR1};
        for (size_t i = 0; i < COUNT(signals); i++)
            CHECK((blocked >> (signals[i] - 1) & 1) == 1);
        CHECK((blocked >> (SIGSEGV - 1) & 1) == 0);
    }
    closedir(folder);
    CHECK(found > 0);
}

// A service that is killed during a long write is an error, and no SIGPIPE for the host.
static void service_dies(const char *program, strongroom_options options, const uint8_t *data) {
    signal(SIGPIPE, SIG_DFL);
    for (int i = 0; i < 4; i++) {
        strongroom *store = NULL;
        strongroom_writer *writer = NULL;
        https[0] = 0;
        unlink("log"); // it has the address of the previous service
        const pid_t service = serve(program);
        const strongroom_options plain = options_with("token");
        CHECK_OK(strongroom_open(i % 2 == 0 ? "unix:socket" : https, i % 2 == 0 ? &plain : &options, &store, &error));
        CHECK_OK(strongroom_create_record(store, "cut", 3, &writer, &error));
        CHECK_OK(strongroom_writer_write(writer, data, LEN, &error));
        signals_are_blocked();
        CHECK(kill(service, SIGKILL) == 0);
        CHECK(waitpid(service, NULL, 0) == service);
        strongroom_status status = STRONGROOM_OK;
        for (int n = 0; n < 100 && status == STRONGROOM_OK; n++)
            status = strongroom_writer_write(writer, data, LEN, &error);
        CHECK_STATUS(STRONGROOM_STORAGE, status);
        strongroom_writer_free(writer);
        close_store(store);
    }
}

// A store moves to the service and back.
static void copy_both_ways(void) {
    strongroom_copied copied;
    strongroom *store = NULL;
    strongroom_stats stats;
    strongroom_options options = options_with("token");
    CHECK_OK(strongroom_open("unix:socket", &options, &store, &error));
    CHECK_OK(strongroom_get_stats(store, &stats, &error));
    close_store(store);
    options.index_key = NULL;
    strongroom_copy_options out, back;
    memset(&out, 0, sizeof out);
    memset(&back, 0, sizeof back);
    out.size = back.size = sizeof out;
    out.from = back.to = &options;
    back.flags = STRONGROOM_MIRROR;
    back.workers = 2;
    CHECK_OK(strongroom_copy("unix:socket", "local.db", &out, &copied, NULL, &error));
    CHECK(copied.records == stats.records && copied.bytes == stats.bytes && copied.damaged == 0);
    CHECK_OK(strongroom_copy("local.db", "unix:socket", &back, &copied, NULL, &error));
    CHECK(copied.records == 0 && copied.unchanged == stats.records && copied.deleted == 0);
    CHECK_STATUS(STRONGROOM_ACCESS_DENIED,
                 strongroom_copy("local.db", "unix:socket", NULL, &copied, NULL, &error));
    back.from = &options;
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT,
                 strongroom_copy("local.db", "unix:socket", &back, &copied, NULL, &error));
}

int main(int argc, char **argv) {
    const char *program = getenv("STRONGROOM_PROGRAM");
    CHECK(argc == 2 && program != NULL);
    enter_folder();
    run("cp %s/certificates/* .", argv[1]);
    const pid_t service = serve(program);
    uint8_t *data = pattern(LEN);
    CHECK_OK(strongroom_index_key_generate(&index_key, &error));

    all_operations("unix:socket", options_with("token"), data);
    strongroom_options options = options_with("token");
    options.authorities_file = "authority.pem";
    options.client_certificate_file = "client.pem";
    options.client_key_file = "client.key";
    options.timeout = 60 * 1000;
    with_tls tls = {options, data};
    CHECK(pthread_join(start_small(all_operations_with_tls, &tls), NULL) == 0);
    what_is_refused();
    what_connect_refuses();
    in_time();
    forked(data);
    copy_both_ways();
    encryption_server(program, data);

    CHECK(kill(service, SIGTERM) == 0);
    int status = 0;
    CHECK(waitpid(service, &status, 0) == service && status == 0);
    service_dies(program, options, data);
    free(data);
    leave_folder();
    return 0;
}
