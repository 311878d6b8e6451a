//! The program starts at `keel_entry` where that can be: see `src/sys/early.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
    let is_known = is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_ENV", "gnu");
    if is_known && !is("OPT_LEVEL", "0") {
        println!("cargo::rustc-link-arg-bin=keel=-Wl,--entry=keel_entry");
    }
}
