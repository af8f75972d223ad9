//! The scripts that make packages, and those of the Debian package.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::World;
use crate::support::wait;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Runs a script of a checkout from the folder around it, without a compiler.
fn run(world: &World, script: &str, folder: &str) -> Output {
    let checkout = world.path("checkout");
    if !checkout.exists() {
        fs::create_dir(&checkout).unwrap();
        for name in ["ffi", "include", "tools"] {
            symlink(root().join(name), checkout.join(name)).unwrap();
        }
    }
    let mut command = world.other("sh", &[&format!("checkout/{script}"), folder]);
    command.env("CARGO", "false").env_remove("CARGO_TARGET_DIR");
    // No commit is found, whatever is around the folder.
    command.env("GIT_DIR", world.path("checkout/.git"));
    let output = wait::output(&mut command);
    assert!(!output.status.success());
    output
}

/// The folder of the packages is replaced, but only if it has those of an earlier build.
#[test]
fn packages_replace_no_other_files() {
    let world = World::new();
    fs::create_dir(world.path("mine")).unwrap();
    world.write("mine/letter", "dear reader");
    let is_refused = |folder: &str| {
        let text = String::from_utf8(run(&world, "tools/dist/build.sh", folder).stderr).unwrap();
        text.contains("choose another folder")
    };
    // The last two are the folder around the checkout, and the checkout.
    for folder in ["mine", "mine/letter", ".", "checkout"] {
        assert!(is_refused(folder), "{folder}");
    }
    world.write("mine/SHA256SUMS", "0123  letter\n");
    assert!(is_refused("mine"), "the checksums of other files");
    // The control: these fail later, because there is no commit.
    world.write("mine/SHA256SUMS", "0123  strongroom-0.1.0.cdx.json\n");
    fs::create_dir(world.path("empty")).unwrap();
    for folder in ["mine", "empty", "missing"] {
        assert!(!is_refused(folder), "{folder}");
    }
    assert_eq!(world.read("mine/letter"), b"dear reader");
    assert!(world.exists("checkout/tools"));
}

#[test]
fn folders_of_the_c_library_are_those_of_the_caller() {
    let world = World::new();
    run(&world, "ffi/packaging/build.sh", "made");
    assert!(world.exists("made") && !world.exists("checkout/made"));
    let text = String::from_utf8(run(&world, "ffi/packaging/install.sh", "made").stderr).unwrap();
    let made = world.folder.path().canonicalize().unwrap().join("made");
    assert!(text.contains(&format!("no library in {}:", made.display())), "{text}");
}

/// No file names another folder than that of the libraries.
#[test]
fn a_folder_of_the_c_library_is_kept_or_refused() {
    let install = |variable, folder: String| {
        let mut world = World::new();
        world.environment.push((variable, folder));
        String::from_utf8(run(&world, "ffi/packaging/install.sh", "made").stderr).unwrap()
    };
    for variable in ["PREFIX", "LIBDIR", "INCLUDEDIR"] {
        for special in [" ", "\t", "\n", "\"", "'", "`", "\\", "$", "&", "|", "#", ";"] {
            let text = install(variable, format!("/opt/a{special}b"));
            assert!(text.contains("choose another folder"), "{variable}, {special:?}: {text}");
        }
        let text = install(variable, "/opt/\u{e9}-+~.,@:=%_(x)".into());
        assert!(text.contains("no library in"), "{variable}: {text}");
    }
}

/// A package whose scripts fail is half-configured, and cannot be removed.
#[test]
fn the_debian_package_does_not_depend_on_its_services() {
    let world = World::new();
    world.write("systemctl", "#!/bin/sh\necho \"$*\" >>calls\nexit 1\n");
    fs::set_permissions(world.path("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", world.folder.path().display(), std::env::var("PATH").unwrap());
    for (script, argument, calls) in [
        ("postinst", "configure", "try-restart UNIT"),
        ("prerm", "remove", "disable --now UNIT"),
        ("postrm", "remove", "daemon-reload"),
    ] {
        let text = fs::read_to_string(root().join("tools/dist/debian").join(format!("strongroom.{script}"))).unwrap();
        assert!(text.contains("/run/systemd/system"));
        world.write(script, text.replace("/run/systemd/system", "."));
        world.write("calls", "");
        let output = wait::output(world.other("sh", &[script, argument]).env("PATH", &path));
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        let called = String::from_utf8(world.read("calls")).unwrap();
        for unit in ["strongroom.service", "strongroom-storage.service"] {
            let call = calls.replace("UNIT", unit);
            assert!(called.lines().any(|line| line == call), "{script}: {called}");
        }
    }
}
