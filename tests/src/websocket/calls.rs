//! Connected pairs of sockets, and the system calls that bytes go through.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::{io, mem, ptr, thread};

use anyhow::{Context as _, ensure};
use io_uring::{opcode, types};

use crate::ring::{By, request};

/// How bytes are sent.
#[derive(Clone, Copy, Debug)]
pub enum Sending {
    /// `write`, at most so many bytes a call.
    Write(usize),
    /// `send`, at most so many bytes a call.
    Send(usize),
    /// `writev`, so many buffers a call, of so many bytes each.
    Writev(usize, usize),
    /// `sendmsg`, likewise.
    Sendmsg(usize, usize),
    /// A request of `io_uring` to send, at most so many bytes each.
    Ring(By, usize),
    /// One to send what so many buffers hold, of so many bytes each.
    RingVectors(By, usize, usize),
    /// One to send from the buffer itself, at most so many bytes each.
    RingZeroCopy(By, usize),
}

/// How bytes are received.
#[derive(Clone, Copy, Debug)]
pub enum Receiving {
    /// `read`, at most so many bytes a call.
    Read(usize),
    /// `recv`, at most so many bytes a call.
    Recv(usize),
    /// `recv` with `MSG_PEEK`, then without.
    Peek(usize),
    /// `recv` with `MSG_WAITALL`.
    WaitAll(usize),
    /// `readv`, so many buffers a call, of so many bytes each.
    Readv(usize, usize),
    /// `recvmsg`, likewise.
    Recvmsg(usize, usize),
    /// A request of `io_uring` to receive, at most so many bytes each.
    Ring(By, usize),
    /// One to receive all of so many bytes.
    RingWaitAll(By, usize),
    /// One to receive into so many buffers, of so many bytes each.
    RingVectors(By, usize, usize),
}

/// One end of a connection: a plain descriptor, so that `read` and `write` are what they say.
#[derive(Debug)]
pub struct End(File);

/// Both ends.
#[derive(Debug)]
pub struct Pair {
    /// The one that connected.
    pub client: End,
    /// The one that was accepted.
    pub server: End,
}

impl Pair {
    /// Over TCP, on a free port of an address.
    pub fn tcp(address: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let server = listener.accept()?.0;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
        }
        Ok(Self::new(client, server))
    }

    /// Over a UNIX socket in a folder of its own.
    pub fn unix() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path)?;
        let client = UnixStream::connect(&path)?;
        let server = listener.accept()?.0;
        Ok(Self::new(client, server))
    }

    /// Of a client's and a server's socket.
    pub fn new(client: impl Into<OwnedFd>, server: impl Into<OwnedFd>) -> Self {
        Self { client: End::new(client), server: End::new(server) }
    }

    /// Moves bytes from the client to the server.
    pub fn ask(&self, bytes: &[u8], sending: Sending, receiving: Receiving) -> anyhow::Result<()> {
        transfer(&self.client, &self.server, bytes, sending, receiving)
    }

    /// Moves bytes from the server to the client.
    pub fn answer(&self, bytes: &[u8], sending: Sending, receiving: Receiving) -> anyhow::Result<()> {
        transfer(&self.server, &self.client, bytes, sending, receiving)
    }
}

/// Sends all bytes at one end while the other receives them.
fn transfer(
    from: &End,
    to: &End,
    bytes: &[u8],
    sending: Sending,
    receiving: Receiving,
) -> anyhow::Result<()> {
    let received = thread::scope(|scope| {
        let sender = scope.spawn(|| from.send(bytes, sending));
        let received = to.receive(bytes.len(), receiving);
        sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        received
    })?;
    ensure!(received == bytes, "{} bytes came differently", bytes.len());
    Ok(())
}

impl AsRawFd for End {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl End {
    /// Of any socket.
    pub fn new(socket: impl Into<OwnedFd>) -> Self {
        Self(File::from(socket.into()))
    }

