//! Recordings of the running kernel: what a report of one says is what the run itself said.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::check::{check_report, list};
use support::machine::{allowed_cpus, background_workload, until};
use support::pipe::Pipe;
use support::planted::{Planted, cpu};
use support::{Outcome, Running, binary, na, tracer};
use tracer::recording::{Item, Reader, Writer};

fn read(path: &Path) -> Value {
    let text = fs::read(path).expect("read a report");
    serde_json::from_slice(&text).expect("the report is JSON")
}

/// Where two reports differ first.
fn difference(ours: &Value, other: &Value, place: &str) -> Option<String> {
    match (ours, other) {
        (Value::Object(ours), Value::Object(other)) => {
            ours.keys()
                .chain(other.keys())
                .find_map(|key| match (ours.get(key), other.get(key)) {
                    (Some(a), Some(b)) => difference(a, b, &format!("{place}/{key}")),
                    _ => Some(format!("{place}/{key} is in one only")),
                })
        }
        (Value::Array(ours), Value::Array(other)) if ours.len() == other.len() => (0..)
            .zip(ours.iter().zip(other))
            .find_map(|(n, (a, b))| difference(a, b, &format!("{place}/{n}"))),
        _ => (ours != other).then(|| format!("{place}: {ours} and {other}")),
    }
}

/// A run that is recorded, too, with what both say.
#[track_caller]
fn live_and_replayed(run: &[&str], report: &[&str]) -> [Value; 2] {
    let dir = tempfile::tempdir().expect("a directory");
    let [recording, live, replayed] =
        ["recording", "live.json", "replayed.json"].map(|name| dir.path().join(name));
    let mut command = binary();
    command.args(["run", "--format", "json", "-o"]).arg(&live);
    command.arg("--record").arg(&recording).args(run);
    Running::start(&mut command).finish().expect_code(0);
    let mut command = binary();
    command.arg("report").arg(&recording).args(report);
    command.args(["--format", "json", "-o"]).arg(&replayed);
    Running::start(&mut command).finish().expect_code(0);
    [read(&live), read(&replayed)]
}

#[track_caller]
fn expect_the_same([live, replayed]: &[Value; 2]) {
    check_report(live);
    if let Some(difference) = difference(live, replayed, "") {
        panic!("live and replayed: {difference}");
    }
}

#[test]
fn the_whole_system_is_replayed_to_the_last_number() {
    let load = background_workload(&["demo", "--duration", "1500ms"]);
    let options = ["--slower", "1ms"];
    let both = live_and_replayed(
        &["--duration", "1s", "--forks", "--slower", "1ms"],
        &options,
    );
    expect_the_same(&both);
    assert!(
        both[0]["system"]["switches"].as_u64() > Some(100),
        "{}",
        both[0]["system"]
    );
    drop(load);
}

#[test]
fn a_target_is_replayed_with_its_memory() {
    let load = background_workload(&["sleepers", "--duration", "3s"]);
    let pid = load.id().to_string();
    let both = live_and_replayed(&["--pid", &pid, "--duration", "500ms"], &[]);
    expect_the_same(&both);
    let [process] = list(&both[1], "processes") else {
        panic!("one process: {:#}", both[1])
    };
    assert_eq!(process["memory"]["source"], "procfs");
}

#[test]
fn a_command_is_replayed_from_its_first_instruction() {
    let command = ["--forks", "--", "sh", "-c", "true; sleep 0.1"];
    let both = live_and_replayed(&command, &[]);
    expect_the_same(&both);
    assert!(
        both[1]["execs_total"].as_u64() >= Some(2),
        "{:#}",
        both[1]["execs"]
    );
}

fn record(args: &[&str]) -> (tempfile::TempDir, Outcome) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = binary();
    command
        .arg("record")
        .arg("-o")
        .arg(dir.path().join("recording"));
    let outcome = Running::start(command.args(args)).finish();
    (dir, outcome)
}

#[test]
fn a_recording_is_its_owners_and_passes_the_status_of_its_command() {
    let (dir, outcome) = record(&["--", "sh", "-c", "exit 7"]);
    outcome.expect_code(7);
    assert!(outcome.stdout.is_empty(), "no report was asked for");
    let told = outcome.stderr();
    assert!(told.starts_with("recorded "), "{told}");
    let recording = dir.path().join("recording");
    let mode = fs::metadata(&recording)
        .expect("a recording")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let name = recording.display().to_string();
    let report = tracer(["report", &name, "--format", "json"]);
    report.expect_code(0);
    let report = report.json();
    assert_eq!(report["window"]["end_reason"], "target_exit");
    assert_eq!(report["quality"]["verdict"], "valid");
}

