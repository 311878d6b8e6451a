//! Where a bus listens (D-Bus Specification, "Server Addresses"): `unix:path=/run/bus;unix:…`.

use std::path::PathBuf;

/// A socket that a bus may listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket of the file system.
    Path(PathBuf),
    /// A name without a file (unix(7), "abstract").
    Abstract(Vec<u8>),
}

/// The sockets of an address list, those that are of another kind left out.
#[must_use]
pub fn parse(list: &str) -> Vec<Address> {
    list.split(';').filter_map(parse_one).collect()
}

fn parse_one(text: &str) -> Option<Address> {
    let values = text.strip_prefix("unix:")?;
    values.split(',').find_map(|pair| match pair.split_once('=')? {
        ("path", value) => {
            let bytes = unescape(value)?;
            let path = String::from_utf8(bytes).ok().filter(|path| path.starts_with('/'))?;
            Some(Address::Path(PathBuf::from(path)))
        }
        ("abstract", value) => Some(Address::Abstract(unescape(value)?)),
        _ => None,
    })
}

/// `%2f` stands for a byte by its number.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            0 => return None,
            other => other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists() {
        let path = |path: &str| Address::Path(PathBuf::from(path));
        assert_eq!(parse("unix:path=/run/user/1000/bus"), [path("/run/user/1000/bus")]);
        let both = parse("tcp:host=x;unix:guid=1,path=/a%20b;unix:abstract=/tmp/d%2c");
        assert_eq!(both, [path("/a b"), Address::Abstract(b"/tmp/d,".to_vec())]);
        for none in ["", "unix:", "unix:path=rel", "unix:path=/a%2", "unix:dir=/tmp", "path=/x"] {
            assert_eq!(parse(none), [], "{none}");
        }
    }
}
