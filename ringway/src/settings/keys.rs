//! Keys and rules of tokens, with the files they may come from.

use std::path::Path;

use crate::secret::Secret;
use crate::settings::reading::Reading;
use crate::settings::{options, read_limited};

/// What a token is checked against (`client.token`, `client.subscription_token`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenKeys {
    /// Key of HS256, HS384 and HS512.
    pub hmac: Option<Secret>,
    /// The HMAC key before the last change of it.
    pub hmac_previous: Option<Secret>,
    /// The previous key is refused from this time on, in seconds since 1970; `None`: never.
    pub hmac_previous_until: Option<u64>,
    /// Public key of RS256, RS384 and RS512, PEM.
    pub rsa_public_key: Option<String>,
    /// Public key of ES256 and ES384, PEM.
    pub ecdsa_public_key: Option<String>,
    /// Public key of EdDSA, PEM.
    pub eddsa_public_key: Option<String>,
    /// A JSON Web Key Set, as its file holds it.
    pub jwks: Option<String>,
    /// Where a JSON Web Key Set can be fetched.
    pub jwks_endpoint: Option<String>,
    /// Tokens must have this `aud`.
    pub audience: Option<String>,
    /// Tokens must have this `iss`.
    pub issuer: Option<String>,
    /// Claim that names the user; `None`: `sub`.
    pub user_id_claim: Option<String>,
}

impl TokenKeys {
    /// Is there anything to check a signature with?
    pub fn has_any(&self) -> bool {
        self.hmac.is_some()
            || self.rsa_public_key.is_some()
            || self.ecdsa_public_key.is_some()
            || self.eddsa_public_key.is_some()
            || self.jwks.is_some()
            || self.jwks_endpoint.is_some()
    }
}

/// Builds keys from the options below `parent`. Files are looked for from `folder`.
pub(crate) fn build(reading: &mut Reading, parent: &str, folder: &Path) -> TokenKeys {
    let path = |name: &str| format!("{parent}.{name}");
    let hmac = secret(reading, &path("hmac_secret_key"), folder);
    let rsa_public_key = public_key(reading, &path("rsa_public_key"), folder);
    let ecdsa_public_key = public_key(reading, &path("ecdsa_public_key"), folder);
    let eddsa_public_key = public_key(reading, &path("eddsa_public_key"), folder);
    let jwks = jwks(reading, &path("jwks_file"), folder);
    let jwks_endpoint = jwks_endpoint(reading, &path("jwks_public_endpoint"));
    let user_id_claim = claim(reading, &path("user_id_claim"));
    let global = &reading.values.global;
    let until: u64 = global.integer(&path("hmac_previous_secret_key_valid_until"));
    TokenKeys {
        hmac,
        hmac_previous: global.secret_if_any(&path("hmac_previous_secret_key")),
        hmac_previous_until: Some(until).filter(|until| *until > 0),
        rsa_public_key,
        ecdsa_public_key,
        eddsa_public_key,
        jwks,
        jwks_endpoint,
        audience: global.text_if_any(&path("audience")),
        issuer: global.text_if_any(&path("issuer")),
        user_id_claim,
    }
}

/// A secret that stands in the configuration or in the file that `…_file` names.
pub(crate) fn secret(reading: &mut Reading, path: &str, folder: &Path) -> Option<Secret> {
    let inline = reading.values.global.secret_if_any(path);
    let from_file = content(reading, path, folder);
    if let Some(text) = from_file {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            let file_path = format!("{path}_file");
            let place = reading.values.global.place(&file_path);
            reading.problem(&place, &file_path, "the file is empty; put the secret into it");
        }
        return Some(Secret::new(text));
    }
    inline
}

/// The content of the file that `…_file` names, unless the option itself is given as well.
fn content(reading: &mut Reading, path: &str, folder: &Path) -> Option<String> {
    let file_path = format!("{path}_file");
    let file = reading.values.global.text_if_any(&file_path)?;
    let place = reading.values.global.place(&file_path);
    // Development mode makes up secrets without anybody having given them.
    let has_inline = reading.values.global.is_given(path)
        && reading.values.global.place(path) != super::Place::Default
        && options::find(path)
            .is_some_and(|row| reading.values.global.value(path) != row.default_value());
    if has_inline {
        let sentence = format!("`{path}` is given as well; keep one of them");
        reading.problem(&place, &file_path, sentence);
        return None;
    }
    read_content(reading, &file_path, &file, folder)
}

fn read_content(reading: &mut Reading, path: &str, file: &str, folder: &Path) -> Option<String> {
    match read_limited(&folder.join(file)) {
        Ok(text) => Some(text),
        Err(sentence) => {
            let place = reading.values.global.place(path);
            let file = folder.join(file);
            reading.problem(&place, path, format!("the file {} {sentence}", file.display()));
            None
        }
    }
}

fn public_key(reading: &mut Reading, path: &str, folder: &Path) -> Option<String> {
    let inline = reading.values.global.text_if_any(path);
    let from_file = content(reading, path, folder);
    let said_at = if from_file.is_some() { format!("{path}_file") } else { path.to_owned() };
    let pem = from_file.or(inline)?;
    let place = reading.values.global.place(&said_at);
    if pem.contains("PRIVATE KEY-----") {
        // A private key in a place for public ones is a leak waiting to happen.
        reading.problem(&place, &said_at, "this is a private key; give only the public one");
    } else if !pem.trim_start().starts_with("-----BEGIN ") {
        let sentence =
            "expected a public key in PEM, beginning with \"-----BEGIN PUBLIC KEY-----\"";
        reading.problem(&place, &said_at, sentence);
    }
    Some(pem)
}

fn jwks(reading: &mut Reading, path: &str, folder: &Path) -> Option<String> {
    let file = reading.values.global.text_if_any(path)?;
    let text = read_content(reading, path, &file, folder)?;
    let is_set = serde_json::from_str::<serde_json::Value>(&text)
        .is_ok_and(|value| value.get("keys").is_some_and(serde_json::Value::is_array));
    if !is_set {
        let place = reading.values.global.place(path);
        reading.problem(&place, path, "the file holds no JSON Web Key Set ({\"keys\": [...]})");
    }
    Some(text)
}

fn jwks_endpoint(reading: &mut Reading, path: &str) -> Option<String> {
    let url = reading.values.global.text_if_any(path)?;
    if !url.starts_with("https://") && !url.starts_with("http://") {
        let place = reading.values.global.place(path);
        reading.problem(&place, path, "expected a URL beginning with https:// or http://");
    }
    Some(url)
}

fn claim(reading: &mut Reading, path: &str) -> Option<String> {
    let claim = reading.values.global.text_if_any(path)?;
    if !claim.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        let place = reading.values.global.place(path);
        reading.problem(&place, path, "expected letters, digits and `_` only");
    }
    Some(claim)
}