/// What all processes did, one number for each kind.
fn sums(report: &Value) -> Vec<u64> {
    let keys = [
        "lifetime_ns",
        "run_ns",
        "wait_ns",
        "sleep_ns",
        "block_ns",
        "migrations",
    ];
    let switches = ["voluntary", "involuntary"];
    let processes = list(report, "processes");
    let of = |pointer: String| {
        let all = processes.iter();
        all.filter_map(|process| process.pointer(&pointer)?.as_u64())
            .sum()
    };
    let totals = keys.iter().map(|key| format!("/totals/{key}"));
    let switches = switches.iter().map(|key| format!("/totals/switches/{key}"));
    totals.chain(switches).map(of).collect()
}

#[test]
fn parts_of_the_time_add_up_to_all_of_it() {
    let load = background_workload(&["demo", "--duration", "1500ms"]);
    let (dir, outcome) = record(&["--duration", "1s"]);
    outcome.expect_code(0);
    drop(load);
    let name = dir.path().join("recording").display().to_string();
    let ask = |part: &[&str]| {
        let mut args = vec!["report", &name, "--format", "json", "--slower", "1ms"];
        args.extend(part);
        let outcome = tracer(args);
        outcome.expect_code(0);
        outcome.json()
    };
    let whole = ask(&[]);
    let parts = [
        ask(&["--to", "300ms"]),
        ask(&["--from", "300ms", "--to", "700ms"]),
        ask(&["--from", "700ms"]),
    ];
    for (part, begins) in parts.iter().zip([0, 300_000_000, 700_000_000]) {
        let start = |report: &Value| report["window"]["start_monotonic_ns"].as_u64();
        assert_eq!(start(part), start(&whole).map(|start| start + begins));
        assert_eq!(part["quality"]["verdict"], "valid", "{:#}", part["quality"]);
        assert!(part["cost"].is_null(), "of all of it only");
    }
    let lengths = parts
        .each_ref()
        .map(|part| part["window"]["duration_ns"].as_u64());
    assert_eq!(lengths[..2], [Some(300_000_000), Some(400_000_000)]);
    let mut added = vec![0; 8];
    for part in &parts {
        for (sum, one) in added.iter_mut().zip(sums(part)) {
            *sum += one;
        }
    }
    assert_eq!(added, sums(&whole));
    assert!(added.iter().all(|sum| *sum > 0), "{added:?}");

    for (args, code, says) in [
        (["--from", "2s"], 1, "it ends before --from"),
        (
            ["--from=20ms", "--to=10ms"],
            2,
            "nothing lies before --from",
        ),
    ] {
        let outcome = tracer([["report", name.as_str()], args].concat());
        outcome.expect_code(code);
        let told = outcome.stderr();
        assert!(told.starts_with("error: ") && told.contains(says), "{told}");
    }
}

#[test]
fn a_part_of_a_recording_is_asked_for_later() {
    let load = background_workload(&["sleepers", "--count", "40", "--duration", "3s"]);
    let (dir, outcome) = record(&["--duration", "500ms"]);
    outcome.expect_code(0);
    let name = dir.path().join("recording").display().to_string();
    let pid = load.id().to_string();
    for (option, value, threads) in [("--pid", pid.as_str(), 41), ("--comm", "^sleeper-37$", 1)] {
        let outcome = tracer(["report", &name, option, value, "--format", "json"]);
        outcome.expect_code(0);
        let report = outcome.json();
        assert_eq!(report["target"]["threads"], threads, "{option} {value}");
    }
    let outcome = tracer(["report", &name, "--cgroup", "/no/such/group"]);
    outcome.expect_code(1);
    assert!(
        outcome.stderr().contains("the recording has none"),
        "{}",
        outcome.stderr()
    );
}

