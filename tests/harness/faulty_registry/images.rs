//! What the registry has: the images of the layout, and what was pushed.

use std::fs;

use serde_json::{Value, json};

use super::connection::Answer;
use super::{Seen, Shared, State};
use crate::digest;

impl Shared {
    pub(super) fn manifest(&self, which: &str) -> Answer {
        let unknown = || Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown");
        let Some(bytes) = self.document(which) else { return unknown() };
        let (digest, kind) = (digest(&bytes), kind(&bytes));
        let answer = Answer::new(200, bytes).with("Content-Type", kind);
        answer.with("ETag", format!("\"{digest}\"")).with("Docker-Content-Digest", digest)
    }

    /// The manifest of a tag or a digest.
    pub(super) fn document(&self, which: &str) -> Option<Vec<u8>> {
        self.document_in(&self.state(), which)
    }

    pub(super) fn document_in(&self, state: &State, which: &str) -> Option<Vec<u8>> {
        if state.deleted.iter().any(|deleted| deleted == which) {
            return None;
        }
        if let Some(bytes) = state.received.get(which) {
            return Some(bytes.clone());
        }
        let tagged = self.tagged().into_iter().find(|(tag, _)| tag == which);
        self.bytes(&tagged.map_or_else(|| which.to_owned(), |(_, digest)| digest))
    }

    pub(super) fn delete(&self, which: &str) -> Answer {
        if self.state().forbids_deletion {
            return Answer::error(405, "UNSUPPORTED", "the operation is unsupported");
        }
        if self.document(which).is_none() {
            return Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown");
        }
        self.state().deleted.push(which.to_owned());
        Answer::new(202, "")
    }

    /// What was pushed about a manifest, one on each page, and not filtered.
    pub(super) fn referrers(&self, about: &str, query: &str) -> Answer {
        if !self.state().lists_referrers {
            return Answer::new(404, "404 page not found");
        }
        let received = self.state().received.clone();
        let mut all: Vec<Value> = Vec::new();
        for (name, bytes) in received.iter().filter(|(name, _)| name.starts_with("sha256:")) {
            let Ok(value) = serde_json::from_slice::<Value>(bytes) else { continue };
            if value["subject"]["digest"] == about && self.document(name).is_some() {
                all.push(json!({ "mediaType": kind(bytes), "digest": name, "size": bytes.len(),
                    "artifactType": value["artifactType"] }));
            }
        }
        let page: usize = query.strip_prefix("page=").and_then(|p| p.parse().ok()).unwrap_or(0);
        let is_last = page + 1 >= all.len();
        let manifests: Vec<Value> = all.into_iter().skip(page).take(1).collect();
        let index = "application/vnd.oci.image.index.v1+json";
        let body = json!({ "schemaVersion": 2, "mediaType": index, "manifests": manifests });
        let answer = Answer::new(200, body.to_string()).with("Content-Type", index);
        match is_last {
            true => answer,
            false => answer.with("Link", format!("<?page={}>; rel=\"next\"", page + 1)),
        }
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
    pub(super) fn tags(&self, query: &str) -> Answer {
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

    pub(super) fn blob(&self, seen: &Seen, digest: &str, without_range: bool) -> Answer {
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
}

/// The kind that a manifest says to be.
fn kind(bytes: &[u8]) -> String {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let guess = match value.get("manifests") {
        Some(_) => "application/vnd.oci.image.index.v1+json",
        None => "application/vnd.oci.image.manifest.v1+json",
    };
    value["mediaType"].as_str().unwrap_or(guess).to_owned()
}

/// Three repositories, two on each page.
pub(super) fn catalog(query: &str) -> Answer {
    let all = ["one/app", "three", "two"];
    let last = query.split('&').find_map(|word| word.strip_prefix("last="));
    let rest: Vec<&str> = all.into_iter().filter(|name| last.is_none_or(|l| *name > l)).collect();
    let page: Vec<&str> = rest.iter().copied().take(2).collect();
    let answer = Answer::new(200, json!({ "repositories": page }).to_string());
    match page.last().filter(|_| rest.len() > 2) {
        Some(last) => answer.with("Link", format!("</v2/_catalog?n=2&last={last}>; rel=\"next\"")),
        None => answer,
    }
}
