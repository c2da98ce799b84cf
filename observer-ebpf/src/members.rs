//! Members of kernel structures that the program reads: the table, once for both halves.
//!
//! The program has a constant for each offset (`program/globals.rs`), which the agent resolves from the running kernel's
//! own type information and sets before it loads the program (`kernel/members.rs`).

/// Hands the table to a macro, which is called with groups of lines `GLOBAL = structure.path;`.
#[macro_export]
macro_rules! kernel_members {
    ($table:ident) => {
        $table! {
            /// What programs need, but for a few.
            MEMBERS:
            OFFSET_SOCK_FAMILY = sock.__sk_common.skc_family;
            OFFSET_SOCK_STATE = sock.__sk_common.skc_state;
            OFFSET_SOCK_WRITE_PENDING = sock.sk_write_pending;
            OFFSET_SOCK_LOCK_OWNED = sock.sk_lock.owned;
            OFFSET_SOCK_NUM = sock.__sk_common.skc_num;
            OFFSET_SOCK_DPORT = sock.__sk_common.skc_dport;
            OFFSET_SOCK_DADDR = sock.__sk_common.skc_daddr;
            OFFSET_SOCK_RCV_SADDR = sock.__sk_common.skc_rcv_saddr;
            OFFSET_SOCK_V6_DADDR = sock.__sk_common.skc_v6_daddr;
            OFFSET_SOCK_V6_RCV_SADDR = sock.__sk_common.skc_v6_rcv_saddr;
            OFFSET_SOCK_NET = sock.__sk_common.skc_net.net;
            OFFSET_NET_INUM = net.ns.inum;
            OFFSET_SOCK_TYPE = sock.sk_type;
            OFFSET_SOCK_PROTOCOL = sock.sk_protocol;
            OFFSET_SOCK_ERR = sock.sk_err;
            OFFSET_SOCK_SHUTDOWN = sock.sk_shutdown;
            OFFSET_SOCK_MAX_ACK_BACKLOG = sock.sk_max_ack_backlog;
            OFFSET_SOCK_SOCKET = sock.sk_socket;
            OFFSET_SOCKET_SK = socket.sk;
            OFFSET_SOCKET_FILE = socket.file;
            OFFSET_FILE_INODE = file.f_inode;
            OFFSET_INODE_INO = inode.i_ino;
            OFFSET_TCP_WRITE_SEQ = tcp_sock.write_seq;
            OFFSET_TCP_COPIED_SEQ = tcp_sock.copied_seq;
            OFFSET_TCP_SND_UNA = tcp_sock.snd_una;
            OFFSET_TCP_RCV_NXT = tcp_sock.rcv_nxt;
            OFFSET_TCP_BYTES_ACKED = tcp_sock.bytes_acked;
            OFFSET_TCP_BYTES_RECEIVED = tcp_sock.bytes_received;
            OFFSET_TCP_SRTT_US = tcp_sock.srtt_us;
            OFFSET_TCP_TOTAL_RETRANS = tcp_sock.total_retrans;
            OFFSET_TCP_IS_MPTCP = tcp_sock.is_mptcp;
            OFFSET_MPTCP_SERVER_SIDE = mptcp_sock.pm.server_side;
            OFFSET_UNIX_ADDR = unix_sock.addr;
            OFFSET_UNIX_PEER = unix_sock.peer;
            OFFSET_UNIX_ADDRESS_LEN = unix_address.len;
            OFFSET_UNIX_ADDRESS_NAME = unix_address.name;
            OFFSET_TASK_TGID = task_struct.tgid;
            OFFSET_TASK_GROUP_LEADER = task_struct.group_leader;
            OFFSET_TASK_START_BOOTTIME = task_struct.start_boottime;
            OFFSET_TASK_SELF_EXEC_ID = task_struct.self_exec_id;
            OFFSET_TASK_COMM = task_struct.comm;
            OFFSET_TASK_FLAGS = task_struct.flags;
            OFFSET_TASK_SIGNAL = task_struct.signal;
            OFFSET_TASK_NVCSW = task_struct.nvcsw;
            OFFSET_TASK_NIVCSW = task_struct.nivcsw;
            OFFSET_SIGNAL_PIDS = signal_struct.pids;
            OFFSET_PID_LEVEL = pid.level;
            OFFSET_PID_NUMBERS = pid.numbers;
            OFFSET_UPID_NR = upid.nr;
            OFFSET_UPID_NS = upid.ns;
            OFFSET_PID_NAMESPACE_INUM = pid_namespace.ns.inum;
        }
        $table! {
            /// What the requests of `io_uring` are looked at by. Where a global is given twice, either member will do:
            /// since Linux 6.10, the first or the second tells that every request to send or receive has its message
            /// here.
            IO_URING:
            OFFSET_FILE_PRIVATE_DATA = file.private_data;
            OFFSET_TASK_WORKER = task_struct.worker_private;
            OFFSET_WORKER_WORK = io_worker.cur_work;
            OFFSET_REQUEST_FILE = io_kiocb.file;
            OFFSET_REQUEST_OPCODE = io_kiocb.opcode;
            OFFSET_REQUEST_DATA = io_kiocb.async_data;
            OFFSET_REQUEST_WORK = io_kiocb.work;
            OFFSET_MESSAGE_ITERATOR = io_async_msghdr.msg.msg_iter;
            OFFSET_MESSAGE_VECTORS = io_async_msghdr.vec.nr | free_iov_nr;
            OFFSET_ITERATOR_KIND = iov_iter.iter_type;
            OFFSET_ITERATOR_OFFSET = iov_iter.iov_offset;
            OFFSET_ITERATOR_ADDRESS = iov_iter.ubuf;
        }
    };
}

/// The same of registers on x86-64.
#[macro_export]
macro_rules! kernel_registers_x86_64 {
    ($table:ident) => {
        $table! {
            /// Where registers are.
            REGISTERS:
            OFFSET_TASK_STATUS = task_struct.thread_info.status;
            OFFSET_REGS_ORIG_AX = pt_regs.orig_ax;
            OFFSET_REGS_AX = pt_regs.ax;
            OFFSET_REGS_SI = pt_regs.si;
            OFFSET_REGS_DX = pt_regs.dx;
        }
    };
}

/// The same of registers on arm64.
#[macro_export]
macro_rules! kernel_registers_aarch64 {
    ($table:ident) => {
        $table! {
            /// Where registers are.
            REGISTERS:
            OFFSET_REGS_REGS = pt_regs.regs;
            OFFSET_REGS_PSTATE = pt_regs.pstate;
            OFFSET_REGS_ORIG_X0 = pt_regs.orig_x0;
            OFFSET_REGS_SYSCALLNO = pt_regs.syscallno;
        }
    };
}
