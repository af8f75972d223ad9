// Strongroom for C++17: strongroom.h with handles that free themselves, exceptions or results, and iostreams.
//
//     namespace sr = strongroompp;
//
//     sr::store store = sr::store::open("records.db");
//     const sr::record_key key = store.store("user:42:passport", "scanned pages");
//     const sr::secret pages = store.retrieve("user:42:passport", key);
//     std::cout << pages.view() << '\n';
//
// Each function does what the C function of its name does, and strongroom.h documents it: its conventions on threads,
// processes, memory and growth hold here, too. These have other names: in_namespace (strongroom_namespace), remove
// (strongroom_delete), stats (strongroom_get_stats), unrotated_count (strongroom_get_unrotated_count) and the verify of a
// path (strongroom_verify_path). A function with options is an overload or has a default argument, instead of a name
// with _with. The header is all; a program links the C library.
//
// Failures. A function throws strongroompp::error, a std::runtime_error with the status. In the types of
// strongroompp::nothrow, the same functions return a strongroompp::result instead, which has the value or the error:
//
//     sr::result<sr::nothrow::store> store = sr::nothrow::store::open("records.db");
//     if (!store)
//         return store.error().status();
//     sr::result<sr::record_key> key = store->store("id", "data");
//
// Functions outside of these types take the choice as a template argument: sr::record_key::generate<sr::nothrow>().
// With -fno-exceptions only the second form compiles, and the iostreams record_istream and record_ostream are missing.
// Exceptions of the caller's own functions and streams pass through in both forms, after the call has failed.
//
// Handles, keys and data only move; what is moved from is empty, and the library refuses it. Keys, texts of keys and data
// are wiped when they are destroyed. Inputs are views: strings, string views, vectors and arrays of bytes, or a pointer
// and a length; they are not used after the call.

#ifndef STRONGROOM_HPP
#define STRONGROOM_HPP

#include <strongroom.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <istream>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <streambuf>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define STRONGROOM_HAS_EXCEPTIONS 1
#else
#define STRONGROOM_HAS_EXCEPTIONS 0
#endif

namespace strongroompp {

// ---- Failures -------------------------------------------------------------------------------------------------------

/// The failure of a call. It never shows an id, a key or data.
class error : public std::runtime_error {
  public:
    explicit error(const strongroom_error &details) : std::runtime_error(details.message), status_(details.status) {}
    explicit error(strongroom_status status)
        : std::runtime_error(strongroom_status_message(static_cast<int>(status))), status_(status) {}

    strongroom_status status() const noexcept { return status_; }
    /// The status as text, such as "NotFound".
    const char *name() const noexcept { return strongroom_status_name(static_cast<int>(status_)); }

  private:
    strongroom_status status_;
};

/// A value, or the error in its place. Access to the one that is missing ends the program.
template <class T> class [[nodiscard]] result {
  public:
    result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    result(strongroompp::error failure) : state_(std::in_place_index<1>, std::move(failure)) {}

    bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    T &value() & { return required(std::get_if<0>(&state_)); }
    const T &value() const & { return required(std::get_if<0>(&state_)); }
    T &&value() && { return std::move(required(std::get_if<0>(&state_))); }
    T &operator*() & { return value(); }
    const T &operator*() const & { return value(); }
    T &&operator*() && { return std::move(*this).value(); }
    T *operator->() { return &value(); }
    const T *operator->() const { return &value(); }
    const strongroompp::error &error() const { return required(std::get_if<1>(&state_)); }

  private:
    template <class V> static V &required(V *found) {
        if (found == nullptr)
            std::abort();
        return *found;
    }

    std::variant<T, strongroompp::error> state_;
};

/// Success, or an error.
template <> class [[nodiscard]] result<void> {
  public:
    result() = default;
    result(strongroompp::error failure) : error_(std::move(failure)) {}

    bool has_value() const noexcept { return !error_.has_value(); }
    explicit operator bool() const noexcept { return has_value(); }
    const strongroompp::error &error() const {
        if (!error_)
            std::abort();
        return *error_;
    }

  private:
    std::optional<strongroompp::error> error_;
};

template <class P> class basic_store;
template <class P> class basic_reader;
template <class P> class basic_writer;

/// The form in which failures are exceptions.
struct throwing {
    template <class T> using type = T;

    template <class T> static T outcome(strongroom_status status, const strongroom_error &details, T value) {
        check<T>(status, details);
        return value;
    }

    template <class T = void> static void outcome(strongroom_status status, const strongroom_error &details) {
        check<T>(status, details);
    }

  private:
    template <class T> static void check(strongroom_status status, const strongroom_error &details) {
#if STRONGROOM_HAS_EXCEPTIONS
        if (status != STRONGROOM_OK)
            throw error(details);
#else
        static_assert(sizeof(T *) == 0, "without exceptions, use strongroompp::nothrow");
        static_cast<void>(status), static_cast<void>(details);
#endif
    }
};

/// The form in which failures are results.
struct nothrow {
    using store = basic_store<nothrow>;
    using reader = basic_reader<nothrow>;
    using writer = basic_writer<nothrow>;

    template <class T> using type = result<T>;

    template <class T> static result<T> outcome(strongroom_status status, const strongroom_error &details, T value) {
        if (status != STRONGROOM_OK)
            return error(details);
        return result<T>(std::move(value));
    }

