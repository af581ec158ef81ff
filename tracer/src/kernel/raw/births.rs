//! Processes by the system call of the caller's choice, memory that forks must copy, and what ends a process: for
//! patterns whose every birth is known.

use std::ffi::CStr;
use std::io;
use std::ptr;

use rustix::process::Pid;

/// A child that ends at once with this status, by `fork` of the C library.
pub fn fork(status: u8) -> io::Result<Pid> {
    // SAFETY: the child has a copy of everything, and does nothing but end.
    match unsafe { libc::fork() } {
        0 => end(status),
        pid => child(pid.into()),
    }
}

/// The same by the system call `clone3`.
pub fn clone3(status: u8) -> io::Result<Pid> {
    // SAFETY: integers only.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.exit_signal = libc::SIGCHLD as u64;
    let size = size_of_val(&arguments);
    // SAFETY: no flags: the child has a copy of everything, its stack included, and does nothing but end.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) } {
        0 => end(status),
        pid => child(pid),
    }
}

/// A child that executes a program, by the system call `vfork`.
#[cfg(target_arch = "x86_64")]
pub fn vfork(program: &CStr) -> io::Result<Pid> {
    let (arguments, environment) = ([program.as_ptr(), ptr::null()], [ptr::null::<u8>()]);
    let mut result = libc::SYS_vfork;
    // SAFETY: the child runs on this stack while the parent sleeps. It never leaves these lines and writes to no
    // memory; what it leaves in registers is its own.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov eax, {execve}",
            "mov rdi, {program}",
            "mov rsi, {arguments}",
            "mov rdx, {environment}",
            "syscall",
            "mov eax, {exit}",
            "mov edi, 127",
            "syscall",
            "2:",
            execve = const libc::SYS_execve,
            exit = const libc::SYS_exit,
            program = in(reg) program.as_ptr(),
            arguments = in(reg) arguments.as_ptr(),
            environment = in(reg) environment.as_ptr(),
            inout("rax") result,
            out("rcx") _,
            out("r11") _,
            out("rdi") _,
            out("rsi") _,
            out("rdx") _,
        );
    }
    match result {
        1.. => child(result),
        _ => Err(io::Error::from_raw_os_error(
            i32::try_from(-result).map_err(io::Error::other)?,
        )),
    }
}

/// Elsewhere there is no such call: the C library has it done by flags.
#[cfg(not(target_arch = "x86_64"))]
pub fn vfork(program: &CStr) -> io::Result<Pid> {
    posix_spawn(program)
}

/// A child that executes a program, by `posix_spawn` of the C library.
pub fn posix_spawn(program: &CStr) -> io::Result<Pid> {
    let arguments = [program.as_ptr().cast_mut(), ptr::null_mut()];
    let environment = [ptr::null_mut()];
    let mut pid = 0;
    // SAFETY: both lists end with a null pointer, and the strings outlive the call, which copies them.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            ptr::null(),
            ptr::null(),
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    };
    match error {
        0 => child(pid.into()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// A child that is forked and then executes a program.
pub fn fork_and_exec(program: &CStr) -> io::Result<Pid> {
    let (arguments, environment) = ([program.as_ptr(), ptr::null()], [ptr::null()]);
    // SAFETY: the child has a copy of everything, and makes two calls, both safe after a fork. Both lists end with a
    // null pointer.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: as above.
            unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
            end(127)
        }
        pid => child(pid.into()),
    }
}

/// A child that sleeps until the calling thread ends.
pub fn fork_asleep() -> io::Result<Pid> {
    let parent = std::process::id();
    // SAFETY: the child has a copy of everything, and makes system calls that are safe after a fork.
    match unsafe { libc::fork() } {
        0 => loop {
            // SAFETY: integers only; it may be that the parent has ended before the first of them.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if libc::getppid().cast_unsigned() != parent {
                    end(0);
                }
                libc::pause();
            }
        },
        pid => child(pid.into()),
    }
}

/// A thread as the C library makes it unless asked otherwise.
pub struct Pthread(libc::pthread_t);

impl Pthread {
    /// It ends at once.
    pub fn ended() -> io::Result<Pthread> {
        extern "C" fn body(_: *mut libc::c_void) -> *mut libc::c_void {
            ptr::null_mut()
        }
        Pthread::of(body)
    }

    /// It sleeps as long as the process lives.
    pub fn asleep() -> io::Result<Pthread> {
        extern "C" fn body(_: *mut libc::c_void) -> *mut libc::c_void {
            loop {
                rustix::event::pause();
            }
        }
        Pthread::of(body)
    }

