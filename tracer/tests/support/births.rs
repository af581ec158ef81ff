//! Births, execs and ends in reports, and what strace says of the same.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::check::list;
use super::trace::{Traced, expect_valid, traced};
use super::{na, threads};

pub const TRACER: &str = env!("CARGO_BIN_EXE_tracer");

/// How many there were of each kind, by the creator's name.
pub type Kinds = BTreeMap<(String, String), u64>;

/// Traces a command with all that `--forks` tells, in a report that must be valid.
#[track_caller]
pub fn forked(command: &[&str]) -> Value {
    let Traced { outcome, report } = traced(&[&["--forks", "--"], command].concat());
    expect_valid(&report);
    outcome.expect_code(0);
    report
}

#[track_caller]
pub fn number(value: &Value, pointer: &str) -> u64 {
    let number = value.pointer(pointer).and_then(Value::as_u64);
    number.unwrap_or_else(|| panic!("{pointer} is no number in {value:#}"))
}

/// Whether system calls are told, and so what births and execs took in them. Where they are not, says that this
/// is n/a.
pub fn tells_calls(report: &Value) -> bool {
    let told = list(report, "execs")
        .iter()
        .any(|exec| exec["syscall_ns"].is_u64());
    if !told {
        na("system-calls", "this kernel does not tell system calls");
    }
    told
}

/// Of the one row in a list for which all of these are so.
#[track_caller]
pub fn only<'a>(report: &'a Value, rows: &str, wanted: &[(&str, &str)]) -> &'a Value {
    let is = |row: &&Value| {
        let mut wanted = wanted.iter();
        wanted.all(|(pointer, text)| row.pointer(pointer).is_some_and(|found| found == text))
    };
    let found: Vec<&Value> = list(report, rows).iter().filter(is).collect();
    let [row] = found[..] else {
        panic!("{rows} with {wanted:?}: {found:#?}")
    };
    row
}

pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default()
}

/// As the list of births has them.
pub fn kinds(report: &Value) -> Kinds {
    let mut kinds = Kinds::new();
    for fork in list(report, "forks") {
        let key = (
            text(fork, "/kind").into(),
            text(fork, "/parent/comm").into(),
        );
        *kinds.entry(key).or_default() += 1;
    }
    kinds
}

/// As the sums have them.
pub fn summed_kinds(report: &Value) -> Kinds {
    let mut kinds = Kinds::new();
    for cost in list(report, "fork_costs") {
        let key = (text(cost, "/kind").into(), text(cost, "/comm").into());
        *kinds.entry(key).or_default() += number(cost, "/count");
    }
    kinds
}

pub fn expected(kinds: &[(&str, &str, u64)]) -> Kinds {
    let kind = |&(kind, comm, count): &(&str, &str, u64)| ((kind.into(), comm.into()), count);
    kinds.iter().map(kind).collect()
}

/// What strace saw.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub births: Kinds,
    pub execs: u64,
}

impl Calls {
    /// Runs a command under strace, to its success.
    #[track_caller]
    pub fn of(command: &[&str], directory: &Path) -> Calls {
        let log = tempfile::NamedTempFile::new().expect("a file for strace");
        let mut strace = Command::new("strace");
        strace
            .args([
                "-f",
                "-Y",
                "-e",
                "trace=clone,clone3,fork,vfork,execve",
                "-o",
            ])
            .arg(log.path())
            .args(command)
            .current_dir(directory);
        let output = strace.output().expect("run strace");
        assert!(output.status.success(), "{output:?}");
        Calls::parse(&fs::read_to_string(log.path()).expect("read what strace wrote"))
    }

    pub fn of_report(report: &Value) -> Calls {
        Calls {
            births: kinds(report),
            execs: number(report, "/execs_total"),
        }
    }

