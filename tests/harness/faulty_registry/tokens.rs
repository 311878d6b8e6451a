//! Who is served, and the token server.

use serde_json::json;

use super::connection::Answer;
use super::{Seen, Shared};

impl Shared {
    /// Refuses who has no token for the path.
    pub(super) fn refusal(&self, seen: &Seen, path: &str) -> Option<Answer> {
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
    pub(super) fn token(&self, seen: &Seen, query: &str) -> Answer {
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
}

/// Has a token's scope, of several words, all that is wanted?
fn permits(scope: &str, wanted: &str) -> bool {
    let Some((resource, actions)) = wanted.rsplit_once(':') else { return false };
    scope.split(' ').filter_map(|word| word.rsplit_once(':')).any(|(own, granted)| {
        own == resource && actions.split(',').all(|a| granted.split(',').any(|g| g == a))
    })
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
