//! A process of our own that keeps what this one gives up, for the few errands that take it later.
//!
//! In: what may be asked for, fixed while nothing of a stranger has been read. Out: descriptors, or that it is done.
//! Never: records, names, and anything else of which the bytes are another's.

use std::{
    cell::RefCell,
    fs::OpenOptions,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
    process::{Pid, WaitOptions, waitpid},
    thread::CapabilitySet,
};

use super::capabilities;

/// What is asked for: a number that the errands have, with a number or a descriptor for them.
pub struct Request<'a> {
    pub errand: u8,
    pub number: u32,
    pub file: Option<BorrowedFd<'a>>,
}

/// Does what is asked for, here or there.
pub type Errands = Box<dyn FnMut(Request<'_>) -> io::Result<Option<OwnedFd>>>;

/// Does errands one at a time; ends with this process, however that ends.
pub struct Keeper(RefCell<Place>);

enum Place {
    /// Nothing was given up that they need.
    Here(Errands),
    There {
        socket: Option<OwnedFd>,
        pid: Pid,
    },
}

impl Keeper {
    pub fn here(errands: Errands) -> Keeper {
        Keeper(RefCell::new(Place::Here(errands)))
    }

    /// Forks; only for a process of one thread. The other process has `kept` and, beside its socket, only the
    /// descriptors in `open`.
    pub fn fork(errands: Errands, kept: CapabilitySet, open: &[RawFd]) -> io::Result<Keeper> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // SAFETY: there is one thread, so the child is as whole as we are; it does not return from here.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // Whatever is dropped later is dropped by one of us only.
                std::mem::forget(ours);
                serve(theirs, errands, kept, open)
            }
            pid => {
                std::mem::forget(errands);
                let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("no such process"))?;
                Ok(Keeper(RefCell::new(Place::There {
                    socket: Some(ours),
                    pid,
                })))
            }
        }
    }

    pub fn ask(&self, request: Request<'_>) -> io::Result<Option<OwnedFd>> {
        match &mut *self.0.borrow_mut() {
            Place::Here(errands) => errands(request),
            Place::There {
                socket: Some(socket),
                ..
            } => {
                let mut message = [0; REQUEST];
                message[0] = request.errand;
                message[4..].copy_from_slice(&request.number.to_ne_bytes());
                send(socket, &message, request.file)?;
                let mut answer = [0; ANSWER];
                match receive(socket, &mut answer)? {
                    None => Err(io::Error::other(
                        "the process that keeps our privileges has ended",
                    )),
                    Some((length, file)) => understand(&answer[..length]).map(|()| file),
                }
            }
            Place::There { socket: None, .. } => unreachable!("taken only when dropped"),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Place::There { socket, pid } = self.0.get_mut() {
            drop(socket.take());
            let _ = waitpid(Some(*pid), WaitOptions::empty());
        }
    }
}

/// An errand and its number.
const REQUEST: usize = 8;
/// An error of the system, or one in words.
const ANSWER: usize = 256;
const ERRNO: usize = 4;

/// In the child, until the other end is closed.
fn serve(socket: OwnedFd, mut errands: Errands, kept: CapabilitySet, open: &[RawFd]) -> ! {
    let became = become_keeper(&socket, kept, open);
    let mut message = [0; REQUEST];
    // Who could not give up the rest does no errands.
    while became.is_ok()
        && let Ok(Some((REQUEST, file))) = receive(&socket, &mut message)
    {
        let mut number = [0; 4];
        number.copy_from_slice(&message[4..]);
        let request = Request {
            errand: message[0],
            number: u32::from_ne_bytes(number),
            file: file.as_ref().map(OwnedFd::as_fd),
        };
        let (answer, file) = match errands(request) {
            Ok(file) => (0_i32.to_ne_bytes().to_vec(), file),
            Err(error) => (in_bytes(&error), None),
        };
        let file = file.as_ref().map(OwnedFd::as_fd);
        if send(&socket, &answer, file).is_err() {
            break;
        }
    }
    // What was begun and not asked to be finished is taken away.
    drop(errands);
    // SAFETY: without preconditions; what is registered for an exit is the other's.
    unsafe { libc::_exit(0) }
}

