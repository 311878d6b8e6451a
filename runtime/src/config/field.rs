//! Reading JSON with the place in hand: a [`Field`] is a value, or its absence, together with the
//! path that leads to it. Every refusal is collected, so that a config is reported on once and whole.
//!
//! Absent and `null` are the same, as in the decoders of the other runtimes. Unknown properties are
//! never looked at, which is how they are ignored (runtime-spec, config.md, "Extensibility").

use std::cell::RefCell;
use std::fmt;

use super::error::{ConfigError, Kind};
use super::json::{Json, Members};

/// Where findings and warnings are collected while a config is read.
#[derive(Debug, Default)]
pub struct Findings {
    errors: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<String>>,
}

impl Findings {
    /// The collected errors and warnings.
    #[must_use]
    pub fn into_parts(self) -> (Vec<ConfigError>, Vec<String>) {
        (self.errors.into_inner(), self.warnings.into_inner())
    }
}

#[derive(Debug, Clone, Copy)]
enum Segment<'a> {
    Root,
    Name(&'a str),
    Index(usize),
}

/// A value of the config, or its absence, that knows its path.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    parent: Option<&'a Field<'a>>,
    segment: Segment<'a>,
    value: Option<&'a Json<'a>>,
    findings: &'a Findings,
}

impl<'a> Field<'a> {
    /// The whole document.
    #[must_use]
    pub fn root(value: &'a Json<'a>, findings: &'a Findings) -> Self {
        Self { parent: None, segment: Segment::Root, value: Some(value), findings }
    }

    /// The member `name` of an object; absent when this field is absent. A field that is present
    /// and no object is reported by [`Field::object`], not here.
    #[must_use]
    pub fn get<'b>(&'b self, name: &'b str) -> Field<'b>
    where
        'a: 'b,
    {
        let value = self.value.and_then(|v| v.get(name)).filter(|v| **v != Json::Null);
        Field { parent: Some(self), segment: Segment::Name(name), value, findings: self.findings }
    }

