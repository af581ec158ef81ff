//! What is run in each virtual machine: tests of `tracer/tests`, by name, and what the init needs to know of them.

use anyhow::bail;

/// What a kernel is asked first: which of what the tracer can tell it has.
pub const DOCTOR: &str = "doctor";

/// Tests of one file.
pub struct Step {
    /// What they show, as it is told.
    pub name: &'static str,
    /// The file, which is a program.
    pub file: &'static str,
    pub tests: &'static [&'static str],
}

/// How long a test may take on an emulated machine. On arm64 loading the programs alone is 10 to 20 of them.
const SECONDS: u32 = 150;

pub const INIT: &str = "vm_init";

pub const STEPS: &[Step] = &[
    Step {
        name: "attach",
        file: "kernel_command",
        tests: &[
            "a_command_is_traced_from_its_first_instruction",
            "one_sigint_reports_and_a_second_stops",
        ],
    },
    Step {
        name: "exactness",
        file: "kernel_exact",
        tests: &[
            "a_field_that_is_read_from_the_wrong_place_is_noticed",
            "the_whole_system_under_a_small_load_is_accounted_for",
        ],
    },
    Step {
        name: "targets",
        file: "kernel_targets",
        tests: &["a_cgroup_of_version_2"],
    },
    Step {
        name: "identity",
        file: "kernel_identity",
        tests: &[
            "a_thread_that_execs_keeps_its_ledger_and_the_leader_ends",
            "a_worker_of_io_uring_has_a_row",
        ],
    },
    Step {
        name: "waits",
        file: "kernel_budget",
        tests: &[
            "a_thread_without_quota_left_is_throttled",
            "waiting_behind_a_hog_is_not_being_throttled",
        ],
    },
    Step {
        name: "births",
        file: "kernel_fork_kinds",
        tests: &[
            "a_thread_that_is_not_the_leader_executes",
            "a_worker_of_io_uring_is_born_of_who_submits",
            "every_way_to_be_born_is_classed",
        ],
    },
    Step {
        name: "ends",
        file: "kernel_fork_ends",
        tests: &[
            "a_crash_is_one_with_all_its_threads",
            "a_killed_child_is_a_crash_of_its_own",
        ],
    },
    Step {
        name: "recordings",
        file: "kernel_record",
        tests: &["the_whole_system_is_replayed_to_the_last_number"],
    },
    Step {
        name: "wakers",
        file: "kernel_interrupts",
        tests: &["a_thread_that_wakes_is_named_with_its_system_call"],
    },
    Step {
        name: "machine",
        file: "vm_machine",
        tests: &[
            "a_cpu_that_goes_and_comes_back_is_accounted_for",
            "a_cpu_that_nobody_knew_of_is_a_loss_that_is_told",
            "a_clock_that_is_set_changes_no_time",
            "a_machine_that_stood_still_waited",
            "a_machine_that_slept_has_no_time_for_it",
        ],
    },
];

/// Those of these names, or all.
pub fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Step>> {
    let known = |name: &String| STEPS.iter().any(|step| step.name == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        bail!("there is no step {unknown}, but {}", known.join(", "));
    }
    let is_chosen = |step: &&Step| names.is_empty() || names.iter().any(|name| name == step.name);
    Ok(STEPS.iter().filter(is_chosen).collect())
}

/// `/plan` of the init: a test a line, under the name of its step.
pub fn written(steps: &[&Step]) -> String {
    let mut plan = format!("{DOCTOR}\t{SECONDS}\t/bin/tracer\tdoctor\t--format\tjson\n");
    for Step { name, file, tests } in steps {
        for test in *tests {
            plan += &format!("{name}\t{SECONDS}\t{}\t--exact\t{test}\n", place(file));
        }
    }
    plan
}

/// Where the program of a test file is in the virtual machine.
pub fn place(file: &str) -> String {
    format!("/tests/{file}")
}
