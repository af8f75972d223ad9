#include <stdio.h>
#include <string.h>
#include <strongroom.h>

int main(void) {
    strongroom *store = NULL;
    strongroom_record_key key;
    strongroom_buffer data = {NULL, 0};
    strongroom_error error;
    const char *id = "user:42:passport", *pages = "scanned pages";

    // Makes records.db and, beside it, records.db.index-key.
    if (strongroom_open("records.db", NULL, &store, &error) != STRONGROOM_OK ||
        strongroom_store(store, id, strlen(id), pages, strlen(pages), &key, &error) != STRONGROOM_OK ||
        strongroom_retrieve(store, id, strlen(id), &key, &data, &error) != STRONGROOM_OK ||
        strongroom_delete(store, id, strlen(id), &key, &error) != STRONGROOM_OK)
        fprintf(stderr, "%s: %s\n", strongroom_status_name(error.status), error.message);
    else
        printf("%.*s\n", (int)data.len, (const char *)data.data);

    strongroom_buffer_free(&data);       // wipes it, too
    strongroom_wipe(&key, sizeof key);   // keys are yours to wipe
    strongroom_close(store, NULL);
    return error.status;
}
