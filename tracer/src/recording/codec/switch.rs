//! How a switch is foretold: from the last one on its CPU, and from the last ones of the two threads.
//! Whatever a guess is, any record comes back as it was: only its size depends on the guess.

use tracer_common::record::{Switch, switch_flags};

use super::COLUMNS;
use super::coder::Coder;
use super::outline::COLUMNS as FIRST_COLUMN;
use super::threads::{NOBODY, Thread, Threads};

macro_rules! columns {
    ($($name:ident)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "names of constants")]
        enum Column { $($name),* }

        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(const $name: usize = FIRST_COLUMN + Column::$name as usize;)*
    };
}

columns! {
    NEXT NEXT_KEY PREV PREV_KEY FLAGS PREV_TID NEXT_TID STATE NVCSW NIVCSW SEQ STEAL LAG IRQ SOFTIRQ
    RESCHED_RUNNABLE RESCHED_BLOCKED CLOCK CLOCK_RESCHED WOKEN WAKING WAKER WAKER_CPU WAKER_SYSCALL
    WAIT_WOKEN WAIT_QUEUED WAIT_OTHER NEXT_DELAY PREV_DELAY SUM_EXEC SYSCALL RUNNING THROTTLED PRIORITY
}

/// Columns with a number of every switch.
pub const STEADY: [usize; 24] = [
    NEXT,
    PREV,
    FLAGS,
    PREV_TID,
    NEXT_TID,
    STATE,
    NVCSW,
    NIVCSW,
    SEQ,
    STEAL,
    LAG,
    IRQ,
    SOFTIRQ,
    WOKEN,
    WAKER,
    WAKER_CPU,
    WAKER_SYSCALL,
    NEXT_DELAY,
    PREV_DELAY,
    SUM_EXEC,
    SYSCALL,
    RUNNING,
    THROTTLED,
    PRIORITY,
];

/// The same by column, of all columns.
pub const IS_STEADY: [bool; COLUMNS] = {
    let (mut is_steady, mut place) = ([false; COLUMNS], 0);
    while place < STEADY.len() {
        is_steady[STEADY[place]] = true;
        place += 1;
    }
    is_steady
};

/// Flags that tell of who goes; the others tell of who comes.
const PREV_FLAGS: u16 = switch_flags::PREEMPT
    | switch_flags::IOWAIT
    | switch_flags::THROTTLED
    | switch_flags::PREV_OWN
    | switch_flags::RUNNABLE
    | switch_flags::SYSCALL
    | switch_flags::COMPAT
    | switch_flags::PREV_UNWATCHED;

/// What the last switch left on a CPU.
#[derive(Clone, Copy, Debug)]
struct Place {
    current: u32,
    steal: u64,
    lag: u64,
    irq: u64,
    softirq: u64,
    running: u32,
    /// How far the run queue's clock is from ours: of switches that nobody asked for, and of the others.
    clock: [Mean; 2],
    resched: Mean,
    /// From a wake-up to the run queue.
    queue: Mean,
    waking: Waking,
}

/// Two guesses of when whoever comes was woken, and which is the better one lately.
#[derive(Clone, Copy, Debug, Default)]
struct Waking {
    /// Of whoever came before: queues are nearly first in, first out.
    last: u64,
    step: Mean,
    /// How many bits each guess misses by: by the thread's last latency, by the queue.
    misses: [Mean; 2],
}

impl Default for Place {
    fn default() -> Place {
        Place {
            current: NOBODY,
            steal: 0,
            lag: 0,
            irq: 0,
            softirq: 0,
            running: 0,
            clock: [Mean::default(); 2],
            resched: Mean::default(),
            queue: Mean::default(),
            waking: Waking::default(),
        }
    }
}

/// Of numbers that come one by one: the last ones count most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean {
    /// Eight times the mean, so that it moves by less than one.
    eightfold: i64,
    known: bool,
}

impl Mean {
    #[inline]
    pub fn get(self) -> u64 {
        (self.eightfold >> 3) as u64
    }

    #[inline]
    pub fn add(&mut self, number: u64) {
        let number = number as i64;
        if self.known {
            let step = number.wrapping_sub(self.eightfold >> 3);
            self.eightfold = self.eightfold.wrapping_add(step);
        } else {
            *self = Mean {
                eightfold: number.wrapping_mul(8),
                known: true,
            };
        }
    }
}

