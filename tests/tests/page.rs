//! The page at `/` in a real browser.

// makes: messages
// takes: 26 s

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use observer_tests::agent::{Agent, binary};
use observer_tests::browser::Browser;
use observer_tests::credentials::Credentials;
use observer_tests::programs::free_port;
use observer_tests::puppet::Puppet;
use observer_tests::talk::Talk;
use serde_json::{Value, json};

const LIVE: &str = "document.getElementById('state').textContent === 'live'";

/// Fails if the page complained, or asked anybody but the agent.
fn expect_quiet(browser: &mut Browser, origin: &str) -> anyhow::Result<()> {
    let seen = browser.run("return seen")?;
    assert_eq!(seen["errors"], json!([]), "{seen}");
    let requests: Vec<String> = serde_json::from_value(seen["requests"].clone())?;
    assert!(requests.len() > 6, "{requests:#?}");
    let foreign: Vec<&String> = requests.iter().filter(|url| !url.starts_with(origin)).collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
    Ok(())
}

/// The least contrast of a text with what is behind it, as WCAG 2 reckons it, among these elements.
const CONTRAST: &str = "(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([red, green, blue]) => [red, green, blue].map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((all, one, at) => all + one * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let one = element; one !== null; one = one.parentElement) {
      const color = channels(getComputedStyle(one).backgroundColor);
      if (color[3] === undefined || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll('h1, h2, p, dt, dd, figcaption, th, td, label, a, button, input, select, output')]
    .filter((one) => one.textContent.trim() !== '' || one.matches('input'));
  return texts.map((one) => {
    const pair = [light(channels(getComputedStyle(one).color)), light(behind(one))].sort((a, b) => b - a);
    return [(pair[0] + 0.05) / (pair[1] + 0.05), one.tagName + ' ' + one.className + ': ' + one.textContent.slice(0, 30)];
  }).sort(([one], [other]) => one - other).slice(0, 3);
})()";

#[test]
fn it_can_be_read_in_light_and_dark_and_on_a_phone() -> anyhow::Result<()> {
    let agent = Agent::start(&[])?;
    let _traffic = Talk::steady(["pp-alpha", "pp-beta"], 40)?;
    let origin = format!("http://{}/", agent.address());
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut backs = Vec::new();
    for scheme in ["light", "dark"] {
        let mut browser = Browser::open(
            &origin,
            &json!({ "colorScheme": scheme, "viewport": { "width": 1280, "height": 1000 } }),
        )?;
        browser.wait_for(LIVE)?;
        browser.wait_for("document.querySelectorAll('#flows tbody tr').length > 1")?;
        sleep(Duration::from_secs(5));
        let least = browser.evaluate(CONTRAST)?;
        assert!(least[0][0].as_f64().is_some_and(|contrast| contrast >= 4.5), "{scheme}: {least:#}");
        // For people to look at.
        let picture = folder.join(format!("page-{scheme}.png"));
        let path = Value::from(picture.to_string_lossy());
        browser.run(&format!("await page.screenshot({{ path: {path}, fullPage: true }})"))?;
        backs.push(browser.evaluate("getComputedStyle(document.body).backgroundColor")?);
        // Every field has a name, every heading cell a scope.
        let unnamed =
            "[...document.querySelectorAll('input, select')].filter((one) => one.labels.length === 0).length
          + document.querySelectorAll('thead th:not([scope])').length";
        assert_eq!(browser.evaluate(unnamed)?, 0);
        expect_quiet(&mut browser, &origin)?;
    }
    assert_ne!(backs[0], backs[1]);
    // Tables scroll within themselves: the page is no wider than the screen.
    let mut browser = Browser::open(&origin, &json!({ "viewport": { "width": 390, "height": 800 } }))?;
    browser.wait_for(LIVE)?;
    let wide = browser.evaluate(
        "[...document.querySelectorAll('body *')].filter((one) => one.closest('.scroll, .hidden') === null)
          .filter((one) => one.getBoundingClientRect().right > 390).map((one) => one.tagName + '#' + one.id)",
    )?;
    assert_eq!(wide, json!([]));
    assert_eq!(browser.evaluate("document.documentElement.scrollWidth <= 390")?, true);
    Ok(())
}

#[test]
fn an_agent_that_goes_is_told_of_and_asked_again() -> anyhow::Result<()> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let agent = Agent::start(&["--listen", &address])?;
    let mut browser = Browser::open(&format!("http://{address}/"), &json!({}))?;
    browser.wait_for(LIVE)?;
    agent.stop()?;
    browser.wait_for("document.getElementById('state').textContent.startsWith('no answer')")?;
    let _agent = Agent::start(&["--listen", &address])?;
    browser.wait_for(LIVE)
}

#[test]
fn it_works_behind_basic_authentication() -> anyhow::Result<()> {
    let credentials = Credentials::new()?;
    let config = credentials.web_config("", &[("me", "secret")])?;
    let agent = Agent::start_guarded(&["--web-config", &config])?;
    let origin = format!("{}/", agent.url());
    let mut browser =
        Browser::open(&origin, &json!({ "httpCredentials": { "username": "me", "password": "secret" } }))?;
    browser.wait_for(LIVE)?;
    browser.wait_for("document.querySelectorAll('#processes tbody tr').length > 0")?;
    // Without a password there is nothing.
    let refusal = Browser::open(&origin, &json!({})).err().context("it let somebody in")?;
    assert!(format!("{refusal:#}").contains("INVALID_AUTH_CREDENTIALS"), "{refusal:#}");
    // `observer top` is let in the same way.
    let url = origin.replace("http://", "http://me:secret@");
    let output = Command::new(binary()?).args(["top", "--url", &url]).output()?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success() && text.contains("PROCESS") && text.contains("observer"), "{text}");
    let output = Command::new(binary()?).args(["flows", "--url", &origin]).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(said.contains("status 401") && said.contains("--password-file"), "{said}");
    Ok(())
}

