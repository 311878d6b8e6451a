//! A profile → what is decided for every number of every ABI, as sorted ranges.

use super::arch::{self, Abi, Machine, Multiplexed, X32_BIT};
use super::filter::SeccompError;
use super::numbers::Rows;
use crate::config::seccomp::{Action, Architecture, Arg, Operator, Rule, Seccomp};

/// The kernel's limit on instructions is 4096 and each rule with a condition takes two at least, so
/// that more rules on one call cannot become a program; this bounds the work on a hostile profile.
const CHAIN_RULES_MAX: usize = 2048;

const RET_KILL_THREAD: u32 = 0;
const RET_ERRNO: u32 = 0x0005_0000;
const ENOSYS: u32 = 38;

/// The value a filter returns for an action (seccomp(2), `SECCOMP_RET_*`).
pub(super) fn return_value(action: Action) -> u32 {
    match action {
        Action::KillProcess => 0x8000_0000,
        Action::KillThread => RET_KILL_THREAD,
        Action::Trap => 0x0003_0000,
        Action::Errno(errno) => RET_ERRNO | u32::from(errno),
        Action::Notify => 0x7fc0_0000,
        Action::Trace(message) => 0x7ff0_0000 | u32::from(message),
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
    }
}

/// What an ABI that the profile does not list gets: libseccomp's answer to a bad architecture.
pub(super) const UNLISTED: u32 = RET_KILL_THREAD;

/// All that is decided for one value of `seccomp_data.arch`.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) audit: u32,
    /// First numbers of ranges, ascending from 0, each with the decision for its range.
    pub(super) ranges: Vec<(u32, Decision)>,
    pub(super) chains: Vec<Chain>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Return(u32),
    /// Index into [`Section::chains`].
    Check(usize),
}

/// Rules on one call that look at arguments: the first that matches decides.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) wide: bool,
    pub(super) rules: Vec<ChainRule>,
    pub(super) otherwise: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChainRule {
    /// All must hold; never empty.
    pub(super) conditions: Vec<Condition>,
    pub(super) result: u32,
    /// Index into `syscalls[]`, for messages.
    origin: usize,
}

/// One comparison; for an ABI that is not wide, `mask` and `value` are already cut to 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) index: u8,
    pub(super) op: Operator,
    pub(super) mask: u64,
    pub(super) value: u64,
}

/// A rule on one number, before those of the same number are joined.
struct Entry<'a> {
    number: u32,
    /// The multiplexed call, in place of what the rule says on the first argument.
    carried: Option<u32>,
    conditions: &'a [Arg],
    result: u32,
    origin: usize,
    wide: bool,
}

/// The sections of `profile` on `machine`, the native one first.
pub(super) fn sections(profile: &Seccomp, machine: Machine) -> Result<Vec<Section>, SeccompError> {
    let default = return_value(profile.default_action);
    // The native ABI is always there: libseccomp starts every filter with it.
    let listed: Vec<&Abi> = machine
        .abis
        .iter()
        .enumerate()
        .filter(|(index, abi)| *index == 0 || profile.architectures.contains(&abi.name))
        .map(|(_, abi)| abi)
        .collect();
    let mut rows = Rows::default();
    let mut highest = vec![None; listed.len()];
    let mut entries: Vec<Vec<Entry<'_>>> = listed.iter().map(|_| Vec::new()).collect();
    for (origin, rule) in profile.syscalls.iter().enumerate() {
        let result = return_value(rule.action);
        let alternatives = alternatives(rule);
        for name in &rule.names {
            let Some(row) = rows.find(name) else { continue };
            let carried = arch::multiplexed(name);
            for ((abi, highest), entries) in listed.iter().zip(&mut highest).zip(&mut entries) {
                let direct = abi.number(row);
                let carrier = carried.zip(abi.multiplexer).map(|(carried, mux)| match carried {
                    Multiplexed::Socketcall(call) => (mux.socketcall, call),
                    Multiplexed::Ipc(call) => (mux.ipc, call),
                });
                if carrier.is_none() {
                    *highest = (*highest).max(direct.filter(|number| *number > 0));
                }
                if result == default {
                    continue;
                }
                for conditions in &alternatives {
                    let entry = Entry {
                        number: 0,
                        carried: None,
                        conditions,
                        result,
                        origin,
                        wide: abi.wide,
                    };
                    if let Some((number, call)) = carrier {
                        entries.push(Entry { number, carried: Some(call), ..entry });
                    }
                    entries.extend(direct.map(|number| Entry { number, ..entry }));
                }
            }
        }
    }
    let stubs = gives_enosys(profile.default_action);
    let abis: Vec<Listed<'_>> = listed
        .iter()
        .zip(highest)
        .zip(entries)
        .map(|((abi, highest), entries)| Listed {
            abi,
            highest: highest.filter(|_| stubs),
            entries,
        })
        .collect();
    abis.chunk_by(|a, b| a.abi.audit == b.abi.audit).map(|group| section(group, default)).collect()
}

