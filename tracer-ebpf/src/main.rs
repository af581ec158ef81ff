//! The kernel programs: they observe and copy. Every decision that can wait is made in the collector.
#![no_std]
#![no_main]

mod calls;
mod cow;
mod emit;
mod history;
mod interrupts;
mod maps;
mod probes;
mod registers;
mod settings;
mod task;
mod watch;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // No path leads here: the verifier refuses an object in which one does.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
