//! Certificates by OpenSSL, and hashes of passwords by the bcrypt of Python, for agents that let in not everybody.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::programs::environment;

/// A folder with an authority's certificate, `ca.crt`, and what it signs. It goes when this is dropped.
#[derive(Debug)]
pub struct Credentials {
    folder: TempDir,
}

impl Credentials {
    /// A new authority.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let credentials = Self { folder };
        credentials.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=authority of a test",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ])?;
        Ok(credentials)
    }

    /// Where a file of this name is.
    pub fn path(&self, name: &str) -> String {
        self.file(name).to_string_lossy().into_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, in one step.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let other = self.file("being-written");
        fs::write(&other, text)?;
        fs::rename(&other, self.file(name))?;
        Ok(())
    }

    /// `NAME.crt` and `NAME.key`, signed by the authority, for this in place of a host (`DNS:…` or `IP:…`).
    pub fn sign(&self, name: &str, host: &str) -> anyhow::Result<()> {
        let (request, key, certificate) =
            (format!("{name}.csr"), format!("{name}.key"), format!("{name}.crt"));
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=test",
            "-keyout",
            &key,
            "-out",
            &request,
        ])?;
        fs::write(self.file("names"), format!("subjectAltName={host}\n"))?;
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "names",
            "-out",
            &certificate,
        ])
    }

    fn openssl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = Command::new("openssl").args(arguments).current_dir(self.folder.path()).output();
        let output = output.context("cannot run openssl; run: cargo xtask setup")?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Writes `web.yml`: some sections, and users by their passwords. Returns where it is.
    pub fn web_config(&self, sections: &str, users: &[(&str, &str)]) -> anyhow::Result<String> {
        let mut text = sections.to_owned();
        if !users.is_empty() {
            text += "basic_auth_users:\n";
        }
        for (user, password) in users {
            writeln!(text, "  {user}: {}", hash(password)?)?;
        }
        self.write("web.yml", &text)?;
        Ok(self.path("web.yml"))
    }

    /// Runs curl with the authority's certificate; returns the status, 0 where there was no answer, and what it
    /// printed.
    pub fn curl(&self, arguments: &[&str]) -> anyhow::Result<(u16, String)> {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "10", "--write-out", "\n%{http_code}"]);
        let ca = self.path("ca.crt");
        let output = command.args(["--cacert", &ca]).args(arguments).current_dir(self.folder.path()).output();
        let output = output.context("cannot run curl; run: cargo xtask setup")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (text, status) = said.rsplit_once('\n').context("no status")?;
        let text = if output.status.success() {
            text.to_owned()
        } else {
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        Ok((status.parse()?, text))
    }
}

/// Runs a line of Python, with these arguments, on a text; returns what it printed.
pub fn python(line: &str, arguments: &[&str], input: &Path) -> anyhow::Result<String> {
    let mut command = Command::new(environment()?.join("venv/bin/python"));
    let output = command.arg("-c").arg(line).args(arguments).stdin(fs::File::open(input)?).output()?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn hash(password: &str) -> anyhow::Result<String> {
    let line = "import bcrypt, sys; print(bcrypt.hashpw(sys.argv[1].encode(), bcrypt.gensalt(6)).decode())";
    python(line, &[password], Path::new("/dev/null"))
}
