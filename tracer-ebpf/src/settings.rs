//! Read-only globals, written by the loader before the verifier runs: constants to both of them.

use aya_ebpf::Global;
use tracer_common::settings::feature;

macro_rules! declare_offsets {
    ($($name:ident: $structure:literal $path:literal $need:ident;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub static $name: Global<u64> = Global::new(0);
        )*
    };
}
tracer_common::kernel_fields!(declare_offsets);

#[unsafe(no_mangle)]
pub static FEATURES: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
pub static OWN_TGID: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
pub static KEY_SECRET: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
pub static IOWAIT_MASK: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
pub static WAKE_MASK: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
pub static SLOT_MASK: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
pub static SLOT_SHIFT: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
pub static HISTORY_MASK: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
pub static HISTORY_SHIFT: Global<u64> = Global::new(0);

/// Whether this kernel has an optional feature; the verifier deletes the branch not taken.
#[inline(always)]
pub fn has(bit: u64) -> bool {
    FEATURES.load() & bit != 0
}

#[inline(always)]
pub fn reads_cgroups() -> bool {
    has(feature::CGROUP_V1 | feature::CGROUP_V2)
}
