//! Partial blobs: what is kept, what is not, and who waits for whom.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::identity::Digest;

fn blob(bytes: &[u8]) -> Descriptor {
    Descriptor::new("application/octet-stream", Digest::of(bytes), bytes.len() as u64)
}

fn store(name: &str) -> (PathBuf, Store) {
    let folder = std::env::temp_dir().join(format!("keel-partial-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    let store = Store::open(&folder).unwrap();
    (folder, store)
}

fn take<'s>(store: &'s Store, blob: &Descriptor, arriving: &Arriving) -> Partial<'s> {
    store.partial(blob, arriving, &|_| true).unwrap().unwrap()
}

#[test]
fn goes_on_where_it_ended() {
    let (folder, store) = store("goes-on");
    let bytes = b"hello world".repeat(100);
    let blob = blob(&bytes);
    let mut first = take(&store, &blob, &Arriving::default());
    first.append(&bytes[..300]).unwrap();
    first.set_entity_tag(Some("\"x\"".to_owned())).unwrap();
    drop(first);
    let arriving = Arriving::default();
    let mut second = take(&store, &blob, &arriving);
    assert_eq!((second.written(), second.entity_tag()), (300, Some("\"x\"")));
    assert!(store.partial(&blob, &Arriving::default(), &|_| true).unwrap().is_none(), "locked");
    let mut follower = arriving.follow().unwrap();
    let reading = std::thread::spawn(move || {
        let mut read = Vec::new();
        follower.read_to_end(&mut read).map(|_| read)
    });
    second.append(&bytes[300..]).unwrap();
    second.verify().unwrap();
    arriving.complete();
    assert_eq!(reading.join().unwrap().unwrap(), bytes);
    second.publish().unwrap();
    assert!(store.has_blob(&blob.digest, blob.size));
    assert_eq!(fs::read_dir(folder.join("partial")).unwrap().count(), 0);
    assert!(store.partial(&blob, &Arriving::default(), &|_| true).unwrap().is_none());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn trusts_only_what_was_written_out_before_a_reboot() {
    let (folder, store) = store("reboot");
    let bytes = vec![7; 1000];
    let blob = blob(&bytes);
    let mut partial = take(&store, &blob, &Arriving::default());
    partial.append(&bytes[..500]).unwrap();
    partial.note.boot = "another".to_owned();
    partial.note.durable = 200;
    partial.write_note().unwrap();
    drop(partial);
    assert_eq!(take(&store, &blob, &Arriving::default()).written(), 200);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_reader_is_told_of_wrong_bytes() {
    let (folder, store) = store("wrong");
    let blob = blob(b"right");
    let arriving = Arriving::default();
    let mut partial = take(&store, &blob, &arriving);
    partial.append(b"wrong").unwrap();
    let mismatch = partial.verify().unwrap_err();
    let mut follower = arriving.follow().unwrap();
    arriving.mismatch(mismatch.clone());
    let error = follower.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.get_ref().unwrap().downcast_ref(), Some(&mismatch));
    partial.discard().unwrap();
    assert_eq!(fs::read_dir(folder.join("partial")).unwrap().count(), 0);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn collection_leaves_fresh_ones() {
    let (folder, store) = store("collect");
    let fresh = blob(b"fresh");
    take(&store, &fresh, &Arriving::default()).append(b"fr").unwrap();
    let old = blob(b"old");
    let mut partial = take(&store, &old, &Arriving::default());
    partial.append(b"o").unwrap();
    let path = partial.path.clone();
    let long_ago = std::time::SystemTime::now() - 2 * KEPT;
    File::open(&path).unwrap().set_modified(long_ago).unwrap();
    store.collect().unwrap().unwrap();
    assert!(path.exists(), "somebody has it just now");
    drop(partial);
    store.collect().unwrap().unwrap();
    assert!(!path.exists() && !note_path(&path).exists());
    assert_eq!(take(&store, &fresh, &Arriving::default()).written(), 2);
    fs::remove_dir_all(folder).unwrap();
}
