//! The databases of package managers. What is found has a name and a version on one line, and a database that
//! lists just that gives it again.
#![no_main]

use keel_image::build::attest::packages::{Package, apk, dpkg, python};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let again = |package: &Package, keys: [&str; 2]| {
        format!("{}{}\n{}{}\n", keys[0], package.name, keys[1], package.version)
    };
    for package in dpkg(bytes) {
        let text = again(&package, ["Package: ", "Version: "]);
        assert_eq!(names(&dpkg(text.as_bytes())), names(&[package]));
    }
    for package in apk(bytes) {
        let text = again(&package, ["P:", "V:"]);
        assert_eq!(names(&apk(text.as_bytes())), names(&[package]));
    }
    if let Some(package) = python(bytes) {
        let text = again(&package, ["Name: ", "Version: "]);
        assert_eq!(names(python(text.as_bytes()).as_slice()), names(&[package]));
    }
});

fn names(packages: &[Package]) -> Vec<(&str, &str)> {
    packages.iter().map(|package| (package.name.as_str(), package.version.as_str())).collect()
}
