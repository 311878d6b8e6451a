//! Cases of copying: a tree, a copy, and what must be in the rootfs afterwards.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::ignore::Ignore;
use super::super::source_tree::SourceTree;
use super::super::stat_cache::StatCache;
use super::{Changes, Copier, Destination, StepError, absolute_path};
use crate::fsroot::Root;

/// A context and a rootfs in a directory of their own.
struct Case {
    base: PathBuf,
}

impl Case {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "keel-transfer-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let base = std::env::temp_dir().join(name);
        fs::create_dir_all(base.join("context")).unwrap();
        fs::create_dir_all(base.join("rootfs")).unwrap();
        Self { base }
    }

    fn context(&self) -> PathBuf {
        self.base.join("context")
    }

    fn rootfs(&self) -> PathBuf {
        self.base.join("rootfs")
    }

    /// Writes files of the context, each with its path as content.
    fn with(self, files: &[&str]) -> Self {
        for file in files {
            let path = self.context().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        self
    }

    fn copy_with(
        &self,
        ignore: &str,
        exclude: &[&str],
        sources: &[&str],
        destination: &str,
    ) -> Result<(), StepError> {
        let root = Root::open(&self.context()).unwrap();
        let tree =
            SourceTree::context(root, Ignore::parse(ignore).unwrap(), StatCache::forgetful());
        let exclude: Vec<String> = exclude.iter().map(|text| (*text).to_owned()).collect();
        let exclude = Ignore::from_patterns(&exclude).unwrap();
        let target = Root::open(&self.rootfs()).unwrap();
        let changes = Changes::default();
        let mut copier = Copier::new(&target, &changes);
        for source in sources {
            for selected in tree.select(source, &exclude)? {
                copier.copy(&tree, &selected, &Destination::read(destination, "/work"))?;
            }
        }
        copier.settle()
    }

    fn copy(&self, sources: &[&str], destination: &str) -> Result<(), StepError> {
        self.copy_with("", &[], sources, destination)
    }

    /// Paths of all files and links of the rootfs, sorted.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        list(&self.rootfs(), Path::new(""), &mut found);
        found.sort();
        found
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.base);
    }
}

fn list(base: &Path, below: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(base.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            list(base, &path, found);
        } else {
            found.push(path.to_string_lossy().into_owned());
        }
    }
}

#[test]
fn follows_the_rules_of_destinations() {
    let files = ["a", "b", "d/x", "d/e/y"];
    for (sources, destination, expected) in [
        (vec!["a"], "/c", vec!["c"]),
        (vec!["a"], "/c/", vec!["c/a"]),
        (vec!["a"], "/c/f", vec!["c/f"]),
        (vec!["a"], "c", vec!["work/c"]),
        (vec!["a"], ".", vec!["work/a"]),
        (vec!["a"], "../c", vec!["c"]),
        (vec!["a", "b"], "/c/", vec!["c/a", "c/b"]),
        (vec!["d"], "/c", vec!["c/e/y", "c/x"]),
        (vec!["d/"], "/c/", vec!["c/e/y", "c/x"]),
        (vec!["."], "/", vec!["a", "b", "d/e/y", "d/x"]),
        (vec!["/../d"], "/c", vec!["c/e/y", "c/x"]),
        (vec!["?"], "/c/", vec!["c/a", "c/b", "c/e/y", "c/x"]),
        (vec!["d/*"], "/c/", vec!["c/x", "c/y"]),
        (vec!["*.none"], "/c/", vec![]),
    ] {
        let case = Case::new().with(&files);
        case.copy(&sources, destination).unwrap();
        assert_eq!(case.files(), expected, "{sources:?} to {destination}");
    }
}

#[test]
fn leaves_out_what_is_ignored_or_excluded() {
    let files = ["a.md", "a.txt", "d/b.md", "d/b.txt", "e/c.md"];
    let copied = |ignore: &str, exclude: &[&str]| {
        let case = Case::new().with(&files);
        case.copy_with(ignore, exclude, &["."], "/").unwrap();
        (case.files(), case.rootfs().join("e").exists())
    };
    assert_eq!(copied("**/*.md", &[]).0, ["a.txt", "d/b.txt"]);
    assert_eq!(copied("*\n!d/*.md", &[]), (vec!["d/b.md".to_owned()], false));
    assert_eq!(copied("e", &["*.md"]).0, ["a.txt", "d/b.md", "d/b.txt"]);
    let case = Case::new().with(&files);
    let error = case.copy_with("a.md", &[], &["a.md"], "/").unwrap_err();
    assert_eq!(error.to_string(), "\"/a.md\": not found (it is left out by .dockerignore)");
    assert_eq!(case.copy(&["zz"], "/").unwrap_err().to_string(), "\"/zz\": not found");
}

#[test]
fn keeps_links_and_follows_only_those_in_the_way() {
    let case = Case::new().with(&["d/x", "real/y"]);
    symlink("x", case.context().join("d/link")).unwrap();
    symlink("../../../etc/passwd", case.context().join("d/out")).unwrap();
    symlink("real", case.context().join("alias")).unwrap();
    case.copy(&["d"], "/c").unwrap();
    assert_eq!(
        fs::read_link(case.rootfs().join("c/out")).unwrap(),
        Path::new("../../../etc/passwd")
    );
    case.copy(&["alias"], "/l").unwrap();
    assert_eq!(fs::read_to_string(case.rootfs().join("l/y")).unwrap(), "real/y");
    // A link in the destination's path is followed, and never out of the rootfs.
    symlink("/../../c", case.rootfs().join("into")).unwrap();
    case.copy(&["real/y"], "/into/").unwrap();
    assert!(case.rootfs().join("c/y").exists());
    // A source that is a link to the outside selects nothing there.
    symlink("/etc/hostname", case.context().join("host")).unwrap();
    assert!(case.copy(&["host"], "/").is_err());
}

