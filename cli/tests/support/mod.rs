//! A folder with a store, and the program run in it. The output of each failure is searched for secrets.

#![allow(dead_code, reason = "each test file uses a part of it")]

#[cfg(all(unix, feature = "server"))]
pub(crate) mod browser;
#[cfg(target_os = "linux")]
pub(crate) mod network;
#[path = "../../../core/tests/support/pattern.rs"]
pub(crate) mod pattern;
#[cfg(unix)]
#[path = "../../../core/tests/support/postgres.rs"]
pub(crate) mod postgres;
#[cfg(all(unix, feature = "server"))]
pub(crate) mod proxy;
#[cfg(all(unix, feature = "server"))]
pub(crate) mod service;
#[cfg(unix)]
#[path = "../../../core/tests/support/shared_server.rs"]
pub(crate) mod shared_server;
#[path = "../../../core/tests/support/wait.rs"]
pub(crate) mod wait;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use wait::{DEADLINE, WaitWithin};

/// The tests' id and data, which must not be in a message.
pub(crate) const ID: &str = "patient-7f3a@clinic.example";
pub(crate) const DATA: &str = "diagnosis: confidential\n";

pub(crate) struct World {
    pub(crate) folder: TempDir,
    /// The command line that runs the program.
    program: Vec<String>,
    /// A folder with the program that other users can run.
    public: Option<TempDir>,
    /// The environment of all runs.
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl World {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            program: vec![env!("CARGO_BIN_EXE_strongroom").into()],
            public: None,
            environment: Vec::new(),
        }
    }

    /// A folder with a record under [`ID`] and its key in the file `key`.
    pub(crate) fn with_record() -> Self {
        let world = Self::new();
        world.ok(&["store", "--id", ID, "--key-out", "key"], DATA);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
        // It may be a secret: the tests also run as a user whose files others may read by default.
        #[cfg(unix)]
        fs::set_permissions(self.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The names of all files, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A program, run in the folder.
    pub(crate) fn other(&self, program: &str, args: &[&str]) -> Command {
        default_signals();
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.folder);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"STRONGROOM_")) {
            command.env_remove(name);
        }
        command.env("STRONGROOM_STORE", "records.db").envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Makes later runs use the functions of `preload.c` instead of the C library's.
    #[cfg(target_os = "linux")]
    pub(crate) fn preload(&self, command: &mut Command) {
        let library = self.path("preload.so");
        if !library.exists() {
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/preload.c");
            let compiled = wait::output(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source));
            assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        }
        command.env("LD_PRELOAD", library);
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.through(&[], args)
    }

    /// The program, run by another one, which gets the program's path and `args` after its own arguments.
    pub(crate) fn through(&self, other: &[&str], args: &[&str]) -> Command {
        let words: Vec<&str> = other.iter().copied().chain(self.program.iter().map(String::as_str)).collect();
        let mut command = self.other(words[0], &words[1..]);
        command.args(args);
        command
    }

    /// Makes later runs use an ordinary user, because permissions do not apply to root.
    #[cfg(target_os = "linux")]
    pub(crate) fn run_unprivileged(&mut self) {
        use std::os::unix::fs::{PermissionsExt, chown};

        const NOBODY: Option<u32> = Some(65_534);
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for name in self.names() {
            chown(self.path(&name), NOBODY, NOBODY).unwrap();
        }
        chown(&self.folder, NOBODY, NOBODY).unwrap();
        let public = tempfile::tempdir().unwrap();
        fs::set_permissions(&public, fs::Permissions::from_mode(0o755)).unwrap();
        let program = public.path().join("strongroom");
        fs::copy(&self.program[0], &program).unwrap();
        let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program.to_str().unwrap()];
        self.program = words.map(str::to_owned).to_vec();
        self.public = Some(public);
    }

    /// Limits later runs to one thread, as an ordinary user, because limits do not apply to root.
    #[cfg(target_os = "linux")]
    pub(crate) fn run_with_one_thread(&mut self) {
        self.run_unprivileged();
        let program = self.program.len() - 1;
        self.program.splice(program..program, ["prlimit", "--nproc=1:1"].map(str::to_owned));
    }

    /// Runs the program, which must succeed and print nothing to stderr. Returns stdout.
    pub(crate) fn ok(&self, args: &[&str], stdin: impl AsRef<[u8]>) -> String {
        let output = feed(&mut self.command(args), stdin.as_ref());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the program, also with `--json`, which must fail with this exit status, print nothing to stdout, and show
    /// no secret. Returns the message.
    pub(crate) fn fail(&self, status: u8, args: &[&str], stdin: impl AsRef<[u8]>) -> String {
        let message = failure(&feed(&mut self.command(args), stdin.as_ref()), status);
        let mut as_json = self.command(&["--json"]);
        as_json.args(args);
        if (args.contains(&"retrieve") || args.contains(&"take")) && !args.contains(&"-o") {
            as_json.args(["-o", "unused"]);
        }
        let as_json = failure(&feed(&mut as_json, stdin.as_ref()), status);
        let as_json: Value = serde_json::from_str(&as_json).unwrap();
        assert_eq!(as_json["error"]["code"], status);
        let detail = as_json["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("error: {detail}\n")), "{detail:?} is not in {message:?}");
        message
    }

    /// The number of records.
    pub(crate) fn records(&self) -> u64 {
        let stats: Value = serde_json::from_str(&self.ok(&["stats", "--json"], "")).unwrap();
        stats["records"].as_u64().unwrap()
    }
}

/// Checks that a run failed with `status`, printed nothing to stdout and showed no secret. Returns the message.
pub(crate) fn failure(output: &Output, status: u8) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(status.into()), "{stderr}");
    assert_eq!(secret_in(&stderr), None, "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    stderr
}

