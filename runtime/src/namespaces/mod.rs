//! The namespaces of a container: which are made, which are joined, in which order, and what is set
//! in them once they are there.

pub mod apply;
pub mod net_devices;
pub mod plan;
pub mod rtnetlink;
