//! Platforms: one spelling per processor, and which manifest of an index fits a host.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform {text:?}: it is not of the form os[/architecture[/variant]]")]
pub struct PlatformError {
    /// The refused text.
    pub text: String,
}

/// An operating system on a processor.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The processor, as Go names it.
    #[serde(default)]
    pub architecture: String,
    /// The operating system, as Go names it.
    #[serde(default)]
    pub os: String,
    /// The version of the operating system.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// What the operating system must be able to do.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The variant of the processor, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform that this program was built for.
    #[must_use]
    pub fn host() -> Self {
        Self {
            architecture: std::env::consts::ARCH.to_owned(),
            os: std::env::consts::OS.to_owned(),
            ..Self::default()
        }
        .normalized()
    }

    /// The same platform in its one spelling.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        self.os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = self.variant.take().unwrap_or_default().to_ascii_lowercase();
        let architecture = self.architecture.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
            ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", ""),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0" | "") => ("arm64", ""),
            ("aarch64" | "arm64", v) => ("arm64", v),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            ("powerpc64le", v) => ("ppc64le", v),
            ("riscv64gc", v) => ("riscv64", v),
            (other, v) => (other, v),
        };
        self.variant = (!variant.is_empty()).then(|| variant.to_owned());
        self.architecture = architecture.to_owned();
        self
    }

    /// How well an image for `image` runs here: 0 is best; nothing means that it does not run.
    /// A newer variant runs the images of the older ones.
    #[must_use]
    pub fn preference(&self, image: &Self) -> Option<u32> {
        let host = self.clone().normalized();
        let image = image.clone().normalized();
        if host.os != image.os {
            return None;
        }
        match (host.architecture.as_str(), image.architecture.as_str()) {
            (a, b) if a == b => {
                let (have, want) = (host.variant_level(), image.variant_level());
                // An image that asks for more than the host has may still run: the host's own
                // variant is not detected. It comes after everything that surely runs.
                Some(if want <= have { have - want } else { 1000 + want - have })
            }
            ("amd64", "386") => Some(100),
            ("arm64", "arm") => Some(108_u32.saturating_sub(image.variant_level() / 10)),
            _ => None,
        }
    }

    /// The variant as a number in tenths: `v8.2` is 82; none is the architecture's first.
    fn variant_level(&self) -> u32 {
        let first = match self.architecture.as_str() {
            "amd64" => 10,
            "arm64" => 80,
            "arm" => 70,
            _ => 0,
        };
        let Some(text) = self.variant.as_deref().map(|v| v.trim_start_matches('v')) else {
            return first;
        };
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        match (major.parse::<u32>(), minor.parse::<u32>()) {
            (Ok(major), Ok(minor)) if major < 100 && minor < 10 => major * 10 + minor,
            _ => first,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let refused = || PlatformError { text: text.to_owned() };
        let parts: Vec<&str> = text.split('/').collect();
        let word = |p: &&str| {
            !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        if !parts.iter().all(word) {
            return Err(refused());
        }
        let host = Self::host();
        let (os, architecture, variant) = match parts[..] {
            // One word is an operating system if it is a known one, otherwise a processor.
            [one @ ("linux" | "windows" | "darwin" | "macos" | "freebsd")] => {
                (one, host.architecture.as_str(), None)
            }
            [one] => (host.os.as_str(), one, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => return Err(refused()),
        };
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant,
            ..Self::default()
        }
        .normalized())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn normalizes_every_spelling() {
        for (text, expected) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected, "{text}");
        }
        assert!("linux//x".parse::<Platform>().is_err());
    }

    #[test]
    fn prefers_the_nearest_variant() {
        let host: Platform = "linux/amd64/v3".parse().unwrap();
        let rank = |t: &str| host.preference(&t.parse().unwrap());
        assert_eq!(rank("linux/amd64/v3"), Some(0));
        assert!(rank("linux/amd64/v2") < rank("linux/amd64"));
        assert!(rank("linux/amd64") < rank("linux/386"));
        assert!(rank("linux/386") < rank("linux/amd64/v4"));
        assert_eq!(rank("linux/arm64"), None);
        assert_eq!(rank("windows/amd64"), None);
    }
}
