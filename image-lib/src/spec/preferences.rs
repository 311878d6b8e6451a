//! Which images run on a platform, and which of an index's entries is the best one. The order is the
//! one that containerd and Docker share. Pure: documents are read by whoever calls.

use super::{Descriptor, Platform, media_type};

/// Says that an entry of an index is about another entry: Docker's attestations.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The platforms whose images run on one platform, the best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preferences {
    vector: Vec<Platform>,
}

/// An entry of an index that may hold an image for a platform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate<'a> {
    /// The entry: a manifest or a further index.
    pub descriptor: &'a Descriptor,
    /// How well it fits, 0 best; nothing if the entry does not say its platform. The configuration of
    /// its image, or the further index, does.
    pub rank: Option<u32>,
}

impl Preferences {
    /// What runs on `platform`: its own variant, the older ones down to the first, and the smaller
    /// architecture of the same processor.
    #[must_use]
    pub fn of(platform: &Platform) -> Self {
        let host = platform.clone().normalized();
        let with = |architecture: &str, variant: &str| {
            let variant = (!variant.is_empty()).then(|| variant.to_owned());
            let architecture = architecture.to_owned();
            Platform { architecture, variant, ..host.clone() }.normalized()
        };
        let variant = host.variant.as_deref().unwrap_or_default();
        let mut vector = vec![host.clone()];
        match host.architecture.as_str() {
            "amd64" => {
                let older = (1..number(variant).unwrap_or(1)).rev();
                vector.extend(older.map(|level| with("amd64", &format!("v{level}"))));
                vector.push(with("386", ""));
            }
            "arm" => {
                let older = (5..number(variant).unwrap_or(7)).rev();
                vector.extend(older.map(|level| with("arm", &format!("v{level}"))));
            }
            "arm64" => {
                vector.extend(older_arm64(variant).iter().map(|v| with("arm64", v)));
                vector.extend((5..=8).rev().map(|level| with("arm", &format!("v{level}"))));
            }
            _ => {}
        }
        Self { vector }
    }

    /// What runs on this machine.
    #[must_use]
    pub fn host() -> Self {
        Self::of(&Platform::detected())
    }

    /// `platform` and nothing else.
    #[must_use]
    pub fn only(platform: &Platform) -> Self {
        Self { vector: vec![platform.clone().normalized()] }
    }

    /// The platform itself.
    #[must_use]
    pub fn wanted(&self) -> &Platform {
        // There is always one.
        &self.vector[0]
    }

    /// How well an image for `image` runs: 0 is best; nothing means that it does not run.
    #[must_use]
    pub fn rank(&self, image: &Platform) -> Option<u32> {
        let image = image.clone().normalized();
        let same = |host: &&Platform| {
            (&host.os, &host.architecture, &host.variant)
                == (&image.os, &image.architecture, &image.variant)
        };
        let position = self.vector.iter().position(|host| same(&host))?;
        let host = self.wanted();
        // What an image asks of the operating system must be there; of two, the one that makes use
        // of more is the better one.
        if !image.os_features.iter().all(|feature| host.os_features.contains(feature)) {
            return None;
        }
        if host.os == "windows" && !same_build(host, &image) {
            return None;
        }
        let unused = host.os_features.len().saturating_sub(image.os_features.len()).min(255);
        u32::try_from(position * 256 + unused).ok()
    }

    /// The entries of an index that may hold an image, the best first; among equals, and at the end
    /// among those that do not say their platform, in the order of the index. Attestations and
    /// entries of other kinds are left out.
    #[must_use]
    pub fn candidates<'a>(&self, entries: &'a [Descriptor]) -> Vec<Candidate<'a>> {
        let candidate = |descriptor: &'a Descriptor| {
            if !is_image(descriptor) {
                return None;
            }
            let Some(platform) = stated_platform(descriptor) else {
                return Some(Candidate { descriptor, rank: None });
            };
            Some(Candidate { descriptor, rank: Some(self.rank(platform)?) })
        };
        let mut candidates: Vec<Candidate<'a>> = entries.iter().filter_map(candidate).collect();
        candidates.sort_by_key(|candidate| candidate.rank.unwrap_or(u32::MAX));
        candidates
    }
}

