//! `observer top` in a real terminal, and without one; and `observer flows`.

// makes: messages
// takes: 22 s

use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::{Agent, binary};
use observer_tests::namespace::Namespace;
use observer_tests::programs::free_port;
use observer_tests::puppet::Puppet;
use observer_tests::talk::Talk;
use observer_tests::terminal::Terminal;

/// The line of a screen or table that has this word in it.
fn row<'a>(screen: &'a str, word: &str) -> anyhow::Result<Vec<&'a str>> {
    let row = screen.lines().find(|line| line.split_whitespace().any(|one| one == word));
    Ok(row.with_context(|| format!("no row of {word}:\n{screen}"))?.split_whitespace().collect())
}

/// Places of two words' rows.
fn places(screen: &str, words: [&str; 2]) -> [Option<usize>; 2] {
    words.map(|word| screen.lines().position(|line| line.split_whitespace().any(|one| one == word)))
}

/// Whether a process's row has a cell behind its pid that starts with either.
fn shown(screen: &str, process: &str, starts: [&str; 2]) -> bool {
    let starting = |cell: &&str| starts.iter().any(|start| cell.starts_with(start));
    row(screen, process).is_ok_and(|row| row.iter().skip(1).any(starting))
}

fn both(screen: &str) -> bool {
    screen.contains("tt-alpha") && screen.contains("tt-beta")
}

#[test]
fn signals_give_the_terminal_back() -> anyhow::Result<()> {
    let agent = Agent::start(&[])?;
    let terminal = Terminal::open(100, 24)?;
    let settings = terminal.settings()?;
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        terminal.command(&format!("clear; {} top --url {}", binary()?.display(), agent.address()))?;
        terminal.wait_for("the screen", |screen| screen.contains("● live"))?;
        let start = Instant::now();
        // SAFETY: a child of our shell, which has not waited for it: it is on the screen.
        ensure!(unsafe { libc::kill(terminal.child()?, signal) } == 0, "cannot signal");
        terminal.wait_for("the shell", |screen| !screen.contains("● live"))?;
        assert!(start.elapsed() < Duration::from_secs(2), "{signal}: {:?}", start.elapsed());
        // Whoever sent it sees that it was by the signal.
        terminal.command("echo exit=$?")?;
        let expected = format!("exit={}", 128 + signal);
        terminal.wait_for(&expected, |screen| screen.contains(&expected))?;
        terminal.expect_sane(&settings)?;
    }
    Ok(())
}

#[test]
fn a_panic_gives_the_terminal_back() -> anyhow::Result<()> {
    let terminal = Terminal::open(100, 24)?;
    let settings = terminal.settings()?;
    for (argument, said) in [("drawing", "while drawing"), ("elsewhere", "on another thread")] {
        terminal.command(&format!("clear; {} {argument}", env!("CARGO_BIN_EXE_panics")))?;
        let screen = terminal.wait_for("the screen", |screen| screen.contains("drawn"))?;
        assert!(terminal.is_taken()? && !screen.contains("panicked"), "{screen}");
        terminal.wait_for("the panic's message", |screen| {
            screen.contains("panicked at") && screen.contains(said) && !screen.contains("drawn by")
        })?;
        terminal.expect_sane(&settings)?;
    }
    Ok(())
}

