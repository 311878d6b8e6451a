//! The way into a user namespace, from which this process could not come back, before the child is made:
//! because only there it has the right to enter a pid namespace, or because what the clone makes shall
//! belong to it. So a process is sent ahead, makes the child there as this process's own, and ends.

use super::child::{self, Inherited};
use super::plan::Plan;
use crate::ahead::by_process_ahead;
use crate::failure::{Finding, Result};
use crate::namespaces;
use crate::sys::namespace::{Kind, setns};
use crate::sys::process::{Child, Clone3, clone3};

/// Makes the child in the namespaces `kinds` of the process that is joined.
///
/// # Errors
/// The errno of setns(2) or clone3(2), wherever it failed.
pub(super) fn clone_beyond(plan: &mut Plan, inherited: &Inherited, kinds: Kind) -> Result<Child> {
    let (there, _) = inherited.join.as_ref().ok_or(Finding::ParentGone)?;
    by_process_ahead(|| {
        setns(there, kinds)?;
        let options = Clone3 { sibling: true, ..Clone3::default() };
        Ok(clone3(&options, || child::run(plan, inherited))?)
    })
}

/// Makes the child, with its new namespaces, after the steps that are to be taken ahead.
///
/// # Errors
/// The failure of a step or of clone3(2).
pub(super) fn clone_after_steps(plan: &mut Plan, inherited: &Inherited) -> Result<Child> {
    by_process_ahead(|| {
        for (_, step) in &plan.namespaces.ahead {
            let procfs = inherited.procfs.as_ref();
            namespaces::apply::apply(step, &plan.arena, &inherited.namespaces, procfs)?;
        }
        let namespaces = plan.namespaces.create;
        let options = Clone3 { namespaces, sibling: true, ..Clone3::default() };
        Ok(clone3(&options, || child::run(plan, inherited))?)
    })
}
