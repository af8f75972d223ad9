// Stores a file of any size, in constant memory, and writes it out again: file FILE COPY
//
// The key is written down before the record is there, so that no crash can lose it.

#include <stdio.h>
#include <string.h>
#include <strongroom.h>

// Puts the next bytes of the file where the library wants them.
static ptrdiff_t read_file(void *context, void *data, size_t size) {
    FILE *file = (FILE *)context;
    const size_t len = fread(data, 1, size, file);
    return ferror(file) ? -1 : (ptrdiff_t)len;
}

static strongroom_status store_file(strongroom *store, FILE *file, strongroom_record_key *key, strongroom_error *error) {
    char text[STRONGROOM_KEY_TEXT_SIZE];
    strongroom_status status = strongroom_record_key_generate(key, error);
    if (status == STRONGROOM_OK)
        status = strongroom_record_key_to_text(key, text, error);
    if (status == STRONGROOM_OK) {
        printf("%s\n", text); // in a real program: to whom the data belongs
        strongroom_write_options options;
        memset(&options, 0, sizeof options);
        options.size = sizeof options;
        options.key = key;
        status = strongroom_store_stream_with(store, "file", 4, read_file, file, &options, NULL, error);
    }
    strongroom_wipe(text, sizeof text);
    return status;
}

// Reads the record back in pieces. If this fails, throw the copy away.
static strongroom_status copy_record(strongroom_reader *reader, FILE *copy, strongroom_error *error) {
    static char buffer[64 * 1024];
    size_t len = 0;
    strongroom_status status;
    do {
        status = strongroom_reader_read(reader, buffer, sizeof buffer, &len, error);
    } while (status == STRONGROOM_OK && len > 0 && fwrite(buffer, 1, len, copy) == len);
    strongroom_wipe(buffer, sizeof buffer);
    return status;
}

int main(int argc, char **argv) {
    strongroom *store = NULL;
    strongroom_reader *reader = NULL;
    strongroom_record_key key;
    strongroom_error error;
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL, *copy = argc == 3 ? fopen(argv[2], "wb") : NULL;
    if (file == NULL || copy == NULL) {
        fprintf(stderr, "file FILE COPY\n");
        return 64;
    }
    strongroom_status status = strongroom_open("records.db", NULL, &store, &error);
    if (status == STRONGROOM_OK)
        status = store_file(store, file, &key, &error);
    if (status == STRONGROOM_OK)
        status = strongroom_open_record(store, "file", 4, &key, &reader, &error);
    if (status == STRONGROOM_OK)
        status = copy_record(reader, copy, &error);
    if (status != STRONGROOM_OK)
        fprintf(stderr, "%s\n", error.message);

    strongroom_reader_free(reader);
    strongroom_wipe(&key, sizeof key);
    strongroom_close(store, NULL);
    fclose(file);
    const int unwritten = ferror(copy); // fclose does not tell of what failed before it
    return fclose(copy) == 0 && !unwritten ? (int)status : 74;
}
