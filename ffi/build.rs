//! Tells the dynamic linker the shared library's name, and that it stays.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // Before 1.0, a minor version may break what was linked against an earlier one.
        let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
        let version = if major == "0" { format!("0.{minor}") } else { major.to_string() };
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libstrongroom.so.{version}");
        // Threads that end after a dlclose() still free what the library kept for them.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
