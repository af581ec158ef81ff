//! The registers of a thread, as it came into the kernel.

use crate::{
    settings::{PT_REGS_CALL, PT_REGS_FOURTH, PT_REGS_SP, PT_REGS_STATE, PT_REGS_THIRD},
    task::Pointer,
};

/// `PSR_MODE32_BIT`, arch/arm64/include/uapi/asm/ptrace.h.
const MODE_32_BIT: u64 = 0x10;

/// The registers of a thread in a system call.
#[derive(Clone, Copy)]
pub struct Registers(Pointer);

impl Registers {
    #[inline(always)]
    pub fn new(regs: *const u8) -> Registers {
        Registers(Pointer::new(regs))
    }

    /// Of the system call; all bits are set where there is none. A `long` on x86-64, an `int` on arm64.
    #[inline(always)]
    pub fn number(self) -> u32 {
        self.0.read(&PT_REGS_CALL)
    }

    /// Those of a 32-bit program; only on arm64.
    #[inline(always)]
    pub fn are_32_bit(self) -> bool {
        self.0.read::<u64>(&PT_REGS_STATE) & MODE_32_BIT != 0
    }

    #[inline(always)]
    pub fn stack_pointer(self) -> u64 {
        self.0.read(&PT_REGS_SP)
    }

    #[inline(always)]
    pub fn third_argument(self) -> u64 {
        self.0.read(&PT_REGS_THIRD)
    }

    #[inline(always)]
    pub fn fourth_argument(self) -> u64 {
        self.0.read(&PT_REGS_FOURTH)
    }
}