#[test]
fn a_terminal_that_is_closed_ends_it() -> anyhow::Result<()> {
    let agent = Agent::start(&[])?;
    let terminal = Terminal::open(100, 24)?;
    terminal.command(&format!("{} top --url {}", binary()?.display(), agent.address()))?;
    terminal.wait_for("the screen", |screen| screen.contains("● live"))?;
    let process = format!("/proc/{}/comm", terminal.child()?);
    terminal.close()?;
    let start = Instant::now();
    while std::fs::read_to_string(&process).is_ok_and(|name| name.trim() == "observer") {
        ensure!(start.elapsed() < Duration::from_secs(5), "it is still there");
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn an_agent_that_goes_is_told_of_and_asked_again() -> anyhow::Result<()> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let terminal = Terminal::open(100, 24)?;
    // Nobody is there yet.
    terminal.command(&format!("{} top --url {address}", binary()?.display()))?;
    let refused = |screen: &str| screen.contains("no answer for") && screen.contains("refused");
    terminal.wait_for("that nobody answers", refused)?;
    for _ in 0..2 {
        let agent = Agent::start(&["--listen", &address])?;
        terminal.wait_for("the agent", |screen| screen.contains("● live") && screen.contains("observer"))?;
        agent.stop()?;
        // What was known stays.
        terminal.wait_for("the loss", |screen| refused(screen) && screen.contains("observer"))?;
    }
    terminal.press(&["C-c"])?;
    terminal.wait_for("the shell", |screen| !screen.contains("no answer"))?;
    Ok(())
}

/// As anybody would call it, where no agent listens at the default address: every namespace has its own.
fn alone(namespace: &Namespace, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = namespace.command();
    command.arg(binary()?).args(arguments);
    Ok(command)
}

fn written(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// What a command prints that must work, as lines.
fn printed(command: &mut Command) -> anyhow::Result<Vec<String>> {
    let Output { status, stdout, stderr } = command.output()?;
    ensure!(status.success(), "{command:?}: {status}: {}", String::from_utf8_lossy(&stderr));
    let text = String::from_utf8(stdout)?;
    ensure!(!text.chars().any(|one| one != '\n' && one.is_control()), "{text:?}");
    Ok(text.lines().map(str::to_owned).collect())
}

/// What a command says that cannot work, which must be one line.
fn refused(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{command:?}: {}", output.status);
    ensure!(said.lines().count() == 1 && !said.contains("panicked"), "{said}");
    Ok(said)
}

#[test]
fn flows_once() -> anyhow::Result<()> {
    let agent = Agent::start(&[])?;
    let traffic = Talk::steady(["tt-alpha", "tt-beta"], 30)?;
    sleep(Duration::from_secs(3));
    let flows = |arguments: &[&str]| -> anyhow::Result<Vec<String>> {
        let mut command = Command::new(binary()?);
        printed(command.args(["flows", "--url", agent.address()]).args(arguments))
    };
    let lines = flows(&["--limit", "1000"])?;
    let text = lines.join("\n");
    let alpha = row(&text, "tt-alpha")?;
    assert_eq!(alpha[0], traffic.client.pid().to_string(), "{text}");
    assert!(alpha.contains(&"websocket") && alpha.contains(&"client"), "{text}");
    // A heading and so many flows.
    assert_eq!(flows(&["--limit", "2"])?.len(), 3);
    assert!(flows(&[])?.len() <= 21);

    let json: serde_json::Value = serde_json::from_str(&flows(&["--json", "--limit", "2"])?.join("\n"))?;
    let rows = json["flows"].as_array().context("no flows")?;
    assert_eq!(rows.len(), 2, "{json}");
    for name in ["process", "pid", "protocol", "local", "remote", "bytes_per_second", "rtt_seconds"] {
        assert!(rows[0].get(name).is_some(), "{name}: {json}");
    }
    // A reader that has seen enough is no failure.
    let shell = format!("set -o pipefail; {} flows --url {} | true", binary()?.display(), agent.address());
    assert!(Command::new("bash").args(["-c", &shell]).status()?.success());
    Ok(())
}

#[test]
fn what_cannot_be_is_told_in_one_line() -> anyhow::Result<()> {
    let namespace = Namespace::new()?;
    let said = refused(&mut alone(&namespace, &["flows"])?)?;
    assert!(said.contains("http://127.0.0.1:9941") && said.contains("observer run"), "{said}");
    let said = refused(&mut alone(&namespace, &["top", "--url", "127.0.0.1:1"])?)?;
    assert!(said.contains("http://127.0.0.1:1") && said.contains("refused"), "{said}");
    let said = refused(&mut alone(&namespace, &["top", "--url", "https://user:secret@127.0.0.1:1"])?)?;
    assert!(said.contains("https://127.0.0.1:1") && said.contains("refused"), "{said}");
    assert!(!said.contains("secret"), "{said}");
    // Neither an agent nor the right to be one.
    let mut command = namespace.command();
    command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    let folder = tempfile::tempdir()?;
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open)?;
    let program = folder.path().join("observer");
    std::fs::copy(binary()?, &program)?;
    let said = refused(command.arg(program).arg("top"))?;
    assert!(said.contains("no agent answers") && said.contains("root"), "{said}");
    Ok(())
}

/// The screen shows the busiest processes of the host, and their rates.
// needs: host
// takes: 19 s
mod on_a_quiet_host {
    use super::{
        Agent, Command, Duration, Namespace, Puppet, Talk, Terminal, alone, binary, both, ensure, places,
        printed, row, shown, sleep, written,
    };

    #[test]
    fn a_running_agent_in_a_real_terminal() -> anyhow::Result<()> {
        let agent = Agent::start(&[])?;
        let traffic = Talk::steady(["tt-alpha", "tt-beta"], 300)?;
        let terminal = Terminal::open(132, 30)?;
        let settings = terminal.settings()?;
        terminal.command(&format!("{} top --url {}", binary()?.display(), agent.address()))?;

        // Processes, with the rates that were made.
        let screen = terminal.wait_for("the client's 50 messages and 25,000 bytes a second", |screen| {
            shown(screen, "tt-alpha", ["49.", "50"]) && shown(screen, "tt-alpha", ["24.", "25."])
        })?;
        ensure!(terminal.is_taken()?, "the normal screen is drawn on:\n{screen}");
        for part in
            ["● live", agent.address(), "messages/s", "connections", "websocket", "1 Processes", "q quit"]
        {
            assert!(screen.contains(part), "no {part}:\n{screen}");
        }
        let alpha = row(&screen, "tt-alpha")?;
        assert_eq!(alpha[0], traffic.client.pid().to_string(), "{screen}");
        assert_eq!(row(&screen, "tt-beta")?[0], traffic.server.pid().to_string(), "{screen}");

        // A filter, typed.
        terminal.write("/TT-ALP")?;
        let screen = terminal.wait_for("one of the two", |screen| !screen.contains("tt-beta"))?;
        assert!(screen.contains("tt-alpha") && screen.contains(" / TT-ALP"), "{screen}");
        terminal.press(&["Enter"])?;
        terminal.wait_for("the filter kept", |screen| {
            screen.contains("filter TT-ALP") && screen.contains("q quit")
        })?;
        terminal.press(&["Escape"])?;
        terminal.wait_for("both again", both)?;

        // Sorted by name, and the other way round: of these two, for every look at the screen is a process as well, and
        // by name they would take all of its lines.
        terminal.write("/tt-")?;
        terminal.press(&["Enter"])?;
        terminal.wait_for("those two", |screen| both(screen) && !screen.contains("tmux"))?;
        terminal.write("n")?;
        let screen = terminal.wait_for("an order by name", |screen| screen.contains("PROCESS↑"))?;
        let [alpha, beta] = places(&screen, ["tt-alpha", "tt-beta"]);
        assert!(alpha.is_some() && alpha < beta, "{screen}");
        terminal.write("n")?;
        let screen = terminal.wait_for("the other order", |screen| screen.contains("PROCESS↓"))?;
        let [alpha, beta] = places(&screen, ["tt-alpha", "tt-beta"]);
        assert!(alpha.is_some() && alpha > beta, "{screen}");

        // Paused, nothing moves.
        terminal.write(" ")?;
        let paused = terminal.wait_for("a pause", |screen| screen.contains("paused"))?;
        sleep(Duration::from_millis(2_500));
        assert_eq!(terminal.screen()?, paused);
        terminal.write(" ")?;
        terminal.wait_for("an end of the pause", |screen| screen.contains("● live"))?;

        // Flows, help, another size.
        terminal.press(&["Tab"])?;
        let screen = terminal.wait_for("flows", |screen| screen.contains("REMOTE") && both(screen))?;
        assert!(row(&screen, "tt-alpha")?.contains(&"websocket"), "{screen}");
        terminal.resize(80, 24)?;
        let screen = terminal.wait_for("a smaller screen", |screen| {
            screen.lines().count() == 24 && screen.lines().last().is_some_and(|line| line.contains("q quit"))
        })?;
        assert!(both(&screen) && !screen.contains("RETX"), "{screen}");
        terminal.write("?")?;
        terminal.wait_for("help", |screen| screen.contains("any key goes back"))?;
        terminal.press(&["Escape"])?;
        terminal.resize(160, 40)?;
        terminal
            .wait_for("a larger screen", |screen| screen.contains("RETX") && screen.lines().count() == 40)?;

        // Stopped, and brought back.
        terminal.press(&["C-z"])?;
        terminal.wait_for("the shell", |screen| screen.contains("Stopped"))?;
        assert!(!terminal.is_taken()?);
        terminal.command("fg")?;
        terminal.wait_for("the screen again", |screen| screen.contains("● live") && both(screen))?;

        terminal.write("q")?;
        terminal.wait_for("the shell", |screen| !screen.contains("● live"))?;
        terminal.command("echo exit=$?")?;
        terminal.wait_for("success", |screen| screen.contains("exit=0"))?;
        terminal.expect_sane(&settings)
    }

    #[test]
    fn without_an_agent_it_runs_its_own_programs() -> anyhow::Result<()> {
        let namespace = Namespace::new()?;
        let _traffic = Talk::steady(["tt-alpha", "tt-beta"], 300)?;
        let terminal = Terminal::open(132, 30)?;
        let settings = terminal.settings()?;
        terminal.command(&written(&alone(&namespace, &["top"])?))?;
        let screen =
            terminal.wait_for("the client's messages", |screen| shown(screen, "tt-alpha", ["49.", "50"]))?;
        assert!(screen.contains("in this process") && screen.contains("● live"), "{screen}");
        // What it logs does not break the screen.
        let mut loud = Talk::steady(["tt-gamma", "tt-delta"], 1)?;
        loud.client.answer()?;
        loud.client.run("one.sendall(frame(1200000, True))")?;
        let screen =
            terminal.wait_for("the notice", |screen| screen.contains("oversized message: medium"))?;
        assert!(screen.contains("● live") && screen.lines().count() == 30, "{screen}");
        terminal.write("q")?;
        terminal.wait_for("the shell", |screen| !screen.contains("● live"))?;
        terminal.expect_sane(&settings)
    }

    #[test]
    fn without_a_terminal_it_is_one_plain_table() -> anyhow::Result<()> {
        let agent = Agent::start(&[])?;
        let namespace = Namespace::new()?;
        let traffic = Talk::steady(["tt-alpha", "tt-beta"], 30)?;
        let mut hostile = Puppet::start("hostile")?;
        hostile
            .run("name_process('a\\x1b[2J\\x9bb\\n'); left, right = socket.socketpair(); send([left], 5)")?;
        hostile.run("receive([right], 5)")?;
        // A rate is over the last ten seconds; the first of them that a connection was there in was not a whole one.
        sleep(Duration::from_millis(11_500));
        for mut command in [
            {
                let mut command = Command::new(binary()?);
                command.args(["top", "--url", &format!("http://{}/", agent.address())]);
                command
            },
            alone(&namespace, &["top"])?,
        ] {
            let lines = printed(&mut command)?;
            let heading: Vec<&str> = lines[0].split_whitespace().collect();
            assert!(heading.starts_with(&["PID", "PROCESS", "CONTAINER", "CONNS", "REQ/s"]), "{lines:#?}");
            let text = lines.join("\n");
            let alpha = row(&text, "tt-alpha")?;
            assert_eq!(alpha[0], traffic.client.pid().to_string(), "{text}");
            // 25,000 bytes a second.
            assert!(alpha.iter().any(|cell| cell.starts_with("24.") || cell.starts_with("25.")), "{text}");
            assert!(text.contains("a\\u{1b}[2J\\u{9b}b\\n"), "{text}");
        }
        Ok(())
    }
}