    template <class T = void> static result<void> outcome(strongroom_status status, const strongroom_error &details) {
        if (status != STRONGROOM_OK)
            return error(details);
        return {};
    }
};

using store = basic_store<throwing>;
using reader = basic_reader<throwing>;
using writer = basic_writer<throwing>;

namespace detail {

/// Runs a function of the caller below C, which no exception may cross.
class guard {
  public:
    template <class R, class F> R run(R failed, const F &function) noexcept {
#if STRONGROOM_HAS_EXCEPTIONS
        try {
            return function();
        } catch (...) {
            caught_ = std::current_exception();
            return failed;
        }
#else
        static_cast<void>(failed);
        return function();
#endif
    }

    void rethrow() const {
#if STRONGROOM_HAS_EXCEPTIONS
        if (caught_)
            std::rethrow_exception(caught_);
#endif
    }

  private:
    std::exception_ptr caught_;
};

/// Calls a C function that has no result.
template <class P, class F> typename P::template type<void> call(const F &function, const guard *callbacks = nullptr) {
    strongroom_error details;
    const strongroom_status status = function(&details);
    if (callbacks != nullptr)
        callbacks->rethrow();
    return P::outcome(status, details);
}

/// Calls a C function that fills a T.
template <class P, class T, class F>
typename P::template type<T> get(const F &function, const guard *callbacks = nullptr) {
    T value{};
    strongroom_error details;
    const strongroom_status status = function(value, &details);
    if (callbacks != nullptr)
        callbacks->rethrow();
    return P::template outcome<T>(status, details, std::move(value));
}

/// The elements of a container of contiguous elements, or void.
template <class C, class = void> struct element { using type = void; };
template <class C>
struct element<C, std::void_t<decltype(std::data(std::declval<const C &>())), decltype(std::size(std::declval<const C &>()))>> {
    using type = std::remove_cv_t<std::remove_pointer_t<decltype(std::data(std::declval<const C &>()))>>;
};

template <class T>
constexpr bool is_byte = std::is_same_v<T, char> || std::is_same_v<T, signed char> ||
                         std::is_same_v<T, unsigned char> || std::is_same_v<T, std::byte>;

/// An array of char is text, with a NUL byte.
template <class C>
constexpr bool is_bytes = is_byte<typename element<C>::type> && !std::is_same_v<std::remove_extent_t<C>, char>;

} // namespace detail

// ---- Inputs and data ------------------------------------------------------------------------------------------------

/// Bytes of the caller: an id, a name, data.
class bytes_view {
  public:
    bytes_view(const void *data, std::size_t size) noexcept : data_(data), size_(size) {}
    /// Text, up to its NUL byte.
    bytes_view(const char *text) noexcept : data_(text), size_(std::strlen(text)) {}
    template <class C, class = std::enable_if_t<detail::is_bytes<C>>>
    bytes_view(const C &bytes) noexcept : data_(std::data(bytes)), size_(std::size(bytes)) {}

    const void *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

  private:
    const void *data_;
    std::size_t size_;
};

/// Data from a record, which is wiped when it is destroyed.
class secret {
  public:
    secret() = default;
    explicit secret(const strongroom_buffer &buffer) noexcept : buffer_(buffer) {}
    secret(secret &&other) noexcept : buffer_(std::exchange(other.buffer_, {nullptr, 0})) {}
    secret &operator=(secret &&other) noexcept {
        if (this != &other)
            *out() = std::exchange(other.buffer_, {nullptr, 0});
        return *this;
    }
    ~secret() { strongroom_buffer_free(&buffer_); }

    const std::uint8_t *data() const noexcept { return buffer_.data; }
    std::size_t size() const noexcept { return buffer_.len; }
    bool empty() const noexcept { return buffer_.len == 0; }
    const std::uint8_t *begin() const noexcept { return buffer_.data; }
    const std::uint8_t *end() const noexcept { return buffer_.data + buffer_.len; }
    /// The data as text; it is valid as long as this is, and a copy of it is not wiped.
    std::string_view view() const noexcept { return {reinterpret_cast<const char *>(buffer_.data), buffer_.len}; }

    /// For C functions that fill it.
    strongroom_buffer *out() noexcept {
        strongroom_buffer_free(&buffer_);
        return &buffer_;
    }

  private:
    strongroom_buffer buffer_ = {nullptr, 0};
};

// ---- Keys -----------------------------------------------------------------------------------------------------------

/// A key as text, which is wiped when it is destroyed.
class key_text {
  public:
    key_text() = default;
    key_text(key_text &&other) noexcept : text_(other.text_) { other.wipe(); }
    key_text &operator=(key_text &&other) noexcept {
        if (this != &other) {
            text_ = other.text_;
            other.wipe();
        }
        return *this;
    }
    ~key_text() { wipe(); }

    const char *c_str() const noexcept { return text_.data(); }
    std::string_view view() const noexcept { return text_.data(); }
    char *out() noexcept { return text_.data(); }

  private:
    void wipe() noexcept { strongroom_wipe(text_.data(), text_.size()); }

