//! What is to be said of an image beside it: the values of `--attest`, `--provenance` and `--sbom`.

use keel_image::build::Attestations;
use keel_image::build::attest::provenance::{Mode, Wanted};

use super::fields::{self, Field, truth};
use super::flags::Arguments;

/// Reads the three flags. One kind may be said once.
pub(super) fn read(arguments: &Arguments) -> Result<Attestations, String> {
    let mut all = Attestations::default();
    let mut seen = Vec::new();
    let short = [("provenance", &arguments.provenance), ("sbom", &arguments.sbom)];
    let short = short.into_iter().filter_map(|(kind, value)| Some((kind, value.as_ref()?)));
    let long = arguments.attest.iter().map(|text| ("", text));
    for (kind, text) in long.chain(short) {
        let flag = if kind.is_empty() { "attest" } else { kind };
        let wrong = |error: String| format!("--{flag}={text}: {error}");
        let (kind, settings) = settings(kind, text).map_err(wrong)?;
        if seen.contains(&kind) {
            return Err(wrong(format!("{kind} is asked for twice")));
        }
        match kind.as_str() {
            "provenance" => all.provenance = provenance(&settings).map_err(wrong)?,
            "sbom" => all.has_sbom = sbom(&settings).map_err(wrong)?,
            "" => return Err(wrong("type is required: provenance or sbom".to_owned())),
            _ => return Err(wrong("a type is provenance or sbom".to_owned())),
        }
        seen.push(kind);
    }
    Ok(all)
}

/// The kind, and what is said of it: a truth value, or pairs.
fn settings(kind: &str, text: &str) -> Result<(String, Vec<Field>), String> {
    if !kind.is_empty() && !text.contains('=') && !text.contains(',') {
        let disabled = (!truth(kind, Some(text))?).to_string();
        return Ok((kind.to_owned(), vec![("disabled".to_owned(), Some(disabled))]));
    }
    let mut kind = kind.to_owned();
    let mut settings = fields::read(text)?;
    settings.retain(|(key, value)| {
        if key == "type" && kind.is_empty() {
            kind = value.clone().unwrap_or_default();
            return false;
        }
        true
    });
    Ok((kind, settings))
}

fn provenance(settings: &[Field]) -> Result<Option<Wanted>, String> {
    let mut wanted = Wanted::default();
    let mut is_disabled = false;
    for (key, value) in settings {
        match (key.as_str(), value.as_deref()) {
            ("disabled", value) => is_disabled = truth(key, value)?,
            ("mode", Some("min")) => wanted.mode = Mode::Min,
            ("mode", Some("max")) => wanted.mode = Mode::Max,
            ("mode", _) => return Err("a mode is min or max".to_owned()),
            ("builder-id", Some(id)) => wanted.builder_id = Some(id.to_owned()),
            ("reproducible", value) => wanted.is_reproducible = truth(key, value)?,
            ("version", Some("v1")) => {}
            ("version", _) => return Err("only version=v1 of SLSA is made here".to_owned()),
            _ => {
                return Err(format!(
                    "{key} is not known of provenance (mode, builder-id, reproducible, version)"
                ));
            }
        }
    }
    Ok((!is_disabled).then_some(wanted))
}

fn sbom(settings: &[Field]) -> Result<bool, String> {
    let mut is_disabled = false;
    for (key, value) in settings {
        match key.as_str() {
            "disabled" => is_disabled = truth(key, value.as_deref())?,
            "generator" => {
                return Err("packages are listed by the builder itself and no generator is run; \
                            say --sbom=true"
                    .to_owned());
            }
            _ => return Err(format!("{key} is not known of sbom")),
        }
    }
    Ok(!is_disabled)
}

#[cfg(test)]
mod tests {
    use super::{Mode, provenance, settings};

    #[test]
    fn reads_what_buildx_reads() {
        let read = |text: &str| provenance(&settings("provenance", text)?.1);
        assert_eq!(read("false").unwrap(), None);
        assert_eq!(read("true").unwrap().unwrap().mode, Mode::Min);
        let max = read("mode=max,builder-id=http://b,reproducible=true").unwrap().unwrap();
        assert_eq!((max.mode, max.is_reproducible), (Mode::Max, true));
        assert_eq!(max.builder_id.as_deref(), Some("http://b"));
        assert_eq!(read("mode=max,disabled=true").unwrap(), None);
        for text in ["perhaps", "mode=mid", "version=v0.2", "filename=x", "inline-only=true"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(settings("", "type=sbom,generator=x").unwrap().0, "sbom");
    }
}
