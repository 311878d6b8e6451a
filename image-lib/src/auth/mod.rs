//! Who one is at a registry: secrets that no message shows, the files in which docker's and podman's
//! tools keep credentials, credential helpers, and what `login` and `logout` do to them.

mod credential;
mod error;
mod file;
mod keyring;
mod program;
mod save;

pub use credential::{Credential, Secret};
pub use error::AuthError;
pub use file::AuthFile;
pub use keyring::{Keyring, Place};
pub use save::Kept;
