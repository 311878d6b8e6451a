//! How much an archive may ask for.

/// The bounds of one archive. Every archive is untrusted, so there is no way to read without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries; each costs an inode.
    pub entries_max: u64,
    /// Bytes of a path or of a link's target; the kernel takes no more than 4095.
    pub path_bytes_max: usize,
    /// Components of a path.
    pub depth_max: usize,
    /// Bytes of one extended header, and so of all extended attributes of an entry; it is held in
    /// memory.
    pub extended_header_bytes_max: u64,
    /// Extended attributes of one entry; each costs a call, and what a file can bear is far less.
    pub xattrs_max: usize,
    /// Bytes of all paths and links' targets together; who unpacks an archive remembers them.
    pub path_bytes_total_max: u64,
    /// Bytes of content of all entries together, holes counted.
    pub content_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries_max: 4_000_000,
            path_bytes_max: 4095,
            depth_max: 512,
            xattrs_max: 1024,
            path_bytes_total_max: 256 << 20,
            extended_header_bytes_max: 1 << 20,
            content_bytes_max: 256 << 30,
        }
    }
}
