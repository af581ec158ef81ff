//! What the engine makes of a schedule, case by case.

use super::{
    picture::{Seen, check, check_with},
    toy::Told,
};
use crate::report::{Thread, Totals, Verdict};

fn switches(thread: &Thread) -> (u64, u64) {
    (thread.totals.voluntary, thread.totals.involuntary)
}

fn microseconds(of: impl Fn(&Totals) -> u64, thread: &Thread) -> u64 {
    of(&thread.totals) / 1000
}

fn valid(seen: Seen) -> Seen {
    assert_eq!(
        seen.report.quality.verdict,
        Verdict::Valid,
        "{:?}",
        seen.report.quality
    );
    assert_eq!(seen.report.quality.switch_ins_without_waking, 0);
    seen
}

fn degraded(seen: Seen) -> Seen {
    assert_eq!(
        seen.report.quality.verdict,
        Verdict::Degraded,
        "{:?}",
        seen.report.quality
    );
    seen
}

#[test]
fn a_woken_thread_waits_until_it_is_switched_in() {
    let seen = valid(check(
        "
        cpu0   BBBBBBBBBBAAAABBBB
        wake      A
        how                  _
        A      ___.......====____
        B      ==========....====
    ",
    ));
    let a = seen.thread('A');
    assert_eq!(switches(a), (1, 0));
    assert_eq!((a.wait.count, a.wait.sum.0), (1, 7000));
    assert_eq!(a.latency.map(|dist| dist.sum.0), Some(7000));
    assert_eq!(switches(seen.thread('B')), (0, 1));
    assert_eq!(seen.thread('B').totals.kinds.other_process, 1);
}

#[test]
fn a_preempted_thread_waits_all_the_time_it_is_off() {
    let seen = valid(check(
        "
        cpu0   AAAAAaaaaaaaAAAAA-
        wake       a
        how                _    _
        A      =====.......=====_
        a      ____.=======______
    ",
    ));
    assert_eq!(switches(seen.thread('A')), (1, 1));
    assert_eq!(seen.thread('A').totals.kinds.same_process, 1);
    assert_eq!(seen.thread('A').totals.kinds.idle, 1);
    assert_eq!(seen.thread('A').latency, None);
}

#[test]
fn a_yield_is_involuntary_and_known_as_one() {
    let seen = valid(check(
        "
        cpu0   AAAABBBBAAAA
        wake    B
        how        y   _
        A      ====....====
        B      _...====____
    ",
    ));
    let a = seen.thread('A').totals;
    assert_eq!(
        (a.voluntary, a.involuntary, a.involuntary_yields),
        (0, 1, Some(1))
    );
}

#[test]
fn waiting_for_io_is_a_part_of_block_and_of_nothing_else() {
    let seen = valid(check(
        "
        cpu0   AAAA-----AAA---AAAA
        wake           A     A
        how        i       #
        A      ====iiii.===##.====
    ",
    ));
    let a = seen.thread('A').totals;
    assert_eq!((a.block.0, a.iowait.map(|ns| ns.0)), (6000, Some(4000)));
    assert_eq!(a.sleep.0, 0);
}

#[test]
fn who_finds_a_signal_pending_leaves_by_choice_and_waits() {
    let seen = valid(check(
        "
        cpu0   AAAABBBBAAAA
        wake    B
        how        s   _
        A      ====....====
        B      _...====____
    ",
    ));
    let a = seen.thread('A');
    assert_eq!(switches(a), (1, 0));
    assert_eq!(a.totals.involuntary_yields, Some(0));
}

#[test]
fn a_stopped_thread_is_neither_asleep_nor_blocked() {
    let seen = valid(check(
        "
        cpu0   AAAA------AAA
        wake           A
        how        z
        A      ====zzzz..===
    ",
    ));
    assert_eq!(microseconds(|totals| totals.stopped.0, seen.thread('A')), 4);
}

#[test]
fn a_life_begins_with_the_first_wait_and_ends_with_the_last_switch_out() {
    let seen = valid(check(
        "
        cpu0   AAAAAAABBBBBAA
        born       B
        exit             B
        how                x
        A      =======.....==
        B          ...=====
    ",
    ));
    let b = seen.thread('B');
    assert!(b.born_in_window);
    assert_eq!(
        b.exit.map(|exit| (exit.at_ns, exit.code)),
        Some((10_000, 7))
    );
    assert_eq!(b.totals.lifetime.0, 8000);
    assert_eq!(b.wait.count, 1);
    assert!(
        b.kernel.is_some(),
        "an ended thread is checked against its last record"
    );
    assert_eq!(seen.report.quality.threads_self_checked, 1);
}

