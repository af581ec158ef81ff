//! What the kernel programs cost: how often they ran, times what a run takes on this machine now.
//!
//! In: counters, and programs that run the bodies of the probes in a loop (`BPF_PROG_TEST_RUN`). Out:
//! nanoseconds. Never sees an event.

use std::time::Instant;

use aya::programs::{BtfTracePoint, RawTracePoint, RawTracePointRunOptions, TestRun as _};
use tracer_common::{
    counters::{Counters, PROBES, Probe},
    record::{Switch, Thread},
};

use super::{
    interrupts, probes,
    session::{Session, program},
};

/// Sums over all CPUs since the probes were attached, by [`Probe`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub probes: [Counters; PROBES as usize],
}

impl Counted {
    pub fn of(&self, probe: Probe) -> Counters {
        self.probes[probe as usize]
    }

    /// Times a program ran.
    pub fn events(&self) -> u64 {
        self.probes.iter().map(|probe| probe.events).sum()
    }

    /// Records written, or tried to.
    pub fn records(&self) -> u64 {
        self.probes.iter().map(|probe| probe.records).sum()
    }

    pub fn lost(&self) -> u64 {
        self.probes.iter().map(|probe| probe.lost).sum()
    }

    pub fn since(&self, before: &Counted) -> Counted {
        let mut growth = *self;
        for (now, before) in growth.probes.iter_mut().zip(&before.probes) {
            now.events -= before.events.min(now.events);
            now.records -= before.records.min(now.records);
            now.noted -= before.noted.min(now.noted);
            now.lost -= before.lost.min(now.lost);
        }
        growth
    }
}

/// Nanoseconds a run, bodies with warm caches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prices {
    /// The empty loop around the bodies, taken out of the others.
    pub empty: f64,
    /// To call a program at all, whatever it does.
    pub call: f64,
    pub switch: f64,
    pub waking: f64,
    /// The dearest of the other records: a birth.
    pub birth: f64,
    /// An interrupt has two runs: when it begins and when it ends.
    pub interrupt: f64,
    /// A decision that a thread is to go.
    pub resched: f64,
    /// With the call of the program, and the way the kernel takes to it. Found once it is attached.
    pub syscall: f64,
    /// Of the two at each call of the scheduler; the same.
    pub schedule: f64,
    /// Runs that find nobody watched, where only some threads are.
    pub switch_passed: f64,
    pub waking_passed: f64,
    /// One that is kept, since a watched thread waits for that CPU.
    pub switch_kept: f64,
}

impl Prices {
    /// What all these runs took.
    pub fn total_ns(&self, counted: &Counted) -> f64 {
        let all = (0..).zip(&counted.probes);
        let bodies = all.map(|(probe, ran)| {
            let (told, passed) = if probe == Probe::Switch as u32 {
                (self.switch, self.switch_passed)
            } else if probe == Probe::Waking as u32 {
                (self.waking, self.waking_passed)
            } else if probe == Probe::Resched as u32 {
                (self.resched, self.waking_passed)
            } else if probe == Probe::Syscall as u32 {
                let own = (self.syscall - self.call).max(0.0);
                (own, own)
            } else if probe == Probe::Schedule as u32 {
                let own = (self.schedule - self.call).max(0.0);
                (own, own)
            } else if probe == Probe::Interrupt as u32 {
                (self.interrupt, self.interrupt)
            } else {
                (self.birth, self.waking_passed)
            };
            let (tells, kept) = if probe == Probe::Switch as u32 {
                (ran.records, ran.noted)
            } else {
                (ran.noted + ran.records, 0)
            };
            let passes = ran.events.saturating_sub(tells + kept);
            tells as f64 * told + kept as f64 * self.switch_kept + passes as f64 * passed
        });
        counted.events() as f64 * self.call + bodies.sum::<f64>()
    }
}

/// A program as this kernel has it.
#[derive(Clone, Debug)]
pub struct Size {
    pub name: &'static str,
    /// Instructions the verifier went through; `None` before 5.16.
    pub verified_instructions: Option<u32>,
    pub translated_bytes: Option<u32>,
    /// 0 without a JIT.
    pub jited_bytes: u32,
}

/// Passes over all programs; the fastest counts: whatever else the machine does only adds.
const PASSES: usize = 7;
/// Rounds of a loop, as far as the ring has room for what they write.
const ROUNDS: u64 = 1_000;
/// Renames of a pass, and system calls.
const RENAMES: u32 = 400;
const CALLS: u32 = 1_000;

const EMPTY: &str = "calibrate_empty";
const SWITCH: &str = "calibrate_switch";
const KEPT: &str = "calibrate_kept";
const WAKING: &str = "calibrate_waking";
const BIRTH: &str = "calibrate_newtask";
const IRQ: &str = "calibrate_irq";
const RESCHED: &str = "calibrate_resched";
const CALL: &str = "calibrate_call";

/// What a system call takes that does next to nothing, at best.
pub fn system_call() -> f64 {
    at_best(|| {
        std::hint::black_box(rustix::process::getppid());
    })
}

/// What a call of the scheduler takes that finds nobody else to run, at best.
pub fn sched_yield() -> f64 {
    at_best(rustix::thread::sched_yield)
}

