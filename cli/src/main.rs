//! The program `strongroom`: the library for the shell. Data and keys are passed in files and pipes, never in
//! arguments. The exit status is the number of the library's error, or 64 for wrong usage.

mod arg_path;
mod args;
mod bootstrap;
#[cfg(feature = "server")]
mod certificate;
#[cfg(feature = "server")]
mod certificate_args;
mod command_facts;
mod commands;
mod examples;
mod failure;
mod hardening;
mod health;
mod ids;
mod in_use;
mod index_key;
mod input;
mod interrupt;
mod kept_keys;
mod key_args;
mod keyring;
mod keyring_args;
mod keys;
mod new_file;
#[cfg(feature = "server")]
mod nodes;
mod open;
mod options;
mod output;
mod pages;
mod progress;
mod read_args;
mod records;
mod reply;
mod retain;
#[cfg(feature = "server")]
mod runtime;
mod secret_command;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "server")]
mod serve_args;
#[cfg(feature = "server")]
mod serve_config;
#[cfg(feature = "server")]
mod serve_signals;
mod sizes;
mod streams;
#[cfg(feature = "server")]
mod systemd;
mod terminal;
mod times;
#[cfg(feature = "server")]
mod token;
mod transfer;
#[cfg(unix)]
mod tree;
#[cfg(not(unix))]
#[path = "tree/unsupported.rs"]
mod tree;
mod tree_args;
mod usage;
mod values;
mod verify;
mod version_args;

use std::alloc::System;
use std::process::ExitCode;

use args::Cli;
use zeroizing_alloc::ZeroAlloc;

/// Wipes freed memory: buffers of data, keys and tokens, also those of dependencies.
#[global_allocator]
static WIPING: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    let json = cli.options.json;
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}
