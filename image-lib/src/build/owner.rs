//! `--chown`: names to numbers by the passwd and group files of the image that is copied into.

use std::path::Path;

use super::error::StepError;
use crate::fsroot::Root;

/// The files are small in any sane image; a larger one is not read to its end.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Resolves `user[:group]` in the rootfs `root`. A number alone is also the group's; a name alone
/// brings the user's own group.
///
/// # Errors
/// A name that the image does not know.
pub fn resolve(root: &Root, text: &str) -> Result<(u32, u32), StepError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let (uid, own_gid) = match user.parse::<u32>() {
        Ok(uid) => (uid, uid),
        Err(_) if user.is_empty() => (0, 0),
        Err(_) => user_ids(root, user)?,
    };
    let gid = match group {
        None => own_gid,
        Some(group) => match group.parse() {
            Ok(gid) => gid,
            Err(_) => group_id(root, group)?,
        },
    };
    Ok((uid, gid))
}

fn user_ids(root: &Root, name: &str) -> Result<(u32, u32), StepError> {
    let unknown =
        || StepError::Unknown { kind: "user", name: name.to_owned(), file: "/etc/passwd" };
    let text = read(root, "etc/passwd")?;
    let line =
        text.lines().find(|line| line.split(':').next() == Some(name)).ok_or_else(unknown)?;
    let mut fields = line.split(':').skip(2).map(str::parse);
    match (fields.next(), fields.next()) {
        (Some(Ok(uid)), Some(Ok(gid))) => Ok((uid, gid)),
        _ => Err(unknown()),
    }
}

fn group_id(root: &Root, name: &str) -> Result<u32, StepError> {
    let unknown =
        || StepError::Unknown { kind: "group", name: name.to_owned(), file: "/etc/group" };
    let text = read(root, "etc/group")?;
    let line =
        text.lines().find(|line| line.split(':').next() == Some(name)).ok_or_else(unknown)?;
    line.split(':').nth(2).and_then(|gid| gid.parse().ok()).ok_or_else(unknown)
}

fn read(root: &Root, path: &str) -> Result<String, StepError> {
    let bytes = root.read_file(Path::new(path), FILE_BYTES_MAX)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
