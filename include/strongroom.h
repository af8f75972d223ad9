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
 * Outcome. A function that can fail returns a strongroom_status: 0 is success. Its last parameter is a
 * strongroom_error for a message, or NULL. Outputs are written only on success, unless a function says otherwise. A
 * failure changes nothing in the store, unless the status says that the outcome is unknown.
 *
 * Parameters. The handle comes first, then inputs, then outputs. A pointer must not be NULL unless its function allows
 * it: NULL is STRONGROOM_INVALID_ARGUMENT. Bytes and arrays are a pointer and a length; (NULL, 0) is a valid empty
 * input or output. A length above PTRDIFF_MAX is STRONGROOM_INVALID_ARGUMENT. An output, such as the strongroom_error,
 * must not overlap another parameter unless the function allows it. An id is any 1 to 4,096 bytes; text means its
 * UTF-8 bytes, without a terminator. A NUL byte ends a path. Lengths are in bytes.
 *
 * Ownership. A function keeps no pointer to its inputs after it returns. A strongroom, strongroom_writer or
 * strongroom_reader is freed by its own close or free function, and the data in a strongroom_buffer by
 * strongroom_buffer_free, never by free(); all of these accept NULL. Keys are plain structs that belong to the caller.
 *
 * Memory. The library wipes memory that it frees, but not thread stacks, where pieces of data may remain. The caller
 * wipes keys and data in its own memory: the compiler does not remove strongroom_wipe. Data that does not fit in
 * memory is STRONGROOM_TOO_LARGE, and a lack of the database's own memory is STRONGROOM_STORAGE; in a commit, it may
 * be STRONGROOM_INDETERMINATE. Any other lack of memory ends the process, which loses nothing that was acknowledged.
 *
 * Threads. Many threads may use a strongroom at once; only one thread at a time may use a writer, a reader, an options
 * struct or a key that is written to. An object must not be closed or freed while another thread uses it. Readers and
 * writers may outlive their store: calls that need the store then return STRONGROOM_CLOSED. A calling thread needs 64
 * KiB of stack. The library has threads of its own, for long records and for services. They block all signals except
 * those of their own faults (such as SIGSEGV), so that the host's handlers run on the host's threads, and a lost
 * service is an error, not a SIGPIPE.
 *
 * Processes. Several processes may use one database. After fork(), calls of the child that need a store of the parent
 * return STRONGROOM_FORKED. The child may free its copies, but their memory is not released; it cannot open a database
 * if a database, or a reader or writer of one, was open at the fork. Open stores after forking, or call exec. A
 * callback must not return in a forked child, where the call would wait forever for a thread of the parent. A program
 * must not open the database with another copy of SQLite, such as its own: POSIX locks are lost when one of the two
 * closes the file.
 *
 * C++ and signals. A callback must return: it must not throw or longjmp. A signal handler must not call the library.
 *
 * Growth. Later versions may add statuses (have a default in a switch), functions, and members at the end of options
 * structs. Nothing in this header changes its meaning within a major version (before 1.0: a minor version).
 */

/* Generated from ffi/src by ffi/tests/header.rs: change the sources. */

#ifndef STRONGROOM_H
#define STRONGROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Warns if the result of a function is not used. In GNU C, a cast to void does not silence the warning; an if does. */
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

/// The version of the loaded library, such as "0.1.0"; STRONGROOM_VERSION is that of the header.
STRONGROOM_MUST_USE const char *strongroom_version(void);


/*
 * Outcomes
 */

/// The bytes of a strongroom_error's message.
#define STRONGROOM_ERROR_MESSAGE_SIZE 1020

/// The outcome of a function. The numbers are the same in every language and never change.
typedef enum {
    /// Success.
    STRONGROOM_OK = 0,
    /// No record has this id: it was never stored, or it was removed.
    STRONGROOM_NOT_FOUND = 1,
    /// A record has this id.
    STRONGROOM_ALREADY_EXISTS = 2,
    /// The record was sealed with another key, or its first 68 bytes were altered: without the key, the two cannot be
    /// distinguished.
    STRONGROOM_WRONG_KEY = 3,
    /// The record, or the database that holds it, was altered or damaged.
    STRONGROOM_CORRUPT = 4,
    /// The bytes or the text are not a key.
    STRONGROOM_INVALID_KEY = 5,
    /// An id has 1 to 4,096 bytes.
    STRONGROOM_INVALID_ID = 6,
    /// A newer version is required, or the storage does not support the operation.
    STRONGROOM_UNSUPPORTED = 7,
    /// The data does not fit in a record (4 PiB), this storage, the given buffer, or memory.
    STRONGROOM_TOO_LARGE = 8,
    /// The store was made with another index key.
    STRONGROOM_INDEX_KEY_MISMATCH = 9,
    /// The file with the store's index key is missing.
    STRONGROOM_INDEX_KEY_MISSING = 10,
    /// The record was replaced or removed concurrently.
    STRONGROOM_CONFLICT = 11,
    /// A lock was not released in time, or a service did not answer in time: try again. Nothing was changed, unless the
    /// function says otherwise.
    STRONGROOM_BUSY = 12,
    /// No space is left. Everything stored before is unchanged.
    STRONGROOM_STORAGE_FULL = 13,
    /// Input or output of the storage, or the caller's own callback, failed. Nothing was changed. After a failed write,
    /// the handle may be STRONGROOM_POISONED.
    STRONGROOM_STORAGE = 14,
    /// The outcome of the write is unknown: a commit failed, or an answer was lost. Check the record, or repeat the
    /// write under the same key.
    STRONGROOM_INDETERMINATE = 15,
    /// An earlier write or commit failed halfway, so this handle refuses all writes. It still reads, unless the
    /// database's files were moved. Open the store again.
    STRONGROOM_POISONED = 16,
    /// A handle was open when this process was forked.
    STRONGROOM_FORKED = 17,
    /// The store is closed.
    STRONGROOM_CLOSED = 18,
    /// An argument, or a combination of arguments, is invalid.
    STRONGROOM_INVALID_ARGUMENT = 19,
    /// The record has expired. Its id is free for a new record.
    STRONGROOM_EXPIRED = 20,
    /// A service or a storage denies access: a token, a client certificate, a password or a right is missing or wrong.
    /// Nothing was changed.
    STRONGROOM_ACCESS_DENIED = 21,
    /// An internal error, not caused by the caller.
    STRONGROOM_INTERNAL = 99,
} strongroom_status;

/// The details of an outcome. The caller owns the struct, and the function fills it. It needs no initialisation and
/// holds no memory. It never shows an id, a key or data; it may show a path.
typedef struct {
    /// What the function returned.
    strongroom_status status;
    /// The cause and, where there is one, the remedy, with the system's own message, such as "input or output
    /// failed: disk I/O error". Ends with a NUL byte; empty after a success.
    char message[STRONGROOM_ERROR_MESSAGE_SIZE];
} strongroom_error;

/// The name of a status, such as "NotFound": the same in every language. "Unknown" for any other number.
STRONGROOM_MUST_USE const char *strongroom_status_name(int status);

/// The meaning of a status and, where something helps, what to do, in English; "unknown status" for any other number.
STRONGROOM_MUST_USE const char *strongroom_status_message(int status);


/*
 * Keys
 */

/// The bytes of a key.
#define STRONGROOM_KEY_SIZE 32

/// The characters of a key's text, with the NUL byte at its end.
#define STRONGROOM_KEY_TEXT_SIZE 63

/// The only key that opens one record. It belongs to the caller; no storage keeps it. All zeros are
/// STRONGROOM_INVALID_KEY.
typedef struct {
    /// The secret bytes.
    uint8_t bytes[STRONGROOM_KEY_SIZE];
} strongroom_record_key;

