//! A real browser, without a window (`tests/scripts/browser.js`).

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::programs::Program;

/// How long a page may take to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// Chromium with one page open. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    program: Program,
    /// What the page itself was answered with: `status` and `headers`.
    pub opened: Value,
}

impl Browser {
    /// Opens a page, with options of a context as Playwright has them.
    pub fn open(url: &str, options: &Value) -> anyhow::Result<Self> {
        let program = Program::node("browser.js", &[url, &options.to_string()])?;
        let mut browser = Self { program, opened: Value::Null };
        browser.opened = browser.answer().context("the page does not open")?;
        Ok(browser)
    }

    /// Runs the body of an async function of `page`, `context` and `seen`, and tells what it returns.
    pub fn run(&mut self, body: &str) -> anyhow::Result<Value> {
        self.program.tell(&body.replace('\n', " "))?;
        self.answer().with_context(|| format!("told: {body}"))
    }

    /// The value of an expression in the page.
    pub fn evaluate(&mut self, expression: &str) -> anyhow::Result<Value> {
        self.run(&format!("return page.evaluate({})", Value::from(expression)))
    }

    /// Texts of a column of a table's rows.
    pub fn column(&mut self, table: &str, title: &str) -> anyhow::Result<Vec<String>> {
        let value = self.evaluate(&format!(
            "(() => {{ const table = document.getElementById('{table}');
              const at = [...table.tHead.rows[0].cells].findIndex((head) => head.textContent === '{title}');
              return [...table.tBodies[0].rows].filter((row) => row.cells.length > 1)
                .map((row) => row.cells[at].textContent); }})()"
        ))?;
        Ok(serde_json::from_value(value)?)
    }

    /// Waits until an expression in the page is true. The page's own policy forbids it to evaluate text, so the
    /// browser is asked again and again.
    pub fn wait_for(&mut self, expression: &str) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let value = self.evaluate(expression)?;
            if value == true {
                return Ok(());
            }
            let text = self.evaluate("document.body.innerText")?;
            ensure!(
                start.elapsed() < PATIENCE,
                "not so: {expression}\n{}",
                text.as_str().unwrap_or_default()
            );
            sleep(Duration::from_millis(100));
        }
    }

    fn answer(&mut self) -> anyhow::Result<Value> {
        let line = self.program.line()?;
        let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("no answer: {line}"))?;
        match answer.get("error") {
            Some(error) => bail!("the browser says: {error}"),
            None => Ok(answer["ok"].take()),
        }
    }
}
