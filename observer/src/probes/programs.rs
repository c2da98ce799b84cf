//! The table of programs: what each is for, and what it needs.

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Attached to a tracepoint of its name, found by type information.
    Tracepoint,
    /// Attached to the exit of a function of its name.
    Exit,
    /// Attached as an iterator over this.
    Iterator(&'static str),
    /// Attached to functions of TLS libraries.
    Library,
}

/// How sends and receives are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataPath {
    /// Calls are seen by tracepoints that all of them pass.
    Tracepoints,
    /// Calls are seen at the exits of the functions that they end in, where there are no such tracepoints.
    Exits,
}

/// A program.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProgramSpec {
    /// Its name; a tracepoint's and a function's is theirs.
    pub(super) name: &'static str,
    /// How it is attached.
    pub(super) kind: Kind,
    /// `Some`: loaded only where sends and receives are seen that way.
    pub(super) data_path: Option<DataPath>,
    /// What is seen with it.
    pub(super) gives: &'static str,
    /// Without it there is nothing to observe, or no end to what is.
    pub(super) essential: bool,
    /// Whether it is there for `io_uring`'s requests only, and left out where those cannot be read.
    pub(super) for_requests: bool,
    /// The tracepoint of a program that takes what another one on it could not, for the kernel had taken the processor from
    /// that one; left out where kernels do not.
    pub(super) spare_of: Option<&'static str>,
    /// The first kernel that has what it needs.
    pub(super) since: &'static str,
}

impl ProgramSpec {
    const fn tracepoint(name: &'static str, since: &'static str, gives: &'static str) -> Self {
        let kind = Kind::Tracepoint;
        Self {
            name,
            kind,
            data_path: None,
            gives,
            essential: false,
            for_requests: false,
            spare_of: None,
            since,
        }
    }

    const fn exit(name: &'static str, gives: &'static str, essential: bool) -> Self {
        let data_path = Some(DataPath::Exits);
        let gives = Self::tracepoint(name, EXITS_SINCE, gives);
        Self { kind: Kind::Exit, data_path, essential, ..gives }
    }

    const fn iterator(
        name: &'static str,
        over: &'static str,
        since: &'static str,
        gives: &'static str,
    ) -> Self {
        Self { kind: Kind::Iterator(over), ..Self::tracepoint(name, since, gives) }
    }

    /// One for functions of TLS libraries. Cookies are there since 5.15, storage of threads for such programs since 5.17.
    const fn library(name: &'static str, gives: &'static str) -> Self {
        Self { kind: Kind::Library, ..Self::tracepoint(name, "5.17", gives) }
    }

    /// A spare of this one, which must follow on it: programs of one tracepoint run in the order in which they are
    /// attached.
    const fn spare(self, name: &'static str) -> Self {
        let gives = "calls of threads that run while another one is kept in the middle of its own";
        Self { name, gives, spare_of: Some(self.name), since: "7.0", ..self }
    }

    /// What it is attached to.
    pub(super) const fn hook(&self) -> &'static str {
        match self.spare_of {
            Some(tracepoint) => tracepoint,
            None => self.name,
        }
    }

    const fn calls(self) -> Self {
        Self { data_path: Some(DataPath::Tracepoints), ..self.essential() }
    }

    const fn requests(self) -> Self {
        Self { data_path: Some(DataPath::Tracepoints), for_requests: true, ..self }
    }

    const fn essential(self) -> Self {
        Self { essential: true, ..self }
    }
}

/// The first kernel that can attach to a function's exit, and has all else that is needed.
const EXITS_SINCE: &str = if cfg!(target_arch = "aarch64") { "6.4" } else { "5.17" };

impl DataPath {
    /// What `observer check` says of it.
    pub(super) const fn tells(self) -> &'static str {
        match self {
            Self::Tracepoints => "tracepoints of sends and receives",
            Self::Exits => {
                "exits of the functions that send and receive, as this kernel has no tracepoints there"
            }
        }
    }

    /// The programs of it, and those of both.
    pub(super) fn programs(self) -> impl Iterator<Item = ProgramSpec> {
        PROGRAMS.into_iter().filter(move |spec| spec.data_path.is_none_or(|data_path| data_path == self))
    }
}

const SEND: ProgramSpec = ProgramSpec::tracepoint("sock_send_length", "6.3", "what is sent").calls();
const RECEIVE: ProgramSpec = ProgramSpec::tracepoint("sock_recv_length", "6.3", "what is received").calls();
const SUBMIT: ProgramSpec =
    ProgramSpec::tracepoint("io_uring_submit_req", "6.10", "messages that io_uring moves at once").requests();
const WAIT: ProgramSpec =
    ProgramSpec::tracepoint("io_uring_poll_arm", "6.10", "messages that io_uring waits for").requests();

/// All of them, of which [`DataPath::programs`] are loaded.
pub(super) const PROGRAMS: [ProgramSpec; 18] = [
    SEND,
    RECEIVE,
    SEND.spare("sock_send_spare"),
    RECEIVE.spare("sock_recv_spare"),
    ProgramSpec::exit("inet_sendmsg", "what is sent", true),
    ProgramSpec::exit("inet_recvmsg", "what is received", true),
    ProgramSpec::exit("inet6_sendmsg", "what is sent over IPv6", false),
    ProgramSpec::exit("inet6_recvmsg", "what is received over IPv6", false),
    ProgramSpec::exit("unix_stream_sendmsg", "what is sent over UNIX sockets", false),
    ProgramSpec::exit("unix_stream_recvmsg", "what is received over UNIX sockets", false),
    SUBMIT,
    WAIT,
    SUBMIT.spare("io_uring_submit_spare"),
    WAIT.spare("io_uring_poll_spare"),
    ProgramSpec::tracepoint(
        "inet_sock_set_state",
        "4.16",
        "TCP connections opening and closing, and the latency of connect",
    ),
    ProgramSpec::tracepoint("tcp_destroy_sock", "4.16", "the end of TCP sockets"),
    ProgramSpec::iterator(
        "adopt",
        "task_file",
        "5.11",
        "connections that were open before the agent, and idle ones",
    ),
    ProgramSpec::iterator(
        "refresh",
        "bpf_sk_storage_map",
        "5.9",
        "the end of UNIX connections, round-trip times, retransmits, and bytes that moved unseen",
    )
    .essential(),
];

/// Those that read plaintext, which are loaded where that is asked for.
pub(super) const LIBRARY_PROGRAMS: [ProgramSpec; 3] = [
    ProgramSpec::library("library_enter", "plaintext of what is encrypted"),
    ProgramSpec::library("library_result", "plaintext of what is encrypted"),
    ProgramSpec::library(
        "library_end",
        "whose plaintext it is, of handshakes and of what is looked at ahead",
    ),
];
