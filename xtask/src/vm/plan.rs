//! What is run in each virtual machine: tests of `tracer/tests`, by name, and what the init needs to know of them.

/// What a kernel is asked first: which of what the tracer can tell it has.
pub const DOCTOR: &str = "doctor";

/// Tests of one file.
pub struct Step {
    /// What they show, as it is told.
    pub name: &'static str,
    /// The file, which is a program.
    pub file: &'static str,
    /// How long they may take together on an emulated machine.
    pub seconds: u32,
    pub tests: &'static [&'static str],
}

pub const INIT: &str = "vm_init";

pub const STEPS: &[Step] = &[
    Step {
        name: "attach",
        file: "kernel_command",
        seconds: 120,
        tests: &[
            "a_command_is_traced_from_its_first_instruction",
            "the_status_of_the_command_is_ours",
            "one_sigint_reports_and_a_second_stops",
        ],
    },
    Step {
        name: "exactness",
        file: "kernel_exact",
        seconds: 120,
        tests: &[
            "a_yield_is_involuntary_and_told_apart",
            "a_field_that_is_read_from_the_wrong_place_is_noticed",
        ],
    },
    Step {
        name: "targets",
        file: "kernel_targets",
        seconds: 300,
        tests: &[
            "descendants_of_a_pid_follow_through_threads",
            "without_children_nobody_follows",
            "several_pids_are_a_union",
            "a_tid_is_one_thread",
            "a_name_is_matched_whenever_it_is_taken",
            "births_while_attaching_are_not_missed",
            "the_model_is_told",
            "a_cgroup_of_version_2",
        ],
    },
    Step {
        name: "identity",
        file: "kernel_identity",
        seconds: 300,
        tests: &[
            "a_thread_that_execs_keeps_its_ledger_and_the_leader_ends",
            "a_worker_of_io_uring_has_a_row",
            "thousands_of_threads_are_as_many_rows",
            "thousands_of_processes_are_as_many_rows",
            "a_tid_that_is_used_again_names_another_thread",
            "the_last_name_is_shown",
            "a_sleep_that_the_kernel_counted_as_wait_is_shown_as_sleep",
            "a_wait_that_the_kernel_missed_is_counted_and_named",
        ],
    },
    Step {
        name: "waits",
        file: "kernel_budget",
        seconds: 300,
        tests: &[
            "who_ran_while_a_thread_waited_is_named_and_narrow_agrees_with_whole",
            "a_thread_without_quota_left_is_throttled",
            "waiting_behind_a_hog_is_not_being_throttled",
            "a_timer_wakes_and_not_who_ran_then",
            "a_wait_that_moves_to_another_cpu_is_charged_on_both",
            "threads_that_share_a_lock_are_told_from_processes",
        ],
    },
    Step {
        name: "births",
        file: "kernel_fork_kinds",
        seconds: 200,
        tests: &[
            "every_way_to_be_born_is_classed",
            "a_worker_of_io_uring_is_born_of_who_submits",
            "a_thread_that_is_not_the_leader_executes",
            "the_name_changes_where_a_program_does",
        ],
    },
    Step {
        name: "ends",
        file: "kernel_fork_ends",
        seconds: 200,
        tests: &[
            "a_zombie_lasts_until_its_parent_takes_note",
            "a_crash_is_one_with_all_its_threads",
            "a_killed_child_is_a_crash_of_its_own",
        ],
    },
    Step {
        name: "loss",
        file: "kernel_loss",
        seconds: 200,
        tests: &["what_a_stopped_collector_loses_is_known_to_the_switch"],
    },
    Step {
        name: "recording",
        file: "kernel_record",
        seconds: 200,
        tests: &[
            "the_whole_system_is_replayed_to_the_last_number",
            "a_command_is_replayed_from_its_first_instruction",
        ],
    },
    Step {
        name: "interrupts",
        file: "kernel_interrupts",
        seconds: 200,
        tests: &[
            "time_in_interrupts_is_part_of_the_time_between_switches",
            "a_timer_that_wakes_is_told_from_the_thread_that_it_interrupts",
            "a_thread_that_wakes_is_named_with_its_system_call",
            "a_kernel_that_tells_none_of_it_traces_all_else",
        ],
    },
    Step {
        name: "memory",
        file: "kernel_memory",
        seconds: 200,
        tests: &[
            "a_process_has_what_it_touched_and_each_thread_its_stack",
            "kernel_stacks_are_as_large_as_the_kernel_counts_them",
            "an_ended_process_has_what_it_had_at_its_exit",
        ],
    },
    Step {
        name: "machine",
        file: "vm_machine",
        seconds: 300,
        tests: &[
            "a_cpu_that_goes_and_comes_back_is_accounted_for",
            "a_cpu_that_nobody_knew_of_is_a_loss_that_is_told",
            "a_clock_that_is_set_changes_no_time",
            "a_machine_that_stood_still_waited",
            "a_machine_that_slept_has_no_time_for_it",
        ],
    },
];

/// `/plan` of the init: a step a line.
pub fn written() -> String {
    let mut plan = format!("{DOCTOR}\t60\t/bin/tracer\tdoctor\t--format\tjson\n");
    for step in STEPS {
        let Step {
            name,
            file,
            seconds,
            tests,
        } = step;
        let tests = tests.join("\t");
        plan += &format!("{name}\t{seconds}\t{}\t--test-threads=1\t--exact\t{tests}\n", place(file));
    }
    plan
}

/// Where the program of a test file is in the virtual machine.
pub fn place(file: &str) -> String {
    format!("/tests/{file}")
}
