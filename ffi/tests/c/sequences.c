// Random sequences of calls, some with one invalid argument, on stores, readers and writers that come and go: each call
// has the outcome that a model of the records predicts. `sequences FOLDER SEED` repeats a run.

#include "testsupport.h"

enum { IDS = 3, STORES = 2, STREAMS = 3 };
static const size_t LENGTHS[] = {0, 1, 100, 16384, 16385, 70000};

// A record, if it exists. Byte i of its data depends on i and `version`. Each write has another key.
typedef struct {
    bool exists;
    uint32_t version;
    size_t len;
    strongroom_record_key key;
} Record;

typedef struct {
    strongroom_writer *writer;
    size_t store, id;
    bool replaces, failed;
    uint32_t version;
    size_t len;
    strongroom_record_key old_key;
} Writer;

typedef struct {
    strongroom_reader *reader;
    size_t store, id;
    Record record;
    uint64_t position;
} Reader;

static uint64_t state;
static uint32_t versions;
static strongroom_error error;
static strongroom *stores[STORES];
static unsigned openings[STORES];
static Record records[IDS];
static Writer writers[STREAMS];
static Reader readers[STREAMS];

// A number below `bound` (xorshift64*, Vigna 2016).
static size_t below(size_t bound) {
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return (size_t)((state * 0x2545f4914f6cdd1d) >> 33) % bound;
}

static uint8_t byte_at(uint32_t version, uint64_t i) {
    return (uint8_t)(version * 31 + i * 7 + (i >> 8));
}

// `len` bytes of a version from `start` on, in memory of exactly this size.
static uint8_t *bytes_of(uint32_t version, size_t start, size_t len) {
    uint8_t *data = (uint8_t *)malloc(len ? len : 1);
    CHECK(data != NULL);
    for (size_t i = 0; i < len; i++)
        data[i] = byte_at(version, start + i);
    return data;
}

static bool is_part(uint32_t version, uint64_t start, const uint8_t *data, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (data[i] != byte_at(version, start + i))
            return false;
    return true;
}

// The arguments of a call. One of them may be invalid, and `refusal` is the status that it causes.
typedef struct {
    strongroom *store;
    void *id;
    size_t id_len;
    uint8_t *data;
    size_t len;
    const strongroom_record_key *key;
    void *output;
    strongroom_status refusal;
    uint8_t *owned[2];
} Arguments;

enum { STORE = 1, ID = 2, DATA = 4, KEY = 8, OUTPUT = 16 };

// Arguments of a call that has those in `uses`.
static Arguments arguments(size_t store, size_t id, uint32_t version, size_t len, const strongroom_record_key *key,
                           void *output, int uses) {
    Arguments given = {stores[store], malloc(1), 1, bytes_of(version, 0, len), len, key, output, STRONGROOM_OK, {0}};
    CHECK(given.id != NULL);
    *(char *)given.id = (char)('a' + id);
    given.owned[0] = (uint8_t *)given.id, given.owned[1] = given.data;
    size_t which = below(10);
    const bool is_too_long = below(2) == 0;
    if (below(6) != 0 || !(uses & (1 << which % 5)))
        return given;
    given.refusal = STRONGROOM_INVALID_ARGUMENT;
    switch (1 << which % 5) {
    case STORE: given.store = NULL; break;
    case ID:
        if (which < 5)
            given.id = NULL;
        else if (is_too_long)
            given.id_len = SIZE_MAX - below(9);
        else
            given.id_len = 0, given.refusal = STRONGROOM_INVALID_ID;
        break;
    case DATA:
        if (is_too_long)
            given.len = SIZE_MAX - below(9);
        else
            given.data = NULL, given.len += 1;
        break;
    case KEY: given.key = NULL; break;
    default: given.output = NULL;
    }
    return given;
}

static void drop(Arguments *given) {
    free(given->owned[0]), free(given->owned[1]);
}

// The expected status of a call, unless it is refused.
static void expect(const Arguments *given, strongroom_status expected, strongroom_status status) {
    check_status(__FILE__, __LINE__, "a call", given->refusal ? given->refusal : expected, status, &error);
}

