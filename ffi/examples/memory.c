// A store in memory, for tests and caches: no file, no index key to keep, gone with its handle.

#include <stdio.h>
#include <strongroom.h>

int main(void) {
    strongroom *store = NULL;
    strongroom_record_key key;
    strongroom_buffer data = {NULL, 0};
    strongroom_error error;

    if (strongroom_open(":memory:", NULL, &store, &error) != STRONGROOM_OK ||
        strongroom_store(store, "id", 2, "scanned pages", 13, &key, &error) != STRONGROOM_OK ||
        strongroom_retrieve(store, "id", 2, &key, &data, &error) != STRONGROOM_OK)
        fprintf(stderr, "%s: %s\n", strongroom_status_name(error.status), error.message);
    else
        printf("%.*s\n", (int)data.len, (const char *)data.data);

    strongroom_buffer_free(&data);
    strongroom_wipe(&key, sizeof key);
    strongroom_close(store, NULL);
    return error.status;
}
