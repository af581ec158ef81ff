//! The registers of a thread, as it came into the kernel.

use crate::{
    settings::{PT_REGS_DX, PT_REGS_ORIG_AX, PT_REGS_R10, PT_REGS_SP},
    task::Pointer,
};

/// The registers of a thread in a system call (x86-64).
#[derive(Clone, Copy)]
pub struct Registers(Pointer);

impl Registers {
    #[inline(always)]
    pub fn new(regs: *const u8) -> Registers {
        Registers(Pointer::new(regs))
    }

    /// Of the system call.
    #[inline(always)]
    pub fn number(self) -> u64 {
        self.0.read(&PT_REGS_ORIG_AX)
    }

    #[inline(always)]
    pub fn stack_pointer(self) -> u64 {
        self.0.read(&PT_REGS_SP)
    }

    #[inline(always)]
    pub fn third_argument(self) -> u64 {
        self.0.read(&PT_REGS_DX)
    }

    #[inline(always)]
    pub fn fourth_argument(self) -> u64 {
        self.0.read(&PT_REGS_R10)
    }
}
