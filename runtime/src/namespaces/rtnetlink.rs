//! The messages of rtnetlink(7) that moving a network device takes: written and read as bytes. Pure but
//! for [`ask`], which sends one and collects the answer.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::limits::NETLINK_WAIT_MS;
use crate::sys::error::{Call, Result, SyscallError};
use crate::sys::process::wait_readable;
use crate::sys::socket::{receive, send};

/// A link as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its number in the namespace that was asked.
    pub index: i32,
    /// Whether it is up.
    pub is_up: bool,
}

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix_length: u8,
    flags: u32,
    scope: u8,
    /// The number of its link.
    pub index: i32,
    /// `IFA_LOCAL`, `IFA_ADDRESS`, `IFA_BROADCAST` and `IFA_RT_PRIORITY`, as they were read.
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Whether it stays until somebody removes it.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.flags & IFA_F_PERMANENT != 0
    }

    /// Whether it means the same everywhere: `RT_SCOPE_UNIVERSE`.
    #[must_use]
    pub fn is_global(&self) -> bool {
        self.scope == 0
    }
}

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE_EXCLUSIVE: u16 = 0x600;

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_F_PERMANENT: u32 = 0x80;
/// What a user can ask for: no duplicate detection, home address, managing temporary ones, no route for
/// the prefix, joining multicast groups. The others are states that the kernel tells.
const IFA_F_ASKED: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;
const IFF_UP: u32 = 1;

const HEADER: usize = 16;
/// Of both `ifinfomsg` and the header of a message.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

/// A message to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        Self(bytes)
    }

    fn link(kind: u16, index: i32, flags: u32, changed: u32) -> Self {
        let mut request = Self::new(kind, ACK);
        request.0.extend_from_slice(&[0; 4]);
        request.0.extend_from_slice(&index.to_ne_bytes());
        request.0.extend_from_slice(&flags.to_ne_bytes());
        request.0.extend_from_slice(&changed.to_ne_bytes());
        request
    }

    fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn with_name(self, name: &str) -> Self {
        self.with(IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat())
    }

    /// Describe the link of this name.
    #[must_use]
    pub fn find_link(name: &str) -> Self {
        Self::link(RTM_GETLINK, 0, 0, 0).with_name(name)
    }

    /// Move the link into a namespace, where it has this name from then on.
    #[must_use]
    pub fn move_link(index: i32, name: &str, namespace: BorrowedFd<'_>) -> Self {
        Self::link(RTM_NEWLINK, index, 0, 0)
            .with_name(name)
            .with(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes())
    }

    /// Rename the link; a `%d` becomes the first free number.
    #[must_use]
    pub fn rename_link(index: i32, name: &str) -> Self {
        Self::link(RTM_NEWLINK, index, 0, 0).with_name(name)
    }

    /// Bring the link up.
    #[must_use]
    pub fn raise_link(index: i32) -> Self {
        Self::link(RTM_NEWLINK, index, IFF_UP, IFF_UP)
    }

    /// Describe all addresses of all links.
    #[must_use]
    pub fn list_addresses() -> Self {
        let mut request = Self::new(RTM_GETADDR, DUMP);
        request.0.extend_from_slice(&[0; ADDRESS_HEADER]);
        request
    }

    /// Give a link an address that another one, or the same elsewhere, had.
    #[must_use]
    pub fn add_address(index: i32, address: &Address) -> Self {
        let mut request = Self::new(RTM_NEWADDR, ACK | CREATE_EXCLUSIVE);
        request.0.extend_from_slice(&[address.family, address.prefix_length, 0, address.scope]);
        request.0.extend_from_slice(&index.to_ne_bytes());
        for (kind, value) in &address.attributes {
            request = request.with(*kind, value);
        }
        request.with(IFA_FLAGS, &(address.flags & IFA_F_ASKED).to_ne_bytes())
    }

    /// The bytes, with their length and number filled in.
    fn numbered(mut self, number: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&number.to_ne_bytes());
        self.0
    }
}

