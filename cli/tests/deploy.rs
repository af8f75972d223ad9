//! The files of `deploy/` are valid for the services, and consistent with each other.

#![cfg(all(unix, feature = "server"))]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::World;
use crate::support::wait;

pub(crate) fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap()
}

/// The lines of a unit that set `name`.
fn set<'u>(unit: &'u str, name: &str) -> Vec<&'u str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

/// The services' commands, units and configurations.
const SERVICES: [(&str, &str, &str); 2] =
    [("serve", "strongroom", "strongroom.toml"), ("serve-storage", "strongroom-storage", "storage.toml")];

/// The documents of a file in YAML.
pub(crate) fn yaml(name: &str) -> Vec<Value> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/judges-venv/bin/python");
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let output = wait::output(Command::new(python).args(["-c", script]).arg(deploy(name)));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The names of the files below `folder` that `text` names.
fn files_in<'t>(text: &'t str, folder: &str) -> BTreeSet<&'t str> {
    let names = text.split(folder).skip(1);
    names.map(|rest| rest.split(['"', '&', '\\']).next().unwrap()).collect()
}

/// Checks that each variable reaches the configuration of the service.
fn check_environment<'v>(command: &str, variables: impl IntoIterator<Item = (&'v str, &'v str)>) {
    let variables: Vec<_> = variables.into_iter().collect();
    let world = World::new();
    let mut print = world.command(&[command, "--print-config"]);
    let printed = wait::output(print.envs(variables.iter().copied()));
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(variables.len() >= 7);
    for (name, value) in variables {
        assert!(name.starts_with("STRONGROOM_"), "{name}");
        for value in if name == "STRONGROOM_STORE" { vec![value] } else { value.split(',').collect() } {
            assert!(printed.contains(&format!("\"{value}\"")), "{name} is not in {printed}");
        }
    }
}

#[test]
fn configurations_and_units_go_together() {
    let world = World::new();
    for (command, unit, toml) in SERVICES {
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
            assert!(given.len() >= 2 && !configuration.replace(&folder, "").contains("/run/"), "{configuration}");
        }
        // The service reads files without secrets itself, so that a reload finds their changes.
        let tokens = if command == "serve" { "tokens" } else { "storage-tokens" };
        assert_eq!(
            files_in(&configuration, "\"/etc/strongroom/"),
            BTreeSet::from([tokens, "clients.pem", "revoked.pem"])
        );
        assert_eq!(configuration.matches("\"/etc/").count(), 3, "only root can read the other files");
        assert!(!text.contains("LoadCredential=tokens") && !text.contains("LoadCredential=tls-clients"));
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
        let printed = wait::output(print.envs(environment.iter().copied()));
        let printed = String::from_utf8(printed.stdout).unwrap();
        for (name, value) in environment {
            assert!(printed.contains(&format!("\"{value}\"")), "{name} is not in {printed}");
            let secret = value.strip_prefix("/run/secrets/");
            assert!(secret.is_none_or(|secret| compose.contains(&format!("\n  {secret}: {{file: "))), "{name}");
        }
    }
}

/// The services of the cluster have the same units, with more files.
#[test]
fn configurations_and_units_of_a_cluster_go_together() {
    let world = World::new();
    for (command, unit, toml) in SERVICES {
        let config = deploy("cluster").join(toml);
        let printed = world.ok(&[command, "--config", config.to_str().unwrap(), "--print-config"], "");
        for set in ["[cluster]", "join = [", "admin = \"127.0.0.1:8423\"", "[tls]"] {
            assert!(printed.contains(set), "{set} is not in {printed}");
        }
        let units = [format!("systemd/{unit}.service"), format!("cluster/systemd/{unit}.service.d/cluster.conf")];
        let units = units.map(|name| read(&name)).concat();
        let given = set(&units, "LoadCredential").into_iter().map(|line| line.split(':').next().unwrap());
        let given: BTreeSet<_> = given.filter(|name| *name != "config").collect();
        assert_eq!(given, files_in(&printed, &format!("/run/credentials/{unit}.service/")));
    }
}

/// A service that stops at a reboot ends with success.
#[test]
fn containers_start_again_after_a_reboot() {
    for (file, number) in [("compose.yaml", 2), ("cluster/compose.yaml", 6)] {
        let compose = yaml(file).remove(0);
        let services = compose["services"].as_object().unwrap();
        assert_eq!(services.len(), number);
        for (name, service) in services {
            let expected = if name == "tables" { "on-failure" } else { "unless-stopped" };
            assert_eq!(service["restart"], expected, "{name} in {file}");
        }
    }
}