/// The secret that `text` contains, if any.
pub(crate) fn secret_in(text: &str) -> Option<&str> {
    let key = |prefix| {
        let mut rests = text.match_indices(prefix).filter_map(|(start, _)| text.get(start..start + 30));
        rests.find(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    let known = [ID, DATA.trim(), "confidential"].into_iter().find(|secret| text.contains(secret));
    known.or_else(|| key("srk1")).or_else(|| key("srx1"))
}

/// Runs `command` with `stdin`, which it need not read.
pub(crate) fn feed(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut pipe, stdin) = (child.stdin.take().unwrap(), stdin.to_vec());
    std::thread::spawn(move || pipe.write_all(&stdin));
    child.output_within(DEADLINE)
}

/// Makes later programs die of signals, even if `nohup` or a shell has made the tests ignore them: a program does not
/// inherit a handler, but gets the default action instead.
#[cfg(unix)]
fn default_signals() {
    use std::sync::{Arc, Once};

    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = ignored.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap());
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 1) {
            signal_hook::flag::register(signal, Arc::default()).unwrap();
        }
    });
}

#[cfg(not(unix))]
fn default_signals() {}

/// Runs a program on its own terminal. Waits for its prompt (the first argument), inspects the process, types the
/// answer (the second; hidden ones only after the echo is off) or sends the signal of this name, and prints the
/// outcome.
#[cfg(target_os = "linux")]
const TERMINAL: &str = r#"
import json, os, pty, signal, sys, termios, threading
prompt, answer, program = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3:]
signal.alarm(60)  # rather fail than wait for ever
terminal, slave = pty.openpty()  # the slave stays open, to be looked at after the program's end
pid = os.fork()
if pid == 0:
    os.login_tty(slave)
    os.execvp(program[0], program)
shown, seen = b"", {}
def read():
    global shown
    try:
        part = os.read(terminal, 4096)
    except OSError:  # its end
        part = b""
    shown += part
    return part
if prompt:
    while prompt not in shown and read():
        pass
    hidden = b"not shown" in prompt
    while hidden and termios.tcgetattr(terminal)[3] & termios.ECHO:
        pass
    limits = open(f"/proc/{pid}/limits").read().splitlines()
    status = open(f"/proc/{pid}/status").read().splitlines()
    seen["core"] = [line.split()[4:6] for line in limits if line.startswith("Max core file size")]
    seen["umask"] = [line.split()[1] for line in status if line.startswith("Umask")]
    seen["owner"] = os.stat(f"/proc/{pid}/status").st_uid
    if answer.startswith(b"SIG"):
        os.kill(pid, signal.Signals[answer.decode()])
    else:
        os.write(terminal, answer)
def read_all():
    while read():
        pass
reader = threading.Thread(target=read_all)  # a terminal holds little that is not read
reader.start()
seen["status"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
seen["echo"] = bool(termios.tcgetattr(slave)[3] & termios.ECHO)
os.close(slave)
reader.join()
seen["shown"] = shown.decode("latin-1").replace("\r\n", "\n")
print(json.dumps(seen))
"#;

#[cfg(target_os = "linux")]
pub(crate) fn on_terminal(world: &World, prompt: &str, answer: &str, args: &[&str]) -> Value {
    let output = feed(&mut world.through(&["python3", "-c", TERMINAL, prompt, answer], args), b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_search_for_secrets_finds_them() {
    let world = World::new();
    let record_key = world.ok(&["key", "new"], "");
    let index_key = world.ok(&["key", "new", "--index"], "");
    for secret in [&record_key, &index_key, ID, DATA] {
        assert!(secret_in(&format!("error: {secret}: not found")).is_some());
    }
    assert_eq!(secret_in("error: the text is not a record key: a record key starts with \"srk1\""), None);
}
