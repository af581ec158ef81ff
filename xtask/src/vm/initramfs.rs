//! The root file system of a virtual machine, as the kernel unpacks it into memory: a cpio archive.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use cpio::newc::{Builder, ModeFileType, trailer};

/// Files and links of an archive, by their path in the virtual machine.
#[derive(Default)]
pub struct Initramfs {
    entries: Vec<(String, Entry)>,
}

enum Entry {
    File { mode: u32, data: Vec<u8> },
    Link(String),
}

impl Initramfs {
    pub fn program(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        let data = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.file(to, 0o755, data);
        Ok(())
    }

    pub fn text(&mut self, to: &str, text: &str) {
        self.file(to, 0o644, text.into());
    }

    pub fn link(&mut self, target: &str, to: &str) {
        self.entries
            .push((to.to_owned(), Entry::Link(target.to_owned())));
    }

    fn file(&mut self, to: &str, mode: u32, data: Vec<u8>) {
        self.entries
            .push((to.to_owned(), Entry::File { mode, data }));
    }

    /// With all directories that the entries are in, and these for file systems.
    pub fn write(&self, mounts: &[&str], to: &Path) -> anyhow::Result<()> {
        let mut directories: BTreeSet<PathBuf> = mounts.iter().map(PathBuf::from).collect();
        for (path, _) in &self.entries {
            directories.extend(Path::new(path).ancestors().skip(1).map(PathBuf::from));
        }
        directories.remove(Path::new("/"));
        let file = File::create(to).with_context(|| format!("create {}", to.display()))?;
        let mut out = BufWriter::new(file);
        let mut number = 0;
        let mut add = |path: &str, kind, mode, data: &[u8]| -> anyhow::Result<()> {
            number += 1;
            ensure!(path.starts_with('/'), "{path} is no path of a file system");
            let entry = Builder::new(&path[1..])
                .ino(number)
                .mode(mode)
                .set_mode_file_type(kind);
            let size = u32::try_from(data.len()).context("a file is too large")?;
            let mut writer = entry.write(&mut out, size);
            writer.write_all(data)?;
            writer.finish()?;
            Ok(())
        };
        // A directory before what is in it: the kernel makes none by itself.
        for directory in &directories {
            add(
                &directory.to_string_lossy(),
                ModeFileType::Directory,
                0o755,
                &[],
            )?;
        }
        for (path, entry) in &self.entries {
            match entry {
                Entry::File { mode, data } => add(path, ModeFileType::Regular, *mode, data)?,
                Entry::Link(target) => add(path, ModeFileType::Symlink, 0o777, target.as_bytes())?,
            }
        }
        trailer(&mut out)
            .and_then(|out| out.flush())
            .context("write the file system")
    }
}