#[test]
fn what_the_window_cuts_counts_in_totals_and_in_no_distribution() {
    let seen = valid(check(
        "
        edge      [            ]
        cpu0   AAAAABBBBBBBBAAAA---BBBB
        wake     B         A     B
        how         _       _   _
        A         ==_______.===
        B         ..========___
    ",
    ));
    let (a, b) = (seen.thread('A'), seen.thread('B'));
    assert_eq!((a.run_slice.count, a.run_slice.clipped), (0, 2));
    assert_eq!((a.wait.count, a.wait.clipped), (1, 0));
    assert_eq!((b.wait.count, b.wait.clipped), (0, 1));
    assert_eq!(b.run_slice.count, 1);
    assert_eq!((a.totals.sleep.0, b.totals.sleep.0), (7000, 3000));
    let cpu = seen.report.system.cpus[0];
    assert_eq!((cpu.busy.0, cpu.idle.0), (13_000, 0));
}

#[test]
fn a_wait_goes_on_from_one_run_queue_to_the_next() {
    let seen = valid(check(
        "
        cpu0   BBBBBBBBBBBBBB
        cpu1   CCCCCCCCCCAAAA
        wake     A
        move1         A
        how              _
        A      __........====
        B      ==============
        C      ==========____
    ",
    ));
    let a = seen.thread('A');
    assert_eq!(
        (a.totals.migrations, a.wait.count, a.wait.sum.0),
        (1, 1, 8000)
    );
    assert!(seen.report.quality.mismatches.is_empty());
}

#[test]
fn a_waker_that_looks_before_the_sleeper_has_left_is_not_missing() {
    let seen = valid(check(
        "
        cpu0   AAAA----AAAA
        wake     A
        queue       A
        how        _
        A      ====_...====
    ",
    ));
    assert_eq!(seen.thread('A').totals.wake.map(|wake| wake.0), Some(0));
}

#[test]
fn the_way_to_the_run_queue_is_the_end_of_the_sleep() {
    let seen = valid(check(
        "
        cpu0   AAAA--------AAAA
        wake         A
        queue           A
        how        _
        A      ====_____...====
    ",
    ));
    let a = seen.thread('A');
    assert_eq!(a.totals.wake.map(|wake| wake.0), Some(3000));
    assert_eq!(a.latency.map(|dist| dist.sum.0), Some(6000));
    assert_eq!(a.wait.sum.0, 3000);
}

#[test]
fn the_idle_thread_has_no_row_and_its_time_is_no_ones() {
    let seen = valid(check(
        "
        cpu0   AA------AA
        wake          A
        how      _
        A      ==_____.==
    ",
    ));
    assert_eq!(seen.report.processes.len(), 1);
    let cpu = seen.report.system.cpus[0];
    assert_eq!((cpu.busy.0, cpu.idle.0), (4000, 6000));
    let system = seen.report.system.totals.expect("always counted");
    assert_eq!(
        (system.voluntary, system.involuntary, system.from_idle),
        (1, 0, 1)
    );
}

#[test]
fn a_sleeper_that_is_moved_does_not_show_its_sleep_as_wait() {
    // Left on its run queue and moved to another one, a sleeper is stamped as if it waited.
    let seen = valid(check(
        "
        cpu0   A---------BBBBBBBBB
        cpu1   ------------CCCCCCA
        move1     A
        wake            BC   A
        how     _                _
        A      =_____________....=
    ",
    ));
    let a = seen.thread('A');
    assert_eq!(a.totals.wait.0, 4000);
    assert!(
        a.kernel
            .is_some_and(|kernel| kernel.wait.0 > a.totals.wait.0)
    );
}

#[test]
fn a_thread_preempted_on_its_way_to_sleep_waits_and_the_kernel_misses_it() {
    let seen = valid(check(
        "
        cpu0   AAAABBBBBBAAAA--
        wake    B
        how        n     _   _
        A      ====......====__
        B      _...======______
    ",
    ));
    let a = seen.thread('A').totals;
    assert_eq!((a.wait.0, a.wait_uncounted.0), (6000, 6000));
    assert_eq!((a.voluntary, a.involuntary), (1, 1));
}

#[test]
fn each_posture_of_the_first_look_is_believed() {
    let seen = valid(check(
        "
        edge           [     ]
        cpu0   CCDDEEBAAAAAAA
        wake    D E BA
        how      z i _
        A              ======
        B              ......
        C              zzzzzz
        D              iiiiii
        E              ______
    ",
    ));
    assert_eq!(seen.report.target.threads, 5);
    for name in ['A', 'B', 'C', 'D', 'E'] {
        let thread = seen.thread(name);
        assert_eq!(switches(thread), (0, 0));
        assert!(thread.started_ns < Some(0) && !thread.born_in_window);
        assert_eq!(thread.totals.lifetime.0, 6000);
    }
    assert_eq!(seen.report.quality.threads_matched, 5);
}

