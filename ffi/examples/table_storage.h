// A storage of one's own: records in a sorted table in memory, behind one mutex. C11 and C++17.

#ifndef TABLE_STORAGE_H
#define TABLE_STORAGE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strongroom.h>

typedef struct {
    uint8_t locator[STRONGROOM_LOCATOR_SIZE];
    uint8_t *record;
    size_t len;
    uint64_t checksum;
} table_row;

typedef struct {
    pthread_mutex_t mutex;
    table_row *rows; // in the order of their locators
    size_t count, capacity;
    uint8_t settings[STRONGROOM_SETTINGS_SIZE];
    size_t settings_len;
    bool has_settings;
} table;

typedef struct {
    uint8_t locator[STRONGROOM_LOCATOR_SIZE], head[STRONGROOM_HEAD_SIZE];
    strongroom_put_mode mode;
    uint8_t *data;
    size_t len, capacity;
} table_upload;

static inline table *table_lock(void *context) {
    table *all = (table *)context;
    pthread_mutex_lock(&all->mutex);
    return all;
}

static inline int table_unlock(table *all, int status) {
    pthread_mutex_unlock(&all->mutex);
    return status;
}

// A real storage uses a better one, such as CRC-32C.
static inline uint64_t table_checksum(const uint8_t *data, size_t len) {
    uint64_t sum = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        sum = (sum ^ data[i]) * 0x100000001b3u;
    return sum;
}

static inline uint8_t *table_copy(const void *data, size_t len) {
    uint8_t *copy = (uint8_t *)malloc(len);
    if (copy != NULL)
        memcpy(copy, data, len);
    return copy;
}

