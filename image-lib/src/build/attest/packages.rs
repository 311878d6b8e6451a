//! What package managers write down about what they installed: dpkg's `status`, apk's `installed` and Python's
//! `METADATA`. All three are fields in paragraphs. Whoever built the image may have written anything there:
//! what is no package is left out, and nothing grows without a bound.

use std::collections::BTreeMap;

/// More packages than any distribution has.
const PACKAGES_MAX: usize = 200_000;
/// A longer name or version is none.
const NAME_BYTES_MAX: usize = 256;
/// A longer word of any other kind is left out.
const WORD_BYTES_MAX: usize = 1024;

/// Who installed a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    /// Alpine's apk.
    Apk,
    /// Debian's dpkg.
    Dpkg,
    /// Whatever writes Python's `dist-info`.
    Python,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Who installed it.
    pub manager: Manager,
    /// What it is called.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it runs on, where that is told.
    pub architecture: Option<String>,
    /// Who packed it.
    pub maintainer: Option<String>,
    /// Its license in its maker's words.
    pub license: Option<String>,
    /// Its home in the web.
    pub homepage: Option<String>,
}

/// The packages of dpkg's `status`, or of a file of `status.d`, that are installed.
#[must_use]
pub fn dpkg(bytes: &[u8]) -> Vec<Package> {
    let names = ["Package", "Version", "Architecture", "Maintainer", "License", "Homepage"];
    let is_installed = |fields: &Fields| {
        let state = fields.get("Status").map(String::as_str);
        state.is_none_or(|state| state.split_ascii_whitespace().next_back() == Some("installed"))
    };
    let paragraphs = paragraphs(bytes, ": ").filter(is_installed);
    paragraphs.filter_map(|f| package(Manager::Dpkg, f, names)).take(PACKAGES_MAX).collect()
}

/// The packages of apk's `installed`.
#[must_use]
pub fn apk(bytes: &[u8]) -> Vec<Package> {
    let names = ["P", "V", "A", "m", "L", "U"];
    let paragraphs = paragraphs(bytes, ":");
    paragraphs.filter_map(|f| package(Manager::Apk, f, names)).take(PACKAGES_MAX).collect()
}

/// The distribution that a `METADATA` is about.
#[must_use]
pub fn python(bytes: &[u8]) -> Option<Package> {
    let names = ["Name", "Version", "", "Author", "License", "Home-page"];
    package(Manager::Python, paragraphs(bytes, ": ").next()?, names)
}

type Fields = BTreeMap<String, String>;

/// The paragraphs of a text: lines with a key and a value. Of a value the first line counts, and of a field that
/// stands twice the first.
fn paragraphs<'t>(bytes: &'t [u8], separator: &'static str) -> impl Iterator<Item = Fields> + 't {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    std::iter::from_fn(move || {
        let mut fields = Fields::new();
        for line in lines.by_ref() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                if fields.is_empty() {
                    continue;
                }
                return Some(fields);
            }
            let Ok(line) = std::str::from_utf8(line) else { continue };
            if line.starts_with([' ', '\t']) {
                continue;
            }
            if let Some((key, value)) = line.split_once(separator)
                && value.len() <= WORD_BYTES_MAX
                && fields.len() < 64
            {
                fields.entry(key.to_owned()).or_insert_with(|| value.trim().to_owned());
            }
        }
        (!fields.is_empty()).then_some(fields)
    })
}

/// The package whose fields have these names: name, version, architecture, maintainer, license, home.
fn package(manager: Manager, mut fields: Fields, names: [&str; 6]) -> Option<Package> {
    let mut word = |name: &str| {
        let value = fields.remove(name)?;
        let is_text = !value.is_empty() && !value.contains(char::is_control);
        is_text.then_some(value)
    };
    let [name, version, architecture, maintainer, license, homepage] = names.map(&mut word);
    let is_name =
        |text: &String| text.len() <= NAME_BYTES_MAX && !text.contains(char::is_whitespace);
    Some(Package {
        manager,
        name: name.filter(is_name)?,
        version: version.filter(is_name)?,
        architecture: architecture.filter(is_name),
        maintainer,
        license: license.filter(|license| license != "UNKNOWN"),
        homepage: homepage.filter(|url| url.starts_with("http") && is_name(url)),
    })
}

#[cfg(test)]
mod tests {
    use super::{Manager, apk, dpkg, python};

    #[test]
    fn reads_dpkg() {
        let text = b"Package: bash\nStatus: install ok installed\nVersion: 5.2-1+b1\nArchitecture: amd64\n\
            Maintainer: A B <a@b>\nDescription: shell\n Package: not\n .\n\nPackage: gone\n\
            Status: deinstall ok config-files\nVersion: 1\n\nPackage: half\n\nPackage: no\xff\nVersion: 1\n\n\
            Package: last\nVersion: 1:2~3";
        let found = dpkg(text);
        let names: Vec<_> = found.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
        assert_eq!(names, [("bash", "5.2-1+b1"), ("last", "1:2~3")]);
        assert_eq!(found[0].architecture.as_deref(), Some("amd64"));
        assert_eq!(found[0].maintainer.as_deref(), Some("A B <a@b>"));
    }

    #[test]
    fn reads_apk_and_python() {
        let text = b"C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\nU:https://musl.libc.org/\nF:lib\nR:x\n\n";
        let found = apk(text);
        assert_eq!((found.len(), found[0].manager), (1, Manager::Apk));
        assert_eq!(found[0].license.as_deref(), Some("MIT"));
        let text = b"Metadata-Version: 2.1\r\nName: six\r\nVersion: 1.16\r\nLicense: UNKNOWN\r\n\r\nName: body\n";
        let six = python(text).unwrap();
        assert_eq!((six.name.as_str(), six.version.as_str(), six.license), ("six", "1.16", None));
        assert_eq!(python(b"Name: a b\nVersion: 1\n"), None);
        assert_eq!(python(b""), None);
    }
}