static Record version_of(size_t len, const strongroom_record_key *key) {
    Record record = {true, versions, len, *key};
    return record;
}

// The status of an operation that opens the record with `key`.
static strongroom_status opening(size_t id, const strongroom_record_key *key) {
    if (!records[id].exists)
        return STRONGROOM_NOT_FOUND;
    return strongroom_record_key_equal(&records[id].key, key) ? STRONGROOM_OK : STRONGROOM_WRONG_KEY;
}

static void write_or_remove(size_t store, size_t id, const strongroom_record_key *key) {
    const size_t len = LENGTHS[below(COUNT(LENGTHS))];
    strongroom_record_key made = {{0}};
    Record *record = &records[id];
    Arguments given;
    bool had = false;
    versions++;
    switch (below(6)) {
    case 0:
        given = arguments(store, id, versions, len, NULL, &made, STORE | ID | DATA | OUTPUT);
        expect(&given, record->exists ? STRONGROOM_ALREADY_EXISTS : STRONGROOM_OK,
               strongroom_store(given.store, given.id, given.id_len, given.data, given.len,
                                (strongroom_record_key *)given.output, &error));
        if (!error.status)
            *record = version_of(len, &made);
        break;
    case 1:
        given = arguments(store, id, versions, len, key, &made, STORE | ID | DATA | KEY | OUTPUT);
        expect(&given, opening(id, key),
               strongroom_replace(given.store, given.id, given.id_len, given.key, given.data, given.len,
                                  (strongroom_record_key *)given.output, &error));
        if (!error.status)
            *record = version_of(len, &made);
        break;
    case 2:
        given = arguments(store, id, versions, 0, key, &made, STORE | ID | KEY | OUTPUT);
        expect(&given, opening(id, key),
               strongroom_rekey(given.store, given.id, given.id_len, given.key, NULL,
                                (strongroom_record_key *)given.output, &error));
        if (!error.status)
            record->key = made;
        break;
    case 3:
        given = arguments(store, id, versions, 0, key, NULL, STORE | ID | KEY);
        expect(&given, opening(id, key),
               strongroom_delete(given.store, given.id, given.id_len, given.key, &error));
        record->exists &= error.status != STRONGROOM_OK;
        break;
    case 4:
        given = arguments(store, id, versions, 0, NULL, &had, STORE | ID | OUTPUT);
        expect(&given, STRONGROOM_OK,
               strongroom_contains(given.store, given.id, given.id_len, (bool *)given.output, &error));
        CHECK(error.status || had == record->exists);
        break;
    default:
        given = arguments(store, id, versions, 0, NULL, &had, STORE | ID | OUTPUT);
        if (below(4) == 0) {
            expect(&given, STRONGROOM_OK,
                   strongroom_erase(given.store, given.id, given.id_len, (bool *)given.output, &error));
            CHECK(error.status || had == record->exists);
            record->exists &= error.status != STRONGROOM_OK;
        }
    }
    drop(&given);
}

