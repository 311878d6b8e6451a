//! The form that a layer has on disk. What this process may do decides it: root of the host keeps
//! owners and devices as they are, an ordinary user cannot.

use std::fs;

/// The attribute in which Single keeps the real owner. Its value is a protocol buffer with the user
/// (field 1) and the group (field 2), as umoci writes and other rootless tools read it.
pub(super) const OWNER_XATTR: &[u8] = b"user.rootlesscontainers";
/// The id that means none.
const NO_ID: u32 = u32::MAX;
/// The attribute of the empty file that stands for a device: `c 1:3` or `b 8:0`.
pub(super) const DEVICE_XATTR: &[u8] = b"user.keel.device";

/// The form of layers that this process makes and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Root of the host. Overlayfs finds its marks in `trusted.overlay.*`.
    Host,
    /// Root of a user namespace with subordinate ids: owners are kept as the namespace sees them.
    /// Overlayfs, mounted with `userxattr`, finds its marks in `user.overlay.*`; devices are empty
    /// files with a record.
    Mapped,
    /// Root of a user namespace with a single id: as [`Form::Mapped`], but all files are the
    /// user's, and the real owners of files and directories are records.
    Single,
}

impl Form {
    /// The form that fits this process's user namespace.
    #[must_use]
    pub fn of_this_process() -> Self {
        let read = |name| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self::of_maps(&read("uid_map"), &read("gid_map"))
    }

    fn of_maps(uids: &str, gids: &str) -> Self {
        let all = u64::from(u32::MAX);
        match (ids(uids), ids(gids)) {
            // Without /proc nothing is known, and root of the host is what the calls will show.
            (None, _) | (_, None) => Self::Host,
            (Some(uids), Some(gids)) if uids == all && gids == all => Self::Host,
            (Some(uids), Some(gids)) if uids > 1 && gids > 1 => Self::Mapped,
            _ => Self::Single,
        }
    }

    /// The attribute of a directory whose counterparts in lower layers are hidden.
    #[must_use]
    pub fn opaque_xattr(self) -> &'static [u8] {
        match self {
            Self::Host => b"trusted.overlay.opaque",
            Self::Mapped | Self::Single => b"user.overlay.opaque",
        }
    }

    /// What the names of overlayfs's own attributes begin with.
    pub(super) fn overlay_prefix(self) -> &'static [u8] {
        match self {
            Self::Host => b"trusted.overlay.",
            Self::Mapped | Self::Single => b"user.overlay.",
        }
    }

    /// Does an attribute's name speak to overlayfs?
    pub(crate) fn is_overlays(self, name: &[u8]) -> bool {
        name.starts_with(self.overlay_prefix())
    }

    /// Does overlayfs need to be told that its marks are in `user.overlay.*`?
    #[must_use]
    pub fn has_user_marks(self) -> bool {
        self != Self::Host
    }

    /// What tells the layers of one form from those of another in a store.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Host => "",
            Self::Mapped => ".mapped",
            Self::Single => ".single",
        }
    }
}

/// How many ids a map has (`inside outside count`, line by line).
fn ids(map: &str) -> Option<u64> {
    let counts = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    Some(counts.sum()).filter(|count| *count > 0)
}

/// The value of [`OWNER_XATTR`].
pub(super) fn owner_record(uid: u32, gid: u32) -> Vec<u8> {
    let mut record = Vec::new();
    for (field, id) in [(1_u8, uid), (2, gid)] {
        // Who is root already needs no record, and umoci says so in this way.
        let id = if id == 0 { NO_ID } else { id };
        record.push(field << 3);
        let groups = (32 - id.leading_zeros()).div_ceil(7);
        for group in 0..groups {
            // Seven bits at a time, lowest first; the eighth says that more follow.
            let more = if group + 1 < groups { 0x80 } else { 0 };
            record.push((id >> (7 * group) & 0x7f).to_le_bytes()[0] | more);
        }
    }
    record
}

/// What [`owner_record`] wrote; nothing if it is something else.
pub(super) fn recorded_owner(record: &[u8]) -> Option<(u32, u32)> {
    let (mut uid, mut gid) = (0, 0);
    let known = |id| if id == NO_ID { 0 } else { id };
    let mut bytes = record.iter().copied();
    while let Some(tag) = bytes.next() {
        let mut id = 0_u32;
        for shift in (0..).step_by(7) {
            let byte = bytes.next()?;
            let part = u32::from(byte & 0x7f);
            id |= part.checked_shl(shift).filter(|bits| bits >> shift == part)?;
            if byte & 0x80 == 0 {
                break;
            }
        }
        match tag {
            8 => uid = known(id),
            16 => gid = known(id),
            _ => return None,
        }
    }
    Some((uid, gid))
}

/// The value of [`DEVICE_XATTR`].
pub(super) fn device_record(is_block: bool, (major, minor): (u32, u32)) -> Vec<u8> {
    format!("{} {major}:{minor}", if is_block { 'b' } else { 'c' }).into_bytes()
}

/// What [`device_record`] wrote: is it a block device, and its number.
pub(super) fn recorded_device(record: &[u8]) -> Option<(bool, (u32, u32))> {
    let (kind, number) = std::str::from_utf8(record).ok()?.split_once(' ')?;
    let (major, minor) = number.split_once(':')?;
    let is_block = match kind {
        "b" => true,
        "c" => false,
        _ => return None,
    };
    Some((is_block, (major.parse().ok()?, minor.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tells_root_from_users() {
        let all = "         0          0 4294967295\n";
        let one = "         0       1000          1\n";
        let many = "0 1000 1\n1 100000 65536\n";
        assert_eq!(Form::of_maps(all, all), Form::Host);
        assert_eq!(Form::of_maps(one, one), Form::Single);
        assert_eq!(Form::of_maps(many, many), Form::Mapped);
        assert_eq!(Form::of_maps(many, one), Form::Single);
        assert_eq!(Form::of_maps("", ""), Form::Host);
    }

    #[test]
    fn records_owners_and_devices() {
        // Written by umoci for 300:0.
        assert_eq!(owner_record(300, 0), b"\x08\xac\x02\x10\xff\xff\xff\xff\x0f");
        for ids in [(0, 0), (1, 127), (128, 65534), (u32::MAX - 1, 1)] {
            assert_eq!(recorded_owner(&owner_record(ids.0, ids.1)).unwrap(), ids);
        }
        for bad in [&[0x08][..], &[0x08, 0x80], &[0x18, 1], &[8, 255, 255, 255, 255, 255, 1]] {
            assert_eq!(recorded_owner(bad), None, "{bad:?}");
        }
        let device = (true, (259, 7));
        assert_eq!(recorded_device(&device_record(device.0, device.1)), Some(device));
        assert_eq!(recorded_device(b"c 1"), None);
    }
}
