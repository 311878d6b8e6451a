//! The user of a container, looked up in the image's own files (image-spec config.md, `User`). The
//! files are read inside the rootfs: a link in it does not lead to the host's.

use std::path::Path;

use super::BundleError;
use crate::fsroot::Root;

/// The most bytes of a passwd or group file.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// All further groups, with the group itself first.
    pub additional_gids: Vec<u32>,
    /// The home directory; `/` for a user that the image does not know.
    pub home: String,
}

struct Account<'t> {
    name: &'t str,
    uid: u32,
    gid: u32,
    home: &'t str,
}

fn accounts(text: &str) -> impl Iterator<Item = Account<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or_default();
        Some(Account { name, uid, gid, home })
    })
}

struct Group<'t> {
    name: &'t str,
    gid: u32,
    members: &'t str,
}

fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group { name, gid, members: fields.next().unwrap_or_default() })
    })
}

fn read(root: &Root, path: &str) -> Result<String, BundleError> {
    let bytes = root.read_file(Path::new(path), FILE_BYTES_MAX).map_err(BundleError::Lookup)?;
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

/// Looks `user` up: empty, `user`, `uid`, `user:group`, `uid:gid`, `uid:group` or `user:gid`. An
/// unknown number is taken as it is, with group 0; an unknown name is an error. A group that is
/// given is the only one.
///
/// # Errors
/// A name that the image does not know, or files that cannot be read.
pub fn lookup(root: &Root, user: &str) -> Result<Ids, BundleError> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let passwd = read(root, "etc/passwd")?;
    let number = user.parse::<u32>().ok();
    // A name wins over the number that it looks like.
    let account = accounts(&passwd)
        .find(|account| account.name == user)
        .or_else(|| accounts(&passwd).find(|account| Some(account.uid) == number));
    let (uid, own_gid) = match (&account, number) {
        (Some(account), _) => (account.uid, account.gid),
        (None, Some(number)) => (number, 0),
        (None, None) => return Err(BundleError::User { name: user.to_owned() }),
    };
    let home = account.as_ref().map(|account| account.home).filter(|home| !home.is_empty());
    let home = home.unwrap_or("/").to_owned();
    let file = read(root, "etc/group")?;
    let Some(group) = group else {
        let mut gids = vec![own_gid];
        let name = account.map(|account| account.name);
        let is_member = |g: &Group<'_>| name.is_some_and(|n| g.members.split(',').any(|m| m == n));
        for group in groups(&file).filter(is_member) {
            if !gids.contains(&group.gid) {
                gids.push(group.gid);
            }
        }
        return Ok(Ids { uid, gid: own_gid, additional_gids: gids, home });
    };
    let named = groups(&file).find(|known| known.name == group).map(|known| known.gid);
    let gid = named
        .or_else(|| group.parse().ok())
        .ok_or_else(|| BundleError::Group { name: group.to_owned() })?;
    Ok(Ids { uid, gid, additional_gids: vec![gid], home })
}
