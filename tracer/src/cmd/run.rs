//! `tracer run`: one loop over the rings, the clock, signals and the command.

use std::{os::fd::BorrowedFd, process::ExitCode, rc::Rc, time::Duration};

use anyhow::Context as _;
use tokio::time::{Instant, sleep_until};
use tracer_common::record::kind;

pub use feed::now;

use crate::{
    audit::Tolerance,
    cli::RunOptions,
    cmd::{
        Failure, describe,
        run::{
            errands::Errands,
            feed::{
                Farewell, Feed, drain_all, last_look, name_strangers, push_counts, watch_target,
            },
            meter::Meter,
            pace::Pace,
            recorder::Recorder,
            setup::{
                Intervals, began_plus, default_buffer, interval, raise_priority, session_options,
                style, tell,
            },
            shown::{show_spikes, write},
            signals::{Signals, pass_on},
            switching::Switching,
            target::Resolved,
        },
        tape::{Clocks, OutsideDocument, Tail, memory_of},
        verdict_of,
    },
    command::{Running, Waiting},
    insights::insights,
    kernel::{
        alarm::Alarm,
        capabilities,
        fields::Fields,
        host::{StealSample, host},
        memory, preflight,
        session::{Session, edge},
    },
    model::{Nanos, Timestamp},
    output::{self, Format, file::Output},
    pipeline::{Pipeline, Replay, Settings},
    report::{EndReason, Report},
    summary::Outside,
};

mod errands;
mod feed;
mod flight;
mod meter;
mod pace;
mod recorder;
mod setup;
mod shown;
pub(in crate::cmd) mod signals;
mod switching;
mod target;

/// How long an event may be held for ordering. Between the stamp of a record and its reservation
/// lie some 100 ns, unless the hypervisor takes the CPU away just then, for milliseconds.
const REORDER_WINDOW: Nanos = Nanos(50_000_000);

/// The same where more than so many bytes are held: at a million switches a second memory counts, and who is
/// without a CPU for that long then is told to have come late.
const SHORT_WINDOW: Nanos = Nanos(20_000_000);
const MUCH: usize = 4 << 20;

/// How long records are taken after the window's end, so that waits which cross it find their end.
const TAIL: Duration = Duration::from_millis(50);

pub fn run(options: RunOptions) -> anyhow::Result<ExitCode> {
    if options.format == Format::Json && options.interval.is_some() {
        let text = "--interval needs --format table or ndjson: json is one document";
        return Err(Failure::Usage(text.to_owned()).into());
    }
    let preflight = preflight::check();
    if let Some(refusal) = preflight.refusal() {
        return Err(Failure::from(refusal).into());
    }
    let (fields, types) = preflight.into_parts();
    let target = target::resolve(&options.target)?;
    let mut output = Output::open(options.output.as_deref())?;
    let command = match options.target.command.as_slice() {
        [] => None,
        // Before the runtime, so that the child is the copy of a process with one thread; and with all privileges.
        command => Some(Waiting::fork(command)?),
    };
    let errands = Rc::new(Errands::new(&options, output.take_beside())?);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the event loop")?
        .block_on(trace(
            &options,
            (&fields, &types),
            target,
            command,
            (output, errands),
        ))
}

async fn trace(
    options: &RunOptions,
    kernel: (&Fields, &[u8]),
    target: Resolved,
    command: Option<Waiting>,
    (output, errands): (Output, Rc<Errands>),
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::install()?;
    let mut running = None;
    let edges = (output, &errands, &mut signals);
    let report = observe(options, kernel, target, command, &mut running, edges).await;
    match (running, report) {
        (Some(mut command), report) if !ends_at_once(&report) => {
            let status = wait_for(&mut command, &mut signals, &errands).await?;
            match report {
                // Ours is told, and its own is passed on.
                Err(error) if status != 0 => {
                    let message = format!("{error:#}");
                    Err(Failure::Beside { status, message }.into())
                }
                report => report.map(|_| ExitCode::from(status)),
            }
        }
        (_, report) => verdict(&report?),
    }
}

