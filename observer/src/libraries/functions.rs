//! Functions of TLS libraries that probes are put on, by the family of libraries that has them: one table, a row for each.

use observer_ebpf::layout::library;

/// Libraries that have the same functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// OpenSSL, and those that have its functions.
    Openssl,
    /// `GnuTLS`.
    Gnutls,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Openssl, Self::Gnutls];

    /// The functions by which a file is taken for a library of the family. The version of its symbols is that of the first.
    pub const fn needed(self) -> [Function; 2] {
        match self {
            Self::Openssl => [Function::Read, Function::Write],
            Self::Gnutls => [Function::RecordRecv, Function::RecordSend],
        }
    }
}

/// A function of a TLS library that probes are put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// `int SSL_read(SSL *ssl, void *buf, int num)`.
    Read,
    /// `int SSL_write(SSL *ssl, const void *buf, int num)`.
    Write,
    /// `int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes)`.
    ReadEx,
    /// `int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written)`.
    WriteEx,
    /// `int SSL_peek(SSL *ssl, void *buf, int num)`.
    Peek,
    /// `int SSL_peek_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes)`.
    PeekEx,
    /// `int SSL_do_handshake(SSL *ssl)`.
    DoHandshake,
    /// `int SSL_shutdown(SSL *ssl)`.
    Shutdown,
    /// `int SSL_read_early_data(SSL *ssl, void *buf, size_t num, size_t *readbytes)`.
    ReadEarlyData,
    /// `int SSL_write_early_data(SSL *ssl, const void *buf, size_t num, size_t *written)`.
    WriteEarlyData,
    /// `int SSL_clear(SSL *ssl)`.
    Clear,
    /// `void SSL_free(SSL *ssl)`.
    Free,
    /// `ssize_t gnutls_record_recv(gnutls_session_t session, void *data, size_t data_size)`.
    RecordRecv,
    /// `ssize_t gnutls_record_recv_seq(gnutls_session_t session, void *data, size_t data_size, unsigned char *seq)`.
    RecordRecvSeq,
    /// `ssize_t gnutls_record_recv_early_data(gnutls_session_t session, void *data, size_t data_size)`: what has come while
    /// the handshake went on.
    RecordRecvEarlyData,
    /// `ssize_t gnutls_record_send(gnutls_session_t session, const void *data, size_t data_size)`.
    RecordSend,
    /// `ssize_t gnutls_record_send2(gnutls_session_t session, const void *data, size_t data_size, size_t pad, unsigned
    /// flags)`, which `GnuTLS` has since 3.6.3.
    RecordSend2,
    /// `ssize_t gnutls_record_send_range(gnutls_session_t session, const void *data, size_t data_size, const
    /// gnutls_range_st *range)`.
    RecordSendRange,
    /// `int gnutls_record_uncork(gnutls_session_t session, unsigned int flags)`.
    RecordUncork,
    /// `int gnutls_handshake(gnutls_session_t session)`.
    Handshake,
    /// `int gnutls_reauth(gnutls_session_t session, unsigned int flags)`.
    Reauth,
    /// `int gnutls_bye(gnutls_session_t session, gnutls_close_request_t how)`.
    Bye,
    /// `int gnutls_alert_send(gnutls_session_t session, gnutls_alert_level_t level, gnutls_alert_description_t desc)`.
    AlertSend,
    /// `int gnutls_session_key_update(gnutls_session_t session, unsigned flags)`.
    SessionKeyUpdate,
    /// `int gnutls_session_ticket_send(gnutls_session_t session, unsigned nr, unsigned flags)`.
    SessionTicketSend,
    /// `int gnutls_session_get_data2(gnutls_session_t session, gnutls_datum_t *data)`, which waits for a ticket in TLS 1.3.
    SessionGetData2,
    /// `void gnutls_deinit(gnutls_session_t session)`.
    Deinit,
}

/// What of a function's arguments is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arguments {
    /// The session.
    Session,
    /// The session, a buffer, and its length, which is an `int`: callers may pass less than 0 in by mistake.
    SignedLength,
    /// The session, a buffer, and its length.
    Length,
    /// The same, and where to store how many bytes have moved.
    LengthAndCount,
}

/// What is known of a function.
struct Row {
    function: Function,
    family: Family,
    name: &'static str,
    arguments: Arguments,
    does: library::Function,
}

