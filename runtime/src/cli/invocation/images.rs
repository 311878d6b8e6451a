//! The flags of checkpoint and restore. The messages are runc's.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::{Misuse, Reader};
use crate::cli::command::{CheckpointArgs, CreateArgs, RestoreArgs};
use crate::cli::error::CommandError;
use crate::cli::quote::quoted;
use crate::criu::message::{CgroupsMode, Options};

impl Reader<'_> {
    pub(super) fn checkpoint(&self) -> Result<CheckpointArgs, Misuse> {
        let options = Options {
            parent: self.text("parent-path")?,
            leave_running: self.is_set("leave-running"),
            tcp_skip_in_flight: self.is_set("tcp-skip-in-flight"),
            link_remap: self.is_set("link-remap"),
            page_server: self.page_server()?,
            ..self.options()?
        };
        Ok(CheckpointArgs {
            id: self.id()?,
            images: self.images()?,
            work: self.host_path("work-path")?,
            pre_dump: self.is_set("pre-dump"),
            status_fd: self.status_fd()?,
            options,
        })
    }

    pub(super) fn restore(&self) -> Result<RestoreArgs, CommandError> {
        let options = Options {
            tcp_close: self.is_set("tcp-close"),
            lsm_profile: self.text("lsm-profile")?,
            lsm_mount_context: self.text("lsm-mount-context")?,
            ..self.options()?
        };
        Ok(RestoreArgs {
            create: CreateArgs {
                id: self.id()?,
                bundle: self.bundle()?,
                config: None,
                console_socket: self.host_path("console-socket")?,
                pidfd_socket: None,
                pid_file: self.host_path("pid-file")?,
                no_pivot: self.is_set("no-pivot"),
                no_new_keyring: false,
                preserve_fds: 0,
            },
            detach: self.is_set("detach"),
            no_subreaper: self.is_set("no-subreaper"),
            images: self.images()?,
            work: self.host_path("work-path")?,
            options,
        })
    }

    /// What both commands tell criu.
    fn options(&self) -> Result<Options, CommandError> {
        let other = self.matches.list("empty-ns").find(|namespace| *namespace != "network");
        if let Some(namespace) = other {
            let namespace = quoted(&namespace.to_string_lossy());
            return Err(CommandError::new(format!("namespace {namespace} is not supported")));
        }
        let mode = self.matches.text("manage-cgroups-mode").unwrap_or_default();
        let cgroups = CgroupsMode::parse(&mode.to_string_lossy())
            .ok_or_else(|| CommandError::new("invalid manage-cgroups-mode value"))?;
        Ok(Options {
            cgroups,
            tcp_established: self.is_set("tcp-established"),
            ext_unix_sk: self.is_set("ext-unix-sk"),
            shell_job: self.is_set("shell-job"),
            file_locks: self.is_set("file-locks"),
            auto_dedup: self.is_set("auto-dedup"),
            lazy_pages: self.is_set("lazy-pages"),
            ..Options::default()
        })
    }

    fn images(&self) -> Result<PathBuf, CommandError> {
        let given = self.host_path("image-path")?;
        given.map_or_else(|| self.surroundings.absolute(OsStr::new("checkpoint")), Ok)
    }

    /// `ADDRESS:PORT`; an address of version 6 stands in brackets, as Go's `net.SplitHostPort` wants it.
    fn page_server(&self) -> Result<Option<(String, u16)>, CommandError> {
        let Some(text) = self.text("page-server")? else { return Ok(None) };
        let unclear = || CommandError::new("Use --page-server ADDRESS:PORT to specify page server");
        let (address, port) = text.rsplit_once(':').ok_or_else(unclear)?;
        let address = match address.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(unclear)?,
            None if address.contains(':') => return Err(unclear()),
            None => address,
        };
        if address.is_empty() || port.is_empty() {
            return Err(unclear());
        }
        let number = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok());
        let number = number.flatten().filter(|number| *number != 0);
        let port = number.ok_or_else(|| CommandError::new("Invalid port number"))?;
        Ok(Some((address.to_owned(), port)))
    }

    /// A descriptor of the caller's; a negative number means none.
    fn status_fd(&self) -> Result<Option<i32>, Misuse> {
        let Some(text) = self.matches.text("status-fd") else { return Ok(None) };
        let text = text.to_string_lossy();
        let number = text.parse::<i32>().map_err(|_| {
            let message =
                format!("invalid value {} for flag -status-fd: parse error", quoted(&text));
            Misuse::Flag(message, Some(self.verb))
        })?;
        Ok((number >= 0).then_some(number))
    }
}
