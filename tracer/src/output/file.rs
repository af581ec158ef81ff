//! Where a report goes: standard output, or the file of `-o`.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::AtFlags;

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
    Replaced(BufWriter<File>, Option<Beside>),
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

    /// What puts a file in its place, for whoever may do it then: see [`Output::finish_by`].
    pub fn take_beside(&mut self) -> Option<Beside> {
        match &mut self.sink {
            Sink::Replaced(_, beside) => beside.take(),
            Sink::Stdout | Sink::Direct(_) => None,
        }
    }

    /// Puts a file in its place.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let beside = self.take_beside();
        self.finish_by(|| beside.map_or(Ok(()), Beside::put))
    }

    /// The same, by whoever has taken what does it. Not called where nothing is to be put anywhere.
    pub fn finish_by(self, put: impl FnOnce() -> io::Result<()>) -> anyhow::Result<()> {
        match self.sink {
            Sink::Stdout | Sink::Direct(_) => Ok(()),
            Sink::Replaced(file, _) => {
                // Flushed by every render. Closed first: some file systems report a full disk only here.
                drop(file);
                put().with_context(|| format!("write report to {}", self.name))
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
    let place = Place::of(path)?;
    if !place.is_replaced {
        return Ok(Sink::Direct(BufWriter::new(place.open()?)));
    }
    let (file, beside) = Beside::create(place.path)?;
    Ok(Sink::Replaced(BufWriter::new(file), Some(beside)))
}

/// A file that is written from its beginning on, and for its owner alone: it tells of everything that ran.
pub fn create(path: &Path) -> io::Result<File> {
    Place::of(path)?.open()
}

/// Where a path leads that somebody named as an output.
struct Place {
    path: PathBuf,
    /// A regular or absent file: neither a device nor a link that leads nowhere yet.
    is_replaced: bool,
    /// A link that may be followed, as it is ours.
    link: bool,
}

impl Place {
    /// Through a symbolic link only where that is ours and leads to what is ours: else whoever may write to a
    /// directory chooses which file of ours is written.
    fn of(path: &Path) -> io::Result<Place> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Place::at(path.to_owned(), true));
            }
            Err(error) => return Err(error),
        };
        if !metadata.is_symlink() {
            if metadata.is_file() && !is_ours(&metadata) && is_sticky(path) {
                return Err(refused(
                    "it is another user's, in a directory of everybody's",
                ));
            }
            return Ok(Place::at(path.to_owned(), metadata.is_file()));
        }
        // Those in /proc are root's where this program has capabilities by its file.
        if !is_ours(&metadata) && metadata.uid() != 0 {
            return Err(refused("it is a symbolic link of another user"));
        }
        let place = match fs::metadata(path) {
            Ok(target) if target.is_file() && !is_ours(&target) => {
                return Err(refused("it is a symbolic link to another user's file"));
            }
            // So that the link stays one.
            Ok(target) if target.is_file() => Place::at(fs::canonicalize(path)?, true),
            // One that leads to an absent file, too.
            _ => Place::at(path.to_owned(), false),
        };
        Ok(Place {
            link: !place.is_replaced,
            ..place
        })
    }

    fn at(path: PathBuf, is_replaced: bool) -> Place {
        Place {
            path,
            is_replaced,
            link: false,
        }
    }

    fn open(&self) -> io::Result<File> {
        // A link that somebody put there meanwhile is none that was looked at.
        let no_follow = if self.link { 0 } else { libc::O_NOFOLLOW };
        private()
            .create(true)
            .truncate(true)
            .custom_flags(no_follow)
            .open(&self.path)
    }
}

fn is_ours(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Whether anybody may put a file beside it, as in `/tmp`.
fn is_sticky(path: &Path) -> bool {
    const STICKY: u32 = 0o1000;
    const ANYBODY: u32 = 0o002;
    fs::metadata(directory(path))
        .is_ok_and(|directory| directory.mode() & (STICKY | ANYBODY) == STICKY | ANYBODY)
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{why}: name another file"),
    )
}

/// Readable by nobody else: it names other people's processes and command lines.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// A file that takes another's place once it is complete, and is gone unless it does: until then it has no name, or,
/// where the file system has no such files, one beside the other.
pub struct Beside {
    file: File,
    temporary: Option<PathBuf>,
    to: PathBuf,
}

impl Beside {
    fn create(to: PathBuf) -> io::Result<(File, Beside)> {
        let nameless = private().custom_flags(libc::O_TMPFILE).open(directory(&to));
        let (file, temporary) = match nameless {
            Ok(file) => (file, None),
            Err(_) => {
                let temporary = free_name(&to)?;
                (
                    private().create_new(true).open(&temporary)?,
                    Some(temporary),
                )
            }
        };
        let beside = Beside {
            file: file.try_clone()?,
            temporary,
            to,
        };
        Ok((file, beside))
    }

    /// To be asked for by who kept it open beside others.
    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn put(mut self) -> io::Result<()> {
        if let Ok(replaced) = fs::symlink_metadata(&self.to)
            && replaced.is_file()
        {
            // Who may read the old file may read the new one. Only root may give files away: try.
            let _ = fchown(&self.file, Some(replaced.uid()), Some(replaced.gid()));
            self.file
                .set_permissions(Permissions::from_mode(replaced.mode() & 0o777))?;
        }
        let temporary = match self.temporary.take() {
            Some(temporary) => temporary,
            None => {
                let temporary = free_name(&self.to)?;
                let descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                let (cwd, through) = (rustix::fs::CWD, AtFlags::SYMLINK_FOLLOW);
                rustix::fs::linkat(cwd, descriptor, cwd, &temporary, through)?;
                temporary
            }
        };
        let temporary = self.temporary.insert(temporary);
        fs::rename(temporary, &self.to)?;
        self.temporary = None;
        Ok(())
    }
}

/// In the same directory.
fn free_name(to: &Path) -> io::Result<PathBuf> {
    // Not built from the file's own name, which may be as long as names get.
    let name = to.with_file_name(format!(".tracer-{}.tmp", std::process::id()));
    // Left by a process of the same number that was killed. Where another user put it, removal or creation fails.
    match fs::remove_file(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(name),
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
        assert_eq!(fs::metadata(&path).expect("metadata").mode() & 0o777, 0o600);
    }

    #[test]
    fn until_it_is_whole_a_file_has_no_name() {
        let directory = tempfile::tempdir().expect("directory");
        let mut output = Output::open(Some(&directory.path().join("report"))).expect("open");
        output.render(hello).expect("write");
        assert_eq!(names(directory.path()), Vec::<String>::new());
        output.finish().expect("put");
        assert_eq!(names(directory.path()), ["report"]);
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
