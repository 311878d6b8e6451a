//! A registry in the test's own process that serves an OCI layout and can be told to fail: connections that
//! end early, wrong bytes, refusals, redirections. It remembers every request and every byte it sent.
//! It is a token server too (`tokens`), and takes uploads, in pieces or whole (`uploads`).

mod connection;
mod images;
mod tokens;
mod uploads;

use std::collections::{BTreeMap, VecDeque};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use connection::Answer;
use images::catalog;

/// What happens to one answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Another status, with headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// The connection ends after so many bytes of the body.
    CutAt(usize),
    /// The connection is silent after so many bytes of the body, until the client has gone.
    SilentAt(usize),
    /// Other bytes, announced with their own length.
    Bytes(Vec<u8>),
    /// The whole, whatever part was asked for.
    WithoutRange,
    /// One more header, or another value of one.
    Header(&'static str, String),
    /// Nothing out of the ordinary, for a sequence.
    None,
    /// The connection ends when so many bytes of the request's body have come, without an answer; an upload
    /// keeps them.
    CutRequestAt(usize),
    /// A slow answer: so many bytes of the body, and the rest when [`FaultyRegistry::release`] is called.
    HeldAt(usize),
}

/// Whom the registry serves.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// Where tokens are to be had; without one, by this server.
    pub realm: Option<String>,
    /// `user:password` that the token server wants to see.
    pub password: Option<&'static str>,
    /// The identity token that the token server wants to see.
    pub identity: Option<&'static str>,
    /// How long tokens live, as the token server says.
    pub expires_in: Option<u64>,
    /// After so many uses a token is taken back.
    pub uses: Option<usize>,
}

/// A request that was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method and target: `GET /v2/app/manifests/1`.
    pub line: String,
    /// The headers by their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

/// A registry that fails as it is told to.
#[derive(Debug)]
pub struct FaultyRegistry {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    layout: PathBuf,
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<(String, VecDeque<Fault>)>,
    guard: Option<Guard>,
    /// Tokens with the number of uses left.
    tokens: BTreeMap<String, usize>,
    seen: Vec<Seen>,
    sent: BTreeMap<String, u64>,
    is_released: bool,
    is_over: bool,
    /// Uploads that are open, with what has come.
    uploads: BTreeMap<String, Vec<u8>>,
    /// What was pushed: blobs by digest, manifests by tag or digest.
    received: BTreeMap<String, Vec<u8>>,
    /// Repositories from which blobs can be mounted.
    mountable: Vec<String>,
    /// What answers to a new upload say with `OCI-Chunk-Min-Length`; smaller chunks are refused.
    chunk_min: usize,
    begun: usize,
    /// Are the layout's own images not served?
    is_empty: bool,
    lists_referrers: bool,
    forbids_deletion: bool,
    /// Tags and digests that were deleted.
    deleted: Vec<String>,
}

impl FaultyRegistry {
    /// Serves the images of the OCI layout in a folder, under any repository's name.
    pub fn serve(layout: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared { layout: layout.to_owned(), ..Shared::default() });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if own.state().is_over {
                    break;
                }
                let shared = Arc::clone(&own);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { port, shared }
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The full name of an image of it.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address())
    }

    /// The answers to the next requests whose line contains `part` fail so, one after the other.
    pub fn fails(&self, part: &str, faults: impl IntoIterator<Item = Fault>) {
        self.shared.state().faults.push((part.to_owned(), faults.into_iter().collect()));
    }

    /// From now on tokens are wanted.
    pub fn guard(&self, guard: Guard) {
        self.shared.state().guard = Some(guard);
    }

    /// From now on the layout's blobs are not there: only what was pushed is.
    pub fn forget_blobs(&self) {
        self.shared.state().is_empty = true;
    }

    /// From now on blobs can be mounted from this repository.
    pub fn mounts_from(&self, repository: &str) {
        self.shared.state().mountable.push(repository.to_owned());
    }

    /// From now on chunks but the last have at least so many bytes.
    pub fn wants_chunks_of(&self, bytes: usize) {
        self.shared.state().chunk_min = bytes;
    }

    /// From now on it keeps lists of referrers, and says so to who pushes one.
    pub fn lists_referrers(&self) {
        self.shared.state().lists_referrers = true;
    }

    /// From now on its tags and manifests cannot be deleted.
    pub fn forbids_deletion(&self) {
        self.shared.state().forbids_deletion = true;
    }

    /// What was pushed under a digest, or as a manifest under a tag.
    pub fn received(&self, name: &str) -> Option<Vec<u8>> {
        self.shared.state().received.get(name).cloned()
    }

    /// How many uploads were begun and neither closed nor given back.
    pub fn open_uploads(&self) -> usize {
        self.shared.state().uploads.len()
    }

    /// Answers that are held go on.
    pub fn release(&self) {
        self.shared.state().is_released = true;
        self.shared.released.notify_all();
    }

    /// All requests until now.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.state().seen.clone()
    }

    /// The requests whose line contains `part`.
    pub fn seen_of(&self, part: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.line.contains(part)).collect()
    }

    /// The bytes of bodies that were sent for targets that contain `part`.
    pub fn sent(&self, part: &str) -> u64 {
        let state = self.shared.state();
        state.sent.iter().filter(|(target, _)| target.contains(part)).map(|(_, n)| n).sum()
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        (state.is_over, state.is_released) = (true, true);
        drop(state);
        self.shared.released.notify_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, seen: &Seen, without_range: bool) -> Answer {
        let target = seen.line.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path == "/token" {
            return self.token(seen, query);
        }
        if let Some(refusal) = self.refusal(seen, path) {
            return refusal;
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts[..] {
            ["v2", .., "manifests", which] if seen.line.starts_with("DELETE ") => {
                self.delete(which)
            }
            ["v2", ""] => Answer::new(200, "{}"),
            ["v2", .., "manifests", which] => self.manifest(which),
            ["v2", .., "blobs", digest] => self.blob(seen, digest, without_range),
            ["elsewhere", digest] => self.blob(seen, digest, without_range),
            ["v2", .., "tags", "list"] => self.tags(query),
            ["v2", "_catalog"] => catalog(query),
            ["v2", .., "referrers", digest] => self.referrers(digest, query),
            _ => Answer::error(404, "NAME_UNKNOWN", "no such thing"),
        }
    }
}
