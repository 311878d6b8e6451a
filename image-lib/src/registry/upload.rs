//! Sending one blob to a repository (distribution-spec "Pushing blobs"): not at all if it is there, mounted
//! from another repository of the registry, in one piece, or in chunks; and on from where a connection
//! ended, if the registry knows where that was.

use std::cell::RefCell;
use std::io::{self, Read};
use std::sync::Arc;

use ureq::http::header::{CONTENT_RANGE, CONTENT_TYPE};
use ureq::http::{HeaderName, HeaderValue, Method};

use super::RegistryError;
use super::client::{Request, Target};
use super::endpoint::Endpoint;
use super::header::upload_range;
use super::host::{Host, Outgoing, Payload, Response};
use super::repository::{Repository, Selector};
use super::scope::Scopes;
use super::url::{Scheme, Url, encode};
use crate::spec::Descriptor;
use crate::store::{Event, Progress};

/// The largest piece that a registry may ask for with `OCI-Chunk-Min-Length`.
const CHUNK_BYTES_MAX: u64 = 1 << 40;

/// Opens the bytes of a blob at their beginning.
pub type Opener<'o, 'c> = dyn Fn() -> io::Result<Box<dyn Read + 'c>> + 'o;

/// One blob on its way to a repository.
pub(super) struct Upload<'a> {
    pub(super) repository: &'a Repository,
    pub(super) endpoint: &'a Endpoint,
    pub(super) blob: &'a Descriptor,
    /// A repository of the same registry that may have it.
    pub(super) from: Option<&'a str>,
    /// What the token shall permit.
    pub(super) scopes: &'a Scopes,
    /// Bytes of one chunk; without it a blob is sent in one piece.
    pub(super) chunk: Option<u64>,
    pub(super) progress: &'a dyn Progress,
    /// Is the result not wanted any more?
    pub(super) is_given_up: &'a (dyn Fn() -> bool + Sync),
}

/// How a blob came to be in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// It was there.
    Present,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Sent,
}

/// An upload that the registry has opened.
struct Session {
    location: Url,
    /// The bytes that the registry has.
    sent: u64,
    /// The fewest bytes that a chunk but the last may have.
    least: u64,
}

enum Begun {
    Mounted,
    Session(Session),
}

/// A blob's bytes, read on where the last chunk ended, or else from the beginning.
struct Content<'o, 'c> {
    open: &'o Opener<'o, 'c>,
    reader: RefCell<Option<(Box<dyn Read + 'c>, u64)>>,
    /// Why the bytes could not be read: what the connection says then is only a consequence.
    failure: RefCell<Option<io::Error>>,
}

impl<'o, 'c> Content<'o, 'c> {
    fn new(open: &'o Opener<'o, 'c>) -> Self {
        Self { open, reader: RefCell::new(None), failure: RefCell::new(None) }
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut kept = self.reader.borrow_mut();
        let (reader, at) = match &mut *kept {
            Some((reader, at)) if *at == position => (reader, at),
            other => {
                let mut reader = (self.open)()?;
                io::copy(&mut reader.by_ref().take(position), &mut io::sink())?;
                let (reader, at) = other.insert((reader, position));
                (reader, at)
            }
        };
        let count = reader.read(buffer)?;
        *at += count as u64;
        Ok(count)
    }

    /// Reads what is left, so that damaged bytes are found.
    fn verify(&self) {
        let Some((mut reader, _)) = self.reader.borrow_mut().take() else { return };
        if let Err(error) = io::copy(&mut reader, &mut io::sink()) {
            *self.failure.borrow_mut() = Some(error);
        }
    }
}

/// A part of a blob as the body of a request. It can be sent more than once, if the blob can be opened so.
struct Piece<'p, 'o, 'c> {
    content: &'p Content<'o, 'c>,
    first: u64,
    bytes: u64,
    note: &'p dyn Fn(u64),
    is_given_up: &'p dyn Fn() -> bool,
}

impl Outgoing for Piece<'_, '_, '_> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn reader(&self) -> Box<dyn Read + '_> {
        Box::new(PieceReader { piece: self, read: 0 })
    }
}

struct PieceReader<'p, 'o, 'c> {
    piece: &'p Piece<'p, 'o, 'c>,
    read: u64,
}

impl Read for PieceReader<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.piece;
        let left = piece.bytes - self.read;
        if (piece.is_given_up)() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = piece.content.read_at(piece.first + self.read, &mut buffer[..length]);
        let read = match read {
            Ok(0) if length > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other,
        };
        let count = read.map_err(|error| {
            let kind = error.kind();
            *piece.content.failure.borrow_mut() = Some(error);
            io::Error::from(kind)
        })?;
        self.read += count as u64;
        (piece.note)(count as u64);
        Ok(count)
    }
}

