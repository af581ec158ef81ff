//! Builds the program that users get.

use std::path::PathBuf;

use crate::command::{self, cargo};
use crate::setup;

/// Leaves `target/release/tracer` and says where that is.
pub fn run() -> anyhow::Result<PathBuf> {
    setup::run(false)?;
    command::run(cargo().args(["build", "--release", "--package=tracer"]))?;
    Ok(target_dir().join("release/tracer"))
}

/// Cargo's own rule, but for a target directory set in a configuration file.
pub fn target_dir() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").filter(|name| !name.is_empty());
    crate::workspace().join(named.map_or_else(|| PathBuf::from("target"), PathBuf::from))
}