    std::array<char, STRONGROOM_KEY_TEXT_SIZE> text_{};
};

namespace detail {

struct record_key_functions {
    using raw = strongroom_record_key;
    static constexpr auto generate = strongroom_record_key_generate;
    static constexpr auto from_bytes = strongroom_record_key_from_bytes;
    static constexpr auto from_text = strongroom_record_key_from_text;
    static constexpr auto to_text = strongroom_record_key_to_text;
    static constexpr auto equal = strongroom_record_key_equal;
};

struct index_key_functions {
    using raw = strongroom_index_key;
    static constexpr auto generate = strongroom_index_key_generate;
    static constexpr auto from_bytes = strongroom_index_key_from_bytes;
    static constexpr auto from_text = strongroom_index_key_from_text;
    static constexpr auto to_text = strongroom_index_key_to_text;
    static constexpr auto equal = strongroom_index_key_equal;
};

} // namespace detail

/// A key. It is wiped when it is destroyed; an empty one is no key, and opens nothing.
template <class Functions> class basic_key {
  public:
    using raw_type = typename Functions::raw;

    basic_key() = default;
    explicit basic_key(const raw_type &raw) noexcept : raw_(raw) {}
    basic_key(basic_key &&other) noexcept : raw_(other.raw_) { other.wipe(); }
    basic_key &operator=(basic_key &&other) noexcept {
        if (this != &other) {
            raw_ = other.raw_;
            other.wipe();
        }
        return *this;
    }
    ~basic_key() { wipe(); }

    template <class P = throwing> static typename P::template type<basic_key> generate() {
        return detail::get<P, basic_key>([](basic_key &key, strongroom_error *details) {
            return Functions::generate(&key.raw_, details);
        });
    }
    template <class P = throwing> static typename P::template type<basic_key> from_bytes(bytes_view bytes) {
        return detail::get<P, basic_key>([&](basic_key &key, strongroom_error *details) {
            return Functions::from_bytes(bytes.data(), bytes.size(), &key.raw_, details);
        });
    }
    template <class P = throwing> static typename P::template type<basic_key> from_text(std::string_view text) {
        return detail::get<P, basic_key>([&](basic_key &key, strongroom_error *details) {
            return Functions::from_text(text.data(), text.size(), &key.raw_, details);
        });
    }
    template <class P = throwing> typename P::template type<key_text> to_text() const {
        return detail::get<P, key_text>([&](key_text &text, strongroom_error *details) {
            return Functions::to_text(&raw_, text.out(), details);
        });
    }

    /// Another copy of the key. Each copy is a further place from which the key can leak.
    basic_key duplicate() const noexcept { return basic_key(raw_); }

    bytes_view bytes() const noexcept { return {raw_.bytes, sizeof raw_.bytes}; }
    const raw_type *raw() const noexcept { return &raw_; }
    raw_type *out() noexcept { return &raw_; }

    /// In constant time. Empty keys equal nothing.
    friend bool operator==(const basic_key &a, const basic_key &b) noexcept { return Functions::equal(&a.raw_, &b.raw_); }
    friend bool operator!=(const basic_key &a, const basic_key &b) noexcept { return !(a == b); }

  private:
    void wipe() noexcept { strongroom_wipe(&raw_, sizeof raw_); }

    raw_type raw_{};
};

using record_key = basic_key<detail::record_key_functions>;
using index_key = basic_key<detail::index_key_functions>;

// ---- Options --------------------------------------------------------------------------------------------------------

/// How to open a store: strongroom_options. Index keys are not copied: they must live until the store is open.
///
///     sr::store::open("records.db", sr::options().index_key_file("/run/secrets/index-key").must_exist());
class options {
  public:
    options &must_exist() { return flag(STRONGROOM_MUST_EXIST); }
    options &relaxed_durability() { return flag(STRONGROOM_RELAXED_DURABILITY); }
    options &read_only() { return flag(STRONGROOM_READ_ONLY); }
    options &pad() { return flag(STRONGROOM_PAD); }
    options &index_key(const strongroompp::index_key &key) { return set(index_key_, key.raw()); }
    options &index_key(strongroompp::index_key &&) = delete;
    options &index_key_file(std::string path) { return set(index_key_file_, std::move(path)); }
    options &previous_index_key(const strongroompp::index_key &key) { return set(previous_index_key_, key.raw()); }
    options &previous_index_key(strongroompp::index_key &&) = delete;
    options &previous_index_key_file(std::string path) { return set(previous_index_key_file_, std::move(path)); }
    options &token_file(std::string path) { return set(token_file_, std::move(path)); }
    options &authorities_file(std::string path) { return set(authorities_file_, std::move(path)); }
    options &client_certificate_file(std::string path) { return set(client_certificate_file_, std::move(path)); }
    options &client_key_file(std::string path) { return set(client_key_file_, std::move(path)); }
    options &revocations_file(std::string path) { return set(revocations_file_, std::move(path)); }
    /// 0 means 30 seconds; a negative one is 1 ms.
    options &timeout(std::chrono::milliseconds timeout) {
        return set(timeout_, timeout.count() < 0 ? 1u : static_cast<std::uint64_t>(timeout.count()));
    }

    /// The same for C, valid as long as this and its keys.
    strongroom_options raw() const {
        strongroom_options raw{};
        raw.size = sizeof raw;
        raw.flags = flags_;
        raw.index_key = index_key_;
        raw.index_key_file = path(index_key_file_);
        raw.token_file = path(token_file_);
        raw.authorities_file = path(authorities_file_);
        raw.client_certificate_file = path(client_certificate_file_);
        raw.client_key_file = path(client_key_file_);
        raw.revocations_file = path(revocations_file_);
        raw.timeout = timeout_;
        raw.previous_index_key = previous_index_key_;
        raw.previous_index_key_file = path(previous_index_key_file_);
        return raw;
    }

  private:
    // Not std::optional, of which GNU C++ warns here with sanitizers.
    struct file {
        file() = default;
        file(std::string given) : path(std::move(given)), is_given(true) {}
        std::string path;
        bool is_given = false;
    };

    static const char *path(const file &file) { return file.is_given ? file.path.c_str() : nullptr; }
    options &flag(std::uint64_t flag) { return set(flags_, flags_ | flag); }
    template <class T, class V> options &set(T &member, V &&value) {
        member = std::forward<V>(value);
        return *this;
    }

