//! Certificates by ACME (`http_server.tls_autocert`): what is asked for, and whether what an
//! earlier start left can be taken up.

use std::net::IpAddr;
use std::path::Path;

use crate::acme::AcmeSettings;
use crate::acme::driver::{certificates, span, unix_seconds};
use crate::acme::folder::{Folder, Kept, missing};
use crate::limits::{ACME_HOSTS_MAX, HOST_BYTES_MAX, HOST_LABEL_BYTES_MAX};
use crate::settings::problem::Problem;
use crate::settings::reading::Reading;
use crate::settings::tls::pem;
use crate::settings::values::Table;

/// Does an operator ask for it?
pub(crate) fn is_enabled(global: &Table) -> bool {
    global.flag(ENABLED)
}

/// Builds what the settings say; `None`: nothing, or something is wrong with it.
pub(crate) fn build(reading: &mut Reading, folder: &Path) -> Option<AcmeSettings> {
    if !is_enabled(&reading.values.global) {
        return None;
    }
    let hosts = hosts(reading);
    let directory = directory(reading);
    let email = email(reading);
    let roots = roots(reading, folder);
    let cache_dir = reading.values.global.text_if_any(CACHE_DIR);
    if cache_dir.is_none() {
        let sentence = "is needed: name the directory that account and certificate are kept in";
        let place = reading.values.global.place(ENABLED);
        reading.problem(&place, CACHE_DIR, sentence);
    }
    let settings = AcmeSettings {
        hosts: hosts?,
        folder: folder.join(cache_dir?),
        email: email?,
        directory: directory?,
        directory_roots: roots?,
    };
    look(reading, &settings);
    Some(settings)
}

/// Says what is wrong with the folder, and what is remarkable about what is in it.
fn look(reading: &mut Reading, settings: &AcmeSettings) {
    let now = unix_seconds();
    let place = reading.values.global.place(CACHE_DIR);
    let Kept { certificate, expired_at, .. } = match Folder::of(settings).read(now) {
        Ok(kept) => kept,
        Err(fault) => return reading.problem(&place, CACHE_DIR, fault.to_string()),
    };
    let remark = match (certificate, expired_at) {
        (Some(certificate), _) => {
            let missing: Vec<_> =
                missing(&certificate, &settings.hosts).map(String::as_str).collect();
            if missing.is_empty() {
                return;
            }
            format!(
                "has a certificate that is not for {}; the start asks for one",
                missing.join(", ")
            )
        }
        (None, Some(at)) => {
            let ago = span(now.saturating_sub(at));
            format!("has a certificate that expired {ago} ago; the start asks for another")
        }
        (None, None) => "has no certificate yet; the start asks for one".to_owned(),
    };
    reading.warnings.push(Problem::new(&place, CACHE_DIR, remark));
}

fn hosts(reading: &mut Reading) -> Option<Vec<String>> {
    let listed = reading.values.global.texts(HOSTS);
    let mut hosts: Vec<String> = listed.iter().map(|host| host.to_ascii_lowercase()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let place = reading.values.global.place(if listed.is_empty() { ENABLED } else { HOSTS });
    let problems = reading.problems.len();
    if hosts.is_empty() {
        let sentence = "is needed: list the hosts that the certificate is for";
        reading.problem(&place, HOSTS, sentence);
    }
    if hosts.len() > ACME_HOSTS_MAX {
        let sentence = format!("has {} hosts; at most {ACME_HOSTS_MAX} are served", hosts.len());
        reading.problem(&place, HOSTS, sentence);
    }
    for host in hosts.iter().take(ACME_HOSTS_MAX) {
        if let Some(fault) = host_fault(host) {
            reading.problem(&place, HOSTS, format!("{host:?} {fault}"));
        }
    }
    (reading.problems.len() == problems).then_some(hosts)
}

/// Why no authority gives a certificate for it by TLS-ALPN-01.
fn host_fault(host: &str) -> Option<&'static str> {
    if host.starts_with("*.") {
        return Some("is a pattern, which is only proven by DNS; list each host");
    }
    if host.parse::<IpAddr>().is_ok() {
        return Some("is an address; list names");
    }
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label = |label: &str| {
        (1..=HOST_LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(is_sign)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_host =
        host.len() <= HOST_BYTES_MAX && host.contains('.') && host.split('.').all(is_label);
    (!is_host).then_some("is no name of a host; write it as in DNS, such as \"chat.example.org\"")
}

fn directory(reading: &mut Reading) -> Option<String> {
    let directory = reading.values.global.text(DIRECTORY);
    let uri = directory.parse::<axum::http::Uri>().ok();
    if uri.is_some_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some()) {
        return Some(directory);
    }
    let place = reading.values.global.place(DIRECTORY);
    // RFC 8555, 6.1.
    reading.problem(&place, DIRECTORY, "is no URL that begins with https://");
    None
}

fn email(reading: &mut Reading) -> Option<Option<String>> {
    let Some(email) = reading.values.global.text_if_any(EMAIL) else { return Some(None) };
    let is_sign = |sign: char| !sign.is_whitespace() && !sign.is_control() && sign != ',';
    let is_address = email.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && !host.is_empty() && email.chars().all(is_sign)
    });
    if is_address {
        return Some(Some(email));
    }
    let place = reading.values.global.place(EMAIL);
    reading.problem(&place, EMAIL, "is no address of e-mail, such as \"ops@example.org\"");
    None
}

fn roots(reading: &mut Reading, folder: &Path) -> Option<Option<String>> {
    let Some(said) = reading.values.global.text_if_any(ROOTS) else { return Some(None) };
    let text = pem(reading, ROOTS, &said, folder)?;
    if certificates(&text).is_empty() {
        let place = reading.values.global.place(ROOTS);
        reading.problem(&place, ROOTS, "holds no certificate; give some in PEM");
        return None;
    }
    Some(Some(text))
}

const ENABLED: &str = "http_server.tls_autocert.enabled";
const HOSTS: &str = "http_server.tls_autocert.host_whitelist";
const CACHE_DIR: &str = "http_server.tls_autocert.cache_dir";
const EMAIL: &str = "http_server.tls_autocert.email";
const DIRECTORY: &str = "http_server.tls_autocert.directory";
const ROOTS: &str = "http_server.tls_autocert.directory_ca_pem";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names() {
        for host in ["chat.example.org", "a.b", "x--y.example", "1.example"] {
            assert_eq!(host_fault(host), None, "{host}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for wrong in
            ["*.example.org", "192.0.2.1", "::1", "localhost", "a..b", "-a.b", "a_b.c", ".", &long]
        {
            assert!(host_fault(wrong).is_some(), "{wrong}");
        }
        let longest = vec!["a".repeat(63); 4].join(".");
        assert!(host_fault(&longest).is_some());
    }
}
