//! `tracer run`: one loop over the rings, the clock, signals and the command.

use std::{io::Write as _, process::ExitCode, time::Duration};

use anyhow::Context as _;
use tokio::time::{Instant, sleep_until};
use tracer_common::record::kind;

use crate::{
    audit::Tolerance,
    cli::{CostMethod, RunOptions},
    cmd::{
        Failure,
        run::{
            feed::{Farewell, drain_all, name_strangers, now, push_counts, watch_target},
            meter::Meter,
            pace::Pace,
            setup::{default_buffer, interval, raise_priority, style},
            signals::{Signals, pass_on},
            target::Resolved,
        },
    },
    command::{Running, Waiting},
    host::Host,
    insights::insights,
    kernel::{
        alarm::Alarm,
        fields::Fields,
        host::{StealSample, host},
        preflight,
        session::{self, Narrow, Session, edge},
    },
    model::{Nanos, Timestamp},
    output::{self, Format, Style, file::Output},
    pipeline::{Pipeline, Settings},
    report::{EndReason, Report, Verdict},
    summary::Outside,
};

mod feed;
mod meter;
mod pace;
mod setup;
mod signals;
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
    let command = match options.target.command.as_slice() {
        [] => None,
        // Before the runtime, so that the child is the copy of a process with one thread.
        command => Some(Waiting::fork(command)?),
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the event loop")?
        .block_on(trace(&options, (&fields, &types), target, command))
}

