// strongroom.hpp with exceptions: every function of a store, its streams, and that nothing but moves copies a secret.

#include "../c/testsupport.h"

#include <fstream>
#include <iterator>
#include <sstream>
#include <strongroom.hpp>
#include <sys/stat.h>
#include <thread>

#include "../../examples/table_storage.h"

namespace sr = strongroompp;
using namespace std::chrono_literals;

static_assert(!std::is_copy_constructible_v<sr::store> && !std::is_copy_assignable_v<sr::store>);
static_assert(!std::is_copy_constructible_v<sr::reader> && !std::is_copy_constructible_v<sr::writer>);
static_assert(!std::is_copy_constructible_v<sr::record_key> && !std::is_copy_assignable_v<sr::record_key>);
static_assert(!std::is_copy_constructible_v<sr::index_key> && !std::is_copy_constructible_v<sr::key_text>);
static_assert(!std::is_copy_constructible_v<sr::secret> && !std::is_copy_assignable_v<sr::secret>);
static_assert(std::is_nothrow_move_constructible_v<sr::secret> && std::is_nothrow_move_constructible_v<sr::record_key>);
static_assert(std::is_nothrow_move_constructible_v<sr::store> && std::is_base_of_v<std::runtime_error, sr::error>);
static_assert(!std::is_convertible_v<sr::record_key, sr::bytes_view> && !std::is_convertible_v<int[2], sr::bytes_view>);
static_assert(!std::is_convertible_v<std::vector<int>, sr::bytes_view>);

// The status with which `call` throws; STRONGROOM_OK if it does not.
template <class F> static strongroom_status thrown(const F &call) {
    try {
        call();
        return STRONGROOM_OK;
    } catch (const sr::error &error) {
        CHECK(error.what()[0] != 0 && std::string(error.name()) == strongroom_status_name(int(error.status())));
        return error.status();
    }
}

static void keys() {
    const sr::record_key key = sr::record_key::generate();
    const sr::key_text text = key.to_text();
    CHECK(text.view().substr(0, 4) == "srk1" && text.view().size() == 62 && text.c_str() == text.view());
    CHECK(sr::record_key::from_text(text.view()) == key && sr::record_key::from_bytes(key.bytes()) == key);
    CHECK(sr::record_key::generate() != key && key.duplicate() == key);
    CHECK(thrown([] { sr::record_key::from_text("srk1"); }) == STRONGROOM_INVALID_KEY);
    CHECK(thrown([] { sr::record_key::from_bytes("short"); }) == STRONGROOM_INVALID_KEY);
    sr::record_key from = key.duplicate();
    const sr::record_key to = std::move(from);
    CHECK(to == key && from != key && from != from); // NOLINT: it is wiped
    sr::record_key assigned = sr::record_key::generate();
    from = key.duplicate();
    assigned = std::move(from);
    CHECK(assigned == key && from != from); // NOLINT: it is wiped
    sr::key_text other_text = sr::record_key::generate().to_text(), moved_text = key.to_text();
    other_text = std::move(moved_text);
    CHECK(other_text.view() == text.view() && moved_text.view().empty()); // NOLINT: it is wiped
    const sr::index_key index_key = sr::index_key::generate();
    CHECK(sr::index_key::from_text(index_key.to_text().view()) == index_key);
    CHECK(thrown([&] { sr::index_key::from_text(text.view()); }) == STRONGROOM_INVALID_KEY);
}

