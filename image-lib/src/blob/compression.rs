//! Compression of layers and archives. What it is, is read from the bytes: media types are often
//! wrong about it.

use std::io::{self, BufReader, Chain, Cursor, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

/// The level of gzip: the default of most tools, so that sizes surprise nobody. It is fixed,
/// because the bytes of a layer, and so its digest, depend on it.
const GZIP_LEVEL: u32 = 6;
/// The level of zstd, for the same reasons.
const ZSTD_LEVEL: i32 = 3;
/// The largest window of a zstd frame, as a power of two: 128 MiB, so that a frame's header cannot
/// ask for all memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
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
}

/// Why compressed bytes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The compression is known by its first bytes, and not supported.
    #[error("{name} compression is not supported (known: gzip, zstd, none)")]
    Unsupported {
        /// The compression's name.
        name: &'static str,
    },
    /// The beginning could not be read, or the decoder not be made.
    #[error("cannot read compressed data")]
    Read(#[source] io::Error),
}

type Source<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// A reader that undoes gzip (all members) and zstd (all frames, skippable ones skipped).
pub struct Decoder<R: Read>(Inner<R>);

enum Inner<R: Read> {
    None(Source<R>),
    Gzip(Box<MultiGzDecoder<Source<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, Source<R>>),
}

impl<R: Read> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Decoder").field(&self.compression()).finish()
    }
}

fn detect(magic: &[u8]) -> Result<Compression, DecodeError> {
    // A stream may begin with one of zstd's sixteen skippable frames.
    let skippable =
        magic.len() >= 4 && magic[0] & 0xf0 == 0x50 && magic[1..4] == [0x2a, 0x4d, 0x18];
    match magic {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::Zstd),
        _ if skippable => Ok(Compression::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(DecodeError::Unsupported { name: "xz" }),
        [b'B', b'Z', b'h', ..] => Err(DecodeError::Unsupported { name: "bzip2" }),
        _ => Ok(Compression::None),
    }
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes of `reader` and decompresses accordingly.
    ///
    /// # Errors
    /// The reader's, or that the compression is not supported.
    pub fn new(mut reader: R) -> Result<Self, DecodeError> {
        let mut magic = Vec::with_capacity(6);
        // A pipe may give one byte at a time.
        (&mut reader).take(6).read_to_end(&mut magic).map_err(DecodeError::Read)?;
        let compression = detect(&magic)?;
        let source = BufReader::with_capacity(BUFFER, Cursor::new(magic).chain(reader));
        Ok(Self(match compression {
            Compression::None => Inner::None(source),
            Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(source))),
            Compression::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(source).map_err(DecodeError::Read)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(DecodeError::Read)?;
                Inner::Zstd(decoder)
            }
        }))
    }

    /// What the bytes turned out to be.
    #[must_use]
    pub fn compression(&self) -> Compression {
        match self.0 {
            Inner::None(_) => Compression::None,
            Inner::Gzip(_) => Compression::Gzip,
            Inner::Zstd(_) => Compression::Zstd,
        }
    }

    /// The reader of the compressed bytes.
    pub fn get_ref(&self) -> &R {
        let source = match &self.0 {
            Inner::None(source) => source,
            Inner::Gzip(decoder) => decoder.get_ref(),
            Inner::Zstd(decoder) => decoder.get_ref(),
        };
        source.get_ref().get_ref().1
    }

    /// The reader of the compressed bytes. What the decoder has read ahead is lost, so it is asked
    /// for after the end only.
    pub fn into_inner(self) -> R {
        let source = match self.0 {
            Inner::None(source) => source,
            Inner::Gzip(decoder) => decoder.into_inner(),
            Inner::Zstd(decoder) => decoder.finish(),
        };
        source.into_inner().into_inner().1
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::None(source) => source.read(buffer),
            Inner::Gzip(decoder) => decoder.read(buffer),
            Inner::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// A writer that compresses. The same bytes always give the same bytes.
pub struct Encoder<W: Write>(Outer<W>);

enum Outer<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
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
    /// The compressor could not be made.
    pub fn new(writer: W, compression: Compression) -> io::Result<Self> {
        Ok(Self(match compression {
            Compression::None => Outer::None(writer),
            Compression::Gzip => {
                Outer::Gzip(GzEncoder::new(writer, flate2::Compression::new(GZIP_LEVEL)))
            }
            Compression::Zstd => {
                Outer::Zstd(zstd::stream::write::Encoder::new(writer, ZSTD_LEVEL)?)
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
    fn refuses_what_it_does_not_know() {
        for magic in [&b"\xfd7zXZ\0"[..], b"BZh91A"] {
            assert!(matches!(Decoder::new(magic), Err(DecodeError::Unsupported { .. })));
        }
    }
}
