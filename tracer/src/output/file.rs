//! Where a report goes: standard output, or the file of `-o`.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Renders once, to standard output or to a file.
pub fn write_output(
    path: Option<&Path>,
    render: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut output = Output::open(path)?;
    output.render(render)?;
    output.finish()
}

/// An output that is written to again and again. Dropped without [`Output::finish`], a file stays as it was.
pub struct Output {
    sink: Sink,
    name: String,
    closed: bool,
}

enum Sink {
    Stdout,
    /// A pipe, a terminal, a device: written as it is.
    Direct(BufWriter<File>),
    /// A regular or absent file: complete or not touched.
    Replaced(BufWriter<File>, Beside),
}

impl Output {
    pub fn open(path: Option<&Path>) -> anyhow::Result<Output> {
        let Some(path) = path.filter(|path| !is_stdout(path)) else {
            return Ok(Output {
                sink: Sink::Stdout,
                name: "standard output".into(),
                closed: false,
            });
        };
        let name = path.display().to_string();
        let sink = open(path).with_context(|| format!("write report to {name}"))?;
        Ok(Output {
            sink,
            name,
            closed: false,
        })
    }

    /// Writes and flushes. That the reader has gone away is no error; what follows is dropped.
    pub fn render(
        &mut self,
        render: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        if self.closed {
            return Ok(());
        }
        let result = match &mut self.sink {
            // Standard output is buffered by lines: a table would be a system call each.
            Sink::Stdout => through(&mut BufWriter::new(io::stdout().lock()), render),
            Sink::Direct(file) | Sink::Replaced(file, _) => through(file, render),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.closed = true,
            result => result.with_context(|| format!("write report to {}", self.name))?,
        }
        Ok(())
    }

    /// The reader has closed the pipe: nobody wants more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Puts a file in its place.
    pub fn finish(self) -> anyhow::Result<()> {
        match self.sink {
            Sink::Stdout | Sink::Direct(_) => Ok(()),
            Sink::Replaced(file, beside) => {
                // Flushed by every render. Closed first: some file systems report a full disk only here.
                drop(file);
                beside
                    .rename()
                    .with_context(|| format!("write report to {}", self.name))
            }
        }
    }
}

fn through(
    out: &mut impl Write,
    render: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    render(out)?;
    out.flush()
}

/// Opened by name, standard output would start at its beginning again, or be replaced by another file.
fn is_stdout(path: &Path) -> bool {
    ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]
        .iter()
        .any(|name| path == Path::new(name))
}