    /// Whether the field is there and not `null`.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.value.is_some_and(|v| *v != Json::Null)
    }

    /// Refuses the field with a reason.
    pub fn refuse(&self, kind: Kind, detail: impl Into<String>) {
        let error = ConfigError { field: self.to_string(), kind, detail: detail.into() };
        self.findings.errors.borrow_mut().push(error);
    }

    /// Notes something the user should know, though the config is accepted.
    pub fn warn(&self, text: impl fmt::Display) {
        self.findings.warnings.borrow_mut().push(format!("{self}: {text}"));
    }

    fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        if let Some(value) = self.value {
            self.refuse(Kind::Invalid, format!("expected {expected}, found {}", describe(value)));
        }
        None
    }

    /// The field as an object: `None` when absent, refused when it is something else.
    #[must_use]
    pub fn object(&self) -> Option<&'a Members<'a>> {
        match self.value {
            Some(Json::Object(map)) => Some(map),
            _ => self.wrong_type("an object"),
        }
    }

    /// The field as a string.
    #[must_use]
    pub fn string(&self) -> Option<&'a str> {
        match self.value {
            Some(Json::String(s)) if s.contains('\0') => {
                self.refuse(Kind::Invalid, "contains a NUL byte");
                None
            }
            Some(Json::String(s)) => Some(s),
            _ => self.wrong_type("a string"),
        }
    }

    /// The field as a string that must be there; its absence is refused.
    #[must_use]
    pub fn required_string(&self) -> Option<&'a str> {
        self.require()?;
        self.string()
    }

    /// Refuses the field's absence.
    #[must_use]
    pub fn require(&self) -> Option<()> {
        if self.is_present() {
            return Some(());
        }
        self.refuse(Kind::Missing, "");
        None
    }

    /// The field as a boolean.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        match self.value {
            Some(Json::Bool(b)) => Some(*b),
            _ => self.wrong_type("true or false"),
        }
    }

    /// The field as an integer of type `T`; out of range is refused with the range.
    #[must_use]
    pub fn integer<T>(&self) -> Option<T>
    where
        T: TryFrom<i128> + Bounds,
    {
        let Some(Json::Number(number)) = self.value else {
            return self.wrong_type("an integer");
        };
        let wide = number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from));
        let Some(narrow) = wide.and_then(|n| T::try_from(n).ok()) else {
            let (low, high) = T::BOUNDS;
            let detail = format!("{number} is not an integer between {low} and {high}");
            self.refuse(Kind::Invalid, detail);
            return None;
        };
        Some(narrow)
    }

    /// Calls `each` for every element of an array; absent means none, anything else is refused.
    pub fn for_each(&self, mut each: impl FnMut(&Field<'_>)) {
        match self.value {
            None => {}
            Some(Json::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    each(&Field {
                        parent: Some(self),
                        segment: Segment::Index(index),
                        value: Some(item),
                        findings: self.findings,
                    });
                }
            }
            Some(_) => {
                let _: Option<()> = self.wrong_type("an array");
            }
        }
    }

    /// The results of `each` for every element of an array, without those it refused.
    pub fn collect<T>(&self, mut each: impl FnMut(&Field<'_>) -> Option<T>) -> Vec<T> {
        let mut all = Vec::new();
        self.for_each(|item| all.extend(each(item)));
        all
    }

    /// An array of strings.
    #[must_use]
    pub fn strings(&self) -> Vec<String> {
        self.collect(|item| item.string().map(str::to_owned))
    }

    /// An object whose values are strings, in the order of their keys.
    #[must_use]
    pub fn string_map(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for key in self.object().into_iter().flat_map(|map| map.keys()) {
            if let Some(value) = self.get(key).string() {
                all.push((key.to_owned(), value.to_owned()));
            }
        }
        all
    }
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = self.parent.filter(|p| !matches!(p.segment, Segment::Root));
        if let Some(parent) = parent {
            write!(f, "{parent}")?;
        }
        match self.segment {
            Segment::Root => f.write_str("config.json"),
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::Name(name) => {
                if parent.is_some() {
                    f.write_str(".")?;
                }
                f.write_str(name)
            }
        }
    }
}

/// The range of an integer type, for messages.
pub trait Bounds {
    /// Lowest and highest value.
    const BOUNDS: (i128, i128);
}

macro_rules! bounds {
    ($($int:ty),*) => {
        $(impl Bounds for $int {
            const BOUNDS: (i128, i128) = (<$int>::MIN as i128, <$int>::MAX as i128);
        })*
    };
}
bounds!(u8, u16, u32, u64, i32, i64);

fn describe(value: &Json<'_>) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => n.to_string(),
        Json::String(s) => format!("the string {s:?}"),
        Json::Array(_) => "an array".to_owned(),
        Json::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_the_path_of_every_refused_value() {
        let document = &json!({"linux": {"namespaces": [{"type": 3}, {"type": "pid"}], "n": -1}});
        let findings = Findings::default();
        let document = Json::from(document);
        let root = Field::root(&document, &findings);
        let linux = root.get("linux");
        let types = linux.get("namespaces").collect(|n| n.get("type").string().map(str::to_owned));
        assert_eq!(types, ["pid"]);
        assert_eq!(linux.get("n").integer::<u32>(), None);
        assert_eq!(root.get("absent").get("deeper").string(), None);
        let (errors, warnings) = findings.into_parts();
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "linux.namespaces[0].type: invalid: expected a string, found 3",
                "linux.n: invalid: -1 is not an integer between 0 and 4294967295",
            ]
        );
        assert!(warnings.is_empty());
    }

    #[test]
    fn reads_null_as_absent() {
        let document = &json!({"process": null});
        let findings = Findings::default();
        let document = Json::from(document);
        let root = Field::root(&document, &findings);
        assert!(!root.get("process").is_present());
        assert_eq!(root.get("process").object(), None);
        assert!(findings.into_parts().0.is_empty());
    }
}
