//! Attaching to TLS libraries that processes map later, by a second process that keeps the privileges for it.
//!
//! ```text
//! agent, without privileges ── a pid a line ──► attacher: looks at what that process has mapped
//!                           ◄─ Told a line ──              and attaches
//! ```
//!
//! The attacher is a fork of the agent, from before that gives up its privileges. It has the programs and no more: no
//! network, no socket but the one to the agent, and it ends with the agent. All that it can be asked is to look at a
//! process. What it has attached is let go of with it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use aya::Ebpf;
use serde::{Deserialize, Serialize};

use super::libraries::{Attached, Attacher};
use crate::kernel::privileges;

/// How often the attacher looks for files that no process maps any more.
const LET_GO_EVERY: Duration = Duration::from_secs(60);
/// How long it may take until the attacher is ready.
const START: Duration = Duration::from_secs(10);
/// Bytes of what the attacher tells at once, at most: what is longer is no answer of its.
const ANSWER: usize = 1 << 20;

/// What the attacher tells.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Told {
    /// Libraries that it has attached to now, or could not.
    attached: Vec<Attached>,
    /// Numbers of files that no process maps any more, and that it has let go of.
    gone: Vec<u64>,
}

/// The attacher, as the agent has it.
#[derive(Debug)]
pub struct Follower {
    stream: UnixStream,
    /// Its pid.
    pub pid: u32,
    /// What has come of a line.
    line: Vec<u8>,
}

impl Follower {
    /// Starts it. To be called by a process with one thread, which still has its privileges.
    pub(super) fn start(ebpf: Ebpf, attacher: Attacher) -> io::Result<Self> {
        let (stream, other) = UnixStream::pair()?;
        let parent = std::process::id();
        // SAFETY: this process has one thread, so that the child has all that it needs, and nobody's lock is held.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(stream);
                let outcome = serve(&other, ebpf, attacher, parent);
                if let Err(error) = &outcome {
                    log::warn!("the process that attaches to TLS libraries ends: {error}");
                }
                // Nothing of what the agent would do at its end.
                // SAFETY: it ends this process.
                unsafe { libc::_exit(i32::from(outcome.is_err())) }
            }
            pid => {
                drop(other);
                let mut follower = Self { stream, pid: pid.unsigned_abs(), line: Vec::new() };
                follower.stream.set_read_timeout(Some(START))?;
                let mut first = [0];
                follower.stream.read_exact(&mut first)?;
                follower.stream.set_nonblocking(true)?;
                Ok(follower)
            }
        }
    }

    /// Has it look at a process. What there is no room for is asked again with the process's next connection.
    pub(super) fn look_at(&mut self, pid: u32) {
        if let Err(error) = self.stream.write_all(format!("{pid}\n").as_bytes()) {
            log::debug!("process {pid} was not looked at for TLS libraries: {error}");
        }
    }

    /// Takes in what it has told since, and what that changes of `libraries`.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub(super) fn hear(&mut self, libraries: &mut Vec<Attached>) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended")),
                Ok(count) => self.line.extend(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            while let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                let told: Told = serde_json::from_slice(&line)?;
                libraries.retain(|library| !told.gone.contains(&library.inode));
                libraries.extend(told.attached);
            }
            if self.line.len() > ANSWER {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "what it tells has no end"));
            }
        }
        Ok(())
    }
}

impl Drop for Follower {
    /// It ends as soon as its socket does, if it has not ended already.
    fn drop(&mut self) {
        // Nothing is left to be told.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        // SAFETY: a child that has not been waited for, so that the number is its own.
        unsafe { libc::waitpid(self.pid.cast_signed(), std::ptr::null_mut(), 0) };
    }
}

/// What the attacher does, until the agent has ended.
fn serve(stream: &UnixStream, mut ebpf: Ebpf, mut attacher: Attacher, parent: u32) -> io::Result<()> {
    confine(stream.as_raw_fd(), parent)?;
    let mut writer = stream;
    writer.write_all(b"\n")?;
    stream.set_read_timeout(Some(LET_GO_EVERY))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let mut let_go = Instant::now();
    loop {
        let told = match reader.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                let pid = line.trim().parse::<u32>().ok();
                line.clear();
                let looked_at = pid.map(|pid| attacher.attach_of(&mut ebpf, pid));
                Told { attached: looked_at.unwrap_or_default(), gone: Vec::new() }
            }
            // What has come of a line is kept.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Told::default(),
            Err(error) => return Err(error),
        };
        let gone = if let_go.elapsed() >= LET_GO_EVERY {
            let_go = Instant::now();
            attacher.let_go()
        } else {
            Vec::new()
        };
        let told = Told { gone, ..told };
        if !(told.attached.is_empty() && told.gone.is_empty()) {
            let mut text = serde_json::to_vec(&told)?;
            text.push(b'\n');
            writer.write_all(&text)?;
        }
    }
}

/// Gives up all but what attaching needs.
fn confine(own: RawFd, parent: u32) -> io::Result<()> {
    let checked = |outcome: libc::c_int| if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: calls that concern this process alone, with a name that ends with a zero.
    unsafe {
        checked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        checked(libc::prctl(libc::PR_SET_NAME, c"observer-attach".as_ptr()))?;
        // What the agent does at a signal it does by a pipe that both have.
        libc::signal(libc::SIGTERM, libc::SIG_DFL);
        libc::signal(libc::SIGINT, libc::SIG_DFL);
        if libc::getppid().unsigned_abs() != parent {
            return Err(io::Error::other("the agent has ended"));
        }
        checked(libc::unshare(libc::CLONE_NEWNET))?;
    }
    close_sockets(own)?;
    privileges::keep_for_attaching().map_err(io::Error::other)
}

/// Closes all sockets but one.
fn close_sockets(own: RawFd) -> io::Result<()> {
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let is_socket = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        let number = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        sockets.extend(number.filter(|&number| is_socket && number != own && number > libc::STDERR_FILENO));
    }
    for socket in sockets {
        // SAFETY: this process does not use it, and ends without closing what it has.
        unsafe { libc::close(socket) };
    }
    Ok(())
}