#[test]
fn the_image_trusts_public_authorities() {
    let file = read("Containerfile");
    let authorities = "/etc/ssl/certs/ca-certificates.crt";
    let last = file.rsplit("\nFROM ").next().unwrap();
    assert!(last.contains(&format!("COPY --from=build {authorities} {authorities}\n")), "{last}");
}

/// The settings that comments suggest give the socket to the group, although the units forbid to change owners.
#[cfg(target_os = "linux")]
#[test]
fn a_units_group_may_use_its_socket() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    use rustix::process::Signal;

    use crate::support::service::Service;

    const GROUP: u32 = 64_999;
    for (_, unit, _) in SERVICES {
        let text = read(&format!("systemd/{unit}.service")).replace("\n#", "\n");
        assert_eq!(set(&text, "RuntimeDirectory"), [unit]);
        assert_eq!((set(&text, "Group"), set(&text, "RuntimeDirectoryMode")), (vec!["app"], vec!["0750"]));
        assert!(text.contains(&format!("`listen = [\"unix:/run/{unit}/socket\"]`")));
        assert!(text.contains("`socket_mode = \"0660\"`"));
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can change the user and the group");
        return;
    }
    let world = World::new();
    // As systemd makes the folder.
    chown(&world.folder, Some(65_534), Some(GROUP)).unwrap();
    fs::set_permissions(&world.folder, fs::Permissions::from_mode(0o750)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_strongroom"), world.path("strongroom")).unwrap();
    let (program, socket) = (world.path("strongroom"), world.path("socket"));
    let group = format!("--regid={GROUP}");
    let mut service = world.other("setpriv", &["--reuid=65534", &group, "--clear-groups", "--bounding-set=-all"]);
    service.arg(program).args(["serve-storage", "--store", "served.db", "--socket-mode", "0660", "--listen"]);
    let service = Service::spawn({
        service.arg(format!("unix:{}", socket.display()));
        service
    });
    let made = fs::metadata(&socket).unwrap();
    assert_eq!((made.gid(), made.mode() & 0o777), (GROUP, 0o660));
    service.stop(Signal::TERM);
}

#[test]
fn systemd_knows_all_settings_of_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("SKIPPED: systemd is not installed");
        return;
    }
    let world = World::new();
    let write = |name: &str, text: String| {
        let path = world.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text.replace("/usr/local/bin/strongroom", env!("CARGO_BIN_EXE_strongroom"))).unwrap();
        path
    };
    let verify = |unit: &Path| {
        let output = wait::output(world.other("systemd-analyze", &["verify", "--man=no"]).arg(unit));
        String::from_utf8(output.stderr).unwrap()
    };
    for (_, unit, _) in SERVICES {
        let more = format!("{unit}.service.d/cluster.conf");
        let text = read(&format!("systemd/{unit}.service"));
        let path = write(&format!("{unit}.service"), text.clone());
        write(&more, read(&format!("cluster/systemd/{more}")));
        assert_eq!(verify(&path), "");
        // Those that comments suggest, too.
        let is_set = |line: &str| line.strip_prefix('#').is_some_and(|line| line.starts_with(char::is_uppercase));
        let lines = text.lines().map(|line| if is_set(line) { &line[1..] } else { line });
        let suggested: String = lines.map(|line| format!("{line}\n")).collect();
        assert!(suggested.contains("\nGroup=app\n"));
        write(&format!("{unit}.service"), suggested);
        assert_eq!(verify(&path), "");
        // The control: unknown settings are found in both files.
        write(&more, "[Service]\nLoadCredentials=a:b\n".to_owned());
        assert!(verify(&path).contains("LoadCredentials"));
    }
}