    std::uint64_t flags_ = 0, timeout_ = 0;
    const strongroom_index_key *index_key_ = nullptr, *previous_index_key_ = nullptr;
    file index_key_file_, previous_index_key_file_, token_file_, authorities_file_, client_certificate_file_,
        client_key_file_, revocations_file_;
};

/// How to write a record: strongroom_write_options. The key is not copied: it must live until the record is written.
///
///     store.store("id", data, sr::write_options().key(key).expires_in(std::chrono::hours(24)).pad());
class write_options {
  public:
    write_options() noexcept { raw_.size = sizeof raw_; }

    write_options &key(const record_key &key) {
        raw_.key = key.raw();
        return *this;
    }
    write_options &key(record_key &&) = delete;
    /// Fractions of a second are rounded up.
    write_options &expires_at(std::chrono::system_clock::time_point time) {
        raw_.expires_at = seconds(std::chrono::ceil<std::chrono::seconds>(time.time_since_epoch()));
        return *this;
    }
    write_options &expires_in(std::chrono::seconds time) {
        if (time.count() > 0)
            raw_.expires_in = seconds(time);
        else
            raw_.expires_at = 1; // past, which the library refuses
        return *this;
    }
    write_options &pad() {
        raw_.pad = 1;
        return *this;
    }

    const strongroom_write_options *raw() const noexcept { return &raw_; }

  private:
    /// 0 would mean never; 1970 is past in any case.
    static std::uint64_t seconds(std::chrono::seconds time) {
        return time.count() < 1 ? 1 : static_cast<std::uint64_t>(time.count());
    }

    strongroom_write_options raw_{};
};

/// How to search for damage.
struct verify_options {
    bool records_only = false;
    /// The most bytes of records to check per second. 0 for no limit.
    std::uint64_t bytes_per_second = 0;
    /// Where to start: `next` of an earlier step, or a locator.
    std::optional<std::string> start_at{};
    /// Gets each step; false stops the search.
    std::function<bool(const strongroom_verify_step &)> step{};
};

namespace detail {

struct visitor {
    const std::function<bool(const strongroom_verify_step &)> &step;
    detail::guard guard;

