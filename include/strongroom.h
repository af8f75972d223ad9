/*
 * Strongroom: keeps data under an id, encrypted, and hands back the only key that opens it.
 *
 *     strongroom *store = NULL;
 *     strongroom_record_key key;
 *     strongroom_buffer data = {NULL, 0};
 *     strongroom_error error;
 *
 *     if (strongroom_open("records.db", NULL, &store, &error) ||
 *         strongroom_store(store, "id", 2, "data", 4, &key, &error) ||
 *         strongroom_retrieve(store, "id", 2, &key, &data, &error))
 *         fprintf(stderr, "%s\n", error.message);
 *     strongroom_buffer_free(&data);
 *     strongroom_wipe(&key, sizeof key);
 *     strongroom_close(store, NULL);
 *
 * CONVENTIONS
 *
 * Outcome. A function that can fail returns a strongroom_status: 0 is success. Its last parameter may take a
 * strongroom_error, in which a text tells more; it may be NULL. Outputs are written on success only, except where a
 * function says otherwise. No failure changes what is stored, unless the status says that this is not known.
 *
 * Parameters. The handle comes first, then inputs, then outputs. No pointer may be NULL where nothing is said: NULL is
 * answered with STRONGROOM_INVALID_ARGUMENT. Bytes and arrays are a pointer and a length; (NULL, 0) is a valid empty
 * one, to be read or to be filled. A length that no memory has, above PTRDIFF_MAX, is STRONGROOM_INVALID_ARGUMENT. What a
 * function writes to, the strongroom_error among it, overlaps none of its other parameters, except where it says so. An id
 * is any 1 to 4,096 bytes; text means its UTF-8 bytes, without a terminator. Paths are ended by a NUL byte. Lengths are
 * in bytes.
 *
 * Ownership. The library copies what it needs of its inputs before it returns. What it opens or makes (strongroom,
 * strongroom_writer, strongroom_reader) ends with its own close or free function, and the data in a strongroom_buffer
 * with strongroom_buffer_free, never with free(); all of these take NULL. Keys are plain structs of the caller's.
 *
 * Memory. The library wipes what it frees, but not the stacks of threads, on which pieces of data may stay. Keys and
 * copies of data in the caller's memory are the caller's to wipe: strongroom_wipe is not optimised away. Data for which
 * there is no memory is STRONGROOM_TOO_LARGE; any other lack of memory ends the process.
 *
 * Threads. A strongroom may be used from many threads at once; a writer or a reader, an options struct and a key that
 * is written to, by one thread at a time. Nothing may be in use by another thread while it is closed or freed.
 * Readers and writers may outlive their store: whatever needs it then answers STRONGROOM_CLOSED. A thread that calls
 * needs 64 KiB of stack. The library has threads of its own, for long records and for services. They block all signals
 * but those of their own faults (SIGSEGV and its like), so that the host's handlers run on the host's threads, and a service
 * that dies is an error and no SIGPIPE.
 *
 * Processes. Several processes may use one database. After fork(), what would touch a store that the parent opened is
 * STRONGROOM_FORKED in the child. It may free its copies, whose memory is then not given back, and yet can never open a
 * database if a database, or a reader or writer of one, was open at the fork. Open stores after forking, or call exec. A
 * program must not open the database with another copy of SQLite, such as its own: POSIX locks are lost when one of the
 * two closes the file.
 *
 * C++ and signals. A function that is given to the library must return: it must not throw or longjmp. No function may
 * be called from a signal handler.
 *
 * The interface grows: statuses (have a default in a switch), functions, and members at the end of options
 * structs may be added. Nothing that is in this header changes its meaning within a major version (before 1.0: a minor version).
 */

/* Generated from the sources by ffi/tests/header.rs: change those. */

#ifndef STRONGROOM_H
#define STRONGROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A warning where the result of a function is not looked at. In GNU C, a cast to void does not silence it: an if does. */
#if (defined(__cplusplus) && __cplusplus >= 201703L) || (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L)
#define STRONGROOM_MUST_USE [[nodiscard]]
#elif defined(__GNUC__)
#define STRONGROOM_MUST_USE __attribute__((warn_unused_result))
#else
#define STRONGROOM_MUST_USE
#endif

