//! The init protocol: whatever comes through the socket is a message that can be sent again, or none.
#![no_main]

use keel::init::protocol::Message;
use keel::sys::open::write_all;
use keel::sys::socket::seqpacket_pair;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if bytes.is_empty() || bytes.len() > 64 {
        return;
    }
    let (ours, theirs) = seqpacket_pair().expect("a pair of sockets");
    write_all(&ours, bytes).expect("a message is sent");
    let Some(message) = Message::receive(&theirs).expect("a message is read") else { return };
    message.send(&ours).expect("it is sent again");
    assert_eq!(Message::receive(&theirs).expect("and read"), Some(message));
});