/// The key that hides the ids of a store. It belongs to the operator, and is never stored in the database. Without it,
/// no record can be found.
typedef struct {
    /// The secret bytes.
    uint8_t bytes[STRONGROOM_KEY_SIZE];
} strongroom_index_key;

/// Makes a new record key from the operating system's random numbers, which a caller can write down before it stores
/// data under it with strongroom_write_options.
STRONGROOM_MUST_USE
strongroom_status strongroom_record_key_generate(strongroom_record_key *key,
                                                 strongroom_error *error);

/// Makes a record key of `len` bytes, which must be STRONGROOM_KEY_SIZE and not all zeros: STRONGROOM_INVALID_KEY
/// otherwise. `data` may lie in `key`. The member `bytes` has the bytes of a key.
STRONGROOM_MUST_USE
strongroom_status strongroom_record_key_from_bytes(const void *data,
                                                   size_t len,
                                                   strongroom_record_key *key,
                                                   strongroom_error *error);

/// Reads a record key from its text, "srk1" and 58 more characters, in lower or upper case but not mixed; `len`
/// excludes a NUL byte. A leading byte order mark and surrounding white space are ignored, so that the content of a key
/// file is valid as it is. `text` may lie in `key`. Any other text is STRONGROOM_INVALID_KEY; the error's message says
/// whether it is a typo, an index key or something else.
STRONGROOM_MUST_USE
strongroom_status strongroom_record_key_from_text(const char *text,
                                                  size_t len,
                                                  strongroom_record_key *key,
                                                  strongroom_error *error);

/// Writes the key's text to `text`, which has room for STRONGROOM_KEY_TEXT_SIZE characters, and ends it with a NUL
/// byte. Keep it where only the data's owner can read it.
STRONGROOM_MUST_USE
strongroom_status strongroom_record_key_to_text(const strongroom_record_key *key,
                                                char *text,
                                                strongroom_error *error);

/// Whether two record keys are the same, in constant time. NULL and all zeros equal nothing, not even each other.
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

/// Overwrites `len` bytes with zeros; the compiler does not remove the call. NULL is allowed.
void strongroom_wipe(void *data, size_t len);


/*
 * Stores
 */

/// In the flags of strongroom_options: open the store only if it exists (STRONGROOM_INVALID_ARGUMENT otherwise), so
/// that a typo in a path or URL does not make a new, empty store.
#define STRONGROOM_MUST_EXIST 1

/// In the flags of strongroom_options: an acknowledged write costs less, but a power failure (never a crash of the
/// program) may lose it. The store stays consistent.
#define STRONGROOM_RELAXED_DURABILITY 2

/// In the flags of strongroom_options: open an existing database read-only, and write no file beside it: for backups,
/// also on a read-only medium. Writes are STRONGROOM_UNSUPPORTED.
#define STRONGROOM_READ_ONLY 4

/// In the flags of strongroom_options: pad all records of the store, as with `pad` of strongroom_write_options. The
/// store keeps this: every handle that is opened from now on pads, with or without this flag. Records that are stored
/// already remain as they are.
#define STRONGROOM_PAD 8

/// A store of encrypted records. All threads of a program can share a handle.
typedef struct strongroom strongroom;

/// How to open a store. Set all of it to zero, then `size` to sizeof(strongroom_options), then what you choose:
///
///     strongroom_options options;
///     memset(&options, 0, sizeof options);
///     options.size = sizeof options;
///     options.index_key_file = "/run/secrets/index-key";
///
/// An unknown flag is STRONGROOM_INVALID_ARGUMENT; a larger struct, of a newer header, is accepted if its new members
/// are zero, and STRONGROOM_UNSUPPORTED otherwise.
typedef struct {
    /// sizeof(strongroom_options).
    size_t size;
    /// STRONGROOM_PAD, STRONGROOM_MUST_EXIST, and for a database STRONGROOM_RELAXED_DURABILITY and
    /// STRONGROOM_READ_ONLY, combined with |, or 0.
    uint64_t flags;
    /// The index key, kept apart from the database: recommended in production. No key file is then made beside the
    /// database. Or NULL.
    const strongroom_index_key *index_key;
    /// The file with the index key: its text on a line. A missing file is not made; a file that another user, except
    /// root, can change or read is STRONGROOM_INVALID_ARGUMENT; a file of root may be readable by all. Or NULL. Give
    /// the key or the file, not both.
    const char *index_key_file;
    /// For a service: the file with the access token, on a line. Or NULL.
    const char *token_file;
    /// For a service at https: the certificate authorities to trust, in PEM. NULL for the system's.
    const char *authorities_file;
    /// For a service at https: the client's certificate and its intermediate certificates, in PEM. Or NULL.
    const char *client_certificate_file;
    /// The private key of the client's certificate, in PEM. Required with `client_certificate_file`; otherwise NULL.
    const char *client_key_file;
    /// For a service at https: certificate revocation lists in PEM, one for each authority in the service's chain.
    /// Revoked certificates, and those that no list covers, are refused. A changed file is read again before the next
    /// connection. Or NULL.
    const char *revocations_file;
    /// For a service: the milliseconds that a call may take, with all retries, until its answer begins, and the longest
    /// pause within an answer. 0 means 30,000.
    uint64_t timeout;
    /// The previous index key, to rotate it to the new one, which `index_key` or `index_key_file` gives. Or NULL. Until
    /// strongroom_begin_rotation, the store is used under the previous key. From then until strongroom_finish_rotation,
    /// opening needs both keys, and takes a second. Afterwards, the previous key has no effect.
    ///
    /// Open the store with both keys in all processes before the rotation begins: calls on a handle that has only the
    /// previous key then return STRONGROOM_INDEX_KEY_MISMATCH.
    const strongroom_index_key *previous_index_key;
    /// The file with the previous index key, as for `index_key_file`. Or NULL. Give the key or the file, not both.
    const char *previous_index_key_file;
} strongroom_options;

/// The number and size of a store's records.
typedef struct {
    /// The number of records.
    uint64_t records;
    /// The bytes of all records: ciphertext and headers, without the storage's own overhead.
    uint64_t bytes;
    /// The number of expired records among them, which strongroom_purge removes.
    uint64_t expired;
    /// The bytes of removed records that the storage keeps for later ones, and that strongroom_compact returns to the
    /// operating system; 0 from a storage that leaves this to its engine.
    uint64_t free;
} strongroom_stats;

/// Opens the SQLite database at `path`, and makes it if it is missing or an empty file. `options` may be NULL.
///
/// Without an index key in the options, the key is in the file `<path>.index-key`, made together with the database.
/// Back it up, apart from the database's backups: without it no record can be found, and a person with both can guess
/// ids. While the store is open, `<path>-wal` is a part of it, and `<path>-shm` and `<path>.uploads` lie beside it.
/// Close the store everywhere before you copy or move the file.
///
/// The `path` ":memory:" is a new store in memory, which ends with its handle. It has a new index key, unless the
/// options have one, and writes no file; it does not allow STRONGROOM_MUST_EXIST.
///
/// A `path` that is a URL is a storage service, which sees only sealed records: ids, keys and data stay in this
/// process. The options must have an index key, the same for all clients of the service.
///
///     https://storage.example:8421              TLS 1.3
///     http://127.0.0.1:8421                     on this machine alone
///     unix:/run/strongroom/storage.sock         a Unix socket
///     https://one.example,https://two.example   several services of one store
///     cluster:https://one.example?names=*.example   a cluster: some of its services, and the hosts that are trusted
///
/// A URL that begins with postgres: is PostgreSQL, one with s3:, gs: or az: a bucket, if the library has the feature
/// `postgres` or `object-store`; they need an index key, too.
///
/// STRONGROOM_INDEX_KEY_MISSING if the key's file is missing, STRONGROOM_INVALID_KEY if it has no key,
/// STRONGROOM_INDEX_KEY_MISMATCH if the index key is another store's; STRONGROOM_INVALID_ARGUMENT if `path` cannot be a
/// store, or the options contradict it; STRONGROOM_CORRUPT for a damaged database, STRONGROOM_UNSUPPORTED for one of a
/// newer version; STRONGROOM_STORAGE if it cannot be read and written, or the service cannot be reached.
STRONGROOM_MUST_USE
strongroom_status strongroom_open(const char *path,
                                  const strongroom_options *options,
                                  strongroom **store,
                                  strongroom_error *error);

