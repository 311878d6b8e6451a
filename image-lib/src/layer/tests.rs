#![allow(clippy::unwrap_used)]
//! Filled in below.
