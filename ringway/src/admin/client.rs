//! Asking the admin API of a server: where it is, with which key, and what is wrong if it does not
//! answer.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use axum::http::{HeaderValue, Method, Request, Uri, header};
use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::OFF;
use crate::causes::causes;
use crate::limits;
use crate::secret::Secret;
use crate::settings::{Flags, Settings, Sources, read_limited};

/// How an operator says which server is meant.
#[derive(Args, Clone, Debug, Default)]
pub struct Reach {
    /// The server's configuration, which has metrics.address and admin.key.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The operators' port (metrics.address) [default: the configured one, or 127.0.0.1:9000].
    #[arg(long, short, value_name = "HOST:PORT")]
    address: Option<String>,
    /// File with the key of the admin API [default: RINGWAY_ADMIN_KEY, or the configured one].
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Why there is no answer, with what to do about it.
#[derive(Debug)]
pub enum Fault {
    /// The command line or the configuration is wrong.
    Usage(String),
    /// Nobody answers at the address.
    Away {
        /// Where.
        address: String,
        /// What the system says.
        cause: String,
    },
    /// The server has no key.
    Off,
    /// The key is not the server's.
    WrongKey {
        /// Where.
        address: String,
    },
    /// The server refused the question.
    Refused(String),
    /// Whatever answers there is no server of this version.
    Stranger {
        /// Where.
        address: String,
        /// What is odd about it.
        cause: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(sentence) | Self::Refused(sentence) => f.write_str(sentence),
            Self::Away { address, cause } => write!(
                f,
                "no server answers at {address} ({cause}); start it, or name its operators' port \
                 (metrics.address) with --address or --config"
            ),
            Self::Off => f.write_str(OFF),
            Self::WrongKey { address } => write!(
                f,
                "the server at {address} has another key; give its admin.key with --config, \
                 --key-file or RINGWAY_ADMIN_KEY"
            ),
            Self::Stranger { address, cause } => write!(
                f,
                "what answers at {address} is no operators' port of this version of Ringway \
                 ({cause}); see metrics.address"
            ),
        }
    }
}

impl Fault {
    /// The exit code of a command that fails like this.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }
}

/// Asks one server.
#[derive(Debug)]
pub struct Asker {
    runtime: tokio::runtime::Runtime,
    client: Client<HttpConnector, Full<Bytes>>,
    /// Host and port.
    pub address: String,
    key: HeaderValue,
}

impl Asker {
    /// Finds out whom to ask. Nobody is asked yet.
    ///
    /// # Errors
    ///
    /// There is no key, or what says where to find it is wrong.
    pub fn new(reach: &Reach) -> Result<Self, Fault> {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let key = match &reach.key_file {
            Some(file) => Some(Secret::new(read_key(file)?)),
            None => variable("RINGWAY_ADMIN_KEY").map(Secret::new),
        };
        let address = reach.address.clone().or_else(|| variable("RINGWAY_METRICS_ADDRESS"));
        let settings = reach.config.as_ref().map(|_| configured(reach)).transpose()?;
        let settings = settings.as_ref();
        let key = key.or_else(|| settings.and_then(|settings| settings.admin_key.clone()));
        let Some(key) = key else { return Err(Fault::Usage(no_key(reach))) };
        let address = match (address, settings.map(|settings| settings.metrics)) {
            (Some(address), _) => address,
            (None, None) => DEFAULT_ADDRESS.to_owned(),
            (None, Some(Some(address))) if address.port() > 0 => address.to_string(),
            (None, Some(_)) => {
                let sentence = "the configuration names no operators' port (metrics.address); give \
                                it with --address";
                return Err(Fault::Usage(format!("error: {sentence}")));
            }
        };
        let mut key = HeaderValue::from_str(key.expose()).map_err(|_| {
            Fault::Usage("error: the key has signs that no header can carry".to_owned())
        })?;
        key.set_sensitive(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .map_err(|error| Fault::Usage(format!("error: no sockets can be opened: {error}")))?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { runtime, client, address: reachable(&address), key })
    }

