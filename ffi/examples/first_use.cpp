#include <iostream>
#include <strongroom.hpp>

namespace sr = strongroompp;

int main() try {
    // Makes records.db and, beside it, records.db.index-key.
    const sr::store store = sr::store::open("records.db");
    const sr::record_key key = store.store("user:42:passport", "scanned pages");
    std::cout << store.retrieve("user:42:passport", key).view() << '\n';
    store.remove("user:42:passport", key);
} catch (const sr::error &error) {
    std::cerr << error.name() << ": " << error.what() << '\n';
    return error.status();
}
