//! Asks for certificates when the engine says so, keeps them, and puts them in place.

mod client;
mod order;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway::driver::tls::Certificate;

use client::Http;
pub(crate) use client::certificates;
use order::{Fault, Issued};

use super::engine::Schedule;
use super::folder::{Folder, FolderFault, Kept, certificate, held, missing};
use super::{AcmeSettings, AcmeState};
use crate::limits::{ACME_ATTEMPT_TIMEOUT, ACME_LOOK_INTERVAL, ACME_REFUSED_SECONDS_MIN};
use crate::secret::Secret;
use crate::serve::tls::ServedTls;

/// What is done for one certificate, from the start of the process to its end.
pub(crate) struct Acme {
    settings: AcmeSettings,
    folder: Folder,
    account: Option<Secret>,
    certificate: Option<Certificate>,
    schedule: Schedule,
    state: Arc<AcmeState>,
    http: Http,
}

impl Acme {
    /// Takes up what an earlier process left, before anybody connects.
    ///
    /// # Errors
    ///
    /// The folder is of no use.
    pub(crate) fn open(settings: AcmeSettings) -> Result<Self, FolderFault> {
        let folder = Folder::of(&settings);
        let now = unix_seconds();
        let Kept { account, certificate, expired_at, retry_at } = folder.read(now)?;
        match (folder.make(), &certificate) {
            (Ok(()), _) => {}
            // Clients are served with it, and by the next renewal there is time to mend the folder.
            (Err(fault), Some(_)) => tracing::warn!(
                "certificates: http_server.tls_autocert.cache_dir: {fault}; until then none is \
                 renewed"
            ),
            (Err(fault), None) => return Err(fault),
        }
        let there = certificate.as_ref().map(|certificate| held(certificate, &settings.hosts));
        let schedule = Schedule::new(there, retry_at, now, luck());
        let state = Arc::new(AcmeState::default());
        state.held(certificate.as_ref().map_or(0, Certificate::valid_until));
        state.waits_until(schedule.due_at());
        let hosts = settings.hosts.join(", ");
        match (&certificate, expired_at) {
            (Some(certificate), _) => {
                let missing: Vec<_> =
                    missing(certificate, &settings.hosts).map(String::as_str).collect();
                let left = span(certificate.valid_until().saturating_sub(now));
                tracing::info!("certificates: one was kept, valid for {left}");
                if !missing.is_empty() {
                    tracing::warn!(
                        "certificates: it is not for {}; one for {hosts} is asked for",
                        missing.join(", ")
                    );
                }
            }
            (None, Some(at)) => tracing::warn!(
                "certificates: the one that was kept expired {} ago; TLS is refused to clients \
                 without another certificate until there is one for {hosts}",
                span(now.saturating_sub(at))
            ),
            (None, None) => tracing::warn!(
                "certificates: there is none yet; TLS is refused to clients without another \
                 certificate until there is one for {hosts}"
            ),
        }
        let http = Http::new(settings.directory_roots.as_deref());
        Ok(Self { settings, folder, account, certificate, schedule, state, http })
    }

    /// The certificate that was kept.
    pub(crate) fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    pub(crate) fn state(&self) -> Arc<AcmeState> {
        self.state.clone()
    }

    /// Runs as long as the process.
    pub(crate) async fn run(mut self, served: Arc<ServedTls>) {
        let wait = self.schedule.due_at().saturating_sub(unix_seconds());
        if wait > 0 && self.certificate.is_none() {
            tracing::warn!(
                "certificates: the authority is asked in {}, because it refused before this start; \
                 to ask at once, remove {} and start again",
                span(wait),
                self.folder.retry_at_path().display()
            );
        }
        let mut seen = unix_seconds();
        loop {
            let now = unix_seconds();
            if now < seen {
                self.schedule.set_back(seen - now);
            }
            seen = now;
            let due_at = self.schedule.due_at();
            self.state.waits_until(due_at);
            if due_at > now {
                // The clock may be set meanwhile, and the host may sleep.
                let wait = Duration::from_secs(due_at - now).min(ACME_LOOK_INTERVAL);
                tokio::time::sleep(wait).await;
                continue;
            }
            match tokio::time::timeout(ACME_ATTEMPT_TIMEOUT, self.attempt(&served)).await {
                Ok(Ok((certificate, is_kept))) => self.issued(certificate, is_kept, &served).await,
                Ok(Err(fault)) => self.failed(&fault),
                Err(_) => {
                    // It ended wherever it was, perhaps with proofs that nobody asks for any more.
                    let _ = served.show(Vec::new()).await;
                    self.failed(&Fault::Stalled("it took too long".to_owned()));
                }
            }
            seen = unix_seconds();
        }
    }

