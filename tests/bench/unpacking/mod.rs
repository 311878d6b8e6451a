//! What the comparisons of unpacking share.

pub(crate) mod containerd;
pub(crate) mod contender;
pub(crate) mod sample;

/// Is there a program of this name on the PATH?
pub(crate) fn installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}
