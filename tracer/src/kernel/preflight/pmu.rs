//! Whether hardware counters work here: by trying, since nothing in `/sys` tells it for certain.

use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// `struct perf_event_attr` as of its first version (`PERF_ATTR_SIZE_VER0`), which every kernel accepts.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
}

const _: () = assert!(size_of::<Attributes>() == 64);

// `rustix` does not offer perf_event_open.
unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

const PERF_EVENT_OPEN: Option<c_long> = if cfg!(target_arch = "x86_64") {
    Some(298)
} else if cfg!(any(
    target_arch = "aarch64",
    target_arch = "riscv64",
    target_arch = "loongarch64"
)) {
    Some(241)
} else {
    None
};

/// Opens a counter of this thread's user-space cycles, and closes it. `None`: the number of the call is not known.
pub fn try_cycles() -> Option<io::Result<()>> {
    const DISABLED: u64 = 1;
    const EXCLUDE_KERNEL: u64 = 1 << 5;
    const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
    const CLOSE_ON_EXEC: c_long = 1 << 3;

    let number = PERF_EVENT_OPEN?;
    // Kind 0 and configuration 0: hardware, cycles.
    let flags = DISABLED | EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR;
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        flags,
        ..Attributes::default()
    };
    let (this_thread, any_cpu, no_group): (c_long, c_long, c_long) = (0, -1, -1);
    // SAFETY: the call reads `size` bytes at the pointer, which is the whole of `attributes`, and keeps nothing.
    let fd = unsafe {
        syscall(
            number,
            &raw const attributes,
            this_thread,
            any_cpu,
            no_group,
            CLOSE_ON_EXEC,
        )
    };
    match c_int::try_from(fd) {
        Ok(fd) if fd >= 0 => {
            // SAFETY: the kernel just made this descriptor for us, nobody else owns it.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
            Some(Ok(()))
        }
        _ => Some(Err(io::Error::last_os_error())),
    }
}
