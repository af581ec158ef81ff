//! The architectures that kernels are booted for, and which kernel of which one is asked for.

use anyhow::{Context as _, bail};

use crate::setup::{self, Wanted};

/// What a virtual machine of one is made of. Without an accelerator: any machine boots any of them.
#[derive(Debug)]
pub struct Architecture {
    /// As Debian's packages name it.
    pub debian: &'static str,
    pub qemu: Wanted,
    /// What there is of it, for QEMU.
    pub machine: &'static [&'static str],
    /// CPUs of this machine that it takes.
    pub takes: usize,
    /// For the kernel: where its console is, and what it cannot find out by itself.
    pub parameters: &'static str,
}

pub static AMD64: Architecture = Architecture {
    debian: "amd64",
    qemu: setup::QEMU,
    // Both CPUs in one thread. With a thread for each, QEMU 7.2 does not always show one of them in time what another one
    // makes of the kernel's code, as each attached probe does: the kernel then meets a breakpoint that nobody set.
    machine: &["-cpu", "max", "-accel", "tcg,thread=single"],
    takes: 1,
    // Both CPUs read one counter. Untold, the kernel takes them for two, or finds the one slow: then it makes do with a
    // clock that jumps from tick to tick, and of those a busy host takes some away.
    parameters: "console=ttyS0 tsc=reliable",
};

pub static ARM64: Architecture = Architecture {
    debian: "arm64",
    qemu: ("qemu-system-aarch64", &["qemu-system-arm"]),
    // Emulated, the signed pointers of newer CPUs take long.
    machine: &[
        "-machine",
        "virt",
        "-cpu",
        "neoverse-n1",
        "-accel",
        "tcg,thread=multi",
    ],
    takes: 2,
    parameters: "console=ttyAMA0",
};

impl Architecture {
    /// Not that of this machine, which [`super::lacking`] asks for.
    pub fn is_foreign(&self) -> bool {
        self.debian != AMD64.debian
    }

    /// Of kernels for virtual machines: what ends their `uname -r`.
    pub fn release(&self) -> String {
        format!("-cloud-{}", self.debian)
    }
}

/// The newest kernel of a series of versions, as it is asked for: `6.1`, or `7-arm64`.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    /// The first numbers of the versions.
    pub version: String,
    pub architecture: &'static Architecture,
}

impl Series {
    /// # Errors
    /// There are no such kernels.
    pub fn named(name: &str) -> anyhow::Result<Series> {
        let (version, architecture) = match name.split_once('-') {
            None => (name, &AMD64),
            Some((version, of)) => {
                let known = [&AMD64, &ARM64].into_iter().find(|it| it.debian == of);
                let known = known.with_context(|| format!("no kernel is booted for {of}"))?;
                (version, known)
            }
        };
        let mut numbers = version.split('.');
        if !numbers.all(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit())) {
            bail!("{name} begins with no version, as 6.1 or 7-arm64 do");
        }
        Ok(Series {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_a_version_and_an_architecture() {
        let named = |name| {
            let series = Series::named(name).expect("there is one");
            (series.version, series.architecture.debian)
        };
        assert_eq!(named("6.1"), ("6.1".to_owned(), "amd64"));
        assert_eq!(named("7-arm64"), ("7".to_owned(), "arm64"));
        assert_eq!(named("7-amd64"), ("7".to_owned(), "amd64"));
        for (name, why) in [
            ("7-mips", "no kernel is booted for mips"),
            ("sid", "sid begins with no version, as 6.1 or 7-arm64 do"),
            (
                "7.-arm64",
                "7.-arm64 begins with no version, as 6.1 or 7-arm64 do",
            ),
        ] {
            let error = Series::named(name).expect_err("there is none");
            assert_eq!(error.to_string(), why);
        }
    }
}