/// A listed ABI with what the profile says on it.
struct Listed<'a> {
    abi: &'a Abi,
    /// The highest number that the profile names; calls above it are newer than the profile and
    /// fail with ENOSYS, so that a libc falls back (runc#2750). `None`: they get the default action.
    highest: Option<u32>,
    entries: Vec<Entry<'a>>,
}

/// Whether calls newer than the profile get ENOSYS in place of the default action. Not where that
/// lets calls through, nor where a tracer decides.
fn gives_enosys(default: Action) -> bool {
    !matches!(default, Action::Allow | Action::Log | Action::Trace(_))
}

/// The conditions of a rule. Two on the same argument make runc turn every condition of the rule
/// into a rule of its own, which is what profiles were once written for.
fn alternatives(rule: &Rule) -> Vec<&[Arg]> {
    let mut seen = 0_u8;
    let repeats = rule.args.iter().any(|arg| {
        let bit = 1_u8 << (arg.index & 7);
        let repeated = seen & bit != 0;
        seen |= bit;
        repeated
    });
    if repeats { rule.args.chunks(1).collect() } else { vec![&rule.args] }
}

fn section(group: &[Listed<'_>], default: u32) -> Result<Section, SeccompError> {
    let mut decided = Vec::new();
    let mut chains = Vec::new();
    for listed in group {
        decide_numbers(listed, default, &mut decided, &mut chains)?;
    }
    let audit = group.first().map_or(0, |listed| listed.abi.audit);
    Ok(Section { audit, ranges: overlay(&defaults(group, default), &decided), chains })
}

/// Joins the entries of each number, ascending, and appends what they decide.
fn decide_numbers(
    listed: &Listed<'_>,
    default: u32,
    decided: &mut Vec<(u32, Decision)>,
    chains: &mut Vec<Chain>,
) -> Result<(), SeccompError> {
    let mut order: Vec<(u32, usize)> =
        listed.entries.iter().enumerate().map(|(at, entry)| (entry.number, at)).collect();
    order.sort_unstable();
    for group in order.chunk_by(|a, b| a.0 == b.0) {
        let number = group.first().map_or(0, |(number, _)| *number);
        let beyond = listed.highest.is_some_and(|highest| number > highest);
        // setup(2): the number that s390x gives a call it does not know, see runc#2750.
        let unknown =
            number == 0 && listed.highest.is_some() && listed.abi.name == Architecture::S390x;
        if beyond || unknown {
            continue;
        }
        let entries = group.iter().filter_map(|(_, at)| listed.entries.get(*at));
        decided.push((number, join(entries, default, chains)?));
    }
    Ok(())
}

/// The first rule without conditions decides alone, wherever it stands: libseccomp drops all others
/// of that call. Else the conditions are asked in the profile's order.
fn join<'a>(
    entries: impl Iterator<Item = &'a Entry<'a>>,
    default: u32,
    chains: &mut Vec<Chain>,
) -> Result<Decision, SeccompError> {
    let mut chain = Chain { wide: true, rules: Vec::new(), otherwise: default };
    for entry in entries {
        chain.wide = entry.wide;
        let conditions = conditions(entry);
        if conditions.is_empty() {
            return Ok(Decision::Return(entry.result));
        }
        if chain.rules.len() > CHAIN_RULES_MAX {
            return Err(SeccompError::TooLong { instructions: chain.rules.len() * 2 });
        }
        match chain.rules.iter().find(|rule| rule.conditions == conditions) {
            Some(rule) if rule.result == entry.result => {}
            Some(rule) => {
                return Err(SeccompError::Contradiction {
                    rules: (rule.origin, entry.origin),
                    number: entry.number,
                });
            }
            None => chain.rules.push(ChainRule {
                conditions,
                result: entry.result,
                origin: entry.origin,
            }),
        }
    }
    chains.push(chain);
    Ok(Decision::Check(chains.len() - 1))
}