#[test]
fn a_lost_switch_is_a_hole_until_the_counters_fill_it() {
    let seen = degraded(check(
        "
        cpu0   BBBBAAAABBBB----
        wake    A
        how            _   _
        lose       o
        A      _...====________
        B      ????....====____
    ",
    ));
    // The switch-in of A is put in from the counters that it leaves with.
    let (a, b) = (seen.thread('A').totals, seen.thread('B').totals);
    assert_eq!((a.run.0, a.wait.0, a.unknown.0), (4000, 3000, 0));
    assert_eq!((b.run.0, b.wait.0, b.unknown.0), (8000, 4000, 0));
    assert_eq!((b.voluntary, b.involuntary), (1, 1));
    let quality = &seen.report.quality;
    assert_eq!((quality.lost_switches, quality.rebuilt_switch_ins), (1, 1));
}

#[test]
fn the_sleep_in_a_hole_is_nobodys() {
    let seen = degraded(check(
        "
        cpu0   BBBBAAAABBBB
        wake    A    B
        lose       o   o
        how        _   _
        A      ????????????
        B      ????????????
    ",
    ));
    let (a, b) = (seen.thread('A').totals, seen.thread('B').totals);
    // The hole began half a column before the window: that much of each may lie outside.
    assert_eq!((a.run.0, a.wait.0, a.unknown.0), (3500, 2500, 6000));
    assert_eq!((b.run.0, b.wait.0, b.unknown.0), (7500, 1500, 3000));
    assert_eq!((a.voluntary, b.voluntary), (1, 1));
    assert_eq!(seen.report.quality.lost_switches, 2);
}

#[test]
fn a_thread_whose_birth_is_lost_has_a_life_from_its_first_sight() {
    let seen = degraded(check(
        "
        cpu0   AAAAAABBBBAA
        born      B
        lose      n
        how              _
        A      ======....==
        B            ====__
    ",
    ));
    let b = seen.thread('B');
    assert_eq!((b.totals.lifetime.0, b.totals.run.0), (6000, 4000));
    assert!(!b.born_in_window);
}

#[test]
fn a_thread_that_the_kernel_hides_is_no_row_and_spoils_nothing() {
    let seen = check_with(
        "
        cpu0   AAAAHHHHAAAA----
        wake    H    A
        how        _   _   _
        A      ====__..====____
        H          ????????????
    ",
        |toy, ids| {
            let hidden = ids[&'H'];
            toy.records.retain(|record| match record.told {
                Told::Switch { prev, .. } => prev != hidden,
                Told::Seen { task, .. } => task != hidden,
                _ => true,
            });
        },
    );
    assert_eq!(seen.report.quality.verdict, Verdict::Valid);
    // The wake-up of A would have come with the switch-in that is not told.
    assert_eq!(seen.report.quality.switch_ins_without_waking, 1);
    assert!(!seen.has('H'));
    assert_eq!(seen.report.quality.hidden_threads, 1);
    assert_eq!(seen.thread('A').totals.wait.0, 2000);
    let system = seen.report.system.totals.expect("always counted");
    assert_eq!(
        (system.voluntary, system.involuntary),
        (3, 0),
        "its departure counts all the same"
    );
}

#[test]
fn the_tracers_own_threads_are_marked_and_kernel_threads_told_apart() {
    let seen = valid(check(
        "
        cpu0   AATTTTKKAA
        wake   T  K
        how          _ _
        A      ==......==
        T      ..====____
        K      ___...==__
    ",
    ));
    assert!(seen.thread('T').own && !seen.thread('A').own);
    assert_eq!(seen.thread('T').totals.kinds.kernel_thread, 1);
    assert_eq!(seen.thread('A').totals.kinds.other_process, 1);
    assert_eq!(seen.thread('K').totals.address_space_changes, 1);
    assert_eq!(seen.thread('T').totals.address_space_changes, 0);
}

#[test]
fn a_thread_seen_in_the_last_look_only_has_no_row() {
    let seen = check_with(
        "
        cpu0   AAAA
        A      ====
        B      
    ",
        |toy, ids| {
            let other = ids[&'B'];
            let mut looks = 0;
            toy.records.retain(|record| {
                let seen = matches!(record.told, Told::Seen { task, .. } if task == other);
                looks += usize::from(seen);
                !seen || looks == 2
            });
        },
    );
    assert!(!seen.has('B'));
}
