//! Compression of layers and archives. What it is, is read from the bytes: media types are often
//! wrong about it.

use std::io::{self, BufReader, Chain, Cursor, Read, Write};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::gzip::GzipEncoder;
use super::window;

/// The level of gzip: the default of most tools, so that sizes surprise nobody. It is fixed,
/// because the bytes of a layer, and so its digest, depend on it.
const GZIP_LEVEL: u32 = 6;
/// The level of zstd, for the same reasons.
const ZSTD_LEVEL: i32 = 3;
/// The largest window of a zstd frame, as a power of two: 128 MiB, so that a frame's header cannot
/// ask for all memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// The window that any frame may have, whatever the first one of its stream asks for: 8 MiB, which
/// RFC 8878 wants every decoder to support.
const ZSTD_WINDOW_LOG_ALWAYS: u32 = 23;
/// The most memory of an xz stream, in KiB: twice what `xz -9` asks for.
const XZ_MEMORY_KIB_MAX: u32 = 130 << 10;
const BUFFER: usize = 128 << 10;

/// A way to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Bytes as they are.
    None,
    /// Gzip, which every tool reads.
    #[default]
    Gzip,
    /// Zstandard, which is several times faster.
    Zstd,
    /// Bzip2, which is read and not written.
    Bzip2,
    /// Xz, which is read and not written.
    Xz,
}

impl Compression {
    /// The name that people know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }
}

/// Why compressed bytes cannot be read: the beginning could not be, or the decoder not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot read compressed data")]
pub struct DecodeError(#[source] pub io::Error);

/// A reader whose first bytes have been looked at.
pub type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

type Source<R> = BufReader<Peeked<R>>;

/// A reader that undoes gzip (all members), zstd (all frames, skippable ones skipped), xz and bzip2
/// (all streams).
pub struct Decoder<R: Read> {
    inner: Inner<R>,
    window_bytes: u64,
}

enum Inner<R: Read> {
    None(Source<R>),
    Gzip(Box<MultiGzDecoder<Source<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, Source<R>>),
    Bzip2(Box<MultiBzDecoder<Source<R>>>),
    Xz(Box<XzReader<Source<R>>>),
}

impl<R: Read> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Decoder").field(&self.compression()).finish()
    }
}

fn detect(magic: &[u8]) -> Compression {
    // A stream may begin with one of zstd's sixteen skippable frames.
    let skippable =
        magic.len() >= 4 && magic[0] & 0xf0 == 0x50 && magic[1..4] == [0x2a, 0x4d, 0x18];
    match magic {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ if skippable => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, ..] => Compression::Bzip2,
        _ => Compression::None,
    }
}

