//! A switch between its bytes and its fields, for whoever must not cast the one to the other.

use core::mem::{offset_of, size_of};

use super::Switch;

macro_rules! numbers {
    ($($($field:ident).+: $number:ty),*) => {
        const _: () = assert!($(size_of::<$number>() +)* 0 == Switch::BYTES);

        impl Switch {
            pub const BYTES: usize = size_of::<Switch>();

            #[inline]
            pub fn from_bytes(bytes: &[u8; Switch::BYTES]) -> Switch {
                let mut switch = Switch::default();
                $({
                    let mut number = [0; size_of::<$number>()];
                    let offset = offset_of!(Switch, $($field).+);
                    number.copy_from_slice(&bytes[offset..offset + size_of::<$number>()]);
                    switch.$($field).+ = <$number>::from_ne_bytes(number);
                })*
                switch
            }

            #[inline]
            pub fn write_to(&self, bytes: &mut [u8; Switch::BYTES]) {
                $({
                    let offset = offset_of!(Switch, $($field).+);
                    bytes[offset..offset + size_of::<$number>()]
                        .copy_from_slice(&self.$($field).+.to_ne_bytes());
                })*
            }
        }
    };
}

numbers! {
    header.at_ns: u64, header.kind: u16, header.len: u16, header.cpu: u16, header.flags: u16,
    prev: u64, next: u64, prev_tid: u32, next_tid: u32, prev_nvcsw: u64, prev_nivcsw: u64,
    prev_run_delay_ns: u64, prev_sum_exec_ns: u64, next_run_delay_ns: u64, next_wait_ns: u64,
    next_seq: u32, prev_state: u32, steal_ns: u64, clock_lag_ns: u64, syscall: u32, nr_running: u32,
    rq_clock_ns: u64, next_waking_ns: u64, next_waker: u32, next_waker_cpu: u16,
    next_waker_syscall: u16, irq_ns: u64, softirq_ns: u64, next_throttled_ns: u64, resched_ns: u32,
    prev_priority: u32
}
