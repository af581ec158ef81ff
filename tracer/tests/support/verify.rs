//! What `tracer verify` found, and what is left of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::check::list;
use super::{Running, binary, pause};

/// Longer than any of these runs takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// One quick run of these experiments.
#[track_caller]
pub fn quick(names: &[&str]) -> Value {
    found(binary().args(asked(names)))
}

/// The same by nobody in particular.
#[track_caller]
pub fn quick_unprivileged(names: &[&str]) -> Value {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().expect("a directory for the binary");
    let copy = dir.path().join("tracer");
    fs::copy(binary().get_program(), &copy).expect("copy the binary");
    for path in [dir.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("let all in");
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "nobody", "--clear-groups"]);
    command.arg(copy).current_dir("/").args(asked(names));
    found(&mut command)
}

fn asked<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let only = names.iter().flat_map(|name| ["--only", name]);
    ["verify", "--quick", "--format", "json"]
        .into_iter()
        .chain(only)
        .collect()
}

#[track_caller]
fn found(command: &mut Command) -> Value {
    let outcome = Running::start(command).within(PATIENCE).finish();
    outcome.expect_code(0);
    outcome.json()
}

#[track_caller]
pub fn measurement<'a>(document: &'a Value, name: &str) -> &'a Value {
    list(document, "experiments")
        .iter()
        .flat_map(|experiment| list(experiment, "measurements"))
        .find(|measurement| measurement["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {document:#}"))
}

#[track_caller]
pub fn median(document: &Value, name: &str) -> f64 {
    let measurement = measurement(document, name);
    let median = measurement["median"].as_f64();
    median.unwrap_or_else(|| panic!("{measurement:#}"))
}

#[track_caller]
pub fn claim<'a>(document: &'a Value, name: &str) -> &'a Value {
    list(document, "claims")
        .iter()
        .find(|claim| claim["name"] == name)
        .unwrap_or_else(|| panic!("no claim {name} in {document:#}"))
}

/// Whatever was found, it is told whole: no verdict without a reason, no number without how often it was measured, and
/// nothing missing without saying why.
#[track_caller]
pub fn expect_whole(document: &Value) {
    assert_eq!(document["schema"], "tracer.verify.v1");
    let mut names = BTreeSet::new();
    for claim in list(document, "claims") {
        let name = claim["name"].as_str().expect("a name");
        assert!(names.insert(name), "{name} twice");
        for said in ["claim", "source"] {
            assert!(
                claim[said].as_str().is_some_and(|it| !it.is_empty()),
                "{claim:#}"
            );
        }
        assert!(
            claim["because"].as_str().is_some_and(|it| it.len() > 10),
            "{claim:#}"
        );
        let verdict = claim["verdict"].as_str().expect("a verdict");
        let known = claim["measured"].is_number() && claim["n"].as_u64() > Some(0);
        assert!(
            ["confirmed", "refuted", "depends"].contains(&verdict) == known,
            "{claim:#}"
        );
        assert!(known || verdict == "n/a", "{claim:#}");
    }
    for experiment in list(document, "experiments") {
        assert!(experiment["not_measured"].is_null(), "{experiment:#}");
        assert!(
            experiment["method"]
                .as_str()
                .is_some_and(|it| it.len() > 40)
        );
        for measurement in list(experiment, "measurements") {
            let name = measurement["name"].as_str().expect("a name");
            assert!(names.insert(name), "{name} twice");
            let known = measurement["median"].is_number() && measurement["p99"].is_number();
            let why = measurement["not_measured"].as_str().unwrap_or_default();
            assert!(known == why.is_empty(), "{measurement:#}");
            assert!(
                known == (measurement["n"].as_u64() > Some(0)),
                "{measurement:#}"
            );
            if let Some([low, high]) = measurement["interval"].as_array().map(Vec::as_slice) {
                let at = measurement["median"].as_f64();
                assert!(low.as_f64() <= at && at <= high.as_f64(), "{measurement:#}");
            }
        }
    }
}

/// Ends a run in the middle, when patterns are on: nothing of it is there a moment later.
#[track_caller]
pub fn expect_nothing_left(names: &[&str], signal: Signal, after: Duration) {
    let before = running();
    let mut command = binary();
    command.args(["verify", "--thorough"]);
    command.args(names.iter().flat_map(|name| ["--only", name]));
    let verify = Running::start(&mut command);
    let until = Instant::now() + after;
    while Instant::now() < until || running().difference(&before).count() < 2 {
        assert!(!verify.has_ended(), "{names:?} ended by itself");
        pause();
    }
    // To it alone: a terminal would tell its children, too.
    verify.signal(signal);
    let status = verify.finish().status;
    let code = (signal == Signal::INT).then_some(130);
    assert_eq!(status.code(), code, "{status}");
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        let left: Vec<u32> = running().difference(&before).copied().collect();
        if left.is_empty() {
            break;
        }
        assert!(
            Instant::now() < patience,
            "{names:?}, {signal:?}: left {left:?}"
        );
        pause();
    }
}

/// Processes of this binary, and of the scripts that it starts, by pid.
fn running() -> BTreeSet<u32> {
    let own = Path::new(env!("CARGO_BIN_EXE_tracer"));
    let own = own.canonicalize().expect("the binary is there");
    let is_ours = |pid: &u32| {
        // Whoever is gone is nobody's.
        let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        exe.as_deref() == Some(own.as_path()) || command.contains("threads or processes of Python")
    };
    let pids = fs::read_dir("/proc").expect("list /proc").flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(is_ours)
        .collect()
}
