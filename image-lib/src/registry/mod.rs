//! Registries (distribution-spec 1.1): a client on blocking connections and threads, without a process
//! of its own and without global state.
//!
//! Reading order: [`Client`] makes every request ([`client`](self)), `host` is one server and one exchange,
//! `token` what convinces it. A [`Repository`] has `manifests`, blobs (`parts` of them, `reader`, `send`, `upload`)
//! and lists (`listing`, `referrers`). `pull` brings an image into a store, `push` out of it; `remote` reads one
//! without its layers. `challenge`, `header`, `url`, `scope`, `document` and `proxy` are pure. What goes wrong is an
//! `error`, a `refusal` of the other side, or a failure of the `transport`.

mod blob;
mod challenge;
mod client;
mod document;
mod download;
mod endpoint;
mod error;
mod header;
mod host;
mod hosts_toml;
mod listing;
mod manifests;
mod obtain;
mod options;
mod parts;
mod proxy;
mod pull;
mod push;
mod reader;
mod referrers;
mod refusal;
mod registries_conf;
mod remote;
mod repository;
mod retry;
mod scope;
mod send;
mod tls;
mod token;
mod transport;
mod upload;
mod url;

pub use challenge::Challenge;
pub use client::Client;
pub use download::{Ask, Download};
pub use error::RegistryError;
pub use header::{ContentRange, content_range, media_type, next_link, retry_after, upload_range};
pub use hosts_toml::{Server, parse as parse_hosts_toml};
pub use manifests::Document;
pub use obtain::{ObtainError, ObtainOptions, Obtained, PullPolicy, obtain};
pub use options::Options;
pub use proxy::ProxyRules;
pub use pull::{PullOptions, Pulled};
pub use push::{PushOptions, Pushed};
pub use reader::BlobReader;
pub use refusal::Refusal;
pub use registries_conf::{Meaning, Place, RegistriesConf};
pub use repository::{Repository, Selector};
pub use retry::RetryPolicy;
pub use scope::Scopes;
pub use send::SendOptions;
pub use tls::HostTls;
pub use transport::{TransportError, TransportKind};
pub use upload::{Arrived, Opener};
pub use url::{Scheme, Url};
