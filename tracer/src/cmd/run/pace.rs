//! When to drain next: soon while much comes, ten times a second while nothing does.

use std::time::Duration;

use crate::kernel::ring::Drained;

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Pace {
    ring_bytes: u64,
    wait: Duration,
}

impl Pace {
    pub fn new(ring_bytes: u64) -> Pace {
        Pace {
            ring_bytes,
            wait: Duration::from_millis(10),
        }
    }

    /// Aims at a fullest ring between a sixty-fourth and a sixteenth full: on an overloaded machine
    /// our turn comes late, by more time than has passed between two drains.
    pub fn after(&mut self, drained: Drained) -> Duration {
        if !drained.complete {
            return Duration::ZERO;
        }
        self.wait = if drained.fullest > self.ring_bytes / 16 {
            self.wait / 2
        } else if drained.fullest < self.ring_bytes / 64 {
            self.wait * 2
        } else {
            self.wait
        }
        .clamp(SHORTEST, LONGEST);
        self.wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(fullest: u64) -> Drained {
        Drained {
            records: 1,
            fullest,
            complete: true,
        }
    }

    #[test]
    fn an_idle_host_is_visited_ten_times_a_second() {
        let mut pace = Pace::new(1 << 20);
        let waits: Vec<_> = (0..10).map(|_| pace.after(drained(0))).collect();
        assert!(waits.is_sorted());
        assert_eq!(waits[9], LONGEST);
    }

    #[test]
    fn a_filling_ring_is_visited_sooner_and_a_refilling_one_at_once() {
        let mut pace = Pace::new(1 << 20);
        assert!(pace.after(drained(1 << 19)) < Duration::from_millis(10));
        for _ in 0..20 {
            pace.after(drained(1 << 19));
        }
        assert_eq!(pace.after(drained(1 << 19)), SHORTEST);
        let refilling = Drained {
            complete: false,
            ..drained(1 << 19)
        };
        assert_eq!(pace.after(refilling), Duration::ZERO);
    }

    #[test]
    fn in_between_it_stays() {
        let mut pace = Pace::new(1 << 20);
        assert_eq!(pace.after(drained(1 << 15)), Duration::from_millis(10));
    }
}
