//! The command `keel-image`.
fn main() {}
