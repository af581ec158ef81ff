//! How the kernel programs keep lengths of time: in buckets that are a 32nd of their length wide.

/// Buckets of a doubling.
const STEPS: u32 = 1 << STEPS_SHIFT;
const STEPS_SHIFT: u32 = 5;
/// From here on, 33 ms, all lengths share the last bucket.
const LONGEST: u64 = 1 << 25;

/// Number of buckets.
pub const LENGTHS: u32 = (25 - STEPS_SHIFT) * STEPS + STEPS + 1;

/// Which one a length belongs to.
#[inline(always)]
pub fn bucket(ns: u64) -> u32 {
    if ns >= LONGEST {
        return LENGTHS - 1;
    }
    let ns = ns as u32;
    if ns < STEPS {
        return ns;
    }
    let power = log2(ns);
    let step = (ns >> (power - STEPS_SHIFT)) & (STEPS - 1);
    (power - STEPS_SHIFT + 1) * STEPS + step
}

/// The shortest length of a bucket.
pub fn shortest(bucket: u32) -> u64 {
    if bucket < STEPS {
        return bucket.into();
    }
    let power = bucket / STEPS + STEPS_SHIFT - 1;
    let step = u64::from(bucket % STEPS);
    (1 << power) + (step << (power - STEPS_SHIFT))
}

/// Of a number that is not 0. The BPF target has no instruction for it.
#[inline(always)]
const fn log2(mut number: u32) -> u32 {
    let mut power = 0;
    let mut half = 16;
    while half > 0 {
        if number >> half != 0 {
            number >>= half;
            power += half;
        }
        half /= 2;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for bucket in 0..LENGTHS - 1 {
            let (from, to) = (shortest(bucket), shortest(bucket + 1));
            assert_eq!(super::bucket(from), bucket);
            assert_eq!(super::bucket(to - 1), bucket, "{from} to {to}");
            assert!(to - from <= 1 + from / 32, "{from} to {to}");
        }
        assert_eq!(shortest(LENGTHS - 1), LONGEST);
        assert_eq!(bucket(u64::MAX), LENGTHS - 1);
    }
}
