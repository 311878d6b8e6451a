//! Greeter.
fn main() { println!("hi"); }