    static int visit(void *context, const strongroom_verify_step *step) noexcept {
        visitor &self = *static_cast<visitor *>(context);
        return self.guard.run(1, [&] { return !self.step || self.step(*step) ? 0 : 1; });
    }
};

/// The report of a search; `function` begins it with the arguments after the store's.
template <class P, class F>
typename P::template type<strongroom_verify_report> verify(const verify_options &options, const F &function) {
    strongroom_verify_options raw_options{};
    raw_options.size = sizeof raw_options;
    raw_options.flags = options.records_only ? STRONGROOM_RECORDS_ONLY : 0;
    raw_options.bytes_per_second = options.bytes_per_second;
    raw_options.start_at = options.start_at ? options.start_at->c_str() : nullptr;
    visitor visitor{options.step, {}};
    const auto search = [&](strongroom_verify_report &report, strongroom_error *details) {
        return function(&raw_options, &visitor::visit, &visitor, &report, details);
    };
    return get<P, strongroom_verify_report>(search, &visitor.guard);
}

} // namespace detail

// ---- Readers and writers --------------------------------------------------------------------------------------------

/// A record that is read piece by piece, from any position.
template <class P> class basic_reader {
  public:
    template <class T> using type = typename P::template type<T>;

    basic_reader() = default;
    explicit basic_reader(strongroom_reader *handle) noexcept : handle_(handle) {}

    /// The number of bytes that were read: 0 at the end.
    type<std::size_t> read(void *data, std::size_t size) {
        return detail::get<P, std::size_t>([&](std::size_t &len, strongroom_error *details) {
            return strongroom_reader_read(raw(), data, size, &len, details);
        });
    }
    type<void> seek(std::uint64_t position) {
        return detail::call<P>(
            [&](strongroom_error *details) { return strongroom_reader_seek(raw(), position, details); });
    }
    /// The length of the data.
    type<std::uint64_t> size() {
        return detail::get<P, std::uint64_t>(
            [&](std::uint64_t &len, strongroom_error *details) { return strongroom_reader_len(raw(), &len, details); });
    }

    strongroom_reader *raw() const noexcept { return handle_.get(); }

  private:
    struct free {
        void operator()(strongroom_reader *handle) const noexcept { strongroom_reader_free(handle); }
    };
    std::unique_ptr<strongroom_reader, free> handle_;
};

/// A record that is written piece by piece. Without finish(), nothing is stored.
template <class P> class basic_writer {
  public:
    template <class T> using type = typename P::template type<T>;

    basic_writer() = default;
    explicit basic_writer(strongroom_writer *handle) noexcept : handle_(handle) {}

    type<void> write(bytes_view data) {
        return detail::call<P>([&](strongroom_error *details) {
            return strongroom_writer_write(raw(), data.data(), data.size(), details);
        });
    }
    /// The record's key, to be written down before the record is finished.
    type<record_key> key() const {
        return detail::get<P, record_key>([&](record_key &key, strongroom_error *details) {
            return strongroom_writer_key(raw(), key.out(), details);
        });
    }
    type<record_key> finish() {
        return detail::get<P, record_key>([&](record_key &key, strongroom_error *details) {
            return strongroom_writer_finish(raw(), key.out(), details);
        });
    }

    strongroom_writer *raw() const noexcept { return handle_.get(); }

  private:
    struct free {
        void operator()(strongroom_writer *handle) const noexcept { strongroom_writer_free(handle); }
    };
    std::unique_ptr<strongroom_writer, free> handle_;
};

// ---- Stores ---------------------------------------------------------------------------------------------------------

/// An id and the data to store under it.
struct item {
    bytes_view id, data;
};

/// An id and the key of its record, which is not copied.
struct request {
    bytes_view id;
    const record_key *key;
};

/// The name of a record in a storage, which tells nothing about its id.
using locator = std::array<std::uint8_t, 32>;

namespace detail {

inline std::vector<locator> locators(const secret &bytes) {
    std::vector<locator> found(bytes.size() / sizeof(locator));
    for (std::size_t i = 0; i < found.size(); i++)
        std::memcpy(found[i].data(), bytes.data() + sizeof(locator) * i, sizeof(locator));
    return found;
}

} // namespace detail

/// The result of repair_from.
struct repaired {
    std::uint64_t restored = 0, lost = 0;
};

/// A store of encrypted records. All threads of a program can share it; it is closed when it is destroyed.
template <class P> class basic_store {
  public:
    template <class T> using type = typename P::template type<T>;

    basic_store() = default;
    explicit basic_store(strongroom *handle) noexcept : handle_(handle) {}

    static type<basic_store> open(const std::string &path, const options &options = {}) {
        return make(options, [&](const strongroom_options &raw, strongroom **result, strongroom_error *details) {
            return strongroom_open(path.c_str(), &raw, result, details);
        });
    }
    /// A store in a storage of callbacks.
    static type<basic_store> open_storage(const strongroom_storage_callbacks &storage, const options &options) {
        return make(options, [&](const strongroom_options &raw, strongroom **result, strongroom_error *details) {
            return strongroom_open_storage(&storage, &raw, result, details);
        });
    }
    static type<basic_store> connect(const std::string &url, const options &options = {}) {
        return make(options, [&](const strongroom_options &raw, strongroom **result, strongroom_error *details) {
            return strongroom_connect(url.c_str(), &raw, result, details);
        });
    }
    /// Closes the store, and tells whether that failed, as the destructor cannot.
    type<void> close() {
        return detail::call<P>([&](strongroom_error *details) { return strongroom_close(handle_.release(), details); });
    }

    /// The same store with the ids of a namespace.
    type<basic_store> in_namespace(bytes_view name) const {
        return handle<basic_store, strongroom>([&](strongroom **store, strongroom_error *details) {
            return strongroom_namespace(raw(), name.data(), name.size(), store, details);
        });
    }

    type<record_key> store(bytes_view id, bytes_view data, const write_options &options = {}) const {
        return key([&](strongroom_record_key *key, strongroom_error *details) {
            return strongroom_store_with(raw(), id.data(), id.size(), data.data(), data.size(), options.raw(), key,
                                         details);
        });
    }
    type<secret> retrieve(bytes_view id, const record_key &key) const {
        return detail::get<P, secret>([&](secret &data, strongroom_error *details) {
            return strongroom_retrieve(raw(), id.data(), id.size(), key.raw(), data.out(), details);
        });
    }
    /// Into memory of the caller; gives the length. STRONGROOM_TOO_LARGE if the data does not fit.
    type<std::size_t> retrieve_into(bytes_view id, const record_key &key, void *data, std::size_t size) const {
        return detail::get<P, std::size_t>([&](std::size_t &len, strongroom_error *details) {
            return strongroom_retrieve_into(raw(), id.data(), id.size(), key.raw(), data, size, &len, details);
        });
    }
    type<secret> retrieve_range(bytes_view id, const record_key &key, std::uint64_t offset, std::size_t len) const {
        return detail::get<P, secret>([&](secret &data, strongroom_error *details) {
            return strongroom_retrieve_range(raw(), id.data(), id.size(), key.raw(), offset, len, data.out(), details);
        });
    }
    type<secret> take(bytes_view id, const record_key &key) const {
        return detail::get<P, secret>([&](secret &data, strongroom_error *details) {
            return strongroom_take(raw(), id.data(), id.size(), key.raw(), data.out(), details);
        });
    }
    type<record_key> replace(bytes_view id, const record_key &old_key, bytes_view data,
                             const write_options &options = {}) const {
        return key([&](strongroom_record_key *key, strongroom_error *details) {
            return strongroom_replace_with(raw(), id.data(), id.size(), old_key.raw(), data.data(), data.size(),
                                           options.raw(), key, details);
        });
    }
    type<record_key> rekey(bytes_view id, const record_key &old_key, const write_options &options = {}) const {
        return key([&](strongroom_record_key *key, strongroom_error *details) {
            return strongroom_rekey(raw(), id.data(), id.size(), old_key.raw(), options.raw(), key, details);
        });
    }
    /// strongroom_delete: `delete` is a keyword.
    type<void> remove(bytes_view id, const record_key &key) const {
        return detail::call<P>([&](strongroom_error *details) {
            return strongroom_delete(raw(), id.data(), id.size(), key.raw(), details);
        });
    }
    /// Without the key; gives whether there was a record.
    type<bool> erase(bytes_view id) const {
        return detail::get<P, bool>([&](bool &erased, strongroom_error *details) {
            return strongroom_erase(raw(), id.data(), id.size(), &erased, details);
        });
    }
    type<bool> contains(bytes_view id) const {
        return detail::get<P, bool>([&](bool &found, strongroom_error *details) {
            return strongroom_contains(raw(), id.data(), id.size(), &found, details);
        });
    }

    /// All or none. `options` is empty, or has one for each item.
    type<std::vector<record_key>> store_many(const std::vector<item> &items,
                                             const std::vector<write_options> &options = {}) const {
        std::vector<strongroom_item> raw_items;
        for (const item &item : items)
            raw_items.push_back({item.id.data(), item.id.size(), item.data.data(), item.data.size()});
        std::vector<const strongroom_write_options *> raw_options;
        for (const write_options &one : options)
            raw_options.push_back(one.raw());
        raw_options.resize(items.size()); // without options, NULL for each item
        std::vector<strongroom_record_key> raw_keys(items.size());
        auto stored = detail::get<P, std::vector<record_key>>([&](std::vector<record_key> &keys,
                                                                  strongroom_error *details) {
            keys.reserve(items.size());
            if (!options.empty() && options.size() != items.size()) {
                *details = {STRONGROOM_INVALID_ARGUMENT, "options must be empty, or have one for each item"};
                return details->status;
            }
            const strongroom_status status = strongroom_store_many_with(raw(), raw_items.data(), raw_items.size(),
                                                                        raw_options.data(), raw_keys.data(), details);
            if (status == STRONGROOM_OK)
                for (const strongroom_record_key &key : raw_keys)
                    keys.emplace_back(key);
            return status;
        });
        strongroom_wipe(raw_keys.data(), raw_keys.size() * sizeof(strongroom_record_key));
        return stored;
    }
    /// Each with its own outcome, in the same order.
    type<std::vector<result<secret>>> retrieve_many(const std::vector<request> &requests) const {
        std::vector<strongroom_request> raw_requests;
        for (const request &request : requests)
            raw_requests.push_back(
                {request.id.data(), request.id.size(), request.key == nullptr ? nullptr : request.key->raw()});
        std::vector<strongroom_result> raw_results(requests.size());
        return detail::get<P, std::vector<result<secret>>>([&](std::vector<result<secret>> &results,
                                                               strongroom_error *details) {
            results.reserve(requests.size());
            const strongroom_status status = strongroom_retrieve_many(raw(), raw_requests.data(), raw_requests.size(),
                                                                      raw_results.data(), details);
            if (status == STRONGROOM_OK)
                for (const strongroom_result &found : raw_results) {
                    secret data(found.data);
                    if (found.status == STRONGROOM_OK)
                        results.emplace_back(std::move(data));
                    else
                        results.emplace_back(error(found.status));
                }
            return status;
        });
    }

    type<basic_writer<P>> create_record(bytes_view id, const write_options &options = {}) const {
        return handle<basic_writer<P>, strongroom_writer>([&](strongroom_writer **result, strongroom_error *details) {
            return strongroom_create_record_with(raw(), id.data(), id.size(), options.raw(), result, details);
        });
    }
    type<basic_writer<P>> replace_record(bytes_view id, const record_key &old_key,
                                         const write_options &options = {}) const {
        return handle<basic_writer<P>, strongroom_writer>([&](strongroom_writer **result, strongroom_error *details) {
            return strongroom_replace_record_with(raw(), id.data(), id.size(), old_key.raw(), options.raw(), result,
                                                  details);
        });
    }
    type<basic_reader<P>> open_record(bytes_view id, const record_key &key) const {
        return handle<basic_reader<P>, strongroom_reader>([&](strongroom_reader **result, strongroom_error *details) {
            return strongroom_open_record(raw(), id.data(), id.size(), key.raw(), result, details);
        });
    }
    type<basic_reader<P>> take_record(bytes_view id, const record_key &key) const {
        return handle<basic_reader<P>, strongroom_reader>([&](strongroom_reader **result, strongroom_error *details) {
            return strongroom_take_record(raw(), id.data(), id.size(), key.raw(), result, details);
        });
    }

    /// Stores the rest of a stream.
    type<record_key> store_stream(bytes_view id, std::istream &from, const write_options &options = {}) const {
        source taken{from, {}};
        const auto write = [&](strongroom_record_key *key, strongroom_error *details) {
            return strongroom_store_stream_with(raw(), id.data(), id.size(), source::read, &taken, options.raw(), key,
                                                details);
        };
        return key(write, &taken.guard);
    }
    /// Replaces a record by the rest of a stream.
    type<record_key> replace_stream(bytes_view id, const record_key &old_key, std::istream &from,
                                    const write_options &options = {}) const {
        source taken{from, {}};
        const auto write = [&](strongroom_record_key *key, strongroom_error *details) {
            return strongroom_replace_stream_with(raw(), id.data(), id.size(), old_key.raw(), source::read, &taken,
                                                  options.raw(), key, details);
        };
        return key(write, &taken.guard);
    }
    /// Writes the data to a stream. After a failure, the stream has only its beginning.
    type<void> retrieve_stream(bytes_view id, const record_key &key, std::ostream &to) const {
        sink given{to, {}};
        const auto read = [&](strongroom_error *details) {
            return strongroom_retrieve_stream(raw(), id.data(), id.size(), key.raw(), sink::write, &given, details);
        };
        return detail::call<P>(read, &given.guard);
    }

    type<void> maintain() const {
        return detail::call<P>([&](strongroom_error *details) { return strongroom_maintain(raw(), details); });
    }
    /// Gives the number of removed records.
    type<std::uint64_t> purge(std::uint64_t limit) const {
        return detail::get<P, std::uint64_t>([&](std::uint64_t &purged, strongroom_error *details) {
            return strongroom_purge(raw(), limit, &purged, details);
        });
    }
    /// Gives the number of bytes that were returned to the operating system.
    type<std::uint64_t> compact(std::uint64_t limit) const {
        return detail::get<P, std::uint64_t>([&](std::uint64_t &compacted, strongroom_error *details) {
            return strongroom_compact(raw(), limit, &compacted, details);
        });
    }
    type<strongroom_stats> stats() const {
        return detail::get<P, strongroom_stats>([&](strongroom_stats &stats, strongroom_error *details) {
            return strongroom_get_stats(raw(), &stats, details);
        });
    }
    type<std::uint64_t> unrotated_count(std::uint64_t limit) const {
        return detail::get<P, std::uint64_t>([&](std::uint64_t &count, strongroom_error *details) {
            return strongroom_get_unrotated_count(raw(), limit, &count, details);
        });
    }
    /// At most `limit` locators of records under the previous index key.
    type<std::vector<locator>> list_unrotated(std::uint64_t limit) const {
        return detail::get<P, std::vector<locator>>([&](std::vector<locator> &found, strongroom_error *details) {
            secret bytes;
            const strongroom_status status = strongroom_list_unrotated(raw(), limit, bytes.out(), details);
            found = detail::locators(bytes);
            return status;
        });
    }
    /// Tells whether there was a record.
    type<bool> erase_unrotated(const locator &at) const {
        return detail::get<P, bool>([&](bool &erased, strongroom_error *details) {
            return strongroom_erase_unrotated(raw(), at.data(), &erased, details);
        });
    }
    type<void> begin_rotation() const {
        return detail::call<P>([&](strongroom_error *details) { return strongroom_begin_rotation(raw(), details); });
    }
    type<void> finish_rotation() const {
        return detail::call<P>([&](strongroom_error *details) { return strongroom_finish_rotation(raw(), details); });
    }
    type<strongroom_verify_report> verify(const verify_options &options = {}) const {
        return detail::verify<P>(options, [&](const auto &...search) { return strongroom_verify(raw(), search...); });
    }
    type<repaired> repair_from(const basic_store &copy) const {
        return detail::get<P, repaired>([&](repaired &found, strongroom_error *details) {
            return strongroom_repair_from(raw(), copy.raw(), &found.restored, &found.lost, details);
        });
    }

    strongroom *raw() const noexcept { return handle_.get(); }

  private:
    struct source {
        std::istream &stream;
        detail::guard guard;

        static std::ptrdiff_t read(void *context, void *data, std::size_t size) noexcept {
            source &self = *static_cast<source *>(context);
            const auto ended = [&] { return self.stream.eof() && !self.stream.bad(); };
            if (!self.stream.good())
                return ended() ? 0 : -1;
            const bool was_read = self.guard.run(false, [&] {
                self.stream.read(static_cast<char *>(data), static_cast<std::streamsize>(size));
                return true;
            });
            // A stream that throws at its end has ended all the same.
            if (!was_read && ended())
                self.guard = {};
            return self.stream.good() || ended() ? static_cast<std::ptrdiff_t>(self.stream.gcount()) : -1;
        }
    };

    struct sink {
        std::ostream &stream;
        detail::guard guard;

        static int write(void *context, const void *data, std::size_t len) noexcept {
            sink &self = *static_cast<sink *>(context);
            return self.guard.run(1, [&] {
                self.stream.write(static_cast<const char *>(data), static_cast<std::streamsize>(len));
                return self.stream.good() ? 0 : 1;
            });
        }
    };

    template <class F> static type<basic_store> make(const options &options, const F &function) {
        const strongroom_options raw = options.raw();
        return handle<basic_store, strongroom>(
            [&](strongroom **result, strongroom_error *details) { return function(raw, result, details); });
    }

    template <class T, class Raw, class F> static type<T> handle(const F &function) {
        return detail::get<P, T>([&](T &value, strongroom_error *details) {
            Raw *raw = nullptr;
            const strongroom_status status = function(&raw, details);
            value = T(raw);
            return status;
        });
    }

    template <class F> static type<record_key> key(const F &function, const detail::guard *callbacks = nullptr) {
        return detail::get<P, record_key>(
            [&](record_key &key, strongroom_error *details) { return function(key.out(), details); }, callbacks);
    }

    struct free {
        void operator()(strongroom *handle) const noexcept { strongroom_close(handle, nullptr); }
    };
    std::unique_ptr<strongroom, free> handle_;
};

// ---- Copies ---------------------------------------------------------------------------------------------------------

/// How to copy a store: strongroom_copy.
struct copy_options {
    options from{}, to{};
    bool mirror = false;
    std::uint32_t workers = 0;
};

/// Searches a store that is not open for damage, without its index key. The store's options are for services.
template <class P = throwing>
typename P::template type<strongroom_verify_report> verify(const std::string &path, const verify_options &how = {},
                                                           const options &opening = {}) {
    const strongroom_options raw = opening.raw();
    return detail::verify<P>(
        how, [&](const auto &...search) { return strongroom_verify_path(path.c_str(), &raw, search...); });
}

/// The result of a copy.
struct copied {
    strongroom_copied counts{};
    /// The locators of the records that were not copied.
    std::vector<locator> not_copied{};
};

/// Copies all records of a store to another place, without any key.
template <class P = throwing>
typename P::template type<copied> copy(const std::string &from, const std::string &to, const copy_options &how = {}) {
    return detail::get<P, copied>([&](copied &done, strongroom_error *details) {
        const strongroom_options raw_from = how.from.raw(), raw_to = how.to.raw();
        strongroom_copy_options raw{};
        raw.size = sizeof raw;
        raw.flags = how.mirror ? STRONGROOM_MIRROR : 0;
        raw.workers = how.workers;
        raw.from = &raw_from;
        raw.to = &raw_to;
        secret bytes;
        const strongroom_status status =
            strongroom_copy(from.c_str(), to.c_str(), &raw, &done.counts, bytes.out(), details);
        done.not_copied = detail::locators(bytes);
        return status;
    });
}

// ---- Streams --------------------------------------------------------------------------------------------------------

#if STRONGROOM_HAS_EXCEPTIONS

namespace detail {

/// A buffer of data, which is wiped.
class wiped_buffer {
  public:
    explicit wiped_buffer(std::size_t size) : bytes_(size) {}
    wiped_buffer(const wiped_buffer &) = delete;
    wiped_buffer &operator=(const wiped_buffer &) = delete;
    ~wiped_buffer() { strongroom_wipe(bytes_.data(), bytes_.size()); }

