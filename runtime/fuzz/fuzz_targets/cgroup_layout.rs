//! The kernel's texts on cgroups, and a place in them: `own NUL mountinfo NUL controllers NUL path`.
#![no_main]

use keel::cgroup::{self, Layout, Location, Privilege};
use keel::config::resources::Resources;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut parts = text.split('\0');
    let mut next = || parts.next().unwrap_or_default();
    let (own, mountinfo, controllers, path) = (next(), next(), next(), next());
    let mut layout = match Layout::parse(own, mountinfo) {
        Ok(layout) => layout,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    layout.set_v2_controllers(controllers);
    for hierarchy in layout.hierarchies() {
        let own = &hierarchy.own;
        assert!(own.starts_with('/') && own.split('/').all(|name| name != ".."), "{own:?}");
    }
    let Ok(location) = Location::new(Some(path), "fuzz") else { return };
    for privilege in [Privilege::Full, Privilege::Rootless] {
        let plan = cgroup::plan(&Resources::default(), &layout, &location, privilege);
        // Without limits only the rules on devices can lack something: a controller.
        let Ok(plan) = plan else { continue };
        for directory in &plan.directories {
            let below = &directory.below;
            assert!(directory.path().starts_with(&directory.mount_point), "{below:?}");
            assert!(below.split('/').all(|name| name != ".."), "{below:?}");
        }
    }
});