static void records() {
    const sr::store store = sr::store::open("records.db");
    const std::string id = "id";
    const std::vector<std::uint8_t> data = {0, 1, 2, 0, 255};
    const sr::record_key key = store.store(id, data);
    sr::secret found = store.retrieve(id, key);
    CHECK(std::vector<std::uint8_t>(found.begin(), found.end()) == data && found.size() == 5 && !found.empty());
    sr::secret moved = store.retrieve(id, key);
    moved = std::move(found);
    CHECK(moved.size() == 5 && found.empty() && found.view().empty()); // NOLINT: it is empty
    CHECK(thrown([&] { store.store(id, "other"); }) == STRONGROOM_ALREADY_EXISTS);
    CHECK(thrown([&] { store.retrieve("missing", key); }) == STRONGROOM_NOT_FOUND);
    CHECK(thrown([&] { store.retrieve(id, sr::record_key::generate()); }) == STRONGROOM_WRONG_KEY);
    CHECK(thrown([&] { store.retrieve(id, sr::record_key()); }) == STRONGROOM_INVALID_KEY);
    CHECK(thrown([&] { store.retrieve("", key); }) == STRONGROOM_INVALID_ID);
    CHECK(thrown([] { sr::store().contains("id"); }) == STRONGROOM_INVALID_ARGUMENT);

    std::array<char, 5> room{};
    CHECK(store.retrieve_into(id, key, room.data(), room.size()) == 5 && room[4] == char(-1));
    CHECK(thrown([&] { store.retrieve_into(id, key, room.data(), 4); }) == STRONGROOM_TOO_LARGE);
    CHECK(store.retrieve_range(id, key, 1, 2).view() == std::string_view("\1\2"));

    const sr::record_key second = store.replace(id, key, moved);
    CHECK(thrown([&] { store.retrieve(id, key); }) == STRONGROOM_WRONG_KEY && store.retrieve(id, second).size() == 5);
    const sr::record_key third = store.rekey(id, second);
    CHECK(store.contains(id) && store.retrieve(id, third).size() == 5);
    store.remove(id, third);
    CHECK(!store.contains(id) && !store.erase(id));
    const sr::record_key again = store.store(id, "");
    CHECK(store.take(id, again).empty() && !store.contains(id));
    store.store(id, std::string_view("a\0b", 3));
    CHECK(store.erase(id));

    // Ids and data are views of any bytes; an array of char is text.
    const std::byte bytes[] = {std::byte{7}};
    const sr::record_key one = store.store(bytes, "text");
    CHECK(store.retrieve({bytes, 1}, one).view() == "text" && store.contains("\7"));
}

