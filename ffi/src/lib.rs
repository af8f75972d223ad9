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
//! Outcome. A function that can fail returns a strongroom_status: 0 is success. Its last parameter may take a
//! strongroom_error, in which a text tells more; it may be NULL. Outputs are written on success only, except where a
//! function says otherwise. No failure changes what is stored, unless the status says that this is not known.
//!
//! Parameters. The handle comes first, then inputs, then outputs. No pointer may be NULL where nothing is said: NULL is
//! answered with STRONGROOM_INVALID_ARGUMENT. Bytes and arrays are a pointer and a length; (NULL, 0) is a valid empty
//! one, to be read or to be filled. A length that no memory has, above PTRDIFF_MAX, is STRONGROOM_INVALID_ARGUMENT. What a
//! function writes to, the strongroom_error among it, overlaps none of its other parameters, except where it says so. An id
//! is any 1 to 4,096 bytes; text means its UTF-8 bytes, without a terminator. Paths are ended by a NUL byte. Lengths are
//! in bytes.
//!
//! Ownership. The library copies what it needs of its inputs before it returns. What it opens or makes (strongroom,
//! strongroom_writer, strongroom_reader) ends with its own close or free function, and the data in a strongroom_buffer
//! with strongroom_buffer_free, never with free(); all of these take NULL. Keys are plain structs of the caller's.
//!
//! Memory. The library wipes what it frees, but not the stacks of threads, on which pieces of data may stay. Keys and
//! copies of data in the caller's memory are the caller's to wipe: strongroom_wipe is not optimised away. Data for which
//! there is no memory is STRONGROOM_TOO_LARGE; any other lack of memory ends the process.
//!
//! Threads. A strongroom may be used from many threads at once; a writer or a reader, an options struct and a key that
//! is written to, by one thread at a time. Nothing may be in use by another thread while it is closed or freed.
//! Readers and writers may outlive their store: whatever needs it then answers STRONGROOM_CLOSED. A thread that calls
//! needs 64 KiB of stack. The library has threads of its own, for long records and for services. They block all signals
//! but those of their own faults (SIGSEGV and its like), so that the host's handlers run on the host's threads, and a service
//! that dies is an error and no SIGPIPE.
//!
//! Processes. Several processes may use one database. After fork(), what would touch a store that the parent opened is
//! STRONGROOM_FORKED in the child. It may free its copies, whose memory is then not given back, and yet can never open a
//! database if a database, or a reader or writer of one, was open at the fork. Open stores after forking, or call exec. A
//! program must not open the database with another copy of SQLite, such as its own: POSIX locks are lost when one of the
//! two closes the file.
//!
//! C++ and signals. A function that is given to the library must return: it must not throw or longjmp. No function may
//! be called from a signal handler.
//!
//! The interface grows: statuses (have a default in a switch), functions, and members at the end of options
//! structs may be added. Nothing that is in this header changes its meaning within a major version (before 1.0: a minor version).

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
mod location;

// In the order of the header.
pub mod callbacks;
pub mod key;
pub mod many;
pub mod options;
pub mod reader;
pub mod records;
pub mod status;
pub mod store;
pub mod version;
pub mod writer;

#[cfg(test)]
mod tests;
