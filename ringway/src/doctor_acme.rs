//! What will keep a certificate from being fetched, and what is in its folder.

use std::path::Path;

use rustix::fs::{Access, access};

use crate::acme::AcmeSettings;
use crate::acme::driver::{span, unix_seconds};
use crate::acme::folder::{Folder, Kept, missing};
use crate::doctor::{Finding, Pain};

/// The port that authorities connect to (RFC 8737, 3).
const TLS_PORT: u16 = 443;

/// What stands in the way of the certificate. `port` is the client port.
pub(crate) fn examine(settings: &AcmeSettings, port: u16) -> Vec<Finding> {
    let folder = std::path::absolute(&settings.folder).unwrap_or_else(|_| settings.folder.clone());
    let place = format!("{} (http_server.tls_autocert.cache_dir)", folder.display());
    // A directory that the start will make lies where its nearest ancestor does.
    let existing = folder.ancestors().find(|place| place.exists()).unwrap_or(Path::new("/"));
    let is_writable = existing.is_dir() && access(existing, Access::WRITE_OK).is_ok();
    let now = unix_seconds();
    // Settings with a folder that is of no use are refused before anybody asks the doctor.
    let kept = Folder::of(settings).read(now).unwrap_or_default();
    let mut findings = Vec::new();
    if !is_writable {
        findings.push(Finding {
            // What is kept there is served, but it cannot be renewed.
            pain: if kept.certificate.is_some() { Pain::Loses } else { Pain::Stops },
            what: format!("{place} cannot be written by this user"),
            why: "the account's key and the certificate are kept there; nobody is served when it expires",
            fix: "create it for the server's user, or choose another directory".to_owned(),
        });
    }
    findings.extend(judge(&kept, settings, &place, now));
    if port != TLS_PORT {
        findings.push(Finding {
            pain: Pain::Costs,
            what: format!("the client port is {port}, and authorities connect to {TLS_PORT}"),
            why: "without their connection there is no certificate, and none is renewed",
            fix: format!("let port {TLS_PORT} of every host lead to it, or set http_server.port"),
        });
    }
    findings
}

/// What is remarkable about a certificate that is kept, or not.
fn judge(kept: &Kept, settings: &AcmeSettings, place: &str, now: u64) -> Option<Finding> {
    let what = match (&kept.certificate, kept.expired_at) {
        (Some(certificate), _) => {
            let missing: Vec<_> =
                missing(certificate, &settings.hosts).map(String::as_str).collect();
            if missing.is_empty() {
                return None;
            }
            format!("{place} has a certificate that is not for {}", missing.join(", "))
        }
        (None, Some(at)) => {
            let ago = span(now.saturating_sub(at));
            format!("{place} has a certificate that expired {ago} ago")
        }
        (None, None) => format!("{place} has no certificate yet"),
    };
    Some(Finding {
        pain: Pain::Costs,
        what,
        why: "clients of these hosts are refused until the authority has given one",
        fix: "start the server, and look for \"certificates:\" in its log".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> AcmeSettings {
        AcmeSettings {
            hosts: vec!["one.example".to_owned()],
            folder: folder.to_owned(),
            email: None,
            directory: "https://acme.example/dir".to_owned(),
            directory_roots: None,
        }
    }

    #[test]
    fn what_keeps_a_certificate_away_is_said() {
        let root = tempfile::tempdir().unwrap();
        let told = |port| examine(&settings(&root.path().join("acme")), port);
        let findings = told(443);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].what.contains("has no certificate yet"), "{findings:?}");
        assert!(told(8000)[1].what.contains("the client port is 8000"));
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        let findings = examine(&settings(&file), 443);
        assert_eq!(findings[0].pain, Pain::Stops, "{findings:?}");
    }

    #[test]
    fn an_expired_certificate_is_named() {
        let kept = Kept { expired_at: Some(1_000), ..Kept::default() };
        let found = judge(&kept, &settings(Path::new("/x")), "/x", 1_060).unwrap();
        assert!(found.what.contains("expired 60 seconds ago"), "{found:?}");
    }
}