// The index of the first row that is not before `locator`.
static inline size_t table_find(const table *all, const uint8_t *locator) {
    size_t from = 0, to = all->count;
    while (from < to) {
        const size_t middle = from + (to - from) / 2;
        if (memcmp(all->rows[middle].locator, locator, STRONGROOM_LOCATOR_SIZE) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

// The row of `locator`, or NULL.
static inline table_row *table_row_of(const table *all, const uint8_t *locator) {
    const size_t at = table_find(all, locator);
    const bool found = at < all->count && memcmp(all->rows[at].locator, locator, STRONGROOM_LOCATOR_SIZE) == 0;
    return found ? &all->rows[at] : NULL;
}

static inline bool table_has_head(const table_row *row, const uint8_t *head) {
    return row != NULL && memcmp(row->record, head, STRONGROOM_HEAD_SIZE) == 0;
}

static inline int table_check(const table_row *row, strongroom_put_mode mode, const uint8_t *head) {
    if (mode == STRONGROOM_CREATE && row != NULL)
        return STRONGROOM_ALREADY_EXISTS;
    if (mode == STRONGROOM_REPLACE_IF && !table_has_head(row, head))
        return STRONGROOM_CONFLICT;
    return STRONGROOM_OK;
}

static inline bool table_reserve(table *all, size_t more) {
    if (all->capacity - all->count >= more)
        return true;
    const size_t capacity = (all->count + more) * 2;
    table_row *rows = (table_row *)realloc(all->rows, capacity * sizeof *rows);
    if (rows == NULL)
        return false;
    all->rows = rows;
    all->capacity = capacity;
    return true;
}

// Adds a row, for which there is room. The table then owns `record`.
static inline void table_insert(table *all, const uint8_t *locator, uint8_t *record, size_t len) {
    const size_t at = table_find(all, locator);
    memmove(all->rows + at + 1, all->rows + at, (all->count - at) * sizeof *all->rows);
    table_row *row = &all->rows[at];
    memcpy(row->locator, locator, STRONGROOM_LOCATOR_SIZE);
    row->record = record;
    row->len = len;
    row->checksum = table_checksum(record, len);
    all->count++;
}

static inline void table_delete(table *all, table_row *row) {
    all->count--;
    memmove(row, row + 1, (all->count - (size_t)(row - all->rows)) * sizeof *row);
}

// Writes `record`, which the table then owns, or frees it.
static inline int table_write(table *all, const uint8_t *locator, uint8_t *record, size_t len, strongroom_put_mode mode,
                              const uint8_t *head) {
    table_row *row = table_row_of(all, locator);
    int status = table_check(row, mode, head);
    if (status == STRONGROOM_OK && row == NULL && !table_reserve(all, 1))
        status = STRONGROOM_STORAGE_FULL;
    if (status != STRONGROOM_OK) {
        free(record);
    } else if (row != NULL) {
        free(row->record);
        row->record = record;
        row->len = len;
        row->checksum = table_checksum(record, len);
    } else {
        table_insert(all, locator, record, len);
    }
    return status;
}

static inline int table_put(void *context, const uint8_t *locator, const void *record, size_t record_len,
                            strongroom_put_mode mode, const uint8_t *head) {
    uint8_t *copy = table_copy(record, record_len);
    if (copy == NULL)
        return STRONGROOM_STORAGE_FULL;
    table *all = table_lock(context);
    return table_unlock(all, table_write(all, locator, copy, record_len, mode, head));
}

static inline int table_create_many(void *context, const strongroom_storage_record *records, size_t count) {
    table *all = table_lock(context);
    for (size_t i = 0; i < count; i++)
        if (table_row_of(all, records[i].locator) != NULL)
            return table_unlock(all, STRONGROOM_ALREADY_EXISTS);
    uint8_t **copies = (uint8_t **)calloc(count + 1, sizeof *copies);
    bool is_room = copies != NULL && table_reserve(all, count);
    for (size_t i = 0; is_room && i < count; i++) {
        copies[i] = table_copy(records[i].record, records[i].record_len);
        is_room = copies[i] != NULL;
    }
    for (size_t i = 0; copies != NULL && i < count; i++) {
        if (is_room)
            table_insert(all, records[i].locator, copies[i], records[i].record_len);
        else
            free(copies[i]);
    }
    free(copies);
    return table_unlock(all, is_room ? STRONGROOM_OK : STRONGROOM_STORAGE_FULL);
}

static inline int table_get_up_to(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink) {
    table *all = table_lock(context);
    const table_row *row = table_row_of(all, locator);
    if (row == NULL)
        return table_unlock(all, STRONGROOM_NOT_FOUND);
    if (row->len > max_len)
        return table_unlock(all, strongroom_give_info(sink, row->record, row->len));
    return table_unlock(all, strongroom_give_bytes(sink, row->record, row->len));
}

static inline int table_info(void *context, const uint8_t *locator, strongroom_sink *sink) {
    table *all = table_lock(context);
    const table_row *row = table_row_of(all, locator);
    if (row == NULL)
        return table_unlock(all, STRONGROOM_NOT_FOUND);
    return table_unlock(all, strongroom_give_info(sink, row->record, row->len));
}

static inline int table_read_at(void *context, const uint8_t *locator, const uint8_t *head, uint64_t offset,
                                void *buffer, size_t len) {
    table *all = table_lock(context);
    const table_row *row = table_row_of(all, locator);
    if (!table_has_head(row, head))
        return table_unlock(all, STRONGROOM_CONFLICT);
    if (offset > row->len || len > row->len - offset)
        return table_unlock(all, STRONGROOM_INVALID_ARGUMENT);
    memcpy(buffer, row->record + offset, len);
    return table_unlock(all, STRONGROOM_OK);
}

static inline int table_start_upload(void *context, const uint8_t *locator, strongroom_put_mode mode,
                                     const uint8_t *head, void **handle) {
    table *all = table_lock(context);
    const int status = table_unlock(all, table_check(table_row_of(all, locator), mode, head));
    if (status != STRONGROOM_OK)
        return status;
    table_upload *upload = (table_upload *)calloc(1, sizeof *upload);
    if (upload == NULL)
        return STRONGROOM_STORAGE_FULL;
    memcpy(upload->locator, locator, sizeof upload->locator);
    upload->mode = mode;
    if (head != NULL)
        memcpy(upload->head, head, sizeof upload->head);
    *handle = upload;
    return STRONGROOM_OK;
}

static inline int table_upload_write(void *context, void *handle, const void *data, size_t len) {
    (void)context;
    table_upload *upload = (table_upload *)handle;
    if (upload->capacity - upload->len < len) {
        const size_t capacity = (upload->len + len) * 2;
        uint8_t *grown = (uint8_t *)realloc(upload->data, capacity);
        if (grown == NULL)
            return STRONGROOM_STORAGE_FULL;
        upload->data = grown;
        upload->capacity = capacity;
    }
    if (len > 0)
        memcpy(upload->data + upload->len, data, len);
    upload->len += len;
    return STRONGROOM_OK;
}

static inline int table_upload_commit(void *context, void *handle) {
    table_upload *upload = (table_upload *)handle;
    uint8_t *record = upload->data;
    upload->data = NULL;
    table *all = table_lock(context);
    return table_unlock(all, table_write(all, upload->locator, record, upload->len, upload->mode, upload->head));
}

static inline void table_upload_free(void *context, void *handle) {
    (void)context;
    free(((table_upload *)handle)->data);
    free(handle);
}

static inline int table_remove(void *context, const uint8_t *locator, const uint8_t *head) {
    table *all = table_lock(context);
    table_row *row = table_row_of(all, locator);
    if (row == NULL)
        return table_unlock(all, STRONGROOM_NOT_FOUND);
    if (head != NULL && !table_has_head(row, head))
        return table_unlock(all, STRONGROOM_CONFLICT);
    free(row->record);
    table_delete(all, row);
    return table_unlock(all, STRONGROOM_OK);
}

static inline int table_rename(void *context, const uint8_t *from, const uint8_t *head, const uint8_t *to) {
    table *all = table_lock(context);
    table_row *here = table_row_of(all, from);
    const table_row *there = table_row_of(all, to);
    if (here == NULL && table_has_head(there, head))
        return table_unlock(all, STRONGROOM_OK); // it has moved already
    if (!table_has_head(here, head))
        return table_unlock(all, STRONGROOM_CONFLICT);
    if (here == there)
        return table_unlock(all, STRONGROOM_OK);
    if (there != NULL)
        return table_unlock(all, STRONGROOM_ALREADY_EXISTS);
    const table_row row = *here;
    table_delete(all, here);
    table_insert(all, to, row.record, row.len);
    return table_unlock(all, STRONGROOM_OK);
}

static inline int table_list(void *context, const uint8_t *after, size_t limit, strongroom_sink *sink) {
    table *all = table_lock(context);
    size_t at = after == NULL ? 0 : table_find(all, after);
    if (after != NULL && table_row_of(all, after) != NULL)
        at++;
    int status = STRONGROOM_OK;
    for (; status == STRONGROOM_OK && at < all->count && limit > 0; at++, limit--) {
        const table_row *row = &all->rows[at];
        status = strongroom_give_entry(sink, row->locator, row->record, row->len);
    }
    return table_unlock(all, status);
}

// The time at which a record expires, or 0.
static inline uint64_t table_expires_at(const table_row *row) {
    uint64_t time = 0;
    for (int i = 11; i >= 4; i--)
        time = time << 8 | row->record[i];
    return time;
}

static inline int table_compare_times(const void *a, const void *b) {
    const uint64_t first = table_expires_at(*(const table_row *const *)a);
    const uint64_t second = table_expires_at(*(const table_row *const *)b);
    return (first > second) - (first < second);
}

// A real storage has an index of the times.
static inline int table_list_expired(void *context, uint64_t now, size_t limit, strongroom_sink *sink) {
    table *all = table_lock(context);
    const table_row **due = (const table_row **)calloc(all->count + 1, sizeof *due);
    if (due == NULL)
        return table_unlock(all, STRONGROOM_STORAGE_FULL);
    size_t count = 0;
    for (size_t i = 0; i < all->count; i++)
        if (table_expires_at(&all->rows[i]) != 0 && table_expires_at(&all->rows[i]) <= now)
            due[count++] = &all->rows[i];
    qsort(due, count, sizeof *due, table_compare_times);
    int status = STRONGROOM_OK;
    for (size_t i = 0; status == STRONGROOM_OK && i < count && i < limit; i++)
        status = strongroom_give_entry(sink, due[i]->locator, due[i]->record, due[i]->len);
    free(due);
    return table_unlock(all, status);
}

static inline int table_settings(void *context, strongroom_sink *sink) {
    table *all = table_lock(context);
    if (!all->has_settings)
        return table_unlock(all, STRONGROOM_NOT_FOUND);
    return table_unlock(all, strongroom_give_bytes(sink, all->settings, all->settings_len));
}

static inline int table_swap_settings(void *context, const void *expected, size_t expected_len, const void *document,
                                      size_t document_len) {
    table *all = table_lock(context);
    const bool is_expected = expected == NULL ? !all->has_settings
                                              : all->has_settings && all->settings_len == expected_len &&
                                                    memcmp(all->settings, expected, expected_len) == 0;
    if (!is_expected)
        return table_unlock(all, STRONGROOM_CONFLICT);
    memcpy(all->settings, document, document_len);
    all->settings_len = document_len;
    all->has_settings = true;
    return table_unlock(all, STRONGROOM_OK);
}

static inline int table_verify_record(void *context, const uint8_t *locator) {
    table *all = table_lock(context);
    const table_row *row = table_row_of(all, locator);
    if (row == NULL)
        return table_unlock(all, STRONGROOM_NOT_FOUND);
    const bool is_intact = table_checksum(row->record, row->len) == row->checksum;
    return table_unlock(all, is_intact ? STRONGROOM_OK : STRONGROOM_CORRUPT);
}

static inline int table_stats(void *context, uint64_t now, strongroom_stats *stats) {
    table *all = table_lock(context);
    stats->records = all->count;
    stats->bytes = stats->expired = 0;
    for (size_t i = 0; i < all->count; i++) {
        const uint64_t time = table_expires_at(&all->rows[i]);
        stats->bytes += all->rows[i].len;
        stats->expired += time != 0 && time <= now;
    }
    return table_unlock(all, STRONGROOM_OK);
}

static inline void table_free(void *context) {
    table *all = (table *)context;
    for (size_t i = 0; i < all->count; i++)
        free(all->rows[i].record);
    free(all->rows);
    pthread_mutex_destroy(&all->mutex);
    free(all);
}

// A new table, or NULL.
static inline table *table_new(void) {
    table *all = (table *)calloc(1, sizeof *all);
    if (all != NULL)
        pthread_mutex_init(&all->mutex, NULL);
    return all;
}

// The storage on a table. Deleted records leave nothing, and closing does nothing: their callbacks stay NULL.
static inline strongroom_storage_callbacks table_storage(table *all) {
    strongroom_storage_callbacks storage;
    memset(&storage, 0, sizeof storage);
    storage.size = sizeof storage;
    storage.context = all;
    storage.put = table_put;
    storage.create_many = table_create_many;
    storage.get_up_to = table_get_up_to;
    storage.info = table_info;
    storage.read_at = table_read_at;
    storage.upload = table_start_upload;
    storage.upload_write = table_upload_write;
    storage.upload_commit = table_upload_commit;
    storage.upload_free = table_upload_free;
    storage.remove = table_remove;
    storage.rename = table_rename;
    storage.list = table_list;
    storage.list_expired = table_list_expired;
    storage.settings = table_settings;
    storage.swap_settings = table_swap_settings;
    storage.verify_record = table_verify_record;
    storage.stats = table_stats;
    storage.destroy = table_free;
    return storage;
}

#endif