/// Makes a store of the encryption server at `url`, which need not be reachable yet. The server sees ids, keys and data
/// while it processes them. `options` may be NULL; only its members for a service are allowed.
///
///     https://strongroom.example:8420           TLS 1.3
///     http://127.0.0.1:8420                     only on this machine
///     unix:/run/strongroom/server.sock          a Unix socket
///     https://one.example,https://two.example   several servers of one store
///     cluster:https://one.example?names=*.example   a cluster: some of its servers, and the hosts that are trusted
///
/// All functions on stores work as after strongroom_open, with these differences: a wrong key is STRONGROOM_NOT_FOUND,
/// like a missing record; a call without an answer is repeated if that is safe; a write with an unknown outcome is
/// STRONGROOM_INDETERMINATE; strongroom_maintain, strongroom_compact, strongroom_verify, strongroom_repair_from and the
/// functions that rotate the index key are STRONGROOM_UNSUPPORTED.
///
/// STRONGROOM_INVALID_ARGUMENT if `url` is not one of these, or the options have other members; STRONGROOM_STORAGE if a
/// file cannot be read.
STRONGROOM_MUST_USE
strongroom_status strongroom_connect(const char *url,
                                     const strongroom_options *options,
                                     strongroom **store,
                                     strongroom_error *error);

/// Gives a handle of the same store with the ids of a namespace: through it, records of other namespaces cannot be
/// found, even under the same id. A name is any 0 to 255 bytes; the empty one is the namespace of a new store.
/// Namespaces exist without being created, and are not nested. strongroom_purge, strongroom_maintain,
/// strongroom_compact and strongroom_get_stats concern the whole store on each handle.
///
/// Free the handle with strongroom_close, which leaves the store open. Closing the store closes it for all of its
/// handles: their calls then return STRONGROOM_CLOSED.
///
/// STRONGROOM_INVALID_ARGUMENT if the name is longer.
STRONGROOM_MUST_USE
strongroom_status strongroom_namespace(const strongroom *store,
                                       const void *name,
                                       size_t name_len,
                                       strongroom **handle,
                                       strongroom_error *error);

/// Closes the store and frees the handle, even if it returns a failure, such as STRONGROOM_FORKED; a handle of
/// strongroom_namespace is only freed. The handle must not be used afterwards, nor closed again. Remaining readers,
/// writers and other handles must still be freed. NULL is allowed.
strongroom_status strongroom_close(strongroom *store, strongroom_error *error);

/// Removes the remains of interrupted writes, unless a large record is being written, and reuses their space, as
/// opening a store does. Then moves the content of the database's log into the database. Until then, both may have the
/// ciphertext of deleted records. STRONGROOM_BUSY if other handles read all the time.
STRONGROOM_MUST_USE strongroom_status strongroom_maintain(const strongroom *store, strongroom_error *error);

/// Removes at most `limit` expired records, and gives their number, which is less than `limit` if none is left. Expired
/// records are unreadable in any case; this frees their space. It removes them in short steps, so that other writers
/// wait little.
///
/// After a failure, some records may have been removed.
STRONGROOM_MUST_USE
strongroom_status strongroom_purge(const strongroom *store,
                                   uint64_t limit,
                                   uint64_t *purged,
                                   strongroom_error *error);

/// Returns at most `limit` bytes of free space to the operating system, and gives the number of these bytes, less than
/// `limit` if none is left. The database's file becomes shorter. It works in short steps, and others may read and write
/// at the same time. Call strongroom_maintain before, which frees the space of what was removed last. A store other
/// than an SQLite database, or a storage service on one, is STRONGROOM_UNSUPPORTED.
///
/// After a failure, some space may have been returned.
STRONGROOM_MUST_USE
strongroom_status strongroom_compact(const strongroom *store,
                                     uint64_t limit,
                                     uint64_t *compacted,
                                     strongroom_error *error);

/// Gives the number and size of the store's records, in time proportional to their number.
STRONGROOM_MUST_USE
strongroom_status strongroom_get_stats(const strongroom *store,
                                       strongroom_stats *stats,
                                       strongroom_error *error);


/*
 * Options for writes
 */

/// How to write a record. Set all of it to zero, then `size` to sizeof(strongroom_write_options), then what you choose:
///
///     strongroom_write_options options;
///     memset(&options, 0, sizeof options);
///     options.size = sizeof options;
///     options.key = &key;
///
/// A larger struct, of a newer header, is accepted if its new members are zero, and STRONGROOM_UNSUPPORTED otherwise.
typedef struct {
    /// sizeof(strongroom_write_options).
    size_t size;
    /// The record's key, which the caller made with strongroom_record_key_generate and wrote down. NULL for a new key.
    ///
    /// The write may be repeated after a lost outcome: it succeeds if the stored record opens under this key to the
    /// same bytes. If two such writes run at once, one may return STRONGROOM_BUSY: repeat it.
    ///
    /// Make a new key for each version of a record. If two versions of one record were sealed under the same key, an
    /// attacker with write access to the storage can put the older one back, and it opens under that key.
    const strongroom_record_key *key;
    /// The time at which the version expires: Unix time in seconds, which must not be past. 0 for never (for
    /// strongroom_rekey: for the record's own time).
    ///
    /// From then on its key opens nothing (STRONGROOM_EXPIRED), the id is free for a new record, and strongroom_purge
    /// removes the record. The time is authenticated, but not secret. If the write repeats an earlier one under the
    /// same key, the time of the earlier one remains.
    uint64_t expires_at;
    /// The seconds from the call after which the version expires, as with `expires_at`: give at most one of the two. 0
    /// as for `expires_at`.
    uint64_t expires_in;
    /// Not 0 to hide the length of the data: the record is padded to one of few lengths (Padme), by at most 12 % and 8
    /// bytes. Functions that read a padded record give only the data, and strongroom_rekey keeps the padding. The
    /// length is hidden in the storage and its backups, not on a connection over which the data itself travels.
    uint64_t pad;
} strongroom_write_options;


/*
 * Records, and the buffers of their data, which the caller frees and the library wipes
 *
 * Every write is durable when it returns, and whole or not at all. A store cannot list ids: it does not know them.
 */

/// Data that the library allocated, to be freed with strongroom_buffer_free.
typedef struct {
    /// The first byte: never NULL after a success, even if `len` is 0.
    uint8_t *data;
    /// The number of bytes.
    size_t len;
} strongroom_buffer;

/// Wipes and frees the data, and sets the struct to {NULL, 0}, so that a second call does nothing. NULL is allowed.
void strongroom_buffer_free(strongroom_buffer *buffer);

/// Stores data under a new id, and gives the only key that opens it.
///
/// If the process ends before the key is written down, nobody can open the record: use strongroom_write_options to
/// write the key down first.
///
/// STRONGROOM_ALREADY_EXISTS if a record has the id.
STRONGROOM_MUST_USE
strongroom_status strongroom_store(const strongroom *store,
                                   const void *id,
                                   size_t id_len,
                                   const void *data,
                                   size_t data_len,
                                   strongroom_record_key *key,
                                   strongroom_error *error);