static void retrieve(size_t store, size_t id, const strongroom_record_key *key) {
    const Record *record = &records[id];
    strongroom_buffer data = {NULL, 0};
    Arguments given = arguments(store, id, 0, 0, key, &data, STORE | ID | KEY | OUTPUT);
    const size_t start = below(80000), wanted = below(80000);
    const size_t which = below(4), room = below(2) ? record->len : below(record->len + 1);
    size_t from = 0, whole = record->len, len = SIZE_MAX;
    uint8_t *to = NULL;
    strongroom_status expected = opening(id, key);
    switch (which) {
    case 0:
        expect(&given, expected,
               strongroom_retrieve(given.store, given.id, given.id_len, given.key, (strongroom_buffer *)given.output,
                                   &error));
        break;
    case 1:
        from = start < whole ? start : whole, whole = wanted < whole - from ? wanted : whole - from;
        expect(&given, expected,
               strongroom_retrieve_range(given.store, given.id, given.id_len, given.key, start, wanted,
                                         (strongroom_buffer *)given.output, &error));
        break;
    case 2:
        expect(&given, expected,
               strongroom_take(given.store, given.id, given.id_len, given.key, (strongroom_buffer *)given.output, &error));
        if (!error.status)
            records[id].exists = false;
        break;
    default:
        to = bytes_of(0, 0, room);
        if (!expected && room < whole)
            expected = STRONGROOM_TOO_LARGE;
        expect(&given, expected,
               strongroom_retrieve_into(given.store, given.id, given.id_len, given.key, to, room,
                                        given.output ? &len : NULL, &error));
        CHECK(len == (error.status == STRONGROOM_OK || error.status == STRONGROOM_TOO_LARGE ? whole : SIZE_MAX));
        CHECK(error.status || is_part(record->version, 0, to, whole));
        free(to);
    }
    if (which < 3 && !error.status)
        CHECK(data.data != NULL && data.len == whole && is_part(record->version, from, data.data, data.len));
    else
        CHECK(data.data == NULL && data.len == 0);
    strongroom_buffer_free(&data);
    drop(&given);
}

static void use_writer(size_t store, size_t id, const strongroom_record_key *key) {
    Writer *one = &writers[below(STREAMS)];
    Record *record = &records[one->id];
    if (one->writer == NULL) {
        Writer begun = {NULL, store, id, below(2) == 0, false, ++versions, 0, records[id].key};
        Arguments given = arguments(store, id, 0, 0, key, &begun.writer, STORE | ID | OUTPUT | (begun.replaces ? KEY : 0));
        strongroom_writer **writer = (strongroom_writer **)given.output;
        if (begun.replaces)
            expect(&given, opening(id, key),
                   strongroom_replace_record(given.store, given.id, given.id_len, given.key, writer, &error));
        else
            expect(&given, records[id].exists ? STRONGROOM_ALREADY_EXISTS : STRONGROOM_OK,
                   strongroom_create_record(given.store, given.id, given.id_len, writer, &error));
        CHECK((begun.writer == NULL) == (error.status != STRONGROOM_OK));
        drop(&given);
        if (begun.writer != NULL)
            *one = begun, one->store += STORES * openings[store];
        return;
    }
    const bool is_closed = one->store != one->store % STORES + STORES * openings[one->store % STORES] ||
                           stores[one->store % STORES] == NULL;
    if (below(3) > 0 && one->len < 70000) {
        const size_t len = LENGTHS[below(COUNT(LENGTHS))];
        uint8_t *data = bytes_of(one->version, one->len, len);
        strongroom_status status = strongroom_writer_write(one->writer, data, len, &error);
        free(data);
        CHECK(status == STRONGROOM_OK || (is_closed && status == STRONGROOM_CLOSED) ||
              (one->failed && status == STRONGROOM_INVALID_ARGUMENT));
        one->failed |= status != STRONGROOM_OK;
        one->len += len;
        return;
    }
    if (below(4) > 0) {
        strongroom_record_key known, made;
        CHECK_OK(strongroom_writer_key(one->writer, &known, &error));
        const strongroom_status status = strongroom_writer_finish(one->writer, &made, &error);
        const bool is_old = record->exists && strongroom_record_key_equal(&record->key, &one->old_key);
        const bool is_current = one->replaces ? is_old : !record->exists;
        if (one->failed)
            CHECK(status == STRONGROOM_INVALID_ARGUMENT);
        else if (is_closed)
            CHECK(status == STRONGROOM_CLOSED);
        else if (is_current)
            CHECK(status == STRONGROOM_OK);
        else
            CHECK(status == STRONGROOM_CONFLICT || status == STRONGROOM_NOT_FOUND || status == STRONGROOM_ALREADY_EXISTS);
        if (status == STRONGROOM_OK) {
            CHECK(strongroom_record_key_equal(&known, &made));
            Record written = {true, one->version, one->len, made};
            *record = written;
        }
        CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_writer_finish(one->writer, NULL, &error));
    }
    strongroom_writer_free(one->writer);
    one->writer = NULL;
}

