//! The machine the numbers come from. What cannot be told stays `None`.

use std::fs;

use rustix::time::{ClockId, clock_getres};

use crate::host::Host;

/// Reads everything but `steal_percent`, which needs two [`StealSample`]s.
pub fn host() -> Host {
    let uname = rustix::system::uname();
    let text = |field: &std::ffi::CStr| field.to_string_lossy().into_owned();
    Host {
        hostname: text(uname.nodename()),
        boot_id: line("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
        kernel: text(uname.release()),
        arch: text(uname.machine()),
        cpus: online_cpus(),
        preempt_mode: preempt_mode(&text(uname.release()), &text(uname.version())),
        hz: hz(),
        clocksource: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        hypervisor: hypervisor(),
        steal_percent: None,
        sched_ext: sched_ext(),
    }
}

/// `disabled`, `enabled` and so on; `None` without CONFIG_SCHED_CLASS_EXT.
pub fn sched_ext() -> Option<String> {
    line("/sys/kernel/sched_ext/state")
}

pub fn online_cpus() -> u64 {
    let listed = line("/sys/devices/system/cpu/online").and_then(|list| count_cpus(&list));
    listed.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
    })
}

/// The kernel's list format: `0-3,5`.
pub(super) fn count_cpus(list: &str) -> Option<u64> {
    list.split(',').try_fold(0_u64, |count, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(count + u64::from(last.checked_sub(first)?) + 1)
    })
}

/// The coarse clocks advance once per tick, and say so: no kernel configuration file needed.
fn hz() -> Option<u64> {
    let tick = u64::try_from(clock_getres(ClockId::MonotonicCoarse).tv_nsec)
        .ok()
        .filter(|&ns| ns > 0)?;
    Some((1_000_000_000 + tick / 2) / tick)
}

fn preempt_mode(release: &str, version: &str) -> Option<String> {
    if line("/sys/kernel/realtime").as_deref() == Some("1") {
        return Some("rt".to_owned());
    }
    // Root only: the mode of a kernel that can change it while it runs.
    let switchable = line("/sys/kernel/debug/sched/preempt").and_then(|modes| chosen(&modes));
    switchable.or_else(|| {
        built_in_mode(
            version,
            fs::read_to_string(format!("/boot/config-{release}"))
                .ok()
                .as_deref(),
        )
    })
}

/// The one in parentheses: `none voluntary (full) lazy`.
pub(super) fn chosen(modes: &str) -> Option<String> {
    let (_, rest) = modes.split_once('(')?;
    Some(rest.split_once(')')?.0.to_owned())
}

pub(super) fn built_in_mode(version: &str, config: Option<&str>) -> Option<String> {
    let has = |flag: &str| version.split_whitespace().any(|word| word == flag);
    let configured =
        |option: &str| config.is_some_and(|config| config.lines().any(|line| line == option));
    let mode = if has("PREEMPT_RT") {
        "rt"
    } else if has("PREEMPT_DYNAMIC") {
        return None;
    } else if has("PREEMPT_LAZY") {
        "lazy"
    } else if has("PREEMPT") {
        "full"
    } else if configured("CONFIG_PREEMPT_VOLUNTARY=y") {
        "voluntary"
    } else if configured("CONFIG_PREEMPT_NONE=y") {
        "none"
    } else {
        return None;
    };
    Some(mode.to_owned())
}

/// `none` on bare metal, where the processor tells.
#[cfg(target_arch = "x86_64")]
fn hypervisor() -> Option<String> {
    use std::arch::x86_64::__cpuid;

    /// Leaf 1, ecx: the processor is a guest's.
    const GUEST: u32 = 1 << 31;
    /// Where hypervisors put their name.
    const NAME: u32 = 0x4000_0000;

    if __cpuid(1).ecx & GUEST == 0 {
        return Some("none".to_owned());
    }
    let leaf = __cpuid(NAME);
    let signature: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx]
        .iter()
        .flat_map(|part| part.to_le_bytes())
        .collect();
    Some(hypervisor_name(&signature))
}

#[cfg(not(target_arch = "x86_64"))]
fn hypervisor() -> Option<String> {
    line("/sys/hypervisor/type")
}

