//! nginx: it serves files and answers of its own, or passes on to another server.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::programs::{self, Program};
use crate::websocket::unique_name;

/// One of a test's own. Dropping it ends its workers, too.
#[derive(Debug)]
pub struct Nginx {
    program: Option<Program>,
    folder: tempfile::TempDir,
    /// What its processes are called.
    pub name: String,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

impl Nginx {
    /// Starts one with a worker or as one process, with directives around its only server and inside it, and more words
    /// for where that listens. Paths are relative to its folder, whose files it serves.
    pub fn with(around: &str, listening: &str, inside: &str, worker: bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = programs::free_port()?;
        let path = folder.path().display();
        let master = if worker { "on" } else { "off" };
        std::fs::write(folder.path().join("index.html"), "here")?;
        let configuration = format!(
            "daemon off; master_process {master}; worker_processes 1; user root; pid {path}/pid; error_log {path}/errors;
             events {{ worker_connections 512; }}
             http {{
               proxy_temp_path {path}/proxy; client_body_temp_path {path}/body;
               fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
               {around}
               server {{ listen 127.0.0.1:{port} {listening}; root {path}; {inside} }}
             }}"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration)?;
        let name = unique_name("ngx");
        let link = programs::named(&programs::installed("nginx")?, folder.path(), &name)?;
        let program = Program::start(Command::new(link).arg("-p").arg(folder.path()).arg("-c").arg(file))?;
        let nginx = Self { program: Some(program), folder, name, port };
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(nginx);
            }
            sleep(Duration::from_millis(50));
        }
        let errors = std::fs::read_to_string(nginx.folder().join("errors")).unwrap_or_default();
        anyhow::bail!("nginx does not listen: {errors}");
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process that serves.
    pub fn pid(&self) -> anyhow::Result<u32> {
        let main = self.program.as_ref().map_or(0, Program::pid);
        let children = std::fs::read_to_string(format!("/proc/{main}/task/{main}/children"))?;
        children.split_ascii_whitespace().next().map_or(Ok(main), |child| Ok(child.parse()?))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let Some(program) = self.program.take() else { return };
        if let Ok(pid) = libc::pid_t::try_from(program.pid()) {
            // SAFETY: a child of ours that has not been waited for, so the number is its own.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        // It may have ended already.
        let _ = program.finish();
    }
}
