//! Names of system calls. The tables come from the `syscalls` crate, which generates them from the kernel's.

use std::borrow::Cow;

use syscalls::{aarch64, x86_64};

use crate::model::Syscall;

/// The name on a machine of this architecture (as `uname -m` says it); `syscall_NNN` when it has none there.
pub fn name(arch: &str, syscall: Syscall) -> Cow<'static, str> {
    let number = match syscall {
        Syscall::Native(number) => number,
        Syscall::Compat => return "compat".into(),
    };
    let known = match arch {
        "x86_64" => x86_64::Sysno::new(number as usize).map(|call| call.name()),
        "aarch64" => aarch64::Sysno::new(number as usize).map(|call| call.name()),
        _ => None,
    };
    known.map_or_else(|| format!("syscall_{number}").into(), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_is_another_call_elsewhere() {
        assert_eq!(name("x86_64", Syscall::Native(0)), "read");
        assert_eq!(name("x86_64", Syscall::Native(202)), "futex");
        assert_eq!(name("x86_64", Syscall::Native(232)), "epoll_wait");
        assert_eq!(name("x86_64", Syscall::Native(426)), "io_uring_enter");
        assert_eq!(name("aarch64", Syscall::Native(98)), "futex");
    }

    #[test]
    fn what_has_no_name_keeps_its_number() {
        assert_eq!(name("x86_64", Syscall::Native(1023)), "syscall_1023");
        assert_eq!(name("riscv64", Syscall::Native(98)), "syscall_98");
        assert_eq!(name("x86_64", Syscall::Compat), "compat");
    }
}