static void options() {
    const sr::store store = sr::store::open("records.db", sr::options().must_exist());
    const sr::record_key key = sr::record_key::generate();
    const auto under_key = sr::write_options().key(key);
    CHECK(store.store("options", "data", under_key) == key && store.store("options", "data", under_key) == key);
    store.erase("options");
    const sr::record_key later = store.store("options", "data", sr::write_options().expires_in(1h).pad());
    CHECK(store.retrieve("options", later).view() == "data" && store.stats().expired == 0);
    store.erase("options");
    const auto tomorrow = std::chrono::system_clock::now() + 24h;
    store.store("options", "data", sr::write_options().expires_at(tomorrow));
    store.erase("options");
    const auto past = {sr::write_options().expires_in(0s), sr::write_options().expires_in(-1s),
                       sr::write_options().expires_at({}), sr::write_options().expires_at(tomorrow - 48h),
                       sr::write_options().expires_in(1s).expires_at(tomorrow)};
    for (const sr::write_options &one : past)
        CHECK(thrown([&] { store.store("options", "data", one); }) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(!store.contains("options"));
    using time = std::chrono::system_clock::time_point;
    CHECK(sr::write_options().expires_at(time(2000ms)).raw()->expires_at == 2); // a fraction is rounded up
    CHECK(sr::write_options().expires_at(time(2001ms)).raw()->expires_at == 3);
    CHECK(sr::write_options().expires_at(time(-1ms)).raw()->expires_at == 1);

    CHECK(thrown([] { sr::store::open("missing.db", sr::options().must_exist()); }) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(thrown([] { sr::store::open("other.db", sr::options().index_key_file("")); }) != STRONGROOM_OK);
    CHECK(access("missing.db", F_OK) != 0 && access("other.db", F_OK) != 0);
    const sr::index_key index_key = sr::index_key::generate(), other = sr::index_key::generate();
    sr::store::open("keyed.db", sr::options().index_key(index_key).relaxed_durability().pad());
    CHECK(access("keyed.db.index-key", F_OK) != 0);
    CHECK(thrown([&] { sr::store::open("keyed.db", sr::options().index_key(other)); }) == STRONGROOM_INDEX_KEY_MISMATCH);
    std::ofstream("index-key") << index_key.to_text().view() << '\n';
    CHECK(chmod("index-key", 0600) == 0);
    const sr::store reader = sr::store::open("keyed.db", sr::options().index_key_file("index-key").read_only());
    CHECK(thrown([&] { reader.store("id", "data"); }) == STRONGROOM_UNSUPPORTED);
    CHECK(thrown([&] { sr::store::connect("no url"); }) != STRONGROOM_OK);
    // Each reaches the library, which refuses it for a database.
    CHECK(thrown([] { sr::store::open("x.db", sr::options().token_file("t")); }) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(thrown([] { sr::store::open("x.db", sr::options().authorities_file("t")); }) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(thrown([] { sr::store::open("x.db", sr::options().client_certificate_file("t")); }) != STRONGROOM_OK);
    CHECK(thrown([] { sr::store::open("x.db", sr::options().client_key_file("t")); }) != STRONGROOM_OK);
    CHECK(thrown([] { sr::store::open("x.db", sr::options().revocations_file("t")); }) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(thrown([] { sr::store::open("x.db", sr::options().timeout(1s)); }) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(thrown([] { sr::store::open("x.db", sr::options().timeout(-1s)); }) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(access("x.db", F_OK) != 0);
}

static void many() {
    const sr::store store = sr::store::open(":memory:");
    const std::vector<sr::record_key> keys = store.store_many({{"a", "1"}, {"b", "22"}});
    const sr::record_key mine = sr::record_key::generate();
    CHECK(store.store_many({{"c", "3"}}, {sr::write_options().key(mine)}).at(0) == mine);
    CHECK(store.store_many({}).empty() && store.retrieve_many({}).empty());
    CHECK(thrown([&] { store.store_many({{"d", "4"}, {"a", "1"}}); }) == STRONGROOM_ALREADY_EXISTS && !store.contains("d"));
    CHECK(thrown([&] { store.store_many({{"d", "4"}}, std::vector<sr::write_options>(2)); }) ==
          STRONGROOM_INVALID_ARGUMENT);
    CHECK(thrown([&] { store.store_many({}, std::vector<sr::write_options>(1)); }) == STRONGROOM_INVALID_ARGUMENT);
    auto found = store.retrieve_many({{"b", &keys[1]}, {"a", &mine}, {"x", &mine}});
    CHECK(found.size() == 3 && found[0]->view() == "22" && !found[1] && !found[2]);
    CHECK(found[1].error().status() == STRONGROOM_WRONG_KEY && found[2].error().status() == STRONGROOM_NOT_FOUND);
    CHECK(thrown([&] { store.retrieve_many({{"b", nullptr}}); }) == STRONGROOM_INVALID_ARGUMENT);
}

static void readers_and_writers() {
    const sr::store store = sr::store::open(":memory:");
    sr::writer writer = store.create_record("id");
    writer.write("scanned ");
    writer.write(std::string("pages"));
    const sr::record_key before = writer.key();
    CHECK(!store.contains("id"));
    const sr::record_key key = writer.finish();
    CHECK(key == before && thrown([&] { writer.write("more"); }) == STRONGROOM_INVALID_ARGUMENT);
    sr::reader reader = store.open_record("id", key);
    char room[20];
    CHECK(reader.size() == 13 && reader.read(room, 4) == 4 && std::string_view(room, 4) == "scan");
    reader.seek(8);
    CHECK(reader.read(room, sizeof room) == 5 && std::string_view(room, 5) == "pages" && reader.read(room, 1) == 0);
    sr::writer other = store.replace_record("id", key);
    other.write("new");
    const sr::record_key second = other.finish();
    { sr::writer dropped = store.replace_record("id", second); }
    sr::reader once = store.take_record("id", second);
    CHECK(once.read(room, sizeof room) == 3 && !store.contains("id"));
}

// Whether `call` throws an E.
template <class E, class F> static bool throws(const F &call) {
    try {
        call();
        return false;
    } catch (const E &) {
        return true;
    }
}

// A stream that throws an exception of its own.
class failing : public std::streambuf {
    int_type underflow() override { throw std::domain_error("mine"); }
    int_type overflow(int_type) override { throw std::domain_error("mine"); }
};

static void iostreams() {
    const sr::store store = sr::store::open("records.db");
    std::string data;
    for (int i = 0; i < 300000; i++)
        data += "line " + std::to_string(i) + '\n';

    std::istringstream in(data);
    const sr::record_key key = store.store_stream("stream", in);
    std::ostringstream out;
    store.retrieve_stream("stream", key, out);
    CHECK(out.str() == data);
    std::istringstream half(data.substr(0, 1000000));
    half.exceptions(std::ios::failbit | std::ios::eofbit | std::ios::badbit); // it throws at its end
    const sr::record_key second = store.replace_stream("stream", key, half);
    CHECK(store.retrieve("stream", second).view() == half.str());

    std::ifstream missing("missing");
    CHECK(thrown([&] { store.store_stream("missing", missing); }) == STRONGROOM_STORAGE && !store.contains("missing"));
    failing buffer;
    std::istream bad(&buffer);
    CHECK(thrown([&] { store.store_stream("missing", bad); }) == STRONGROOM_STORAGE && !store.contains("missing"));
    bad.clear();
    bad.exceptions(std::ios::badbit);
    CHECK(throws<std::domain_error>([&] { store.store_stream("missing", bad); }) && !store.contains("missing"));
    std::ostream full(&buffer);
    CHECK(thrown([&] { store.retrieve_stream("stream", second, full); }) == STRONGROOM_STORAGE);
    std::ofstream device("/dev/full");
    CHECK(thrown([&] { store.retrieve_stream("stream", second, device); }) == STRONGROOM_STORAGE);

    sr::record_ostream to(store.create_record("written"));
    const sr::record_key before = to.key();
    for (int i = 0; i < 300000; i++)
        to << "line " << i << '\n';
    CHECK(!store.contains("written"));
    const sr::record_key written = to.finish();
    CHECK(written == before && store.retrieve("written", written).view() == data);

    sr::record_istream from(store.open_record("written", written));
    std::string line;
    int lines = 0;
    while (std::getline(from, line))
        CHECK(line == "line " + std::to_string(lines++));
    CHECK(lines == 300000 && from.eof() && !from.bad());
    from.clear();
    for (const std::size_t place : {std::size_t(0), std::size_t(65536), data.size() - 3, std::size_t(100)}) {
        char three[3];
        CHECK(from.seekg(static_cast<std::streamoff>(place)).read(three, 3) && data.compare(place, 3, three, 3) == 0);
        CHECK(from.tellg() == static_cast<std::streamoff>(place) + 3);
    }
    CHECK(from.seekg(-4, std::ios::end).get() == data[data.size() - 4] && from.seekg(2, std::ios::cur).get() == '\n');
    CHECK(from.seekg(-1, std::ios::beg).fail());
    from.clear();
    from.seekg(0);
    CHECK(std::string(std::istreambuf_iterator<char>(from), {}) == data);

    // Data that is replaced while it is read is a failure, never an end.
    sr::record_istream late(store.open_record("written", written));
    store.replace("written", written, "new");
    CHECK(thrown([&] { late.seekg(3000000); late.get(); }) == STRONGROOM_CONFLICT && late.bad());
    sr::record_istream quiet(store.open_record("stream", second));
    store.erase("stream");
    quiet.exceptions(std::ios::goodbit);
    std::ostringstream rest;
    CHECK(!(rest << quiet.seekg(900000).rdbuf()) || quiet.bad() || rest.str().size() == 100000);
    { sr::record_ostream dropped(store.create_record("dropped")); dropped << data; }
    CHECK(!store.contains("dropped"));
}

// At each position, a character can be put back, as in a file.
static void put_back() {
    sr::store store = sr::store::open(":memory:");
    std::string data;
    while (data.size() < 200000)
        data += static_cast<char>(data.size() % 251);
    const sr::record_key key = store.store("id", data);
    sr::record_istream in(store.open_record("id", key)), sought(store.open_record("id", key));
    for (std::size_t place = 1; place <= data.size(); place++) {
        CHECK(in.get() == static_cast<unsigned char>(data[place - 1]));
        CHECK(in.unget().tellg() == static_cast<std::streamoff>(place - 1));
        CHECK(in.get() == static_cast<unsigned char>(data[place - 1]) && in.putback(data[place - 1]).get() != EOF);
    }
    CHECK(in.get() == EOF && in.eof());
    in.clear();
    CHECK(in.unget().get() == static_cast<unsigned char>(data.back()));
    for (const std::size_t place : {std::size_t(1), std::size_t(65536), std::size_t(100000), data.size()}) {
        CHECK(sought.seekg(static_cast<std::streamoff>(place)).unget());
        CHECK(sought.get() == static_cast<unsigned char>(data[place - 1]));
        CHECK(sought.tellg() == static_cast<std::streamoff>(place));
    }
    CHECK(sought.seekg(5).putback('?').get() == '?' && sought.putback('!').get() == '!');
    CHECK(sought.get() == static_cast<unsigned char>(data[5]));
    sought.exceptions(std::ios::goodbit);
    CHECK(sought.seekg(0).unget().bad());
    sought.clear();
    CHECK(sought.get() == static_cast<unsigned char>(data[0]));

    // The last one before a piece needs no other read: a server may send a record only once.
    sr::record_istream once(store.open_record("id", key));
    once.ignore(65536);
    CHECK(once.peek() == static_cast<unsigned char>(data[65536]));
    store.erase("id");
    CHECK(once.unget().get() == static_cast<unsigned char>(data[65535]));
}

// Data that an error cuts off is neither stored nor taken for the whole.
static void cut_streams() {
    sr::store store = sr::store::open(":memory:");
    const std::string data(3000000, 'x');
    const sr::record_key key = store.store("id", data);
    sr::record_istream cut(store.open_record("id", key)), from(store.open_record("id", key)),
        other(store.open_record("id", key));
    CHECK(cut.peek() == 'x' && from.peek() == 'x' && other.peek() == 'x');
    store.erase("id"); // they have only their first bytes

    const auto insert = [&](std::streambuf *source) {
        sr::record_ostream out(store.create_record("id")), quiet(store.create_record("id"));
        quiet.exceptions(std::ios::goodbit);
        try {
            out << "part" << source;
        } catch (...) {
            quiet << "part" << source << "part";
            for (sr::record_ostream *stream : {&out, &quiet})
                CHECK(thrown([&] { stream->finish(); }) == STRONGROOM_INVALID_ARGUMENT && !store.contains("id"));
            throw;
        }
    };
    CHECK(thrown([&] { insert(cut.rdbuf()); }) == STRONGROOM_CONFLICT);
    failing broken;
    CHECK(throws<std::domain_error>([&] { insert(&broken); }));
    std::ifstream missing("missing"), folder(".");
    std::istringstream empty, source(data);
    CHECK(throws<std::ios::failure>([&] { insert(missing.rdbuf()); }));
    CHECK(throws<std::ios::failure>([&] { insert(folder.rdbuf()); }));
    CHECK(throws<std::ios::failure>([&] { insert(empty.rdbuf()); }));

    std::ostringstream to;
    to << from.rdbuf();
    other >> to.rdbuf();
    CHECK(!to.str().empty());
    for (sr::record_istream *stream : {&from, &other})
        CHECK(thrown([&] { stream->clear(), stream->peek(); }) == STRONGROOM_CONFLICT);

    sr::record_ostream late(store.create_record("id"));
    store.close();
    CHECK(thrown([&] { late << source.rdbuf(); }) == STRONGROOM_CLOSED);
    CHECK(thrown([&] { late.finish(); }) == STRONGROOM_INVALID_ARGUMENT);
}

static void maintenance() {
    sr::store store = sr::store::open("kept.db");
    const sr::store tenant = store.in_namespace("tenant");
    const sr::record_key key = tenant.store("id", "data");
    CHECK(!store.contains("id") && store.stats().records == 1 && store.purge(10) == 0);
    store.maintain();
    const sr::copied copied = sr::copy("kept.db", "backup.db");
    CHECK(copied.counts.records == 1 && copied.not_copied.empty());
    sr::copy_options again;
    again.mirror = true;
    again.workers = 2;
    CHECK(sr::copy("kept.db", "backup.db", again).counts.unchanged == 1);
    CHECK(thrown([] { sr::copy("missing.db", "other.db"); }) == STRONGROOM_INVALID_ARGUMENT);
    int steps = 0;
    sr::verify_options search;
    search.records_only = true;
    search.step = [&](const strongroom_verify_step &) { return ++steps > 0; };
    CHECK(store.verify(search).records == 1 && steps > 0 && store.verify().damaged == 0);
    CHECK(sr::verify("backup.db", search).records == 1 && sr::verify("backup.db").damaged == 0);
    CHECK(thrown([] { sr::verify("missing.db"); }) == STRONGROOM_INVALID_ARGUMENT);
    search.start_at = "no position";
    CHECK(thrown([&] { store.verify(search); }) == STRONGROOM_INVALID_ARGUMENT);
    search = {};
    search.step = [](const strongroom_verify_step &) -> bool { throw std::domain_error("mine"); };
    CHECK(throws<std::domain_error>([&] { store.verify(search); }));
    CHECK(rename("kept.db.index-key", "kept-key") == 0);
    const sr::store backup = sr::store::open("backup.db", sr::options().index_key_file("kept-key").read_only());
    const sr::repaired repaired = store.repair_from(backup);
    CHECK(repaired.restored == 0 && repaired.lost == 0);
    store.close();
    CHECK(thrown([&] { store.contains("id"); }) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(thrown([&] { tenant.contains("id"); }) == STRONGROOM_CLOSED);

    const sr::index_key next = sr::index_key::generate();
    const auto both = sr::options().index_key(next).previous_index_key_file("kept-key");
    const sr::store rotated = sr::store::open("kept.db", both);
    CHECK(thrown([&] { rotated.unrotated_count(10); }) == STRONGROOM_INVALID_ARGUMENT);
    rotated.begin_rotation();
    CHECK(rotated.list_unrotated(10).size() == 1);
    CHECK(thrown([&] { rotated.erase_unrotated({}); }) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(rotated.unrotated_count(10) == 1);
    CHECK(thrown([&] { rotated.finish_rotation(); }) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(rotated.in_namespace("tenant").retrieve("id", key).view() == "data" && rotated.unrotated_count(10) == 0);
    rotated.finish_rotation();
    const sr::index_key last = sr::index_key::generate();
    const auto last_store = sr::store::open("kept.db", sr::options().index_key(last).previous_index_key(next));
    last_store.begin_rotation();
    const auto unknown = last_store.list_unrotated(10);
    CHECK(unknown.size() == last_store.unrotated_count(10) && last_store.erase_unrotated(unknown.at(0)));
}

static void own_storage() {
    const sr::index_key index_key = sr::index_key::generate();
    const strongroom_storage_callbacks storage = table_storage(table_new());
    const sr::store store = sr::store::open_storage(storage, sr::options().index_key(index_key));
    CHECK(store.retrieve("id", store.store("id", "data")).view() == "data");
    CHECK(thrown([] { sr::store::open_storage({}, sr::options()); }) == STRONGROOM_INVALID_ARGUMENT);
}

static void threads() {
    const sr::store store = sr::store::open("records.db");
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back([&store, i] {
            const std::string id = "thread " + std::to_string(i);
            CHECK(store.retrieve(id, store.store(id, id)).view() == id);
        });
    for (std::thread &thread : threads)
        thread.join();
}

int main() {
    enter_folder();
    keys();
    records();
    options();
    many();
    readers_and_writers();
    iostreams();
    put_back();
    cut_streams();
    maintenance();
    own_storage();
    threads();
    leave_folder();
    return 0;
}
