//! The new process: what it shall do, how it is made, how it and its parent talk, and what it does
//! until the program is executed.

pub mod child;
mod detour;
pub mod entrance;
pub mod error;
pub mod excursion;
mod id_maps;
pub mod net_devices;
pub mod parent;
pub mod plan;
pub mod protocol;
mod trees;
