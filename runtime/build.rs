//! How the program is linked, where that can be. It starts at `keel_entry`: see `src/sys/early.rs`. And its relocations
//! are packed, which at every start is 80 KiB less to read: the C library applies them since 2.36.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
    let is_known = is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_ENV", "gnu");
    if is_known && !is("OPT_LEVEL", "0") {
        println!("cargo::rustc-link-arg-bin=keel=-Wl,--entry=keel_entry");
    }
    if is_known && std::env::var("HOST") == std::env::var("TARGET") && c_library() >= (2, 36) {
        println!("cargo::rustc-link-arg-bin=keel=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of the C library that is linked in; 0.0 where it does not say.
fn c_library() -> (u32, u32) {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let text = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
    let text = text.unwrap_or_default();
    let version = text.trim().strip_prefix("glibc ").and_then(|it| it.split_once('.'));
    let parse = |(major, minor): (&str, &str)| Some((major.parse().ok()?, minor.parse().ok()?));
    version.and_then(parse).unwrap_or_default()
}
