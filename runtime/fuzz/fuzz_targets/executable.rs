//! The head of an executable file: what an image's author wrote is read within its bounds.
#![no_main]

use keel::lifecycle::explain::elf::{Head, machine_name, read, runs_here};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| match read(bytes) {
    Head::Elf { machine, interpreter } => {
        assert!(!machine_name(machine).is_empty());
        let _ = runs_here(machine);
        if let Some(path) = interpreter {
            assert!(path.len() <= bytes.len() && !path.contains(&0));
        }
    }
    Head::Script(word) => assert!(word.len() <= 256 && !word.contains(&b'\n')),
    Head::Other | Head::Empty => {}
});
