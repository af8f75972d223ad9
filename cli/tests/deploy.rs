//! The files of `deploy/` are valid for the services, and consistent with each other.

#![cfg(all(unix, feature = "server"))]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::World;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap()
}

/// The lines of a unit that set `name`.
fn set<'u>(unit: &'u str, name: &str) -> Vec<&'u str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

#[test]
fn configurations_and_units_go_together() {
    let world = World::new();
    for (command, unit, toml) in
        [("serve", "strongroom", "strongroom.toml"), ("serve-storage", "strongroom-storage", "storage.toml")]
    {
        let config = deploy(toml);
        let printed = world.ok(&[command, "--config", config.to_str().unwrap(), "--print-config", "--store", "x"], "");
        assert!(printed.contains("store = \"x\"") && printed.contains("[tls]"), "{printed}");

        let (text, configuration) = (read(&format!("systemd/{unit}.service")), read(toml));
        let folder = format!("/run/credentials/{unit}.service/");
        assert_eq!(set(&text, "ExecStart"), [format!("/usr/local/bin/strongroom {command} --config {folder}config")]);
        assert_eq!(set(&text, "LoadCredential")[0], format!("config:/etc/strongroom/{toml}"));
        // The settings that comments suggest are also valid together.
        for (text, configuration) in
            [(text.clone(), printed), (text.replace("#LoadCredential", "LoadCredential"), configuration.clone())]
        {
            let given = set(&text, "LoadCredential").into_iter().map(|line| line.split(':').next().unwrap());
            let given: BTreeSet<_> = given.filter(|name| *name != "config").collect();
            let taken = configuration.split(&folder).skip(1).map(|rest| rest.split('"').next().unwrap());
            assert_eq!(given, taken.collect());
            assert!(given.len() >= 3 && !configuration.replace(&folder, "").contains("/run/"), "{configuration}");
        }
        assert!(!configuration.contains("\"/etc/"), "only root can read what lies there");
        let state = format!("store = \"/var/lib/{}/", set(&text, "StateDirectory")[0]);
        assert!(configuration.contains(&state), "{state}");
        assert_eq!(set(&text, "Type"), ["notify"]);
    }
}

#[test]
fn the_containers_environment_is_known() {
    let (world, compose) = (World::new(), read("compose.yaml"));
    for (service, command) in [("encryption", "serve"), ("storage", "serve-storage")] {
        let part = compose.split(&format!("\n  {service}:\n")).nth(1).unwrap().split("\n\n").next().unwrap();
        assert!(part.contains(&format!("command: [{command}]")), "{part}");
        let environment = part.lines().filter_map(|line| line.trim().split_once(": "));
        let environment: Vec<_> = environment.filter(|(name, _)| name.starts_with("STRONGROOM_")).collect();
        assert!(environment.len() >= 6);
        let mut print = world.command(&[command, "--print-config"]);
        let printed = print.envs(environment.iter().copied()).output().unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        for (name, value) in environment {
            assert!(printed.contains(&format!("\"{value}\"")), "{name} is not in {printed}");
            let secret = value.strip_prefix("/run/secrets/");
            assert!(secret.is_none_or(|secret| compose.contains(&format!("\n  {secret}: {{file: "))), "{name}");
        }
    }
}
