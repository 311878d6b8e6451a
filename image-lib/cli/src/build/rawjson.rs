//! Progress as BuildKit's clients read it: a `SolveStatus` on every line, with vertexes, logs and warnings.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keel_image::build::Event;
use keel_image::identity::Digest;
use keel_image::spec::Timestamp;
use serde_json::{Value, json};

/// What has been told of every step.
#[derive(Debug, Default)]
pub(super) struct RawJson {
    vertexes: BTreeMap<usize, Value>,
}

impl RawJson {
    /// The line for an event; nothing where BuildKit would say nothing.
    pub(super) fn line(&mut self, event: Event<'_>) -> Option<String> {
        let now = Timestamp::now().to_string();
        let value = match event {
            Event::Started { step, name } => {
                let digest = Digest::of(format!("{step} {name}").as_bytes());
                let vertex = json!({ "digest": digest, "name": name, "started": now });
                self.vertexes.insert(step, vertex.clone());
                json!({ "vertexes": [vertex] })
            }
            Event::Output { step, bytes, is_ended, .. } => {
                let end: &[u8] = if is_ended { b"\n" } else { b"" };
                let data = STANDARD.encode([bytes, end].concat());
                json!({ "logs": [{ "vertex": self.digest(step), "stream": 1, "data": data, "timestamp": now }] })
            }
            Event::Note { step, text } => {
                json!({ "statuses": [{ "id": text, "vertex": self.digest(step), "timestamp": now, "completed": now }] })
            }
            Event::Cached { step } => self.end(step, &now, &json!({ "cached": true }))?,
            Event::Done { step, .. } => self.end(step, &now, &json!({}))?,
            Event::Failed { step, reason } => self.end(step, &now, &json!({ "error": reason }))?,
            Event::Explained { .. } => return None,
            Event::Warning { text } => {
                json!({ "warnings": [{ "level": 1, "short": STANDARD.encode(text) }] })
            }
        };
        Some(value.to_string())
    }

    fn digest(&self, step: usize) -> Value {
        self.vertexes.get(&step).map_or(Value::Null, |vertex| vertex["digest"].clone())
    }

    fn end(&mut self, step: usize, now: &str, more: &Value) -> Option<Value> {
        let vertex = self.vertexes.get_mut(&step)?;
        vertex["completed"] = json!(now);
        for (key, value) in more.as_object()? {
            vertex[key] = value.clone();
        }
        Some(json!({ "vertexes": [vertex] }))
    }
}
