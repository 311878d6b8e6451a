//! The image that is unpacked: a big layer, one of many small files, and one that changes and adds to both.

use std::path::{Path, PathBuf};
use std::process::Command;

use keel_tests::{Layout, TarEntry, tarball};

/// Says that the image is to be made, and nothing else.
const IMAGE: &str = "image";
/// Bytes of the file that makes a layer big.
const BIG: usize = 96 << 20;

/// Numbers that are always the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % below
    }

    /// Text that gzip makes about a third of, as it does of programs and their data.
    fn content(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 16);
        while bytes.len() < length {
            match self.next(4) {
                0 => bytes.extend(self.next(usize::MAX).to_le_bytes()),
                _ => {
                    let word = self.next(2000);
                    bytes.extend(format!("word{word:x} ").as_bytes());
                    bytes.extend([b'a' + (word % 26) as u8; 6]);
                }
            }
        }
        bytes.truncate(length);
        bytes
    }
}

fn make(folder: &Path, files: usize) {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut layout = Layout::new(folder);
    let mut base = vec![TarEntry::directory("opt", 0o755)];
    base.push(TarEntry::file("opt/big", numbers.content(BIG)));
    for number in 0..12 {
        let content = numbers.content(4 << 20);
        base.push(TarEntry::file(format!("opt/lib{number}.so"), content).mode(0o755));
    }
    layout.layer(&tarball(&base));
    drop(base);
    let mut small = vec![TarEntry::directory("usr", 0o755)];
    let mut change = vec![TarEntry::directory("usr", 0o755), TarEntry::directory("etc", 0o755)];
    for number in 0..files {
        let (directory, name) = (number / 25, number % 25);
        if name == 0 {
            small.push(TarEntry::directory(format!("usr/d{directory:04}"), 0o755));
            change.push(TarEntry::directory(format!("usr/d{directory:04}"), 0o755));
        }
        let path = format!("usr/d{directory:04}/file-{name}");
        let length = 200 + numbers.next(7000);
        small.push(TarEntry::file(&path, numbers.content(length)));
        match number % 20 {
            0 => change.push(TarEntry::file(format!("usr/d{directory:04}/.wh.file-{name}"), "")),
            1..5 => {
                let content = numbers.content(length / 2);
                change.push(TarEntry::file(format!("etc/f{number:06}"), content).owner(1000, 1000));
            }
            5 => change.push(TarEntry::symlink(format!("etc/l{number:06}"), path)),
            6 => {
                let first = format!("etc/f{:06}", number - 2);
                change.push(TarEntry::hard_link(format!("etc/h{number:06}"), first));
            }
            _ => {}
        }
    }
    layout.layer(&tarball(&small));
    layout.layer(&tarball(&change));
    layout.finish("image");
}

/// Makes the image with the tag `image` in a layout below `scratch`, in a process of its own, because the peak
/// memory of a process counts for those that it starts.
pub(crate) fn layout(scratch: &Path) -> PathBuf {
    let layout = scratch.join("layout");
    let own = std::env::current_exe().expect("a path");
    let made = Command::new(own).arg(IMAGE).arg(&layout).status();
    assert!(made.is_ok_and(|status| status.success()), "the image is made");
    layout
}

/// Makes it, if this is that process.
pub(crate) fn is_made(words: &[String]) -> bool {
    let [word, folder] = words else { return false };
    if word != IMAGE {
        return false;
    }
    let files = std::env::var("KEEL_BENCH_FILES").ok().and_then(|word| word.parse().ok());
    make(Path::new(folder), files.unwrap_or(20_000));
    true
}
