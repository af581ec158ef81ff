//! Kernels and tools from Debian's packages, into the target directory: nothing is installed, and the
//! machine's own package index stays as it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::architecture::{Architecture, Series};
use crate::apt::{debian_mirror, sources};
use crate::command::run;

/// Where kernels of many versions are, oldest first.
const SUITES: [&str; 5] = ["bullseye", "bookworm", "trixie", "trixie-backports", "sid"];

/// A private index of all these suites, at the mirror that this machine uses.
pub struct Packages {
    place: PathBuf,
    architecture: &'static Architecture,
    names: Vec<String>,
}

/// A kernel to boot.
pub struct Kernel {
    /// As `uname -r` says it.
    pub release: String,
    pub architecture: &'static Architecture,
    pub image: PathBuf,
}

impl Packages {
    /// Reads the index anew.
    pub fn at(place: PathBuf, architecture: &'static Architecture) -> anyhow::Result<Packages> {
        let mut packages = Packages {
            place,
            architecture,
            names: Vec::new(),
        };
        for directory in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(packages.place.join(directory)).context("make a package index")?;
        }
        let mirror = debian_mirror()?;
        let mirror = mirror.context("find Debian among this machine's package sources")?;
        let suites = SUITES.map(|suite| format!("{mirror} {suite} main"));
        let mut list = BTreeSet::from(suites);
        if architecture.is_foreign() {
            // What is to go with a compiler of this machine is where that one is from.
            list.extend(sources()?);
        }
        let list: String = list.iter().map(|line| format!("deb {line}\n")).collect();
        fs::write(packages.place.join("sources.list"), list)
            .context("write the package sources")?;
        run(packages.apt("apt-get").args(["update", "-qq"]))?;
        let mut names = packages.apt("apt-cache");
        let answer = names
            .args(["pkgnames", "linux-"])
            .output()
            .context("ask for the names of kernels")?;
        let answer = String::from_utf8_lossy(&answer.stdout);
        packages.names = answer.lines().map(str::to_owned).collect();
        Ok(packages)
    }

    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The newest kernel of a series: of 6.1, or of anything that begins with 7.
    pub fn kernel(&self, series: &Series) -> anyhow::Result<Kernel> {
        let newest = newest(&self.names, series);
        let release = newest.with_context(|| {
            let suites = SUITES.join(", ");
            format!("find a kernel {} in {suites}", series.name)
        })?;
        let image = self.place.join(format!("vmlinuz-{release}"));
        if !image.exists() {
            // From 7.1 on the image has a package of its own, without the modules.
            let alone = format!("linux-binary-{release}");
            let package = if self.names.contains(&alone) {
                alone
            } else {
                format!("linux-image-{release}")
            };
            let is_image = |path: &Path| starts_with(path, "vmlinuz");
            self.take(&package, &is_image, &image)?;
        }
        Ok(Kernel {
            release,
            architecture: self.architecture,
            image,
        })
    }

    /// A static shell with the small programs that the tests use.
    pub fn busybox(&self) -> anyhow::Result<PathBuf> {
        let file = self.place.join("busybox");
        if !file.exists() {
            let is_program = |path: &Path| path.ends_with("bin/busybox");
            self.take("busybox-static", &is_program, &file)?;
        }
        Ok(file)
    }

    /// Fetches a package and keeps the one file or directory of it that is meant.
    pub fn take(
        &self,
        package: &str,
        is_meant: &dyn Fn(&Path) -> bool,
        to: &Path,
    ) -> anyhow::Result<()> {
        let scratch = tempfile::tempdir_in(&self.place).context("make a directory to unpack in")?;
        let mut download = self.apt("apt-get");
        run(download
            .current_dir(scratch.path())
            .args(["download", "-qq", package]))?;
        let is_archive = |path: &Path| path.extension() == Some("deb".as_ref());
        let archive = find(scratch.path(), &is_archive);
        let archive = archive.with_context(|| format!("download {package}"))?;
        let unpacked = scratch.path().join("unpacked");
        run(Command::new("dpkg-deb")
            .arg("-x")
            .arg(archive)
            .arg(&unpacked))?;
        let wanted = find(&unpacked, is_meant);
        let wanted = wanted.with_context(|| format!("find what is wanted of {package}"))?;
        fs::rename(wanted, to).with_context(|| format!("keep {}", to.display()))
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        let option = |name: &str, value: &str| format!("{name}={value}");
        let below = |name: &str, file: &str| option(name, &self.place.join(file).to_string_lossy());
        for option in [
            below("Dir::Etc::sourcelist", "sources.list"),
            option("Dir::Etc::sourceparts", "/dev/null"),
            below("Dir::State::lists", "lists"),
            below("Dir::Cache", "cache"),
            // Who unpacks is who asks.
            option("APT::Sandbox::User", "root"),
            option("Acquire::Languages", "none"),
            option("APT::Architecture", self.architecture.debian),
            option("APT::Architectures", self.architecture.debian),
            option(
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                "false",
            ),
        ] {
            apt.args(["-o", &option]);
        }
        apt
    }
}

/// Of kernels for virtual machines, as `uname -r` says it.
fn newest(names: &[String], series: &Series) -> Option<String> {
    let end = series.architecture.release();
    let releases = names.iter().filter_map(|name| {
        let release = name.strip_prefix("linux-image-")?;
        let rest = release.strip_prefix(&series.version)?;
        (rest.starts_with('.') && release.ends_with(&end)).then_some(release)
    });
    releases
        .max_by_key(|release| numbers(release))
        .map(str::to_owned)
}

/// Of a version, to compare it by.
pub fn numbers(release: &str) -> Vec<u64> {
    let digits = release.split(|c: char| !c.is_ascii_digit());
    digits.filter_map(|number| number.parse().ok()).collect()
}

fn starts_with(path: &Path, name: &str) -> bool {
    let file = path.file_name().unwrap_or_default();
    file.to_string_lossy().starts_with(name)
}

/// The first file or directory below a directory that is meant.
fn find(directory: &Path, is_meant: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    entries.into_iter().find_map(|entry| {
        let (path, kind) = (entry.path(), entry.file_type().ok()?);
        match (kind.is_dir(), kind.is_symlink()) {
            (_, false) if is_meant(&path) => Some(path),
            (true, _) => find(&path, is_meant),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_series_is_the_one_with_the_largest_numbers() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-51-amd64",
            "linux-image-6.1.0-52-cloud-amd64-dbg",
            "linux-image-6.12.117+deb13-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-image-7.2.13+deb14-cloud-amd64",
            "linux-image-7.4.1+deb14-cloud-arm64",
            "linux-image-cloud-amd64",
        ];
        let names = names.map(str::to_owned);
        let newest = |name| newest(&names, &Series::named(name).expect("a series"));
        assert_eq!(newest("6.1").as_deref(), Some("6.1.0-50-cloud-amd64"));
        assert_eq!(newest("7").as_deref(), Some("7.3.4+deb13-cloud-amd64"));
        assert_eq!(newest("5.10"), None);
    }
}
