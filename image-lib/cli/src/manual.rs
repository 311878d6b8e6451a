//! The manual pages are what the table of commands and flags says.
//!
//! `KEEL_WRITE_MANUAL=1 cargo test -p keel-image-cli manual` writes them anew.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clap::CommandFactory as _;

/// The page of every command, by the name of its file.
fn pages() -> BTreeMap<String, String> {
    let mut root = crate::Arguments::command();
    root.build();
    let mut pages = BTreeMap::new();
    collect(&root, "keel-image", &mut pages);
    pages
}

fn collect(command: &clap::Command, name: &str, pages: &mut BTreeMap<String, String>) {
    let mut text = Vec::new();
    let named = command
        .clone()
        .name(&*Box::leak(name.to_owned().into_boxed_str()))
        .disable_help_subcommand(true);
    let page = clap_mangen::Man::new(named).date("").source("keel-image").manual("keel");
    page.render(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    // The version stands in `--version`; a page need not change with it.
    let version = format!(" {}", env!("CARGO_PKG_VERSION"));
    let lines = text.lines().filter(|line| !line.starts_with(&format!("v{}", version.trim())));
    pages.insert(format!("{name}.1"), lines.map(|line| format!("{line}\n")).collect());
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        if below.get_name() != "help" {
            collect(below, &format!("{name}-{}", below.get_name()), pages);
        }
    }
}

#[test]
fn the_pages_are_the_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../man");
    let pages = pages();
    if std::env::var_os("KEEL_WRITE_MANUAL").is_some() {
        for (name, text) in &pages {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    for (name, text) in &pages {
        let written = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(written == *text, "man/{name} is not what the table says: write it anew");
    }
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = name.starts_with("keel-image") && name.ends_with(".1");
        assert!(!is_ours || pages.contains_key(&name), "man/{name} is of no command");
    }
}

#[test]
fn every_shell_has_its_script() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish]
    {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut crate::Arguments::command(), "keel-image", &mut script);
        let script = String::from_utf8(script).unwrap();
        for word in ["fsck", "prune", "no-trunc"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