#[test]
fn the_newest_records_are_kept() {
    // More than a megabyte, in a few seconds.
    let mut pipe = Pipe::held(allowed_cpus().pop().expect("a CPU"));
    pipe.open();
    let dir = tempfile::tempdir().expect("a directory");
    let recording = dir.path().join("recording");
    let mut command = binary();
    command
        .args(["record", "--max-size", "1MiB", "-o"])
        .arg(&recording);
    let tracer = Running::start(&mut command);
    pipe.goes_on_for(1_000_000);
    tracer.signal(Signal::INT);
    let outcome = tracer.finish();
    drop(pipe);
    outcome.expect_code(0);
    let told = outcome.stderr();
    assert!(told.contains("wrote the newest records"), "{told}");
    let size = fs::metadata(&recording).expect("a recording").len();
    assert!(size < 1_200_000, "{size} bytes");
    let name = recording.display().to_string();
    let report = tracer_report(&name);
    assert_eq!(
        report["quality"]["verdict"], "valid",
        "{:#}",
        report["quality"]
    );
    assert_eq!(report["window"]["end_reason"], "signal");
    let received = report["quality"]["received_switches"]
        .as_u64()
        .expect("a number");
    assert!((50_000..900_000).contains(&received), "{received}");
}

/// What a recording says, which must hold what the contract promises.
#[track_caller]
fn tracer_report(name: &str) -> Value {
    let outcome = tracer(["report", name, "--slower", "30ms", "--format", "json"]);
    outcome.expect_code(0);
    let report = outcome.json();
    check_report(&report);
    report
}

#[test]
fn what_was_before_a_spike_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let recording = dir.path().join("recording");
    let mut victim = Planted::pinned(cpu(), &["burns", "--duration", "20s"]);
    victim.begin();
    let mut command = binary();
    command.args(["record", "--on-spike", "30ms", "--keep", "500ms", "--pid"]);
    command.arg(victim.pid_text()).arg("-o").arg(&recording);
    let tracer = Running::start(&mut command);
    // More than is kept before a spike.
    std::thread::sleep(Duration::from_millis(1_500));
    for file in ["recording", "recording.1"] {
        let pulse = ["pulses", "--count", "1", "--duration", "60ms"];
        let mut neighbour = Planted::pinned(cpu(), &pulse);
        if !neighbour.policy("--fifo", 50) {
            let why = "no thread may be a real-time one";
            return na("what_was_before_a_spike_is_written", why);
        }
        neighbour.open();
        neighbour.ends();
        let name = dir.path().join(file).display().to_string();
        until("the recording is written", || tracer_has_written(&name));
        // What is kept for the next one is all after this.
        std::thread::sleep(Duration::from_millis(700));
    }
    tracer.signal(Signal::INT);
    tracer.finish().expect_code(0);
    let mut named = 0;
    for file in fs::read_dir(dir.path()).expect("a directory").flatten() {
        let report = tracer_report(&file.path().display().to_string());
        let quality = &report["quality"];
        assert_eq!(quality["verdict"], "valid", "{quality:#}");
        let length = report["window"]["duration_ns"].as_u64();
        // What is kept before, a second after, and a part more that is not forgotten yet.
        assert!(length > Some(500_000_000), "{length:?}");
        assert!(length < Some(4_000_000_000), "{length:?}");
        let spikes = list(&report, "spikes");
        assert!(spikes.iter().all(|spike| spike["pid"] == victim.pid()));
        // Whoever else there is on this machine may be the cause of more of them.
        let planted = |spike: &&Value| spike["waited_for"][0]["policy"] == "SCHED_FIFO";
        named += spikes.iter().filter(planted).count();
    }
    assert_eq!(named, 2);
}

fn tracer_has_written(name: &str) -> bool {
    // A file that is being written is cut off.
    let outcome = tracer(["report", name, "--format", "json"]);
    outcome.status.success() && outcome.stderr().is_empty()
}

#[test]
fn without_a_spike_nothing_is_left_behind() {
    let sleeper = background_workload(&["sleepers", "--count", "2", "--duration", "5s"]);
    let pid = sleeper.id().to_string();
    let options = ["--on-spike", "1m", "--pid", &pid, "--duration", "500ms"];
    let (dir, outcome) = record(&options);
    outcome.expect_code(0);
    assert!(
        outcome.stderr().contains("nothing is written"),
        "{}",
        outcome.stderr()
    );
    assert!(!dir.path().join("recording").exists());
    // What is no file stays where it is.
    let device = dir.path().join("null");
    let mut mknod = Command::new("mknod");
    let made = mknod.arg(&device).args(["c", "1", "3"]).status();
    assert!(made.expect("run mknod").success());
    let name = device.display().to_string();
    let outcome = tracer([&["record", "-o", &name][..], &options].concat());
    outcome.expect_code(0);
    assert!(device.exists());
    for (option, value) in [("--max-size", "1KiB"), ("--keep", "1s")] {
        let (_, outcome) = record(&[option, value]);
        outcome.expect_code(2);
    }
}