/// What the kernel answered, but for the end of the answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Links.
    pub links: Vec<Link>,
    /// Addresses.
    pub addresses: Vec<Address>,
}

/// Sends a request over a socket of `NETLINK_ROUTE` and collects the answer. The kernel acts on a request
/// before send(2) returns, so the wait for the answer is short.
///
/// # Errors
/// The errno with which the kernel answers, told as one of `rtnetlink`; EBADMSG for what is no answer;
/// ETIME when there is none.
pub fn ask(socket: impl AsFd, request: Request) -> Result<Answer> {
    const NUMBER: u32 = 1;
    // The kernel's own bound on a part of a long answer is half of this.
    let mut buffer = vec![0; 64 << 10];
    send(&socket, &request.numbered(NUMBER))?;
    let mut answer = Answer::default();
    loop {
        if !wait_readable(&socket, NETLINK_WAIT_MS)? {
            return Err(failure(libc::ETIME));
        }
        let length = receive(&socket, &mut buffer)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        match answer.read(bytes, NUMBER) {
            None => return Err(failure(libc::EBADMSG)),
            Some(Some(0)) => return Ok(answer),
            Some(Some(errno)) => return Err(failure(errno)),
            Some(None) => {}
        }
    }
}

fn failure(errno: i32) -> SyscallError {
    SyscallError { call: Call::Rtnetlink, errno }
}

impl Answer {
    /// Reads one datagram. `Some(Some(errno))` at the end of the answer, `None` for what is malformed.
    #[must_use]
    pub fn read(&mut self, mut bytes: &[u8], number: u32) -> Option<Option<i32>> {
        if bytes.is_empty() {
            return None;
        }
        while !bytes.is_empty() {
            let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
            let message = bytes.get(..length).filter(|_| length >= HEADER)?;
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
            if u32_at(message, 8)? != number {
                continue;
            }
            let body = &message[HEADER..];
            match u16_at(message, 4)? {
                NLMSG_ERROR => {
                    return Some(Some(i32::from_ne_bytes(array(body, 0)?).wrapping_neg()));
                }
                // A list that was cut short by an error says so in its last message.
                NLMSG_DONE => {
                    let errno = array(body, 0).map_or(0, i32::from_ne_bytes);
                    return Some(Some(errno.wrapping_neg()));
                }
                RTM_NEWLINK => self.links.push(link(body)?),
                RTM_NEWADDR => self.addresses.push(address(body)?),
                _ => {}
            }
        }
        Some(None)
    }
}

fn link(body: &[u8]) -> Option<Link> {
    let _attributes = body.get(LINK_HEADER..)?;
    let index = i32::from_ne_bytes(array(body, 4)?);
    Some(Link { index, is_up: u32_at(body, 8)? & IFF_UP != 0 })
}