#[test]
fn replaces_files_without_writing_through_them() {
    let case = Case::new().with(&["f"]);
    fs::write(case.rootfs().join("kept"), "kept").unwrap();
    fs::create_dir(case.rootfs().join("d")).unwrap();
    symlink("../kept", case.rootfs().join("d/f")).unwrap();
    case.copy(&["f"], "/d/").unwrap();
    assert_eq!(fs::read_to_string(case.rootfs().join("kept")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(case.rootfs().join("d/f")).unwrap(), "f");
}

#[test]
fn refuses_what_does_not_fit() {
    let case = Case::new().with(&["f", "d/f/x"]);
    fs::create_dir_all(case.rootfs().join("t/f")).unwrap();
    fs::write(case.rootfs().join("file"), "").unwrap();
    for (source, destination, reason) in [
        ("f", "/t/", "cannot replace the directory \"/t/f\" with a file"),
        ("d", "/file", "cannot copy to \"/file\": it is no directory"),
        ("f", "/file/", "cannot copy to \"/file\": it is no directory"),
        ("f", "/file/x", "cannot copy to \"/file\": it is no directory"),
    ] {
        let error = case.copy(&[source], destination).unwrap_err().to_string();
        assert_eq!(error, reason, "{source} to {destination}");
    }
}

#[test]
fn keeps_attributes_times_and_hard_links() {
    let case = Case::new().with(&["d/a", "d/s/b"]);
    let context = case.context();
    fs::set_permissions(context.join("d/a"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::hard_link(context.join("d/a"), context.join("d/z")).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for path in ["d/s/b", "d/s"] {
        fs::File::open(context.join(path)).unwrap().set_modified(old).unwrap();
    }
    fs::create_dir(case.rootfs().join("c")).unwrap();
    fs::set_permissions(case.rootfs().join("c"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::File::open(case.rootfs().join("c")).unwrap().set_modified(old).unwrap();
    let file = fs::File::open(context.join("d/s/b")).unwrap();
    // Not every file system of temporary files takes attributes of users.
    let noted = rustix::fs::fsetxattr(&file, "user.note", b"kept", rustix::fs::XattrFlags::empty());
    case.copy(&["d"], "/c").unwrap();
    let copied = fs::File::open(case.rootfs().join("c/s/b")).unwrap();
    let mut note = [0_u8; 4];
    if noted.is_ok() {
        assert_eq!(rustix::fs::fgetxattr(&copied, "user.note", &mut note), Ok(4));
        assert_eq!(&note, b"kept");
    }
    let meta = |path: &str| fs::metadata(case.rootfs().join(path)).unwrap();
    assert_eq!(meta("c/a").mode() & 0o7777, 0o4750);
    assert_eq!(meta("c/a").ino(), meta("c/z").ino());
    assert_eq!((meta("c/s").mtime(), meta("c/s/b").mtime()), (1_000_000_000, 1_000_000_000));
    assert_eq!((meta("c").mtime(), meta("c").mode() & 0o7777), (1_000_000_000, 0o711));
}

#[test]
fn gives_merged_directories_the_attributes_of_the_source() {
    let case = Case::new().with(&["d/s/b"]);
    fs::create_dir_all(case.rootfs().join("c/s")).unwrap();
    for (path, mode) in [("c", 0o711), ("c/s", 0o700)] {
        fs::set_permissions(case.rootfs().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(case.context().join("d/s"), fs::Permissions::from_mode(0o2775)).unwrap();
    case.copy(&["d"], "/c").unwrap();
    let mode = |path: &str| fs::metadata(case.rootfs().join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("c"), mode("c/s")), (0o711, 0o2775));
}

#[test]
fn keeps_parents_and_their_attributes() {
    let files = ["a/b/c.txt", "a/b/d.md", "a/e.txt", "f.txt"];
    for (source, expected) in [
        ("a/b/c.txt", vec!["x/a/b/c.txt"]),
        ("./a/b/c.txt", vec!["x/a/b/c.txt"]),
        ("a/./b/c.txt", vec!["x/b/c.txt"]),
        ("a/b", vec!["x/a/b/c.txt", "x/a/b/d.md"]),
        ("**/*.txt", vec!["x/a/b/c.txt", "x/a/e.txt", "x/f.txt"]),
        ("a/./**/*.txt", vec!["x/b/c.txt", "x/e.txt"]),
    ] {
        let case = Case::new().with(&files);
        let mode = fs::Permissions::from_mode(0o750);
        fs::set_permissions(case.context().join("a/b"), mode).unwrap();
        let root = Root::open(&case.context()).unwrap();
        let tree = SourceTree::context(root, Ignore::default(), StatCache::forgetful());
        let target = Root::open(&case.rootfs()).unwrap();
        let changes = Changes::default();
        let mut copier = Copier::new(&target, &changes);
        for kept in tree.select_with_parents(source, &Ignore::default()).unwrap() {
            copier.copy_with_parents(&tree, &kept, &Destination::read("/x/", "/")).unwrap();
        }
        copier.settle().unwrap();
        assert_eq!(case.files(), expected, "{source}");
        if source == "a/b/c.txt" {
            let mode = fs::metadata(case.rootfs().join("x/a/b")).unwrap().mode();
            assert_eq!(mode & 0o7777, 0o750);
        }
    }
}

#[test]
fn joins_paths_inside_the_root() {
    for (base, text, expected) in
        [("/w", "a", "/w/a"), ("/w", "/a//b/", "/a/b"), ("/w", "../../..", "/"), ("/", "", "/")]
    {
        assert_eq!(absolute_path(base, text), expected);
    }
}