/// As strongroom_store, with options. `key` may be NULL if the options have the key.
///
/// STRONGROOM_ALREADY_EXISTS if the id has another record.
STRONGROOM_MUST_USE
strongroom_status strongroom_store_with(const strongroom *store,
                                        const void *id,
                                        size_t id_len,
                                        const void *data,
                                        size_t data_len,
                                        const strongroom_write_options *options,
                                        strongroom_record_key *key,
                                        strongroom_error *error);

/// Retrieves the data stored under an id into memory of the library: free it with strongroom_buffer_free.
///
/// STRONGROOM_NOT_FOUND; STRONGROOM_WRONG_KEY, also if the record's first 68 bytes were altered; STRONGROOM_CORRUPT if
/// the rest was altered; STRONGROOM_EXPIRED; STRONGROOM_TOO_LARGE if the data does not fit in memory.
STRONGROOM_MUST_USE
strongroom_status strongroom_retrieve(const strongroom *store,
                                      const void *id,
                                      size_t id_len,
                                      const strongroom_record_key *key,
                                      strongroom_buffer *data,
                                      strongroom_error *error);

/// Retrieves the data stored under an id into the caller's memory, of `size` bytes, and gives its length.
///
/// As strongroom_retrieve; STRONGROOM_TOO_LARGE if the data does not fit, with its length in `len`. After a failure
/// `data` has no plaintext; its earlier content may be overwritten with zeros.
STRONGROOM_MUST_USE
strongroom_status strongroom_retrieve_into(const strongroom *store,
                                           const void *id,
                                           size_t id_len,
                                           const strongroom_record_key *key,
                                           void *data,
                                           size_t size,
                                           size_t *len,
                                           strongroom_error *error);

/// Retrieves up to `len` bytes of the data, from the byte `offset` on; the range is clipped at the end. The length of
/// the data is authenticated: only the 16 KiB chunks of the range and the final chunk are read.
///
/// As strongroom_retrieve; STRONGROOM_CONFLICT if the record is replaced or removed during the call.
STRONGROOM_MUST_USE
strongroom_status strongroom_retrieve_range(const strongroom *store,
                                            const void *id,
                                            size_t id_len,
                                            const strongroom_record_key *key,
                                            uint64_t offset,
                                            size_t len,
                                            strongroom_buffer *data,
                                            strongroom_error *error);

/// Retrieves the data stored under an id, and removes the record: of several callers, one gets the data, and the others
/// STRONGROOM_NOT_FOUND. Free the data with strongroom_buffer_free.
///
/// The data is delivered at most once: if the process ends or a connection breaks before the caller has it, it is lost.
/// To lose nothing, use strongroom_retrieve, and then strongroom_delete.
///
/// As strongroom_retrieve: the record is then unchanged. STRONGROOM_INDETERMINATE if the outcome is unknown.
STRONGROOM_MUST_USE
strongroom_status strongroom_take(const strongroom *store,
                                  const void *id,
                                  size_t id_len,
                                  const strongroom_record_key *key,
                                  strongroom_buffer *data,
                                  strongroom_error *error);

/// Replaces the data of the record that `old_key` opens, and gives the new version's key; both may be the same struct.
/// The old key no longer opens anything, and no older version opens under the new key.
///
/// STRONGROOM_NOT_FOUND; STRONGROOM_WRONG_KEY; STRONGROOM_EXPIRED; STRONGROOM_CONFLICT if the record was replaced or
/// removed concurrently. A failure leaves the record unchanged.
STRONGROOM_MUST_USE
strongroom_status strongroom_replace(const strongroom *store,
                                     const void *id,
                                     size_t id_len,
                                     const strongroom_record_key *old_key,
                                     const void *data,
                                     size_t data_len,
                                     strongroom_record_key *new_key,
                                     strongroom_error *error);

/// As strongroom_replace, with options. `new_key` may be NULL if the options have the new key.
///
/// STRONGROOM_INVALID_ARGUMENT if the new key is the old one.
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

/// Re-encrypts the data of the record that `old_key` opens, in constant memory, and gives its new key; both may be the
/// same struct. Afterwards the old key opens nothing. `options` may be NULL; without an expiry time in them, the
/// record keeps its own. `new_key` may be NULL if the options have the new key.
///
/// As strongroom_replace_with and strongroom_retrieve. A failure leaves the record unchanged.
STRONGROOM_MUST_USE
strongroom_status strongroom_rekey(const strongroom *store,
                                   const void *id,
                                   size_t id_len,
                                   const strongroom_record_key *old_key,
                                   const strongroom_write_options *options,
                                   strongroom_record_key *new_key,
                                   strongroom_error *error);

/// Removes the record that `key` opens, even if it has expired. If the storage's answer is lost, this succeeds also if
/// another caller removes the record meanwhile: only strongroom_take tells that nobody else has read it.
///
/// STRONGROOM_NOT_FOUND; STRONGROOM_WRONG_KEY; STRONGROOM_CONFLICT if the record was replaced or removed concurrently.
STRONGROOM_MUST_USE
strongroom_status strongroom_delete(const strongroom *store,
                                    const void *id,
                                    size_t id_len,
                                    const strongroom_record_key *key,
                                    strongroom_error *error);

/// Removes the record of an id without its key: the operator's means to fulfil a right to erasure. `erased` says
/// whether there was a record.
STRONGROOM_MUST_USE
strongroom_status strongroom_erase(const strongroom *store,
                                   const void *id,
                                   size_t id_len,
                                   bool *erased,
                                   strongroom_error *error);

/// Tells whether there is an unexpired record under this id. During a rotation of the index key, this moves the record.
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

/// The outcome of a strongroom_request.
typedef struct {
    /// The status, as of strongroom_retrieve.
    strongroom_status status;
    /// The data after a success, to be freed with strongroom_buffer_free; otherwise {NULL, 0}.
    strongroom_buffer data;
} strongroom_result;

/// Stores `count` items in one transaction, all or none, and gives their keys in the same order: `keys` has room for
/// `count`.
///
/// As strongroom_store; STRONGROOM_ALREADY_EXISTS also if two items have the same id; STRONGROOM_TOO_LARGE above 64 MiB
/// in a storage service or PostgreSQL, and in an encryption server above 64 MiB of JSON (about 48 MiB of data) or
/// 32,768 items; STRONGROOM_UNSUPPORTED by an object store.
STRONGROOM_MUST_USE
strongroom_status strongroom_store_many(const strongroom *store,
                                        const strongroom_item *items,
                                        size_t count,
                                        strongroom_record_key *keys,
                                        strongroom_error *error);

/// As strongroom_store_many, with options for each item: an array of `count` pointers, each of which may be NULL.
/// `keys` may be NULL if all of the options have a key.
///
/// STRONGROOM_ALREADY_EXISTS if an id has another record.
STRONGROOM_MUST_USE
strongroom_status strongroom_store_many_with(const strongroom *store,
                                             const strongroom_item *items,
                                             size_t count,
                                             const strongroom_write_options *const *options,
                                             strongroom_record_key *keys,
                                             strongroom_error *error);

/// Retrieves `count` records, each with its own outcome, in the same order: `results` has room for `count`. A storage
/// with transactions reads them in one; more than 64 MiB from a service is read in several steps. If a record cannot be
/// retrieved, its result has the status, and the call succeeds. If the call fails, as for an invalid id, no result is
/// written.
STRONGROOM_MUST_USE
strongroom_status strongroom_retrieve_many(const strongroom *store,
                                           const strongroom_request *requests,
                                           size_t count,
                                           strongroom_result *results,
                                           strongroom_error *error);


/*
 * Writing a record piece by piece
 *
 * In constant memory, for data of any length.
 */

/// A record that is being written. A writer that is freed before it is finished stores nothing.
typedef struct strongroom_writer strongroom_writer;

