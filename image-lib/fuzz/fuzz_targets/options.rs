//! The short texts of flags and documents: volumes, file modes, platforms, points in time.
#![no_main]

use keel_image::build::arguments::parse_epoch;
use keel_image::build::device::is_spec;
use keel_image::build::dockerfile::{device, heredoc, mount, parser::parse_trigger};
use keel_image::build::file_mode::FileMode;
use keel_image::build::remote::GitSource;
use keel_image::bundle::Volume;
use keel_image::spec::{Platform, Timestamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(volume) = Volume::parse(text) {
        assert!(volume.source.is_absolute() && volume.destination.is_absolute());
    }
    if let Ok(mode) = FileMode::parse(text) {
        for before in [0, 0o644, 0o4755, 0o7777] {
            assert!(mode.apply(before, false) <= 0o7777 && mode.apply(before, true) <= 0o7777);
        }
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().as_ref(), Ok(&platform), "{text:?}");
    }
    let epoch = parse_epoch(text).ok();
    for time in [epoch, text.parse::<Timestamp>().ok()].into_iter().flatten() {
        assert!(time.nanoseconds < 1_000_000_000);
        assert_eq!(time.to_string().parse::<Timestamp>().as_ref(), Ok(&time), "{text:?}");
    }
    if let Ok(Some(git)) = GitSource::parse(text) {
        assert!(GitSource::is_meant(text) && !git.url.starts_with('-'), "{text:?}");
        assert!(git.reference.is_none_or(|name| !name.starts_with('-')), "{text:?}");
        assert!(
            git.folder.is_none_or(|path| !path.starts_with("..") && path.is_relative()),
            "{text:?}"
        );
    }
    let _ = mount::parse(text);
    let _ = device::parse(text);
    let _ = is_spec(text);
    let _ = parse_trigger(text);
    let _ = heredoc::markers(text);
});
