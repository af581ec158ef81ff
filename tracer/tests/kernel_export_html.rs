//! The page of an export: what it adds up to, and what a browser makes of it.

mod support;

use serde_json::Value;
use support::check::list;
use support::python::python;
use support::{Running, binary, tracer};

const STATES: [&str; 6] = ["run", "wait", "sleep", "block", "stopped", "unknown"];

/// Time by state of some lines, with what has no place in time.
fn sums(lines: &[Value]) -> [i64; STATES.len()] {
    let mut sums = [0; STATES.len()];
    for line in lines {
        for (state, sum) in sums.iter_mut().enumerate() {
            let runs = line["runs"][state].as_array().expect("runs of a state");
            let numbers: Vec<i64> = runs.iter().filter_map(Value::as_i64).collect();
            *sum += numbers
                .chunks_exact(3)
                .map(|run| run[1] * run[2])
                .sum::<i64>();
            *sum += line["elsewhere_ns"][state].as_i64().expect("a number");
        }
    }
    sums
}

#[test]
fn a_page_for_a_browser() {
    let dir = tempfile::tempdir().expect("a directory");
    let [recording, page] = ["recording", "page.html"].map(|name| dir.path().join(name));
    let mut command = binary();
    command.arg("record").arg("-o").arg(&recording).arg("--");
    command
        .arg(env!("CARGO_BIN_EXE_tracer"))
        .args(["workload", "hostile-names"]);
    Running::start(&mut command).finish().expect_code(0);
    let mut command = binary();
    command
        .args(["export", "--to", "html", "-o"])
        .arg(&page)
        .arg(&recording);
    Running::start(&mut command).finish().expect_code(0);
    let report = tracer([
        "report".as_ref(),
        recording.as_os_str(),
        "--format".as_ref(),
        "json".as_ref(),
    ])
    .json();

    let said = python(include_str!("support/page.py"), [&page]);
    let said: Value = serde_json::from_str(&said).expect("JSON of the browser");
    assert_eq!(said["errors"], Value::Array(Vec::new()));
    let requests = list("requests", &said);
    assert!(
        requests
            .iter()
            .all(|url| url.as_str().is_some_and(|url| url.starts_with("file:"))),
        "{requests:?}"
    );
    assert_eq!(said["intruders"], 0, "a name became markup");
    assert!(
        said["text"]
            .as_str()
            .is_some_and(|text| text.contains("<script>&\"'"))
    );
    assert!(said["screenshot"].as_u64() > Some(1000));

    let lines = list("threads", &said["lines"]);
    let mut expected = [0; STATES.len()];
    for process in list("processes", &report) {
        for (state, sum) in STATES.iter().zip(&mut expected) {
            *sum += process["totals"][format!("{state}_ns")]
                .as_i64()
                .expect("a total");
        }
    }
    assert_eq!(sums(lines), expected);

    let [down, up] = [0, 1].map(|at| said["sorted"][at].as_array().expect("tids").clone());
    assert!(down.len() > 1);
    let waits = |tids: &[Value]| -> Vec<u64> {
        let wait = |tid: &Value| {
            let tid: u64 = tid
                .as_str()
                .and_then(|tid| tid.parse().ok())
                .expect("a tid");
            let (_, thread) = support::threads(&report)
                .find(|(_, thread)| thread["tid"] == tid)
                .expect("a row");
            thread["wait_ns"].as_u64().expect("a time")
        };
        tids.iter().map(wait).collect()
    };
    assert!(waits(&down).is_sorted_by(|a, b| a >= b), "longest first");
    assert!(waits(&up).is_sorted(), "shortest first");

    let views: Vec<[f64; 2]> = serde_json::from_value(said["views"].clone()).expect("ranges");
    let [all, wheel, plus, right, minus, zero] = views[..] else {
        panic!("{views:?}")
    };
    let length = |view: [f64; 2]| view[1] - view[0];
    assert!(
        length(wheel) < length(all) && length(plus) < length(wheel),
        "{views:?}"
    );
    assert!(
        right[0] > plus[0] && length(minus) > length(right),
        "{views:?}"
    );
    assert_eq!(zero, all);
}
