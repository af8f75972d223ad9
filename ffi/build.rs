//! Sets the shared library's name, and prevents its unloading.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // Before 1.0, a minor version may break the ABI.
        let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
        let version = if major == "0" { format!("0.{minor}") } else { major.to_string() };
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libstrongroom.so.{version}");
        // Threads that end after a dlclose() still free thread-local state of the library.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