/// The page shows the busiest processes and flows of the host, and their rates.
// needs: host
// takes: 17 s
mod on_a_quiet_host {
    use anyhow::Context as _;

    use super::{Agent, Browser, Duration, LIVE, Puppet, Talk, Value, expect_quiet, json, sleep};

    #[test]
    fn it_shows_what_is_going_on_and_filters_and_sorts() -> anyhow::Result<()> {
        let agent = Agent::start(&["--oversized", "medium=100000,large=200000,huge=300000"])?;
        let traffic = Talk::steady(["pp-alpha", "pp-beta"], 60)?;
        // A name that is HTML.
        let mut hostile = Puppet::start("hostile")?;
        hostile
            .run("name_process('<b id=x>a</b>\\x1b'); left, right = socket.socketpair(); send([left], 5)")?;
        hostile.run("receive([right], 5)")?;
        let origin = format!("http://{}/", agent.address());
        let mut browser = Browser::open(&origin, &json!({ "viewport": { "width": 1280, "height": 1000 } }))?;
        let policy =
            browser.opened["headers"]["content-security-policy"].as_str().unwrap_or_default().to_owned();
        for part in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"] {
            assert!(policy.contains(part) && !policy.contains("unsafe"), "{policy}");
        }
        browser.wait_for(LIVE)?;
        browser.wait_for("+document.getElementById('messages').textContent >= 45")?;
        browser.run("await page.selectOption('#limit', '100')")?;

        // What the traffic was made of.
        let names = browser.column("processes", "process")?;
        let at = names.iter().position(|name| name == "pp-alpha").context("no pp-alpha")?;
        assert_eq!(browser.column("processes", "pid")?[at], traffic.client.pid().to_string());
        let rate: f64 = browser.column("processes", "sent msg/s")?[at].parse()?;
        assert!((45.0..55.0).contains(&rate), "{rate}");
        assert!(browser.column("flows", "protocol")?.iter().any(|one| one == "websocket"));
        assert!(names.iter().any(|name| name == "<b id=x>a</b>\\u{1b}"), "{names:#?}");
        assert_eq!(browser.evaluate("document.getElementById('x') === null")?, true);
        let states = browser.evaluate(
            "[...document.querySelectorAll('#probes tbody td:first-child')].map((one) => one.textContent)",
        )?;
        let states: Vec<String> = serde_json::from_value(states)?;
        assert!(states.len() >= 6 && states.iter().all(|state| state == "up"), "{states:?}");

        // Charts move.
        for chart in ["messages-chart", "bytes-chart"] {
            let path = format!("document.querySelector('#{chart} .line').getAttribute('d')");
            browser.wait_for(&format!("{path}.includes('L')"))?;
            let before = browser.evaluate(&path)?;
            browser.wait_for(&format!("{path} !== {before}"))?;
        }
        let counted = "[...document.querySelectorAll('#sizes td:last-child')].map((one) => one.title)";
        let before = browser.evaluate(counted)?;
        assert_eq!(before.as_array().map(Vec::len), Some(7), "{before}");
        browser.wait_for(&format!("JSON.stringify({counted}) !== {}", Value::from(before.to_string())))?;
        let wide = "+document.querySelectorAll('#sizes rect')[1].getAttribute('width') > 50";
        assert_eq!(browser.evaluate(wide)?, true, "500 bytes are between 100 and 1000");

        // Filters: typed, and chosen.
        browser.run("await page.fill('#filter', 'PP-ALP')")?;
        assert_eq!(browser.column("processes", "process")?, ["pp-alpha"]);
        assert_eq!(browser.column("flows", "process")?, ["pp-alpha"]);
        browser.run("await page.fill('#filter', 'nothing has this')")?;
        let text = browser.evaluate("document.querySelector('#flows tbody').textContent")?;
        assert_eq!(text, "nothing matches");
        browser.run("await page.fill('#filter', ''); await page.selectOption('#protocol', 'websocket')")?;
        let protocols = browser.column("flows", "protocol")?;
        assert!(protocols.len() >= 2 && protocols.iter().all(|one| one == "websocket"), "{protocols:?}");
        browser.run("await page.selectOption('#protocol', '')")?;

        // Sorted, with the keyboard alone.
        let is_sorted = |names: &[String], down: bool| {
            names.is_sorted_by(|one, other| if down { one >= other } else { one <= other })
        };
        for (pressed, down, said) in [(1, false, "ascending"), (2, true, "descending")] {
            browser.run("await page.focus('#processes th button'); await page.keyboard.press('Enter')")?;
            let names = browser.column("processes", "process")?;
            assert!(names.len() > 2 && is_sorted(&names, down), "{pressed}: {names:#?}");
            let head = "document.querySelector('#processes th').getAttribute('aria-sort')";
            assert_eq!(browser.evaluate(head)?, said);
        }

        // Paused, it asks nothing.
        browser.run("await page.click('#pause')")?;
        sleep(Duration::from_millis(500));
        let asked = browser.run("return seen.requests.length")?;
        sleep(Duration::from_millis(4_500));
        assert_eq!(browser.run("return seen.requests.length")?, asked);
        browser.run("await page.click('#pause')")?;
        browser.wait_for(LIVE)?;
        expect_quiet(&mut browser, &origin)
    }
}