    char *begin() noexcept { return bytes_.data(); }
    char *end() noexcept { return bytes_.data() + bytes_.size(); }

  private:
    std::vector<char> bytes_;
};

constexpr std::size_t piece_len = 65536;

class reader_streambuf : public std::streambuf {
  public:
    explicit reader_streambuf(reader &&from) : reader_(std::move(from)) {}

  protected:
    int_type underflow() override {
        // The last character can be put back.
        char *const start = buffer_.begin() + 1, *first = start;
        if (egptr() != eback())
            *--first = egptr()[-1];
        setg(first, start, start);
        const std::size_t len = reader_.read(start, piece_len);
        position_ += len;
        setg(first, start, start + len);
        return len == 0 ? traits_type::eof() : traits_type::to_int_type(*gptr());
    }

    int_type pbackfail(int_type other) override {
        if (gptr() != eback())
            gbump(-1);
        else if (seekoff(-1, std::ios_base::cur, std::ios_base::in) == pos_type(off_type(-1)) ||
                 traits_type::eq_int_type(underflow(), traits_type::eof()))
            return traits_type::eof();
        if (!traits_type::eq_int_type(other, traits_type::eof()))
            *gptr() = traits_type::to_char_type(other);
        return traits_type::to_int_type(*gptr());
    }

