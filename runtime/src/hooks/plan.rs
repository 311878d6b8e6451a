//! From `hooks` to what execve(2) wants. Pure.

use crate::arena::{Arena, Text};
use crate::config::hooks::{Hook, Hooks, Point};
use crate::failure::Origin;
use crate::sys::process::ExecStrings;

/// A hook, ready to be executed.
#[derive(Debug)]
pub struct Prepared {
    /// The program.
    pub path: Text,
    /// Its arguments.
    pub args: ExecStrings,
    /// Its environment; that of the place it runs in where absent.
    pub env: Option<ExecStrings>,
    /// After how many milliseconds it is killed; -1 for never.
    pub timeout_ms: i32,
    /// `hooks.POINT[i]`.
    pub origin: Origin,
}

/// Prepares the hooks of one point. A hook whose config names no environment has the runtime's own in
/// the runtime's namespaces and the process's, HOME included, at `startContainer`, as callers of other
/// runtimes rely on; nothing at `createContainer`, where the process's would let an image decide what
/// a program of the host loads (CVE-2025-23266).
#[must_use]
pub fn compile(hooks: &Hooks, point: Point, arena: &mut Arena) -> Vec<Prepared> {
    let field = match point {
        Point::Prestart => "hooks.prestart",
        Point::CreateRuntime => "hooks.createRuntime",
        Point::CreateContainer => "hooks.createContainer",
        Point::StartContainer => "hooks.startContainer",
        Point::Poststart => "hooks.poststart",
        Point::Poststop => "hooks.poststop",
    };
    let prepare = |(index, hook): (usize, &Hook)| {
        let args = if hook.args.is_empty() {
            ExecStrings::new([&hook.path])
        } else {
            ExecStrings::new(&hook.args)
        };
        let env = hook.env.as_ref().map(ExecStrings::new);
        let seconds = hook.timeout_seconds.map(|s| i32::try_from(s).unwrap_or(i32::MAX));
        Prepared {
            path: arena.add(&hook.path),
            args,
            env,
            timeout_ms: seconds.map_or(-1, |s| s.saturating_mul(1000)),
            origin: Origin::item(field, index),
        }
    };
    hooks.at(point).iter().enumerate().map(prepare).collect()
}
