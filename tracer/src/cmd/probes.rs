//! `tracer probes`: how large each kernel program became on this kernel, and what a run of it costs.
//!
//! Loads them and attaches none. For the gate that keeps them small, and for the bench.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use crate::{
    cli::{DoctorFormat, ProbesOptions},
    cmd::Failure,
    kernel::{
        cost::{Prices, Size},
        preflight,
        session::{Narrow, Options, Session},
    },
};

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    /// The loop around the bodies.
    empty_ns: Option<f64>,
    /// To call a program that does nothing from its tracepoint.
    call_ns: Option<f64>,
    programs: Vec<Program>,
}

/// A program as it is where all threads are watched, and, by its name with `, passed`, a run that finds
/// nobody watched.
#[derive(Serialize)]
struct Program {
    name: String,
    verified_instructions: Option<u32>,
    translated_bytes: Option<u32>,
    jited_bytes: u32,
    /// The body alone, with warm caches; `null` where that is not measured.
    ns_per_event: Option<f64>,
}

pub fn run(options: &ProbesOptions) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the event loop")?;
    if options.attach_empty {
        return runtime.block_on(attach_empty());
    }
    let document = runtime.block_on(async { document() })?;
    let mut out = io::stdout().lock();
    match options.format {
        DoctorFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &document)?;
            writeln!(out)?;
        }
        DoctorFormat::Table => table(&document, &mut out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn document() -> anyhow::Result<Document> {
    let (all, _) = load(None)?;
    let prices = all.prices().as_ref().ok();
    let mut programs = programs(&all.sizes(), "", |name| {
        prices.and_then(|prices| told(prices, name))
    });
    let (narrow, _) = load(Some(Narrow { children: true }))?;
    let passed = narrow.prices().as_ref().ok();
    for (what, price) in [(", passed", passing as Price), (", kept", keeping)] {
        let mut narrow = self::programs(&narrow.sizes(), what, |name| {
            passed.and_then(|prices| price(prices, name))
        });
        narrow.retain(|program| program.ns_per_event.is_some());
        programs.extend(narrow);
    }
    Ok(Document {
        schema: "tracer.probes.v1",
        empty_ns: prices.map(|prices| prices.empty),
        call_ns: prices.map(|prices| prices.call),
        programs,
    })
}

async fn attach_empty() -> anyhow::Result<ExitCode> {
    let (mut session, types) = load(None)?;
    session.attach_empty(&types).map_err(Failure::from)?;
    tokio::signal::ctrl_c().await.context("wait for a signal")?;
    Ok(ExitCode::SUCCESS)
}

fn load(narrow: Option<Narrow>) -> anyhow::Result<(Session, Vec<u8>)> {
    let preflight = preflight::check();
    if let Some(refusal) = preflight.refusal() {
        return Err(Failure::from(refusal).into());
    }
    let options = Options {
        buffer: 1 << 20,
        cgroups: None,
        narrow,
        resched: true,
        forks: true,
        switch_cost: true,
        calibrate: true,
        statistics: false,
        verbose: false,
    };
    let (fields, types) = preflight.into_parts();
    let session = Session::load(&fields, &types, &options);
    Ok((session.map_err(Failure::from)?, types))
}

fn programs(sizes: &[Size], suffix: &str, price: impl Fn(&str) -> Option<f64>) -> Vec<Program> {
    let program = |size: &Size| Program {
        name: format!("{}{suffix}", size.name),
        verified_instructions: size.verified_instructions,
        translated_bytes: size.translated_bytes,
        jited_bytes: size.jited_bytes,
        ns_per_event: price(size.name),
    };
    sizes.iter().map(program).collect()
}

fn told(prices: &Prices, name: &str) -> Option<f64> {
    match name {
        "sched_switch" => Some(prices.switch),
        "sched_waking" => Some(prices.waking),
        "task_newtask" => Some(prices.birth),
        "sched_set_need_resched_tp" => Some(prices.resched),
        "irq_enter" | "irq_leave" => Some(prices.interrupt),
        _ => None,
    }
}

/// Of a program, where it is known.
type Price = fn(&Prices, &str) -> Option<f64>;

fn passing(prices: &Prices, name: &str) -> Option<f64> {
    match name {
        "sched_switch" => Some(prices.switch_passed),
        "sched_waking" => Some(prices.waking_passed),
        _ => None,
    }
}

fn keeping(prices: &Prices, name: &str) -> Option<f64> {
    (name == "sched_switch").then_some(prices.switch_kept)
}

fn table(document: &Document, out: &mut impl io::Write) -> io::Result<()> {
    let number = |number: Option<u32>| number.map_or("n/a".to_owned(), |number| number.to_string());
    let ns = |ns: Option<f64>| ns.map_or("n/a".to_owned(), |ns| format!("{ns:.1}"));
    writeln!(
        out,
        "{:<28}{:>10}{:>12}{:>8}{:>8}",
        "PROGRAM", "VERIFIED", "TRANSLATED", "JITED", "NS"
    )?;
    for program in &document.programs {
        writeln!(
            out,
            "{:<28}{:>10}{:>12}{:>8}{:>8}",
            program.name,
            number(program.verified_instructions),
            number(program.translated_bytes),
            program.jited_bytes,
            ns(program.ns_per_event)
        )?;
    }
    writeln!(
        out,
        "each call {} ns; the empty loop, {} ns, is taken out",
        ns(document.call_ns),
        ns(document.empty_ns)
    )
}
