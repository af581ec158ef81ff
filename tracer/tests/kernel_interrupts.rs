//! What the kernel programs tell of interrupts, of wakers and of decisions that a thread is to go: the
//! records themselves, against loads that leave no doubt about what they must say.

mod support;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{Read as _, Write as _, pipe};
use std::net::UdpSocket;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::btf::types_without;
use support::check::{check_report, list};
use support::machine::{allowed_cpus, background, cpus};
use support::{Running, binary, checked_report, na, threads};
use tracer::decode::decode;
use tracer::kernel::cost::Counted;
use tracer::kernel::fields::Fields;
use tracer::kernel::preflight;
use tracer::kernel::session::{Narrow, Options, Session};
use tracer::model::{Event, Nanos, Switch, SwitchOut, Syscall, Timestamp, Waker, WakerKind, What};
use tracer_common::counters::Probe;
use tracer_common::settings::feature;

/// A thread of a load, and its number.
type Loaded = (u32, JoinHandle<()>);

fn load(what: impl FnOnce() + Send + 'static) -> Loaded {
    let (tell, told) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        tell.send(tid.cast_unsigned()).expect("the test listens");
        what();
    });
    (told.recv().expect("the thread has begun"), thread)
}

struct Recorded {
    fields: Fields,
    counted: Counted,
    /// By CPU, in order.
    switches: BTreeMap<u16, Vec<(Timestamp, Switch)>>,
    /// Wake-ups that have an event of their own.
    wakings: Vec<(u32, Waker)>,
}

impl Recorded {
    fn switches(&self) -> impl Iterator<Item = &Switch> {
        self.switches.values().flatten().map(|(_, switch)| switch)
    }

    /// Of all wake-ups of a thread.
    fn wakers(&self, tid: u32) -> Vec<Waker> {
        let noted = self.switches().filter(|switch| switch.next.tid == tid);
        let noted = noted.filter_map(|switch| Some(switch.next_waking?.1));
        let told = self.wakings.iter().filter(|(woken, _)| *woken == tid);
        noted.chain(told.map(|(_, waker)| *waker)).collect()
    }

    /// Two switches of a CPU, one after the other.
    fn neighbours(&self) -> impl Iterator<Item = [&(Timestamp, Switch); 2]> {
        let windows = self.switches.values().flat_map(|cpu| cpu.windows(2));
        windows.map(|pair| [&pair[0], &pair[1]])
    }
}

/// Records what goes on until all threads of the load have ended: of all threads, or of one.
fn record(watched: Option<u32>, start: impl FnOnce() -> Vec<Loaded>) -> (Recorded, Vec<u32>) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().expect("an event loop");
    let _inside = runtime.enter();
    let preflight = preflight::check();
    assert_eq!(preflight.refusal(), None);
    let (fields, types) = preflight.into_parts();
    let options = Options {
        buffer: 16 << 20,
        cgroups: None,
        narrow: watched.map(|_| Narrow { children: false }),
        forks: false,
        switch_cost: false,
        resched: true,
        calibrate: false,
        statistics: false,
        verbose: false,
    };
    let mut session = Session::load(&fields, &types, &options).expect("the programs load");
    session
        .watch(watched.as_slice())
        .expect("the thread is watched");
    session.attach().expect("the programs are attached");
    let (tids, threads): (Vec<u32>, Vec<_>) = start().into_iter().unzip();
    let mut recorded = Recorded {
        fields,
        counted: Counted::default(),
        switches: BTreeMap::new(),
        wakings: Vec::new(),
    };
    let mut push = |bytes: &[u8]| {
        let Some(Event { at, cpu, what }) = decode(bytes) else {
            return;
        };
        match what {
            What::Switch(switch) => {
                let of_cpu = recorded.switches.entry(cpu.0).or_default();
                of_cpu.push((at, switch));
            }
            What::Waking { tid, waker, .. } => recorded.wakings.push((tid, waker)),
            _ => {}
        }
    };
    while !threads.iter().all(JoinHandle::is_finished) {
        session.drain(&mut push);
        support::pause();
    }
    session.detach();
    while !session.drain(&mut push).complete {}
    recorded.counted = session.counted().expect("the counters can be read");
    assert_eq!(recorded.counted.lost(), 0, "the buffer was too small");
    for thread in threads {
        thread.join().expect("the load succeeds");
    }
    (recorded, tids)
}

