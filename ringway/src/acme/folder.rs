//! What outlives the process: account, certificate, and when an authority may be asked again.
//!
//! ```text
//!  cache_dir/ 0700
//!    acme-v02.api.letsencrypt.org-f05bd8f9/ 0700     one for each authority
//!      account.json      0600   its key and name
//!      certificate.pem   0600   key and chain in one file, so that they always belong together
//!      retry_at          0600   seconds since 1970, after a failure
//! ```
//!
//! Every file is replaced as a whole: written beside, synced, renamed.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::Uri;
use gateway::driver::tls::{Certificate, CertificateFault};
use instant_acme::AccountCredentials;

use super::AcmeSettings;
use super::engine::Held;
use crate::secret::Secret;
use crate::settings::read_limited;

/// The folder of one authority.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    /// `http_server.tls_autocert.cache_dir`.
    root: PathBuf,
    /// What belongs to the authority, below it.
    place: PathBuf,
}

/// What was there.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The account, as [`AccountCredentials`] are written.
    pub(crate) account: Option<Secret>,
    pub(crate) certificate: Option<Certificate>,
    /// The certificate that was there had expired then, in seconds since 1970.
    pub(crate) expired_at: Option<u64>,
    pub(crate) retry_at: Option<u64>,
}

/// Why the folder is of no use: what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FolderFault {
    path: PathBuf,
    sentence: String,
}

impl fmt::Display for FolderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.sentence)
    }
}

impl Folder {
    pub(crate) fn of(settings: &AcmeSettings) -> Self {
        let place = settings.folder.join(name_of(&settings.directory));
        Self { root: settings.folder.clone(), place }
    }

    /// Reads what is there, at `now`. Nothing is there before the first start.
    ///
    /// # Errors
    ///
    /// Others have access to it, or it cannot be read or understood.
    pub(crate) fn read(&self, now: u64) -> Result<Kept, FolderFault> {
        for directory in [&self.root, &self.place] {
            if !is_private(directory, "700", fs::Metadata::is_dir, "a directory")? {
                return Ok(Kept::default());
            }
        }
        let mut kept = Kept::default();
        if let Some(text) = self.file(ACCOUNT)? {
            if serde_json::from_str::<AccountCredentials>(&text).is_err() {
                return Err(self.fault(ACCOUNT, "holds no account; bring it back from a backup"));
            }
            kept.account = Some(Secret::new(text));
        }
        if let Some(text) = self.file(CERTIFICATE)? {
            match certificate(&text, &text, now) {
                Ok(certificate) => kept.certificate = Some(certificate),
                Err(CertificateFault::Expired(at)) => kept.expired_at = Some(at),
                Err(fault) => return Err(self.fault(CERTIFICATE, &fault.to_string())),
            }
        }
        kept.retry_at = self.file(RETRY_AT)?.and_then(|text| text.trim().parse().ok());
        Ok(kept)
    }