/// Looks at the first bytes of `reader`, which the returned reader gives again.
///
/// # Errors
/// The reader's.
pub fn peek<R: Read>(mut reader: R) -> io::Result<(Compression, Peeked<R>)> {
    let mut head = Vec::new();
    // A pipe may give one byte at a time.
    (&mut reader).take(window::HEAD_BYTES).read_to_end(&mut head)?;
    Ok((detect(&head), Cursor::new(head).chain(reader)))
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes of `reader` and decompresses accordingly.
    ///
    /// # Errors
    /// The reader's, or that the decoder cannot be made.
    pub fn new(reader: R) -> Result<Self, DecodeError> {
        let (compression, reader) = peek(reader).map_err(DecodeError)?;
        let zstd_window = window::of_zstd(reader.get_ref().0.get_ref()).unwrap_or(0);
        let source = BufReader::with_capacity(BUFFER, reader);
        let (inner, window_bytes) = match compression {
            Compression::None => (Inner::None(source), 0),
            Compression::Gzip => (Inner::Gzip(Box::new(MultiGzDecoder::new(source))), 32 << 10),
            Compression::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(source).map_err(DecodeError)?;
                let log = zstd_window.checked_next_power_of_two().map_or(u32::MAX, u64::ilog2);
                let log = log.clamp(ZSTD_WINDOW_LOG_ALWAYS, ZSTD_WINDOW_LOG_MAX);
                decoder.window_log_max(log).map_err(DecodeError)?;
                // Frames after the first may take what any frame may.
                (Inner::Zstd(decoder), 1 << log)
            }
            Compression::Bzip2 => (Inner::Bzip2(Box::new(MultiBzDecoder::new(source))), 4 << 20),
            Compression::Xz => {
                let decoder = XzReader::new_mem_limit(source, true, XZ_MEMORY_KIB_MAX);
                (Inner::Xz(Box::new(decoder)), u64::from(XZ_MEMORY_KIB_MAX) << 10)
            }
        };
        Ok(Self { inner, window_bytes })
    }

    /// The most bytes of its own output that the decoder remembers.
    pub(crate) fn window_bytes(&self) -> u64 {
        self.window_bytes
    }

    /// What the bytes turned out to be.
    #[must_use]
    pub fn compression(&self) -> Compression {
        match self.inner {
            Inner::None(_) => Compression::None,
            Inner::Gzip(_) => Compression::Gzip,
            Inner::Zstd(_) => Compression::Zstd,
            Inner::Bzip2(_) => Compression::Bzip2,
            Inner::Xz(_) => Compression::Xz,
        }
    }

    /// The reader of the compressed bytes.
    pub fn get_ref(&self) -> &R {
        let source = match &self.inner {
            Inner::None(source) => source,
            Inner::Gzip(decoder) => decoder.get_ref(),
            Inner::Zstd(decoder) => decoder.get_ref(),
            Inner::Bzip2(decoder) => decoder.get_ref(),
            Inner::Xz(decoder) => decoder.inner(),
        };
        source.get_ref().get_ref().1
    }

    /// The reader of the compressed bytes. What the decoder has read ahead is lost, so it is asked
    /// for after the end only.
    pub fn into_inner(self) -> R {
        let source = match self.inner {
            Inner::None(source) => source,
            Inner::Gzip(decoder) => decoder.into_inner(),
            Inner::Zstd(decoder) => decoder.finish(),
            Inner::Bzip2(decoder) => decoder.into_inner(),
            Inner::Xz(decoder) => decoder.into_inner(),
        };
        source.into_inner().into_inner().1
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::None(source) => source.read(buffer),
            Inner::Gzip(decoder) => decoder.read(buffer),
            Inner::Zstd(decoder) => decoder.read(buffer),
            Inner::Bzip2(decoder) => decoder.read(buffer),
            Inner::Xz(decoder) => decoder.read(buffer),
        }
    }
}

/// A writer that compresses, gzip by as many threads as there are processors. The same bytes always give the same bytes.
pub struct Encoder<W: Write>(Outer<W>);

