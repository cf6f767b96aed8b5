//! TLS on the client port: certificates are read and checked here, before anybody connects.

use core::time::Duration;
use std::net::IpAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway::driver::tls::{Certificate, RecordLayer, TlsOptions, TlsVersion};
use rcgen::{CertificateParams, KeyPair};

use crate::acme::AcmeSettings;
use crate::limits::{CERTIFICATE_DAYS_LEFT_MIN, DEVELOPMENT_CERTIFICATE_DAYS};
use crate::secret::Secret;
use crate::settings::problem::{Place, Problem};
use crate::settings::reading::Reading;
use crate::settings::values::Table;
use crate::settings::{autocert, keys, read_limited};

/// TLS on the client port (`http_server.tls`).
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Are certificates of the settings shown (`http_server.tls.enabled`)? A change of it waits for
    /// a restart.
    pub is_enabled: bool,
    /// Certificates of the settings; at least one, unless [`Self::acme`] brings one.
    pub certificates: Vec<Certificate>,
    /// Where a further certificate is fetched; `None`: nowhere.
    pub acme: Option<AcmeSettings>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Who encrypts after the handshake.
    pub record_layer: RecordLayer,
    /// What tickets are made with; `None`: made up at start.
    pub ticket_secret: Option<Secret>,
    /// Most handshakes of one shard that are under way.
    pub handshakes_max: u32,
    /// SHA-256 of a certificate that was made up for this start.
    pub development_sha256: Option<String>,
    /// All that was read, for [`crate::settings::Settings::difference`]. It holds keys.
    pub(crate) contents: Vec<(&'static str, Secret)>,
}

impl TlsSettings {
    /// What shards make their connections with.
    pub fn options(&self, made_up_secret: &Secret) -> TlsOptions {
        let secret = self.ticket_secret.as_ref().unwrap_or(made_up_secret);
        TlsOptions {
            certificates: self.certificates.clone(),
            challenges: Vec::new(),
            min_version: self.min_version,
            record_layer: self.record_layer,
            ticket_secret: secret.expose().as_bytes().to_vec(),
            handshakes_max: self.handshakes_max,
        }
    }

    /// A certificate for this machine that nobody vouches for, made up now.
    pub(crate) fn of_development(address: IpAddr) -> Result<Self, rcgen::Error> {
        let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        if !address.is_loopback() && !address.is_unspecified() {
            names.push(address.to_string());
        }
        let mut params = CertificateParams::new(names)?;
        let day = Duration::from_secs(24 * 3600);
        // A clock that is a little late must find it valid; browsers count every day of it.
        params.not_before = (SystemTime::now() - day).into();
        params.not_after = (SystemTime::now() + day * (DEVELOPMENT_CERTIFICATE_DAYS - 1)).into();
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let sha256 = digest(&SHA256, certificate.der());
        let hex: Vec<String> = sha256.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let key = rustls_key(&key);
        let certificate =
            Certificate::from_der(vec![certificate.der().clone()], key, unix_seconds())
                .expect("a certificate that was just made is in order");
        Ok(Self {
            is_enabled: true,
            certificates: vec![certificate],
            acme: None,
            min_version: TlsVersion::default(),
            record_layer: RecordLayer::default(),
            ticket_secret: None,
            handshakes_max: gateway::limits::TLS_HANDSHAKES_DEFAULT,
            development_sha256: Some(hex.join(":")),
            contents: Vec::new(),
        })
    }
}

fn rustls_key(key: &KeyPair) -> rustls::pki_types::PrivateKeyDer<'static> {
    rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

/// One chain and its key, with the options that named them.
struct Pair {
    chain: String,
    key: Secret,
    chain_path: &'static str,
    key_path: &'static str,
    /// Which of several.
    name: Option<String>,
}

/// Builds what `http_server.tls` says; `None`: there is no TLS, or something is wrong with it.
pub(crate) fn build(reading: &mut Reading, folder: &Path) -> Option<TlsSettings> {
    let ticket_secret = keys::secret(reading, "http_server.tls.ticket_secret", folder);
    let acme = autocert::build(reading, folder);
    let pairs = pairs(reading, folder)?;
    if pairs.is_empty() && acme.is_none() {
        return None;
    }
    let mut contents = vec![];
    for pair in &pairs {
        contents.push((pair.chain_path, Secret::new(pair.chain.as_str())));
        contents.push((pair.key_path, pair.key.clone()));
    }
    let certificates: Vec<_> = pairs.iter().map(|pair| certificate(reading, pair)).collect();
    let certificates = certificates.into_iter().collect::<Option<Vec<_>>>()?;
    let global = &reading.values.global;
    Some(TlsSettings {
        is_enabled: global.flag(ENABLED),
        certificates,
        acme,
        min_version: match global.text("http_server.tls.min_version").as_str() {
            "1.2" => TlsVersion::V1_2,
            _ => TlsVersion::V1_3,
        },
        record_layer: match global.text("http_server.tls.record_layer").as_str() {
            "rustls" => RecordLayer::Rustls,
            _ => RecordLayer::Own,
        },
        ticket_secret,
        handshakes_max: global.integer("http_server.tls.handshake_limit"),
        development_sha256: None,
        contents,
    })
}

/// How long browsers are told to come by TLS only.
pub(crate) fn hsts_max_age(global: &Table) -> Duration {
    if global.flag(ENABLED) || autocert::is_enabled(global) {
        global.duration("http_server.tls.hsts_max_age")
    } else {
        Duration::ZERO
    }
}