    /// Makes the folder where it is not there, and tries whether it can be written.
    ///
    /// # Errors
    ///
    /// It cannot be made or written.
    pub(crate) fn make(&self) -> Result<(), FolderFault> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.place);
        let tried = made.and_then(|()| self.replace(TRIED, &[b'\n'; TRIED_BYTES]));
        let tried = tried.and_then(|()| fs::remove_file(self.place.join(TRIED)));
        tried.map_err(|error| FolderFault {
            path: self.place.clone(),
            sentence: format!(
                "cannot be written: {error}; give it to the server's user, or choose another \
                 directory"
            ),
        })
    }

    /// # Errors
    ///
    /// The disk does not take it.
    pub(crate) fn keep_account(&self, account: &Secret) -> io::Result<()> {
        self.replace(ACCOUNT, account.expose().as_bytes())
    }

    /// # Errors
    ///
    /// The disk does not take it.
    pub(crate) fn keep_certificate(&self, chain: &str, key: &Secret) -> io::Result<()> {
        self.replace(CERTIFICATE, format!("{}\n{chain}", key.expose().trim_end()).as_bytes())
    }

    /// When the authority may be asked again; `None`: at any time.
    ///
    /// # Errors
    ///
    /// The disk does not take it.
    pub(crate) fn keep_retry_at(&self, at: Option<u64>) -> io::Result<()> {
        match at {
            Some(at) => self.replace(RETRY_AT, format!("{at}\n").as_bytes()),
            None => match fs::remove_file(self.place.join(RETRY_AT)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// Where an operator finds the account.
    pub(crate) fn account_path(&self) -> PathBuf {
        self.place.join(ACCOUNT)
    }

    /// Where an operator finds what keeps the authority from being asked.
    pub(crate) fn retry_at_path(&self) -> PathBuf {
        self.place.join(RETRY_AT)
    }

    /// Either the whole of `bytes` is there afterwards, or what was there before.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let beside = self.place.join(format!("{name}.new"));
        // What a process that was killed left behind, perhaps with another mode.
        if let Err(error) = fs::remove_file(&beside)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, self.place.join(name))?;
        File::open(&self.place)?.sync_all()
    }

    fn file(&self, name: &str) -> Result<Option<String>, FolderFault> {
        let path = self.place.join(name);
        if !is_private(&path, "600", fs::Metadata::is_file, "a file")? {
            return Ok(None);
        }
        read_limited(&path).map(Some).map_err(|sentence| FolderFault { path, sentence })
    }

    fn fault(&self, name: &str, sentence: &str) -> FolderFault {
        let sentence = format!("{sentence}; or remove it, and another is asked for");
        FolderFault { path: self.place.join(name), sentence }
    }
}

/// A certificate from PEM. One that is not valid yet by this host's clock is one: its authority had
/// another time when it issued it, and clients go by their own.
///
/// # Errors
///
/// As [`Certificate::from_pem`] says.
pub(crate) fn certificate(
    chain: &str,
    key: &str,
    now: u64,
) -> Result<Certificate, CertificateFault> {
    match Certificate::from_pem(chain, key, now) {
        Err(CertificateFault::NotYetValid(from)) => {
            tracing::warn!(
                "certificates: by this host's clock one begins only in {} seconds; set the clock",
                from.saturating_sub(now)
            );
            Certificate::from_pem(chain, key, from)
        }
        other => other,
    }
}

/// A certificate that is there, as the engine sees it.
pub(crate) fn held(certificate: &Certificate, hosts: &[String]) -> Held {
    Held {
        valid_from: certificate.valid_from(),
        valid_until: certificate.valid_until(),
        is_complete: missing(certificate, hosts).next().is_none(),
    }
}

/// Hosts that a certificate is not for.
pub(crate) fn missing<'a>(
    certificate: &'a Certificate,
    hosts: &'a [String],
) -> impl Iterator<Item = &'a String> {
    hosts.iter().filter(|host| !certificate.names().contains(host))
}

/// Is it there, of its kind, and for its owner alone? `false`: it is not there.
fn is_private(
    path: &Path,
    mode: &str,
    is_kind: fn(&fs::Metadata) -> bool,
    kind: &str,
) -> Result<bool, FolderFault> {
    let fault = |sentence: String| FolderFault { path: path.to_owned(), sentence };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => {
            return Err(fault(format!(
                "cannot be read: {error}; give it to the server's user, or choose another \
                 directory"
            )));
        }
    };
    if !is_kind(&metadata) {
        return Err(fault(format!("is not {kind}; remove it, or choose another directory")));
    }
    let found = metadata.permissions().mode() & 0o777;
    if found & 0o077 != 0 {
        let path = path.display();
        return Err(fault(format!(
            "holds keys, and others have access to it (mode {found:o}); run `chmod {mode} {path}`"
        )));
    }
    Ok(true)
}

/// A name for an authority: its host, for people, and a digest of the whole URL.
fn name_of(directory: &str) -> String {
    let uri = directory.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or("directory");
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || sign == '.' || sign == '-';
    let host: String = host.chars().filter(|sign| is_plain(*sign)).collect();
    let digest = digest(&SHA256, directory.as_bytes());
    let digest: String = digest.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{host}-{digest}")
}

