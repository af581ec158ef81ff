//! Readers of exports: the environment that `cargo xtask test` makes.

use std::path::Path;
use std::process::Command;

/// Runs a script with these arguments in that environment; what it prints.
#[track_caller]
pub fn python<S: AsRef<std::ffi::OsStr>>(
    script: &str,
    arguments: impl IntoIterator<Item = S>,
) -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let interpreter = target
        .expect("the target directory")
        .join("python/bin/python");
    let mut command = Command::new(&interpreter);
    let output = command.arg("-c").arg(script).args(arguments).output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "run {}: {error} (cargo xtask test makes it)",
            interpreter.display()
        )
    });
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output.stdout),
        said(&output.stderr)
    );
    said(&output.stdout)
}