/// Starts to store a record under a new id. The record becomes visible with strongroom_writer_finish, which gives its
/// key. Free the writer with strongroom_writer_free.
///
/// As strongroom_store.
STRONGROOM_MUST_USE
strongroom_status strongroom_create_record(const strongroom *store,
                                           const void *id,
                                           size_t id_len,
                                           strongroom_writer **writer,
                                           strongroom_error *error);

/// As strongroom_create_record, with options.
///
/// STRONGROOM_ALREADY_EXISTS, here or from the writer, if the id has another record. STRONGROOM_BUSY from
/// strongroom_writer_finish if the same write ran concurrently: repeat it.
STRONGROOM_MUST_USE
strongroom_status strongroom_create_record_with(const strongroom *store,
                                                const void *id,
                                                size_t id_len,
                                                const strongroom_write_options *options,
                                                strongroom_writer **writer,
                                                strongroom_error *error);

/// Starts to replace the record that `old_key` opens. The old version remains until strongroom_writer_finish succeeds.
///
/// As strongroom_replace.
STRONGROOM_MUST_USE
strongroom_status strongroom_replace_record(const strongroom *store,
                                            const void *id,
                                            size_t id_len,
                                            const strongroom_record_key *old_key,
                                            strongroom_writer **writer,
                                            strongroom_error *error);

/// As strongroom_replace_record, with options.
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

/// Writes all of the data. A failed write is final: later writes and strongroom_writer_finish are
/// STRONGROOM_INVALID_ARGUMENT. Data is buffered: the failure of the storage, or the closing of the store, may be
/// reported by a later call.
STRONGROOM_MUST_USE
strongroom_status strongroom_writer_write(strongroom_writer *writer,
                                          const void *data,
                                          size_t len,
                                          strongroom_error *error);

/// Gives the key of the record, so that it can be written down before the record is finished: a crash then loses
/// nothing.
STRONGROOM_MUST_USE
strongroom_status strongroom_writer_key(const strongroom_writer *writer,
                                        strongroom_record_key *key,
                                        strongroom_error *error);

/// Finishes the record, which is complete and durable on return, and gives its key; `key` may be NULL if the caller has
/// it. The writer cannot be used afterwards, not even after a failure, and must still be freed.
///
/// STRONGROOM_ALREADY_EXISTS or STRONGROOM_CONFLICT if another writer was faster.
STRONGROOM_MUST_USE
strongroom_status strongroom_writer_finish(strongroom_writer *writer,
                                           strongroom_record_key *key,
                                           strongroom_error *error);

/// Frees the writer; an unfinished record is dropped. NULL is allowed.
void strongroom_writer_free(strongroom_writer *writer);


/*
 * Reading a record piece by piece, from any position
 *
 * In constant memory, for data of any length.
 */

/// An open record. Each 16 KiB chunk is authenticated before a byte of it is returned. A reader stays at the version
/// that it opened: once that is replaced or removed, parts that were not fetched yet are STRONGROOM_CONFLICT; versions
/// are never mixed. Once it has expired, chunks that were not opened yet are STRONGROOM_EXPIRED.
typedef struct strongroom_reader strongroom_reader;

/// Opens a record for reading. Free the reader with strongroom_reader_free.
///
/// As strongroom_retrieve, for the record's first 68 bytes; the rest is checked as it is read.
STRONGROOM_MUST_USE
strongroom_status strongroom_open_record(const strongroom *store,
                                         const void *id,
                                         size_t id_len,
                                         const strongroom_record_key *key,
                                         strongroom_reader **reader,
                                         strongroom_error *error);

/// As strongroom_take, for data of any length: afterwards only the reader can read the record, and
/// strongroom_reader_free removes it. On an encryption server it is read from start to end, elsewhere from any
/// position.
///
/// If the process ends before, nobody can read the record, and the first strongroom_purge or strongroom_maintain after
/// a day removes it.
///
/// As strongroom_take, for the record's first 68 bytes and its final chunk; the rest is checked as it is read.
STRONGROOM_MUST_USE
strongroom_status strongroom_take_record(const strongroom *store,
                                         const void *id,
                                         size_t id_len,
                                         const strongroom_record_key *key,
                                         strongroom_reader **reader,
                                         strongroom_error *error);

/// Reads `size` bytes at the position, advances it, and gives their number: fewer at the end of the record, and 0 at
/// its end and after it. A caller that reached the end without a failure has read the whole record.
///
/// A read stops before an altered chunk and gives fewer bytes; a read that begins in the chunk returns
/// STRONGROOM_CORRUPT, each time. After a failure, the content of `data` is undefined.
STRONGROOM_MUST_USE
strongroom_status strongroom_reader_read(strongroom_reader *reader,
                                         void *data,
                                         size_t size,
                                         size_t *len,
                                         strongroom_error *error);

/// Sets the position, in bytes from the start. A position after the end is allowed: reading there gives 0 bytes.
STRONGROOM_MUST_USE
strongroom_status strongroom_reader_seek(strongroom_reader *reader,
                                         uint64_t position,
                                         strongroom_error *error);

/// Gives the length of the data, authenticated by opening the final chunk.
STRONGROOM_MUST_USE
strongroom_status strongroom_reader_len(strongroom_reader *reader,
                                        uint64_t *len,
                                        strongroom_error *error);

/// Frees the reader. NULL is allowed.
void strongroom_reader_free(strongroom_reader *reader);


/*
 * Records through callbacks
 *
 * In constant memory, for data of any length. The callbacks run in the calling thread, before the call returns.
 */

/// Writes up to `size` bytes to `data`, and returns their number, 0 at the end, or a negative number (or one above
/// `size`) to stop with an error. `context` is the caller's, or NULL.
typedef ptrdiff_t (*strongroom_read_fn)(void *context, void *data, size_t size);

/// Takes `len` bytes at `data`, and returns 0, or any other number to stop with an error. `context` is the caller's, or
/// NULL.
typedef int (*strongroom_write_fn)(void *context, const void *data, size_t len);

/// Stores all data of `read` under a new id, and gives the key.
///
/// As strongroom_store; STRONGROOM_STORAGE if `read` stops with an error: nothing is stored.
STRONGROOM_MUST_USE
strongroom_status strongroom_store_stream(const strongroom *store,
                                          const void *id,
                                          size_t id_len,
                                          strongroom_read_fn read,
                                          void *context,
                                          strongroom_record_key *key,
                                          strongroom_error *error);

/// As strongroom_store_stream, with options. `key` may be NULL if the options have the key.
///
/// STRONGROOM_BUSY if the same write ran concurrently: repeat it.
STRONGROOM_MUST_USE
strongroom_status strongroom_store_stream_with(const strongroom *store,
                                               const void *id,
                                               size_t id_len,
                                               strongroom_read_fn read,
                                               void *context,
                                               const strongroom_write_options *options,
                                               strongroom_record_key *key,
                                               strongroom_error *error);

/// Replaces the data of the record that `old_key` opens with all data of `read`, and gives the new key.
///
/// As strongroom_replace; STRONGROOM_STORAGE if `read` stops with an error: the record is unchanged.
STRONGROOM_MUST_USE
strongroom_status strongroom_replace_stream(const strongroom *store,
                                            const void *id,
                                            size_t id_len,
                                            const strongroom_record_key *old_key,
                                            strongroom_read_fn read,
                                            void *context,
                                            strongroom_record_key *new_key,
                                            strongroom_error *error);

/// As strongroom_replace_stream, with options. `new_key` may be NULL if the options have the new key.
///
/// As strongroom_replace_with, and STRONGROOM_BUSY if the same write ran concurrently: repeat it.
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

