//! An image's passwd and group files, and who is asked for: `user NUL passwd NUL group`. What is
//! found is in the files or is the number that was asked for.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use keel_image::bundle::user::lookup;
use keel_image::fsroot::Root;
use libfuzzer_sys::fuzz_target;

/// A root file system of this process's own.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("keel-fuzz-users-{}", std::process::id()));
    fs::create_dir_all(folder.join("etc")).expect("a folder");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let user = String::from_utf8_lossy(next());
    let (passwd, group) = (next(), next());
    fs::write(FOLDER.join("etc/passwd"), passwd).expect("a file");
    fs::write(FOLDER.join("etc/group"), group).expect("a file");
    let root = Root::open(&FOLDER).expect("a folder");
    let Ok(ids) = lookup(&root, &user) else { return };
    assert_eq!(ids.additional_gids.first(), Some(&ids.gid));
    let asked = user.split(':').next().unwrap_or_default();
    let asked = if asked.is_empty() { "0" } else { asked };
    let passwd = String::from_utf8_lossy(passwd);
    let is_listed = passwd.lines().any(|line| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok()));
        uid == Some(ids.uid) && (name == Some(asked) || asked.parse() == Ok(ids.uid))
    });
    assert!(is_listed || asked.parse() == Ok(ids.uid), "{asked:?} became {ids:?}");
});
