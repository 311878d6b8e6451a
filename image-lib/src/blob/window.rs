//! How much of its own output a decompressor must remember, and how much all of them together may: an image
//! may have a hundred layers whose frames ask for 128 MiB each.

use std::sync::{Condvar, Mutex, PoisonError};

/// What the decompressors of a process may hold together. One that asks for more works alone.
const TOGETHER_MAX: u64 = 32 << 20;

/// So many bytes at the beginning of a stream are looked at for its first frame. Tools that write
/// skippable frames before each frame (pzstd) write short ones.
pub(super) const HEAD_BYTES: u64 = 64;

static HELD: Mutex<u64> = Mutex::new(0);
static LESS: Condvar = Condvar::new();

/// A part of the memory of all decompressors, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held(u64);

impl Held {
    /// Waits until `bytes` more are within what all may hold, or all others have ended. Whoever holds
    /// some must not wait for more, nor for someone who does.
    pub(crate) fn wait_for(bytes: u64) -> Self {
        // The number is changed in one step, so a panic leaves it whole.
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        while *held > 0 && bytes > 0 && *held + bytes > TOGETHER_MAX {
            held = LESS.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        *held += bytes;
        Self(bytes)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *HELD.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        LESS.notify_all();
    }
}

/// The window of the first frame in `head` that is not skippable (RFC 8878, 3.1.1), in bytes; nothing
/// if `head` ends before it is said.
pub(super) fn of_zstd(mut head: &[u8]) -> Option<u64> {
    loop {
        let magic = u32::from_le_bytes(*head.first_chunk()?);
        if magic & 0xffff_fff0 != 0x184d_2a50 {
            break;
        }
        let length = u32::from_le_bytes(*head.get(4..)?.first_chunk()?);
        head = head.get(8..)?.get(usize::try_from(length).ok()?..)?;
    }
    let (descriptor, rest) = head.get(4..)?.split_first()?;
    let is_single_segment = descriptor & 0x20 != 0;
    if !is_single_segment {
        let window = rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // The window is all of the content, whose size follows the dictionary's id.
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content = rest.get(dictionary_bytes..)?;
    Some(match descriptor >> 6 {
        0 => u64::from(*content.first()?),
        1 => u64::from(u16::from_le_bytes(*content.first_chunk()?)) + 256,
        2 => u64::from(u32::from_le_bytes(*content.first_chunk()?)),
        _ => u64::from_le_bytes(*content.first_chunk()?),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_the_window_of_the_first_frame() {
        const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
        let frame = |rest: &[u8]| [&MAGIC[..], rest].concat();
        assert_eq!(of_zstd(&frame(&[0, 13 << 3])), Some(8 << 20));
        assert_eq!(of_zstd(&frame(&[0x84, 17 << 3 | 2])), Some((128 << 20) + (32 << 20)));
        assert_eq!(of_zstd(&frame(&[0x20, 200])), Some(200));
        assert_eq!(of_zstd(&frame(&[0x61, 9, 1, 0])), Some(257));
        assert_eq!(of_zstd(&frame(&[0xa3, 1, 2, 3, 4, 0, 0, 0, 1])), Some(1 << 24));
        let skipped = [&[0x53, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &frame(&[0, 0])].concat();
        assert_eq!(of_zstd(&skipped), Some(1024));
        for length in 0..skipped.len() {
            assert_eq!(of_zstd(&skipped[..length]), None, "{length}");
        }
        assert_eq!(of_zstd(&[0x50, 0x2a, 0x4d, 0x18, 255, 255, 255, 255, 0]), None);
        // What zstd itself writes.
        for (level, window) in [(3, 2 << 20), (22, 128 << 20)] {
            use std::io::Write as _;
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level).unwrap();
            encoder.write_all(b"hello").unwrap();
            assert_eq!(of_zstd(&encoder.finish().unwrap()), Some(window), "{level}");
        }
    }

    #[test]
    fn large_windows_wait_for_each_other() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let held = Held::wait_for(TOGETHER_MAX * 4);
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    // Those who need nothing wait for nobody.
                    drop(Held::wait_for(0));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(held);
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
    }
}
