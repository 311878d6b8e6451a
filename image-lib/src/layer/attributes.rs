//! What an entry says of its file besides the content: owner, extended attributes, mode, times. In
//! this order, because each may undo the one after it. What is right already is not set again, for
//! there are tens of thousands of files.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{Mode, RawMode, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::error::EntryError;
use super::form::{DEVICE_XATTR, Form, OWNER_XATTR, device_record, owner_record};
use super::whiteout::{is_host_xattr, stored_xattr};
use crate::fsroot::{self, Directory, FsError, Times};
use crate::tar::{Entry, EntryKind};

/// Would shape the files that are made in the directory later, so it is set when all are.
pub(super) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";

/// Set-user-id, set-group-id and sticky, which open(2) and chown(2) take away.
const SPECIAL_BITS: u32 = 0o7000;

/// Gives files what their entries say.
#[derive(Debug)]
pub(super) struct Attributes {
    pub(super) form: Form,
    /// What could not be kept, in words.
    pub(super) warnings: Vec<String>,
}

/// An attribute that is to be set.
type Wanted<'e> = (Vec<u8>, std::borrow::Cow<'e, [u8]>);

impl Attributes {
    /// Owner, attributes and mode of an open file or directory.
    pub(super) fn of_open(
        &mut self,
        entry: &Entry,
        file: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<(), EntryError> {
        let failed = |operation, errno: Errno| FsError::new(operation, Path::new(name), errno);
        let stat = rustix::fs::fstat(file).map_err(|e| failed("stat", e))?;
        let owner = self.new_owner(entry, &stat);
        if let Some((uid, gid)) = owner {
            let set = fsroot::owner(uid, gid)
                .and_then(|(uid, gid)| rustix::fs::fchown(file, Some(uid), Some(gid)));
            set.map_err(|e| self.explain(entry, failed("change owner of", e)))?;
        }
        let mut has_acl = false;
        for (attribute, value) in self.wanted(entry) {
            has_acl |= attribute == ACCESS_ACL;
            let set = rustix::fs::fsetxattr(file, &attribute, &value, XattrFlags::empty());
            let set = set.map_err(|e| failed("set extended attribute of", e));
            self.tolerate(entry, &attribute, set)?;
        }
        let mode = stat.st_mode & 0o7777;
        let undone = owner.is_some() && entry.mode & SPECIAL_BITS != 0;
        if mode != entry.mode || undone || has_acl {
            rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode as RawMode))
                .map_err(|e| failed("change mode of", e))?;
        }
        Ok(())
    }

    /// All attributes of what cannot be opened: links, devices and fifos.
    pub(super) fn of_name(
        &mut self,
        entry: &Entry,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), EntryError> {
        let failed = |errno: Errno| FsError::new("stat", Path::new(name), errno);
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        let stat = rustix::fs::statat(parent.as_fd(), name, flags).map_err(failed)?;
        let owner = self.new_owner(entry, &stat);
        if let Some((uid, gid)) = owner {
            parent.set_owner(name, uid, gid).map_err(|error| self.explain(entry, error))?;
        }
        for (attribute, value) in self.wanted(entry) {
            let set = parent.set_xattr(name, &attribute, &value);
            self.tolerate(entry, &attribute, set)?;
        }
        let undone = owner.is_some() && entry.mode & SPECIAL_BITS != 0;
        let mode = stat.st_mode & 0o7777;
        if entry.kind != EntryKind::Symlink && (mode != entry.mode || undone) {
            parent.set_mode(name, entry.mode)?;
        }
        Ok(parent.set_times(name, Times::both(entry.mtime))?)
    }

    /// The times of an open file.
    pub(super) fn times(entry: &Entry, file: impl AsFd, name: &OsStr) -> Result<(), FsError> {
        let time =
            Timespec { tv_sec: entry.mtime.seconds, tv_nsec: entry.mtime.nanoseconds.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        let failed = |errno| FsError::new("set times of", Path::new(name), errno);
        rustix::fs::futimens(file.as_fd(), &times).map_err(failed)
    }

    /// The owner to set, if it is another one. Besides the user, a directory with set-group-id or a
    /// mount option may have chosen the group.
    fn new_owner(&self, entry: &Entry, stat: &Stat) -> Option<(u32, u32)> {
        let wanted = match self.form {
            Form::Single => (0, 0),
            Form::Host | Form::Mapped => (entry.uid, entry.gid),
        };
        (wanted != (stat.st_uid, stat.st_gid)).then_some(wanted)
    }

    /// The attributes of the archive as they are stored, and the records of what this form cannot
    /// say otherwise.
    fn wanted<'e>(&self, entry: &'e Entry) -> Vec<Wanted<'e>> {
        let kept = entry.xattrs.iter().filter(|(name, _)| {
            let own = self.form.has_user_marks() && (name == OWNER_XATTR || name == DEVICE_XATTR);
            !is_host_xattr(name) && name != DEFAULT_ACL && !own
        });
        let mut wanted: Vec<Wanted<'e>> = kept
            .map(|(name, value)| (stored_xattr(self.form, name), value.as_slice().into()))
            .collect();
        let bears_records = !matches!(entry.kind, EntryKind::Symlink | EntryKind::Fifo);
        if self.form == Form::Single && (entry.uid, entry.gid) != (0, 0) && bears_records {
            wanted.push((OWNER_XATTR.to_vec(), owner_record(entry.uid, entry.gid).into()));
        }
        let is_block = entry.kind == EntryKind::BlockDevice;
        if self.form.has_user_marks() && (is_block || entry.kind == EntryKind::CharacterDevice) {
            wanted.push((DEVICE_XATTR.to_vec(), device_record(is_block, entry.device).into()));
        }
        wanted
    }

    /// An id that this user namespace does not have is refused by the kernel in a word that nobody
    /// understands.
    fn explain(&self, entry: &Entry, error: FsError) -> EntryError {
        if self.form == Form::Mapped && error.is(Errno::INVAL) {
            return EntryError::Unmapped { uid: entry.uid, gid: entry.gid };
        }
        error.into()
    }

    /// A file system that knows no such attribute, or a kind of file that can bear none, is no
    /// reason to refuse an image; it is told.
    pub(super) fn tolerate(
        &mut self,
        entry: &Entry,
        attribute: &[u8],
        result: Result<(), FsError>,
    ) -> Result<(), EntryError> {
        let is_users = attribute.starts_with(b"user.");
        // A user namespace may not set what speaks to the whole host.
        let is_foreign = self.form.has_user_marks() && !is_users;
        match result {
            Ok(()) => Ok(()),
            Err(error)
                if error.is(Errno::OPNOTSUPP)
                    || (error.is(Errno::PERM) && (is_users || is_foreign)) =>
            {
                let attribute = String::from_utf8_lossy(attribute).into_owned();
                let path = entry.display_path();
                self.warnings
                    .push(format!("{path}: extended attribute {attribute} cannot be kept"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
