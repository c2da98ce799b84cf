//! Signals that end the program, taken note of, so that the terminal is given back first.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level};

/// Those.
#[derive(Debug)]
pub(super) struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// Takes note of them from now on. A second one ends the program at once, in case it hangs.
    pub(super) fn watch() -> io::Result<Self> {
        let came = Arc::new(AtomicUsize::new(0));
        let once = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
            flag::register_conditional_default(signal, Arc::clone(&once))?;
            flag::register(signal, Arc::clone(&once))?;
            flag::register_usize(signal, Arc::clone(&came), usize::try_from(signal).unwrap_or_default())?;
        }
        Ok(Self(came))
    }

    /// The one that has come.
    pub(super) fn came(&self) -> Option<i32> {
        let signal = i32::try_from(self.0.load(Ordering::Relaxed)).unwrap_or_default();
        (signal != 0).then_some(signal)
    }
}

/// How long the program has to end by itself once its terminal is gone.
const GRACE: Duration = Duration::from_millis(500);

/// Ends the process, as SIGHUP does, soon after the terminal is gone. The signal itself may come late, or to a shell
/// alone, and crossterm's reader never comes back from a terminal's end: it takes it for no event yet.
pub(super) fn end_with_terminal() -> io::Result<()> {
    let wait = || {
        let terminal = io::stdout();
        // A hang-up is told of without being asked for.
        while poll(&mut [PollFd::new(&terminal, PollFlags::empty())], None) == Err(Errno::INTR) {}
        thread::sleep(GRACE);
        // It cannot fail for a signal that exists.
        let _ = end_by(SIGHUP);
    };
    thread::Builder::new().name("hang-up".to_owned()).spawn(wait).map(drop)
}

/// Ends the process the way a signal does, so that whoever sent it sees that it did.
pub(super) fn end_by(signal: i32) -> io::Result<()> {
    low_level::emulate_default_handler(signal)
}

/// Stops the process, as Ctrl-Z does, until it is told to go on.
pub(super) fn stop() {
    // It cannot fail for a signal that exists.
    let _ = low_level::raise(signal_hook::consts::SIGTSTP);
}