/// Passes the data stored under an id to `write`, in authenticated pieces.
///
/// As strongroom_retrieve; STRONGROOM_STORAGE if `write` stops with an error. After a failure, `write` has received
/// only the beginning of the data.
STRONGROOM_MUST_USE
strongroom_status strongroom_retrieve_stream(const strongroom *store,
                                             const void *id,
                                             size_t id_len,
                                             const strongroom_record_key *key,
                                             strongroom_write_fn write,
                                             void *context,
                                             strongroom_error *error);


/*
 * The rotation of the index key
 *
 * A new index key takes the place of one that may be known to others; no record key is needed, and records keep their
 * keys. Open the store with the new key and with the previous one in strongroom_options, in all processes, and begin
 * the rotation in one of them. Each operation on an id then moves its record to the new key. Call strongroom_contains
 * for every known id of every namespace: it fails if the record cannot be moved, for example on a full disk. A read of
 * data succeeds even then, and may leave the record under the previous key. A read-only handle, and a call with a
 * wrong record key, moves nothing. When no record remains, strongroom_finish_rotation ends the rotation. It may be
 * interrupted at any time; other handles with both keys continue to work.
 */

/// Begins the rotation: the new key takes the place of the previous one. It takes a second. Without effect if the new
/// key is the store's already. A record that is being replaced in pieces meanwhile may be STRONGROOM_CONFLICT.
///
/// STRONGROOM_BUSY if the store's settings are changed at the same time; STRONGROOM_UNSUPPORTED on an encryption
/// server, or read-only.
STRONGROOM_MUST_USE strongroom_status strongroom_begin_rotation(const strongroom *store, strongroom_error *error);

/// Gives the number of records that remain under the previous index key, in all namespaces: at most `limit`, in time
/// proportional to the result.
///
/// STRONGROOM_INVALID_ARGUMENT if the store was opened without a previous index key, before the rotation has begun, or
/// after it had ended; STRONGROOM_UNSUPPORTED on an encryption server.
STRONGROOM_MUST_USE
strongroom_status strongroom_get_unrotated_count(const strongroom *store,
                                                 uint64_t limit,
                                                 uint64_t *count,
                                                 strongroom_error *error);

/// Gives the locators of records that remain under the previous index key, in all namespaces, 32 bytes each: at most
/// `limit`, in time proportional to the result. Free `locators` with strongroom_buffer_free.
///
/// As strongroom_get_unrotated_count.
STRONGROOM_MUST_USE
strongroom_status strongroom_list_unrotated(const strongroom *store,
                                            uint64_t limit,
                                            strongroom_buffer *locators,
                                            strongroom_error *error);

/// Removes a record that remains under the previous index key, because nobody knows its id. `locator` is 32 bytes of
/// those that strongroom_list_unrotated gives; `erased` says whether there was a record.
///
/// STRONGROOM_INVALID_ARGUMENT if the locator is not one under the previous key, or there is no rotation;
/// STRONGROOM_UNSUPPORTED on an encryption server.
STRONGROOM_MUST_USE
strongroom_status strongroom_erase_unrotated(const strongroom *store,
                                             const void *locator,
                                             bool *erased,
                                             strongroom_error *error);

/// Ends the rotation of the index key: from then on, the store is opened with the new key alone.
///
/// STRONGROOM_INVALID_ARGUMENT if records remain under the previous key, or as for strongroom_get_unrotated_count;
/// STRONGROOM_CONFLICT if the store's settings are changed at the same time; STRONGROOM_UNSUPPORTED on an encryption
/// server.
STRONGROOM_MUST_USE strongroom_status strongroom_finish_rotation(const strongroom *store, strongroom_error *error);


/*
 * The search for damage
 *
 * No function here needs a record's key.
 */

/// In the flags of strongroom_verify_options: check records only. The check of the database's pages and indexes would
/// read the whole database once more, in one step.
#define STRONGROOM_RECORDS_ONLY 1

/// How to search for damage. Set all of it to zero, then `size` to sizeof(strongroom_verify_options), then what you
/// choose. Unknown flags and larger structs are treated as in strongroom_options.
typedef struct {
    /// sizeof(strongroom_verify_options).
    size_t size;
    /// STRONGROOM_RECORDS_ONLY, or 0.
    uint64_t flags;
    /// The most bytes of records to check per second, to leave time for others. 0 for no limit.
    uint64_t bytes_per_second;
    /// The position at which to start, such as `next` of an earlier step; or a locator, to start after its record. Or
    /// NULL.
    const char *start_at;
} strongroom_verify_options;

/// Damage.
typedef struct {
    /// The locator of the damaged record, 64 hexadecimal digits. NULL if the damage is in no record, or its locator is
    /// not readable.
    const char *locator;
    /// The place: "row", "segment 3", "index record_prefix", "page 17".
    const char *place;
    /// The kind: "checksum", "length", "missing", "mismatch", "orphan", "malformed"; or "unsupported": the record is
    /// intact, but a newer version may have written it.
    const char *kind;
} strongroom_damage;

/// The state of a search after one of its steps.
typedef struct {
    /// The number of records checked so far.
    uint64_t records;
    /// The number of bytes checked so far.
    uint64_t bytes;
    /// The damage that this step found.
    const strongroom_damage *damage;
    /// The number of elements of `damage`.
    size_t damage_len;
    /// Where the next step begins, and a later search can go on. NULL after the last record.
    const char *next;
} strongroom_verify_step;

/// Gets each step of a search, valid until it returns. It returns 0 to go on, and any other number to stop. `context`
/// is the caller's, or NULL.
typedef int (*strongroom_verify_fn)(void *context, const strongroom_verify_step *step);

/// The result of a search.
typedef struct {
    /// The number of checked records.
    uint64_t records;
    /// The number of checked bytes.
    uint64_t bytes;
    /// The number of places with damage.
    uint64_t damaged;
    /// The number of intact records that a newer version may have written.
    uint64_t unsupported;
} strongroom_verify_report;

/// Searches the store for damage, in short steps. It changes nothing, and others may read and write at the same time.
/// Damage is no failure: see the report. `options` and `step` may be NULL. If `step` stops the search, the report has
/// the steps so far.
///
/// STRONGROOM_INVALID_ARGUMENT for a position of another store; STRONGROOM_CORRUPT if the damage prevents the search;
/// STRONGROOM_UNSUPPORTED on an encryption server.
STRONGROOM_MUST_USE
strongroom_status strongroom_verify(const strongroom *store,
                                    const strongroom_verify_options *options,
                                    strongroom_verify_fn step,
                                    void *context,
                                    strongroom_verify_report *report,
                                    strongroom_error *error);

/// As strongroom_verify, for a store that is not open, without its index key. `path` names it as in `strongroom_open`.
/// The options of the store are for services, and may be NULL; their flags and index key must not be set.
///
/// STRONGROOM_INVALID_ARGUMENT also if there is no store; STRONGROOM_STORAGE if it cannot be read.
STRONGROOM_MUST_USE
strongroom_status strongroom_verify_path(const char *path,
                                         const strongroom_options *store_options,
                                         const strongroom_verify_options *options,
                                         strongroom_verify_fn step,
                                         void *context,
                                         strongroom_verify_report *report,
                                         strongroom_error *error);

/// Replaces each damaged record by the one in `copy`, which is the same store at another place, such as a backup that
/// is open with STRONGROOM_READ_ONLY. Only its intact records are used. Intact records are never replaced, and a
/// damaged one that the copy lacks stays as it is: strongroom_verify reports it. `restored` counts restored records,
/// `lost` unreadable ones that the copy lacks, and second versions of records, which users did not see. Others should
/// not write meanwhile.
///
/// STRONGROOM_INVALID_ARGUMENT if `copy` is another store, or the same handle; STRONGROOM_UNSUPPORTED on a service, or
/// read-only; STRONGROOM_BUSY if others never stop writing. After a failure, some records may have been restored.
STRONGROOM_MUST_USE
strongroom_status strongroom_repair_from(const strongroom *store,
                                         const strongroom *copy,
                                         uint64_t *restored,
                                         uint64_t *lost,
                                         strongroom_error *error);