/// Does an entry of an index lead to an image, and not to what is said about one?
#[must_use]
pub fn is_image(entry: &Descriptor) -> bool {
    let kind = entry.media_type.as_str();
    (media_type::is_manifest(kind) || media_type::is_index(kind))
        && !entry.annotations.contains_key(REFERENCE_TYPE)
        && !entry.platform.as_ref().is_some_and(Platform::is_unknown)
}

/// The platform that an entry says, if it says one: some tools write an empty one.
fn stated_platform(entry: &Descriptor) -> Option<&Platform> {
    entry.platform.as_ref().filter(|p| !p.os.is_empty() && !p.architecture.is_empty())
}

/// `v3` is 3.
fn number(variant: &str) -> Option<u32> {
    variant.strip_prefix('v')?.parse().ok().filter(|number| *number < 100)
}

/// The variants of 64-bit ARM whose images run on `variant`. 9.0 has all of 8.5, and so on.
fn older_arm64(variant: &str) -> Vec<String> {
    let variant = if variant.is_empty() { "v8" } else { variant };
    let (major, minor) = variant.split_once('.').unwrap_or((variant, "0"));
    let minor = minor.parse::<u32>().ok().filter(|minor| *minor < 10);
    let below = |major: u32, last: u32| {
        (0..=last).rev().map(move |minor| format!("v{major}.{minor}")).collect::<Vec<_>>()
    };
    match (number(major), minor) {
        (Some(9), Some(minor)) => {
            let mut older = if minor == 0 { Vec::new() } else { below(9, minor - 1) };
            older.extend(below(8, minor + 5));
            older
        }
        (Some(8), Some(minor)) if minor > 0 => below(8, minor - 1),
        _ => Vec::new(),
    }
}

