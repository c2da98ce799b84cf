//! Programs that are done, and still there, with the connections that they had.

use std::io::{PipeReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program that waits to write the report it ends with, to a pipe that is full. Dropping it ends it.
#[derive(Debug)]
pub struct Held {
    child: Child,
    output: PipeReader,
}

impl Held {
    /// Runs a program until it waits so. What it prints before may have at most `room` bytes.
    pub fn start(mut command: Command, room: usize) -> anyhow::Result<Self> {
        let (output, mut input) = std::io::pipe()?;
        // SAFETY: a pipe of ours; it only tells.
        let capacity = unsafe { libc::fcntl(input.as_raw_fd(), libc::F_GETPIPE_SZ) };
        input.write_all(&vec![b'\n'; usize::try_from(capacity)?.saturating_sub(room)])?;
        let child = command.stdout(input).spawn().with_context(|| format!("cannot start {command:?}"))?;
        // It has the other end of the pipe, too.
        drop(command);
        let mut held = Self { child, output };
        held.wait()?;
        Ok(held)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the program ended: {status}");
            }
            let waits = std::fs::read_to_string(format!("/proc/{}/wchan", self.child.id()))?;
            if waits.contains("pipe") {
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "the program does not end; it is in {waits}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets it write its report, and end.
    pub fn output(mut self) -> anyhow::Result<String> {
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the program failed: {status}: {}", text.trim());
        Ok(text.trim().to_owned())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
