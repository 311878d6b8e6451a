//! What is pushed: uploads of blobs, mounts, manifests.

use super::connection::Answer;
use super::{Seen, Shared};
use crate::digest;

impl Shared {
    /// Answers what a push asks, but for reading; nothing if it is something else.
    pub(super) fn upload(&self, seen: &Seen, body: &[u8], is_cut: bool) -> Option<Answer> {
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
            drop(guard);
            return Some(self.put(seen, which, body));
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

    /// Takes a manifest, if the tag is still what the request says.
    fn put(&self, seen: &Seen, which: String, body: &[u8]) -> Answer {
        let mut state = self.state();
        let now = self.document_in(&state, &which).map(|bytes| format!("\"{}\"", digest(&bytes)));
        let is_other = seen.headers.get("if-match").is_some_and(|tag| now.as_ref() != Some(tag));
        if is_other || (seen.headers.contains_key("if-none-match") && now.is_some()) {
            return Answer::error(412, "DENIED", "the tag has changed");
        }
        let own = digest(body);
        state.deleted.retain(|name| *name != which && *name != own);
        state.received.insert(which, body.to_vec());
        state.received.insert(own, body.to_vec());
        let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let about = value["subject"]["digest"].as_str().filter(|_| state.lists_referrers);
        match about {
            Some(about) => Answer::new(201, "").with("OCI-Subject", about),
            None => Answer::new(201, ""),
        }
    }
}
