//! Who and what a thread waited for, gave way to, was woken by, and was blocked on.

use std::borrow::Cow;

use serde::Serialize;

use super::rows::{Dist, dist};
use crate::model::WakerKind;
use crate::output::{escape, syscalls, words};
use crate::report::{self, ChargeKind, Who};

/// All of it is `null` where nobody can be named, all but `tid` where only that is known.
#[derive(Serialize)]
pub struct Named<'a> {
    pid: Option<u32>,
    tid: Option<u32>,
    comm: Option<Cow<'a, str>>,
}

fn named(who: Option<&Who>) -> Named<'_> {
    Named {
        pid: with_name(who).map(|who| who.pid),
        tid: who.map(|who| who.tid),
        comm: with_name(who).map(|who| escape::json(who.comm.bytes())),
    }
}

fn with_name(who: Option<&Who>) -> Option<&Who> {
    who.filter(|who| !who.is_nameless())
}

#[derive(Serialize)]
pub struct WaitedFor<'a> {
    kind: &'static str,
    #[serde(flatten)]
    who: Named<'a>,
    same_process: Option<bool>,
    policy: Option<Cow<'static, str>>,
    nice: Option<i32>,
    rt_priority: Option<u32>,
    own: Option<bool>,
    count: u64,
    ns: u64,
}

pub fn waited_for(row: &report::WaitedFor) -> WaitedFor<'_> {
    let who = with_name(row.who.as_ref());
    WaitedFor {
        kind: words::charge(row.kind),
        who: named(row.who.as_ref()),
        same_process: row.same_process,
        policy: who.map(|who| words::policy(who.priority.policy)),
        nice: who.map(|who| who.priority.nice),
        rt_priority: who.map(|who| who.priority.rt_priority),
        own: who.map(|who| who.own),
        count: row.count,
        ns: row.ns.0,
    }
}

#[derive(Serialize)]
pub struct PreemptedBy<'a> {
    kind: &'static str,
    #[serde(flatten)]
    who: Named<'a>,
    same_process: Option<bool>,
    count: u64,
    ns: u64,
    p99_ns: Option<u64>,
    resched_delay: Option<Dist>,
}

pub fn preempted_by(row: &report::PreemptedBy) -> PreemptedBy<'_> {
    let kind = match row.who {
        Some(who) if who.kernel_thread => ChargeKind::KernelThread,
        _ => ChargeKind::Thread,
    };
    PreemptedBy {
        kind: words::charge(kind),
        who: named(row.who.as_ref()),
        same_process: row.same_process,
        count: row.count,
        ns: row.ns.0,
        p99_ns: row.p99.map(|p99| p99.0),
        resched_delay: row.resched_delay.as_ref().map(dist),
    }
}

#[derive(Serialize)]
pub struct Waker<'a> {
    kind: &'static str,
    #[serde(flatten)]
    who: Named<'a>,
}

/// An interrupt has no name: whoever it interrupted is not to blame.
pub fn waker<'a>(kind: WakerKind, who: Option<&'a Who>) -> Waker<'a> {
    Waker {
        kind: words::waker(kind),
        who: named(who.filter(|_| kind == WakerKind::Thread)),
    }
}

#[derive(Serialize)]
pub struct WokenBy<'a> {
    #[serde(flatten)]
    waker: Waker<'a>,
    count: u64,
    cross_cpu: u64,
    wake_ns: u64,
    wait_ns: u64,
}

pub fn woken_by(row: &report::WokenBy) -> WokenBy<'_> {
    let mut waker = waker(row.kind, row.who.as_ref());
    if row.itself {
        waker.kind = "self";
    }
    WokenBy {
        waker,
        count: row.count,
        cross_cpu: row.cross_cpu,
        wake_ns: row.wake.0,
        wait_ns: row.wait.0,
    }
}

#[derive(Serialize)]
pub struct BlockedOn<'a> {
    state: &'static str,
    syscall: Option<Cow<'static, str>>,
    woken_by: Waker<'a>,
    waker_syscall: Option<Cow<'static, str>>,
    count: u64,
    ns: u64,
}

pub fn blocked_on<'a>(row: &'a report::BlockedOn, arch: &str) -> BlockedOn<'a> {
    let name = |syscall| syscalls::name(arch, syscall);
    BlockedOn {
        state: words::off_state(row.state),
        syscall: row.syscall.map(name),
        woken_by: waker(row.waker, row.who.as_ref()),
        waker_syscall: row.waker_syscall.map(name),
        count: row.count,
        ns: row.ns.0,
    }
}