fn conditions(entry: &Entry<'_>) -> Vec<Condition> {
    let width = if entry.wide { u64::MAX } else { u64::from(u32::MAX) };
    let carried = entry.carried.map(|call| Condition {
        index: 0,
        op: Operator::Equal,
        mask: width,
        value: u64::from(call),
    });
    let own = entry.conditions.iter().filter(|arg| carried.is_none() || arg.index != 0);
    let own = own.map(|arg| {
        let (mask, value) = match arg.op {
            Operator::MaskedEqual => (arg.value, arg.value & arg.value_two),
            _ => (u64::MAX, arg.value),
        };
        Condition { index: arg.index, op: arg.op, mask: mask & width, value: value & width }
    });
    // A mask of nothing holds always, and a rule of such conditions has none for libseccomp.
    carried.into_iter().chain(own).filter(|condition| condition.mask != 0).collect()
}

/// What numbers without a rule get, as ranges.
fn defaults(group: &[Listed<'_>], default: u32) -> Vec<(u32, u32)> {
    let enosys = RET_ERRNO | ENOSYS;
    let mut ranges = vec![(0, default)];
    let native = group.first();
    let above = native.and_then(|listed| listed.highest);
    if above.is_some() && native.is_some_and(|listed| listed.abi.name == Architecture::S390x) {
        ranges = vec![(0, enosys), (1, default)];
    }
    if let Some(first) = above.and_then(|highest| highest.checked_add(1)) {
        ranges.push((first, enosys));
    }
    if !native.is_some_and(|listed| listed.abi.name == Architecture::X86_64) {
        return ranges;
    }
    // Two ABIs share this space; bit 30 tells them apart, and bit 31 is nobody's.
    let x32 = group.get(1);
    let alien = if x32.is_some() { default } else { UNLISTED };
    let without_bit = if above.is_some() { enosys } else { alien };
    let x32_above = x32.and_then(|listed| listed.highest);
    let with_bit = if x32_above.is_some() { enosys } else { alien };
    ranges.push((X32_BIT, alien));
    if let Some(first) = x32_above.and_then(|highest| highest.checked_add(1)) {
        ranges.push((first, enosys));
    }
    ranges.extend([(1 << 31, without_bit), (1 << 31 | X32_BIT, with_bit)]);
    if x32.is_none() {
        // The number -1 is what a tracer writes to skip a call; libseccomp exempts it.
        ranges.push((u32::MAX, default));
    }
    ranges
}

/// Lays single decided numbers over ranges; both ascend. Neighbours of one decision become one.
fn overlay(base: &[(u32, u32)], decided: &[(u32, Decision)]) -> Vec<(u32, Decision)> {
    let mut ranges: Vec<(u32, Decision)> = Vec::with_capacity(base.len() + decided.len());
    let mut push = |first: u32, decision: Decision| {
        if ranges.last().is_none_or(|(_, last)| *last != decision) {
            ranges.push((first, decision));
        }
    };
    let mut decided = decided.iter().copied().peekable();
    for (at, (first, result)) in base.iter().enumerate() {
        let end = base.get(at + 1).map_or(1 << 32, |(next, _)| u64::from(*next));
        let mut next = u64::from(*first);
        while let Some((number, decision)) = decided.next_if(|(number, _)| u64::from(*number) < end)
        {
            if u64::from(number) > next {
                push(u32::try_from(next).unwrap_or(u32::MAX), Decision::Return(*result));
            }
            push(number, decision);
            next = u64::from(number) + 1;
        }
        if next < end {
            push(u32::try_from(next).unwrap_or(u32::MAX), Decision::Return(*result));
        }
    }
    ranges
}