fn in_bytes(error: &io::Error) -> Vec<u8> {
    let mut answer = error.raw_os_error().unwrap_or(0).to_ne_bytes().to_vec();
    if error.raw_os_error().is_none() {
        answer.extend(error.to_string().bytes().take(ANSWER - ERRNO));
    }
    answer
}

fn understand(answer: &[u8]) -> io::Result<()> {
    let Some((errno, words)) = answer.split_first_chunk::<ERRNO>() else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    match i32::from_ne_bytes(*errno) {
        0 if words.is_empty() => Ok(()),
        0 => Err(io::Error::other(String::from_utf8_lossy(words))),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn become_keeper(socket: &OwnedFd, kept: CapabilitySet, open: &[RawFd]) -> io::Result<()> {
    let _ = rustix::thread::set_name(c"tracer-keeper");
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: no handler is installed. Who ends us is the end of the other process.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    capabilities::keep_only(kept)?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    let mut numbers = open.to_vec();
    numbers.push(socket.as_raw_fd());
    numbers.sort_unstable();
    let mut from = 3;
    for number in numbers.into_iter().chain([i32::MAX]) {
        if from < number {
            // SAFETY: what owned these descriptors is not used any more: this process only serves, and exits.
            unsafe {
                libc::syscall(libc::SYS_close_range, from, number - 1, 0);
            }
        }
        from = number.saturating_add(1);
    }
    std::mem::forget(null);
    Ok(())
}

fn send(socket: &OwnedFd, message: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = file.as_slice();
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(files));
    }
    let message = [IoSlice::new(message)];
    loop {
        match sendmsg(socket, &message, &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// `None`: the other end is closed. Else how long the message is, and what came with it.
fn receive(socket: &OwnedFd, message: &mut [u8]) -> io::Result<Option<(usize, Option<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(message)];
        match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    Ok((received.bytes > 0).then_some((received.bytes, file)))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read as _, Write as _},
    };

    use super::*;

    fn in_memory() -> File {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        File::from(rustix::fs::memfd_create("test", flags).expect("memory"))
    }

    /// Takes what is odd, refuses what is even, and reads what it is lent.
    fn errands() -> Errands {
        Box::new(|request| {
            if let Some(file) = request.file {
                let mut file = File::from(file.try_clone_to_owned()?);
                let (mut text, mut answer) = (String::new(), in_memory());
                file.read_to_string(&mut text)?;
                let who = std::process::id();
                write!(answer, "{text}, {}, {who}", request.errand)?;
                io::Seek::rewind(&mut answer)?;
                return Ok(Some(answer.into()));
            }
            match request.number % 2 {
                0 if request.number == 0 => Err(io::Error::other("nothing to take")),
                0 => Err(io::Error::from_raw_os_error(libc::EPERM)),
                _ => Ok(None),
            }
        })
    }

    fn ask(keeper: &Keeper, number: u32, file: Option<BorrowedFd<'_>>) -> io::Result<Option<File>> {
        let request = Request {
            errand: 7,
            number,
            file,
        };
        Ok(keeper.ask(request)?.map(File::from))
    }

    #[test]
    fn what_is_asked_is_done_here_and_there() {
        // Threads of other tests may hold locks while we fork; the child allocates little and prints nothing.
        for there in [false, true] {
            let keeper = if there {
                Keeper::fork(errands(), CapabilitySet::empty(), &[]).expect("fork")
            } else {
                Keeper::here(errands())
            };
            assert!(ask(&keeper, 1, None).expect("odd").is_none());
            let refused = ask(&keeper, 2, None).expect_err("even");
            assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
            let refused = ask(&keeper, 0, None).expect_err("nothing");
            assert_eq!(refused.to_string(), "nothing to take");
            let mut lent = in_memory();
            lent.write_all(b"lent").expect("write");
            io::Seek::rewind(&mut lent).expect("rewind");
            let file = ask(&keeper, 1, Some(lent.as_fd())).expect("read");
            let mut text = String::new();
            file.expect("a file")
                .read_to_string(&mut text)
                .expect("text");
            let (said, pid) = text.rsplit_once(", ").expect("two parts");
            assert_eq!(said, "lent, 7");
            assert_eq!(pid == std::process::id().to_string(), !there);
        }
    }
}