/// All functions, in the order of [`Function`].
const TABLE: [Row; 27] = {
    use Arguments::{Length, LengthAndCount, Session, SignedLength};
    use Function as F;
    use library::Function as Does;

    const fn openssl(
        function: Function,
        name: &'static str,
        arguments: Arguments,
        does: library::Function,
    ) -> Row {
        Row { function, family: Family::Openssl, name, arguments, does }
    }
    const fn gnutls(
        function: Function,
        name: &'static str,
        arguments: Arguments,
        does: library::Function,
    ) -> Row {
        Row { function, family: Family::Gnutls, name, arguments, does }
    }
    [
        openssl(F::Read, "SSL_read", SignedLength, Does::Read),
        openssl(F::Write, "SSL_write", SignedLength, Does::Write),
        openssl(F::ReadEx, "SSL_read_ex", LengthAndCount, Does::ReadEx),
        openssl(F::WriteEx, "SSL_write_ex", LengthAndCount, Does::WriteEx),
        openssl(F::Peek, "SSL_peek", SignedLength, Does::Peek),
        openssl(F::PeekEx, "SSL_peek_ex", LengthAndCount, Does::Peek),
        openssl(F::DoHandshake, "SSL_do_handshake", Session, Does::Handshake),
        openssl(F::Shutdown, "SSL_shutdown", Session, Does::Shutdown),
        openssl(F::ReadEarlyData, "SSL_read_early_data", LengthAndCount, Does::ReadEx),
        openssl(F::WriteEarlyData, "SSL_write_early_data", LengthAndCount, Does::WriteEx),
        openssl(F::Clear, "SSL_clear", Session, Does::Free),
        openssl(F::Free, "SSL_free", Session, Does::Free),
        gnutls(F::RecordRecv, "gnutls_record_recv", Length, Does::Receive),
        gnutls(F::RecordRecvSeq, "gnutls_record_recv_seq", Length, Does::Receive),
        gnutls(F::RecordRecvEarlyData, "gnutls_record_recv_early_data", Length, Does::Receive),
        gnutls(F::RecordSend, "gnutls_record_send", Length, Does::Send),
        gnutls(F::RecordSend2, "gnutls_record_send2", Length, Does::Send),
        gnutls(F::RecordSendRange, "gnutls_record_send_range", Length, Does::Send),
        gnutls(F::RecordUncork, "gnutls_record_uncork", Session, Does::Uncork),
        gnutls(F::Handshake, "gnutls_handshake", Session, Does::Handshake),
        gnutls(F::Reauth, "gnutls_reauth", Session, Does::Handshake),
        gnutls(F::Bye, "gnutls_bye", Session, Does::Shutdown),
        gnutls(F::AlertSend, "gnutls_alert_send", Session, Does::Part),
        gnutls(F::SessionKeyUpdate, "gnutls_session_key_update", Session, Does::Part),
        gnutls(F::SessionTicketSend, "gnutls_session_ticket_send", Session, Does::Part),
        gnutls(F::SessionGetData2, "gnutls_session_get_data2", Session, Does::Part),
        gnutls(F::Deinit, "gnutls_deinit", Session, Does::Free),
    ]
};

impl Function {
    /// All of them.
    pub const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::Read; TABLE.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = TABLE[at].function;
            assert!(all[at] as usize == at, "the table is in another order");
            at += 1;
        }
        all
    };

    const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The libraries that have it.
    pub const fn family(self) -> Family {
        self.row().family
    }

    /// The function's name, which is that of its symbol.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// What the program takes it for.
    pub const fn does(self) -> library::Function {
        self.row().does
    }

    /// How many of its arguments are looked at, each in a register.
    pub const fn arguments(self) -> usize {
        match self.row().arguments {
            Arguments::Session => 1,
            Arguments::SignedLength | Arguments::Length => 3,
            Arguments::LengthAndCount => 4,
        }
    }

    /// Whether what comes under the same address behind it is another session: its own end tells nothing more.
    pub const fn ends_a_session(self) -> bool {
        matches!(self.does(), library::Function::Free)
    }

    /// Whether its third argument is an `int`, which callers may pass less than 0 in by mistake.
    pub const fn takes_signed_length(self) -> bool {
        matches!(self.row().arguments, Arguments::SignedLength)
    }

    /// A function that does all that this one does, where the library has it: what has only a few bytes of code goes on to
    /// that one. Probes on both count nothing twice, but take twice as long.
    pub const fn goes_on_to(self) -> Option<Self> {
        match self {
            Self::RecordSend => Some(Self::RecordSend2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Family, Function};

    #[test]
    fn names_are_each_function_s_own() {
        let names: BTreeSet<_> = Function::ALL.into_iter().map(Function::name).collect();
        assert_eq!(names.len(), Function::ALL.len());
    }

    #[test]
    fn families_have_what_they_need() {
        for family in Family::ALL {
            assert!(family.needed().into_iter().all(|function| function.family() == family), "{family:?}");
        }
    }

    #[test]
    fn what_moves_plaintext_has_a_buffer() {
        for function in Function::ALL {
            let has_buffer = function.arguments() >= 3;
            assert!(has_buffer || !function.does().moves_plaintext(), "{function:?}");
            // And who ends a session needs no more than to say which.
            assert!(function.arguments() == 1 || !function.ends_a_session(), "{function:?}");
        }
    }
}
