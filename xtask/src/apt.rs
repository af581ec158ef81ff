//! Debian's and Ubuntu's packages: what is installed, what could be, and installing it.

use std::cell::Cell;

use anyhow::Context as _;

use crate::command::{as_root, ask, run};

/// The package manager of this machine.
pub struct Apt {
    /// The index is fetched once, and only when something is missing.
    fresh: Cell<bool>,
}

impl Apt {
    /// `None` on other systems.
    pub fn here() -> Option<Apt> {
        ask("apt-get", &["--version"])?;
        ask("dpkg-query", &["--version"])?;
        Some(Apt {
            fresh: Cell::new(false),
        })
    }

    /// Whether all of these packages could be installed from the sources of this machine.
    pub fn offers(&self, packages: &[&str]) -> bool {
        // An image often comes without an index, or with one of versions that are gone.
        self.refresh();
        packages.iter().all(|package| {
            ask("apt-cache", &["policy", package]).is_some_and(|policy| has_candidate(&policy))
        })
    }

    /// Installs those which are not installed yet.
    pub fn install(&self, packages: &[&str]) -> anyhow::Result<()> {
        let missing: Vec<&&str> = packages
            .iter()
            .filter(|package| !installed(package))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.refresh();
        let names = missing
            .iter()
            .map(|package| **package)
            .collect::<Vec<_>>()
            .join(" ");
        let mut apt = as_root(&[("DEBIAN_FRONTEND", "noninteractive")], "apt-get")
            .with_context(|| format!("install by hand with: apt-get install {names}"))?;
        run(apt
            .args(["install", "--yes", "-qq", "--no-install-recommends"])
            .args(missing))
    }

    /// A source that cannot be reached is no obstacle where the index at hand will do: whatever is
    /// missing in the end, its installation says so.
    fn refresh(&self) {
        if !self.fresh.replace(true) {
            let updated =
                as_root(&[], "apt-get").and_then(|mut apt| run(apt.args(["update", "-qq"])));
            if let Err(error) = updated {
                println!("warning: {error:#}");
            }
        }
    }
}

/// The Debian that this machine gets its packages from. `None` where it gets them from elsewhere.
pub fn debian_mirror() -> anyhow::Result<Option<String>> {
    let sources = ask("apt-get", &["indextargets", "--format", "$(REPO_URI)"]);
    let sources = sources.context("ask apt for its sources")?;
    let debian = sources.lines().find(|uri| uri.ends_with("/debian/"));
    Ok(debian.map(str::to_owned))
}

/// What this machine gets its packages from, as a list of sources has it: URI, suite, component.
pub fn sources() -> anyhow::Result<Vec<String>> {
    let format = "$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)";
    let answer = ask("apt-get", &["indextargets", "--format", format]);
    let answer = answer.context("ask apt for its sources")?;
    let lines = answer.lines();
    Ok(lines
        .filter_map(|line| line.strip_prefix("Packages "))
        .map(str::to_owned)
        .collect())
}

/// Of a package that is installed.
pub fn version_of(package: &str) -> Option<String> {
    let format = "--showformat=${Version}";
    installed(package).then(|| ask("dpkg-query", &["--show", format, package]))?
}

pub fn installed(package: &str) -> bool {
    ask(
        "dpkg-query",
        &["--show", "--showformat=${db:Status-Status}", package],
    )
    .is_some_and(|status| status == "installed")
}

/// Reads the answer to `apt-cache policy PACKAGE`; a virtual package has the candidate `(none)`.
fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate:"))
        .is_some_and(|version| version.trim() != "(none)")
}

#[cfg(test)]
mod tests {
    use super::has_candidate;

    #[test]
    fn a_package_is_offered_when_it_has_a_candidate() {
        assert!(has_candidate(
            "wrk:\n  Installed: (none)\n  Candidate: 4.1.0-3+b2\n"
        ));
        assert!(!has_candidate(
            "awk:\n  Installed: (none)\n  Candidate: (none)\n"
        ));
        assert!(!has_candidate(""));
    }
}
