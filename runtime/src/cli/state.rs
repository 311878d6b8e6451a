//! What `state` prints of a container.

use super::command::Global;
use super::create::{explain, id};
use super::error::CommandError;
use super::json::Json;
use super::output::Output;
use crate::container::status::Status;
use crate::lifecycle::error::RuntimeError;
use crate::lifecycle::state::Container;

pub(super) fn run(name: &str, global: &Global, output: &mut Output) -> Result<u8, CommandError> {
    let container = Container::open(&global.root, &id(name)?).map_err(|error| explain(&error))?;
    let view = view(&container).map_err(|error| explain(&error))?;
    output.print(&render(&view)).map(|()| 0)
}

/// What `state` and `list` show of a container; the owner is left out.
pub(super) fn view(container: &Container) -> Result<ContainerView, RuntimeError> {
    let status = container.status()?;
    let state = &container.state;
    Ok(ContainerView {
        oci_version: state.oci_version.clone(),
        id: state.id.clone(),
        pid: if status == Status::Stopped { 0 } else { state.process.pid },
        status: status.name().to_owned(),
        bundle: state.bundle.clone(),
        rootfs: state.rootfs.clone(),
        created: state.created.clone(),
        annotations: state.annotations.clone(),
        owner: String::new(),
    })
}

/// A container as `state` and `list` show it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerView {
    /// The version of the specification that the container's config follows.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// The process id of the container process as the host sees it; 0 when it has stopped.
    pub pid: i32,
    /// `created`, `running`, `paused` or `stopped`.
    pub status: String,
    /// The bundle, absolute.
    pub bundle: String,
    /// The root filesystem, absolute.
    pub rootfs: String,
    /// When it was created, as [`crate::timestamp::rfc3339_nano`] writes it.
    pub created: String,
    /// The annotations of the config.
    pub annotations: Vec<(String, String)>,
    /// Who created it, as [`super::owner::owner`] names them; empty in the output of `state`.
    pub owner: String,
}

/// The output of `state`: indented by two spaces, without a last newline.
#[must_use]
pub fn render(container: &ContainerView) -> String {
    container.json().indented("  ")
}

impl ContainerView {
    /// The members in the order of runc, which is that of the specification and more.
    pub(super) fn json(&self) -> Json {
        let mut annotations = self.annotations.clone();
        annotations.sort();
        let annotations =
            annotations.into_iter().map(|(key, value)| (key.into(), Json::Text(value))).collect();
        let annotations = Some(Json::Object(annotations)).filter(|_| !self.annotations.is_empty());
        let text = |text: &String| Some(Json::Text(text.clone()));
        Json::present([
            ("ociVersion", text(&self.oci_version)),
            ("id", text(&self.id)),
            ("pid", Some(Json::Number(self.pid.into()))),
            ("status", text(&self.status)),
            ("bundle", text(&self.bundle)),
            ("rootfs", text(&self.rootfs)),
            ("created", text(&self.created)),
            ("annotations", annotations),
            ("owner", text(&self.owner)),
        ])
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A container to print.
    pub(in crate::cli) fn sample() -> ContainerView {
        ContainerView {
            oci_version: "1.0.2".into(),
            id: "web".into(),
            pid: 4711,
            status: "running".into(),
            bundle: "/b/web".into(),
            rootfs: "/b/web/rootfs".into(),
            created: "2026-11-22T16:00:54.5Z".into(),
            annotations: vec![("z".into(), "<1>".into()), ("a".into(), "2".into())],
            owner: String::new(),
        }
    }

    #[test]
    fn prints_members_in_the_order_of_runc() {
        let expected = r#"{
  "ociVersion": "1.0.2",
  "id": "web",
  "pid": 4711,
  "status": "running",
  "bundle": "/b/web",
  "rootfs": "/b/web/rootfs",
  "created": "2026-11-22T16:00:54.5Z",
  "annotations": {
    "a": "2",
    "z": "\u003c1\u003e"
  },
  "owner": ""
}"#;
        assert_eq!(render(&sample()), expected);
    }

    #[test]
    fn leaves_out_annotations_where_there_are_none() {
        let plain = ContainerView { annotations: Vec::new(), ..sample() };
        assert!(!render(&plain).contains("annotations"));
    }
}