/// Keeps a CPU busy.
fn spin(duration: Duration) {
    let began = Instant::now();
    while began.elapsed() < duration {
        black_box(began);
    }
}

/// Whether this kernel has what the test needs.
fn tells(test: &str, recorded: &Recorded, feature: u64, what: &str) -> bool {
    let tells = recorded.fields.has(feature);
    if !tells {
        na(test, &format!("this kernel does not tell {what}"));
    }
    tells
}

/// `expected` is what nearly all are: others wake a thread, too, as when a signal comes or a lock is let go.
#[track_caller]
fn expect_mostly(wakers: &[Waker], at_least: usize, expected: impl Fn(&Waker) -> bool) {
    let fit = wakers.iter().filter(|waker| expected(waker)).count();
    let others = wakers.iter().filter(|waker| !expected(waker));
    let others: Vec<&Waker> = others.take(10).collect();
    assert!(
        fit >= at_least && fit * 10 >= wakers.len() * 9,
        "{fit} of {} fit, others are {others:?}",
        wakers.len()
    );
}

#[test]
fn time_in_interrupts_is_part_of_the_time_between_switches() {
    let (recorded, _) = record(None, || {
        let hog = || load(|| spin(Duration::from_millis(700)));
        let chatter = load(|| {
            let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
            let to = other.local_addr().expect("it is bound");
            let mut bytes = [0; 64];
            for _ in 0..5_000 {
                one.send_to(&bytes, to).expect("send to ourselves");
                other.recv(&mut bytes).expect("it is there");
            }
        });
        (0..cpus()).map(|_| hog()).chain([chatter]).collect()
    });
    if !tells(
        "time_in_interrupts_is_part_of_the_time_between_switches",
        &recorded,
        feature::INTERRUPTS,
        "interrupts",
    ) {
        return;
    }
    let mut sum = [Nanos(0); 2];
    for [(from, before), (to, after)] in recorded.neighbours() {
        let (before, after) = (before.interrupts, after.interrupts);
        let backwards = after.irq < before.irq || after.softirq < before.softirq;
        assert!(!backwards, "{before:?} then {after:?}");
        let (irq, softirq) = (
            after.irq.0 - before.irq.0,
            after.softirq.0 - before.softirq.0,
        );
        let between = to.since(*from).0;
        assert!(
            irq + softirq <= between,
            "{irq} and {softirq} ns in {between} ns"
        );
        sum[0].0 += irq;
        sum[1].0 += softirq;
    }
    // Ticks on busy CPUs, and packets: each takes at least a tenth of a microsecond.
    let ticks = 100 * 700 / 1_000;
    assert!(sum[0].0 > ticks * 100, "{sum:?}");
    assert!(sum[1].0 > 5_000 * 100, "{sum:?}");
    // Nothing here keeps the machine in interrupts for half of the time.
    let all: u64 = recorded
        .neighbours()
        .map(|[(from, _), (to, _)]| to.since(*from).0)
        .sum();
    assert!(sum[0].0 + sum[1].0 < all / 2, "{sum:?} of {all} ns");
    let runs = recorded.counted.of(Probe::Interrupt).events;
    assert!(runs > 2 * (5_000 + ticks), "{runs} runs");
}

#[test]
fn a_timer_that_wakes_is_told_from_the_thread_that_it_interrupts() {
    const SLEEPS: usize = 300;
    let (recorded, tids) = record(None, || {
        let sleeper = || {
            load(|| {
                for _ in 0..SLEEPS {
                    thread::sleep(Duration::from_millis(1));
                }
            })
        };
        // Somebody to be interrupted, and taken for the waker.
        let hogs = (0..cpus()).map(|_| load(|| spin(Duration::from_millis(400))));
        [sleeper(), sleeper()].into_iter().chain(hogs).collect()
    });
    let told = tells(
        "a_timer_that_wakes_is_told_from_the_thread_that_it_interrupts",
        &recorded,
        feature::INTERRUPTS,
        "interrupts",
    );
    for &sleeper in &tids[..2] {
        let wakers = recorded.wakers(sleeper);
        if told {
            expect_mostly(&wakers, SLEEPS * 9 / 10, |waker| {
                waker.kind == WakerKind::Timer && waker.syscall.is_none()
            });
        } else {
            expect_mostly(&wakers, SLEEPS * 9 / 10, |waker| {
                waker.kind == WakerKind::Unknown || waker.tid == 0
            });
        }
    }
}

