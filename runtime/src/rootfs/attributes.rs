//! Mount flags as the options of a config give them, in the terms of mount_setattr(2). Pure.

use crate::config::mounts::MS_NOSYMFOLLOW;
use crate::sys::mount::{
    ATTR_ATIME_MASK, ATTR_NOATIME, ATTR_NODEV, ATTR_NODIRATIME, ATTR_NOEXEC, ATTR_NOSUID,
    ATTR_NOSYMFOLLOW, ATTR_RDONLY, ATTR_STRICTATIME, Attributes,
};

/// What mount_setattr(2) shall do for a mix of `MS_*` flags. The access time setting is one of three
/// values and not a bit: whoever sets or clears one of its flags chooses a value.
pub(super) fn attributes(set: u64, clear: u64) -> Attributes {
    const FLAGS: [(u64, u64); 6] = [
        (libc::MS_RDONLY, ATTR_RDONLY),
        (libc::MS_NOSUID, ATTR_NOSUID),
        (libc::MS_NODEV, ATTR_NODEV),
        (libc::MS_NOEXEC, ATTR_NOEXEC),
        (libc::MS_NODIRATIME, ATTR_NODIRATIME),
        (MS_NOSYMFOLLOW, ATTR_NOSYMFOLLOW),
    ];
    let mut attributes = Attributes::default();
    for (flag, attribute) in FLAGS {
        if set & flag != 0 {
            attributes.set |= attribute;
        } else if clear & flag != 0 {
            attributes.clear |= attribute;
        }
    }
    const ACCESS_TIME: u64 = libc::MS_NOATIME | libc::MS_STRICTATIME | libc::MS_RELATIME;
    if (set | clear) & ACCESS_TIME != 0 {
        attributes.clear |= ATTR_ATIME_MASK;
        if set & libc::MS_NOATIME != 0 {
            attributes.set |= ATTR_NOATIME;
        } else if set & libc::MS_STRICTATIME != 0 {
            attributes.set |= ATTR_STRICTATIME;
        }
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_access_time_for_one_of_three_values() {
        let noatime = attributes(libc::MS_NOATIME | libc::MS_RDONLY, libc::MS_NOSUID);
        assert_eq!(noatime.set, ATTR_NOATIME | ATTR_RDONLY);
        assert_eq!(noatime.clear, ATTR_ATIME_MASK | ATTR_NOSUID);
        let relatime = attributes(libc::MS_RELATIME, 0);
        assert_eq!((relatime.set, relatime.clear), (0, ATTR_ATIME_MASK));
        assert_eq!(attributes(0, 0), Attributes::default());
    }
}