    /// One attempt. What comes of it is kept before anybody is shown it; `false`: the disk did not
    /// take it.
    async fn attempt(&mut self, served: &ServedTls) -> Result<(Certificate, bool), Fault> {
        let hosts = &self.settings.hosts;
        tracing::info!("certificates: asking for one for {}", hosts.join(", "));
        self.http.take_retry_after();
        // Authorities count what they issue: what cannot be kept is not asked for.
        self.folder.make().map_err(|fault| Fault::Ours(fault.to_string()))?;
        let account =
            order::account(&self.settings, &self.folder, &mut self.account, &self.http).await?;
        // Of a process that is killed from here on, the next one knows.
        self.keep_retry_at(Some(unix_seconds() + ACME_REFUSED_SECONDS_MIN));
        let Issued { chain, key } = order::order(&account, hosts, served).await?;
        let certificate = certificate(&chain, key.expose(), unix_seconds())
            .map_err(|fault| Fault::Stalled(format!("what it issued {fault}")))?;
        let missing: Vec<_> = missing(&certificate, hosts).map(String::as_str).collect();
        if !missing.is_empty() {
            let sentence = format!("what it issued is not for {}", missing.join(", "));
            return Err(Fault::Stalled(sentence));
        }
        let kept = self.folder.keep_certificate(&chain, &key);
        if let Err(error) = &kept {
            tracing::error!(
                "certificates: the new one is served, and is not kept for the next start: {error}; \
                 free the disk of http_server.tls_autocert.cache_dir; a restart asks for another"
            );
        }
        Ok((certificate, kept.is_ok()))
    }

    async fn issued(&mut self, certificate: Certificate, is_kept: bool, served: &ServedTls) {
        let now = unix_seconds();
        self.schedule.issued(held(&certificate, &self.settings.hosts), now, luck());
        self.state.held(certificate.valid_until());
        self.state.ended(Ok(()));
        if is_kept {
            self.keep_retry_at(None);
        }
        let left = span(certificate.valid_until().saturating_sub(now));
        let renewed = span(self.schedule.due_at().saturating_sub(now));
        match served.take(certificate.clone()).await {
            Ok(()) => tracing::info!(
                "certificates: a new one for {} is in place, valid for {left}, renewed in {renewed}",
                self.settings.hosts.join(", ")
            ),
            Err(sentence) => tracing::error!("certificates: {sentence}; restart the server"),
        }
        self.certificate = Some(certificate);
    }

    fn failed(&mut self, fault: &Fault) {
        let (kind, now) = (fault.kind(), unix_seconds());
        let retry_after = self.http.take_retry_after();
        let wait = self.schedule.failed(kind, retry_after, now, luck());
        self.state.ended(Err(kind));
        self.keep_retry_at(wait.kept);
        let standing = match &self.certificate {
            Some(held) if held.valid_until() > now => {
                format!("the one in place is valid for {}", span(held.valid_until() - now))
            }
            Some(held) => {
                format!("the one in place expired {} ago", span(now - held.valid_until()))
            }
            None => "there is none in place".to_owned(),
        };
        tracing::error!(
            "certificates: {fault}. It is tried again in {}; {standing}",
            span(wait.retry_at.saturating_sub(now))
        );
    }

    fn keep_retry_at(&self, at: Option<u64>) {
        if let Err(error) = self.folder.keep_retry_at(at) {
            let path = self.folder.retry_at_path();
            tracing::warn!("certificates: {} cannot be written: {error}", path.display());
        }
    }
}

/// Seconds since 1970, as this host's clock has it.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A time span as people read it.
pub(crate) fn span(seconds: u64) -> String {
    const DAY: u64 = 24 * 3600;
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / DAY),
    }
}

/// Chance for a schedule. Without any, everybody has the same.
fn luck() -> u16 {
    let mut bytes = [0; 2];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}
