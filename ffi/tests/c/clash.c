// Symbols that the library's SQLite also has: the static library must use its own.

#include "testsupport.h"

int sqlite3_open_v2(void);
int sqlite3_prepare_v3(void);
void *sqlite3_malloc(int size);

int sqlite3_open_v2(void) {
    abort();
}

int sqlite3_prepare_v3(void) {
    abort();
}

void *sqlite3_malloc(int size) {
    (void)size;
    abort();
}

int main(void) {
    strongroom_error error;
    strongroom_record_key key;
    strongroom_buffer data;
    enter_folder();
    strongroom *store = open_store();
    CHECK_OK(strongroom_store(store, "id", 2, "data", 4, &key, &error));
    CHECK_OK(strongroom_retrieve(store, "id", 2, &key, &data, &error));
    strongroom_buffer_free(&data);
    close_store(store);
    leave_folder();
    return 0;
}
