// strongroom.hpp without exceptions: results. It is also compiled with -fno-exceptions.

#include "../c/testsupport.h"

#include <sstream>
#include <strongroom.hpp>

namespace sr = strongroompp;
using sr::nothrow;

template <class T> static strongroom_status status_of(const sr::result<T> &result) {
    return result ? STRONGROOM_OK : result.error().status();
}

static void keys() {
    sr::result<sr::record_key> key = sr::record_key::generate<nothrow>();
    CHECK(key.has_value());
    const sr::result<sr::key_text> text = key->to_text<nothrow>();
    CHECK(*sr::record_key::from_text<nothrow>(text->view()) == *key);
    CHECK(*sr::record_key::from_bytes<nothrow>(key->bytes()) == *key);
    CHECK(status_of(sr::index_key::from_text<nothrow>(text->view())) == STRONGROOM_INVALID_KEY);
    CHECK(status_of(sr::record_key().to_text<nothrow>()) == STRONGROOM_INVALID_KEY);
    const sr::record_key moved = std::move(key).value();
    CHECK(moved == moved);
}

static void records() {
    sr::result<nothrow::store> opened = nothrow::store::open("records.db");
    CHECK(opened.has_value());
    nothrow::store store = std::move(*opened);
    const sr::result<sr::record_key> key = store.store("id", "data");
    CHECK(store.retrieve("id", *key)->view() == "data" && *store.contains("id"));
    CHECK(status_of(store.store("id", "data")) == STRONGROOM_ALREADY_EXISTS);
    const sr::result<sr::secret> missing = store.retrieve("missing", *key);
    CHECK(!missing && std::string(missing.error().name()) == "NotFound" && missing.error().what()[0] != 0);
    const sr::result<sr::record_key> second = store.replace("id", *key, "more data");
    const sr::result<sr::record_key> third = store.rekey("id", *second);
    CHECK(store.retrieve_range("id", *third, 5, 4)->view() == "data");
    char room[9];
    CHECK(*store.retrieve_into("id", *third, room, sizeof room) == 9);
    CHECK(store.remove("id", *third).has_value() && status_of(store.remove("id", *third)) == STRONGROOM_NOT_FOUND);
    CHECK(!*store.erase("id") && store.take("id", *store.store("id", ""))->empty());
    const auto keys = store.store_many({{"a", "1"}, {"b", "2"}});
    CHECK(store.retrieve_many({{"a", &(*keys)[0]}, {"b", &(*keys)[0]}})->at(1).error().status() == STRONGROOM_WRONG_KEY);
    CHECK(store.stats()->records == 2 && *store.purge(1) == 0 && store.maintain().has_value());
    CHECK(store.verify()->records == 2 && status_of(store.repair_from(store)) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(status_of(store.unrotated_count(1)) == STRONGROOM_INVALID_ARGUMENT && !store.finish_rotation());
    CHECK(!store.list_unrotated(1) && !store.erase_unrotated({}) && store.begin_rotation().has_value());
    CHECK(store.in_namespace("tenant").has_value() && !*store.in_namespace("tenant")->contains("a"));
    CHECK(status_of(sr::copy<nothrow>("records.db", "copy.db")) == STRONGROOM_OK);
    CHECK(sr::verify<nothrow>("copy.db")->damaged == 0 && !sr::verify<nothrow>("missing.db"));
    CHECK(status_of(nothrow::store::connect("no url")) != STRONGROOM_OK);
    CHECK(status_of(nothrow::store::open_storage({}, {})) == STRONGROOM_INVALID_ARGUMENT);
    CHECK(store.close().has_value() && status_of(store.contains("a")) == STRONGROOM_INVALID_ARGUMENT);
}

static void streams() {
    const sr::result<nothrow::store> store = nothrow::store::open(":memory:");
    std::istringstream in("scanned pages"), next("new pages");
    const sr::result<sr::record_key> key = store->store_stream("id", in);
    const sr::result<sr::record_key> second = store->replace_stream("id", *key, next);
    std::ostringstream out;
    CHECK(store->retrieve_stream("id", *second, out).has_value() && out.str() == "new pages");
    out.setstate(std::ios::failbit);
    CHECK(status_of(store->retrieve_stream("id", *second, out)) == STRONGROOM_STORAGE);
    in.clear(std::ios::badbit);
    CHECK(status_of(store->store_stream("bad", in)) == STRONGROOM_STORAGE && !*store->contains("bad"));

    sr::result<nothrow::writer> writer = store->create_record("piecewise");
    CHECK(writer->write("scanned pages").has_value());
    const sr::result<sr::record_key> before = writer->key(), written = writer->finish();
    CHECK(*before == *written && status_of(writer->write("more")) == STRONGROOM_INVALID_ARGUMENT);
    sr::result<nothrow::reader> reader = store->open_record("piecewise", *written);
    char room[20];
    CHECK(*reader->size() == 13 && reader->seek(8).has_value() && *reader->read(room, sizeof room) == 5);
    CHECK(store->replace_record("piecewise", *written).has_value());
    CHECK(store->take_record("piecewise", *written).has_value() && !*store->contains("piecewise"));
    CHECK(status_of(store->open_record("piecewise", *written)) == STRONGROOM_NOT_FOUND);
}

int main() {
    enter_folder();
    keys();
    records();
    streams();
    leave_folder();
    return 0;
}
