//! A registry in the test's own process that serves an OCI layout and can be told to fail: connections that
//! end early, wrong bytes, refusals, redirections. It remembers every request and every byte it sent.
//! It is a token server too, and takes uploads, in pieces or whole.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

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

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn error(status: u16, code: &str, message: &str) -> Self {
        let body = json!({ "errors": [{ "code": code, "message": message }] }).to_string();
        Self::new(status, body).with("Content-Type", "application/json")
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection, which is kept open between requests.
    fn serve(&self, stream: TcpStream) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(120)));
        let Ok(copy) = stream.try_clone() else { return };
        let mut reader = BufReader::new(copy);
        loop {
            match reader.fill_buf() {
                // A client that speaks TLS is told in its own language that this is none.
                Ok([0x16, ..]) => {
                    let _ = (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                    break;
                }
                Ok([_, ..]) => {}
                _ => break,
            }
            let Some(mut seen) = head(&mut reader) else { break };
            let fault = self.next_fault(&seen.line);
            let cut = match fault {
                Fault::CutRequestAt(bytes) => Some(bytes),
                _ => None,
            };
            let Some(body) = body(&mut reader, &seen, cut) else { break };
            seen.body = String::from_utf8_lossy(&body).into_owned();
            self.state().seen.push(seen.clone());
            if matches!(fault, Fault::Status(..)) {
                // Refused before anything was done.
            } else if let Some(answer) = self.upload(&seen, &body, cut.is_some()) {
                if cut.is_some() || !self.send(&stream, &seen, answer, fault) {
                    break;
                }
                continue;
            }
            let answer = self.answer(&seen, matches!(fault, Fault::WithoutRange));
            if !self.send(&stream, &seen, answer, fault) {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn next_fault(&self, line: &str) -> Fault {
        let mut state = self.state();
        let queue = state
            .faults
            .iter_mut()
            .find(|(part, queue)| line.contains(part.as_str()) && !queue.is_empty());
        queue.and_then(|(_, queue)| queue.pop_front()).unwrap_or(Fault::None)
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
            ["v2", ""] => Answer::new(200, "{}"),
            ["v2", .., "manifests", which] => self.manifest(which),
            ["v2", .., "blobs", digest] => self.blob(seen, digest, without_range),
            ["elsewhere", digest] => self.blob(seen, digest, without_range),
            ["v2", .., "tags", "list"] => self.tags(query),
            _ => Answer::error(404, "NAME_UNKNOWN", "no such thing"),
        }
    }

    /// Answers what a push asks, but for reading; nothing if it is something else.
    fn upload(&self, seen: &Seen, body: &[u8], is_cut: bool) -> Option<Answer> {
        let (method, target) = seen.line.split_once(' ')?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let is_upload = path.contains("/blobs/uploads/");
        if !is_upload && (method != "PUT" || !path.contains("/manifests/")) {
            return None;
        }
        if let Some(refusal) = self.refusal(seen, path) {
            return Some(refusal);
        }
        let field = |name: &str| {
            query.split('&').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let mut guard = self.state();
        let state = &mut *guard;
        let which = path.rsplit('/').next().unwrap_or_default().to_owned();
        if !is_upload {
            state.received.insert(which, body.to_vec());
            return Some(Answer::new(201, ""));
        }
        if method == "POST" {
            let from = field("from").unwrap_or_default();
            if let Some(digest) = field("mount")
                && state.mountable.iter().any(|own| own == from)
            {
                state.received.insert(digest.to_owned(), Vec::new());
                return Some(Answer::new(201, ""));
            }
            state.begun += 1;
            let name = state.begun.to_string();
            state.uploads.insert(name.clone(), Vec::new());
            let answer = Answer::new(202, "").with("Location", format!("{name}?state=a%2Fb"));
            let least = state.chunk_min;
            return Some(match least {
                0 => answer,
                _ => answer.with("OCI-Chunk-Min-Length", least.to_string()),
            });
        }
        let unknown = || Answer::error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload");
        // The query of the location must come back as it was.
        if field("state") != Some("a%2Fb") {
            return Some(unknown());
        }
        let Some(content) = state.uploads.get_mut(&which) else { return Some(unknown()) };
        let first =
            seen.headers.get("content-range").and_then(|r| r.split('-').next()?.parse().ok());
        if first.is_some_and(|first: usize| first != content.len()) {
            return Some(Answer::error(416, "RANGE_INVALID", "another part is missing"));
        }
        if method == "PATCH" && !is_cut && body.len() < state.chunk_min {
            let is_last = content.len() % state.chunk_min.max(1) == 0 && !content.is_empty();
            if !is_last {
                return Some(Answer::error(416, "SIZE_INVALID", "the chunk is too small"));
            }
        }
        content.extend_from_slice(body);
        let range = format!("0-{}", content.len().saturating_sub(1));
        match method {
            "DELETE" => {
                state.uploads.remove(&which);
                Some(Answer::new(204, ""))
            }
            "PUT" if !is_cut => {
                let content = state.uploads.remove(&which).unwrap_or_default();
                state.received.insert(field("digest").unwrap_or_default().to_owned(), content);
                Some(Answer::new(201, ""))
            }
            _ => {
                let status = if method == "GET" { 204 } else { 202 };
                let next = Answer::new(status, "").with("Range", range);
                Some(next.with("Location", format!("{which}?state=a%2Fb")))
            }
        }
    }

    fn manifest(&self, which: &str) -> Answer {
        let unknown = || Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown");
        let digest = match which.starts_with("sha256:") {
            true => which.to_owned(),
            false => match self.tagged().into_iter().find(|(tag, _)| tag == which) {
                Some((_, digest)) => digest,
                None => return unknown(),
            },
        };
        let Some(bytes) = self.bytes(&digest) else { return unknown() };
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let own = value["mediaType"].as_str().unwrap_or(match value.get("manifests") {
            Some(_) => "application/vnd.oci.image.index.v1+json",
            None => "application/vnd.oci.image.manifest.v1+json",
        });
        Answer::new(200, bytes).with("Content-Type", own).with("Docker-Content-Digest", digest)
    }

    /// Tags and digests of the layout's index.
    fn tagged(&self) -> Vec<(String, String)> {
        let text = fs::read(self.layout.join("index.json")).expect("index.json");
        let index: Value = serde_json::from_slice(&text).expect("JSON");
        let manifests = index["manifests"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = "org.opencontainers.image.ref.name";
        manifests.iter().map(|m| (text(&m["annotations"][name]), text(&m["digest"]))).collect()
    }

    /// One tag on each page, so that pages are turned.
    fn tags(&self, query: &str) -> Answer {
        let mut tags: Vec<String> = self.tagged().into_iter().map(|(tag, _)| tag).collect();
        tags.sort();
        let last = query.split('&').find_map(|word| word.strip_prefix("last="));
        let rest: Vec<String> =
            tags.into_iter().filter(|t| last.is_none_or(|l| t.as_str() > l)).collect();
        let page: Vec<&String> = rest.iter().take(1).collect();
        let answer = Answer::new(200, json!({ "name": "app", "tags": page }).to_string());
        match (page.first(), rest.len() > 1) {
            (Some(tag), true) => answer.with("Link", format!("<?n=1&last={tag}>; rel=\"next\"")),
            _ => answer,
        }
    }

    fn blob(&self, seen: &Seen, digest: &str, without_range: bool) -> Answer {
        let Some(bytes) = self.bytes(digest).filter(|_| !self.state().is_empty) else {
            return Answer::error(404, "BLOB_UNKNOWN", "blob unknown");
        };
        let (tag, total) = (format!("\"{digest}\""), bytes.len());
        let range = seen.headers.get("range").filter(|_| !without_range);
        let condition = seen.headers.get("if-range").is_none_or(|condition| *condition == tag);
        let first =
            range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        match first.filter(|_| condition) {
            Some(first) if first < total => Answer::new(206, &bytes[first..])
                .with("Content-Range", format!("bytes {first}-{}/{total}", total - 1))
                .with("ETag", tag),
            Some(_) => Answer::new(416, ""),
            None => Answer::new(200, bytes).with("ETag", tag),
        }
    }

    fn bytes(&self, digest: &str) -> Option<Vec<u8>> {
        fs::read(self.layout.join("blobs").join(digest.replace(':', "/"))).ok()
    }

    /// Refuses who has no token for the path.
    fn refusal(&self, seen: &Seen, path: &str) -> Option<Answer> {
        let mut state = self.state();
        let guard = state.guard.clone()?;
        let repository = path.trim_start_matches("/v2/");
        let end =
            ["/manifests/", "/blobs/", "/tags/"].iter().find_map(|word| repository.find(word));
        let is_writing = !matches!(seen.line.split(' ').next(), Some("GET" | "HEAD"));
        let actions = if is_writing { "pull,push" } else { "pull" };
        let scope = end.map(|end| format!("repository:{}:{actions}", &repository[..end]));
        let sent =
            seen.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let uses = sent
            .and_then(|sent| {
                sent.rsplit_once('|')
                    .filter(|(s, _)| scope.as_deref().is_none_or(|w| permits(s, w)))
                    .map(|_| sent)
            })
            .and_then(|sent| state.tokens.get_mut(sent));
        if let Some(uses) = uses
            && *uses > 0
        {
            *uses -= 1;
            return None;
        }
        let realm = guard.realm.unwrap_or_else(|| {
            format!("http://{}/token", seen.headers.get("host").cloned().unwrap_or_default())
        });
        let scope = scope.map(|scope| format!(",scope=\"{scope}\"")).unwrap_or_default();
        let challenge = format!("Bearer realm=\"{realm}\",service=\"tests, inc.\"{scope}");
        let refused = Answer::error(401, "UNAUTHORIZED", "authentication required");
        Some(refused.with("WWW-Authenticate", challenge))
    }

    /// The token server. A token is the scope it was asked for, and a number.
    fn token(&self, seen: &Seen, query: &str) -> Answer {
        use std::fmt::Write as _;
        let mut state = self.state();
        let guard = state.guard.clone().unwrap_or_default();
        let form = if seen.line.starts_with("POST") { seen.body.as_str() } else { query };
        let field = |name: &str| {
            let value = form.split('&').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().replace("%20", " ").replace("%3A", ":").replace("%2F", "/")
        };
        let scopes = || {
            let all = form.split('&').filter_map(|word| word.strip_prefix("scope="));
            let all =
                all.map(|word| word.replace("%20", " ").replace("%3A", ":").replace("%2F", "/"));
            all.collect::<Vec<_>>().join(" ")
        };
        let mut known = guard.password.is_none() && guard.identity.is_none();
        if let Some(password) = guard.password {
            let wanted = format!("Basic {}", base64(password.as_bytes()));
            known |= seen.headers.get("authorization") == Some(&wanted);
        }
        if let Some(identity) = guard.identity {
            known |= field("grant_type") == "refresh_token" && field("refresh_token") == identity;
        }
        if !known || field("service") != "tests, inc." {
            return Answer::new(
                401,
                json!({ "details": "incorrect username or password" }).to_string(),
            );
        }
        let mut token = scopes();
        let _ = write!(token, "|{}", state.tokens.len());
        state.tokens.insert(token.clone(), guard.uses.unwrap_or(usize::MAX));
        let mut body = json!({ "token": token });
        if let Some(seconds) = guard.expires_in {
            body["expires_in"] = json!(seconds);
        }
        Answer::new(200, body.to_string()).with("Content-Type", "application/json")
    }

    /// Sends an answer with its fault; false if the connection is over.
    fn send(&self, mut stream: &TcpStream, seen: &Seen, mut answer: Answer, fault: Fault) -> bool {
        match &fault {
            Fault::Status(status, headers, body) => {
                answer = Answer::new(*status, body.as_str());
                for (name, value) in headers {
                    answer = answer.with(name, value.as_str());
                }
            }
            Fault::Bytes(bytes) => answer.body.clone_from(bytes),
            Fault::Header(name, value) => answer = answer.with(name, value.as_str()),
            _ => {}
        }
        let mut head = format!(
            "HTTP/1.1 {} Tests\r\nContent-Length: {}\r\n",
            answer.status,
            answer.body.len()
        );
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        if stream.write_all(head.as_bytes()).is_err() {
            return false;
        }
        if seen.line.starts_with("HEAD") {
            return true;
        }
        let whole = answer.body.len();
        let stop = match fault {
            Fault::CutAt(at) | Fault::SilentAt(at) | Fault::HeldAt(at) => at.min(whole),
            _ => whole,
        };
        let target = seen.line.split(' ').nth(1).unwrap_or_default();
        if !self.send_counted(stream, target, &answer.body[..stop]) {
            return false;
        }
        match fault {
            Fault::CutAt(_) => false,
            Fault::SilentAt(_) => {
                // The client goes when it has waited long enough.
                let _ = stream.read(&mut [0; 1]);
                false
            }
            Fault::HeldAt(_) => {
                let mut state = self.state();
                while !state.is_released {
                    state = self.released.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                drop(state);
                self.send_counted(stream, target, &answer.body[stop..])
            }
            _ => true,
        }
    }

    fn send_counted(&self, mut stream: &TcpStream, target: &str, bytes: &[u8]) -> bool {
        for piece in bytes.chunks(16 << 10) {
            // Before it is sent: who has all of it may look at once.
            *self.state().sent.entry(target.to_owned()).or_default() += piece.len() as u64;
            if stream.write_all(piece).is_err() {
                return false;
            }
        }
        true
    }
}

/// Has a token's scope, of several words, all that is wanted?
fn permits(scope: &str, wanted: &str) -> bool {
    let Some((resource, actions)) = wanted.rsplit_once(':') else { return false };
    scope.split(' ').filter_map(|word| word.rsplit_once(':')).any(|(own, granted)| {
        own == resource && actions.split(',').all(|a| granted.split(',').any(|g| g == a))
    })
}

/// The line and the headers of a request.
fn head(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Seen { line, headers, body: String::new() })
}

/// The body of a request, or so many bytes of it.
fn body(reader: &mut BufReader<TcpStream>, seen: &Seen, cut: Option<usize>) -> Option<Vec<u8>> {
    let length = seen.headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    let length = cut.map_or(length, |cut| length.min(cut as u64));
    reader.take(length).read_to_end(&mut body).ok()?;
    Some(body)
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