    /// Lines like `17<sh> vfork( <unfinished ...>` and `17<sh> <... vfork resumed>) = 18<true>`.
    #[track_caller]
    fn parse(log: &str) -> Calls {
        let mut calls = Calls::default();
        let mut begun: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        for line in log.lines() {
            let Some((who, what)) = line.split_once("> ") else {
                panic!("strace wrote {line:?}")
            };
            let (pid, comm) = who.split_once('<').expect("pid<name>");
            let what = what.trim_start();
            let (comm, call) = if what.ends_with("<unfinished ...>") {
                begun.insert(pid, (comm, what));
                continue;
            } else if what.starts_with("<... ") {
                begun.remove(pid).expect("what is resumed was begun")
            } else {
                (comm, what)
            };
            let result = what.rsplit_once(" = ").map_or("", |(_, result)| result);
            let done = result.starts_with(|c: char| c.is_ascii_digit());
            let Some((name, _)) = call.split_once('(') else {
                continue;
            };
            match name {
                _ if !done => {}
                "execve" => calls.execs += 1,
                "clone" | "clone3" | "fork" | "vfork" => {
                    let kind = if call.contains("CLONE_THREAD") {
                        "thread"
                    } else if name == "vfork" || call.contains("CLONE_VFORK") {
                        "vfork"
                    } else {
                        "fork"
                    };
                    *calls.births.entry((kind.into(), comm.into())).or_default() += 1;
                }
                _ => {}
            }
        }
        calls
    }
}

/// Of a tree that the report lists parents first: the position of each one's parent.
pub fn parents(tree: &[Value]) -> Vec<Option<usize>> {
    let depth = |row: &Value| number(row, "/depth");
    let mut path: Vec<usize> = Vec::new();
    let mut parents = Vec::new();
    for (position, row) in tree.iter().enumerate() {
        path.truncate(depth(row) as usize);
        parents.push(path.last().copied());
        path.push(position);
    }
    parents
}

const KINDS: [&str; 4] = ["fork", "vfork", "thread", "worker"];
const BRANCH: [&str; 6] = [
    "processes",
    "threads",
    "run_ns",
    "wait_ns",
    "births",
    "execs",
];

/// What a report breaks of what is promised of births, execs and ends; empty when nothing. An interval tells none.
pub fn problems(report: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let Some(measured) = report["forks_measured"].as_bool() else {
        return found;
    };
    for name in ["forks", "execs", "exits"] {
        let total = report[format!("{name}_total")].as_u64();
        let rows = list(report, name);
        if total < Some(rows.len() as u64) {
            found.push(format!("{} of {total:?} {name}", rows.len()));
        }
        if !rows.is_sorted_by_key(|row| row["at_ns"].as_i64()) {
            found.push(format!("{name}: not in order of time"));
        }
        let key = |row: &Value| {
            let tid = row.get("child").unwrap_or(row)["tid"].as_u64();
            (tid, row["at_ns"].as_i64())
        };
        let distinct: HashSet<_> = rows.iter().map(key).collect();
        if distinct.len() != rows.len() {
            found.push(format!("{name}: the same one twice"));
        }
    }
    for fork in list(report, "forks") {
        found.extend(fork_problem(fork, measured).map(|what| format!("{what}: {fork}")));
    }
    for (name, keys) in [
        ("execs", &["syscall_ns"][..]),
        ("exits", &["reaped_after_ns", "teardown_ns"]),
    ] {
        let told = |row: &&Value| keys.iter().any(|key| !row[*key].is_null());
        if let Some(row) = list(report, name).iter().find(told)
            && !measured
        {
            found.push(format!("{name}: told and not measured: {row}"));
        }
    }
    let costs = list(report, "fork_costs");
    let counted: u64 = costs.iter().filter_map(|cost| cost["count"].as_u64()).sum();
    if report["forks_total"].as_u64() != Some(counted) {
        let total = &report["forks_total"];
        found.push(format!("fork_costs has {counted} of {total} births"));
    }
    for cost in costs {
        found.extend(cost_problem(cost, measured).map(|what| format!("{what}: {cost}")));
    }
    found.extend(end_problems(report));
    found.extend(tree_problems(report, measured));
    found
}

fn fork_problem(fork: &Value, measured: bool) -> Option<&'static str> {
    let ns = |key: &str| fork[key].as_u64();
    if !KINDS.iter().any(|kind| fork["kind"] == *kind) {
        return Some("of no kind");
    }
    let nothing = fork["syscall_ns"].is_null() && fork["cow_faults"].is_null();
    if !measured && !nothing {
        return Some("told and not measured");
    }
    if let [Some(wake), Some(wait), whole] = ["wake_ns", "wait_ns", "fork_to_run_ns"].map(ns)
        && whole != Some(wake + wait)
    {
        return Some("wake and wait are not what it took to run");
    }
    if let (Some(run), Some(exec)) = (ns("fork_to_run_ns"), ns("fork_to_exec_ns"))
        && exec < run
    {
        return Some("executed before it ran");
    }
    if let (Some(exit), Some(born)) = (fork["exit"]["at_ns"].as_i64(), fork["at_ns"].as_i64()) {
        // It leaves its CPU for the last time after it has called exit.
        let least = exit - born - fork["wake_ns"].as_i64().unwrap_or(0);
        match fork["lifetime_ns"].as_i64() {
            None => return Some("ended, and no length of its life"),
            Some(lived) if lived < least => return Some("ended before it called exit"),
            Some(_) => {}
        }
    }
    if fork["kind"] == "thread" && fork["parent"]["pid"] != fork["child"]["pid"] {
        return Some("a thread of another process");
    }
    None
}

