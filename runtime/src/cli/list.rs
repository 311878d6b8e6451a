//! What `list` prints of all containers.

use super::command::{Global, ListFormat, RootOrigin};
use super::create::explain;
use super::error::CommandError;
use super::json::Json;
use super::output::Output;
use super::owner::owner;
use super::state::{ContainerView, view};
use crate::container::id::ContainerId;
use crate::container::state_dir::StateDir;
use crate::lifecycle::error::RuntimeError;
use crate::lifecycle::state::Container;

pub(super) fn run(
    format: ListFormat,
    global: &Global,
    output: &mut Output,
) -> Result<u8, CommandError> {
    let ids = StateDir::list(&global.root).map_err(|error| explain(&error.into()))?;
    let missing_is_error = global.root_origin == RootOrigin::Flag;
    if ids.is_none() && missing_is_error {
        let text = format!("open {}: no such file or directory", global.root.display());
        return Err(CommandError::new(text));
    }
    let show = |id: &ContainerId| -> Result<ContainerView, RuntimeError> {
        let container = Container::open(&global.root, id)?;
        Ok(ContainerView { owner: owner(container.state.owner), ..view(&container)? })
    };
    let mut views = Vec::new();
    for id in ids.unwrap_or_default() {
        match show(&id) {
            Ok(view) => views.push(view),
            // One that is being made or cannot be read does not keep the others from being shown.
            Err(error) => {
                output.complain(&format!("load container {id}: {}", explain(&error).message));
            }
        }
    }
    output.print(&render(&views, format)).map(|()| 0)
}

/// The narrowest a column is, and the least space behind its longest cell.
const WIDTH_MIN: usize = 12;
const PADDING: usize = 3;

/// The output of `list`.
#[must_use]
pub fn render(containers: &[ContainerView], format: ListFormat) -> String {
    match format {
        ListFormat::Table => table(containers),
        ListFormat::Json => json(containers),
        ListFormat::Quiet => containers.iter().map(|c| format!("{}\n", c.id)).collect(),
    }
}

fn json(containers: &[ContainerView]) -> String {
    if containers.is_empty() {
        // What runc prints, and its callers decode, for an empty list.
        return "null\n".to_owned();
    }
    Json::List(containers.iter().map(ContainerView::json).collect()).compact() + "\n"
}

fn table(containers: &[ContainerView]) -> String {
    let heading = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(heading)
        .chain(containers.iter().map(|container| {
            let ContainerView { id, pid, status, bundle, created, owner, .. } = container.clone();
            [id, pid.to_string(), status, bundle, created, owner]
        }))
        .collect();
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        WIDTH_MIN.max(longest + PADDING)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths).take(row.len() - 1) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&row[row.len() - 1]);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::sample;
    use super::*;

    fn containers() -> [ContainerView; 2] {
        let stopped = ContainerView {
            id: "a-rather-long-name".into(),
            pid: 0,
            status: "stopped".into(),
            annotations: Vec::new(),
            owner: "#1000".into(),
            ..sample()
        };
        [ContainerView { owner: "root".into(), ..sample() }, stopped]
    }

    /// The blanks were compared with those that runc 1.1.5 prints for the same cells.
    #[test]
    fn aligns_the_columns() {
        let expected = concat!(
            "ID                   PID         STATUS      BUNDLE      CREATED                  OWNER\n",
            "web                  4711        running     /b/web      2026-11-22T16:00:54.5Z   root\n",
            "a-rather-long-name   0           stopped     /b/web      2026-11-22T16:00:54.5Z   #1000\n",
        );
        assert_eq!(render(&containers(), ListFormat::Table), expected);
        let empty = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n";
        assert_eq!(render(&[], ListFormat::Table), empty);
    }

    #[test]
    fn prints_ids_alone() {
        assert_eq!(render(&containers(), ListFormat::Quiet), "web\na-rather-long-name\n");
        assert_eq!(render(&[], ListFormat::Quiet), "");
    }

    #[test]
    fn prints_one_line_of_json() {
        assert_eq!(render(&[], ListFormat::Json), "null\n");
        let text = render(&containers()[1..], ListFormat::Json);
        let expected = concat!(
            r#"[{"ociVersion":"1.0.2","id":"a-rather-long-name","pid":0,"status":"stopped","#,
            r##""bundle":"/b/web","rootfs":"/b/web/rootfs","created":"2026-11-22T16:00:54.5Z","##,
            r##""owner":"#1000"}]"##,
            "\n"
        );
        assert_eq!(text, expected);
    }
}
