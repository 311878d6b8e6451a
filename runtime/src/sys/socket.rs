//! Sockets between processes of one machine, and descriptors sent over them.

use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};

use super::error::{Call, Named, Result, SyscallError};

/// A connected pair that keeps message borders: socketpair(2), `SOCK_SEQPACKET`, close-on-exec.
///
/// # Errors
/// The errno of the call.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd)> {
    nix::sys::socket::socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .named(Call::Socketpair)
}

/// A socket for requests about the network devices of this thread's namespace: socket(2),
/// `NETLINK_ROUTE`, close-on-exec.
///
/// # Errors
/// The errno of the call.
pub fn route_socket() -> Result<OwnedFd> {
    nix::sys::socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        nix::sys::socket::SockProtocol::NetlinkRoute,
    )
    .named(Call::Socket)
}

/// Connects to the stream socket at `path`. Neither this nor what is sent over it waits longer than
/// `timeout_ms` for the other side; 0 waits for ever.
///
/// # Errors
/// The errno of socket(2) or connect(2), EAGAIN when time ran out; ENAMETOOLONG when the path does not
/// fit an address.
pub fn connect_stream(path: &std::path::Path, timeout_ms: u32) -> Result<OwnedFd> {
    let socket = nix::sys::socket::socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .named(Call::Socket)?;
    if timeout_ms != 0 {
        let seconds = i64::from(timeout_ms / 1000);
        let micros = i64::from(timeout_ms % 1000) * 1000;
        let limit = nix::sys::time::TimeVal::new(seconds, micros);
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::SendTimeout, &limit)
            .named(Call::Setsockopt)?;
    }
    let address = UnixAddr::new(path).named(Call::Connect)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &address).named(Call::Connect)?;
    Ok(socket)
}

/// Where a socket of this machine listens.
#[derive(Debug, Clone, Copy)]
pub enum UnixAddress<'a> {
    /// A file.
    Path(&'a std::path::Path),
    /// A name without a file.
    Abstract(&'a [u8]),
}

/// Connects to a stream socket; neither that nor a later [`send_stream`] takes longer than `limit`
/// (`SO_SNDTIMEO`, socket(7)).
///
/// # Errors
/// The errno of socket(2), setsockopt(2) or connect(2): EAGAIN when the time is over.
pub fn connect_stream_within(
    address: UnixAddress<'_>,
    limit: std::time::Duration,
) -> Result<OwnedFd> {
    use nix::sys::socket::{connect, setsockopt, socket, sockopt};
    let address = match address {
        UnixAddress::Path(path) => UnixAddr::new(path),
        UnixAddress::Abstract(name) => UnixAddr::new_abstract(name),
    };
    let address = address.named(Call::Connect)?;
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .named(Call::Socket)?;
    let limit = nix::sys::time::TimeVal::from(nix::libc::timeval {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_usec: limit.subsec_micros().into(),
    });
    setsockopt(&socket, sockopt::SendTimeout, &limit).named(Call::Setsockopt)?;
    connect(socket.as_raw_fd(), &address).named(Call::Connect)?;
    Ok(socket)
}

/// send(2) until all of it is sent, without SIGPIPE.
///
/// # Errors
/// The errno of the call; EINTR is tried again.
pub fn send_stream(socket: impl AsFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let flags = nix::sys::socket::MsgFlags::MSG_NOSIGNAL;
        match nix::sys::socket::send(socket.as_fd().as_raw_fd(), bytes, flags) {
            Err(nix::errno::Errno::EINTR) => {}
            sent => bytes = bytes.get(sent.named(Call::Sendmsg)?..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Makes a datagram socket `name` in a directory, to which everybody who reaches it may write.
///
/// # Errors
/// The errno of socket(2), bind(2) or chmod(2).
pub fn bind_datagram(directory: impl AsFd, name: &std::ffi::CStr) -> Result<OwnedFd> {
    let socket = datagram_socket()?;
    // An address is short; this one is the same however long the path of the directory is.
    let number = directory.as_fd().as_raw_fd();
    let path = format!("/proc/self/fd/{number}/{}", name.to_string_lossy());
    let address = UnixAddr::new(path.as_str()).named(Call::Bind)?;
    nix::sys::socket::bind(socket.as_raw_fd(), &address).named(Call::Bind)?;
    let mode = nix::sys::stat::Mode::from_bits_retain(0o777);
    let follow = nix::sys::stat::FchmodatFlags::FollowSymlink;
    nix::sys::stat::fchmodat(directory, name, mode, follow).named(Call::Fchmod)?;
    Ok(socket)
}

/// Connects a datagram socket to a path, or to the abstract name behind `@`.
///
/// # Errors
/// The errno of socket(2) or connect(2); ENAMETOOLONG when the name does not fit an address.
pub fn connect_datagram(name: &[u8]) -> Result<OwnedFd> {
    let socket = datagram_socket()?;
    let address = match name.strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name),
        None => UnixAddr::new(name),
    };
    let address = address.named(Call::Connect)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &address).named(Call::Connect)?;
    Ok(socket)
}

fn datagram_socket() -> Result<OwnedFd> {
    let (kind, flags) = (SockType::Datagram, SockFlag::SOCK_CLOEXEC);
    nix::sys::socket::socket(AddressFamily::Unix, kind, flags, None).named(Call::Socket)
}

/// send(2) of one whole message, without SIGPIPE.
///
/// # Errors
/// The errno of the call; EINTR is tried again.
pub fn send(socket: impl AsFd, message: &[u8]) -> Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    loop {
        // SAFETY: pointer and length describe the message.
        let sent =
            unsafe { libc::send(fd, message.as_ptr().cast(), message.len(), libc::MSG_NOSIGNAL) };
        if sent >= 0 {
            return Ok(());
        }
        if nix::errno::Errno::last_raw() != libc::EINTR {
            return Err(SyscallError::last(Call::Sendmsg));
        }
    }
}