static void use_reader(size_t store, size_t id, const strongroom_record_key *key) {
    Reader *one = &readers[below(STREAMS)];
    if (one->reader == NULL) {
        Arguments given = arguments(store, id, 0, 0, key, &one->reader, STORE | ID | KEY | OUTPUT);
        expect(&given, opening(id, key),
               strongroom_open_record(given.store, given.id, given.id_len, given.key,
                                      (strongroom_reader **)given.output, &error));
        CHECK((one->reader == NULL) == (error.status != STRONGROOM_OK));
        drop(&given);
        one->store = store + STORES * openings[store], one->id = id, one->record = records[id], one->position = 0;
        return;
    }
    const Record *now = &records[one->id];
    const size_t home = one->store % STORES;
    const bool is_closed = one->store != home + STORES * openings[home] || stores[home] == NULL;
    const bool is_same = !is_closed && now->exists && strongroom_record_key_equal(&now->key, &one->record.key);
    uint64_t len = UINT64_MAX;
    switch (below(4)) {
    case 0:
        strongroom_reader_free(one->reader);
        one->reader = NULL;
        break;
    case 1:
        if (strongroom_reader_len(one->reader, &len, &error) == STRONGROOM_OK)
            CHECK(len == one->record.len);
        else
            CHECK(!is_same);
        break;
    case 2:
        one->position = below(4) ? below(80000) : UINT64_MAX - below(9);
        CHECK_OK(strongroom_reader_seek(one->reader, one->position, &error));
        break;
    default: {
        const size_t size = below(3) ? below(80000) : 0;
        const uint64_t left = one->position < one->record.len ? one->record.len - one->position : 0;
        const size_t most = left < size ? (size_t)left : size;
        uint8_t *data = bytes_of(0, 0, size);
        size_t got = 0;
        const strongroom_status status = strongroom_reader_read(one->reader, data, size, &got, &error);
        if (status == STRONGROOM_OK) {
            CHECK(is_same ? got == most : got <= most);
            CHECK(is_part(one->record.version, one->position, data, got));
            one->position += got;
        } else {
            CHECK(!is_same && got == 0 && (status == STRONGROOM_CONFLICT || status == STRONGROOM_CLOSED));
        }
        free(data);
    }
    }
}

static void step(void) {
    const size_t store = below(STORES), id = below(IDS);
    strongroom_record_key other = {{1}};
    // A key that is never in the record: that of another record, or an invalid one.
    strongroom_record_key key = below(5) ? records[id].key : below(2) ? records[(id + 1) % IDS].key : other;
    if (!strongroom_record_key_equal(&key, &key)) // all zeros: no record was there yet
        key = other;
    if (stores[store] == NULL) {
        CHECK_OK(strongroom_open("records.db", NULL, &stores[store], &error));
        openings[store]++;
        return;
    }
    const size_t which = below(40);
    if (which == 0) {
        CHECK_OK(strongroom_close(stores[store], &error));
        stores[store] = NULL;
    } else if (which < 15) {
        write_or_remove(store, id, &key);
    } else if (which < 24) {
        retrieve(store, id, &key);
    } else if (which < 32) {
        use_writer(store, id, &key);
    } else {
        use_reader(store, id, &key);
    }
}

int main(int count, char **args) {
    const uint64_t seed = count > 2 ? strtoull(args[2], NULL, 10) : (uint64_t)getpid() * 1000003;
    printf("seed %llu\n", (unsigned long long)seed);
    state = seed | 1;
    enter_folder();
    const unsigned steps = is_short() ? 150 : 500 * test_seconds();
    for (unsigned i = 0; i < steps; i++)
        step();
    for (size_t i = 0; i < STREAMS; i++)
        strongroom_writer_free(writers[i].writer), strongroom_reader_free(readers[i].reader);
    for (size_t i = 0; i < STORES; i++)
        CHECK_OK(strongroom_close(stores[i], &error));
    leave_folder();
    return 0;
}