fn open(path: &Path) -> io::Result<Sink> {
    let direct = || {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
    };
    let to = match fs::metadata(path) {
        // Through a symbolic link, so that the link stays one.
        Ok(metadata) if metadata.is_file() => fs::canonicalize(path)?,
        Ok(_) => return Ok(Sink::Direct(BufWriter::new(direct()?))),
        // A link that leads to an absent file.
        Err(_) if path.is_symlink() => return Ok(Sink::Direct(BufWriter::new(direct()?))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let (file, beside) = Beside::create(to)?;
    Ok(Sink::Replaced(BufWriter::new(file), beside))
}

/// A file in the same directory that takes another's place once it is complete; removed unless it does.
struct Beside {
    temporary: Option<PathBuf>,
    to: PathBuf,
}

impl Beside {
    fn create(to: PathBuf) -> io::Result<(File, Beside)> {
        // Not built from the file's own name, which may be as long as names get.
        let temporary = to.with_file_name(format!(".tracer-{}.tmp", std::process::id()));
        // Left by a process of the same number that was killed. Where another user put it, removal or creation fails.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Readable by nobody else: it names other people's processes and command lines.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        Ok((
            file,
            Beside {
                temporary: Some(temporary),
                to,
            },
        ))
    }

    fn rename(mut self) -> io::Result<()> {
        let Some(temporary) = self.temporary.as_ref() else {
            return Ok(());
        };
        if let Ok(replaced) = fs::metadata(&self.to) {
            // Who may read the old file may read the new one. Only root may give files away: try.
            let _ = std::os::unix::fs::chown(temporary, Some(replaced.uid()), Some(replaced.gid()));
            fs::set_permissions(temporary, Permissions::from_mode(replaced.mode() & 0o777))?;
        }
        fs::rename(temporary, &self.to)?;
        self.temporary = None;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"hello\n")
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("list");
        let mut names: Vec<_> = entries
            .map(|entry| {
                entry
                    .expect("entry")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_absent_file_is_made_and_readable_by_its_owner_only() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("report");
        write_output(Some(&path), hello).expect("write");
        assert_eq!(fs::read_to_string(&path).expect("read"), "hello\n");
        assert_eq!(fs::metadata(&path).expect("metadata").mode() & 0o777, 0o600);
        assert_eq!(names(directory.path()), ["report"]);
    }

    #[test]
    fn a_file_is_replaced_with_its_permissions_and_never_seen_half() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("report");
        fs::write(&path, "old").expect("write");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("chmod");
        write_output(Some(&path), |out| {
            out.write_all(b"new")?;
            assert_eq!(fs::read_to_string(&path)?, "old");
            Ok(())
        })
        .expect("write");
        assert_eq!(fs::read_to_string(&path).expect("read"), "new");
        assert_eq!(fs::metadata(&path).expect("metadata").mode() & 0o777, 0o644);
        assert_eq!(names(directory.path()), ["report"]);
    }

    #[test]
    fn after_an_error_the_old_file_is_all_there_is() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("report");
        fs::write(&path, "old").expect("write");
        let error = write_output(Some(&path), |_| Err(io::ErrorKind::StorageFull.into()))
            .expect_err("full");
        assert_eq!(
            format!("{error:#}"),
            format!("write report to {}: no storage space", path.display())
        );
        assert_eq!(fs::read_to_string(&path).expect("read"), "old");
        assert_eq!(names(directory.path()), ["report"]);
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().expect("directory");
        let (path, link) = (
            directory.path().join("report"),
            directory.path().join("link"),
        );
        std::os::unix::fs::symlink(&path, &link).expect("link");
        write_output(Some(&link), hello).expect("write through a dangling link");
        write_output(Some(&link), |out| out.write_all(b"again")).expect("write");
        assert_eq!(fs::read_to_string(&path).expect("read"), "again");
        assert!(link.is_symlink());
        assert_eq!(names(directory.path()), ["link", "report"]);
    }

    #[test]
    fn a_full_disk_is_one_sentence() {
        let error = write_output(Some(Path::new("/dev/full")), hello).expect_err("full");
        assert_eq!(
            format!("{error:#}"),
            "write report to /dev/full: No space left on device (os error 28)"
        );
    }

    #[test]
    fn a_directory_is_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let error = write_output(Some(directory.path()), hello).expect_err("a directory");
        assert!(
            format!("{error:#}").ends_with("Is a directory (os error 21)"),
            "{error:#}"
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let mut output = Output::open(Some(Path::new("/dev/null"))).expect("open");
        output
            .render(|_| Err(io::ErrorKind::BrokenPipe.into()))
            .expect("success");
        assert!(output.is_closed());
        output
            .render(|_| unreachable!("nobody reads"))
            .expect("success");
        output.finish().expect("success");
    }

    #[test]
    fn a_pipe_is_written_as_it_is_until_its_reader_goes_away() {
        use std::os::fd::AsRawFd as _;

        let (reader, writer) = io::pipe().expect("pipe");
        let path = PathBuf::from(format!("/proc/self/fd/{}", writer.as_raw_fd()));
        let mut output = Output::open(Some(&path)).expect("open");
        output.render(hello).expect("write");
        let mut seen = [0; 6];
        io::Read::read_exact(&mut &reader, &mut seen).expect("read");
        assert_eq!(&seen, b"hello\n");
        drop(reader);
        output.render(hello).expect("no error");
        assert!(output.is_closed());
    }
}