#[test]
fn what_was_cut_off_is_read_as_far_as_it_goes() {
    // A tracer that is killed leaves what it has written.
    let load = background_workload(&["demo", "--duration", "8s"]);
    let dir = tempfile::tempdir().expect("a directory");
    let recording = dir.path().join("recording");
    let mut command = binary();
    command.arg("record").arg("-o").arg(&recording);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("start the tracer");
    std::thread::sleep(std::time::Duration::from_millis(3_500));
    child.kill().expect("kill the tracer");
    child.wait().expect("wait for it");
    drop(load);
    let name = recording.display().to_string();
    let outcome = tracer(["report", &name, "--format", "json"]);
    outcome.expect_code(0);
    assert!(
        outcome.stderr().contains("was cut off"),
        "{}",
        outcome.stderr()
    );
    let report = outcome.json();
    assert_eq!(report["window"]["end_reason"], "recording_end");
    assert_eq!(
        report["quality"]["verdict"], "degraded",
        "its end was not checked"
    );
    assert_eq!(report["cost"], Value::Null);
    let duration = report["window"]["duration_ns"].as_u64();
    assert!(duration > Some(1_000_000_000), "{duration:?}");
    assert!(report["quality"]["received_switches"].as_u64() > Some(100));
}

#[test]
fn what_is_no_recording_is_refused_in_one_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, b"tracer\r\n\xff\xff and more of it").expect("write a file");
    let name = file.display().to_string();
    for (path, why) in [
        (name.as_str(), "made by a newer tracer"),
        ("/dev/null", "not a recording"),
        ("/no/such/file", "No such file"),
    ] {
        let outcome = tracer(["report", path]);
        outcome.expect_code(1);
        let text = outcome.stderr();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.starts_with("error: read recording ") && text.contains(why),
            "{text}"
        );
    }
    let full = Command::new(binary().get_program())
        .args(["record", "-o", "/dev/full", "--duration", "200ms"])
        .output()
        .expect("run the tracer");
    assert_eq!(full.status.code(), Some(1));
    let text = String::from_utf8_lossy(&full.stderr);
    assert!(text.contains("No space left on device"), "{text}");
}

/// A file system with little room, gone with this.
struct Small(tempfile::TempDir);

