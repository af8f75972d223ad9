//! Strongroom: keeps data under an id, encrypted, and hands back the only key that opens it.
//!
//!     strongroom *store = NULL;
//!     strongroom_record_key key;
//!     strongroom_buffer data = {NULL, 0};
//!     strongroom_error error;
//!
//!     if (strongroom_open("records.db", NULL, &store, &error) ||
//!         strongroom_store(store, "id", 2, "data", 4, &key, &error) ||
//!         strongroom_retrieve(store, "id", 2, &key, &data, &error))
//!         fprintf(stderr, "%s\n", error.message);
//!     strongroom_buffer_free(&data);
//!     strongroom_wipe(&key, sizeof key);
//!     strongroom_close(store, NULL);
//!
//! CONVENTIONS
//!
//! Outcome. A function that can fail returns a strongroom_status: 0 is success. Its last parameter is a
//! strongroom_error for a message, or NULL. Outputs are written only on success, unless a function says otherwise. A
//! failure changes nothing in the store, unless the status says that the outcome is unknown.
//!
//! Parameters. The handle comes first, then inputs, then outputs. A pointer must not be NULL unless its function allows
//! it: NULL is STRONGROOM_INVALID_ARGUMENT. Bytes and arrays are a pointer and a length; (NULL, 0) is a valid empty
//! input or output. A length above PTRDIFF_MAX is STRONGROOM_INVALID_ARGUMENT. An output, such as the strongroom_error,
//! must not overlap another parameter unless the function allows it. An id is any 1 to 4,096 bytes; text means its
//! UTF-8 bytes, without a terminator. A NUL byte ends a path. Lengths are in bytes.
//!
//! Ownership. A function keeps no pointer to its inputs after it returns. A strongroom, strongroom_writer or
//! strongroom_reader is freed by its own close or free function, and the data in a strongroom_buffer by
//! strongroom_buffer_free, never by free(); all of these accept NULL. Keys are plain structs that belong to the caller.
//!
//! Memory. The library wipes memory that it frees, but not thread stacks, where pieces of data may remain. The caller
//! wipes keys and data in its own memory: the compiler does not remove strongroom_wipe. Data that does not fit in
//! memory is STRONGROOM_TOO_LARGE, and a lack of the database's own memory is STRONGROOM_STORAGE; in a commit, it may
//! be STRONGROOM_INDETERMINATE. Any other lack of memory ends the process, which loses nothing that was acknowledged.
//!
//! Threads. Many threads may use a strongroom at once; only one thread at a time may use a writer, a reader, an options
//! struct or a key that is written to. An object must not be closed or freed while another thread uses it. Readers and
//! writers may outlive their store: calls that need the store then return STRONGROOM_CLOSED. A calling thread needs 64
//! KiB of stack. The library has threads of its own, for long records and for services. They block all signals except
//! those of their own faults (such as SIGSEGV), so that the host's handlers run on the host's threads, and a lost
//! service is an error, not a SIGPIPE.
//!
//! Processes. Several processes may use one database. After fork(), calls of the child that need a store of the parent
//! return STRONGROOM_FORKED. The child may free its copies, but their memory is not released; it cannot open a database
//! if a database, or a reader or writer of one, was open at the fork. Open stores after forking, or call exec. A
//! callback must not return in a forked child, where the call would wait forever for a thread of the parent. A program
//! must not open the database with another copy of SQLite, such as its own: POSIX locks are lost when one of the two
//! closes the file.
//!
//! C++ and signals. A callback must return: it must not throw or longjmp. A signal handler must not call the library.
//!
//! Growth. Later versions may add statuses (have a default in a switch), functions, and members at the end of options
//! structs. Nothing in this header changes its meaning within a major version (before 1.0: a minor version).

#![allow(non_camel_case_types, reason = "a type has one name in Rust and in C")]
#![allow(
    missing_debug_implementations,
    clippy::missing_safety_doc,
    reason = "for C, whose header says both at its top"
)]
#![deny(unsafe_op_in_unsafe_fn)]
#![allow(unsafe_code, reason = "raw pointers are what C has; `boundary` turns them into references")]

mod boundary;
mod c_text;
mod callback_storage;
mod callback_upload;
mod location;
mod sink;

// In the order of the header.
pub mod callbacks;
pub mod conformance;
pub mod key;
pub mod many;
pub mod options;
pub mod reader;
pub mod records;
pub mod rotation;
pub mod status;
pub mod storage;
pub mod store;
pub mod transfer;
pub mod verify;
pub mod version;
pub mod writer;

#[cfg(test)]
mod tests;
