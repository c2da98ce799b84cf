//! A real terminal, which tmux draws: a shell in it, keys into it, and the screen out of it.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

/// How long the screen may take to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// What the shell prints when it waits for a command.
const PROMPT: &str = "ready>";

/// A terminal with a shell in it. Dropping it ends both.
#[derive(Debug)]
pub struct Terminal {
    folder: TempDir,
}

impl Terminal {
    /// Opens one of this size.
    pub fn open(columns: u16, rows: u16) -> anyhow::Result<Self> {
        let terminal = Self { folder: tempfile::tempdir()? };
        let size = [columns, rows].map(|number| number.to_string());
        let shell = format!("env -i PATH=\"$PATH\" TERM=\"$TERM\" LANG=C.UTF-8 PS1='{PROMPT} ' bash --norc");
        terminal.tmux(&["new-session", "-d", "-x", &size[0], "-y", &size[1], &shell])?;
        terminal.wait_for("a prompt", |screen| screen.contains(PROMPT))?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(self.folder.path().join("socket")).args(["-f", "/dev/null"]);
        let output = command.args(arguments).env_remove("TMUX").output().context("cannot run tmux")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tmux {arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Presses keys by the names that tmux has for them, such as `Enter`, `Tab` and `C-c`.
    pub fn press(&self, keys: &[&str]) -> anyhow::Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    /// Types text.
    pub fn write(&self, text: &str) -> anyhow::Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(drop)
    }

    /// Types a command into the shell.
    pub fn command(&self, command: &str) -> anyhow::Result<()> {
        self.write(command)?;
        self.press(&["Enter"])
    }

    /// Makes it another size.
    pub fn resize(&self, columns: u16, rows: u16) -> anyhow::Result<()> {
        let [columns, rows] = [columns, rows].map(|number| number.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows]).map(drop)
    }

    /// What it shows, line by line.
    pub fn screen(&self) -> anyhow::Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until it shows something, and tells what it shows then: not while it is drawn, so twice the same.
    pub fn wait_for(&self, what: &str, shows: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let start = Instant::now();
        let mut before = None;
        loop {
            let screen = self.screen()?;
            if before.as_ref() == Some(&screen) && shows(&screen) {
                return Ok(screen);
            }
            if start.elapsed() > PATIENCE {
                bail!("the screen does not show {what}:\n{screen}");
            }
            before = Some(screen);
            sleep(Duration::from_millis(50));
        }
    }

    /// One of tmux's variables.
    fn variable(&self, name: &str) -> anyhow::Result<String> {
        Ok(self.tmux(&["display-message", "-p", &format!("#{{{name}}}")])?.trim().to_owned())
    }

    /// Whether a program has taken the whole screen.
    pub fn is_taken(&self) -> anyhow::Result<bool> {
        Ok(self.variable("alternate_on")? == "1")
    }

    /// The process that the shell has started.
    pub fn child(&self) -> anyhow::Result<libc::pid_t> {
        let shell = self.variable("pane_pid")?;
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))?;
        Ok(children.split_whitespace().next().context("the shell has no child")?.parse()?)
    }

    /// The terminal's settings, as the shell's `stty` tells them.
    pub fn settings(&self) -> anyhow::Result<String> {
        let file = self.folder.path().join("stty");
        let done = self.folder.path().join("stty.done");
        self.command(&format!("stty -a > {} && mv {0} {}", file.display(), done.display()))?;
        let text = wait_for_file(&done)?;
        std::fs::remove_file(done)?;
        // Its size is no setting.
        Ok(text.lines().skip(1).collect())
    }

    /// Fails unless the terminal is as it was: its settings, the screen, the cursor, and a shell that echoes.
    pub fn expect_sane(&self, settings: &str) -> anyhow::Result<()> {
        ensure!(!self.is_taken()?, "the alternate screen is still there:\n{}", self.screen()?);
        ensure!(self.variable("cursor_flag")? == "1", "the cursor is hidden");
        let now = self.settings()?;
        ensure!(now == settings, "stty says\n{now}\nand said\n{settings}");
        self.command("echo $((6*7))-echoed")?;
        self.wait_for("what the shell was told, and its answer", |screen| {
            screen.contains("echo $((6*7))-echoed") && screen.contains("42-echoed")
        })?;
        Ok(())
    }

    /// Closes the window with whatever runs in it.
    pub fn close(&self) -> anyhow::Result<()> {
        self.tmux(&["kill-session"]).map(drop)
    }
}

fn wait_for_file(path: &Path) -> anyhow::Result<String> {
    let start = Instant::now();
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) => return Ok(text),
            Err(error) if start.elapsed() > PATIENCE => {
                return Err(error).context("the shell does not answer");
            }
            Err(_) => sleep(Duration::from_millis(20)),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test may have closed it.
        let _ = self.tmux(&["kill-server"]);
    }
}
