//! Completions for shells and the manual pages, generated from the definition of the command line.

use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::Cli;
use crate::failure::Failure;
use crate::in_use::InUse;
use crate::output::Output;
use crate::streams;

pub(crate) fn print_completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "strongroom", &mut script);
    streams::print(&script).map_err(Failure::stdout)
}

pub(crate) fn write_manual(folder: &Path, in_use: &InUse) -> Result<(), Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    write_pages(&command, folder, in_use)
}

/// Writes the page of a command, and the pages of its subcommands.
fn write_pages(command: &Command, folder: &Path, in_use: &InUse) -> Result<(), Failure> {
    const CANNOT_WRITE: &str = "cannot write the manual to DIR";

    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_pages(command, folder, in_use)?;
    }
    let man = Man::new(command.clone());
    let path = folder.join(man.get_filename());
    Output::check(&path, in_use)?;
    let mut page = Vec::new();
    render(command, &man, &mut page).map_err(Failure::io(CANNOT_WRITE))?;
    std::fs::write(path, page).map_err(Failure::io(CANNOT_WRITE))
}

/// Renders as `clap_mangen` does, but the examples and tables keep their lines, and variables have their own section.
fn render(command: &Command, man: &Man, page: &mut Vec<u8>) -> io::Result<()> {
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    environment(command).to_writer(page)?;
    page.write_all(after_help(command).as_bytes())
}

fn environment(command: &Command) -> Roff {
    let mut section = Roff::new();
    let variables = command.get_arguments().filter_map(|arg| Some((arg.get_env()?.to_str()?, arg.get_long()?)));
    for (n, (variable, option)) in variables.enumerate() {
        if n == 0 {
            section.control("SH", ["ENVIRONMENT"]);
            section.text([roman("An empty variable counts as unset.")]);
        }
        section.control("TP", []);
        section.text([bold(variable)]);
        section.text([roman("Used if "), bold(format!("--{option}")), roman(" is not given.")]);
    }
    section
}

/// Makes a section of each part with a title, without reflowing its lines.
fn after_help(command: &Command) -> String {
    let mut page = String::new();
    for line in command.get_after_help().map(ToString::to_string).unwrap_or_default().lines() {
        match line.strip_suffix(':').filter(|title| !title.starts_with(' ')) {
            Some(title) => page.push_str(&format!(".fi\n.SH {}\n.nf\n", title.to_uppercase())),
            None => {
                let line = line.strip_prefix("  ").unwrap_or(line); // a section has its own indentation
                let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
                page.push_str(&format!("\\&{line}\n"));
            }
        }
    }
    page.push_str(".fi\n");
    page
}