impl Upload<'_> {
    /// Sees to it that the repository has the blob.
    pub(super) fn run(&self, open: &Opener<'_, '_>) -> Result<Arrived, RegistryError> {
        let host = self.repository.client().0.host(self.endpoint)?;
        let _slot = host.slot();
        if self.is_there(&host)? { Ok(Arrived::Present) } else { self.send(&host, open) }
    }

    /// Does the repository have the blob?
    pub(super) fn is_needless(&self) -> Result<bool, RegistryError> {
        self.is_there(&*self.repository.client().0.host(self.endpoint)?)
    }

    /// Sends the blob, or has it mounted, without asking whether it is there.
    pub(super) fn run_anyway(&self, open: &Opener<'_, '_>) -> Result<Arrived, RegistryError> {
        let host = self.repository.client().0.host(self.endpoint)?;
        let _slot = host.slot();
        self.send(&host, open)
    }

    fn is_there(&self, host: &Host) -> Result<bool, RegistryError> {
        let path = self.path(&format!("blobs/{}", self.blob.digest));
        let request = self.request(Method::HEAD, Target::Path(&path), Payload::None, &[404]);
        let answer = self.repository.client().0.send(host, &request)?;
        Ok(answer.status < 300)
    }

    /// Sends the blob, as often as it takes.
    fn send(&self, host: &Arc<Host>, open: &Opener<'_, '_>) -> Result<Arrived, RegistryError> {
        let client = &self.repository.client().0;
        let content = Content::new(open);
        let mut session = match self.begin(host)? {
            Begun::Mounted => return Ok(Arrived::Mounted),
            Begun::Session(session) => session,
        };
        let mut attempt = 0;
        loop {
            let error = match self.fill(host, &mut session, &content) {
                Ok(()) => return Ok(Arrived::Sent),
                Err(error) => error,
            };
            attempt += 1;
            if let Err(error) = self.may_go_on(attempt, error, &content) {
                self.cancel(host, &session);
                return Err(error);
            }
            client.check_cancelled()?;
            session = match self.resumed(host, &session) {
                Some(resumed) => resumed,
                None => {
                    self.cancel(host, &session);
                    self.open(host)?
                }
            };
        }
    }

    /// Waits before the next attempt, or says why there is none.
    fn may_go_on(
        &self,
        attempt: u32,
        error: RegistryError,
        content: &Content<'_, '_>,
    ) -> Result<(), RegistryError> {
        let client = &self.repository.client().0;
        client.check_cancelled()?;
        if (self.is_given_up)() {
            return Err(RegistryError::Cancelled);
        }
        let status = error.refusal().map(|refusal| refusal.status);
        if status == Some(400) {
            content.verify();
        }
        if let Some(source) = content.failure.borrow_mut().take() {
            return Err(RegistryError::Content {
                subject: self.subject(),
                digest: self.blob.digest.clone(),
                source,
            });
        }
        // The registry has another part than it should, or has forgotten the upload.
        let is_out_of_step = matches!(status, Some(404 | 416));
        if is_out_of_step && attempt <= client.options.retry.retries {
            return Ok(());
        }
        client.options.retry.pause(attempt, error, &client.options.cancellation)
    }

    /// Asks for an upload, or for the blob of another repository.
    fn begin(&self, host: &Host) -> Result<Begun, RegistryError> {
        if let Some(from) = self.from
            && let Some(begun) = self.mount(host, from)?
        {
            return Ok(begun);
        }
        self.open(host).map(Begun::Session)
    }

    fn mount(&self, host: &Host, from: &str) -> Result<Option<Begun>, RegistryError> {
        let (digest, from) = (&self.blob.digest, encode(from));
        let path = self.path(&format!("blobs/uploads/?mount={digest}&from={from}"));
        // That this user may not read the other repository is no reason not to send the blob.
        let refused = [400, 401, 403, 404, 405];
        let request =
            self.request(Method::POST, Target::Path(&path), Payload::Bytes(b""), &refused);
        let answer = self.repository.client().0.send(host, &request)?;
        match answer.status {
            201 => Ok(Some(Begun::Mounted)),
            202 => self.session(host, &answer, 0).map(|session| Some(Begun::Session(session))),
            _ => Ok(None),
        }
    }

    fn open(&self, host: &Host) -> Result<Session, RegistryError> {
        let path = self.path("blobs/uploads/");
        let request = self.request(Method::POST, Target::Path(&path), Payload::Bytes(b""), &[]);
        let answer = self.repository.client().0.send(host, &request)?;
        match answer.status {
            202 => self.session(host, &answer, 0),
            _ => Err(self.unexpected(&Method::POST, &answer)),
        }
    }

    /// Where the upload goes on, by an answer's headers.
    fn session(&self, host: &Host, answer: &Response, sent: u64) -> Result<Session, RegistryError> {
        let location = answer.header("location").filter(|l| !l.is_empty());
        let location = location.and_then(|location| answer.url.resolve(location));
        let mut location = location.ok_or_else(|| self.unexpected(&Method::POST, answer))?;
        // Registries behind a proxy that ends TLS often do not know that it does.
        let base = host.url("/")?;
        if base.scheme() == Scheme::Https
            && location.scheme() == Scheme::Http
            && location.authority() == base.authority()
        {
            location = host.url(location.target())?;
        }
        let least = answer.header("oci-chunk-min-length").and_then(|text| text.parse().ok());
        Ok(Session { location, sent, least: least.unwrap_or(0).min(CHUNK_BYTES_MAX) })
    }

    /// Sends what the registry does not have yet, and closes the upload.
    fn fill(
        &self,
        host: &Host,
        session: &mut Session,
        content: &Content<'_, '_>,
    ) -> Result<(), RegistryError> {
        let size = self.blob.size;
        let chunk = self.chunk.unwrap_or(size).max(session.least).max(1);
        if session.sent == 0 && chunk >= size {
            return self.close(host, session, Some(content));
        }
        while session.sent < size {
            let bytes = chunk.min(size - session.sent);
            let range = format!("{}-{}", session.sent, session.sent + bytes - 1);
            let range = HeaderValue::from_str(&range).ok().map(|range| (CONTENT_RANGE, range));
            let url = session.location.clone();
            let answer = self.exchange(
                host,
                Method::PATCH,
                &url,
                range,
                Some((content, session.sent, bytes)),
            )?;
            let has = answer.header("range").and_then(upload_range);
            let sent = has.unwrap_or(session.sent + bytes);
            let next = self.session(host, &answer, sent.min(size))?;
            // Whoever takes nothing is not asked for ever.
            if next.sent <= session.sent {
                return Err(self.unexpected(&Method::PATCH, &answer));
            }
            *session = Session { least: next.least.max(session.least), ..next };
        }
        self.close(host, session, None)
    }

    fn close(
        &self,
        host: &Host,
        session: &Session,
        content: Option<&Content<'_, '_>>,
    ) -> Result<(), RegistryError> {
        let url = session.location.with_query("digest", &self.blob.digest.to_string());
        let body = content.map(|content| (content, 0, self.blob.size));
        let answer = self.exchange(host, Method::PUT, &url, None, body)?;
        match answer.status {
            200..=299 => Ok(()),
            _ => Err(self.unexpected(&Method::PUT, &answer)),
        }
    }

    /// What the registry has of an upload that was interrupted; nothing if all has to be sent again.
    fn resumed(&self, host: &Host, session: &Session) -> Option<Session> {
        let answer = self.exchange(host, Method::GET, &session.location, None, None).ok()?;
        let sent = answer.header("range").and_then(upload_range)?;
        // `0-0` means one byte or none.
        let fits = sent > 1 && sent <= self.blob.size;
        let resumed = fits.then(|| self.session(host, &answer, sent).ok()).flatten();
        resumed.map(|resumed| Session { least: session.least, ..resumed })
    }

    /// Gives an upload back. If that fails, the registry removes it later by itself.
    fn cancel(&self, host: &Host, session: &Session) {
        if !self.repository.client().0.options.cancellation.is_cancelled() {
            let _ = self.exchange(host, Method::DELETE, &session.location, None, None);
        }
    }

    /// One request for the upload, sent once: what was sent of a body is not sent again unseen.
    fn exchange(
        &self,
        host: &Host,
        method: Method,
        url: &Url,
        range: Option<(HeaderName, HeaderValue)>,
        body: Option<(&Content<'_, '_>, u64, u64)>,
    ) -> Result<Response, RegistryError> {
        let note =
            |bytes| self.progress.note(Event::AdvancePush { blob: &self.blob.digest, bytes });
        let client = &self.repository.client().0;
        let is_given_up = || (self.is_given_up)() || client.options.cancellation.is_cancelled();
        let piece = body.map(|(content, first, bytes)| {
            let (note, is_given_up) = (&note, &is_given_up);
            Piece { content, first, bytes, note, is_given_up }
        });
        let is_sending = matches!(method, Method::PUT | Method::PATCH);
        let payload = match &piece {
            Some(piece) => Payload::Piece(piece),
            None if is_sending => Payload::Bytes(b""),
            None => Payload::None,
        };
        let mut request = self.request(method, Target::Url(url), payload, &[]);
        if is_sending {
            let kind = HeaderValue::from_static("application/octet-stream");
            request.headers.push((CONTENT_TYPE, kind));
        }
        request.headers.extend(range);
        if host.url("/")?.is_same_origin(url) {
            client.send_once(host, &request)
        } else {
            client.send_elsewhere(url, &request)
        }
    }

    fn request<'r>(
        &'r self,
        method: Method,
        target: Target<'r>,
        payload: Payload<'r>,
        accepted: &'r [u16],
    ) -> Request<'r> {
        Request {
            method,
            target,
            headers: Vec::new(),
            own_headers: self.endpoint.own_headers(),
            payload,
            scopes: self.scopes.clone(),
            repository: &self.endpoint.repository,
            subject: self.repository.name(),
            accepted,
        }
    }

    fn path(&self, rest: &str) -> String {
        self.endpoint.target(rest)
    }

    fn subject(&self) -> String {
        self.repository.subject(&Selector::Digest(self.blob.digest.clone()))
    }

    fn unexpected(&self, method: &Method, answer: &Response) -> RegistryError {
        RegistryError::Unexpected {
            subject: self.subject(),
            method: method.to_string(),
            url: answer.url.clone(),
            status: answer.status,
        }
    }
}
