// The search for damage, and the repair from a copy.

#include "testsupport.h"

enum { LEN = 1000 * 1000 };

static strongroom_error error;

typedef struct {
    uint64_t records;
    size_t steps;
    size_t damage;
    char locator[65];
    char place[64];
    char kind[32];
    char next[130];
    int answer;
} found;

static int step(void *context, const strongroom_verify_step *step) {
    found *all = (found *)context;
    all->steps++;
    all->records = step->records;
    for (size_t i = 0; i < step->damage_len; i++) {
        const strongroom_damage *damage = &step->damage[i];
        CHECK(damage->place != NULL && damage->kind != NULL);
        snprintf(all->locator, sizeof all->locator, "%s", damage->locator != NULL ? damage->locator : "");
        snprintf(all->place, sizeof all->place, "%s", damage->place);
        snprintf(all->kind, sizeof all->kind, "%s", damage->kind);
        all->damage++;
    }
    snprintf(all->next, sizeof all->next, "%s", step->next != NULL ? step->next : "");
    return all->answer;
}

static strongroom_options with_key_of_store(uint64_t flags) {
    strongroom_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.flags = flags;
    options.index_key_file = "records.db.index-key";
    return options;
}

static void copy_file(const char *from, const char *to, bool alter) {
    static char buffer[4 * LEN];
    FILE *file = fopen(from, "rb");
    CHECK(file != NULL);
    const size_t len = fread(buffer, 1, sizeof buffer, file);
    fclose(file);
    CHECK(len > 2 * LEN && len < sizeof buffer);
    if (alter)
        buffer[len / 4 + 100] ^= 1; // within the first record, and not at the start of a page, which is SQLite's
    file = fopen(to, "wb");
    CHECK(file != NULL && fwrite(buffer, 1, len, file) == len && fclose(file) == 0);
}

int main(void) {
    enter_folder();
    strongroom *store = open_store(), *copy = NULL;
    strongroom_record_key keys[2];
    strongroom_buffer data;
    strongroom_verify_report report;
    uint64_t restored = 7, lost = 7;
    char *bytes = (char *)calloc(LEN, 1);
    CHECK(bytes != NULL);
    CHECK_OK(strongroom_store(store, "1", 1, bytes, LEN, &keys[0], &error));
    CHECK_OK(strongroom_store(store, "2", 1, bytes, LEN, &keys[1], &error));
    found all;
    memset(&all, 0, sizeof all);
    CHECK_OK(strongroom_verify(store, NULL, step, &all, &report, &error));
    CHECK(report.records == 2 && report.bytes > 2 * LEN && report.damaged == 0 && report.unsupported == 0);
    CHECK(all.steps == 2 && all.records == 2 && all.damage == 0 && all.next[0] == 0);
    close_store(store);

    copy_file("records.db", "backup.db", false);
    copy_file("records.db", "records.db", true);
    strongroom_options options = with_key_of_store(0);
    CHECK_OK(strongroom_open("records.db", &options, &store, &error));
    options = with_key_of_store(STRONGROOM_READ_ONLY);
    CHECK_OK(strongroom_open("backup.db", &options, &copy, &error));
    CHECK_OK(strongroom_verify(store, NULL, step, &all, &report, &error));
    CHECK(report.damaged == 1 && all.damage == 1 && strlen(all.locator) == 64);
    CHECK(strncmp(all.place, "segment ", 8) == 0 && strcmp(all.kind, "checksum") == 0);

    // From a position on, at a rate, until the function stops it.
    strongroom_verify_options search;
    memset(&search, 0, sizeof search);
    search.size = sizeof search;
    search.flags = STRONGROOM_RECORDS_ONLY;
    search.bytes_per_second = 1000 * LEN;
    search.start_at = all.locator;
    CHECK_OK(strongroom_verify(store, &search, NULL, NULL, &report, &error));
    CHECK(report.records == 1 && report.damaged == 0);
    search.start_at = NULL;
    memset(&all, 0, sizeof all);
    all.answer = 1;
    CHECK_OK(strongroom_verify(store, NULL, step, &all, &report, &error));
    CHECK(all.steps == 1 && report.records == all.records);

    // Without the index key.
    all.answer = 0;
    CHECK_OK(strongroom_verify_path("records.db", NULL, NULL, step, &all, &report, &error));
    CHECK(report.records == 2 && report.damaged == 1 && strcmp(all.kind, "checksum") == 0);
    CHECK_OK(strongroom_verify_path("records.db", NULL, &search, NULL, NULL, &report, &error));
    CHECK(report.records == 2 && report.damaged == 1);
    CHECK_OK(strongroom_verify_path("backup.db", NULL, NULL, NULL, NULL, &report, &error));
    CHECK(report.records == 2 && report.damaged == 0);
    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT,
                 strongroom_verify_path("backup.db", &options, NULL, NULL, NULL, &report, &error));

    CHECK_STATUS(STRONGROOM_INVALID_ARGUMENT, strongroom_repair_from(store, store, &restored, &lost, &error));
    CHECK_STATUS(STRONGROOM_UNSUPPORTED, strongroom_repair_from(copy, store, &restored, &lost, &error));
    CHECK(restored == 7 && lost == 7);
    CHECK_OK(strongroom_repair_from(store, copy, &restored, &lost, &error));
    CHECK(restored == 1 && lost == 0);
    CHECK_OK(strongroom_verify(store, NULL, NULL, NULL, &report, &error));
    CHECK(report.records == 2 && report.damaged == 0);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(strongroom_retrieve(store, i == 0 ? "1" : "2", 1, &keys[i], &data, &error));
        CHECK(data.len == LEN && memcmp(data.data, bytes, LEN) == 0);
        strongroom_buffer_free(&data);
    }
    close_store(copy);
    close_store(store);
    free(bytes);
    leave_folder();
    return 0;
}
