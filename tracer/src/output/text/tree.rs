//! Who descends from whom, and what each took with its descendants. Like `pstree`, of the weightiest only.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use rustc_hash::FxHashMap;

use super::grid::{self, Column, column};
use super::head::{plural, wrap};
use crate::model::Nanos;
use crate::output::{Style, human};
use crate::report::{Branch, BranchCosts};

const LINES: usize = 25;
/// Columns that a level is indented.
const LEVEL: usize = 2;
/// What a name and a pid get at least, whatever stands before them.
const NAME: usize = 14;

const COLUMNS: [Column; 6] = [
    column("PROCS", 4),
    column("THREADS", 1),
    column("RUN", 0),
    column("WAIT", 3),
    column("BIRTHS", 2),
    column("CREATION", 2),
];

pub fn write(tree: &[Branch], style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    if tree.len() < 2 {
        return Ok(());
    }
    let least = (style.width * 2 / 5).max(NAME + LEVEL);
    let lines = choose(tree, (least - NAME) / LEVEL);
    let roots = tree.iter().filter(|branch| branch.depth == 0);
    // With those that have been folded and are no branch.
    let all: u64 = roots.map(|root| root.subtree.processes).sum();
    let shown: u64 = lines.iter().map(|line| line.stands_for).sum();
    let hidden = all.saturating_sub(shown);
    let rows = draw(&lines);
    grid::write("PROCESSES", least, &COLUMNS, &rows, style, out)?;
    let mut below = String::from("Each with all its descendants.");
    if hidden > 0 {
        let processes = plural(hidden, "process", "processes");
        below.push_str(&format!(
            " {processes} without a line: the deepest, the smallest."
        ));
    }
    for line in wrap(&below, style.width) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// One process, or several siblings of one name that have no children.
struct Line<'a> {
    branch: &'a Branch,
    /// How many processes this line stands for, without those below.
    stands_for: u64,
    costs: BranchCosts,
    depth: usize,
    /// Where the branch is in the tree: siblings keep their order.
    index: usize,
    /// In the chosen lines.
    children: Vec<usize>,
}

/// The heaviest first. What lies deeper weighs less, so that a chain does not crowd out all else.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Weight(u64, Reverse<usize>, Reverse<usize>);

/// Parents before their children. The roots are those of depth 0.
fn choose(tree: &[Branch], deepest: usize) -> Vec<Line<'_>> {
    let (roots, children) = families(tree);
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut waiting: BinaryHeap<(Weight, usize)> = BinaryHeap::new();
    // What waits, and the line it would be below.
    let mut candidates: Vec<Option<(Line<'_>, Option<usize>)>> = Vec::new();
    let mut found = fold(tree, &roots, &children, 0);
    let mut parent = None;
    loop {
        for line in found.drain(..) {
            let weight = line.costs.run.0 / (line.depth as u64 + 1);
            let weight = Weight(weight, Reverse(line.depth), Reverse(line.index));
            waiting.push((weight, candidates.len()));
            candidates.push(Some((line, parent)));
        }
        // Leaving out a single line would save none.
        if lines.len() >= LINES && waiting.len() != 1 {
            break;
        }
        let Some((line, above)) = waiting
            .pop()
            .and_then(|(_, number)| candidates[number].take())
        else {
            break;
        };
        let number = lines.len();
        if let Some(above) = above {
            lines[above].children.push(number);
        }
        if lines.len() < LINES && line.depth < deepest {
            found = fold(tree, &children[line.index], &children, line.depth + 1);
        }
        parent = Some(number);
        lines.push(line);
    }
    lines
}

/// The roots, and the children of each: where they are in the tree.
fn families(tree: &[Branch]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut roots = Vec::new();
    let mut children = vec![Vec::new(); tree.len()];
    let mut above: Vec<usize> = Vec::new();
    for (index, branch) in tree.iter().enumerate() {
        above.truncate(branch.depth as usize);
        match above.last() {
            Some(&parent) => children[parent].push(index),
            None => roots.push(index),
        }
        above.push(index);
    }
    (roots, children)
}

/// Siblings, those of one name without children in one line, where the first of them is.
fn fold<'a>(
    tree: &'a [Branch],
    siblings: &[usize],
    children: &[Vec<usize>],
    depth: usize,
) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    let mut leaves: FxHashMap<&[u8], usize> = FxHashMap::default();
    for &index in siblings {
        let branch = &tree[index];
        if children[index].is_empty() {
            let known = *leaves.entry(branch.comm.bytes()).or_insert(lines.len());
            if let Some(line) = lines.get_mut(known) {
                line.stands_for += 1;
                add(&mut line.costs, &branch.subtree);
                continue;
            }
        }
        lines.push(Line {
            branch,
            stands_for: 1,
            costs: branch.subtree,
            depth,
            index,
            children: Vec::new(),
        });
    }
    lines
}

