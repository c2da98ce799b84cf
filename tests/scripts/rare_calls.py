"""System calls that Python has no name for: io_uring, and those of a 32-bit program (x86-64 only)."""

import ctypes
import mmap
import os
import struct
import tempfile

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

IO_URING_SETUP = 425
IO_URING_ENTER = 426
IO_URING_REGISTER = 427
IORING_REGISTER_BUFFERS = 0
IORING_ENTER_GETEVENTS = 1
IORING_OFF_SQ_RING = 0
IORING_OFF_CQ_RING = 0x8000000
IORING_OFF_SQES = 0x10000000
IORING_OP_READ_FIXED = 4
IORING_OP_WRITE_FIXED = 5
IORING_OP_RECV = 27
IORING_OP_PROVIDE_BUFFERS = 31
# In a receive's ioprio: it goes on until there is no buffer left.
IORING_RECV_MULTISHOT = 1 << 1
# In a completion: it is not the request's last.
IORING_CQE_F_MORE = 1 << 1
# IOSQE_BUFFER_SELECT: into one of the buffers that were provided.
IOSQE_BUFFER_SELECT = 1 << 5


def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(argument) for argument in arguments])
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


class Ring:
    """One io_uring, used for one request at a time (struct io_uring_params in linux/io_uring.h)."""

    def __init__(self):
        parameters = ctypes.create_string_buffer(120)
        self.fd = call(IO_URING_SETUP, 64, ctypes.addressof(parameters))
        entries, completions = struct.unpack_from("II", parameters, 0)
        self.head, self.tail, self.mask, _, _, _, self.array = struct.unpack_from("7I", parameters, 40)
        self.done_head, self.done_tail, self.done_mask, _, _, self.done = struct.unpack_from("6I", parameters, 80)
        self.queue = mmap.mmap(self.fd, self.array + entries * 4, offset=IORING_OFF_SQ_RING)
        self.results = mmap.mmap(self.fd, self.done + completions * 16, offset=IORING_OFF_CQ_RING)
        self.requests = mmap.mmap(self.fd, entries * 64, offset=IORING_OFF_SQES)

    def submit(self, opcode, descriptor, address, size, flags=0, priority=0, offset=0, group=0):
        """Has a request begun (struct io_uring_sqe), and waits for a completion."""
        tail, = struct.unpack_from("I", self.queue, self.tail)
        mask, = struct.unpack_from("I", self.queue, self.mask)
        index = tail & mask
        entry = struct.pack("<BBHiQQIIQH", opcode, flags, priority, descriptor, offset, address, size, 0, 7, group)
        self.requests[index * 64:index * 64 + 64] = entry.ljust(64, b"\0")
        struct.pack_into("I", self.queue, self.array + index * 4, index)
        struct.pack_into("I", self.queue, self.tail, tail + 1)
        call(IO_URING_ENTER, self.fd, 1, 1, IORING_ENTER_GETEVENTS, 0, 0)

    def result(self):
        """What the next completion tells, for which it waits."""
        head, = struct.unpack_from("I", self.results, self.done_head)
        while head == struct.unpack_from("I", self.results, self.done_tail)[0]:
            call(IO_URING_ENTER, self.fd, 0, 1, IORING_ENTER_GETEVENTS, 0, 0)
        mask, = struct.unpack_from("I", self.results, self.done_mask)
        _, result, self.flags = struct.unpack_from("<QiI", self.results, self.done + (head & mask) * 16)
        struct.pack_into("I", self.results, self.done_head, head + 1)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    def request(self, opcode, descriptor, buffer, size):
        """Has one request done, and tells its result."""
        self.submit(opcode, descriptor, ctypes.addressof(buffer), size)
        return self.result()

    def register(self, buffer):
        """Makes a buffer known to the ring, as its first."""
        vector = struct.pack("QQ", ctypes.addressof(buffer), len(buffer))
        vector = ctypes.create_string_buffer(vector, len(vector))
        call(IO_URING_REGISTER, self.fd, IORING_REGISTER_BUFFERS, ctypes.addressof(vector), 1)


def ring_write_registered(one, data):
    """Sends `data` out of a buffer that the ring knows, in one request."""
    ring = Ring()
    buffer = ctypes.create_string_buffer(data, len(data))
    ring.register(buffer)
    sent = ring.request(IORING_OP_WRITE_FIXED, one.fileno(), buffer, len(data))
    os.close(ring.fd)
    return sent


def ring_read_registered(one, count):
    """Receives up to `count` bytes into a buffer that the ring knows, in one request."""
    ring = Ring()
    buffer = ctypes.create_string_buffer(count)
    ring.register(buffer)
    received = ring.request(IORING_OP_READ_FIXED, one.fileno(), buffer, count)
    os.close(ring.fd)
    return received


def ring_receive_on_and_on(one, count):
    """Receives `count` bytes with one request, into buffers of 100 bytes. Tells how many times it was completed."""
    ring = Ring()
    size, buffers = 100, count // 100 + 16
    room = ctypes.create_string_buffer(size * buffers)
    ring.submit(IORING_OP_PROVIDE_BUFFERS, buffers, ctypes.addressof(room), size, group=3)
    ring.result()
    ring.submit(IORING_OP_RECV, one.fileno(), 0, 0, IOSQE_BUFFER_SELECT, IORING_RECV_MULTISHOT, group=3)
    times = 0
    while count > 0:
        count -= ring.result()
        times += 1
        if count > 0 and not ring.flags & IORING_CQE_F_MORE:
            raise OSError(f"the request ended with {count} bytes to come")
    os.close(ring.fd)
    return times


def compat_program(descriptor, data):
    """The path of a 32-bit program that writes `data` to a descriptor and exits with 0."""
    base, start = 0x08048000, 52 + 32
    code_size = 5 * 4 + 2 + 5 + 2 + 2
    code = b"\xb8" + struct.pack("<I", 4)                            # mov eax, 4 (write)
    code += b"\xbb" + struct.pack("<I", descriptor)                  # mov ebx, descriptor
    code += b"\xb9" + struct.pack("<I", base + start + code_size)    # mov ecx, data
    code += b"\xba" + struct.pack("<I", len(data))                   # mov edx, size
    code += b"\xcd\x80"                                              # int 0x80
    code += b"\xb8" + struct.pack("<I", 1)                           # mov eax, 1 (exit)
    code += b"\x31\xdb"                                              # xor ebx, ebx
    code += b"\xcd\x80"                                              # int 0x80
    assert len(code) == code_size
    size = start + code_size + len(data)
    # An ELF header of 32 bits for the 80386, and one segment that is read and executed.
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + start, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    segment = struct.pack("<8I", 1, 0, base, base, size, size, 5, 0x1000)
    with tempfile.NamedTemporaryFile(prefix="compat", delete=False) as file:
        file.write(header + segment + code + data)
    os.chmod(file.name, 0o755)
    return file.name
