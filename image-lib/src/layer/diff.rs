//! An upper directory of overlayfs as a layer's tar: sorted, with whiteouts before the files beside
//! them and hard links kept, so that the same tree always gives the same bytes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::LayerError;
use super::form::{DEVICE_XATTR, Form, OWNER_XATTR, recorded_device, recorded_owner};
use super::whiteout::{OPAQUE_NAME, PREFIX, archived_xattr, is_host_xattr};
use crate::fsroot::{Directory, FileKind, Metadata, Root, Times};
use crate::spec::Timestamp;
use crate::tar::{Entry, EntryKind, Writer};

/// How deep an upper directory may be.
const DEPTH_MAX: usize = 512;

/// How a layer is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiffOptions {
    /// No time in the layer is later than this (`SOURCE_DATE_EPOCH`). The files in the directory get
    /// the same times, so that directory and archive stay equal.
    pub epoch: Option<Timestamp>,
}

/// What a layer holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    /// The number of entries.
    pub entries: u64,
    /// The bytes of all files.
    pub content_bytes: u64,
}

struct Diff<'w, W> {
    writer: &'w mut Writer<W>,
    options: DiffOptions,
    form: Form,
    /// The first path of every file with several names.
    linked: HashMap<(u64, u64), Vec<u8>>,
    contents: Contents,
}

/// Writes what `upper` holds to `writer`. The root directory itself is no part of it. Sockets cannot be said in an
/// archive and are removed, so that directory and archive stay equal.
///
/// # Errors
/// A file cannot be read, or cannot be said in a layer; the writer's.
pub fn write_upper<W: Write>(
    upper: &Root,
    writer: &mut Writer<W>,
    options: DiffOptions,
) -> Result<Contents, LayerError> {
    let (form, linked) = (Form::of_this_process(), HashMap::new());
    let mut diff = Diff { writer, options, form, linked, contents: Contents::default() };
    diff.directory(upper.directory(), &mut PathBuf::new(), 0)?;
    Ok(diff.contents)
}

