//! Names of signals. The standard ones have the same numbers on x86-64 and arm64.

use std::borrow::Cow;

/// From 1: include/uapi/asm-generic/signal.h.
const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// `SIGSEGV`; `signal 35` when it has no name of its own.
pub fn name(signal: u8) -> Cow<'static, str> {
    let known = signal
        .checked_sub(1)
        .and_then(|index| NAMES.get(usize::from(index)));
    known.map_or_else(
        || format!("signal {signal}").into(),
        |name| Cow::Borrowed(*name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_c_library() {
        for (number, expected) in [
            (libc::SIGHUP, "SIGHUP"),
            (libc::SIGABRT, "SIGABRT"),
            (libc::SIGBUS, "SIGBUS"),
            (libc::SIGKILL, "SIGKILL"),
            (libc::SIGSEGV, "SIGSEGV"),
            (libc::SIGTERM, "SIGTERM"),
            (libc::SIGCHLD, "SIGCHLD"),
            (libc::SIGSTOP, "SIGSTOP"),
            (libc::SIGXCPU, "SIGXCPU"),
            (libc::SIGIO, "SIGIO"),
            (libc::SIGSYS, "SIGSYS"),
        ] {
            assert_eq!(name(number as u8), expected);
        }
    }

    #[test]
    fn others_keep_their_number() {
        assert_eq!(
            [0, 32, 35, 255].map(name),
            ["signal 0", "signal 32", "signal 35", "signal 255"]
        );
    }
}
