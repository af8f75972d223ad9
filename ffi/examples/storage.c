// A store in a storage of one's own, which the test suite has checked.

#include <stdio.h>

#include "table_storage.h"

static int make(void *context, const char *folder, strongroom_sink *sink) {
    (void)context, (void)folder; // it uses no files
    table *all = table_new();
    if (all == NULL)
        return STRONGROOM_STORAGE_FULL;
    const strongroom_storage_callbacks storage = table_storage(all);
    return strongroom_give_storage(sink, &storage);
}

static int report(void *context, const char *promise, const char *failure) {
    (void)context;
    if (failure != NULL)
        fprintf(stderr, "%s: %s\n", promise, failure);
    return 0;
}

int main(void) {
    strongroom *store = NULL;
    strongroom_index_key index_key;
    strongroom_record_key key;
    strongroom_buffer data = {NULL, 0};
    strongroom_error error;

    // In the tests of the storage.
    if (strongroom_check_storage(make, report, NULL, STRONGROOM_VOLATILE, NULL, &error) != STRONGROOM_OK) {
        fprintf(stderr, "%s\n", error.message);
        return error.status;
    }

    table *all = table_new();
    if (all == NULL)
        return STRONGROOM_STORAGE_FULL;
    const strongroom_storage_callbacks storage = table_storage(all);
    strongroom_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.index_key = &index_key; // in a real program: the same at each opening
    if (strongroom_index_key_generate(&index_key, &error) != STRONGROOM_OK ||
        strongroom_open_storage(&storage, &options, &store, &error) != STRONGROOM_OK)
        table_free(all); // after a failure, it still belongs to the caller
    else if (strongroom_store(store, "id", 2, "scanned pages", 13, &key, &error) == STRONGROOM_OK &&
             strongroom_retrieve(store, "id", 2, &key, &data, &error) == STRONGROOM_OK)
        printf("%.*s\n", (int)data.len, (const char *)data.data);
    if (error.status != STRONGROOM_OK)
        fprintf(stderr, "%s: %s\n", strongroom_status_name(error.status), error.message);

    strongroom_buffer_free(&data);
    strongroom_wipe(&key, sizeof key);
    strongroom_wipe(&index_key, sizeof index_key);
    strongroom_close(store, NULL);
    return error.status;
}