struct Written {
    /// `None`: nobody asked for one.
    report: Option<Report>,
    /// By a reader, to its end.
    seen: bool,
}

/// From the first record to the written report. Whatever becomes of it, `running` is the command.
async fn observe(
    options: &RunOptions,
    kernel: (&Fields, &[u8]),
    target: Resolved,
    command: Option<Waiting>,
    running: &mut Option<Running>,
    (mut output, errands, signals): (Output, &Rc<Errands>, &mut Signals),
) -> anyhow::Result<Written> {
    raise_priority();
    let mut host = host();
    let steal = StealSample::read();
    let clocks = Clocks::read();
    let buffer = options
        .buffer
        .unwrap_or_else(default_buffer)
        .next_power_of_two();
    let mut asked = target.target;
    if let Some(command) = &command {
        asked.pids.push(command.pid());
    }
    let (fields, types) = kernel;
    let mut session = Session::load(
        fields,
        types,
        &session_options(options, &asked, target.hierarchy, buffer),
    )
    .map_err(Failure::from)?;
    if options.forks && !session.facts().calls {
        tell(
            "warning: --forks: this kernel does not tell system calls; what they cost is n/a (see tracer doctor)",
        );
    }
    let can_end = asked.can_end() && command.is_none();
    let interval = interval(options);
    let settings = Settings {
        facts: session.facts().clone(),
        target: asked,
        // An unknown tick is taken for the slowest that is built.
        tolerance: Tolerance {
            tick: Nanos(1_000_000_000 / host.hz.unwrap_or(100)),
        },
        max_threads: options.max_threads as usize,
        max_forks: options.max_forks as usize,
        intervals: interval.is_some(),
        slower: options.slower.map(|least| Nanos(least.as_nanos() as u64)),
        replay: Replay::default(),
    };
    capabilities::keep_what_tracing_needs(|| session.counted().is_ok())
        .context("give up privileges")?;
    // Who is born while the probes are being attached is missed by the first look, not by the second.
    watch_target(&mut session, &settings)?;
    session.attach().map_err(Failure::from)?;
    watch_target(&mut session, &settings)?;
    if options.verbose {
        tell(&format!(
            "programs loaded and attached; a ring of {} for each of {} CPUs",
            output::bytes(buffer),
            session.facts().cpus.len()
        ));
        for refused in session.refused() {
            tell(&format!("done without: {refused}"));
        }
    }

    let recorder = Recorder::asked(options, clocks, &host, &settings, &target.cgroups, errands)?;
    let evaluates = !options.silent || can_end || options.slower.is_some();
    let mut feed = Feed {
        pipeline: evaluates.then(|| Pipeline::new(settings)),
        recorder,
    };
    // What the rings took since the probes are on must not be what the window's first records miss.
    session.drain(|record| feed.push(record));
    let seen = session.snapshot(kind::THREAD).map_err(Failure::from)?;
    target::expect_visible(&options.target, &seen)?;
    for record in seen.watched() {
        feed.push(record);
    }
    session.drain(|record| feed.push(record));
    let began = now();
    let started = clocks.wall(began);
    feed.push(&edge(kind::WINDOW_BEGIN, began.0));
    push_counts(&mut session, &mut feed, began)?;
    // What was lost while the probes were being attached is before the window, and the first look is after it.
    let lost_before = session.counted().map_err(Failure::from)?.lost();
    let mut meter =
        Meter::begin(&session, options.cost, options.max_overhead, began).map_err(Failure::from)?;
    let switching = options
        .switch_cost
        .then(|| Switching::begin(&session))
        .transpose()
        .map_err(Failure::from)?;
    *running = command.map(Waiting::release).transpose()?;

    if options.max_overhead.is_some() && !meter.knows_all() {
        tell(
            "warning: --max-overhead goes by the collector alone: what the kernel programs cost is not known",
        );
    }

    let deadline = options.duration.map(|duration| Instant::now() + duration);
    let style = style(options);
    let mut intervals = interval.map(|every| Intervals {
        every,
        next: began_plus(began, every),
        next_count: began_plus(began, every),
    });
    let mut pace = Pace::new(buffer);
    let alarm = Alarm::new().context("set up a timer")?;
    let mut farewell = Farewell::default();
    let end_reason = loop {
        let drained_from = now();
        if let Some(intervals) = &mut intervals {
            while intervals.next_count <= drained_from {
                push_counts(&mut session, &mut feed, intervals.next_count)?;
                intervals.next_count = began_plus(intervals.next_count, intervals.every);
            }
        }
        let drained = session.drain(|record| feed.push(record));
        feed.check()?;
        if drained.complete {
            let window = if feed.held() > MUCH {
                SHORT_WINDOW
            } else {
                REORDER_WINDOW
            };
            let certain = drained_from.before(window);
            while let Some(intervals) = &mut intervals
                && intervals.next <= certain
            {
                feed.advance(intervals.next);
                let outside = Outside {
                    missed_events: session.missed(),
                    ..Outside::default()
                };
                let pipeline = feed.pipeline.as_mut();
                if let Some(mut report) =
                    pipeline.and_then(|some| some.interval_report(intervals.next, &outside))
                {
                    report.window.started = Some(started.clone());
                    output.render(|out| {
                        output::report(options.format, &host, &report, &style, out)
                    })?;
                }
                intervals.next = began_plus(intervals.next, intervals.every);
            }
            feed.advance(certain);
            let spikes = show_spikes(&mut feed, &mut output, options, &style)?;
            let cost =
                |session: &Session, at| Ok(meter.cost(session, at).map_err(Failure::from)?);
            if let Some(recorded) = flight::visit(&mut session, &mut feed, spikes > 0, cost)? {
                tell(&recorded.to_string());
            }
        }
        if can_end
            && certain_after(drained_from, began)
            && (!feed.target_lives() || farewell.is_told_by(&mut session, drained_from)?)
        {
            break EndReason::TargetExit;
        }
        if output.is_closed() {
            break EndReason::Signal;
        }
        if meter.exceeds(&session, now()).map_err(Failure::from)? {
            break EndReason::MaxOverhead;
        }
        let mut wait = pace.after(drained);
        if let Some(intervals) = &intervals {
            // What the CPUs count is read when an interval ends, not when that is noticed.
            let left = intervals.next_count.since(now());
            wait = wait.min(Duration::from_nanos(left.0));
        }
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break EndReason::Duration;
            }
            wait = wait.min(left);
        }
        tokio::select! {
            rang = alarm.after(wait) => rang.context("wait for the next look at the rings")?,
            asked = session.rings().asked() => asked.context("wait for the rings")?,
            ended = ended(running.as_mut()) => {
                ended?;
                break EndReason::TargetExit;
            }
            received = signals.next() => {
                pass_on(received?, running.as_ref(), errands);
                break EndReason::Signal;
            }
        }
    };

    let finish = async {
        let command = running.as_ref().map(Running::pid);
        let seen = last_look(&mut session, command).map_err(Failure::from)?;
        for record in seen.watched() {
            feed.push(record);
        }
        let ended = now();
        push_counts(&mut session, &mut feed, ended)?;
        feed.push(&edge(kind::WINDOW_END, ended.0));
        let cost = meter.cost(&session, ended).map_err(Failure::from)?;
        let switch_costs = switching.map(|it| it.costs(&session)).transpose();
        let mut switch_costs = switch_costs.map_err(Failure::from)?;
        // Who stops because tracing costs too much traces no longer.
        let tail_ends = match end_reason {
            EndReason::MaxOverhead => Instant::now(),
            _ => Instant::now() + TAIL,
        };
        while Instant::now() < tail_ends {
            let drained = session.drain(|record| feed.push(record));
            sleep_until(tail_ends.min(Instant::now() + pace.after(drained))).await;
        }
        let stacks = if session.facts().narrow {
            session.stacks()
        } else {
            Vec::new()
        };
        session.detach();
        let missed = session.missed();
        let counted = drain_all(&mut session, &mut feed)?;
        for record in session.cow_records(ended.0).map_err(Failure::from)? {
            feed.push(&record);
        }
        if options.verbose {
            tell(&format!(
                "detached; the programs ran {} times, wrote {} records and lost {} of them",
                counted.events(),
                counted.records(),
                counted.lost()
            ));
        }
        let kept = feed.memory().map_or(0, |memory| memory.lost_before());
        let lost_before = lost_before.max(kept);
        let outside = Outside {
            end_reason: Some(end_reason),
            lost_records: Some(counted.lost() - lost_before.min(counted.lost())),
            unaccounted: counted.records() as i64
                - counted.lost() as i64
                - session.received() as i64,
            missed_events: missed,
            cut_off: false,
        };
        host.steal_percent = steal.and_then(|steal| steal.percent_since(&StealSample::read()?));
        name_strangers(&mut feed, ended);
        let mut report = feed
            .pipeline
            .as_mut()
            .map(|pipeline| pipeline.finish(ended, &outside));
        show_spikes(&mut feed, &mut output, options, &style)?;
        let cgroups = target::cgroups_now(&target.cgroups);
        if let Some(report) = &mut report {
            report.window.started = Some(started.clone());
            report.cost = Some(cost.clone());
            describe(report, &cgroups);
            if options.cmdline {
                target::read_cmdlines(report);
            }
            if session.facts().narrow {
                let opens =
                    |process: BorrowedFd<'_>, name: &str| errands.open_memory(process, name);
                memory::measure(report, &stacks, &opens);
            }
            if let Some(costs) = &mut switch_costs {
                costs.compare(&report.processes, &report.system, session.facts().narrow);
            }
            report.switch_costs = switch_costs.clone();
            report.insights = insights(report, session.facts());
        }
        if let Some(recorder) = feed.recorder {
            let recorded = recorder.finish(&Tail {
                ended_ns: ended.0,
                outside: OutsideDocument::of(&outside),
                cost,
                steal_percent: host.steal_percent,
                cgroups: cgroups.into_iter().collect(),
                memory: report.as_ref().map(memory_of).unwrap_or_default(),
                switch_costs,
            })?;
            tell(&recorded.map_or_else(
                || "no spike since: nothing is written".to_owned(),
                |it| it.to_string(),
            ));
        }
        let seen = match &report {
            Some(report) if !options.silent => {
                write(output, errands, options, &host, report, &style)?
            }
            _ => false,
        };
        Ok(Written { report, seen })
    };
    tokio::pin!(finish);
    loop {
        tokio::select! {
            done = &mut finish => return done,
            received = signals.next() => pass_on(received?, running.as_ref(), errands),
        }
    }
}