enum Outer<W: Write> {
    None(W),
    Gzip(GzipEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> std::fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl<W: Write> Encoder<W> {
    /// Compresses to `writer`.
    ///
    /// # Errors
    /// The compressor could not be made; the compression is one that is read only.
    pub fn new(writer: W, compression: Compression) -> io::Result<Self> {
        Self::with_level(writer, compression, None)
    }

    /// As [`Encoder::new`] with the compressor's own measure of its effort: to 9 for gzip, to 22 for zstd.
    ///
    /// # Errors
    /// As [`Encoder::new`]; the measure is larger.
    pub fn with_level(writer: W, compression: Compression, level: Option<u32>) -> io::Result<Self> {
        let most = if compression == Compression::Gzip { 9 } else { 22 };
        if level.is_some_and(|level| level > most) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no such level"));
        }
        Ok(Self(match compression {
            Compression::None => Outer::None(writer),
            Compression::Gzip => Outer::Gzip(GzipEncoder::new(writer, level.unwrap_or(GZIP_LEVEL))),
            Compression::Zstd => {
                let level = level.and_then(|level| level.try_into().ok()).unwrap_or(ZSTD_LEVEL);
                Outer::Zstd(zstd::stream::write::Encoder::new(writer, level)?)
            }
            Compression::Bzip2 | Compression::Xz => {
                let reason = format!("{} is read and not written", compression.name());
                return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
            }
        }))
    }

    /// Writes what is still held back and gives the writer back.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Outer::None(mut writer) => {
                writer.flush()?;
                Ok(writer)
            }
            Outer::Gzip(encoder) => encoder.finish(),
            Outer::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Outer::None(writer) => writer.write(buffer),
            Outer::Gzip(encoder) => encoder.write(buffer),
            Outer::Zstd(encoder) => encoder.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Outer::None(writer) => writer.flush(),
            Outer::Gzip(encoder) => encoder.flush(),
            Outer::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn encode(bytes: &[u8], compression: Compression) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new(), compression).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Decoder::new(bytes).unwrap().read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn reads_several_members_and_skippable_frames() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut bytes = encode(b"hello ", compression);
            bytes.extend(encode(b"world", compression));
            if compression == Compression::Zstd {
                let skippable = [0x52, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
                bytes.splice(0..0, skippable);
                bytes.extend(skippable);
            }
            assert_eq!(decode(&bytes).unwrap(), b"hello world", "{compression:?}");
            assert_eq!(decode(&bytes[..0]).unwrap(), b"");
            if compression != Compression::None {
                assert!(decode(&encode(b"hello", compression)[..12]).is_err(), "{compression:?}");
            }
        }
    }

    #[test]
    fn every_level_can_be_read() {
        let bytes: Vec<u8> = (0..2_000_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for (compression, levels) in
            [(Compression::Gzip, [0, 1, 9]), (Compression::Zstd, [0, 1, 19])]
        {
            for level in levels {
                let mut encoder =
                    Encoder::with_level(Vec::new(), compression, Some(level)).unwrap();
                encoder.write_all(&bytes[..1_500_000]).unwrap();
                let encoded = encoder.finish().unwrap();
                assert!(decode(&encoded).unwrap() == bytes[..1_500_000], "{compression:?} {level}");
            }
        }
        assert!(Encoder::with_level(Vec::new(), Compression::Gzip, Some(10)).is_err());
    }

    /// Two streams each of `hello ` and `world`, by the programs xz and bzip2.
    const XZ: &[u8] = include_bytes!("testdata/two-streams.xz");
    const BZIP2: &[u8] = include_bytes!("testdata/two-streams.bz2");

    #[test]
    fn reads_what_it_does_not_write() {
        for (bytes, compression) in [(XZ, Compression::Xz), (BZIP2, Compression::Bzip2)] {
            assert_eq!(Decoder::new(bytes).unwrap().compression(), compression);
            assert_eq!(decode(bytes).unwrap(), b"hello world", "{compression:?}");
            assert!(decode(&bytes[..bytes.len() - 8]).is_err(), "{compression:?}");
            let mut damaged = bytes.to_vec();
            damaged[bytes.len() / 4] ^= 1;
            assert!(decode(&damaged).is_err(), "{compression:?}");
            assert!(Encoder::new(Vec::new(), compression).is_err(), "{compression:?}");
        }
        assert_eq!(decode(b"BZh is how a text may begin").unwrap(), b"BZh is how a text may begin");
    }

    #[test]
    fn bounds_the_memory_of_xz() {
        // The dictionary's size stands in the block's header: 4 GiB less one byte.
        let mut greedy = include_bytes!("testdata/large-dictionary.xz").to_vec();
        let error = decode(&greedy).unwrap_err();
        assert_ne!(error.kind(), io::ErrorKind::InvalidData, "the header is a good one: {error}");
        greedy.truncate(12);
        assert!(decode(&greedy).is_err());
    }
}
