//! What the program is built upon: its licences and sources, and what is known against it, as `.cargo/deny.toml` says.

use std::process::Command;

use crate::command::{self, show};
use crate::{setup, workspace};

/// Each has its own versions.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "tracer/fuzz/Cargo.toml"];

pub fn licences() -> anyhow::Result<()> {
    check(&["licenses", "bans", "sources"])
}

/// `None`: there is no copy of what is known, and none can be had.
pub fn advisories() -> anyhow::Result<Option<()>> {
    let mut fetch = deny(MANIFESTS[0])?;
    fetch.args(["fetch", "db"]);
    println!("$ {}", show(&fetch));
    if !fetch.status().is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    check(&["advisories"]).map(Some)
}

fn check(what: &[&str]) -> anyhow::Result<()> {
    for manifest in MANIFESTS {
        command::run(
            deny(manifest)?
                .args(["check", "--hide-inclusion-graph"])
                .args(what),
        )?;
    }
    Ok(())
}

fn deny(manifest: &str) -> anyhow::Result<Command> {
    let mut deny = Command::new(setup::deny()?);
    deny.current_dir(workspace())
        .args(["--manifest-path", manifest])
        .args(["--locked", "--config", ".cargo/deny.toml"])
        // A network that does not answer must not be waited for.
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_HTTP_LOW_SPEED_LIMIT", "1000")
        .env("GIT_HTTP_LOW_SPEED_TIME", "20");
    Ok(deny)
}