#[test]
fn a_thread_that_wakes_is_named_with_its_system_call() {
    const ROUNDS: usize = 2_000;
    let (recorded, tids) = record(None, || {
        let (mut from_one, mut to_other) = pipe().expect("a pipe");
        let (mut from_other, mut to_one) = pipe().expect("a pipe");
        let one = load(move || {
            for _ in 0..ROUNDS {
                to_other.write_all(&[1]).expect("the other reads");
                from_other.read_exact(&mut [0]).expect("the other writes");
            }
        });
        let other = load(move || {
            for _ in 0..ROUNDS {
                from_one.read_exact(&mut [0]).expect("the one writes");
                to_one.write_all(&[1]).expect("the one reads");
            }
        });
        vec![one, other]
    });
    let [one, other] = tids[..] else {
        panic!("two threads: {tids:?}");
    };
    // Not `Thread` where interrupts are not told: it may have been one.
    let kind = if recorded.fields.has(feature::INTERRUPTS) {
        WakerKind::Thread
    } else {
        WakerKind::Unknown
    };
    let write = recorded.fields.has(feature::SYSCALL).then_some(WRITE);
    // Who comes late finds the byte there and does not sleep: on an emulated machine that is most of them.
    let emulated = std::env::var_os("TRACER_VM").is_some();
    let least = ROUNDS / if emulated { 20 } else { 4 };
    for (woken, by) in [(one, other), (other, one)] {
        expect_mostly(&recorded.wakers(woken), least, |waker| {
            waker.kind == kind && waker.tid == by && waker.syscall == write.map(Syscall::Native)
        });
    }
}

/// `write`, of x86-64 and of arm64.
const WRITE: u32 = if cfg!(target_arch = "aarch64") { 64 } else { 1 };

#[test]
fn a_packet_to_this_machine_wakes_by_a_softirq() {
    const PACKETS: usize = 500;
    let (recorded, tids) = record(None, || {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let to = receiver.local_addr().expect("it is bound");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let receives = load(move || {
            for _ in 0..PACKETS {
                receiver.recv(&mut [0]).expect("a packet");
            }
        });
        let sends = load(move || {
            for _ in 0..PACKETS {
                // The receiver is to sleep again.
                thread::sleep(Duration::from_micros(200));
                sender.send_to(&[1], to).expect("send to ourselves");
            }
        });
        vec![receives, sends]
    });
    if !tells(
        "a_packet_to_this_machine_wakes_by_a_softirq",
        &recorded,
        feature::INTERRUPTS,
        "interrupts",
    ) {
        return;
    }
    expect_mostly(&recorded.wakers(tids[0]), PACKETS / 2, |waker| {
        waker.kind == WakerKind::Softirq && waker.syscall.is_none()
    });
}

/// On one CPU: two that never let go, and one that sleeps.
fn crowd() -> Vec<Loaded> {
    let cpu = usize::from(*allowed_cpus().last().expect("this test runs somewhere"));
    let pinned = move |what: fn()| {
        load(move || {
            let mut only = rustix::thread::CpuSet::new();
            only.set(cpu);
            rustix::thread::sched_setaffinity(None, &only).expect("pin the thread");
            what();
        })
    };
    let hog = || spin(Duration::from_millis(800));
    let sleeper = || {
        for _ in 0..200 {
            thread::sleep(Duration::from_millis(2));
        }
    };
    vec![pinned(hog), pinned(hog), pinned(sleeper)]
}