/*
 * Copying a store
 */

/// In the flags of strongroom_copy: also delete the records at the destination that the source does not have.
#define STRONGROOM_MIRROR 1

/// The result of strongroom_copy, or its progress.
typedef struct {
    /// The number of records that were written to the destination.
    uint64_t records;
    /// Their bytes: ciphertext and headers.
    uint64_t bytes;
    /// The number of records that the destination had already.
    uint64_t unchanged;
    /// The number of records that were deleted at the destination.
    uint64_t deleted;
    /// The number of damaged records of the source, which were not copied. Those at a place that the source cannot list
    /// count as one.
    uint64_t damaged;
    /// The number of records that exceed the limit of the destination, which were not copied.
    uint64_t too_large;
} strongroom_copied;

/// Gets the progress of a copy, valid until it returns, about ten times a second in the thread of the call. It returns
/// 0 to go on, and any other number to stop. `context` is the caller's, or NULL.
typedef int (*strongroom_copy_fn)(void *context, const strongroom_copied *progress);

/// How to copy a store. Set all of it to zero, then `size` to sizeof(strongroom_copy_options), then what you choose.
/// Unknown flags and larger structs are treated as in strongroom_options.
typedef struct {
    /// sizeof(strongroom_copy_options).
    size_t size;
    /// STRONGROOM_MIRROR, or 0.
    uint64_t flags;
    /// The number of threads, from 1 to 64: more for a distant service. 0 for 4.
    uint64_t workers;
    /// The options of the service at `from`, or NULL. Their flags and index key must not be set.
    const strongroom_options *from;
    /// The options of the service at `to`, or NULL, likewise.
    const strongroom_options *to;
    /// The function that gets the progress, or NULL.
    strongroom_copy_fn progress;
    /// The first argument of `progress`.
    void *context;
} strongroom_copy_options;

/// Copies all records of a store to another place, without any key: for backups, for restoring them, and for moves.
/// Both places are named as in `strongroom_open`, and may be in use meanwhile.
///
/// The destination must be new, or an earlier copy of the same store: records that it has already are skipped, so that
/// a repeated call copies changes, and continues an interrupted one. It then opens with the index key of the source,
/// whose file is not copied. Each record that was written is compared with what the destination returns.
///
/// Check `damaged` and `too_large` in the result: those records are not at the destination. `not_copied` receives their
/// locators, 32 bytes each, the damaged ones first; free it with strongroom_buffer_free. A locator that ends in 24
/// bytes 0 stands for all records at a place that the source cannot list. `not_copied` and `options` may be NULL.
///
/// STRONGROOM_INVALID_ARGUMENT if there is no store at `from`, if `to` has another store, or if both are the same;
/// STRONGROOM_STORAGE_FULL; STRONGROOM_CONFLICT if others change the destination all the time; STRONGROOM_BUSY if
/// `progress` stopped the copy before its end. Records that were copied before a failure stay.
STRONGROOM_MUST_USE
strongroom_status strongroom_copy(const char *from,
                                  const char *to,
                                  const strongroom_copy_options *options,
                                  strongroom_copied *copied,
                                  strongroom_buffer *not_copied,
                                  strongroom_error *error);


/*
 * A storage of your own
 *
 * A store can lie in any storage that keeps records under locators: a table of callbacks tells how.
 * strongroom_check_storage tests them.
 *
 * A storage sees only locators, STRONGROOM_LOCATOR_SIZE bytes each, and opaque records. The first STRONGROOM_HEAD_SIZE
 * bytes of a record are its head: no two writes have the same, so that a head identifies one version of a record.
 *
 * A callback returns a strongroom_status. STRONGROOM_NOT_FOUND, STRONGROOM_ALREADY_EXISTS and STRONGROOM_CONFLICT are
 * allowed only where its description says so; STRONGROOM_INDETERMINATE only from one that writes (`maintain` and
 * `close` too, `upload` and `upload_write` not); a status that concerns keys, ids or expiry never. Any status that it
 * must not return is an error: STRONGROOM_INDETERMINATE from one that writes, STRONGROOM_STORAGE from another. A
 * failed callback must have changed nothing, except after STRONGROOM_INDETERMINATE.
 *
 * The callbacks may be called from any thread, and from several at once, except `close` and `destroy`; never in a
 * forked child. The library passes only valid arguments, which are valid until the callback returns. A callback must
 * not call a function of the library for its own store, nor unwind. A calling thread needs its stack in addition to
 * the library's 64 KiB.
 *
 * A callback that returns data gives it to its strongroom_sink, in the thread in which it was called.
 */

/// The bytes of a locator.
#define STRONGROOM_LOCATOR_SIZE 32

/// The bytes of a record's head. No record is shorter.
#define STRONGROOM_HEAD_SIZE 68

/// The most bytes of the settings document.
#define STRONGROOM_SETTINGS_SIZE 4096

/// How a write treats an existing record.
typedef enum {
    /// It writes if there is no record; STRONGROOM_ALREADY_EXISTS otherwise.
    STRONGROOM_CREATE = 0,
    /// It writes in any case.
    STRONGROOM_OVERWRITE = 1,
    /// It writes if the record has the given head; STRONGROOM_CONFLICT otherwise, and if there is no record.
    STRONGROOM_REPLACE_IF = 2,
} strongroom_put_mode;

/// Receives the result of one call of a callback.
typedef struct strongroom_sink strongroom_sink;

/// A record and its locator.
typedef struct {
    /// Its locator.
    const uint8_t *locator;
    /// The record.
    const void *record;
    /// Its bytes.
    size_t record_len;
} strongroom_storage_record;