    fn of(body: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void) -> io::Result<Pthread> {
        let mut thread = 0;
        // SAFETY: the body uses nothing of what it is given, and its attributes are the default ones.
        match unsafe { libc::pthread_create(&raw mut thread, ptr::null(), body, ptr::null_mut()) } {
            0 => Ok(Pthread(thread)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    pub fn join(self) -> io::Result<()> {
        // SAFETY: it was created here, and nobody else joins it: this takes it away.
        match unsafe { libc::pthread_join(self.0, ptr::null_mut()) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

fn end(status: u8) -> ! {
    // SAFETY: without preconditions, and safe after a fork.
    unsafe { libc::_exit(status.into()) }
}

/// `pid`: -1 where `errno` has the reason.
fn child(pid: i64) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().filter(|&pid| pid > 0);
    pid.and_then(Pid::from_raw)
        .ok_or_else(io::Error::last_os_error)
}

/// Lets the calling thread, and none that it creates, run before all others. Takes a privilege.
pub fn run_first() -> io::Result<()> {
    // SAFETY: integers only.
    let mut priority: libc::sched_param = unsafe { std::mem::zeroed() };
    priority.sched_priority = 1;
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the parameters are read during the call.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Children need no waiting for: they are gone as they end.
pub fn ignore_children(ignore: bool) -> io::Result<()> {
    let how = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: no handler that could run.
    match unsafe { libc::signal(libc::SIGCHLD, how) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy)]
pub enum Pages {
    Huge,
    Small,
}

/// Memory of the caller's own that is all there. Given back when dropped.
pub struct Resident {
    start: *mut libc::c_void,
    bytes: usize,
}

impl Resident {
    pub fn new(bytes: usize, pages: Pages) -> io::Result<Resident> {
        let memory = Resident::reserve(bytes, libc::PROT_READ | libc::PROT_WRITE)?;
        let advice = match pages {
            Pages::Huge => libc::MADV_HUGEPAGE,
            Pages::Small => libc::MADV_NOHUGEPAGE,
        };
        // SAFETY: the mapping is our own. A kernel without huge pages refuses, and has small ones.
        unsafe { libc::madvise(memory.start, bytes, advice) };
        for offset in (0..bytes).step_by(rustix::param::page_size()) {
            // SAFETY: within the mapping, which may be written.
            unsafe { memory.start.cast::<u8>().add(offset).write_volatile(1) };
        }
        Ok(memory)
    }

    fn reserve(bytes: usize, protection: i32) -> io::Result<Resident> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: new memory, wherever there is room.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Resident { start, bytes })
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and nothing refers to it any more.
        unsafe { libc::munmap(self.start, self.bytes) };
    }
}

/// Has the memory that loading this program wrote and that is only read since, addresses in tables, shared with
/// children: forks copy what is private. Of a large program it is most of what they would copy.
///
/// Source: `vma_needs_copy()` in `mm/memory.c`.
pub fn share_what_is_only_read() -> io::Result<()> {
    let Some((start, bytes)) = only_read() else {
        return Ok(());
    };
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: new memory, wherever there is room.
    let copy = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if copy == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as much of both is mapped; nobody writes to the first, and nobody knows the second.
    unsafe { ptr::copy_nonoverlapping(start.cast::<u8>(), copy.cast(), bytes) };
    let (moves, here) = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, start.cast_mut());
    // SAFETY: the copy is mapped. It takes the place of the same bytes in one call, none of which is code, and may
    // be read from then on as they could.
    let moved = unsafe {
        if libc::mprotect(copy, bytes, libc::PROT_READ) != 0 {
            libc::MAP_FAILED
        } else {
            libc::mremap(copy, bytes, bytes, moves, here)
        }
    };
    if moved == libc::MAP_FAILED {
        let error = io::Error::last_os_error();
        // SAFETY: it has not moved, and nobody knows it.
        unsafe { libc::munmap(copy, bytes) };
        return Err(error);
    }
    Ok(())
}

/// Whole pages of the program that its loader wrote, and then took the right to write from.
fn only_read() -> Option<(*const libc::c_void, usize)> {
    unsafe extern "C" fn first(
        info: *mut libc::dl_phdr_info,
        _: usize,
        found: *mut libc::c_void,
    ) -> i32 {
        // SAFETY: the C library calls this with one of its descriptions, and with what is given below.
        let (info, found) = unsafe { (&*info, &mut *found.cast::<Option<(usize, usize)>>()) };
        // SAFETY: so many headers are there.
        let headers =
            unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let written = headers.iter().find(|it| it.p_type == libc::PT_GNU_RELRO);
        *found = written.map(|it| {
            let start = info.dlpi_addr as usize + it.p_vaddr as usize;
            (start, start + it.p_memsz as usize)
        });
        // The program comes first, and it is all that is asked for.
        1
    }
    let mut found: Option<(usize, usize)> = None;
    // SAFETY: the function is called before this returns, with a pointer to `found`.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
    let (start, end) = found?;
    let page = rustix::param::page_size();
    let (start, end) = (start & !(page - 1), end & !(page - 1));
    (start < end).then(|| (ptr::with_exposed_provenance(start), end - start))
}

/// Reads memory that may not be read: the process ends by SIGSEGV.
pub fn crash() -> io::Result<()> {
    let memory = Resident::reserve(rustix::param::page_size(), libc::PROT_NONE)?;
    // SAFETY: mapped, so that nobody else's memory is read; that it may not be read is what this is for.
    unsafe { memory.start.cast::<u8>().read_volatile() };
    Ok(())
}
