//! `RUN --device`: the name of a device, and whether the command needs it.

use super::mount::{split_csv, truth};
use super::word::did_you_mean;

/// One device, by its name of the Container Device Interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `VENDOR/CLASS=NAME`; without a name the first of the class, with `*` all.
    pub name: String,
    /// Whether there is no build without it.
    pub is_required: bool,
}

/// Reads `NAME[,required]` or `name=NAME[,required=BOOL]`.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Device, String> {
    let mut device = Device { name: String::new(), is_required: false };
    for field in split_csv(text) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", value) => device.is_required = truth("required", value)?,
            ("name", Some(_)) if !device.name.is_empty() => {
                return Err(format!("device name already set to {}", device.name));
            }
            ("name", Some(value)) => value.clone_into(&mut device.name),
            // The name itself has a sign of equality in it.
            _ if device.name.is_empty() => device.name = field,
            (_, None) => return Err(format!("invalid field '{field}' must be a key=value pair")),
            (key, _) => {
                let near = did_you_mean(key, ["name", "required"]);
                let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                return Err(format!("unexpected key '{key}' in '{field}'{near}"));
            }
        }
    }
    if is_name(&device.name) {
        Ok(device)
    } else {
        Err(format!("invalid device {:?}: it is no VENDOR/CLASS[=NAME]", device.name))
    }
}

/// `VENDOR/CLASS[=NAME]`: letters first, then letters, digits, `-`, `_`, and in the vendor `.`.
fn is_name(text: &str) -> bool {
    let (kind, _) = text.split_once('=').unwrap_or((text, ""));
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    let is_word = |word: &str, more: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.ends_with(|c: char| c.is_ascii_alphanumeric())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    is_word(vendor, "-_.") && is_word(class, "-_")
}

#[cfg(test)]
mod tests {
    use super::{Device, parse};

    #[test]
    fn reads_devices() {
        for (text, name, is_required) in [
            ("v.com/c=a", "v.com/c=a", false),
            ("v.com/c", "v.com/c", false),
            ("v.com/c=*,required", "v.com/c=*", true),
            ("required=true,name=v.com/c=a", "v.com/c=a", true),
            ("name=v.com/c,required=0", "v.com/c", false),
        ] {
            assert_eq!(parse(text), Ok(Device { name: name.to_owned(), is_required }), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for (text, word) in [
            ("", "invalid device"),
            ("c=a", "invalid device"),
            ("/c=a", "invalid device"),
            ("v/c/d=a", "invalid device"),
            ("v/c,name=v/d", "already set to v/c"),
            ("v/c,other", "key=value"),
            ("v/c,requird=1", "did you mean required?"),
            ("v/c,required=x", "invalid value for required"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(word), "{text}: {said}");
        }
    }
}