    /// Asks `method`, and waits for the answer.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn ask<A: DeserializeOwned>(
        &self,
        method: &str,
        question: &impl Serialize,
    ) -> Result<A, Fault> {
        let body = serde_json::to_vec(question).expect("questions are plain data");
        let asked = async {
            let asked = tokio::time::timeout(limits::ADMIN_CLIENT_TIMEOUT, self.post(method, body));
            asked.await.unwrap_or_else(|_| Err(self.away("no answer in time")))
        };
        let bytes = self.runtime.block_on(asked)?;
        serde_json::from_slice(&bytes).map_err(|error| self.stranger(error))
    }

    async fn post(&self, method: &str, body: Vec<u8>) -> Result<Bytes, Fault> {
        let uri = format!("http://{}/admin/{method}", self.address).parse::<Uri>();
        let uri = uri.map_err(|_| {
            Fault::Usage(format!("error: {:?} is no address of a port", self.address))
        })?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header("x-api-key", self.key.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .expect("the parts were checked");
        let answer =
            self.client.request(request).await.map_err(|error| self.away(&causes(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), limits::ADMIN_ANSWER_BYTES_MAX).collect();
        let body = body.await.map_err(|error| self.stranger(error))?.to_bytes();
        match status.as_u16() {
            200 => Ok(body),
            401 => Err(Fault::WrongKey { address: self.address.clone() }),
            403 => Err(Fault::Off),
            400 | 503 if is_sentence(&body) => {
                let sentence = String::from_utf8_lossy(&body);
                Err(Fault::Refused(shown(sentence.trim_end())))
            }
            _ => Err(self.stranger(format!("status {status}"))),
        }
    }

    fn away(&self, cause: &str) -> Fault {
        Fault::Away { address: self.address.clone(), cause: cause.to_owned() }
    }

    fn stranger(&self, cause: impl fmt::Display) -> Fault {
        Fault::Stranger { address: self.address.clone(), cause: cause.to_string() }
    }
}

/// What `metrics.address` is by default.
const DEFAULT_ADDRESS: &str = "127.0.0.1:9000";
/// Longest sentence of a server that is repeated, in bytes.
const SENTENCE_BYTES_MAX: usize = 1000;

fn is_sentence(body: &[u8]) -> bool {
    body.len() <= SENTENCE_BYTES_MAX && !body.is_empty()
}

fn no_key(reach: &Reach) -> String {
    let found = match &reach.config {
        Some(file) => format!("{} has no admin.key, so that the admin API is off", file.display()),
        None => "no key: the admin API of a server asks for its admin.key".to_owned(),
    };
    format!(
        "error: {found}; give it with --config, --key-file or RINGWAY_ADMIN_KEY (a server without \
         a configuration prints one when it starts)"
    )
}

fn configured(reach: &Reach) -> Result<Settings, Fault> {
    let sources = Sources::of_this_process(reach.config.clone(), Flags::default());
    let sources = Sources { allows_unsupported: true, ..sources };
    let loaded = Settings::load(&sources).map_err(|refusal| {
        let lines = refusal.problems.iter().map(|problem| format!("error: {problem}"));
        Fault::Usage(lines.collect::<Vec<_>>().join("\n"))
    })?;
    Ok(loaded.settings)
}

fn read_key(file: &Path) -> Result<String, Fault> {
    let text = read_limited(file)
        .map_err(|fault| Fault::Usage(format!("error: {} {fault}", file.display())))?;
    let key = text.trim_end_matches(['\r', '\n']);
    if key.is_empty() {
        return Err(Fault::Usage(format!("error: {} is empty", file.display())));
    }
    Ok(key.to_owned())
}

/// Who listens on every interface is reached by loopback.
fn reachable(address: &str) -> String {
    let Ok(mut address) = address.parse::<SocketAddr>() else { return address.to_owned() };
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address.to_string()
}

/// An answer as JSON with a line's end. For a terminal, whatever is not ASCII is escaped: clients
/// chose some of it.
pub fn json_for(value: &impl Serialize, is_terminal: bool) -> String {
    let text = serde_json::to_string_pretty(value).expect("answers are plain data") + "\n";
    if !is_terminal {
        return text;
    }
    let mut safe = String::with_capacity(text.len());
    for sign in text.chars() {
        // Signs like these are in strings alone; the rest of control is escaped already.
        if sign.is_ascii() && sign != '\u{7f}' {
            safe.push(sign);
        } else {
            for unit in sign.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    safe
}

/// A text that clients chose, for a terminal: without signs that it would obey, that change the
/// direction of what follows, or that nobody sees.
pub fn shown(text: &str) -> String {
    let is_unsafe = |sign: char| {
        sign.is_control()
            || matches!(sign, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut safe = String::with_capacity(text.len());
    for sign in text.chars() {
        if is_unsafe(sign) {
            safe.extend(sign.escape_unicode());
        } else {
            safe.push(sign);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_reached_by_loopback() {
        for (configured, reached) in [
            ("0.0.0.0:9000", "127.0.0.1:9000"),
            ("[::]:9000", "[::1]:9000"),
            ("10.0.0.7:9000", "10.0.0.7:9000"),
            ("node.example:9000", "node.example:9000"),
        ] {
            assert_eq!(reachable(configured), reached);
        }
    }

    #[test]
    fn what_clients_chose_does_not_command_a_terminal() {
        assert_eq!(shown("Jürgen \u{1b}[2Jx\u{202e}y"), "Jürgen \\u{1b}[2Jx\\u{202e}y");
        for sign in
            "\u{7f}\u{80}\u{9f}\u{61c}\u{200b}\u{200d}\u{2028}\u{2029}\u{2060}\u{feff}".chars()
        {
            assert_eq!(shown(&sign.to_string()), sign.escape_unicode().to_string());
        }
        let user = "Jürgen \u{1f600}\u{7f}\u{202e}\u{1b}";
        let text = json_for(&user, true);
        assert_eq!(text, "\"J\\u00fcrgen \\ud83d\\ude00\\u007f\\u202e\\u001b\"\n");
        assert_eq!(serde_json::from_str::<String>(&text).expect("JSON"), user);
        assert!(json_for(&user, false).contains("Jürgen"));
    }
}