fn add(sum: &mut BranchCosts, part: &BranchCosts) {
    sum.processes += part.processes;
    sum.threads += part.threads;
    sum.run += part.run;
    sum.wait += part.wait;
    sum.births += part.births;
    sum.execs += part.execs;
    sum.creation = sum.creation.zip(part.creation).map(|(a, b)| a + b);
}

fn draw<'a>(lines: &[Line<'a>]) -> Vec<grid::Row<'a>> {
    let in_order = |numbers: &mut Vec<usize>| numbers.sort_by_key(|&number| lines[number].index);
    let mut roots: Vec<usize> = (0..lines.len())
        .filter(|&number| lines[number].depth == 0)
        .collect();
    in_order(&mut roots);
    let mut rows = Vec::new();
    // What is still to be drawn, the next one last: what stands before it and before what is below it.
    let mut open: Vec<(usize, String, String)> = Vec::new();
    open.extend(
        roots
            .into_iter()
            .rev()
            .map(|root| (root, String::new(), String::new())),
    );
    while let Some((number, before, below)) = open.pop() {
        let line = &lines[number];
        rows.push(row(line, before));
        let mut children = line.children.clone();
        in_order(&mut children);
        let last = children.last().copied();
        for child in children.into_iter().rev() {
            let [branch, beside] = if Some(child) == last {
                ["└─", "  "]
            } else {
                ["├─", "│ "]
            };
            open.push((
                child,
                format!("{below}{branch}"),
                format!("{below}{beside}"),
            ));
        }
    }
    rows
}

