//! The shim's own log: lines on standard error, which containerd reads through the FIFO in the bundle.
//!
//! Nothing waits for a reader: what does not fit is dropped.

/// Something went wrong that no caller is told of.
pub fn warn(text: &str) {
    write("warning", text);
}

fn write(level: &str, text: &str) {
    // The form that containerd's own lines have.
    let line = format!("level={level} msg={text:?} runtime=io.containerd.keel.v2\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}