/// A storage. Set all of it to zero, then `size` to sizeof(strongroom_storage_callbacks), then the members. A larger
/// struct, of a newer header, is accepted if its new members are zero, and STRONGROOM_UNSUPPORTED otherwise.
///
/// Each write is atomic: at any time, other callers see the record before it or after it. It is durable when the
/// callback returns, as far as the storage promises that. A read that starts after a write has returned sees it.
typedef struct {
    /// sizeof(strongroom_storage_callbacks).
    size_t size;
    /// The first argument of each callback, or NULL.
    void *context;
    /// Writes a record. `head` is NULL, except with STRONGROOM_REPLACE_IF. Required.
    int (*put)(void *context,
               const uint8_t *locator,
               const void *record,
               size_t record_len,
               strongroom_put_mode mode,
               const uint8_t *head);
    /// Writes `count` new records, all or none: STRONGROOM_ALREADY_EXISTS if one of them exists. Their locators differ.
    /// NULL if the storage has no transactions: strongroom_store_many is then STRONGROOM_UNSUPPORTED.
    int (*create_many)(void *context, const strongroom_storage_record *records, size_t count);
    /// Gives the record with strongroom_give_bytes if it has at most `max_len` bytes, else its head and length with
    /// strongroom_give_info. STRONGROOM_NOT_FOUND if there is none. Required.
    int (*get_up_to)(void *context, const uint8_t *locator, uint64_t max_len, strongroom_sink *sink);
    /// Gives the record's head and length with strongroom_give_info. STRONGROOM_NOT_FOUND if there is none. Required.
    int (*info)(void *context, const uint8_t *locator, strongroom_sink *sink);
    /// Fills `buffer` with the `len` bytes of the record from `offset` on. STRONGROOM_CONFLICT if the record has
    /// another head or is gone, STRONGROOM_INVALID_ARGUMENT if it has fewer than `offset + len` bytes. Required.
    int (*read_at)(void *context, const uint8_t *locator, const uint8_t *head, uint64_t offset, void *buffer, size_t len);
    /// Starts to write a record piece by piece, and sets `upload` to a handle of the storage. Checks `mode` and `head`
    /// as `put` does, so that a write fails early. Nothing is visible before `upload_commit`. Required.
    int (*upload)(void *context, const uint8_t *locator, strongroom_put_mode mode, const uint8_t *head, void **upload);
    /// Appends bytes to an upload. Required.
    int (*upload_write)(void *context, void *upload, const void *data, size_t len);
    /// Makes the record visible, whole and durable, with the outcomes of `put` in the upload's mode. Only `upload_free`
    /// follows. Required.
    int (*upload_commit)(void *context, void *upload);
    /// Frees an upload, once. If it was not committed, nothing of it remains. It may be called after `close`. Required.
    void (*upload_free)(void *context, void *upload);
    /// Removes a record: if `head` is not NULL, only the version with this head, and STRONGROOM_CONFLICT for another.
    /// STRONGROOM_NOT_FOUND if there is none. Required.
    int (*remove)(void *context, const uint8_t *locator, const uint8_t *head);
    /// Moves the version of a record that has this head from one locator to another, which may be the same.
    /// STRONGROOM_CONFLICT if the record under `from` has another head or is gone, but success if it is gone and the
    /// one under `to` has this head; STRONGROOM_ALREADY_EXISTS if another record is under `to`. Required.
    int (*rename)(void *context, const uint8_t *from, const uint8_t *head, const uint8_t *to);
    /// Gives at most `limit` records after the locator `after`, or from the first if it is NULL, with
    /// strongroom_give_entry, in the order of memcmp on their locators. An `after` of 32 bytes 255 asks whether lists
    /// are complete: STRONGROOM_CORRUPT if the storage notices that damage hides records from them. Required.
    int (*list)(void *context, const uint8_t *after, size_t limit, strongroom_sink *sink);
    /// Gives at most `limit` records that expire at or before `now`, the earliest first, with strongroom_give_entry.
    /// Bytes 4 to 11 of a head are the time: Unix time in seconds, little-endian, 0 for never. NULL if the storage has
    /// no index of these times: strongroom_purge is then STRONGROOM_UNSUPPORTED.
    int (*list_expired)(void *context, uint64_t now, size_t limit, strongroom_sink *sink);
    /// Gives the settings document with strongroom_give_bytes. STRONGROOM_NOT_FOUND if there is none. Required.
    int (*settings)(void *context, strongroom_sink *sink);
    /// Writes the settings document, of at most STRONGROOM_SETTINGS_SIZE bytes. `expected` is the current document, or
    /// NULL if there must be none: STRONGROOM_CONFLICT if it differs. Required.
    int (*swap_settings)(void *context,
                         const void *expected,
                         size_t expected_len,
                         const void *document,
                         size_t document_len);
    /// Compares a record with the storage's own checksum: STRONGROOM_CORRUPT if it is damaged, STRONGROOM_NOT_FOUND if
    /// there is none. NULL if the storage has no checksums: strongroom_verify is then STRONGROOM_UNSUPPORTED.
    int (*verify_record)(void *context, const uint8_t *locator);
    /// Gives the number and size of the records, and how many expire at or before `now`. Required.
    int (*stats)(void *context, uint64_t now, strongroom_stats *stats);
    /// Removes the remains of deleted records and of dead uploads, but no running upload. NULL if nothing ever remains.
    int (*maintain)(void *context);
    /// Closes the storage. It is called once, while no other callback runs; only `upload_free` and `destroy` follow. It
    /// is not called if the store was never closed. NULL if there is nothing to do.
    int (*close)(void *context);
    /// Frees the context, once, when the last handle, reader and writer of the store is freed. NULL if there is nothing
    /// to do.
    void (*destroy)(void *context);
    /// The most bytes of a record. 0 for no limit.
    uint64_t max_record_len;
    /// The most bytes of the records of one `create_many`. 0 for no limit.
    uint64_t max_batch_len;
    /// The preferred length of a part of a long record, from 65,536 to 16,777,216 bytes. 0 for the default.
    size_t part_len;
    /// How many parts to read in parallel at most. 0 for as many as there are cores.
    size_t parallel_parts;
} strongroom_storage_callbacks;

/// Opens a store in a storage of your own. The library copies the struct. `options` must have an index key, the same at
/// each opening; STRONGROOM_PAD is the only flag, and the members for a service must not be set.
///
/// From its success on, the store owns the storage, and calls `destroy` in the end. After a failure, the storage still
/// belongs to the caller.
///
/// STRONGROOM_INVALID_ARGUMENT if a required callback is NULL; STRONGROOM_INDEX_KEY_MISMATCH if the index key is
/// another store's; and the statuses of the callbacks.
STRONGROOM_MUST_USE
strongroom_status strongroom_open_storage(const strongroom_storage_callbacks *storage,
                                          const strongroom_options *options,
                                          strongroom **store,
                                          strongroom_error *error);

/// Gives all bytes of the record, or of the settings document. Call it once.
///
/// STRONGROOM_INVALID_ARGUMENT if the callback must not give this: the library then refuses its result, whatever it
/// returns. STRONGROOM_TOO_LARGE if there is not enough memory.
strongroom_status strongroom_give_bytes(strongroom_sink *sink, const void *data, size_t len);

/// Gives the head and the length of the record. Call it once.
///
/// As strongroom_give_bytes.
strongroom_status strongroom_give_info(strongroom_sink *sink, const uint8_t *head, uint64_t record_len);

/// Gives one record of a list: its locator, its head and its length.
///
/// As strongroom_give_bytes.
strongroom_status strongroom_give_entry(strongroom_sink *sink,
                                        const uint8_t *locator,
                                        const uint8_t *head,
                                        uint64_t record_len);


/*
 * The test suite for storages
 */

/// In the flags of strongroom_check_storage: the storage loses its records when it is closed.
#define STRONGROOM_VOLATILE 1

/// Opens the storage in an empty folder, or the one that it made there before, and gives it with
/// strongroom_give_storage. A storage that uses no files makes a new one for each folder. Returns STRONGROOM_OK, or the
/// status of its failure. `context` is the caller's, or NULL.
typedef int (*strongroom_make_storage_fn)(void *context, const char *folder, strongroom_sink *sink);

/// Gets the outcome of one promise: `failure` is the suite's message, with the line of its source, if the storage broke
/// it, and NULL if it kept it. Both texts are valid until it returns. It returns 0 to go on, and any other number to
/// stop. `context` is the caller's, or NULL.
typedef int (*strongroom_promise_fn)(void *context, const char *promise, const char *failure);

/// Gives a storage to the suite, which owns it from then on. The library copies the struct.
///
/// As strongroom_give_bytes; also if strongroom_open_storage would refuse the struct.
strongroom_status strongroom_give_storage(strongroom_sink *sink, const strongroom_storage_callbacks *storage);

/// Tests whether a storage keeps the promises that strongroom_storage_callbacks describes, one by one, each with new
/// storages of `make`: for the tests of a storage. It needs some seconds and 100 MB of memory. `make` and `report` run
/// in a thread of the library, before the call returns.
///
/// `flags` is STRONGROOM_VOLATILE or 0. `only` is the name of a promise to test alone, or NULL for all. `report` may be
/// NULL. One check runs at a time.
///
/// STRONGROOM_UNSUPPORTED if the storage breaks a promise: the error's message names the first ones.
/// STRONGROOM_INVALID_ARGUMENT for an unknown name or flag.
STRONGROOM_MUST_USE
strongroom_status strongroom_check_storage(strongroom_make_storage_fn make,
                                           strongroom_promise_fn report,
                                           void *context,
                                           uint64_t flags,
                                           const char *only,
                                           strongroom_error *error);

#ifdef __cplusplus
}
#endif

#endif /* STRONGROOM_H */
