//! Tar archives byte by byte, for what no tool writes: independent of the library under test.

/// One entry of an archive. What does not fit the old header's fields is written as GNU tar does: numbers in
/// base 256, names in entries `L` and `K`; `pax` is written as it is given.
#[derive(Debug, Clone)]
pub struct TarEntry {
    /// The path.
    pub path: Vec<u8>,
    /// The type flag.
    pub kind: u8,
    /// The mode.
    pub mode: u32,
    /// The owner.
    pub uid: u64,
    /// The group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// The target of a link.
    pub link: Vec<u8>,
    /// Major and minor number.
    pub device: (u32, u32),
    /// Records of a PAX header before the entry.
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
    /// The content.
    pub content: Vec<u8>,
}

impl TarEntry {
    /// An entry of root's without content.
    pub fn new(kind: u8, path: impl AsRef<[u8]>, mode: u32) -> Self {
        Self {
            path: path.as_ref().to_vec(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: 1_000_000_000,
            link: Vec::new(),
            device: (0, 0),
            pax: Vec::new(),
            content: Vec::new(),
        }
    }

    /// A file.
    pub fn file(path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self { content: content.as_ref().to_vec(), ..Self::new(b'0', path, 0o644) }
    }

    /// A directory.
    pub fn directory(path: impl AsRef<[u8]>, mode: u32) -> Self {
        Self::new(b'5', path, mode)
    }

    /// A symbolic link.
    pub fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { link: target.as_ref().to_vec(), ..Self::new(b'2', path, 0o777) }
    }

    /// A further name of a file.
    pub fn hard_link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { link: target.as_ref().to_vec(), ..Self::new(b'1', path, 0o644) }
    }

    /// A device: `kind` is `b'3'` or `b'4'`.
    pub fn device(kind: u8, path: impl AsRef<[u8]>, device: (u32, u32)) -> Self {
        Self { device, ..Self::new(kind, path, 0o600) }
    }

    /// With another mode.
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// With another owner and group.
    pub fn owner(self, uid: u64, gid: u64) -> Self {
        Self { uid, gid, ..self }
    }

    /// With another time of change.
    pub fn mtime(self, mtime: i64) -> Self {
        Self { mtime, ..self }
    }

    /// With a record of a PAX header.
    pub fn pax(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// With an extended attribute, in star's form.
    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax(format!("SCHILY.xattr.{name}"), value)
    }

    /// The entry's blocks.
    pub fn blocks(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.pax.is_empty() {
            let records: Vec<u8> =
                self.pax.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
            bytes.extend(Self::file("PaxHeaders/x", records).flagged(b'x').plain());
        }
        for (flag, name) in [(b'L', &self.path), (b'K', &self.link)] {
            if name.len() > 100 {
                let name = [name.as_slice(), b"\0"].concat();
                bytes.extend(Self::file("././@LongLink", name).flagged(flag).plain());
            }
        }
        bytes.extend(self.plain());
        bytes
    }

    fn flagged(self, kind: u8) -> Self {
        Self { kind, ..self }
    }

    fn plain(&self) -> Vec<u8> {
        let mut block = vec![0_u8; 512];
        let mut text = |at: usize, length: usize, text: &[u8]| {
            let length = length.min(text.len());
            block[at..at + length].copy_from_slice(&text[..length]);
        };
        text(0, 100, &self.path);
        text(157, 100, &self.link);
        text(257, 8, b"ustar  \0");
        number(&mut block[100..108], self.mode.into());
        number(&mut block[108..116], self.uid.into());
        number(&mut block[116..124], self.gid.into());
        number(&mut block[124..136], self.content.len() as i128);
        number(&mut block[136..148], self.mtime.into());
        number(&mut block[329..337], self.device.0.into());
        number(&mut block[337..345], self.device.1.into());
        block[156] = self.kind;
        seal(&mut block);
        block.extend(&self.content);
        block.resize(block.len().next_multiple_of(512), 0);
        block
    }
}

/// Octal with a NUL at the end where it fits, base 256 where not.
fn number(field: &mut [u8], value: i128) {
    let digits = field.len() - 1;
    if (0..1_i128 << (3 * digits)).contains(&value) {
        field[..digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
        return;
    }
    let bytes = value.to_be_bytes();
    field.copy_from_slice(&bytes[bytes.len() - field.len()..]);
    field[0] |= 0x80;
}

/// Writes a header's sum.
pub fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// One record of a PAX header.
pub fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..).find(|length| length.to_string().len() + rest == *length).unwrap_or(rest);
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// An archive of the entries, with its end.
pub fn tarball(entries: &[TarEntry]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(TarEntry::blocks).collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}