    pos_type seekoff(off_type offset, std::ios_base::seekdir from, std::ios_base::openmode) override {
        const auto here = static_cast<off_type>(position_) - (egptr() - gptr());
        const off_type start = from == std::ios_base::beg   ? 0
                               : from == std::ios_base::cur ? here
                                                            : static_cast<off_type>(reader_.size());
        if (from == std::ios_base::cur && offset == 0)
            return here; // tellg()
        // A record on a server has the length that the server announces.
        if (start < 0 || offset < -start || offset > std::numeric_limits<off_type>::max() - start)
            return pos_type(off_type(-1));
        reader_.seek(static_cast<std::uint64_t>(start + offset));
        position_ = static_cast<std::uint64_t>(start + offset);
        setg(buffer_.begin(), buffer_.begin(), buffer_.begin());
        return start + offset;
    }

    pos_type seekpos(pos_type position, std::ios_base::openmode mode) override {
        return seekoff(off_type(position), std::ios_base::beg, mode);
    }

  private:
    reader reader_;
    /// The character that can be put back, and a piece.
    wiped_buffer buffer_{1 + piece_len};
    /// The reader's position: the end of the buffer.
    std::uint64_t position_ = 0;
};

class writer_streambuf : public std::streambuf {
  public:
    explicit writer_streambuf(writer &&to) : writer_(std::move(to)) { setp(buffer_.begin(), buffer_.end()); }