fn at_best(call: impl Fn()) -> f64 {
    let pass = || {
        let from = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        from.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    (0..PASSES).map(|_| pass()).fold(f64::INFINITY, f64::min)
}

impl Session {
    /// Of each loaded probe.
    pub fn sizes(&self) -> Vec<Size> {
        let of = |name| {
            let info = self.ebpf.program(name)?.info().ok()?;
            Some(Size {
                name,
                verified_instructions: info.verified_instruction_count(),
                translated_bytes: info.size_translated(),
                jited_bytes: info.size_jitted(),
            })
        };
        let probes = probes::PROBES.iter().map(|probe| probe.name);
        probes.chain(interrupts::PROGRAMS).filter_map(of).collect()
    }

    /// Runs the bodies of the probes in a loop on this thread, before they are attached. What they write
    /// is thrown away.
    ///
    /// # Errors
    /// Why this kernel or user cannot: a sentence.
    pub fn calibrate(&mut self, btf: &aya::Btf) -> Result<Prices, String> {
        for name in [EMPTY, SWITCH, KEPT, WAKING, BIRTH, IRQ, RESCHED] {
            let program: &mut RawTracePoint =
                program(&mut self.ebpf, name).map_err(|error| error.to_string())?;
            program.load().map_err(|_| {
                "this kernel cannot run the programs in a loop (bpf_loop, 5.17)".to_owned()
            })?;
        }
        let mut prices = Prices {
            empty: f64::INFINITY,
            switch: f64::INFINITY,
            waking: f64::INFINITY,
            birth: f64::INFINITY,
            interrupt: f64::INFINITY,
            resched: f64::INFINITY,
            syscall: 0.0,
            schedule: 0.0,
            switch_passed: f64::INFINITY,
            waking_passed: f64::INFINITY,
            switch_kept: f64::INFINITY,
            call: 0.0,
        };
        let own = rustix::thread::gettid()
            .as_raw_nonzero()
            .get()
            .cast_unsigned();
        let narrow = self.facts().narrow;
        let refused =
            |error: &dyn std::error::Error| format!("run the programs in a loop: {error}");
        for _ in 0..PASSES {
            for (name, size, best) in [
                (EMPTY, 0, &mut prices.empty),
                (IRQ, 0, &mut prices.interrupt),
                (WAKING, 0, &mut prices.waking_passed),
                (SWITCH, size_of::<Switch>(), &mut prices.switch_passed),
                (KEPT, size_of::<Switch>(), &mut prices.switch_kept),
            ] {
                *best = best.min(self.run(name, size)?);
            }
            self.watch(&[own]).map_err(|error| refused(&error))?;
            for (name, size, best) in [
                (WAKING, 0, &mut prices.waking),
                (RESCHED, 0, &mut prices.resched),
                (SWITCH, size_of::<Switch>(), &mut prices.switch),
                (BIRTH, size_of::<Thread>(), &mut prices.birth),
            ] {
                *best = best.min(self.run(name, size)?);
            }
            self.unwatch(&[own]).map_err(|error| refused(&error))?;
        }
        for price in [
            &mut prices.switch,
            &mut prices.waking,
            &mut prices.birth,
            &mut prices.interrupt,
            &mut prices.resched,
            &mut prices.switch_passed,
            &mut prices.waking_passed,
            &mut prices.switch_kept,
        ] {
            *price = (*price - prices.empty).max(0.0);
        }
        // A round is two runs.
        prices.interrupt /= 2.0;
        if !narrow {
            (prices.switch_passed, prices.waking_passed) = (0.0, 0.0);
            prices.switch_kept = 0.0;
        }
        prices.call = self.call(btf)?;
        Ok(prices)
    }

    /// Nanoseconds a round of the loop in program `name`, which writes a record of `size` each time.
    fn run(&mut self, name: &str, size: usize) -> Result<f64, String> {
        let rounds = self.room_for(size).clamp(1, ROUNDS);
        let program: &mut RawTracePoint =
            program(&mut self.ebpf, name).map_err(|error| error.to_string())?;
        let mut options = RawTracePointRunOptions::new();
        options.args[0] = rounds;
        let ran = program
            .test_run(options)
            .map_err(|error| format!("run the programs in a loop: {error}"))?;
        self.throw_away();
        Ok(f64::from(ran.return_value) / rounds as f64)
    }

    /// What it takes to call a program that does nothing: by how much it slows a rename of this thread.
    fn call(&mut self, btf: &aya::Btf) -> Result<f64, String> {
        let refused = |error: &dyn std::error::Error| format!("attach an empty program: {error}");
        let name = rustix::thread::name().map_err(|error| refused(&error))?;
        let rename = || {
            let from = Instant::now();
            for _ in 0..RENAMES {
                // To what it is called already.
                let _ = rustix::thread::set_name(&name);
            }
            from.elapsed().as_nanos() as f64 / f64::from(RENAMES)
        };
        let program: &mut BtfTracePoint =
            program(&mut self.ebpf, CALL).map_err(|error| error.to_string())?;
        program
            .load("task_rename", btf)
            .map_err(|error| refused(&error))?;
        let (mut without, mut with) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..PASSES {
            without = without.min(rename());
            let link = program.attach().map_err(|error| refused(&error))?;
            with = with.min(rename());
            program.detach(link).map_err(|error| refused(&error))?;
        }
        Ok((with - without).max(0.0))
    }
}
