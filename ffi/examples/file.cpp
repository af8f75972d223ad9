// Stores a file of any size, in constant memory, and writes it out again: file FILE COPY
//
// The key is written down before the record is there, so that no crash can lose it.

#include <fstream>
#include <iostream>
#include <strongroom.hpp>

namespace sr = strongroompp;

int main(int argc, char **argv) try {
    std::ifstream file(argc == 3 ? argv[1] : "", std::ios::binary);
    std::ofstream copy(argc == 3 ? argv[2] : "", std::ios::binary);
    if (!file || !copy) {
        std::cerr << "file FILE COPY\n";
        return 64;
    }
    const sr::store store = sr::store::open("records.db");
    const sr::record_key key = sr::record_key::generate();
    std::cout << key.to_text().view() << std::endl; // in a real program: to whom the data belongs
    store.store_stream("file", file, sr::write_options().key(key));

    // What was written is to be thrown away where this fails.
    store.retrieve_stream("file", key, copy);
    copy.close();
    return copy ? 0 : 74;
} catch (const sr::error &error) {
    std::cerr << error.what() << '\n';
    return error.status() == STRONGROOM_STORAGE ? 74 : error.status();
}