fn cost_problem(cost: &Value, measured: bool) -> Option<&'static str> {
    let nothing = cost["syscall"].is_null() && cost["ns_per_gib"].is_null();
    if !measured && !nothing {
        return Some("told and not measured");
    }
    if cost["ns_per_gib"].is_null() != cost["ns_per_gib_error"].is_null() {
        return Some("a slope without its error, or an error without its slope");
    }
    let more = |dist: &str| cost[dist]["count"].as_u64() > cost["count"].as_u64();
    (more("syscall") || more("first_run")).then_some("more lengths than births")
}

/// What the lists say of ends against what the rows of the threads say.
fn end_problems(report: &Value) -> Option<String> {
    let quality = |key: &str| report["quality"][key].as_u64();
    // What is lost may be an end.
    if quality("folded_threads") != Some(0) || quality("lost_records") != Some(0) {
        return None;
    }
    let at = |row: &Value| row["at_ns"].as_i64();
    // Each thread that called exit inside the window and has left its CPU for good is told, to the nanosecond ...
    let rows: HashSet<_> = threads(report)
        .filter(|(_, thread)| at(&thread["exit"]).is_some_and(|at| at >= 0))
        .map(|(process, thread)| (process["pid"].as_u64(), at(&thread["exit"])))
        .collect();
    // ... and whoever else is told was still on its way out when the window ended.
    let living = threads(report).filter(|(_, thread)| thread["exit"].is_null());
    let living: Vec<_> = living.map(|(process, _)| process["pid"].as_u64()).collect();
    let total = report["exits_total"].as_u64().unwrap_or(0);
    let listed = list(report, "exits");
    if total != listed.len() as u64 {
        let most = rows.len() + living.len();
        return (total < rows.len() as u64 || total > most as u64)
            .then(|| format!("{total} ends, and {} threads that have ended", rows.len()));
    }
    let told: HashSet<_> = listed
        .iter()
        .map(|row| (row["pid"].as_u64(), at(row)))
        .collect();
    if let Some(row) = rows.iter().find(|row| !told.contains(row)) {
        return Some(format!("the end of {row:?} is not told"));
    }
    let stray = told
        .iter()
        .find(|row| !rows.contains(row) && !living.contains(&row.0));
    stray.map(|row| format!("nobody has ended as {row:?}"))
}

fn tree_problems(report: &Value, measured: bool) -> Vec<String> {
    let tree = list(report, "process_tree");
    let mut found = Vec::new();
    let mut next = 0;
    for row in tree {
        let depth = row["depth"].as_u64().unwrap_or(u64::MAX);
        if depth > next {
            found.push(format!("process_tree: deeper than a child can be: {row}"));
            return found;
        }
        next = depth + 1;
        if !measured && !row["own"]["creation_ns"].is_null() {
            found.push(format!("process_tree: told and not measured: {row}"));
        }
    }
    for key in BRANCH {
        let column = |what: &str| -> Vec<u64> {
            let pointer = format!("/{what}/{key}");
            tree.iter().map(|row| number(row, &pointer)).collect()
        };
        let (whole, folded) = (column("subtree"), column("folded"));
        let own = column("own").into_iter().zip(folded);
        let mut sums: Vec<u64> = own.map(|(own, folded)| own + folded).collect();
        let parents = parents(tree);
        for position in (0..tree.len()).rev() {
            if sums[position] != whole[position] {
                let (sum, row) = (sums[position], &tree[position]);
                found.push(format!("process_tree: {key} is {sum} in sum: {row}"));
            }
            if let Some(parent) = parents[position] {
                sums[parent] += sums[position];
            }
        }
    }
    found
}
