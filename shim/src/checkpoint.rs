//! Saving a container into a folder of criu's images, and beginning one out of them.

use std::ffi::OsString;

use crate::engine::Streams;
use crate::error::{Code, Error};
use crate::job::What;
use crate::limits;
use crate::messages::{Call, CheckpointOptions};
use crate::serve::Shim;
use crate::service::Answer;
use crate::task::{Caller, Container, Key, Status, not_in};

impl Shim {
    pub(crate) fn restore(&mut self, caller: Caller, key: &Key) -> Answer {
        let container = self.container(key)?;
        let work = container.criu_work()?;
        let mut words: Vec<OsString> = vec![
            "--image-path".into(),
            container.request.checkpoint.clone().into(),
            "--work-path".into(),
            work.into(),
            "--bundle".into(),
            container.bundle.clone().into(),
            "--detach".into(),
        ];
        words.extend(container.beginning_words(""));
        words.extend(container.engine.creation_flags());
        words.push(key.id.clone().into());
        let ends = container.init.ends.take();
        let ends = ends.ok_or_else(|| not_in(key, Status::Stopped, "restore"))?;
        let running = container.engine.run("restore", &words, Streams::Process(ends))?;
        self.begin(What::Restore, key.clone(), Some(caller), running, limits::SAVE);
        Ok(None)
    }

    pub(crate) fn checkpoint(&mut self, caller: Caller, key: &Key, call: &Call) -> Answer {
        let options =
            call.any.as_ref().map(|any| CheckpointOptions::parse(&any.value)).transpose()?;
        let options = options.unwrap_or_default();
        let container = self.container(key)?;
        let or = |first: &str, second: &str| {
            if first.is_empty() { second.to_owned() } else { first.to_owned() }
        };
        let path =
            or(&options.image_path, &or(&call.second, &container.engine.options().criu_image_path));
        if path.is_empty() {
            return Err(Error::new(Code::InvalidArgument, "a checkpoint without a path"));
        }
        let work = if options.work_path.is_empty() {
            container.criu_work()?
        } else {
            options.work_path.into()
        };
        let mut words: Vec<OsString> =
            vec!["--image-path".into(), path.clone().into(), "--work-path".into(), work.into()];
        if !options.exit {
            words.push("--leave-running".into());
        }
        words.extend(options.switches.iter().map(OsString::from));
        for namespace in &options.empty_namespaces {
            words.extend(["--empty-ns".into(), namespace.into()]);
        }
        if !options.cgroups_mode.is_empty() {
            words.extend(["--manage-cgroups-mode".into(), options.cgroups_mode.into()]);
        }
        words.push(key.id.clone().into());
        let running =
            container.engine.run("checkpoint", &words, Streams::Captured(limits::OUTPUT_BYTES))?;
        self.begin(What::Checkpoint(path), key.clone(), Some(caller), running, limits::SAVE);
        Ok(None)
    }
}

impl Container {
    /// Where criu works, which is made: its logs are no part of the images.
    fn criu_work(&self) -> Result<std::path::PathBuf, Error> {
        let path = match self.engine.options().criu_work_path.as_str() {
            "" => self.bundle.join("work/criu-work"),
            path => path.into(),
        };
        std::fs::create_dir_all(&path)
            .map_err(|error| Error::file(format!("criu's folder {}", path.display()), &error))?;
        Ok(path)
    }
}
