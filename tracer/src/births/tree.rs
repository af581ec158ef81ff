//! Who created whom, as a tree with the costs of each subtree.
//!
//! In: processes and who created them. Out: branches, parents before their children. Loops, however deep or
//! broken the tree is: nothing calls itself.

use crate::report::{Branch, BranchCosts};

/// A process, and the place of the one that created it among all of them.
#[derive(Clone, Debug)]
pub struct Node {
    pub parent: Option<usize>,
    /// `depth` and `subtree` are filled in.
    pub branch: Branch,
}

pub fn grow(nodes: Vec<Node>) -> Vec<Branch> {
    let count = nodes.len();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut roots = Vec::new();
    let mut branches = Vec::with_capacity(count);
    let mut parents = Vec::with_capacity(count);
    for (at, node) in nodes.into_iter().enumerate() {
        let parent = node.parent.filter(|&parent| parent < count && parent != at);
        match parent {
            Some(parent) => children[parent].push(at),
            None => roots.push(at),
        }
        parents.push(parent);
        branches.push(node.branch);
    }
    let mut order = reach(&roots, &children, count);
    // Who is in a circle is nobody's child.
    let mut seen = vec![false; count];
    order.iter().for_each(|&at| seen[at] = true);
    for at in 0..count {
        if !seen[at] {
            if let Some(parent) = parents[at].take() {
                children[parent].retain(|&child| child != at);
            }
            roots.push(at);
            for reached in reach(&[at], &children, count) {
                seen[reached] = true;
                order.push(reached);
            }
        }
    }
    for &at in order.iter().rev() {
        let Branch { own, folded, .. } = branches[at].clone();
        add(&mut branches[at].subtree, &own);
        add(&mut branches[at].subtree, &folded);
        if let Some(parent) = parents[at] {
            let below = branches[at].subtree;
            add(&mut branches[parent].subtree, &below);
        }
    }
    let dearest = |&at: &usize| {
        let Branch { subtree, pid, .. } = &branches[at];
        (std::cmp::Reverse((subtree.run, subtree.births)), *pid)
    };
    roots.sort_by_key(dearest);
    for children in &mut children {
        children.sort_by_key(dearest);
    }
    let mut tree = Vec::with_capacity(count);
    let mut stack: Vec<(usize, u32)> = roots.iter().rev().map(|&at| (at, 0)).collect();
    while let Some((at, depth)) = stack.pop() {
        let branch = std::mem::take(&mut branches[at]);
        tree.push(Branch { depth, ..branch });
        stack.extend(children[at].iter().rev().map(|&child| (child, depth + 1)));
    }
    tree
}

/// All that descend from these, parents first.
fn reach(roots: &[usize], children: &[Vec<usize>], count: usize) -> Vec<usize> {
    let mut order = Vec::with_capacity(count.min(roots.len()));
    order.extend_from_slice(roots);
    let mut next = 0;
    while let Some(&at) = order.get(next) {
        order.extend_from_slice(&children[at]);
        next += 1;
    }
    order
}

pub fn add(sum: &mut BranchCosts, other: &BranchCosts) {
    sum.processes += other.processes;
    sum.threads += other.threads;
    sum.run += other.run;
    sum.wait += other.wait;
    sum.births += other.births;
    sum.execs += other.execs;
    sum.creation = match (sum.creation, other.creation) {
        (Some(sum), Some(other)) => Some(sum + other),
        (sum, other) => sum.or(other),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Nanos;

    fn node(pid: u32, parent: Option<usize>, run: u64) -> Node {
        Node {
            parent,
            branch: Branch {
                pid,
                own: BranchCosts {
                    processes: 1,
                    threads: 1,
                    run: Nanos(run),
                    creation: Some(Nanos(1)),
                    ..BranchCosts::default()
                },
                ..Branch::default()
            },
        }
    }

    fn drawn(nodes: Vec<Node>) -> Vec<(u32, u32, u64, u64)> {
        let row = |branch: &Branch| {
            let sum = branch.subtree;
            assert_eq!(sum.creation, Some(Nanos(sum.processes)));
            (branch.depth, branch.pid, sum.run.0, sum.processes)
        };
        grow(nodes).iter().map(row).collect()
    }

    #[test]
    fn subtrees_add_up_and_the_dearest_come_first() {
        // 30 is told before its parent; 20 and 30 are children of 10, 40 is 30's.
        let nodes = vec![
            node(30, Some(2), 5),
            node(20, Some(2), 6),
            node(10, None, 1),
            node(40, Some(0), 7),
            node(50, None, 100),
        ];
        assert_eq!(
            drawn(nodes),
            [
                (0, 50, 100, 1),
                (0, 10, 19, 4),
                (1, 30, 12, 2),
                (2, 40, 7, 1),
                (1, 20, 6, 1)
            ]
        );
    }

    #[test]
    fn a_circle_is_cut_and_nobody_is_lost() {
        let nodes = vec![
            node(1, Some(1), 1),
            node(2, Some(2), 1),
            node(3, Some(0), 1),
            node(4, Some(3), 1),
            node(5, Some(99), 1),
            node(6, Some(0), 1),
        ];
        let tree = drawn(nodes);
        let mut pids: Vec<u32> = tree.iter().map(|row| row.1).collect();
        pids.sort_unstable();
        assert_eq!(pids, [1, 2, 3, 4, 5, 6]);
        let roots = tree.iter().filter(|row| row.0 == 0);
        assert_eq!(roots.map(|row| row.3).sum::<u64>(), 6);
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_is_a_tree_too() {
        let chain = (0..100_000).map(|at| node(at as u32 + 1, (at as usize).checked_sub(1), 1));
        let tree = drawn(chain.collect());
        assert_eq!(tree.len(), 100_000);
        assert_eq!(tree[0], (0, 1, 100_000, 100_000));
        assert_eq!(tree[99_999], (99_999, 100_000, 1, 1));
    }
}
