//! Whose container it is, as `list` prints it.

use std::path::Path;

/// The file with the names of users.
const PASSWD: &str = "/etc/passwd";

/// The name of a user, or `#UID` where the host has none for the number.
///
/// The file is read rather than the C library asked, which may go to the network for it.
#[must_use]
pub fn owner(uid: u32) -> String {
    // Names are for people to read: a file that is missing or odd is no reason not to list.
    let passwd = std::fs::read(Path::new(PASSWD)).unwrap_or_default();
    name_in(&String::from_utf8_lossy(&passwd), uid).unwrap_or_else(|| format!("#{uid}"))
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = !name.is_empty() && number.parse() == Ok(uid);
        is_it.then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_name_of_a_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\n# note\nbad:line\ntoor:x:0:0::/:\n\
                      +::::::\nann:x:1000:100::/home/ann:/bin/sh\nlast:x:7";
        for (uid, name) in
            [(0, Some("root")), (1000, Some("ann")), (7, Some("last")), (100, None), (1, None)]
        {
            assert_eq!(name_in(passwd, uid).as_deref(), name, "{uid}");
        }
    }

    #[test]
    fn falls_back_to_the_number() {
        assert_eq!(owner(4_294_967_294), "#4294967294");
    }
}
