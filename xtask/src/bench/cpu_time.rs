//! CPU time as the kernel accounts it, in ticks of 10 ms that are precise in sum. Unlike elapsed time it does
//! not grow when something else takes the CPU.

use std::fs;

/// Of one process, and its children that were waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuTime {
    pub own_ns: f64,
    pub children_ns: f64,
}

pub fn of(pid: u32) -> Option<CpuTime> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 14 to 17 of proc_pid_stat(5), the second being a name that may contain anything.
fn parse(stat: &str) -> Option<CpuTime> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ns = || {
        let ticks: f64 = fields.next()?.parse().ok()?;
        Some(ticks * 1e9 / rustix::param::clock_ticks_per_second() as f64)
    };
    Some(CpuTime {
        own_ns: ns()? + ns()?,
        children_ns: ns()? + ns()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_may_contain_anything() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 12 34 500 60 20 0 1 0";
        let tick = 1e9 / rustix::param::clock_ticks_per_second() as f64;
        let expected = CpuTime {
            own_ns: 46.0 * tick,
            children_ns: 560.0 * tick,
        };
        assert_eq!(parse(stat), Some(expected));
        assert_eq!(parse("7 (a) S 1"), None);
        assert_eq!(parse(""), None);
        assert!(of(std::process::id()).is_some());
    }
}