impl<W: Write> Diff<'_, W> {
    /// Whether sockets were in it, whose removal has changed its time.
    fn directory(
        &mut self,
        directory: &Directory,
        path: &mut PathBuf,
        depth: usize,
    ) -> Result<bool, LayerError> {
        if depth > DEPTH_MAX {
            let reason = "it lies too deep";
            return Err(LayerError::Unrepresentable { path: path.clone(), reason });
        }
        let mut files = Vec::new();
        let mut had_sockets = false;
        for (name, _) in directory.entries().map_err(LayerError::Upper)? {
            let Some(metadata) = directory.stat(&name).map_err(LayerError::Upper)? else {
                continue;
            };
            if metadata.is_whiteout() {
                let mut hidden = PREFIX.to_vec();
                hidden.extend_from_slice(name.as_bytes());
                self.marker(path, &hidden)?;
            } else if metadata.kind == FileKind::Socket {
                directory.remove_tree(&name).map_err(LayerError::Upper)?;
                had_sockets = true;
            } else {
                files.push((name, metadata));
            }
        }
        for (name, metadata) in files {
            path.push(&name);
            self.file(directory, &name, path, metadata, depth)?;
            path.pop();
        }
        Ok(had_sockets)
    }

    /// An empty file whose name has a meaning. When a file was removed is nobody's affair, and would
    /// make every layer another one.
    fn marker(&mut self, parent: &Path, name: &[u8]) -> Result<(), LayerError> {
        let path = parent.join(OsStr::from_bytes(name)).into_os_string().into_vec();
        self.append(&Entry::new(&path, EntryKind::File, 0o600))
    }

    fn append(&mut self, entry: &Entry) -> Result<(), LayerError> {
        self.contents.entries += 1;
        Ok(self.writer.append(entry)?)
    }

    fn file(
        &mut self,
        parent: &Directory,
        name: &OsStr,
        path: &mut PathBuf,
        metadata: Metadata,
        depth: usize,
    ) -> Result<(), LayerError> {
        let refused = |reason| LayerError::Unrepresentable { path: path.clone(), reason };
        if name.as_bytes().starts_with(PREFIX) {
            return Err(refused("its name would be taken for a whiteout"));
        }
        let Some(kind) = EntryKind::of(metadata.kind) else { return Ok(()) };
        let stored = parent.xattrs(name).map_err(LayerError::Upper)?;
        let has = |attribute: &[u8]| stored.iter().any(|(name, _)| name == attribute);
        if ["trusted", "user"].iter().any(|space| {
            has(format!("{space}.overlay.redirect").as_bytes())
                || has(format!("{space}.overlay.metacopy").as_bytes())
        }) {
            return Err(refused("it only refers to a lower layer"));
        }
        let mut entry = Entry::new(path.as_os_str().as_bytes(), kind, metadata.mode);
        (entry.uid, entry.gid) = (metadata.uid, metadata.gid);
        entry.mtime = metadata.mtime.clamped(self.options.epoch);
        let mark = self.form.opaque_xattr();
        let is_opaque = stored.iter().any(|(n, v)| n == mark && v == b"y");
        for (attribute, value) in &stored {
            if self.form.has_user_marks() && take_record(&mut entry, attribute, value) {
                continue;
            }
            if let Some(attribute) =
                archived_xattr(self.form, attribute).filter(|a| !is_host_xattr(a))
            {
                entry.xattrs.push((attribute, value.clone()));
            }
        }
        if kind != EntryKind::Directory && metadata.links > 1 {
            if let Some(first) = self.linked.get(&metadata.inode) {
                entry.kind = EntryKind::HardLink;
                entry.link.clone_from(first);
                entry.xattrs.clear();
                return self.append(&entry);
            }
            self.linked.insert(metadata.inode, entry.path.clone());
        }
        let mut is_touched = false;
        match entry.kind {
            EntryKind::File => self.content(parent, name, &mut entry, metadata)?,
            EntryKind::Symlink => {
                entry.mode = 0o777;
                entry.link = parent.read_link(name).map_err(LayerError::Upper)?.into_vec();
                self.append(&entry)?;
            }
            EntryKind::Directory => {
                self.append(&entry)?;
                if is_opaque {
                    self.marker(path, OPAQUE_NAME)?;
                }
                let directory = parent.open_directory(name).map_err(LayerError::Upper)?;
                is_touched = self.directory(&directory, path, depth + 1)?;
            }
            _ => {
                if kind == entry.kind {
                    entry.device = metadata.device;
                }
                self.append(&entry)?;
            }
        }
        // Last, because reading a directory's files does not, but writing them would, change it.
        if is_touched || entry.mtime != metadata.mtime {
            parent.set_times(name, Times::both(entry.mtime)).map_err(LayerError::Upper)?;
        }
        Ok(())
    }

    fn content(
        &mut self,
        parent: &Directory,
        name: &OsStr,
        entry: &mut Entry,
        metadata: Metadata,
    ) -> Result<(), LayerError> {
        entry.size = metadata.size;
        self.contents.entries += 1;
        self.contents.content_bytes += metadata.size;
        let mut file = parent.open_file(name).map_err(LayerError::Upper)?;
        Ok(self.writer.append_content(entry, &mut file)?)
    }
}

/// What an ordinary user's store records beside a file becomes the file's own again.
fn take_record(entry: &mut Entry, attribute: &[u8], value: &[u8]) -> bool {
    if attribute == OWNER_XATTR
        && let Some((uid, gid)) = recorded_owner(value)
    {
        (entry.uid, entry.gid) = (uid, gid);
        return true;
    }
    if attribute == DEVICE_XATTR
        && entry.kind == EntryKind::File
        && let Some((is_block, device)) = recorded_device(value)
    {
        entry.device = device;
        entry.kind = if is_block { EntryKind::BlockDevice } else { EntryKind::CharacterDevice };
        return true;
    }
    false
}