const ACCOUNT: &str = "account.json";
const CERTIFICATE: &str = "certificate.pem";
const RETRY_AT: &str = "retry_at";
const TRIED: &str = "tried";
/// About what an account or a certificate takes.
const TRIED_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    const NOW: u64 = 1_767_312_000;
    const URL: &str = "https://acme.example:14000/dir";

    fn folder(root: &Path) -> Folder {
        Folder::of(&AcmeSettings {
            hosts: vec!["one.example".to_owned()],
            folder: root.join("acme"),
            email: None,
            directory: URL.to_owned(),
            directory_roots: None,
        })
    }

    fn pem() -> (String, Secret) {
        let mut params = CertificateParams::new(vec!["one.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 4, 1);
        let key = KeyPair::generate().unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        (chain, Secret::new(key.serialize_pem()))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_kept_is_found_again_and_nobody_else_reads_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(root.path());
        let nothing = folder.read(NOW).unwrap();
        assert!(nothing.account.is_none() && nothing.certificate.is_none());
        folder.make().unwrap();
        let (chain, key) = pem();
        folder.keep_certificate(&chain, &key).unwrap();
        folder.keep_retry_at(Some(NOW)).unwrap();
        // A process that was killed left half of another one.
        fs::write(folder.place.join("certificate.pem.new"), "half").unwrap();
        folder.keep_certificate(&chain, &key).unwrap();
        let kept = folder.read(NOW).unwrap();
        let certificate = kept.certificate.unwrap();
        assert_eq!(certificate.names(), ["one.example"]);
        assert_eq!(kept.retry_at, Some(NOW));
        folder.keep_retry_at(None).unwrap();
        folder.keep_retry_at(None).unwrap();
        assert_eq!(folder.read(NOW).unwrap().retry_at, None);
        assert_eq!(mode(&folder.root), 0o700);
        assert_eq!(mode(&folder.place), 0o700);
        assert_eq!(mode(&folder.place.join(CERTIFICATE)), 0o600);
        let left: Vec<_> = fs::read_dir(&folder.place).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        let hosts = ["one.example", "two.example"].map(str::to_owned);
        assert!(held(&certificate, &hosts[..1]).is_complete);
        assert!(!held(&certificate, &hosts).is_complete);
        assert_eq!(missing(&certificate, &hosts).collect::<Vec<_>>(), ["two.example"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(root.path());
        folder.make().unwrap();
        let (chain, key) = pem();
        folder.keep_certificate(&chain, &key).unwrap();
        let expired = folder.read(NOW + 365 * 24 * 3600).unwrap();
        assert!(expired.certificate.is_none() && expired.expired_at.is_some());
        let told = || folder.read(NOW).unwrap_err().to_string();
        let set_mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        set_mode(&folder.place.join(CERTIFICATE), 0o640);
        assert!(told().contains("(mode 640); run `chmod 600 "), "{}", told());
        set_mode(&folder.root, 0o755);
        assert!(told().contains("(mode 755); run `chmod 700 "), "{}", told());
        set_mode(&folder.root, 0o700);
        fs::remove_file(folder.place.join(CERTIFICATE)).unwrap();
        folder.replace(ACCOUNT, b"{}").unwrap();
        assert!(told().contains("account.json holds no account"), "{}", told());
        fs::remove_file(folder.place.join(ACCOUNT)).unwrap();
        folder.replace(CERTIFICATE, chain.as_bytes()).unwrap();
        assert!(told().contains("no private key"), "{}", told());
        fs::remove_dir_all(&folder.place).unwrap();
        fs::write(&folder.place, "").unwrap();
        set_mode(&folder.place, 0o600);
        assert!(told().contains("is not a directory"), "{}", told());
        assert!(folder.make().is_err());
    }

    #[test]
    fn each_authority_has_a_folder() {
        assert!(name_of(URL).starts_with("acme.example-"), "{}", name_of(URL));
        assert_ne!(name_of(URL), name_of("https://acme.example:14000/other"));
        assert!(!name_of("https://[::1]:1/../x").contains(['/', ':', '[']));
    }
}