/// The certificates that settings name; empty: TLS is off, or all of them are fetched.
fn pairs(reading: &mut Reading, folder: &Path) -> Option<Vec<Pair>> {
    let global = &reading.values.global;
    if global.flag(ENABLED) {
        let names_any = [CHAIN, KEY, SNI_CHAINS, SNI_KEYS].iter().any(|path| global.is_given(path));
        if autocert::is_enabled(global) && !names_any {
            return Some(Vec::new());
        }
        let mut pairs = vec![own_pair(reading, folder)?];
        pairs.extend(sni_pairs(reading, folder)?);
        return Some(pairs);
    }
    for path in [CHAIN, KEY, SNI_CHAINS, SNI_KEYS] {
        if reading.values.global.is_given(path) {
            let place = reading.values.global.place(path);
            let sentence = "is not used: http_server.tls.enabled is off";
            reading.warnings.push(Problem::new(&place, path, sentence));
        }
    }
    Some(Vec::new())
}

fn own_pair(reading: &mut Reading, folder: &Path) -> Option<Pair> {
    let chain = reading.values.global.text_if_any(CHAIN);
    let key = reading.values.global.secret_if_any(KEY);
    if chain.is_none() || key.is_none() {
        let path = if chain.is_none() { CHAIN } else { KEY };
        let place = reading.values.global.place(ENABLED);
        let sentence = "TLS needs it: give the path of a file in PEM, or switch \
                        http_server.tls.enabled off";
        reading.problem(&place, path, sentence);
        return None;
    }
    let chain = pem(reading, CHAIN, &chain?, folder);
    let key = pem(reading, KEY, key?.expose(), folder);
    let (chain, key) = (chain?, Secret::new(key?));
    Some(Pair { chain, key, chain_path: CHAIN, key_path: KEY, name: None })
}

fn sni_pairs(reading: &mut Reading, folder: &Path) -> Option<Vec<Pair>> {
    let chains = reading.values.global.texts(SNI_CHAINS);
    let keys = reading.values.global.texts(SNI_KEYS);
    if chains.len() != keys.len() {
        let place = reading.values.global.place(SNI_CHAINS);
        let sentence = format!(
            "names {} files and {SNI_KEYS} names {}; each chain needs its key, in the same order",
            chains.len(),
            keys.len()
        );
        reading.problem(&place, SNI_CHAINS, sentence);
        return None;
    }
    let pairs: Vec<Option<Pair>> = chains
        .iter()
        .zip(&keys)
        .map(|(chain_file, key_file)| {
            let chain = pem(reading, SNI_CHAINS, chain_file, folder);
            let key = pem(reading, SNI_KEYS, key_file, folder);
            let (chain, key) = (chain?, Secret::new(key?));
            let name = Some(chain_file.clone());
            Some(Pair { chain, key, chain_path: SNI_CHAINS, key_path: SNI_KEYS, name })
        })
        .collect();
    pairs.into_iter().collect()
}

/// PEM as it stands there, in base64, or in the file that is named. A value that may be a key is
/// never repeated.
pub(crate) fn pem(
    reading: &mut Reading,
    path: &'static str,
    said: &str,
    folder: &Path,
) -> Option<String> {
    if said.contains(PEM_BEGIN) {
        return Some(said.to_owned());
    }
    let packed: String = said.split_whitespace().collect();
    let unpacked = STANDARD.decode(packed).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some(text) = unpacked.filter(|text| text.contains(PEM_BEGIN)) {
        return Some(text);
    }
    let file = folder.join(said);
    match read_limited(&file) {
        Ok(text) => Some(text),
        Err(sentence) => {
            let shown = if path == KEY { String::new() } else { format!(" {}", file.display()) };
            let place = reading.values.global.place(path);
            reading.problem(&place, path, format!("the file{shown} {sentence}"));
            None
        }
    }
}

fn certificate(reading: &mut Reading, pair: &Pair) -> Option<Certificate> {
    let now = unix_seconds();
    let named = pair.name.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
    match Certificate::from_pem(&pair.chain, pair.key.expose(), now) {
        Ok(certificate) => {
            let days = certificate.valid_until().saturating_sub(now) / (24 * 3600);
            if days < CERTIFICATE_DAYS_LEFT_MIN {
                let place = reading.values.global.place(pair.chain_path);
                let sentence = format!("{named}holds a certificate that expires in {days} days");
                reading.warnings.push(Problem::new(&place, pair.chain_path, sentence));
            }
            Some(certificate)
        }
        Err(fault) => {
            let path = if fault.is_of_key() { pair.key_path } else { pair.chain_path };
            let place = reading.values.global.place(path);
            reading.problem(&place, path, format!("{named}{fault}"));
            None
        }
    }
}

/// Gives TLS to a server that was started with `--dev-tls`.
pub(crate) fn development(
    reading: &mut Reading,
    configured: Option<TlsSettings>,
    address: IpAddr,
) -> Option<TlsSettings> {
    let place = Place::Flag("--dev-tls");
    let global = &reading.values.global;
    if global.flag(ENABLED) || autocert::is_enabled(global) {
        let sentence = "the configuration has certificates; leave the flag out, or switch \
                        http_server.tls.enabled and http_server.tls_autocert.enabled off";
        reading.problem(&place, ENABLED, sentence);
        return configured;
    }
    match TlsSettings::of_development(address) {
        Ok(settings) => Some(settings),
        Err(error) => {
            reading.problem(&place, "", format!("no certificate could be made: {error}"));
            None
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

const ENABLED: &str = "http_server.tls.enabled";
const CHAIN: &str = "http_server.tls.cert_pem";
const KEY: &str = "http_server.tls.key_pem";
const SNI_CHAINS: &str = "http_server.tls.sni_cert_files";
const SNI_KEYS: &str = "http_server.tls.sni_key_files";
const PEM_BEGIN: &str = "-----BEGIN ";