    /// Sends all bytes.
    pub fn send(&self, bytes: &[u8], how: Sending) -> anyhow::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let sent = again(|| self.send_some(rest, how)).with_context(|| format!("{how:?}"))?;
            rest = &rest[sent..];
        }
        Ok(())
    }

    /// Receives exactly so many bytes.
    pub fn receive(&self, length: usize, how: Receiving) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut place = 0;
        while place < length {
            let rest = &mut bytes[place..];
            let received = again(|| self.receive_some(rest, how)).with_context(|| format!("{how:?}"))?;
            ensure!(received > 0, "the connection ended after {place} of {length} bytes");
            place += received;
        }
        Ok(bytes)
    }

    fn send_some(&self, bytes: &[u8], how: Sending) -> io::Result<usize> {
        match how {
            Sending::Write(most) => (&self.0).write(&bytes[..most.min(bytes.len())]),
            Sending::Send(most) => {
                let length = most.min(bytes.len());
                // SAFETY: the bytes are there.
                result(unsafe {
                    libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), length, libc::MSG_NOSIGNAL)
                })
            }
            Sending::Writev(count, size) => {
                let buffers: Vec<IoSlice<'_>> = bytes.chunks(size).take(count).map(IoSlice::new).collect();
                (&self.0).write_vectored(&buffers)
            }
            Sending::Sendmsg(count, size) => {
                let buffers: Vec<IoSlice<'_>> = bytes.chunks(size).take(count).map(IoSlice::new).collect();
                let message = message(buffers.as_ptr().cast_mut().cast(), buffers.len());
                // SAFETY: an `IoSlice` is a `struct iovec`, and the bytes are there.
                result(unsafe { libc::sendmsg(self.0.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) })
            }
            Sending::Ring(by, most) => {
                request(by, &opcode::Send::new(self.descriptor(), bytes.as_ptr(), size(bytes, most)).build())
            }
            Sending::RingVectors(by, count, size) => {
                let buffers: Vec<IoSlice<'_>> = bytes.chunks(size).take(count).map(IoSlice::new).collect();
                let message = message(buffers.as_ptr().cast_mut().cast(), buffers.len());
                request(by, &opcode::SendMsg::new(self.descriptor(), &raw const message).build())
            }
            Sending::RingZeroCopy(by, most) => request(
                by,
                &opcode::SendZc::new(self.descriptor(), bytes.as_ptr(), size(bytes, most)).build(),
            ),
        }
    }

    fn receive_some(&self, bytes: &mut [u8], how: Receiving) -> io::Result<usize> {
        match how {
            Receiving::Read(most) => {
                let length = most.min(bytes.len());
                (&self.0).read(&mut bytes[..length])
            }
            Receiving::Recv(most) => self.recv(bytes, most, 0),
            Receiving::Peek(most) => {
                self.recv(bytes, most, libc::MSG_PEEK)?;
                self.recv(bytes, most, 0)
            }
            Receiving::WaitAll(most) => self.recv(bytes, most, libc::MSG_WAITALL),
            Receiving::Readv(count, size) => {
                let mut buffers: Vec<IoSliceMut<'_>> =
                    bytes.chunks_mut(size).take(count).map(IoSliceMut::new).collect();
                (&self.0).read_vectored(&mut buffers)
            }
            Receiving::Recvmsg(count, size) => {
                let mut buffers: Vec<IoSliceMut<'_>> =
                    bytes.chunks_mut(size).take(count).map(IoSliceMut::new).collect();
                let mut message = message(buffers.as_mut_ptr().cast(), buffers.len());
                // SAFETY: an `IoSliceMut` is a `struct iovec`, and the memory is there.
                result(unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) })
            }
            Receiving::Ring(by, most) => self.ring_recv(by, bytes, most, 0),
            Receiving::RingWaitAll(by, most) => self.ring_recv(by, bytes, most, libc::MSG_WAITALL),
            Receiving::RingVectors(by, count, size) => {
                let mut buffers: Vec<IoSliceMut<'_>> =
                    bytes.chunks_mut(size).take(count).map(IoSliceMut::new).collect();
                let mut message = message(buffers.as_mut_ptr().cast(), buffers.len());
                request(by, &opcode::RecvMsg::new(self.descriptor(), &raw mut message).build())
            }
        }
    }

    fn ring_recv(&self, by: By, bytes: &mut [u8], most: usize, flags: libc::c_int) -> io::Result<usize> {
        let size = size(bytes, most);
        request(by, &opcode::Recv::new(self.descriptor(), bytes.as_mut_ptr(), size).flags(flags).build())
    }

    fn descriptor(&self) -> types::Fd {
        types::Fd(self.0.as_raw_fd())
    }

    fn recv(&self, bytes: &mut [u8], most: usize, flags: libc::c_int) -> io::Result<usize> {
        let length = most.min(bytes.len());
        // SAFETY: the memory is there.
        result(unsafe { libc::recv(self.0.as_raw_fd(), bytes.as_mut_ptr().cast(), length, flags) })
    }
}

/// Of a request: its length has 32 bits.
fn size(bytes: &[u8], most: usize) -> u32 {
    u32::try_from(most.min(bytes.len())).unwrap_or(u32::MAX)
}

fn message(buffers: *mut libc::iovec, count: usize) -> libc::msghdr {
    // SAFETY: numbers and pointers, all of which may be zero.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = ptr::null_mut();
    message.msg_iov = buffers;
    message.msg_iovlen = count;
    message
}

fn result(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn again(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