#[test]
fn the_containers_of_a_cluster_are_configured() {
    let compose = yaml("cluster/compose.yaml").remove(0);
    let all: BTreeSet<_> = compose["secrets"].as_object().unwrap().keys().map(String::as_str).collect();
    let page = read("../docs/PRODUCTION.md");
    for secret in compose["secrets"].as_object().unwrap().values() {
        let name = secret["file"].as_str().unwrap().strip_prefix("secrets/").unwrap();
        assert!(page.contains(&format!("`{name}`")), "docs/PRODUCTION.md does not describe {name}");
    }
    let services = compose["services"].as_object().unwrap();
    let (mut used, mut commands) = (BTreeSet::new(), Vec::new());
    for (name, service) in services {
        let text = service.to_string();
        let secrets: BTreeSet<_> =
            service["secrets"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        // A script of PostgreSQL reads the passwords of the roles.
        let text = if name == "postgres" { text + &read("cluster/roles.sql").replace('`', "\"") } else { text };
        assert_eq!(files_in(&text, "/run/secrets/"), secrets, "{name}");
        used.extend(secrets);
        let command: Vec<_> =
            service["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let Some(environment) = service["environment"].as_object().filter(|_| name != "postgres") else { continue };
        check_environment(command[0], environment.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())));
        assert_eq!(service["read_only"], true);
        let url = environment["STRONGROOM_ADVERTISE_URL"].as_str().unwrap();
        assert!(url.starts_with(&format!("https://{name}:")), "{url} is not {name}'s");
        let port = url.rsplit(':').next().unwrap();
        assert!(environment["STRONGROOM_LISTEN"].as_str().unwrap().ends_with(port));
        for seed in environment["STRONGROOM_JOIN"].as_str().unwrap().split(',') {
            assert!(services.contains_key(seed.split(':').next().unwrap()), "{seed}");
        }
        commands.push(command[0].to_owned());
    }
    assert_eq!(commands, ["serve", "serve", "serve-storage", "serve-storage"]);
    assert_eq!(used, all);
    let migrate: Vec<_> =
        services["tables"]["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    World::new().ok(&[&migrate[..], &["--help"]].concat(), "");
}

/// By Docker's own rules for these files, which also resolve their anchors and variables.
#[test]
fn compose_accepts_the_files() {
    let works = |command: &[&str]| {
        let output = Command::new(command[0]).args(&command[1..]).arg("version").output();
        output.is_ok_and(|output| output.status.success())
    };
    let Some(compose) = [&["docker", "compose"][..], &["docker-compose"]].into_iter().find(|command| works(command))
    else {
        return eprintln!("SKIPPED: neither `docker compose` nor `docker-compose` is installed");
    };
    let world = World::new();
    let config = |file: &Path| {
        let mut check = world.other(compose[0], &compose[1..]);
        wait::output(check.arg("--file").arg(file).args(["config", "--quiet"])).status.success()
    };
    assert!(config(&deploy("compose.yaml")) && config(&deploy("cluster/compose.yaml")));
    // The control.
    world.write("compose.yaml", read("cluster/compose.yaml").replace("pids_limit", "pid_limit"));
    assert!(!config(&world.path("compose.yaml")));
}

#[test]
fn kubernetes_accepts_the_manifest() {
    let validate = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/judges-venv/bin/kubernetes-validate");
    let world = World::new();
    let is_valid = |file: &Path| wait::output(Command::new(&validate).arg("--strict").arg(file)).status.success();
    assert!(is_valid(&deploy("kubernetes.yaml")), "run `make test-judges` first");
    world.write("wrong.yaml", read("kubernetes.yaml").replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"));
    assert!(!is_valid(&world.path("wrong.yaml")));
}

#[test]
fn kubernetes_needs_no_gossip() {
    let documents = yaml("kubernetes.yaml");
    let manifest = read("kubernetes.yaml");
    let of_kind = |kind: &str| documents.iter().filter(|one| one["kind"] == kind).cloned().collect::<Vec<_>>();
    let services = of_kind("Service");
    let deployments = of_kind("Deployment");
    assert_eq!((services.len(), deployments.len(), of_kind("PodDisruptionBudget").len()), (2, 2, 2));
    for deployment in deployments {
        let name = deployment["metadata"]["name"].as_str().unwrap();
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let command = container["args"][0].as_str().unwrap();
        let environment = container["env"].as_array().unwrap().iter();
        let environment: Vec<_> =
            environment.map(|set| (set["name"].as_str().unwrap(), set["value"].as_str().unwrap())).collect();
        check_environment(command, environment.iter().copied());
        let value = |name| environment.iter().find_map(|(set, value)| (*set == name).then_some(*value)).unwrap();
        assert!(!manifest.contains("STRONGROOM_JOIN"));

        // Each file is in the secret that the first lines make.
        let secret = pod["volumes"][0]["secret"]["secretName"].as_str().unwrap();
        let made = manifest.split(&format!("create secret generic {secret} ")).nth(1).unwrap();
        let made = made.split("kubectl").next().unwrap().split("\n# The").next().unwrap();
        let made = made.split("--from-file=").skip(1).map(|file| file.split([' ', '=', '\n']).next().unwrap());
        let folder = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
        assert_eq!(made.collect::<BTreeSet<_>>(), files_in(&container["env"].to_string(), &format!("{folder}/")));

        // The headless service has the ready pods, at the port on which the service listens.
        let service = services.iter().find(|one| one["metadata"]["name"] == name).unwrap();
        assert_eq!(service["spec"]["clusterIP"], "None");
        assert_eq!(service["spec"]["selector"], deployment["spec"]["selector"]["matchLabels"]);
        let port = service["spec"]["ports"][0]["port"].to_string();
        assert_eq!(container["ports"][0]["containerPort"].to_string(), port);
        assert_eq!(value("STRONGROOM_LISTEN"), format!("0.0.0.0:{port}"));
        if command == "serve" {
            assert_eq!(value("STRONGROOM_STORE"), "https://strongroom-storage:8421");
        }
        let routes =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/openapi/storage.json")).unwrap();
        for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
            assert_eq!(container[probe]["httpGet"]["path"], path);
            assert_eq!(container[probe]["httpGet"]["scheme"], "HTTPS");
            assert!(routes.contains(&format!("\"{path}\": {{")));
        }
        assert_eq!(
            (&pod["securityContext"]["runAsNonRoot"], &pod["securityContext"]["runAsUser"]),
            (&true.into(), &65532.into())
        );
        let security = &container["securityContext"];
        assert_eq!(
            (&security["readOnlyRootFilesystem"], &security["allowPrivilegeEscalation"]),
            (&true.into(), &false.into())
        );
        assert_eq!(security["capabilities"]["drop"][0], "ALL");
    }
}

/// The plan's tables are those that its program computes, from rates that were measured.
#[test]
fn the_capacity_plan_is_computed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = wait::output(Command::new("python3").arg(root.join("benches/python/capacity.py")));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name| fs::read_to_string(root.join(name)).unwrap();
    let (printed, document, measured) =
        (String::from_utf8(output.stdout).unwrap(), read("docs/CAPACITY.md"), read("benches/README.md"));
    let tables: Vec<_> = printed.trim().split("\n\n").collect();
    assert_eq!(tables.len(), 3);
    for table in tables {
        assert!(document.contains(table), "docs/CAPACITY.md has not this table:\n{table}");
    }
    let rates: Vec<_> = printed.split("measured: ").filter_map(|text| Some(text.split_once("/s")?.0)).collect();
    let rates: Vec<_> =
        rates.into_iter().filter(|rate| rate.chars().all(|one| one.is_ascii_digit() || one == ',')).collect();
    assert_eq!(rates.len(), 4);
    for rate in rates {
        let is_measured = measured.contains(rate) || measured.contains(&rate.replace(',', ""));
        assert!(is_measured, "benches/README.md has no {rate}: change benches/python/capacity.py and docs/CAPACITY.md");
    }
}