#[derive(Default)]
pub struct Switches {
    places: Vec<Place>,
}

impl Switches {
    pub fn clear(&mut self) {
        self.places.clear();
    }

    /// `record.header` is known but for its flags.
    #[inline]
    pub fn code<C: Coder>(&mut self, coder: &mut C, threads: &mut Threads, record: &mut Switch) {
        coder.next_switch();
        let at = record.header.at_ns;
        let cpu = usize::from(record.header.cpu);
        if self.places.len() <= cpu {
            self.places.resize(cpu + 1, Place::default());
        }
        let place = &mut self.places[cpu];

        let prev = threads.code(coder, [PREV, PREV_KEY], record.prev, place.current);
        record.prev = threads[prev].key;
        let follower = threads[prev].follower;
        let next = threads.code(coder, [NEXT, NEXT_KEY], record.next, follower);
        record.next = threads[next].key;
        threads[prev].follower = next;
        place.current = next;

        let guess = threads[prev].flags & PREV_FLAGS | threads[next].flags & !PREV_FLAGS;
        record.header.flags = coder.bits(FLAGS, record.header.flags, guess);
        let flags = record.header.flags;
        let has = |bit| flags & bit != 0;
        let runnable = has(switch_flags::RUNNABLE);

        record.steal_ns = coder.number(STEAL, record.steal_ns, place.steal);
        let stolen = record.steal_ns.wrapping_sub(place.steal);
        place.steal = record.steal_ns;
        let guess = place.lag.wrapping_add(stolen);
        record.clock_lag_ns = coder.number(LAG, record.clock_lag_ns, guess);
        place.lag = record.clock_lag_ns;
        record.irq_ns = coder.number(IRQ, record.irq_ns, place.irq);
        place.irq = record.irq_ns;
        record.softirq_ns = coder.number(SOFTIRQ, record.softirq_ns, place.softirq);
        place.softirq = record.softirq_ns;
        record.nr_running = coder.half(RUNNING, record.nr_running, place.running);
        place.running = record.nr_running;

        record.resched_ns = if runnable {
            let guess = place.resched.get() as u32;
            coder.half(RESCHED_RUNNABLE, record.resched_ns, guess)
        } else {
            coder.half(RESCHED_BLOCKED, record.resched_ns, 0)
        };
        // A wake-up that asks for a switch is the last to read the clock.
        let asked = record.resched_ns != 0;
        if asked {
            place.resched.add(record.resched_ns.into());
        }
        let base = at.wrapping_sub(record.resched_ns.into());
        let ahead = &mut place.clock[usize::from(asked)];
        let column = if asked { CLOCK_RESCHED } else { CLOCK };
        let guess = base.wrapping_add(ahead.get());
        record.rq_clock_ns = coder.number(column, record.rq_clock_ns, guess);
        ahead.add(record.rq_clock_ns.wrapping_sub(base));

        goes(coder, &mut threads[prev], record);
        comes(coder, &mut threads[next], place, record);
    }
}

/// The clock by which run time is counted.
#[inline]
fn task_clock(record: &Switch) -> u64 {
    record.rq_clock_ns.wrapping_sub(record.clock_lag_ns)
}

/// In sixteenths of a bit, so that a mean moves.
#[inline]
fn miss(actual: u64, guess: u64) -> u64 {
    let distance = (actual.wrapping_sub(guess) as i64).unsigned_abs();
    16 * u64::from(u64::BITS - distance.leading_zeros())
}

