//! Whiteouts (image-spec layer.md, "Whiteouts"): in a tar they are names, on disk they are
//! overlayfs's: a character device 0/0 hides a name, an attribute hides all of a directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::form::Form;

/// The name of the entry that makes its directory opaque.
pub(super) const OPAQUE_NAME: &[u8] = b".wh..wh..opq";
/// What the name of a whiteout begins with.
pub(super) const PREFIX: &[u8] = b".wh.";

/// What the name of an entry means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteout<'n> {
    /// An ordinary file.
    No,
    /// Hides this name of the lower layers.
    Name(&'n OsStr),
    /// Hides all that lower layers have in the directory.
    Opaque,
    /// Internal to a file system that is gone; it means nothing.
    Ignored,
    /// A whiteout of nothing, which is an error.
    Empty,
}

impl<'n> Whiteout<'n> {
    /// Reads the last component of an entry's path.
    #[must_use]
    pub fn of(name: &'n OsStr) -> Self {
        match name.as_bytes().strip_prefix(PREFIX) {
            None => Self::No,
            Some(b"") => Self::Empty,
            Some(_) if name.as_bytes() == OPAQUE_NAME => Self::Opaque,
            Some(rest) if rest.starts_with(PREFIX) => Self::Ignored,
            Some(rest) if rest == b"." || rest == b".." => Self::Empty,
            Some(rest) => Self::Name(OsStr::from_bytes(rest)),
        }
    }
}

/// The name under which an extended attribute of an archive is stored: what would speak to
/// overlayfs is escaped the way the kernel unescapes it (since 6.7).
pub(super) fn stored_xattr(form: Form, name: &[u8]) -> Vec<u8> {
    match name.strip_prefix(form.overlay_prefix()) {
        Some(rest) => [form.overlay_prefix(), b"overlay.", rest].concat(),
        None => name.to_vec(),
    }
}

/// The name under which a stored extended attribute is archived; nothing if it is overlayfs's own.
pub(crate) fn archived_xattr(form: Form, name: &[u8]) -> Option<Vec<u8>> {
    match name.strip_prefix(form.overlay_prefix()) {
        Some(rest) => {
            let own = rest.strip_prefix(b"overlay.")?;
            Some([form.overlay_prefix(), own].concat())
        }
        None => Some(name.to_vec()),
    }
}

/// Labels belong to the host's policy, not to the image.
pub(super) fn is_host_xattr(name: &[u8]) -> bool {
    name == b"security.selinux" || name == b"security.ima" || name == b"security.evm"
}