async fn trace(
    options: &RunOptions,
    kernel: (&Fields, &[u8]),
    target: Resolved,
    command: Option<Waiting>,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::install()?;
    let mut running = None;
    let report = observe(options, kernel, target, command, &mut running, &mut signals);
    let report = report.await;
    match (running, report) {
        (Some(mut command), report) if !ends_at_once(&report) => {
            let status = wait_for(&mut command, &mut signals).await?;
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
    report: Report,
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
    signals: &mut Signals,
) -> anyhow::Result<Written> {
    raise_priority();
    let mut host = host();
    let steal = StealSample::read();
    let mut output = Output::open(options.output.as_deref())?;
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
        &session::Options {
            buffer,
            cgroups: target.hierarchy,
            // A name or a cgroup may become a thread's later: only numbers can be told apart beforehand.
            narrow: asked.can_end().then_some(Narrow {
                children: asked.children,
            }),
            // Of the whole machine it would cost as much as all wake-ups.
            resched: asked.can_end() || options.slower.is_some(),
            calibrate: options.cost == CostMethod::Calibrated,
            statistics: options.cost == CostMethod::Exact,
            verbose: options.verbose,
        },
    )
    .map_err(Failure::from)?;
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
        intervals: interval.is_some(),
        slower: options.slower.map(|least| Nanos(least.as_nanos() as u64)),
    };
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
    }

    let mut pipeline = Pipeline::new(settings);
    // What the rings took since the probes are on must not be what the window's first records miss.
    session.drain(|record| pipeline.push(record));
    let seen = session.snapshot(kind::THREAD).map_err(Failure::from)?;
    for record in seen.watched() {
        pipeline.push(record);
    }
    session.drain(|record| pipeline.push(record));
    let started = jiff::Timestamp::now();
    let began = now();
    pipeline.push(&edge(kind::WINDOW_BEGIN, began.0));
    push_counts(&mut session, &mut pipeline, began)?;
    // What was lost while the probes were being attached is before the window, and the first look is after it.
    let lost_before = session.counted().map_err(Failure::from)?.lost();
    let mut meter =
        Meter::begin(&session, options.cost, options.max_overhead, began).map_err(Failure::from)?;
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
                push_counts(&mut session, &mut pipeline, intervals.next_count)?;
                intervals.next_count = began_plus(intervals.next_count, intervals.every);
            }
        }
        let drained = session.drain(|record| pipeline.push(record));
        if drained.complete {
            let window = if pipeline.held() > MUCH {
                SHORT_WINDOW
            } else {
                REORDER_WINDOW
            };
            let certain = drained_from.before(window);
            while let Some(intervals) = &mut intervals
                && intervals.next <= certain
            {
                pipeline.advance(intervals.next);
                let outside = Outside {
                    missed_events: session.missed(),
                    ..Outside::default()
                };
                if let Some(mut report) = pipeline.interval_report(intervals.next, &outside) {
                    report.window.started = Some(started.to_string());
                    output.render(|out| {
                        output::report(options.format, &host, &report, &style, out)
                    })?;
                }
                intervals.next = began_plus(intervals.next, intervals.every);
            }
            pipeline.advance(certain);
            show_spikes(&mut pipeline, &mut output, options.format, &style)?;
        }
        if can_end
            && certain_after(drained_from, began)
            && (!pipeline.target_lives() || farewell.is_told_by(&mut session, drained_from)?)
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
                pass_on(received?, running.as_ref());
                break EndReason::Signal;
            }
        }
    };

    let finish = async {
        let seen = session.snapshot(kind::THREAD_END).map_err(Failure::from)?;
        for record in seen.watched() {
            pipeline.push(record);
        }
        let ended = now();
        push_counts(&mut session, &mut pipeline, ended)?;
        pipeline.push(&edge(kind::WINDOW_END, ended.0));
        let cost = meter.cost(&session, ended).map_err(Failure::from)?;
        // Who stops because tracing costs too much traces no longer.
        let tail_ends = match end_reason {
            EndReason::MaxOverhead => Instant::now(),
            _ => Instant::now() + TAIL,
        };
        while Instant::now() < tail_ends {
            let drained = session.drain(|record| pipeline.push(record));
            sleep_until(tail_ends.min(Instant::now() + pace.after(drained))).await;
        }
        session.detach();
        let missed = session.missed();
        let counted = drain_all(&mut session, &mut pipeline)?;
        if options.verbose {
            tell(&format!(
                "detached; the programs ran {} times, wrote {} records and lost {} of them",
                counted.events(),
                counted.records(),
                counted.lost()
            ));
        }
        let outside = Outside {
            end_reason: Some(end_reason),
            lost_records: Some(counted.lost() - lost_before.min(counted.lost())),
            unaccounted: counted.records() as i64
                - counted.lost() as i64
                - session.received() as i64,
            missed_events: missed,
        };
        name_strangers(&mut pipeline);
        let mut report = pipeline.finish(ended, &outside);
        show_spikes(&mut pipeline, &mut output, options.format, &style)?;
        report.window.started = Some(started.to_string());
        report.cost = cost;
        target::describe(&mut report, &target.cgroups, options.cmdline);
        report.insights = insights(&report, session.facts());
        host.steal_percent = steal.and_then(|steal| steal.percent_since(&StealSample::read()?));
        let seen = write(output, options, &host, &report, &style)?;
        Ok(Written { report, seen })
    };
    tokio::pin!(finish);
    loop {
        tokio::select! {
            done = &mut finish => return done,
            received = signals.next() => pass_on(received?, running.as_ref()),
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
async fn wait_for(command: &mut Running, signals: &mut Signals) -> anyhow::Result<u8> {
    loop {
        tokio::select! {
            ended = command.ended() => {
                ended?;
                return command.status();
            }
            received = signals.next() => pass_on(received?, Some(command)),
        }
    }
}

/// For `-v`.
fn tell(what: &str) {
    // Nobody is left to be told when stderr is gone.
    let _ = writeln!(std::io::stderr().lock(), "{what}");
}

struct Intervals {
    every: Duration,
    next: Timestamp,
    /// The next end of one at which the CPUs' counts are due.
    next_count: Timestamp,
}

fn began_plus(began: Timestamp, every: Duration) -> Timestamp {
    Timestamp(
        began
            .0
            .saturating_add(u64::try_from(every.as_nanos()).unwrap_or(u64::MAX)),
    )
}

/// Whether the stream has been told beyond `began`.
fn certain_after(drained_from: Timestamp, began: Timestamp) -> bool {
    drained_from.before(REORDER_WINDOW) > began
}

/// Those that ended since the last time.
fn show_spikes(
    pipeline: &mut Pipeline,
    output: &mut Output,
    format: Format,
    style: &Style,
) -> anyhow::Result<()> {
    for spike in pipeline.take_spikes() {
        output.render(|out| output::spike(format, &spike, style, out))?;
    }
    Ok(())
}

/// Answers whether somebody still reads.
fn write(
    mut output: Output,
    options: &RunOptions,
    host: &Host,
    report: &Report,
    style: &Style,
) -> anyhow::Result<bool> {
    output.render(|out| output::report(options.format, host, report, style, out))?;
    let seen = !output.is_closed();
    output.finish()?;
    Ok(seen)
}

/// An invalid report is an error of its own, unless a command's status is to be passed on, or its
/// reader went away and wanted to know nothing.
fn verdict(Written { report, seen }: &Written) -> anyhow::Result<ExitCode> {
    if *seen && report.quality.verdict == Verdict::Invalid {
        let why = report.quality.reasons.first().cloned().unwrap_or_default();
        return Err(Failure::Invalid(format!("the report is invalid: {why}")).into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Never without a command.
async fn ended(command: Option<&mut Running>) -> anyhow::Result<()> {
    match command {
        Some(command) => command.ended().await,
        None => std::future::pending().await,
    }
}