impl Small {
    fn new(size: &str) -> Small {
        let dir = tempfile::tempdir().expect("a directory");
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(dir.path());
        assert!(mount.status().expect("run mount").success());
        Small(dir)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_fills_up_ends_the_recording_and_what_is_there_is_read() {
    let small = Small::new("128k");
    let recording = small.0.path().join("recording");
    let name = recording.display().to_string();
    let load = background_workload(&["demo", "--duration", "20s"]);
    let outcome = tracer(["record", "-o", &name, "--duration", "15s"]);
    drop(load);
    outcome.expect_code(1);
    let told = outcome.stderr();
    assert!(told.starts_with("error: write recording to "), "{told}");
    assert!(told.contains("No space left on device"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    let outcome = tracer(["report", &name, "--format", "json"]);
    outcome.expect_code(0);
    assert!(
        outcome.stderr().contains("was cut off"),
        "{}",
        outcome.stderr()
    );
    let report = outcome.json();
    assert_eq!(report["quality"]["verdict"], "degraded");
    assert!(report["quality"]["received_switches"].as_u64() > Some(100));
}

/// A recording of a second, in several blocks.
fn several_blocks() -> (tempfile::TempDir, Vec<u8>) {
    let load = background_workload(&["demo", "--duration", "4s"]);
    let (dir, outcome) = record(&["--duration", "3s"]);
    outcome.expect_code(0);
    drop(load);
    let bytes = fs::read(dir.path().join("recording")).expect("read a recording");
    (dir, bytes)
}

/// Where the payload of each block is: sizes are as docs/ARCHITECTURE.md has them.
fn payloads(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let size = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let mut at = 22 + size(14) as usize;
    let mut found = Vec::new();
    while at < bytes.len() {
        let begins = at + 40;
        at = begins + size(at + 8) as usize;
        found.push(begins..at);
    }
    assert_eq!(at, bytes.len());
    found
}

#[test]
fn a_flipped_bit_in_any_block_is_told() {
    let (dir, bytes) = several_blocks();
    let blocks = payloads(&bytes);
    assert!(blocks.len() > 3, "{blocks:?}");
    let name = dir.path().join("damaged").display().to_string();
    let mut received = Vec::new();
    for block in &blocks {
        let mut damaged = bytes.clone();
        damaged[block.start + block.len() / 2] ^= 4;
        fs::write(&name, &damaged).expect("write a file");
        let outcome = tracer(["report", &name, "--format", "json"]);
        outcome.expect_code(0);
        assert!(
            outcome.stderr().contains("was cut off"),
            "{}",
            outcome.stderr()
        );
        let report = outcome.json();
        let quality = &report["quality"];
        assert_eq!(quality["verdict"], "degraded", "{quality:#}");
        let said = quality["reasons"].to_string();
        assert!(said.contains("cut off"), "{said}");
        received.push(quality["received_switches"].as_u64().expect("a number"));
    }
    // As far as it could be read: of the later block more.
    assert!(
        received.is_sorted() && received.last() > received.first(),
        "{received:?}"
    );
}

#[test]
fn a_file_that_ends_anywhere_is_an_error_or_a_part() {
    let (dir, bytes) = several_blocks();
    let name = dir.path().join("cut").display().to_string();
    let header = 22 + payloads(&bytes)[0].start - 40 - 22;
    let lengths = (0..20)
        .map(|step| bytes.len() * step / 20)
        .chain([7, 21, header - 1, header]);
    for length in lengths {
        fs::write(&name, &bytes[..length]).expect("write a file");
        let outcome = tracer(["report", &name, "--format", "json"]);
        let told = outcome.stderr();
        if length < header {
            outcome.expect_code(1);
            assert!(told.starts_with("error: read recording "), "{told}");
        } else {
            outcome.expect_code(0);
            assert!(told.contains("was cut off"), "{told}");
            assert_eq!(outcome.json()["quality"]["verdict"], "degraded");
        }
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

/// The numbers in a file are the same everywhere; what its machine was is in its header.
#[test]
fn a_recording_of_another_architecture_is_told_as_there() {
    let (dir, outcome) = record(&["--", "sh", "-c", "sleep 0.1"]);
    outcome.expect_code(0);
    let file = fs::read(dir.path().join("recording")).expect("read a recording");
    let mut reader = Reader::open(file.as_slice()).expect("a recording");
    let header = String::from_utf8_lossy(reader.header()).into_owned();
    let native = format!("\"arch\":\"{}\"", std::env::consts::ARCH);
    let other = match std::env::consts::ARCH {
        "aarch64" => "x86_64",
        _ => "aarch64",
    };
    assert!(header.contains(&native), "{header}");
    let header = header.replace(&native, &format!("\"arch\":\"{other}\""));
    let mut writer = Writer::new(Vec::new(), header.as_bytes()).expect("memory takes all");
    while reader
        .next_block(|item| {
            match item {
                Item::Record(bytes) => writer.record(bytes),
                Item::Advance(watermark) => writer.advance(watermark),
            }
            .expect("memory takes all");
        })
        .expect("a slice can be read")
    {}
    let trailer = reader.trailer().expect("it is whole").to_vec();
    let elsewhere = dir.path().join("elsewhere");
    let written = writer.finish(&trailer).expect("memory takes all");
    fs::write(&elsewhere, written).expect("write a file");
    let ask = |name: &Path| {
        let outcome = tracer(["report", &name.display().to_string(), "--format", "json"]);
        outcome.expect_code(0);
        outcome.json()
    };
    let [mut here, mut there] = [ask(&dir.path().join("recording")), ask(&elsewhere)];
    assert_eq!(there["host"]["arch"], other);
    // The number of a call is another call there.
    let slept = |report: &Value| {
        let all = report["processes"].to_string();
        all.contains("\"syscall\":\"clock_nanosleep\"")
    };
    assert!(slept(&here) && !slept(&there));
    for report in [&mut here, &mut there] {
        report["host"]["arch"].take();
        for process in report["processes"].as_array_mut().expect("a list") {
            for thread in process["threads"].as_array_mut().expect("a list") {
                // Names of system calls are what differs.
                thread["off_cpu"].take();
                thread["blocked_on"].take();
            }
        }
        report["insights"].take();
    }
    assert_eq!(difference(&here, &there, ""), None);
}