/// A secret of systemd, Docker or Kubernetes is a file of root, which others may read.
#[cfg(target_os = "linux")]
#[test]
fn a_password_file_may_be_a_secret_of_the_system() {
    use std::os::unix::fs::PermissionsExt;

    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can make such a file");
        return;
    }
    let mut world = World::new();
    world.run_unprivileged();
    world.write("pgpass", "*:*:*:*:confidential");
    let refused = |mode: u32| {
        fs::set_permissions(world.path("pgpass"), fs::Permissions::from_mode(mode)).unwrap();
        let url = format!("postgres://app@127.0.0.1:1/records?passfile={}", world.path("pgpass").display());
        let output = wait::output(&mut world.command(&["verify", "--timeout", "1", "--store", &url]));
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap().contains("is not safe")
    };
    assert_eq!([0o440, 0o444, 0o644].map(refused), [false; 3]);
    assert_eq!([0o464, 0o446, 0o666].map(refused), [true; 3]);
}

/// The image is built from what the file of exceptions allows: cargo reads all members of the workspace.
#[test]
fn the_image_is_built_from_the_whole_workspace() {
    let allowed = read("Containerfile.dockerignore");
    let allowed: Vec<_> = allowed.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let reads_workspace = |allowed: &[&str]| {
        let world = World::new();
        for name in allowed {
            std::os::unix::fs::symlink(deploy("..").join(name).canonicalize().unwrap(), world.path(name)).unwrap();
        }
        let args = ["metadata", "--locked", "--offline", "--no-deps", "--format-version=1"];
        wait::output(&mut world.other(env!("CARGO"), &args)).status.success()
    };
    assert!(reads_workspace(&allowed));
    let without_one: Vec<_> = allowed.iter().copied().filter(|name| *name != "fuzz").collect();
    assert!(without_one.len() < allowed.len() && !reads_workspace(&without_one));
}
