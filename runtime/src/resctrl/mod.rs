//! Cache and memory bandwidth (`linux.intelRdt`): the container's group in the resctrl file system
//! (runtime-spec, config-linux.md, "IntelRdt"; the kernel's Documentation/filesystems/resctrl.rst).

pub mod apply;
pub mod plan;
pub mod stats;