/// recv(2) of one message; its length, 0 at the end.
///
/// # Errors
/// The errno of the call; EINTR is tried again. A reset connection reads as the end.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    loop {
        // SAFETY: the buffer is valid for writes of its own length.
        let length = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if let Ok(length) = usize::try_from(length) {
            return Ok(length);
        }
        match nix::errno::Errno::last_raw() {
            libc::EINTR => {}
            libc::ECONNRESET => return Ok(0),
            _ => return Err(SyscallError::last(Call::Recvmsg)),
        }
    }
}

/// Room for one descriptor in a control message, aligned as the kernel wants it.
#[repr(C)]
union Control {
    header: libc::cmsghdr,
    space: [u8; 32],
}

/// Sends `message` with exactly one descriptor attached to its beginning: sendmsg(2), `SCM_RIGHTS`.
///
/// # Errors
/// The errno of the call; EAGAIN when the socket's time ran out, too.
pub fn send_descriptor(socket: impl AsFd, message: &[u8], descriptor: impl AsFd) -> Result<()> {
    let number = descriptor.as_fd().as_raw_fd();
    let mut part =
        libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
    let mut control = Control { space: [0; 32] };
    // SAFETY: an all-zero msghdr is valid; every pointer set below lives through the call; the
    // control buffer holds one header and one int, as CMSG_SPACE says it must.
    let sent = unsafe {
        let mut header: libc::msghdr = mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = libc::CMSG_SPACE(4) as _;
        let entry = libc::CMSG_FIRSTHDR(&raw const header);
        (*entry).cmsg_level = libc::SOL_SOCKET;
        (*entry).cmsg_type = libc::SCM_RIGHTS;
        (*entry).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(entry).cast::<libc::c_int>().write_unaligned(number);
        libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL)
    };
    match usize::try_from(sent) {
        Ok(count) if count == message.len() => Ok(()),
        // A stream was cut by its time limit: who listens got half a message.
        Ok(_) => Err(SyscallError { call: Call::Sendmsg, errno: libc::EAGAIN }),
        Err(_) => Err(SyscallError::last(Call::Sendmsg)),
    }
}

/// Receives one message and the descriptor attached to it, if any: (length, descriptor).
///
/// # Errors
/// The errno of the call.
pub fn receive_descriptor(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> Result<(usize, Option<OwnedFd>)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = Control { space: [0; 32] };
    // SAFETY: an all-zero msghdr is valid; every pointer set below lives through the call.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = size_of::<Control>() as _;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: see above; MSG_CMSG_CLOEXEC makes the descriptor close-on-exec.
    let length = unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    let length = usize::try_from(length).map_err(|_| SyscallError::last(Call::Recvmsg))?;
    // SAFETY: the kernel filled the header; the entry, when there is one, lies in `control`.
    let descriptor = unsafe {
        let entry = libc::CMSG_FIRSTHDR(&raw const header);
        let is_rights = !entry.is_null()
            && (*entry).cmsg_level == libc::SOL_SOCKET
            && (*entry).cmsg_type == libc::SCM_RIGHTS;
        is_rights.then(|| {
            super::open::adopt(libc::CMSG_DATA(entry).cast::<libc::c_int>().read_unaligned())
        })
    };
    Ok((length, descriptor))
}

/// Brings the loopback interface of this network namespace up: `SIOCSIFFLAGS`, netdevice(7). The socket stays open,
/// for a child that is about to exec.
///
/// # Errors
/// The errno of socket(2) or ioctl(2).
pub fn loopback_up() -> Result<()> {
    let socket = nix::sys::socket::socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .named(Call::Socket)?;
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = byte.cast_signed();
    }
    #[allow(clippy::cast_possible_truncation)]
    let up = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    request.ifr_ifru.ifru_flags = up;
    // SAFETY: the request is a filled ifreq that lives through the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    super::open::leave_open(socket);
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::Ioctl)) }
}
