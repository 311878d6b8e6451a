//! The packages of an image as an SPDX 2.3 document. The same files and the same date are the same document.

use serde_json::{Value, json};

use super::Predicate;
use super::material::escaped;
use super::packages::{Manager, Package};
use super::scan::Found;
use crate::identity::Digest;
use crate::spec::Timestamp;

/// SPDX's word for what is not claimed.
const NOTHING: &str = "NOASSERTION";
const IMAGE: &str = "SPDXRef-Image";

/// What is said of an image with these packages, made at this time.
pub(super) fn predicate(found: &Found, created: Timestamp) -> Predicate {
    let mut packages = vec![json!({
        "SPDXID": IMAGE,
        "name": "image",
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "primaryPackagePurpose": "CONTAINER",
    })];
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    for package in &found.packages {
        let url = package_url(package, found.distribution.as_ref());
        let id = identifier(package, &url);
        relations.push(relation(IMAGE, "CONTAINS", &id));
        packages.push(entry(package, &url, &id));
    }
    let text = serde_json::to_vec(&packages).unwrap_or_default();
    let mut creation = json!({
        "created": Timestamp::from_seconds(created.seconds).to_string(),
        "creators": [format!("Tool: keel-image-{}", env!("CARGO_PKG_VERSION"))],
    });
    if found.has_rpm {
        creation["comment"] = "there is a database of rpm, which was not read".into();
    }
    let content = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "sbom",
        "documentNamespace": format!("urn:keel:sbom:{}:{}", Digest::of(&text).hex(), created.seconds),
        "creationInfo": creation,
        "packages": packages,
        "relationships": relations,
    });
    Predicate { file: "sbom.spdx.json", kind: "https://spdx.dev/Document", content }
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn entry(package: &Package, url: &str, id: &str) -> Value {
    let mut entry = json!({
        "SPDXID": id,
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        // It is in the packer's words, which are no expression of SPDX.
        "licenseDeclared": NOTHING,
        "copyrightText": NOTHING,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": url,
        }],
    });
    if let Some(license) = &package.license {
        entry["licenseComments"] = format!("declared as {license}").into();
    }
    if let Some(homepage) = &package.homepage {
        entry["homepage"] = homepage.as_str().into();
    }
    if let Some(maintainer) = &package.maintainer {
        entry["supplier"] = format!("Person: {}", address(maintainer)).into();
    }
    entry
}

/// `Name <address>` as SPDX has it: `Name (address)`.
fn address(maintainer: &str) -> String {
    match maintainer.split_once('<') {
        Some((name, address)) => {
            format!("{} ({})", name.trim(), address.trim_end().trim_end_matches('>'))
        }
        None => maintainer.to_owned(),
    }
}

/// Letters, digits, dots and dashes only, and no two the same.
fn identifier(package: &Package, url: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let plain = |c: char| if is_plain(c) { c } else { '-' };
    let name: String = package.name.chars().map(plain).collect();
    let manager = match package.manager {
        Manager::Apk => "apk",
        Manager::Dpkg => "deb",
        Manager::Python => "python",
    };
    format!("SPDXRef-Package-{manager}-{name}-{}", &Digest::of(url.as_bytes()).hex()[..16])
}

/// `pkg:deb/debian/NAME@VERSION?arch=ARCH&distro=debian-12`.
fn package_url(package: &Package, distribution: Option<&(String, Option<String>)>) -> String {
    let (name, version) = (escaped(&package.name), escaped(&package.version));
    let (kind, fallback) = match package.manager {
        Manager::Apk => ("apk", "alpine"),
        Manager::Dpkg => ("deb", "debian"),
        Manager::Python => {
            let name = name.to_ascii_lowercase().replace('_', "-");
            return format!("pkg:pypi/{name}@{version}");
        }
    };
    let id = distribution.map_or(fallback, |(id, _)| id);
    let architecture = package.architecture.as_ref().map(|word| format!("arch={}", escaped(word)));
    let release =
        distribution.and_then(|(id, version)| Some(format!("{id}-{}", version.as_ref()?)));
    let release = release.map(|release| format!("distro={}", escaped(&release)));
    let qualifiers: Vec<String> = architecture.into_iter().chain(release).collect();
    let mark = if qualifiers.is_empty() { "" } else { "?" };
    format!("pkg:{kind}/{id}/{name}@{version}{mark}{}", qualifiers.join("&"))
}

#[cfg(test)]
mod tests {
    use super::{address, package_url};
    use crate::build::attest::packages::dpkg;

    #[test]
    fn writes_package_urls() {
        let package =
            dpkg(b"Package: libstdc++6\nVersion: 1:12.2-1\nArchitecture: amd64\n").remove(0);
        let debian = ("debian".to_owned(), Some("12".to_owned()));
        let url = "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2-1?arch=amd64";
        assert_eq!(package_url(&package, Some(&debian)), format!("{url}&distro=debian-12"));
        assert_eq!(package_url(&package, None), url);
        assert_eq!(address("A B <a@b>"), "A B (a@b)");
    }
}