#[cfg(any(target_arch = "x86_64", test, fuzzing))]
pub(super) fn hypervisor_name(signature: &[u8]) -> String {
    let name = match signature {
        b"KVMKVMKVM\0\0\0" => "kvm",
        b"Microsoft Hv" => "hyper-v",
        b"VMwareVMware" => "vmware",
        b"XenVMMXenVMM" => "xen",
        b"TCGTCGTCGTCG" => "qemu-tcg",
        b"bhyve bhyve " => "bhyve",
        b"ACRNACRNACRN" => "acrn",
        b"VBoxVBoxVBox" => "virtualbox",
        other => {
            return other
                .iter()
                .filter(|byte| byte.is_ascii_graphic())
                .map(|&byte| char::from(byte))
                .collect();
        }
    };
    name.to_owned()
}

/// CPU time of the whole machine so far, in ticks of the user interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StealSample {
    total: u64,
    steal: u64,
}

impl StealSample {
    pub fn read() -> Option<StealSample> {
        StealSample::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The share of all CPU time that the hypervisor gave to others; `None` when no time has passed, or less than was
    /// given: the time of iowait may go back, see proc(5).
    pub fn percent_since(&self, earlier: &StealSample) -> Option<f64> {
        let total = self
            .total
            .checked_sub(earlier.total)
            .filter(|&total| total > 0)?;
        let steal = self.steal.checked_sub(earlier.steal);
        let steal = steal.filter(|&steal| steal <= total)?;
        Some(steal as f64 * 100.0 / total as f64)
    }

    /// `cpu user nice system idle iowait irq softirq steal guest guest_nice`; guest time is part of user.
    pub(super) fn parse(stat: &str) -> Option<StealSample> {
        let mut words = stat.lines().next()?.split_whitespace();
        if words.next() != Some("cpu") {
            return None;
        }
        let times: Vec<u64> = words.take(8).map_while(|word| word.parse().ok()).collect();
        let total = times
            .iter()
            .try_fold(0_u64, |sum, &time| sum.checked_add(time))?;
        Some(StealSample {
            total,
            steal: *times.get(7)?,
        })
    }
}

/// The trimmed text of a small file; `None` when unreadable or empty.
pub(super) fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_counted() {
        assert_eq!(count_cpus("0"), Some(1));
        assert_eq!(count_cpus("0-3,5,7-8"), Some(7));
        for wrong in ["", "a", "3-1", "1-", "0,,1"] {
            assert_eq!(count_cpus(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_preemption_mode_is_told_or_left_open() {
        assert_eq!(
            chosen("none voluntary (full) lazy"),
            Some("full".to_owned())
        );
        assert_eq!(chosen("none"), None);
        let mode = |version, config| built_in_mode(version, config);
        assert_eq!(
            mode("#1 SMP PREEMPT_DYNAMIC", Some("CONFIG_PREEMPT_NONE=y")),
            None
        );
        assert_eq!(mode("#1 SMP PREEMPT_RT x", None).as_deref(), Some("rt"));
        assert_eq!(mode("#1 SMP PREEMPT x", None).as_deref(), Some("full"));
        assert_eq!(
            mode("#1 SMP x", Some("A=y\nCONFIG_PREEMPT_VOLUNTARY=y\n")).as_deref(),
            Some("voluntary")
        );
        assert_eq!(mode("#1 SMP x", None), None);
    }

    #[test]
    fn steal_is_a_share_of_all_time() {
        let sample = |text| StealSample::parse(text);
        let before = sample("cpu  10 0 10 70 0 0 0 10 5 0\ncpu0 1\n").expect("whole");
        let after = sample("cpu  40 0 40 70 20 0 0 30 25 0\n").expect("whole");
        assert_eq!(after.percent_since(&before), Some(20.0));
        assert_eq!(before.percent_since(&before), None);
        assert_eq!(before.percent_since(&after), None);
        assert_eq!(sample("cpu 1 2 3\n"), None);
        assert_eq!(sample("intr 1"), None);
        assert_eq!(sample(""), None);
    }

    #[test]
    fn unknown_hypervisors_keep_their_own_name() {
        assert_eq!(hypervisor_name(b"KVMKVMKVM\0\0\0"), "kvm");
        assert_eq!(hypervisor_name(b"New\x1bHyper\0\0\0"), "NewHyper");
    }

    #[test]
    fn this_machine_has_the_basics() {
        let host = host();
        assert!(host.cpus > 0 && !host.kernel.is_empty() && !host.arch.is_empty());
        assert!(host.hz.is_some_and(|hz| (100..=1000).contains(&hz)));
    }
}