/// Windows runs containers of its own build only; an image without a version runs everywhere.
fn same_build(host: &Platform, image: &Platform) -> bool {
    let build =
        |version: &str| version.split('.').take(3).map(str::to_owned).collect::<Vec<String>>();
    match (&host.os_version, &image.os_version) {
        (Some(host), Some(image)) => build(host) == build(image),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::identity::Digest;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    fn vector(text: &str) -> String {
        let preferences = Preferences::of(&platform(text));
        let texts: Vec<String> = preferences.vector.iter().map(ToString::to_string).collect();
        texts.join(" ").replace("linux/", "")
    }

    #[test]
    fn orders_what_runs() {
        for (host, expected) in [
            ("linux/amd64", "amd64 386"),
            ("linux/amd64/v2", "amd64/v2 amd64 386"),
            ("linux/amd64/v4", "amd64/v4 amd64/v3 amd64/v2 amd64 386"),
            ("linux/386", "386"),
            ("linux/arm", "arm/v7 arm/v6 arm/v5"),
            ("linux/arm/v8", "arm/v8 arm/v7 arm/v6 arm/v5"),
            ("linux/arm/v5", "arm/v5"),
            ("linux/arm64", "arm64 arm/v8 arm/v7 arm/v6 arm/v5"),
            ("linux/arm64/v8.2", "arm64/v8.2 arm64/v8.1 arm64 arm/v8 arm/v7 arm/v6 arm/v5"),
            (
                "linux/arm64/v9",
                "arm64/v9 arm64/v8.5 arm64/v8.4 arm64/v8.3 arm64/v8.2 arm64/v8.1 arm64 \
                 arm/v8 arm/v7 arm/v6 arm/v5",
            ),
            (
                "linux/arm64/v9.1",
                "arm64/v9.1 arm64/v9 arm64/v8.6 arm64/v8.5 arm64/v8.4 arm64/v8.3 arm64/v8.2 \
                 arm64/v8.1 arm64 arm/v8 arm/v7 arm/v6 arm/v5",
            ),
            ("linux/arm64/odd", "arm64/odd arm/v8 arm/v7 arm/v6 arm/v5"),
            ("linux/s390x", "s390x"),
            ("linux/riscv64", "riscv64"),
        ] {
            assert_eq!(vector(host), expected, "{host}");
        }
    }

    #[test]
    fn ranks_variants_features_and_builds() {
        for (host, better, worse) in [
            ("linux/amd64/v3", "linux/amd64/v3", Some("linux/amd64/v2")),
            ("linux/amd64/v3", "linux/amd64/v2", Some("linux/amd64")),
            ("linux/amd64/v3", "linux/amd64", Some("linux/386")),
            ("linux(+a+b)/amd64", "linux(+a+b)/amd64", Some("linux(+a)/amd64")),
            ("linux(+a+b)/amd64", "linux(+b)/amd64", Some("linux/amd64")),
            ("linux(+a)/amd64", "linux/amd64", Some("linux(+a)/386")),
            ("windows(10.0.17763.1)/amd64", "windows(10.0.17763.99)/amd64", None),
            ("windows(10.0.17763.1)/amd64", "windows/amd64", None),
        ] {
            let rank = |text: &str| Preferences::of(&platform(host)).rank(&platform(text));
            let best = rank(better);
            assert!(best.is_some(), "{host} {better}");
            assert!(worse.is_none_or(|worse| rank(worse) > best), "{host} {better} {worse:?}");
        }
        for (host, image) in [
            ("linux/amd64/v3", "linux/amd64/v4"),
            ("linux/amd64", "linux/arm64"),
            ("linux/amd64", "windows/amd64"),
            ("linux/386", "linux/amd64"),
            ("linux/arm/v6", "linux/arm/v7"),
            ("linux/arm/v7", "linux/arm64"),
            ("linux/amd64", "linux(+erofs)/amd64"),
            ("windows(10.0.17763.1)/amd64", "windows(10.0.20348.1)/amd64"),
        ] {
            assert_eq!(Preferences::of(&platform(host)).rank(&platform(image)), None, "{host}");
        }
        let only = Preferences::only(&platform("linux/amd64/v3"));
        assert_eq!(only.rank(&platform("linux/amd64/v3")), Some(0));
        assert_eq!(only.rank(&platform("linux/amd64")), None);
    }

    #[test]
    fn puts_the_best_entry_first() {
        let entry = |kind: &str, of: Option<&str>, mark: u8| {
            let mut entry = Descriptor::new(kind, Digest::of(&[mark]), 1);
            entry.platform = of.map(platform);
            entry
        };
        let mut attestation = entry(media_type::OCI_MANIFEST, Some("unknown/unknown"), 1);
        let mut about_another = entry(media_type::OCI_MANIFEST, Some("linux/amd64"), 2);
        about_another.annotations.insert(REFERENCE_TYPE.to_owned(), "x".to_owned());
        let mut empty = entry(media_type::OCI_MANIFEST, None, 3);
        empty.platform = Some(Platform::default());
        let entries = [
            attestation.clone(),
            about_another,
            entry("application/json", Some("linux/amd64"), 4),
            empty,
            entry(media_type::OCI_INDEX, None, 5),
            entry(media_type::OCI_MANIFEST, Some("linux/386"), 6),
            entry(media_type::DOCKER_MANIFEST, Some("linux/amd64"), 7),
            entry(media_type::OCI_MANIFEST, Some("linux/amd64/v3"), 8),
            entry(media_type::OCI_MANIFEST, Some("linux/amd64"), 9),
        ];
        let order = |host: &str| -> Vec<usize> {
            let preferences = Preferences::of(&platform(host));
            let candidates = preferences.candidates(&entries);
            let at = |c: &Candidate<'_>| {
                entries.iter().position(|e| e.digest == c.descriptor.digest).unwrap()
            };
            candidates.iter().map(at).collect()
        };
        assert_eq!(order("linux/amd64/v3"), [7, 6, 8, 5, 3, 4]);
        assert_eq!(order("linux/amd64"), [6, 8, 5, 3, 4]);
        assert_eq!(order("linux/arm64"), [3, 4]);
        attestation.platform = None;
        assert!(is_image(&attestation), "only the platform and the annotation tell");
    }
}
