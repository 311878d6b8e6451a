//! What any program must do to unpack an image: read and digest each blob, inflate it, digest what comes out,
//! and make the files. Nothing is checked, resolved, limited or recorded, so this is a bound and no tool.
//!
//! `bench-unpack-floor LAYOUT TARGET`; `bench-unpack` calls it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use rustix::fs::{Mode, OFlags, Timespec, Timestamps};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const BUFFER: usize = 128 << 10;

/// Digests what passes.
struct Digested<R>(R, Sha256);

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.update(&buffer[..count]);
        Ok(count)
    }
}

fn main() {
    let mut words = std::env::args_os().skip(1);
    let (Some(layout), Some(target)) = (words.next(), words.next()) else {
        eprintln!("usage: bench-unpack-floor LAYOUT TARGET");
        std::process::exit(2);
    };
    let (layout, target) = (Path::new(&layout), Path::new(&target));
    rustix::process::umask(Mode::empty());
    let document = |path: &str| -> Value {
        let bytes = std::fs::read(layout.join(path)).expect("a document");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let blob = |value: &Value| {
        format!("blobs/{}", value["digest"].as_str().unwrap_or_default().replace(':', "/"))
    };
    let manifest = document(&blob(&document("index.json")["manifests"][0]));
    std::thread::scope(|scope| {
        for (number, layer) in manifest["layers"].as_array().expect("layers").iter().enumerate() {
            let source = layout.join(blob(layer));
            let tree = target.join(number.to_string());
            scope.spawn(move || unpack(&source, &tree).expect("a layer"));
        }
    });
}

fn unpack(source: &Path, tree: &Path) -> io::Result<()> {
    std::fs::create_dir_all(tree)?;
    let tree = File::open(tree)?;
    let source = BufReader::with_capacity(BUFFER, Digested(File::open(source)?, Sha256::new()));
    let inflated = Digested(MultiGzDecoder::new(source), Sha256::new());
    let mut archive = BufReader::with_capacity(BUFFER, inflated);
    let mut block = [0; 512];
    loop {
        archive.read_exact(&mut block)?;
        let text = |range: std::ops::Range<usize>| {
            let field = &block[range];
            &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
        };
        let number = |range| {
            let digits = text(range).iter().filter(|byte| byte.is_ascii_digit());
            digits.fold(0_u64, |number, digit| number * 8 + u64::from(digit - b'0'))
        };
        if block[0] == 0 {
            break;
        }
        let (path, mode) = (text(0..100), Mode::from_raw_mode(number(100..108) as u32));
        match block[156] {
            b'0' => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let mut file = File::from(rustix::fs::openat(&tree, path, flags, mode)?);
                copy(&mut archive, &mut file, number(124..136))?;
                let time = Timespec { tv_sec: number(136..148) as i64, tv_nsec: 0 };
                let times = Timestamps { last_access: time, last_modification: time };
                rustix::fs::futimens(file.as_fd(), &times)?;
            }
            b'5' => rustix::fs::mkdirat(&tree, path, mode)?,
            b'2' => rustix::fs::symlinkat(text(157..257), &tree, path)?,
            b'1' => rustix::fs::linkat(
                &tree,
                text(157..257),
                &tree,
                path,
                rustix::fs::AtFlags::empty(),
            )?,
            _ => {}
        }
    }
    io::copy(&mut archive, &mut io::sink())?;
    std::hint::black_box(archive.into_inner().1.finalize());
    Ok(())
}

/// Writes from the buffer itself, and passes over the padding.
fn copy(archive: &mut impl BufRead, file: &mut File, size: u64) -> io::Result<()> {
    let mut left = size as usize;
    while left > 0 {
        let part = archive.fill_buf()?;
        let length = part.len().min(left);
        file.write_all(&part[..length])?;
        archive.consume(length);
        left -= length;
    }
    let mut padding = [0; 512];
    archive.read_exact(&mut padding[..size.next_multiple_of(512) as usize - size as usize])
}
