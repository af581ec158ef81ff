//! `doctor`: what this machine allows, what is missing, what that costs, and the remedy.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::{DoctorFormat, DoctorOptions};
use crate::host::Host;
use crate::kernel::host::host;
use crate::kernel::preflight::{self, Preflight, Requirement, State};
use crate::output::terminal;

/// As for `run`: 3 when this machine or user cannot trace.
const CANNOT_TRACE: u8 = 3;

pub fn run(options: &DoctorOptions) -> anyhow::Result<ExitCode> {
    let preflight = preflight::check();
    let mut out = io::stdout().lock();
    match options.format {
        DoctorFormat::Table => table(&host(), &preflight, &mut out),
        DoctorFormat::Json => json(&host(), &preflight, &mut out),
    }
    .and_then(|()| out.flush())
    .context("write the list of requirements")?;
    Ok(if preflight.refusal().is_some() {
        ExitCode::from(CANNOT_TRACE)
    } else {
        ExitCode::SUCCESS
    })
}

fn word(state: State) -> &'static str {
    match state {
        State::Found => "found",
        State::Missing => "missing",
        State::Unknown => "could not tell",
    }
}

fn table(host: &Host, preflight: &Preflight, out: &mut dyn Write) -> io::Result<()> {
    let cpus = if host.cpus == 1 { "CPU" } else { "CPUs" };
    let (kernel, arch) = (
        terminal(host.kernel.as_bytes()),
        terminal(host.arch.as_bytes()),
    );
    writeln!(
        out,
        "tracer {} on Linux {kernel}, {arch}, {} {cpus}",
        env!("CARGO_PKG_VERSION"),
        host.cpus
    )?;
    for (heading, required) in [("Required", true), ("Optional", false)] {
        writeln!(out, "\n{heading}")?;
        for requirement in preflight
            .requirements
            .iter()
            .filter(|found| found.required == required)
        {
            entry(requirement, out)?;
        }
    }
    let missing = preflight
        .requirements
        .iter()
        .filter(|found| found.required && found.state == State::Missing)
        .count();
    match missing {
        0 => writeln!(
            out,
            "\nNothing that is required is missing: this machine can be traced."
        ),
        1 => writeln!(
            out,
            "\nThis machine cannot be traced: 1 requirement is missing."
        ),
        n => writeln!(
            out,
            "\nThis machine cannot be traced: {n} requirements are missing."
        ),
    }
}

/// Where the second column begins.
const NAME: usize = 18;
const WIDTH: usize = 80;

fn entry(requirement: &Requirement, out: &mut dyn Write) -> io::Result<()> {
    let Requirement {
        name,
        state,
        seen,
        lost,
        remedy,
        ..
    } = requirement;
    wrapped(
        out,
        &format!("  {:15} {name:26} ", word(*state)),
        &terminal(seen.as_bytes()),
    )?;
    if *state != State::Found {
        wrapped(out, &format!("{:NAME$}without it: ", ""), lost)?;
        wrapped(out, &format!("{:NAME$}remedy: ", ""), remedy)?;
    }
    Ok(())
}

/// `start`, then `text`, continued on lines below the second column.
fn wrapped(out: &mut dyn Write, start: &str, text: &str) -> io::Result<()> {
    let mut line = start.to_owned();
    for word in text.split(' ') {
        if line.len() + word.len() > WIDTH {
            writeln!(out, "{}", line.trim_end())?;
            line = " ".repeat(NAME + 2);
        }
        line.push_str(word);
        line.push(' ');
    }
    writeln!(out, "{}", line.trim_end())
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    tracer_version: &'static str,
    can_trace: bool,
    host: Machine<'a>,
    requirements: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Machine<'a> {
    hostname: &'a str,
    boot_id: &'a str,
    kernel: &'a str,
    arch: &'a str,
    cpus: u64,
    preempt_mode: Option<&'a str>,
    hz: Option<u64>,
    clocksource: Option<&'a str>,
    hypervisor: Option<&'a str>,
    sched_ext: Option<&'a str>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    state: &'static str,
    required: bool,
    seen: &'a str,
    lost: &'a str,
    remedy: &'a str,
}

fn json(host: &Host, preflight: &Preflight, out: &mut dyn Write) -> io::Result<()> {
    let document = Document {
        schema: "tracer.doctor.v1",
        tracer_version: env!("CARGO_PKG_VERSION"),
        can_trace: preflight.refusal().is_none(),
        host: Machine {
            hostname: &host.hostname,
            boot_id: &host.boot_id,
            kernel: &host.kernel,
            arch: &host.arch,
            cpus: host.cpus,
            preempt_mode: host.preempt_mode.as_deref(),
            hz: host.hz,
            clocksource: host.clocksource.as_deref(),
            hypervisor: host.hypervisor.as_deref(),
            sched_ext: host.sched_ext.as_deref(),
        },
        requirements: preflight
            .requirements
            .iter()
            .map(|found| Row {
                name: &found.name,
                state: match found.state {
                    State::Found => "found",
                    State::Missing => "missing",
                    State::Unknown => "unknown",
                },
                required: found.required,
                seen: &found.seen,
                lost: found.lost,
                remedy: &found.remedy,
            })
            .collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_says_what_is_lost_and_the_remedy() {
        let requirement = Requirement {
            name: "kernel BTF".to_owned(),
            state: State::Missing,
            seen: "not exposed by this kernel (/sys/kernel/btf/vmlinux, kernel 5.4.0)".to_owned(),
            lost: "all tracing",
            remedy: "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y".to_owned(),
            required: true,
        };
        let mut out = Vec::new();
        entry(&requirement, &mut out).expect("memory takes all");
        insta::assert_snapshot!(String::from_utf8_lossy(&out), @r"
          missing         kernel BTF                 not exposed by this kernel
                            (/sys/kernel/btf/vmlinux, kernel 5.4.0)
                          without it: all tracing
                          remedy: boot a kernel built with CONFIG_DEBUG_INFO_BTF=y
        ");
    }

    #[test]
    fn the_list_of_this_machine_fits_and_is_valid_json() {
        let (host, preflight) = (host(), preflight::check());
        let mut out = Vec::new();
        table(&host, &preflight, &mut out).expect("memory takes all");
        let text = String::from_utf8(out).expect("it is text");
        assert!(
            preflight
                .requirements
                .iter()
                .all(|found| text.contains(&found.name))
        );
        let mut out = Vec::new();
        json(&host, &preflight, &mut out).expect("memory takes all");
        let document: serde_json::Value = serde_json::from_slice(&out).expect("it is JSON");
        assert_eq!(
            document["requirements"].as_array().map(Vec::len),
            Some(preflight.requirements.len())
        );
        assert_eq!(document["schema"], "tracer.doctor.v1");
    }
}