fn row<'a>(line: &Line<'a>, before: String) -> grid::Row<'a> {
    let costs = &line.costs;
    let (before, after) = match line.stands_for {
        1 => (before, format!(" {}", line.branch.pid)),
        several => (format!("{before}{}*[", human::count(several)), "]".into()),
    };
    let time = |time: Nanos| human::duration(time);
    grid::Row {
        before,
        name: match line.branch.comm.bytes() {
            [] => b"?",
            name => name,
        },
        after,
        cells: vec![
            human::count(costs.processes),
            human::count(costs.threads),
            time(costs.run),
            time(costs.wait),
            human::count(costs.births),
            costs.creation.map_or("n/a".into(), time),
        ],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::output::{escape, sample};

    /// Depth, name, and how long it ran.
    fn grown(branches: &[(u32, &str, u64)]) -> Vec<Branch> {
        let mut tree: Vec<Branch> = branches
            .iter()
            .zip(100..)
            .map(|(&(depth, comm, run), pid)| sample::births::branch(depth, pid, comm, run, 1))
            .collect();
        sample::births::add_up(&mut tree);
        tree
    }

    fn drawn(tree: &[Branch], width: usize) -> Vec<String> {
        let style = Style {
            width,
            colour: false,
            cmdline: false,
        };
        let mut out = Vec::new();
        write(tree, &style, &mut out).expect("write to memory");
        let text = String::from_utf8(out).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    /// The names, with what is drawn before them.
    fn names(tree: &[Branch]) -> Vec<String> {
        let lines = drawn(tree, 80);
        let rows = &lines[1..lines.len() - 1];
        rows.iter()
            .map(|line| line.split("  ").map(str::to_owned).find(|s| !s.is_empty()))
            .map(|name| name.expect("a name"))
            .collect()
    }

    #[test]
    fn one_process_is_no_tree() {
        assert!(drawn(&grown(&[]), 80).is_empty());
        assert!(drawn(&grown(&[(0, "make", 1)]), 80).is_empty());
    }

    #[test]
    fn brothers_and_children_hang_on_lines() {
        let tree = grown(&[
            (0, "make", 1),
            (1, "sh", 1),
            (2, "cc", 1),
            (3, "as", 1),
            (1, "ld", 1),
            (0, "cron", 1),
        ]);
        assert_eq!(
            drawn(&tree, 80),
            [
                "PROCESSES    PROCS THREADS  RUN WAIT BIRTHS CREATION",
                "make 100         5       5 5 ns    0      5  1.00 ms",
                "├─sh 101         3       3 3 ns    0      3   600 us",
                "│ └─cc 102       2       2 2 ns    0      2   400 us",
                "│   └─as 103     1       1 1 ns    0      1   200 us",
                "└─ld 104         1       1 1 ns    0      1   200 us",
                "cron 105         1       1 1 ns    0      1   200 us",
                "Each with all its descendants.",
            ]
        );
    }

    #[test]
    fn leaves_of_one_name_are_one_line_with_their_sums() {
        let tree = grown(&[
            (0, "make", 1),
            (1, "sh", 10),
            (1, "cc", 5),
            (1, "sh", 20),
            // One with a child is not alike.
            (1, "sh", 40),
            (2, "ld", 2),
            (1, "sh", 30),
        ]);
        assert_eq!(
            names(&tree),
            ["make 100", "├─3*[sh]", "├─cc 102", "└─sh 104", "└─ld 105"]
        );
        let line = drawn(&tree, 80)
            .into_iter()
            .find(|line| line.contains("3*[sh]"))
            .expect("folded");
        let figures: Vec<&str> = line.split_whitespace().skip(1).collect();
        assert_eq!(figures[..4], ["3", "3", "60", "ns"], "{line}");
    }

    #[test]
    fn the_smallest_and_deepest_are_left_out_and_counted() {
        let names_: Vec<String> = (0..100).map(|n| format!("job-{n}")).collect();
        let mut branches = vec![(0, "init", 0)];
        branches.extend(
            names_
                .iter()
                .zip(0..)
                .map(|(name, n)| (1, name.as_str(), n)),
        );
        let lines = drawn(&grown(&branches), 80);
        assert_eq!(lines.len(), 1 + LINES + 2, "{lines:#?}");
        for (name, shown) in [("job-99 ", true), ("job-76 ", true), ("job-75 ", false)] {
            assert_eq!(
                lines.iter().any(|line| line.contains(name)),
                shown,
                "{name}"
            );
        }
        assert_eq!(
            lines[lines.len() - 2..].join(" "),
            "Each with all its descendants. 76 processes without a line: the deepest, the smallest."
        );
        // One more line says as much as a note that one is missing.
        let lines = drawn(&grown(&branches[..26]), 80);
        assert_eq!(lines.len(), 1 + 26 + 1, "{lines:#?}");
        assert!(!lines.concat().contains("without a line"));
    }

    #[test]
    fn those_that_were_folded_are_counted() {
        let mut tree = grown(&[(0, "make", 1), (1, "sh", 1)]);
        tree[0].subtree.processes += 1;
        let lines = drawn(&tree, 80);
        assert!(lines[3].contains(" 1 process without a line"), "{lines:#?}");
    }

    #[test]
    fn a_chain_leaves_room_for_others() {
        let mut branches: Vec<(u32, &str, u64)> = (0..10_000).map(|n| (n, "chain", 10)).collect();
        branches.extend([(0, "other", 60_000), (0, "small", 7)]);
        let lines = drawn(&grown(&branches), 80);
        assert!(
            lines.iter().any(|line| line.starts_with("other ")),
            "{lines:#?}"
        );
        assert!(
            lines.iter().any(|line| line.starts_with("small ")),
            "{lines:#?}"
        );
        let shown = lines.iter().filter(|line| line.contains("chain")).count();
        assert!((5..LINES).contains(&shown), "{shown}");
        let note = format!(" {} processes without", 10_000 - shown);
        assert!(lines.concat().contains(&note), "{lines:#?}");
    }

    proptest! {
        #[test]
        fn whatever_grows_is_drawn(
            branches in proptest::collection::vec((0_u32..60, 0_usize..4, any::<u32>()), 0..200),
            width in 30_usize..200,
        ) {
            let names = ["sh", "a name of fifteen", "", "\u{1b}[2J"];
            let branches: Vec<(u32, &str, u64)> = branches
                .into_iter()
                .map(|(depth, name, run)| (depth, names[name], run.into()))
                .collect();
            let lines = drawn(&grown(&branches), width);
            prop_assert!(lines.iter().all(|line| escape::columns(line) <= width), "{:#?}", lines);
            prop_assert!(lines.len() <= LINES + 2 + 4, "{:#?}", lines);
        }

        #[test]
        fn each_process_is_shown_or_counted(
            branches in proptest::collection::vec((0_u32..9, 0_usize..3, 0_u64..50), 2..80),
        ) {
            let names = ["sh", "cc", "ld"];
            let branches: Vec<(u32, &str, u64)> = branches
                .into_iter()
                .map(|(depth, name, run)| (depth, names[name], run))
                .collect();
            let tree = grown(&branches);
            let lines = choose(&tree, 100);
            let shown: u64 = lines.iter().map(|line| line.stands_for).sum();
            prop_assert!(shown <= tree.len() as u64);
            // Nothing is left out before there is a screen of it.
            prop_assert!(shown == tree.len() as u64 || lines.len() >= LINES);
            // Whatever is drawn hangs on its parent, which is drawn before it.
            prop_assert_eq!(draw(&lines).len(), lines.len());
        }
    }
}