    record_key key() const { return writer_.key(); }
    record_key finish() {
        sync();
        return writer_.finish();
    }

  protected:
    int sync() override {
        const auto len = static_cast<std::size_t>(pptr() - pbase());
        setp(buffer_.begin(), buffer_.end()); // also after a failure, which is final
        writer_.write({buffer_.begin(), len});
        return 0;
    }

    int_type overflow(int_type next) override {
        sync();
        if (!traits_type::eq_int_type(next, traits_type::eof()))
            sputc(traits_type::to_char_type(next));
        return traits_type::not_eof(next);
    }

  private:
    writer writer_;
    wiped_buffer buffer_{piece_len};
};

} // namespace detail

/// A record as an input stream, from any position. A failure throws the error, so that altered data is never taken for
/// the end: exceptions() has std::ios_base::badbit, which the caller can clear to look at bad() instead.
///
///     sr::record_istream in(store.open_record("id", key));
///     for (std::string line; std::getline(in, line);)
///
/// The standard library catches the error in `to << in.rdbuf()` and `in >> to.rdbuf()`, which end early instead: use
/// retrieve_stream, or call in.clear() and in.peek() afterwards, which throws the error, and is EOF if no data is left.
class record_istream : public std::istream {
  public:
    explicit record_istream(reader &&from) : std::istream(nullptr), buffer_(std::move(from)) {
        rdbuf(&buffer_);
        exceptions(std::ios_base::badbit);
    }

  private:
    detail::reader_streambuf buffer_;
};

/// A record as an output stream. finish() stores the record and gives its key; a stream that is destroyed before stores
/// nothing. A failure throws the error: exceptions() has std::ios_base::badbit and failbit. After a failure, finish()
/// stores nothing.
///
///     sr::record_ostream out(store.create_record("id"));
///     out << "scanned pages";
///     const sr::record_key key = out.finish();
///
/// `out << from.rdbuf()` also throws the error of reading from `from`. The standard defines that it fails if there is
/// nothing to insert, and a missing file looks the same: it throws std::ios_base::failure. Leave out empty sources, or
/// use store_stream.
class record_ostream : public std::ostream {
  public:
    explicit record_ostream(writer &&to) : std::ostream(nullptr), buffer_(std::move(to)) {
        rdbuf(&buffer_);
        exceptions(std::ios_base::badbit | std::ios_base::failbit);
    }

    /// The record's key, to be written down before the record is finished.
    record_key key() const { return buffer_.key(); }
    /// Throws STRONGROOM_INVALID_ARGUMENT if the stream has failed, because a part of the data may be missing.
    record_key finish() {
        if (fail())
            throw error({STRONGROOM_INVALID_ARGUMENT, "an earlier write of this record failed: start it again"});
        return buffer_.finish();
    }

  private:
    detail::writer_streambuf buffer_;
};

#endif // STRONGROOM_HAS_EXCEPTIONS

} // namespace strongroompp

#endif // STRONGROOM_HPP
