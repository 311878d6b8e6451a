//! The way into namespaces from which this process could not come back, before the child is made: a user
//! namespace, because only there it has the right to enter a pid namespace, or because what the clone makes
//! shall belong to it; or a pid namespace, where its own belongs to a user namespace above. So a process is
//! sent ahead, makes the child there as this process's own, and ends.

use super::child::{self, Inherited};
use super::plan::Plan;
use crate::ahead::{by_process_ahead, by_steps_ahead};
use crate::failure::{Failure, Finding, Result};
use crate::namespaces;
use crate::sys::namespace::{Kind, setns};
use crate::sys::process::{Child, Clone3, clone3};

/// Makes the child in the namespaces `kinds` of the process that is joined, or in those that the plan joins
/// for the clone.
///
/// # Errors
/// The errno of setns(2) or clone3(2), wherever it failed.
pub(super) fn clone_beyond(plan: &mut Plan, inherited: &Inherited, kinds: Kind) -> Result<Child> {
    by_process_ahead(|| {
        if let Some((there, _)) = &inherited.join {
            setns(there, kinds)?;
        }
        for index in &plan.namespaces.parent_joins {
            let index = usize::from(*index);
            let there = inherited.namespaces.get(index).ok_or(Finding::ParentGone)?;
            setns(there, plan.namespaces.joins.get(index).map_or(0, |join| join.kind.flag()))?;
        }
        let namespaces = plan.namespaces.create;
        let options = Clone3 { namespaces, sibling: true, ..Clone3::default() };
        Ok(clone3(&options, || child::run(plan, inherited))?)
    })
}

/// Makes the child, with its new namespaces, after the steps that are to be taken ahead.
///
/// # Errors
/// The failure of a step or of clone3(2), with the number of steps that were taken.
pub(super) fn clone_after_steps(
    plan: &mut Plan,
    inherited: &Inherited,
) -> std::result::Result<Child, (u16, Failure)> {
    by_steps_ahead(|taken| {
        let mut live = namespaces::apply::Live::default();
        for (_, step) in &plan.namespaces.ahead {
            let joined = &inherited.namespaces;
            namespaces::apply::apply(step, &plan.arena, joined, None, &mut live)?;
            *taken += 1;
        }
        let namespaces = plan.namespaces.create;
        let options = Clone3 { namespaces, sibling: true, ..Clone3::default() };
        Ok(clone3(&options, || child::run(plan, inherited))?)
    })
}
