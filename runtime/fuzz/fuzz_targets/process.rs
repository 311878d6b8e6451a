//! The process object of `exec --process`: it is refused with findings, or compiles to a plan.
#![no_main]

use keel::config::json::Json;
use keel::config::process::Process;
use keel::init;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = Json::parse(bytes) else { return };
    match Process::from_json(document) {
        Ok(checked) => {
            let context = keel::process::plan::Context {
                id: "fuzz",
                keep_keyring: true,
                permitted: Some(u64::MAX),
                personality: None,
                memory_policy: None,
                seccomp: None,
                console_device: false,
                own_streams: true,
                make_cwd: true,
            };
            let plan = init::plan::compile_exec(&checked.value, context, false, 3);
            assert!(plan.to_string().lines().count() >= plan.steps.len(), "a step without words");
        }
        Err(errors) => assert!(!errors.0.is_empty(), "refused without a finding"),
    }
});