/// A command that never started has nothing to wait for, and who asks twice does not want to.
fn ends_at_once(report: &anyhow::Result<Written>) -> bool {
    let failure = report.as_ref().err().and_then(|error| error.downcast_ref());
    matches!(
        failure,
        Some(Failure::NotStarted { .. } | Failure::Stopped { .. })
    )
}

/// Its exit status, once it has ended.
async fn wait_for(
    command: &mut Running,
    signals: &mut Signals,
    errands: &Errands,
) -> anyhow::Result<u8> {
    loop {
        tokio::select! {
            ended = command.ended() => {
                ended?;
                return command.status();
            }
            received = signals.next() => pass_on(received?, Some(command), errands),
        }
    }
}

/// Whether the stream has been told beyond `began`.
fn certain_after(drained_from: Timestamp, began: Timestamp) -> bool {
    drained_from.before(REORDER_WINDOW) > began
}

/// An invalid report is an error of its own, unless a command's status is to be passed on, or its
/// reader went away and wanted to know nothing.
fn verdict(Written { report, seen }: &Written) -> anyhow::Result<ExitCode> {
    match report {
        Some(report) if *seen => verdict_of(&report.quality),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Never without a command.
async fn ended(command: Option<&mut Running>) -> anyhow::Result<()> {
    match command {
        Some(command) => command.ended().await,
        None => std::future::pending().await,
    }
}
