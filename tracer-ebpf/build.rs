//! Links again when bpf-linker is another one: cargo does not know that it is an input.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let path = env::var_os("PATH").unwrap_or_default();
    let linker = env::split_paths(&path)
        .map(|dir| dir.join("bpf-linker"))
        .find(|f| f.is_file());
    if let Some(linker) = linker {
        println!("cargo::rerun-if-changed={}", linker.display());
    }
}
