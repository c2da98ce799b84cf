//! The terminal, as a screen of this program's own for as long as it runs, and as it was before ever after:
//! however the program ends, but for SIGKILL.

use std::io::{self, Stdout, stdout};
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::{Mutex, Once, PoisonError};
use std::thread::{ThreadId, current};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};

/// The thread that draws, while there is a screen.
static DRAWS: Mutex<Option<ThreadId>> = Mutex::new(None);
/// What another thread panicked with meanwhile.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// The screen. Dropping it gives the terminal back; so does a panic, before it says anything.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal that standard output is.
    pub fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = take_hook();
            set_hook(Box::new(move |panic| on_panic(panic, &*before)));
        });
        take_terminal()?;
        match Terminal::new(CrosstermBackend::new(stdout())) {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Draws all of it anew; what has not changed is not sent.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Gives the terminal back while `meanwhile` is done, and takes it again.
    pub fn lend(&mut self, meanwhile: impl FnOnce()) -> io::Result<()> {
        restore();
        meanwhile();
        take_terminal()?;
        // Nothing of what it showed is there any more.
        self.terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// What another thread than the drawing one panicked with, once; it was not printed, for it would have been
/// printed onto the screen.
pub fn take_panic() -> Option<String> {
    PANIC.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn take_terminal() -> io::Result<()> {
    *DRAWS.lock().unwrap_or_else(PoisonError::into_inner) = Some(current().id());
    let taken = enable_raw_mode().and_then(|()| execute!(stdout(), EnterAlternateScreen, Hide));
    if taken.is_err() {
        restore();
    }
    taken
}

/// Gives the terminal back, if it was taken. Where that fails, the terminal is gone, and with it the place for an error message.
fn restore() {
    if DRAWS.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

fn on_panic(panic: &PanicHookInfo<'_>, before: &dyn Fn(&PanicHookInfo<'_>)) {
    let draws = *DRAWS.lock().unwrap_or_else(PoisonError::into_inner);
    if draws.is_some_and(|draws| draws != current().id()) {
        // The drawing thread goes on until it hears of this: it restores, and tells.
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic.to_string());
        return;
    }
    restore();
    before(panic);
}