#ifdef __cplusplus
extern "C" {
#endif


/*
 * Version
 */

#define STRONGROOM_VERSION "0.1.0"
#define STRONGROOM_VERSION_MAJOR 0
#define STRONGROOM_VERSION_MINOR 1
#define STRONGROOM_VERSION_PATCH 0

/// The version of the library that runs, such as "0.1.0"; STRONGROOM_VERSION is that of the header.
STRONGROOM_MUST_USE const char *strongroom_version(void);


/*
 * Outcomes
 */

/// The bytes of a strongroom_error's message.
#define STRONGROOM_ERROR_MESSAGE_SIZE 1020

/// Why a function failed, or that it did not. The numbers are the same in every language and never change.
typedef enum {
    /// Success.
    STRONGROOM_OK = 0,
    /// No record has this id. To the holder of a key, it is a sign of an erased record.
    STRONGROOM_NOT_FOUND = 1,
    /// A record has this id.
    STRONGROOM_ALREADY_EXISTS = 2,
    /// The key is not the one that the record was sealed with, or the record's first 68 bytes were altered: without the
    /// key, these cannot be told apart.
    STRONGROOM_WRONG_KEY = 3,
    /// The record, or the database that holds it, was altered or damaged.
    STRONGROOM_CORRUPT = 4,
    /// Bytes or a text are no key.
    STRONGROOM_INVALID_KEY = 5,
    /// An id has 1 to 4,096 bytes.
    STRONGROOM_INVALID_ID = 6,
    /// Something of a newer version, or something that the storage cannot do.
    STRONGROOM_UNSUPPORTED = 7,
    /// More data than a record (4 PiB), this storage, the buffer given for it, or memory can hold.
    STRONGROOM_TOO_LARGE = 8,
    /// The store was made with another index key.
    STRONGROOM_INDEX_KEY_MISMATCH = 9,
    /// The file with the store's index key is not there.
    STRONGROOM_INDEX_KEY_MISSING = 10,
    /// Somebody else replaced or removed the record meanwhile.
    STRONGROOM_CONFLICT = 11,
    /// A lock that another process held for 5 seconds, or a service that did not answer in time. Nothing was changed.
    STRONGROOM_BUSY = 12,
    /// No room. What was stored before is as it was.
    STRONGROOM_STORAGE_FULL = 13,
    /// Input or output failed, of the storage or of the caller's own function. Nothing was changed. After a write that
    /// failed so, the handle may be STRONGROOM_POISONED.
    STRONGROOM_STORAGE = 14,
    /// A commit failed, so whether the write took place is not known. Open the store anew and look.
    STRONGROOM_INDETERMINATE = 15,
    /// An earlier write or commit failed half way, so this handle is not to be trusted. Open the store anew.
    STRONGROOM_POISONED = 16,
    /// A handle was open when this process was forked from its parent.
    STRONGROOM_FORKED = 17,
    /// The store is closed.
    STRONGROOM_CLOSED = 18,
    /// An argument, or a combination of them, cannot be.
    STRONGROOM_INVALID_ARGUMENT = 19,
    /// The record is past its time. No function of this version gives it one.
    STRONGROOM_EXPIRED = 20,
    /// A service or a storage denies access: a token, a client certificate, a password, or a right is missing or wrong.
    /// Nothing was changed.
    STRONGROOM_ACCESS_DENIED = 21,
    /// A fault that is not the caller's.
    STRONGROOM_INTERNAL = 99,
} strongroom_status;

/// More about an outcome: the caller's, to be filled by the function that it is given to. It needs no initialisation
/// and holds no memory. It never shows an id, a key or data; it may show a path.
typedef struct {
    /// What the function returned.
    strongroom_status status;
    /// What happened and what to do, down to the system's own words, such as "input or output failed: disk I/O error".
    /// Ended by a NUL byte; empty after a success.
    char message[STRONGROOM_ERROR_MESSAGE_SIZE];
} strongroom_error;

/// The name of a status, such as "NotFound": the same in every language. "Unknown" for any other number.
STRONGROOM_MUST_USE const char *strongroom_status_name(int status);

/// What a status means and what to do about it, in English. For any other number than a status', a text that says so.
STRONGROOM_MUST_USE const char *strongroom_status_message(int status);


/*
 * Keys
 */

/// The bytes of a key.
#define STRONGROOM_KEY_SIZE 32

/// The characters of a key's text, with the NUL byte at its end.
#define STRONGROOM_KEY_TEXT_SIZE 63

/// The only key that opens one record. It belongs to the caller; no storage keeps it. All zeros are no key: they are
/// answered with STRONGROOM_INVALID_KEY.
typedef struct {
    /// The secret bytes.
    uint8_t bytes[STRONGROOM_KEY_SIZE];
} strongroom_record_key;

/// What hides the ids of a store. It belongs to the operator, and is never stored in the database. Without it, no record
/// is found again.
typedef struct {
    /// The secret bytes.
    uint8_t bytes[STRONGROOM_KEY_SIZE];
} strongroom_index_key;

/// Makes a new record key from the operating system's random numbers: to be written down before data is stored under
/// it, by strongroom_write_options.
STRONGROOM_MUST_USE
strongroom_status strongroom_record_key_generate(strongroom_record_key *key,
                                                 strongroom_error *error);

/// Makes a record key of `len` bytes, which must be STRONGROOM_KEY_SIZE and not all zeros: STRONGROOM_INVALID_KEY
/// otherwise. `data` may lie in `key`. The way back is the member `bytes`.
STRONGROOM_MUST_USE
strongroom_status strongroom_record_key_from_bytes(const void *data,
                                                   size_t len,
                                                   strongroom_record_key *key,
                                                   strongroom_error *error);

/// Reads a record key from its text, "srk1" and 58 more characters, all of lower or all of upper case; `len` is without
/// a NUL byte. A byte order mark before it and white space around it are left out, so that the text of a key file can be
/// given as it is. `text` may lie in `key`. A typo, an index key and all else is STRONGROOM_INVALID_KEY, and the error's
/// message tells them apart.
STRONGROOM_MUST_USE
strongroom_status strongroom_record_key_from_text(const char *text,
                                                  size_t len,
                                                  strongroom_record_key *key,
                                                  strongroom_error *error);

/// Writes the key's text into `text`, which has room for STRONGROOM_KEY_TEXT_SIZE characters, and ends it by a NUL
/// byte. Keep it where only the data's owner can read it.
STRONGROOM_MUST_USE
strongroom_status strongroom_record_key_to_text(const strongroom_record_key *key,
                                                char *text,
                                                strongroom_error *error);

/// Whether two record keys are the same, in constant time. NULL and all zeros are like no key, not even each other.
STRONGROOM_MUST_USE bool strongroom_record_key_equal(const strongroom_record_key *a, const strongroom_record_key *b);

/// Makes a new index key from the operating system's random numbers.
STRONGROOM_MUST_USE strongroom_status strongroom_index_key_generate(strongroom_index_key *key, strongroom_error *error);

/// As strongroom_record_key_from_bytes, for an index key.
STRONGROOM_MUST_USE
strongroom_status strongroom_index_key_from_bytes(const void *data,
                                                  size_t len,
                                                  strongroom_index_key *key,
                                                  strongroom_error *error);

/// As strongroom_record_key_from_text, for an index key, "srx1" and 58 more characters.
STRONGROOM_MUST_USE
strongroom_status strongroom_index_key_from_text(const char *text,
                                                 size_t len,
                                                 strongroom_index_key *key,
                                                 strongroom_error *error);

/// As strongroom_record_key_to_text, for an index key.
STRONGROOM_MUST_USE
strongroom_status strongroom_index_key_to_text(const strongroom_index_key *key,
                                               char *text,
                                               strongroom_error *error);

/// As strongroom_record_key_equal, for index keys.
STRONGROOM_MUST_USE bool strongroom_index_key_equal(const strongroom_index_key *a, const strongroom_index_key *b);

/// Overwrites `len` bytes with zeros, in a way that the compiler does not leave out. NULL is allowed.
void strongroom_wipe(void *data, size_t len);


/*
 * Stores
 */

/// In the flags of strongroom_options: open the store only if it is there (STRONGROOM_INVALID_ARGUMENT otherwise), so that
/// a typo in a path does not make a new one, in which nothing is found.
#define STRONGROOM_MUST_EXIST 1

/// In the flags of strongroom_options: a write that returned may be lost when the power fails (never when the program
/// does), and costs less. The store stays whole.
#define STRONGROOM_RELAXED_DURABILITY 2

/// In the flags of strongroom_options: open the database for reading alone, and leave no trace beside it, to look into a
/// backup, also on a read-only medium. It must be there. Writes are STRONGROOM_UNSUPPORTED.
#define STRONGROOM_READ_ONLY 4

/// A store of encrypted records. One handle is for all threads of a program.
typedef struct strongroom strongroom;

/// How to open a store. Set all of it to zero, then `size` to sizeof(strongroom_options), then what you choose:
///
///     strongroom_options options;
///     memset(&options, 0, sizeof options);
///     options.size = sizeof options;
///     options.index_key_file = "/run/secrets/index-key";
///
/// A flag that the library does not know is STRONGROOM_INVALID_ARGUMENT; a larger struct, of a newer header, is accepted
/// if what is new in it is zero, and STRONGROOM_UNSUPPORTED otherwise.
typedef struct {
    /// sizeof(strongroom_options): what the caller knows of this struct.
    size_t size;
    /// STRONGROOM_MUST_EXIST, STRONGROOM_RELAXED_DURABILITY, STRONGROOM_READ_ONLY, added up, or 0: for a database.
    uint64_t flags;
    /// Hides the ids, kept apart from the database: the right choice for production. No file with the key is made beside
    /// the database then. Or NULL.
    const strongroom_index_key *index_key;
    /// The file to read the index key from: its text on a line. It is not made where it is missing, and refused where
    /// others than its user and root could have changed or read it (STRONGROOM_INVALID_ARGUMENT). Or NULL; not both.
    const char *index_key_file;
    /// For a service: the file with the token to show, on a line. Or NULL.
    const char *token_file;
    /// For a service at https: the authorities to trust, in PEM. NULL for those that the system trusts.
    const char *authorities_file;
    /// For a service at https: the certificate to show, in PEM, with those between it and the authority. Or NULL.
    const char *client_certificate_file;
    /// The certificate's private key, in PEM. Or NULL, as the certificate.
    const char *client_key_file;
    /// For a service at https: certificate revocation lists in PEM, one of each authority in the service's chain. Revoked
    /// certificates are refused, and so is one that no list covers. The file is read again before a new connection once it
    /// has changed. Or NULL.
    const char *revocations_file;
    /// For a service: how many milliseconds a call may take until its answer begins, with all repetitions, and how many a
    /// long answer may stand still. 0 for 30,000.
    uint64_t timeout;
} strongroom_options;

/// How much a store holds.
typedef struct {
    /// The number of records.
    uint64_t records;
    /// The bytes of all records: ciphertext and headers, without the storage's own overhead.
    uint64_t bytes;
} strongroom_stats;

/// Opens the SQLite database at `path`, and makes it where there is none (an empty file is one to be made). `options` may
/// be NULL.
///
/// Without an index key in the options, it is in the file `<path>.index-key`, made together with the database. Back it
/// up, and keep it apart from the database's backups: without it no record is found again, and whoever has both can try
/// out ids. While the store is open, `<path>-wal` is a part of it, and `<path>-shm` and `<path>.uploads` lie beside it. To
/// copy the file or to move it, close the store everywhere first.
///
/// The `path` ":memory:" is a new store in memory, which ends with its handle. It has a fresh index key, unless the options
/// have one, and leaves no file; the flag STRONGROOM_MUST_EXIST does not go with it.
///
/// A `path` that is a URL is a storage service, which sees sealed records alone: ids, keys and data stay in this process.
/// It needs an index key in the options, the same for all who share the service.
///
///     https://storage.example:8421              TLS 1.3
///     http://127.0.0.1:8421                     on this machine alone
///     unix:/run/strongroom/storage.sock         a Unix socket
///
/// STRONGROOM_INDEX_KEY_MISSING where a key's file is not there, STRONGROOM_INVALID_KEY where it has none,
/// STRONGROOM_INDEX_KEY_MISMATCH where the index key is another store's; STRONGROOM_INVALID_ARGUMENT where `path` is no
/// place for a store, or options do not go with it; STRONGROOM_CORRUPT for a damaged database, STRONGROOM_UNSUPPORTED for
/// one of a newer version; STRONGROOM_STORAGE where it cannot be read and written, or the service not be reached.
STRONGROOM_MUST_USE
strongroom_status strongroom_open(const char *path,
                                  const strongroom_options *options,
                                  strongroom **store,
                                  strongroom_error *error);

/// Closes the store and frees the handle, also where it returns a failure, such as STRONGROOM_FORKED. Readers and writers
/// that are still there are to be freed all the same. NULL is allowed.
strongroom_status strongroom_close(strongroom *store,
                                   strongroom_error *error);

/// Removes what interrupted writes left, if nobody is writing a large record at the time, and gives its room to later
/// records, as opening a store does. Then empties the database's log, which may have the ciphertext of deleted records:
/// STRONGROOM_BUSY where others read all the time.
STRONGROOM_MUST_USE strongroom_status strongroom_maintain(const strongroom *store, strongroom_error *error);

/// How much the store holds. It takes time in proportion to the number of records.
STRONGROOM_MUST_USE
strongroom_status strongroom_get_stats(const strongroom *store,
                                       strongroom_stats *stats,
                                       strongroom_error *error);


/*
 * Choices for writes
 */

/// How to write a record. Set all of it to zero, then `size` to sizeof(strongroom_write_options), then what you choose:
///
///     strongroom_write_options options;
///     memset(&options, 0, sizeof options);
///     options.size = sizeof options;
///     options.key = &key;
///
/// A larger struct, of a newer header, is accepted if what is new in it is zero, and STRONGROOM_UNSUPPORTED otherwise.
typedef struct {
    /// sizeof(strongroom_write_options): what the caller knows of this struct.
    size_t size;
    /// The key to seal the record under, which the caller made with strongroom_record_key_generate and wrote down. NULL for
    /// a new one.
    ///
    /// The write may be repeated after a lost outcome: if the record that is there opens under this key to the same bytes,
    /// it succeeds. Of two such writes at once, one may be told STRONGROOM_BUSY: repeat it once more.
    ///
    /// Make a new key for each version of a record. If two versions of one record were sealed under the same key, an
    /// attacker with write access to the storage can put the older one back, and it opens under that key.
    const strongroom_record_key *key;
} strongroom_write_options;


/*
 * Records
 *
 * Every write is durable when it returns, and whole or not at all. A store cannot list ids: it does not know them.
 */

/// Data that the library allocated, to be freed with strongroom_buffer_free.
typedef struct {
    /// The first byte: never NULL after a success, also where there are no bytes.
    uint8_t *data;
    /// The number of bytes.
    size_t len;
} strongroom_buffer;

/// Wipes and frees the data, and sets the struct to {NULL, 0}, so that a second call does nothing. NULL is allowed.
void strongroom_buffer_free(strongroom_buffer *buffer);

/// Stores data under a new id, and gives the only key that opens it.
///
/// If the process ends before the key is written down, the record is there and nobody can open it: see
/// strongroom_write_options to write the key down first.
///
/// STRONGROOM_ALREADY_EXISTS where a record has the id.
STRONGROOM_MUST_USE
strongroom_status strongroom_store(const strongroom *store,
                                   const void *id,
                                   size_t id_len,
                                   const void *data,
                                   size_t data_len,
                                   strongroom_record_key *key,
                                   strongroom_error *error);

/// Stores as strongroom_store, with options. `key` may be NULL where the options have the key.
///
/// STRONGROOM_ALREADY_EXISTS where the record there is another.
STRONGROOM_MUST_USE
strongroom_status strongroom_store_with(const strongroom *store,
                                        const void *id,
                                        size_t id_len,
                                        const void *data,
                                        size_t data_len,
                                        const strongroom_write_options *options,
                                        strongroom_record_key *key,
                                        strongroom_error *error);

/// Retrieves the data stored under an id, into memory of the library's: free it with strongroom_buffer_free.
///
/// STRONGROOM_NOT_FOUND; STRONGROOM_WRONG_KEY, also where the record's first 68 bytes were altered; STRONGROOM_CORRUPT
/// where anything else of it was; STRONGROOM_TOO_LARGE where there is no memory for it.
STRONGROOM_MUST_USE
strongroom_status strongroom_retrieve(const strongroom *store,
                                      const void *id,
                                      size_t id_len,
                                      const strongroom_record_key *key,
                                      strongroom_buffer *data,
                                      strongroom_error *error);

/// Retrieves the data stored under an id into the caller's memory, of `size` bytes, and gives its length.
///
/// As strongroom_retrieve; STRONGROOM_TOO_LARGE where the data does not fit: `len` is set to its length then, too. On
/// failure there is no plaintext in `data`, but what was there may be overwritten with zeros.
STRONGROOM_MUST_USE
strongroom_status strongroom_retrieve_into(const strongroom *store,
                                           const void *id,
                                           size_t id_len,
                                           const strongroom_record_key *key,
                                           void *data,
                                           size_t size,
                                           size_t *len,
                                           strongroom_error *error);

/// Retrieves up to `len` bytes of the data, any number, from the byte `offset` on; what is past the end is left out. The
/// length of the data is proved, and only the 16 KiB chunks that are touched are read.
///
/// As strongroom_retrieve; STRONGROOM_CONFLICT where the record is replaced or removed meanwhile.
STRONGROOM_MUST_USE
strongroom_status strongroom_retrieve_range(const strongroom *store,
                                            const void *id,
                                            size_t id_len,
                                            const strongroom_record_key *key,
                                            uint64_t offset,
                                            size_t len,
                                            strongroom_buffer *data,
                                            strongroom_error *error);

/// Stores data in place of the record that `old_key` opens, and gives the new version's own key, also into the same
/// struct. The old key no longer opens anything, and no older version opens under the new one.
///
/// STRONGROOM_NOT_FOUND; STRONGROOM_WRONG_KEY; STRONGROOM_CONFLICT where somebody else replaced or removed the record
/// meanwhile. The record is as it was then.
STRONGROOM_MUST_USE
strongroom_status strongroom_replace(const strongroom *store,
                                     const void *id,
                                     size_t id_len,
                                     const strongroom_record_key *old_key,
                                     const void *data,
                                     size_t data_len,
                                     strongroom_record_key *new_key,
                                     strongroom_error *error);

/// Replaces as strongroom_replace, with options. `new_key` may be NULL where the options have the new key.
///
/// STRONGROOM_INVALID_ARGUMENT where both keys are one.
STRONGROOM_MUST_USE
strongroom_status strongroom_replace_with(const strongroom *store,
                                          const void *id,
                                          size_t id_len,
                                          const strongroom_record_key *old_key,
                                          const void *data,
                                          size_t data_len,
                                          const strongroom_write_options *options,
                                          strongroom_record_key *new_key,
                                          strongroom_error *error);

/// Removes the record that `key` opens.
///
/// STRONGROOM_NOT_FOUND; STRONGROOM_WRONG_KEY; STRONGROOM_CONFLICT where somebody else replaced or removed the record
/// meanwhile.
STRONGROOM_MUST_USE
strongroom_status strongroom_delete(const strongroom *store,
                                    const void *id,
                                    size_t id_len,
                                    const strongroom_record_key *key,
                                    strongroom_error *error);

/// Removes the record of an id without its key: the operator's means to fulfil a right to erasure. Gives whether there
/// was one.
STRONGROOM_MUST_USE
strongroom_status strongroom_erase(const strongroom *store,
                                   const void *id,
                                   size_t id_len,
                                   bool *erased,
                                   strongroom_error *error);

/// Gives whether a record has this id.
STRONGROOM_MUST_USE
strongroom_status strongroom_contains(const strongroom *store,
                                      const void *id,
                                      size_t id_len,
                                      bool *found,
                                      strongroom_error *error);


/*
 * Many records at once
 */

/// An id and the data to store under it.
typedef struct {
    /// The id.
    const void *id;
    /// Its bytes.
    size_t id_len;
    /// The data.
    const void *data;
    /// Its bytes.
    size_t data_len;
} strongroom_item;

/// An id and the key of its record.
typedef struct {
    /// The id.
    const void *id;
    /// Its bytes.
    size_t id_len;
    /// The record's key.
    const strongroom_record_key *key;
} strongroom_request;

/// What came of a strongroom_request.
typedef struct {
    /// As of strongroom_retrieve.
    strongroom_status status;
    /// After a success, the data, to be freed with strongroom_buffer_free; otherwise {NULL, 0}.
    strongroom_buffer data;
} strongroom_result;

/// Stores `count` items in one transaction, all or none, and gives their keys in the same order: `keys` has room for
/// `count`.
///
/// As strongroom_store, for any of them; STRONGROOM_ALREADY_EXISTS also where an id is named twice.
STRONGROOM_MUST_USE
strongroom_status strongroom_store_many(const strongroom *store,
                                        const strongroom_item *items,
                                        size_t count,
                                        strongroom_record_key *keys,
                                        strongroom_error *error);

/// Retrieves `count` records from one moment, each with its own outcome, in the same order: `results` has room for
/// `count`. Where a record cannot be retrieved, its result says so, and the call succeeds all the same. Where the call
/// fails, as for a request that no record could have, results are not written.
STRONGROOM_MUST_USE
strongroom_status strongroom_retrieve_many(const strongroom *store,
                                           const strongroom_request *requests,
                                           size_t count,
                                           strongroom_result *results,
                                           strongroom_error *error);


/*
 * Writing a record piece by piece
 *
 * In constant memory, whatever its length.
 */

/// A record on its way into a store. Freed before it is finished, it leaves nothing.
typedef struct strongroom_writer strongroom_writer;

/// Starts to store a record under a new id. The key comes with strongroom_writer_finish; before it, nothing of the record
/// can be seen. End the writer with strongroom_writer_free.
///
/// As strongroom_store.
STRONGROOM_MUST_USE
strongroom_status strongroom_create_record(const strongroom *store,
                                           const void *id,
                                           size_t id_len,
                                           strongroom_writer **writer,
                                           strongroom_error *error);

/// Starts as strongroom_create_record, with options.
///
/// STRONGROOM_ALREADY_EXISTS, here or from the writer, where the record there is another. STRONGROOM_BUSY from
/// strongroom_writer_finish where the same write was under way elsewhere: repeat it.
STRONGROOM_MUST_USE
strongroom_status strongroom_create_record_with(const strongroom *store,
                                                const void *id,
                                                size_t id_len,
                                                const strongroom_write_options *options,
                                                strongroom_writer **writer,
                                                strongroom_error *error);

/// Starts to replace the record that `old_key` opens. The old version stays until strongroom_writer_finish succeeds.
///
/// As strongroom_replace.
STRONGROOM_MUST_USE
strongroom_status strongroom_replace_record(const strongroom *store,
                                            const void *id,
                                            size_t id_len,
                                            const strongroom_record_key *old_key,
                                            strongroom_writer **writer,
                                            strongroom_error *error);

/// Starts as strongroom_replace_record, with options.
///
/// As strongroom_replace_with, and STRONGROOM_BUSY as with strongroom_create_record_with.
STRONGROOM_MUST_USE
strongroom_status strongroom_replace_record_with(const strongroom *store,
                                                 const void *id,
                                                 size_t id_len,
                                                 const strongroom_record_key *old_key,
                                                 const strongroom_write_options *options,
                                                 strongroom_writer **writer,
                                                 strongroom_error *error);

/// Writes data, all of it. A write that fails, for whatever reason, is final: later ones and strongroom_writer_finish are
/// STRONGROOM_INVALID_ARGUMENT. Data is gathered: a storage that fails, or a store that is closed, may show only later.
STRONGROOM_MUST_USE
strongroom_status strongroom_writer_write(strongroom_writer *writer,
                                          const void *data,
                                          size_t len,
                                          strongroom_error *error);

/// Gives the key that will open the record: here to be written down before the record is finished, so that no crash comes
/// between.
STRONGROOM_MUST_USE
strongroom_status strongroom_writer_key(const strongroom_writer *writer,
                                        strongroom_record_key *key,
                                        strongroom_error *error);

/// Ends the record: it is there, whole and durable, when this returns. Gives its key; `key` may be NULL for callers who
/// have it. The writer is of no more use, also after a failure, and is still to be freed.
///
/// STRONGROOM_ALREADY_EXISTS or STRONGROOM_CONFLICT where somebody else was faster.
STRONGROOM_MUST_USE
strongroom_status strongroom_writer_finish(strongroom_writer *writer,
                                           strongroom_record_key *key,
                                           strongroom_error *error);

/// Frees the writer; a record that is not finished leaves nothing. NULL is allowed.
void strongroom_writer_free(strongroom_writer *writer);


/*
 * Reading a record in pieces, from any place
 *
 * In constant memory, whatever its length.
 */

/// A record, opened. No byte comes out before the 16 KiB chunk that it is in is authenticated. Reading is pinned to the
/// version that was opened: once it is replaced or removed, what has not been fetched yet is STRONGROOM_CONFLICT, and
/// never a mix.
typedef struct strongroom_reader strongroom_reader;

/// Opens a record for reading. End the reader with strongroom_reader_free.
///
/// As strongroom_retrieve, for the record's first 68 bytes; the rest is checked as it is read.
STRONGROOM_MUST_USE
strongroom_status strongroom_open_record(const strongroom *store,
                                         const void *id,
                                         size_t id_len,
                                         const strongroom_record_key *key,
                                         strongroom_reader **reader,
                                         strongroom_error *error);

/// Reads `size` bytes from the position, which moves on, and gives their number: less where the record ends, and 0 at its
/// end and behind it. Who has come to the end without a failure has read the whole record.
///
/// STRONGROOM_CORRUPT at an altered chunk, each time; before it, fewer bytes than asked for. What is in `data` after a
/// failure means nothing.
STRONGROOM_MUST_USE
strongroom_status strongroom_reader_read(strongroom_reader *reader,
                                         void *data,
                                         size_t size,
                                         size_t *len,
                                         strongroom_error *error);

/// Sets the position, in bytes from the start. A position behind the end is allowed: nothing is read there.
STRONGROOM_MUST_USE
strongroom_status strongroom_reader_seek(strongroom_reader *reader,
                                         uint64_t position,
                                         strongroom_error *error);

/// Gives the length of the data, proved by opening the final chunk.
STRONGROOM_MUST_USE
strongroom_status strongroom_reader_len(strongroom_reader *reader,
                                        uint64_t *len,
                                        strongroom_error *error);

/// Frees the reader. NULL is allowed.
void strongroom_reader_free(strongroom_reader *reader);


/*
 * Records through functions of the caller's
 *
 * In constant memory, whatever their length. The functions are called in this thread, before the call returns.
 */

/// Puts up to `size` bytes at `data`, and returns their number, 0 at the end, or a negative number (or one above `size`)
/// to give up. `context` is what the caller gave, or NULL.
typedef ptrdiff_t (*strongroom_read_fn)(void *context, void *data, size_t size);

/// Takes `len` bytes at `data`, and returns 0, or any other number to give up. `context` is as before.
typedef int (*strongroom_write_fn)(void *context, const void *data, size_t len);

/// Stores all that `read` gives under a new id, and gives the key.
///
/// As strongroom_store; STRONGROOM_STORAGE where `read` gives up: nothing is stored then.
STRONGROOM_MUST_USE
strongroom_status strongroom_store_stream(const strongroom *store,
                                          const void *id,
                                          size_t id_len,
                                          strongroom_read_fn read,
                                          void *context,
                                          strongroom_record_key *key,
                                          strongroom_error *error);

/// Stores as strongroom_store_stream, with options. `key` may be NULL where the options have the key.
///
/// STRONGROOM_BUSY where the same write was under way elsewhere: repeat it.
STRONGROOM_MUST_USE
strongroom_status strongroom_store_stream_with(const strongroom *store,
                                               const void *id,
                                               size_t id_len,
                                               strongroom_read_fn read,
                                               void *context,
                                               const strongroom_write_options *options,
                                               strongroom_record_key *key,
                                               strongroom_error *error);

/// Stores all that `read` gives in place of the record that `old_key` opens, and gives the new key.
///
/// As strongroom_replace; STRONGROOM_STORAGE where `read` gives up: the record is as it was then.
STRONGROOM_MUST_USE
strongroom_status strongroom_replace_stream(const strongroom *store,
                                            const void *id,
                                            size_t id_len,
                                            const strongroom_record_key *old_key,
                                            strongroom_read_fn read,
                                            void *context,
                                            strongroom_record_key *new_key,
                                            strongroom_error *error);

/// Replaces as strongroom_replace_stream, with options. `new_key` may be NULL where the options have the new key.
///
/// As strongroom_replace_with, and STRONGROOM_BUSY where the same write was under way elsewhere: repeat it.
STRONGROOM_MUST_USE
strongroom_status strongroom_replace_stream_with(const strongroom *store,
                                                 const void *id,
                                                 size_t id_len,
                                                 const strongroom_record_key *old_key,
                                                 strongroom_read_fn read,
                                                 void *context,
                                                 const strongroom_write_options *options,
                                                 strongroom_record_key *new_key,
                                                 strongroom_error *error);

/// Hands all data stored under an id to `write`, piece by piece, each authenticated before.
///
/// As strongroom_retrieve; STRONGROOM_STORAGE where `write` gives up. On a failure, what `write` has taken is the start
/// of the data, and its end is missing.
STRONGROOM_MUST_USE
strongroom_status strongroom_retrieve_stream(const strongroom *store,
                                             const void *id,
                                             size_t id_len,
                                             const strongroom_record_key *key,
                                             strongroom_write_fn write,
                                             void *context,
                                             strongroom_error *error);

#ifdef __cplusplus
}
#endif

#endif /* STRONGROOM_H */
