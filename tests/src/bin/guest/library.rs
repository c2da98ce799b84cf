//! A library whose functions have the names of OpenSSL's, within this program: it puts plaintext into records, and does not
//! encrypt it. So what the agent reads in libraries can be tried where there is none.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::raw::c_int;

use anyhow::ensure;
use observer_tests::ends::Ends;

/// What a record has beside its plaintext (AES-GCM in TLS 1.2): a nonce and a code that authenticates it.
const OVERHEAD: usize = 24;
/// Plaintext in a record, at most.
const MOST: usize = 16_384;

/// One end of a session.
pub(crate) struct Session {
    stream: TcpStream,
    /// What the handshake's next step receives, and what it sends then.
    expected: usize,
    answer: Vec<u8>,
}

/// Takes the handshake's next step.
///
/// # Safety
///
/// `session` must be one's address.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn SSL_do_handshake(session: *mut Session) -> c_int {
    // SAFETY: the caller's promise.
    let session = unsafe { &mut *session };
    let is_received = session.stream.read_exact(&mut vec![0; session.expected]).is_ok();
    if is_received && session.stream.write_all(&session.answer).is_ok() { 1 } else { -1 }
}

/// Sends plaintext.
///
/// # Safety
///
/// `session` must be one's address, and `buffer` that of so many bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn SSL_write(session: *mut Session, buffer: *const u8, length: c_int) -> c_int {
    // SAFETY: the caller's promise.
    let (session, bytes) =
        unsafe { (&mut *session, std::slice::from_raw_parts(buffer, length.unsigned_abs() as usize)) };
    for piece in bytes.chunks(MOST) {
        let size = ((piece.len() + OVERHEAD) as u16).to_be_bytes();
        let record = [&[23, 3, 3][..], &size, &[0xEE; 8], piece, &[0xEE; OVERHEAD - 8]].concat();
        if session.stream.write_all(&record).is_err() {
            return -1;
        }
    }
    length
}

/// Receives the plaintext of one record.
///
/// # Safety
///
/// `session` must be one's address, and `buffer` that of so many bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn SSL_read(session: *mut Session, buffer: *mut u8, length: c_int) -> c_int {
    // SAFETY: the caller's promise.
    let (session, bytes) =
        unsafe { (&mut *session, std::slice::from_raw_parts_mut(buffer, length.unsigned_abs() as usize)) };
    let mut header = [0; 5];
    if session.stream.read_exact(&mut header).is_err() {
        return -1;
    }
    let mut record = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    if session.stream.read_exact(&mut record).is_err() {
        return -1;
    }
    let plaintext = &record[8..record.len() - (OVERHEAD - 8)];
    let Some(room) = bytes.get_mut(..plaintext.len()) else { return -1 };
    room.copy_from_slice(plaintext);
    // It is no longer than `length`.
    c_int::try_from(plaintext.len()).unwrap_or(-1)
}

/// Ends a session.
///
/// # Safety
///
/// `session` must be the address of one that nobody uses any more.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn SSL_free(session: *mut Session) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(session) });
}

/// Both ends of a session, the client's first.
pub(crate) struct Sessions([*mut Session; 2]);

impl Sessions {
    /// Greets, with these flights: those of the client, and of the server.
    pub(crate) fn greet(ends: &Ends, flights: &[(bool, Vec<u8>)]) -> anyhow::Result<Self> {
        let session = |stream: &TcpStream| -> anyhow::Result<*mut Session> {
            let stream = stream.try_clone()?;
            Ok(Box::into_raw(Box::new(Session { stream, expected: 0, answer: Vec::new() })))
        };
        let sessions = Self([session(&ends.client)?, session(&ends.server)?]);
        let mut came = 0;
        // Who did not speak last still has to hear it.
        let last = (flights.last().is_some_and(|(is_server, _)| !is_server), Vec::new());
        for (is_server, bytes) in flights.iter().chain([&last]) {
            let session = sessions.0[usize::from(*is_server)];
            // SAFETY: it is there until both are dropped.
            unsafe {
                (*session).expected = std::mem::replace(&mut came, bytes.len());
                (*session).answer.clone_from(bytes);
                ensure!(SSL_do_handshake(session) == 1, "the handshake has failed");
            }
        }
        Ok(sessions)
    }

    /// One end sends, and the other one receives.
    pub(crate) fn pass(&self, from_server: bool, bytes: &[u8]) -> anyhow::Result<()> {
        let [client, server] = self.0;
        let (from, to) = if from_server { (server, client) } else { (client, server) };
        let mut buffer = vec![0; MOST];
        for piece in bytes.chunks(MOST) {
            let length = c_int::try_from(piece.len())?;
            // SAFETY: sessions that are there until both are dropped, and buffers as long as is said.
            let passed = unsafe {
                [
                    SSL_write(from, piece.as_ptr(), length),
                    SSL_read(to, buffer.as_mut_ptr(), c_int::try_from(MOST)?),
                ]
            };
            ensure!(passed == [length; 2] && buffer[..piece.len()] == *piece, "{passed:?}, not {length}");
        }
        Ok(())
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        for session in self.0 {
            // SAFETY: nobody uses it any more.
            unsafe { SSL_free(session) };
        }
    }
}
