//! What comes in over D-Bus: a message, an address list, and the texts of annotations that become
//! properties.
#![no_main]

use keel::cgroup::systemd::from_annotations;
use keel::dbus::message::{Message, length};
use keel::dbus::{address, read, signature, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(prefix) = bytes.first_chunk()
        && let Ok(whole) = length(prefix)
    {
        assert!(whole >= prefix.len(), "{whole}");
    }
    if let Ok(message) = Message::parse(bytes)
        && let Ok(values) = message.values()
    {
        for value in values {
            let kind = value.signature();
            assert!(signature::is_single(&kind), "{kind}");
            let mut written = Vec::new();
            write(&mut written, &value);
            // Not compared as values: a number that is none does not equal itself.
            let mut again = Vec::new();
            for value in read(&written, &kind, false).expect("what was written can be read") {
                write(&mut again, &value);
            }
            assert_eq!(written, again);
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = address::parse(text);
    let key = "org.systemd.property.ExecReload".to_owned();
    if let Ok(properties) = from_annotations(&[(key, text.to_owned())]) {
        for (_, value) in properties {
            let kind = value.signature();
            assert!(kind.len() > signature::BYTES_MAX || signature::is_single(&kind), "{kind}");
        }
    }
});