fn address(body: &[u8]) -> Option<Address> {
    let mut rest = body.get(ADDRESS_HEADER..)?;
    let mut address = Address {
        family: body[0],
        prefix_length: body[1],
        flags: u32::from(body[2]),
        scope: body[3],
        index: i32::from_ne_bytes(array(body, 4)?),
        attributes: Vec::new(),
    };
    while rest.len() >= 4 {
        let length = usize::from(u16_at(rest, 0)?);
        let value = rest.get(4..length)?;
        match u16_at(rest, 2)? {
            kind @ (IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST | IFA_RT_PRIORITY) => {
                address.attributes.push((kind, value.to_vec()));
            }
            IFA_FLAGS => address.flags = u32_at(value, 0)?,
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(address)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn message(kind: u16, number: u32, body: &[u8]) -> Vec<u8> {
        let mut request = Request::new(kind, 0);
        request.0.extend_from_slice(body);
        let mut bytes = request.numbered(number);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn address_body(flags: u32) -> Vec<u8> {
        let mut body = Request(vec![2, 24, 0x80, 0]);
        body.0.extend_from_slice(&7_i32.to_ne_bytes());
        body.with(IFA_ADDRESS, &[10, 0, 0, 1])
            .with(IFA_LOCAL, &[10, 0, 0, 1])
            .with(3, b"eth0\0")
            .with(IFA_FLAGS, &flags.to_ne_bytes())
            .0
    }

    #[test]
    fn writes_a_move_as_the_kernel_reads_it() {
        let stdin = std::io::stdin();
        let bytes = Request::move_link(5, "in0", stdin.as_fd()).numbered(9);
        assert_eq!(bytes.len(), 16 + 16 + 8 + 8);
        assert_eq!(u32_at(&bytes, 0), Some(48));
        assert_eq!((u16_at(&bytes, 4), u16_at(&bytes, 6)), (Some(16), Some(5)));
        assert_eq!((u32_at(&bytes, 8), u32_at(&bytes, 20)), (Some(9), Some(5)));
        assert_eq!((u16_at(&bytes, 32), u16_at(&bytes, 34)), (Some(8), Some(3)));
        assert_eq!(&bytes[36..40], b"in0\0");
        assert_eq!((u16_at(&bytes, 40), u16_at(&bytes, 42)), (Some(8), Some(28)));
    }

    #[test]
    fn reads_links_and_addresses_to_the_end() {
        let mut link = vec![0; 16];
        link[4..8].copy_from_slice(&3_i32.to_ne_bytes());
        link[8..12].copy_from_slice(&0x1043_u32.to_ne_bytes());
        let mut bytes = message(RTM_NEWLINK, 1, &link);
        bytes.extend(message(RTM_NEWADDR, 2, &address_body(0x280)));
        bytes.extend(message(RTM_NEWADDR, 1, &address_body(0x280)));
        let mut answer = Answer::default();
        assert_eq!(answer.read(&bytes, 1), Some(None));
        assert_eq!(answer.links, [Link { index: 3, is_up: true }]);
        let [address] = answer.addresses.as_slice() else { panic!("{answer:?}") };
        assert!(address.is_permanent() && address.is_global());
        assert_eq!((address.index, address.flags), (7, 0x280));
        let kinds: Vec<u16> = address.attributes.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [IFA_ADDRESS, IFA_LOCAL], "a label belongs to the old name");
        assert_eq!(answer.read(&message(NLMSG_DONE, 1, &[0; 4]), 1), Some(Some(0)));
    }

    #[test]
    fn gives_an_address_back_without_the_kernels_own_flags() {
        let mut answer = Answer::default();
        answer.read(&message(RTM_NEWADDR, 1, &address_body(0x280)), 1).unwrap();
        let bytes = Request::add_address(9, &answer.addresses[0]).numbered(1);
        assert_eq!(&bytes[16..20], [2, 24, 0, 0]);
        assert_eq!(u32_at(&bytes, 20), Some(9));
        assert_eq!(u32_at(&bytes, bytes.len() - 4), Some(0x200));
    }

    #[test]
    fn tells_the_errno_of_a_refusal() {
        let body = (-libc::EEXIST).to_ne_bytes();
        let read = |bytes: &[u8]| Answer::default().read(bytes, 1);
        assert_eq!(read(&message(NLMSG_ERROR, 1, &body)), Some(Some(libc::EEXIST)));
    }

    #[test]
    fn takes_nothing_malformed() {
        let whole = message(RTM_NEWADDR, 1, &address_body(0));
        for end in 0..whole.len() {
            assert_eq!(Answer::default().read(&whole[..end], 1), None, "{end}");
        }
        let mut long = whole.clone();
        long[24..26].copy_from_slice(&200_u16.to_ne_bytes());
        assert_eq!(Answer::default().read(&long, 1), None);
        let mut short = whole;
        short[24..26].copy_from_slice(&0_u16.to_ne_bytes());
        assert_eq!(Answer::default().read(&short, 1), None);
    }
}
