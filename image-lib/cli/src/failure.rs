//! What goes wrong, as it is told: the chain of causes once, then what one can do about it.

use std::error::Error;

use keel_image::archive::ArchiveError;
use keel_image::auth::AuthError;
use keel_image::bundle::BundleError;
use keel_image::copy::CopyError;
use keel_image::export::ExportError;
use keel_image::flatten::FlattenError;
use keel_image::registry::{ObtainError, RegistryError};
use keel_image::snapshot::MountError;
use keel_image::store::StoreError;

use crate::limit_flags;
use crate::output;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    /// The exit code.
    pub(crate) code: u8,
}

/// The errors of a chain, joined; a text that repeats its cause's is left out.
fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.ends_with(&text) {
            message = format!("{message}: {text}");
        }
        source = cause.source();
    }
    message
}

impl Failure {
    /// A failure in words.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: 1 }
    }

    /// A failure with its causes.
    pub(crate) fn of(error: &dyn Error) -> Self {
        Self::new(chain(error))
    }

    /// A failure with its causes, and what was attempted.
    pub(crate) fn at(operation: &str, path: &std::path::Path, error: &dyn Error) -> Self {
        Self::new(format!("cannot {operation} {path:?}: {}", chain(error)))
    }

    /// What is told, without the hint.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Lines of a file that show where it is.
    pub(crate) fn with_quote(mut self, quote: &str) -> Self {
        self.message.push_str(quote);
        self
    }

    /// What one can do about it.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }

    /// Without what one can do about it.
    pub(crate) fn without_hint(self) -> Self {
        Self { hint: None, ..self }
    }

    /// Another exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Tells it on the standard error.
    pub(crate) fn print(&self) {
        output::error_line(&format!("Error: {}", self.message));
        if let Some(hint) = &self.hint {
            output::error_line(&format!("hint: {hint}"));
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let failure = Self::of(&error);
        match error {
            StoreError::Io { ref source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                failure.with_hint("run as root, or name a store of your own with --root")
            }
            StoreError::Layer { ref source, .. } if limit_flags::stopped(source) => {
                failure.with_hint(limit_flags::HINT)
            }
            StoreError::Layer { .. } if !rustix::process::geteuid().is_root() => {
                failure.with_hint("unpacking the layers of an image needs root or a user namespace")
            }
            StoreError::Mismatch(_) => failure.with_hint(
                "the image was damaged on its way or on the disk: keel-image fsck --repair removes \
                     what is damaged in the store, and then it can be fetched or loaded again",
            ),
            _ => failure,
        }
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Store(error) => error.into(),
            ArchiveError::Tar(ref of_tar) if limit_flags::stopped_archive(of_tar) => {
                Self::of(&error).with_hint(limit_flags::HINT)
            }
            ArchiveError::Import(ref of_layer) if limit_flags::stopped(of_layer) => {
                Self::of(&error).with_hint(limit_flags::HINT)
            }
            error => Self::of(&error),
        }
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        Self::of(&error)
    }
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Self {
        let failure = Self::of(&error);
        if rustix::process::geteuid().is_root() {
            return failure;
        }
        failure.with_hint("mounting the layers of an image needs root or a user namespace")
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let failure = Self::of(&error);
        if let Some(hint) = error.hint() {
            return failure.with_hint(&hint);
        }
        match error {
            RegistryError::Store { source, .. } => {
                Self { hint: Self::from(*source).hint, ..failure }
            }
            _ => failure,
        }
    }
}

impl From<ObtainError> for Failure {
    fn from(error: ObtainError) -> Self {
        match error {
            ObtainError::Store(error) => error.into(),
            ObtainError::Registry(error) => error.into(),
            error => Self::of(&error),
        }
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        Self::of(&error)
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Archive(error) => error.into(),
            CopyError::Store(error) => error.into(),
            CopyError::Mismatch(error) => StoreError::Mismatch(error).into(),
            CopyError::Registry(error) => (*error).into(),
            error => Self::of(&error),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        Self::of(&error)
    }
}

impl From<FlattenError> for Failure {
    fn from(error: FlattenError) -> Self {
        Self::of(&error)
    }
}
