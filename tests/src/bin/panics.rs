//! Draws on a terminal with the screen of `observer top`, and panics: what the terminal is like afterwards is for
//! a test to see. The agent itself has no way to be made to panic.

use std::thread::{sleep, spawn};
use std::time::Duration;

use observer::top::terminal::{Screen, take_panic};

fn main() -> anyhow::Result<()> {
    let mut screen = Screen::enter()?;
    screen.draw(|frame| frame.render_widget("drawn by a program that will panic", frame.area()))?;
    // For the test to look at it.
    sleep(Duration::from_secs(3));
    assert!(std::env::args().any(|argument| argument == "elsewhere"), "while drawing");
    let outcome = spawn(|| panic!("on another thread")).join();
    // It has not been printed onto the screen: that is for the drawing thread to do, once the screen is gone.
    screen.draw(|frame| frame.render_widget("drawn after another thread's panic", frame.area()))?;
    sleep(Duration::from_secs(3));
    drop(screen);
    if outcome.is_err()
        && let Some(panic) = take_panic()
    {
        anyhow::bail!("{panic}");
    }
    Ok(())
}