#[inline]
fn goes<C: Coder>(coder: &mut C, thread: &mut Thread, record: &mut Switch) {
    let flags = record.header.flags;
    let has = |bit| flags & bit != 0;
    let runnable = usize::from(has(switch_flags::RUNNABLE));

    record.prev_tid = coder.half(PREV_TID, record.prev_tid, thread.tid);
    thread.tid = record.prev_tid;
    record.prev_state = coder.half(STATE, record.prev_state, thread.state[runnable]);
    thread.state[runnable] = record.prev_state;
    let in_call = usize::from(has(switch_flags::SYSCALL));
    record.syscall = coder.half(SYSCALL, record.syscall, thread.syscall[in_call]);
    thread.syscall[in_call] = record.syscall;

    let voluntary = !has(switch_flags::PREEMPT) && record.prev_state != 0;
    let guess = thread.nvcsw.wrapping_add(voluntary.into());
    record.prev_nvcsw = coder.number(NVCSW, record.prev_nvcsw, guess);
    let guess = thread.nivcsw.wrapping_add((!voluntary).into());
    record.prev_nivcsw = coder.number(NIVCSW, record.prev_nivcsw, guess);
    (thread.nvcsw, thread.nivcsw) = (record.prev_nvcsw, record.prev_nivcsw);

    record.prev_run_delay_ns = coder.number(PREV_DELAY, record.prev_run_delay_ns, thread.run_delay);
    thread.run_delay = record.prev_run_delay_ns;

    let ran = task_clock(record).wrapping_sub(thread.task_clock);
    let guess = thread
        .sum_exec
        .wrapping_add(if thread.counts { ran } else { 0 });
    record.prev_sum_exec_ns = coder.number(SUM_EXEC, record.prev_sum_exec_ns, guess);
    // Run time of the idle thread is not counted.
    thread.counts = record.prev_sum_exec_ns != thread.sum_exec;
    thread.sum_exec = record.prev_sum_exec_ns;

    record.prev_priority = coder.half(PRIORITY, record.prev_priority, thread.priority);
    thread.priority = record.prev_priority;
    thread.flags = flags & PREV_FLAGS | thread.flags & !PREV_FLAGS;
    thread.left = record.rq_clock_ns;
}

#[inline]
fn comes<C: Coder>(coder: &mut C, thread: &mut Thread, place: &mut Place, record: &mut Switch) {
    let flags = record.header.flags;
    record.next_tid = coder.half(NEXT_TID, record.next_tid, thread.tid);
    thread.tid = record.next_tid;
    let guess = thread.nvcsw.wrapping_add(thread.nivcsw) as u32;
    record.next_seq = coder.half(SEQ, record.next_seq, guess);

    let guess = thread.flags & switch_flags::RUNNABLE == 0;
    let woken = record.next_waking_ns != 0;
    let woken = coder.plain(WOKEN, u64::from(woken != guess)) != u64::from(guess);
    if woken {
        let at = record.header.at_ns;
        let waking = &mut place.waking;
        let by_thread = at.wrapping_sub(thread.latency.get());
        let by_queue = waking.last.wrapping_add(waking.step.get());
        let guess = if waking.misses[1].get() < waking.misses[0].get() {
            by_queue
        } else {
            by_thread
        };
        let woken = coder.number(WAKING, record.next_waking_ns, guess);
        record.next_waking_ns = woken;
        waking.misses[0].add(miss(woken, by_thread));
        waking.misses[1].add(miss(woken, by_queue));
        waking.step.add(woken.wrapping_sub(waking.last));
        waking.last = woken;
        thread.latency.add(at.wrapping_sub(woken));
    } else {
        record.next_waking_ns = 0;
    }
    let guess = if woken { thread.waker } else { (0, 0, 0) };
    record.next_waker = coder.half(WAKER, record.next_waker, guess.0);
    record.next_waker_cpu = coder.quarter(WAKER_CPU, record.next_waker_cpu, guess.1);
    record.next_waker_syscall = coder.quarter(WAKER_SYSCALL, record.next_waker_syscall, guess.2);
    if woken {
        thread.waker = (
            record.next_waker,
            record.next_waker_cpu,
            record.next_waker_syscall,
        );
    }

    let clock = record.rq_clock_ns;
    record.next_wait_ns = if flags & switch_flags::NEXT_QUEUED == 0 {
        coder.number(WAIT_OTHER, record.next_wait_ns, 0)
    } else if woken {
        let since = clock.wrapping_sub(record.next_waking_ns);
        let guess = since.wrapping_sub(place.queue.get());
        let wait = coder.number(WAIT_WOKEN, record.next_wait_ns, guess);
        place.queue.add(since.wrapping_sub(wait));
        wait
    } else {
        let guess = clock.wrapping_sub(thread.left);
        coder.number(WAIT_QUEUED, record.next_wait_ns, guess)
    };
    record.next_run_delay_ns = coder.number(NEXT_DELAY, record.next_run_delay_ns, thread.run_delay);
    thread.run_delay = record.next_run_delay_ns.wrapping_add(record.next_wait_ns);
    record.next_throttled_ns = coder.number(THROTTLED, record.next_throttled_ns, thread.throttled);
    thread.throttled = record.next_throttled_ns;
    thread.flags = thread.flags & PREV_FLAGS | flags & !PREV_FLAGS;
    thread.task_clock = task_clock(record);
}
