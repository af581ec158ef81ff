//! What this process may do that others of its user may not, and giving that up.
//!
//! Capabilities are a thread's own: whoever gives them up has no other thread. What it starts afterwards has none
//! either, so a command is started before.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

/// To write, replace and give away files of others.
pub const FILES: CapabilitySet = CapabilitySet::DAC_OVERRIDE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::FOWNER);

/// To load programs that read the scheduler's state: nothing else that others may not.
const TRACING: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

/// Whether there is anything to give up that work on files and processes of others may need.
pub fn exceed_tracing() -> bool {
    capabilities(None).is_ok_and(|sets| !TRACING.contains(sets.permitted))
}

/// From here on nothing but these, whatever is executed.
pub fn keep_only(kept: CapabilitySet) -> io::Result<()> {
    let kept = kept & capabilities(None)?.permitted;
    // Before anything else: there is no way back from it.
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    set(kept, kept)
}

/// The same for whoever has loaded its programs. `works` is a use of them: before Linux 5.19 that may take CAP_BPF,
/// even on a map that is open.
pub fn keep_what_tracing_needs(works: impl FnOnce() -> bool) -> io::Result<()> {
    let permitted = capabilities(None)?.permitted;
    // CAP_SYS_ADMIN is what CAP_BPF was split from.
    let bpf = match permitted.contains(CapabilitySet::BPF) {
        true => CapabilitySet::BPF,
        false => CapabilitySet::SYS_ADMIN,
    };
    let needed = uses(bpf, works)?;
    keep_only(if needed { bpf } else { CapabilitySet::empty() })
}

/// Whether these are needed for something to work: tried without them.
pub fn uses(tried: CapabilitySet, works: impl FnOnce() -> bool) -> io::Result<bool> {
    let before = capabilities(None)?;
    set(CapabilitySet::empty(), before.permitted)?;
    let worked = works();
    set(before.permitted & tried, before.permitted)?;
    Ok(!worked)
}

fn set(effective: CapabilitySet, permitted: CapabilitySet) -> io::Result<()> {
    let sets = CapabilitySets {
        effective,
        permitted,
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, sets)?)
}
