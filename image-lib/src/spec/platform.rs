//! Platforms: an operating system on a processor, in one spelling. Which images a platform runs
//! is the matter of [`super::Preferences`].

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
    /// The platform that this program was built for: what images that are made here are for. What
    /// this machine's processor can do beyond is said by [`Platform::detected`].
    #[must_use]
    pub fn host() -> Self {
        Self {
            architecture: std::env::consts::ARCH.to_owned(),
            os: std::env::consts::OS.to_owned(),
            ..Self::default()
        }
        .normalized()
    }

    /// The platform of this machine with the level of its processor: `linux/amd64/v3`, for choosing
    /// among images.
    #[must_use]
    pub fn detected() -> Self {
        let host = Self::host();
        Self { variant: detected_variant().or(host.variant), ..host }.normalized()
    }

    /// Is this the platform under which attestations are listed in indexes?
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
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
            ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
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
}

/// The processor's level beyond the first one of its architecture.
#[cfg(target_arch = "x86_64")]
fn detected_variant() -> Option<String> {
    use std::arch::is_x86_feature_detected as has;
    // The levels of the System V ABI for x86-64; what every processor of a level has beside these
    // is left out.
    let v2 = has!("cmpxchg16b") && has!("popcnt") && has!("sse4.2") && has!("ssse3");
    let v3 = v2 && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("f16c") && has!("fma");
    let v3 = v3 && has!("lzcnt") && has!("movbe");
    let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd");
    let v4 = v4 && has!("avx512dq") && has!("avx512vl");
    let level = [(v4, "v4"), (v3, "v3"), (v2, "v2")].into_iter().find(|(has_all, _)| *has_all);
    level.map(|(_, name)| name.to_owned())
}

/// Only the architecture is known.
#[cfg(not(target_arch = "x86_64"))]
fn detected_variant() -> Option<String> {
    None
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if self.os_version.is_some() || !self.os_features.is_empty() {
            write!(f, "({}", self.os_version.as_deref().unwrap_or_default())?;
            self.os_features.iter().try_for_each(|feature| write!(f, "+{feature}"))?;
            f.write_str(")")?;
        }
        write!(f, "/{}", self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Reads `os[(version[+feature]…)][/architecture[/variant]]`, or an architecture alone.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let refused = || PlatformError { text: text.to_owned() };
        let (text, version, features) = split_system(text).ok_or_else(refused)?;
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| is_word(part)) {
            return Err(refused());
        }
        let host = Self::host();
        let (os, architecture, variant) = match parts[..] {
            // One word is an operating system if it is a known one, otherwise a processor.
            [one] if is_system(one) => (one, host.architecture.as_str(), None),
            [one] => (host.os.as_str(), one, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => return Err(refused()),
        };
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            os_version: version,
            os_features: features,
            variant,
        }
        .normalized())
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// The operating systems that Go knows.
fn is_system(word: &str) -> bool {
    const KNOWN: [&str; 18] = [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "hurd",
        "illumos",
        "ios",
        "js",
        "linux",
        "macos",
        "nacl",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "windows",
        "zos",
    ];
    KNOWN.contains(&word.to_ascii_lowercase().as_str())
}

/// Takes `(version+feature+…)` out of the first part.
fn split_system(text: &str) -> Option<(String, Option<String>, Vec<String>)> {
    let Some((os, rest)) = text.split_once('(') else {
        return Some((text.to_owned(), None, Vec::new()));
    };
    let (inside, after) = rest.split_once(')')?;
    if os.contains('/') || !(after.is_empty() || after.starts_with('/')) {
        return None;
    }
    let mut words = inside.split('+');
    let version = words.next().unwrap_or_default();
    let mut features: Vec<String> = words.map(str::to_owned).collect();
    let plain = (version.is_empty() || is_word(version)) && features.iter().all(|f| is_word(f));
    // Alone in the parentheses, a feature has its plus, and an operating system is meant.
    if !plain || inside.is_empty() || (after.is_empty() && !is_system(os)) {
        return None;
    }
    features.sort();
    features.dedup();
    Some((format!("{os}{after}"), (!version.is_empty()).then(|| version.to_owned()), features))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn normalizes_every_spelling() {
        for (text, expected) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/x86-64", "linux/amd64"),
            ("linux/AMD64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/v8.0", "linux/arm64"),
            ("linux/arm64/v8.2", "linux/arm64/v8.2"),
            ("linux/arm64/9.0", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/5", "linux/arm/v5"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/arm/8", "linux/arm/v8"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("MacOS/arm64", "darwin/arm64"),
            ("linux(+erofs)/amd64", "linux(+erofs)/amd64"),
            ("windows(10.0.17763+b+a)/amd64", "windows(10.0.17763+a+b)/amd64"),
            ("linux/riscv64", "linux/riscv64"),
            ("linux/s390x", "linux/s390x"),
        ] {
            let platform: Platform = text.parse().unwrap();
            assert_eq!(platform.to_string(), expected, "{text}");
            assert_eq!(expected.parse::<Platform>().unwrap(), platform, "{text}");
        }
    }

    #[test]
    fn completes_a_single_word_from_the_host() {
        let host = Platform::host();
        for (text, os, architecture) in [
            ("linux", "linux", host.architecture.as_str()),
            ("windows", "windows", host.architecture.as_str()),
            ("s390x", host.os.as_str(), "s390x"),
            ("x86_64", host.os.as_str(), "amd64"),
        ] {
            let platform: Platform = text.parse().unwrap();
            assert_eq!((platform.os.as_str(), platform.architecture.as_str()), (os, architecture));
        }
    }

    #[test]
    fn refuses_what_is_no_platform() {
        for text in [
            "",
            "/",
            "linux/",
            "/amd64",
            "linux//x",
            "linux/a/b/c",
            "linux/a b",
            "linux()/amd64",
            "linux(+)/amd64",
            "linux(a/amd64",
            "linux(a)b/amd64",
            "linux/amd64(a)",
            "x86_64(a)",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn detects_no_less_than_the_architecture() {
        let (host, detected) = (Platform::host(), Platform::detected());
        assert_eq!((host.os, host.architecture), (detected.os, detected.architecture));
        assert!(Platform::host().variant.is_none_or(|variant| variant == "v7"));
    }

    /// What the kernel lists of the processor leads to the same level.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn detects_what_the_kernel_lists() {
        let table = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags = table.lines().find_map(|line| line.strip_prefix("flags")).unwrap();
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let has = |names: &[&str]| names.iter().all(|name| flags.contains(name));
        let v2 = has(&["cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"]);
        let v3 = v2 && has(&["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"]);
        let v4 = v3 && has(&["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]);
        let expected = match (v2, v3, v4) {
            (_, _, true) => Some("v4"),
            (_, true, _) => Some("v3"),
            (true, ..) => Some("v2"),
            _ => None,
        };
        assert_eq!(Platform::detected().variant.as_deref(), expected);
    }
}