#[test]
fn who_is_to_go_was_told_so_since_it_came() {
    let (recorded, tids) = record(None, crowd);
    if !tells(
        "who_is_to_go_was_told_so_since_it_came",
        &recorded,
        feature::RESCHED,
        "when it decides that a thread is to go",
    ) {
        return;
    }
    let (mut told, mut all) = (0, 0);
    for [(from, _), (to, switch)] in recorded.neighbours() {
        let stay = to.since(*from);
        if let Some(delay) = switch.resched {
            assert!(
                delay <= stay && switch.prev.tid != 0 && switch.out == SwitchOut::Runnable,
                "{delay:?} of {stay:?} before {switch:?}"
            );
        }
        if tids[..2].contains(&switch.prev.tid) && switch.out == SwitchOut::Runnable {
            all += 1;
            told += u32::from(switch.resched.is_some());
        }
    }
    // Nothing but such a decision takes the CPU from a thread that spins.
    assert!(all > 20 && told * 10 >= all * 9, "{told} of {all}");
    let decided = recorded.counted.of(Probe::Resched);
    assert!(decided.noted >= told.into(), "{decided:?}");
}

#[test]
fn who_is_not_watched_costs_no_look_at_the_clock() {
    let sleeper = background("sleep", &["1000"]);
    let (recorded, tids) = record(Some(sleeper.id()), crowd);
    let of_crowd = |switch: &&Switch| tids.contains(&switch.prev.tid);
    assert_eq!(recorded.switches().find(of_crowd), None);
    if !tells(
        "who_is_not_watched_costs_no_look_at_the_clock",
        &recorded,
        feature::RESCHED,
        "when it decides that a thread is to go",
    ) {
        return;
    }
    let decided = recorded.counted.of(Probe::Resched);
    // Those of the crowd, and none or hardly one of the thread that sleeps.
    assert!(decided.events > 20, "{decided:?}");
    assert!(decided.noted < 5, "{decided:?}");
}

#[test]
fn a_kernel_that_tells_none_of_it_traces_all_else() {
    let mut types = tempfile::NamedTempFile::new().expect("a file");
    let without = types_without(&["softirq_entry", "sched_set_need_resched_tp"]);
    types.write_all(&without).expect("write the types");
    let with_types = |args: &[&str]| {
        let mut command = binary();
        Running::start(command.args(args).env("TRACER_BTF", types.path())).finish()
    };
    let doctor = with_types(&["doctor", "--format", "json"]);
    doctor.expect_code(0);
    let doctor = doctor.json();
    for (name, seen) in [
        ("interrupts", "softirq"),
        ("sched_set_need_resched_tp", "no such tracepoint"),
    ] {
        let mut rows = list(&doctor, "requirements").iter();
        let row = rows.find(|row| row["name"] == name);
        let row = row.unwrap_or_else(|| panic!("{name} is not listed"));
        assert_eq!(row["state"], "missing", "{row:#}");
        assert!(
            row["seen"].as_str().is_some_and(|it| it.contains(seen)),
            "{row:#}"
        );
    }
    for args in [&["--cost", "exact"][..], &[]] {
        let run = [&["run", "--duration", "300ms", "--format", "json"], args].concat();
        let outcome = with_types(&run);
        outcome.expect_code(0);
        let report = outcome.json();
        check_report(&report);
        // What programs that are not there missed and took is not unknown.
        let whole = checked_report(&run);
        for known in ["/quality/missed_events", "/cost/kernel_ns_per_event"] {
            let is_known = |report: &Value| report.pointer(known).is_some_and(Value::is_number);
            assert_eq!(is_known(&report), is_known(&whole), "{known}");
        }
        for (_, thread) in threads(&report) {
            for untold in ["run_irq_ns", "run_softirq_ns"] {
                assert!(thread[untold].is_null(), "{untold}: {thread:#}");
            }
            for by in list(thread, "preempted_by") {
                assert!(by["resched_delay"].is_null(), "{by:#}");
            }
            // Only the idle thread is known for sure not to have done it.
            for by in list(thread, "woken_by") {
                let kind = by["kind"].as_str();
                assert!(matches!(kind, Some("irq" | "unknown" | "self")), "{by:#}");
            }
        }
    }
}
