//! One attempt: an account, an order, proofs, a certificate (RFC 8555, 7.1).

use std::fmt;

use gateway::driver::tls::Challenge;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeHandle, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::client::Http;
use crate::acme::AcmeSettings;
use crate::acme::engine::Failure;
use crate::acme::folder::Folder;
use crate::causes::causes;
use crate::limits::{ACME_DETAIL_CHARACTERS_MAX, ACME_ORDER_TIMEOUT};
use crate::secret::Secret;
use crate::serve::tls::ServedTls;

/// What an order led to.
pub(super) struct Issued {
    /// In PEM, the host's own certificate first.
    pub(super) chain: String,
    pub(super) key: Secret,
}

/// Why there is no certificate: the cause, and what to do. Whatever it was, it is tried again.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nobody answered, or with nothing of use.
    Unreachable(String),
    /// The authority refused.
    Refused(Problem),
    /// The authority did not find its proof: the host, and what it says.
    Unproven(Vec<(String, String)>),
    /// The authority offers no way to prove a host that we know.
    NoChallenge(String),
    /// The authority took too long, or answered against the rules.
    Stalled(String),
    /// The disk, or the shards, did not take what they were given.
    Ours(String),
}

impl Fault {
    pub(super) fn kind(&self) -> Failure {
        match self {
            Self::Unreachable(_) | Self::Ours(_) => Failure::Unreachable,
            // An authority that is in trouble itself counts nothing against us.
            Self::Refused(problem) if problem.status.is_some_and(|status| status >= 500) => {
                Failure::Unreachable
            }
            _ => Failure::Refused,
        }
    }
}

impl Fault {
    /// Of an attempt whose proofs were asked for: whatever ended it, the authority has counted it.
    fn counted(self) -> Self {
        match self {
            Self::Unreachable(why) => Self::Stalled(why),
            Self::Refused(problem) if problem.status.is_some_and(|status| status >= 500) => {
                Self::Stalled(problem.to_string())
            }
            other => other,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) => Self::Refused(problem),
            Error::Timeout(_) => Self::Stalled("it did not come to an end in time".to_owned()),
            error => Self::Unreachable(causes(&error)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(
                f,
                "the authority cannot be reached: {}; see whether this host may connect to it, and \
                 http_server.tls_autocert.directory",
                shortened(why)
            ),
            Self::Refused(problem) => {
                let said = shortened(&problem.to_string());
                write!(f, "the authority refuses: {said}; {}", fix_of(problem))
            }
            Self::Unproven(hosts) => {
                f.write_str("the authority did not find its proof: ")?;
                for (host, said) in hosts {
                    write!(f, "{host}: {}; ", shortened(said))?;
                }
                f.write_str(
                    "each of http_server.tls_autocert.host_whitelist must resolve to this server, \
                     and its port 443 must lead to the client port",
                )
            }
            Self::NoChallenge(host) => write!(
                f,
                "the authority cannot verify {host} by TLS-ALPN-01; take another authority \
                 (http_server.tls_autocert.directory)"
            ),
            Self::Stalled(why) => write!(f, "the authority did not issue it: {}", shortened(why)),
            Self::Ours(why) => f.write_str(why),
        }
    }
}

/// What an operator can do about a refusal (RFC 8555, 6.7).
fn fix_of(problem: &Problem) -> &'static str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    match kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind) {
        "rateLimited" => "it counts requests, and is asked again when it permits",
        "rejectedIdentifier" | "unsupportedIdentifier" | "malformed" => {
            "take the host out of http_server.tls_autocert.host_whitelist, or mend its name"
        }
        "caa" => "the host's CAA record must permit this authority",
        "dns" => "the host's name must resolve to this server",
        "invalidContact" | "unsupportedContact" => "mend http_server.tls_autocert.email",
        "accountDoesNotExist" | "unauthorized" => {
            "if it does not know the account any more, remove account.json and retry_at from its \
             folder in http_server.tls_autocert.cache_dir and restart: another is made"
        }
        "externalAccountRequired" => "accounts that are bound to others are not served",
        "serverInternal" => "nothing is wrong here",
        _ => "mend what it names",
    }
}

/// What others wrote, no longer than a log bears.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(ACME_DETAIL_CHARACTERS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The account that is kept, or a new one, which is kept from then on.
pub(super) async fn account(
    settings: &AcmeSettings,
    folder: &Folder,
    kept: &mut Option<Secret>,
    http: &Http,
) -> Result<Account, Fault> {
    let builder = Account::builder_with_http(Box::new(http.clone()));
    if let Some(text) = kept {
        let path = folder.account_path();
        if !path.exists() {
            keep(folder, text)?;
        }
        let credentials = serde_json::from_str(text.expose())
            .map_err(|_| Fault::Ours(format!("{} holds no account; remove it", path.display())))?;
        return Ok(builder.from_credentials(credentials).await?);
    }
    let contact = settings.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.as_deref().into_iter().collect();
    let wanted = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let (account, credentials) = builder.create(&wanted, settings.directory.clone(), None).await?;
    let text = serde_json::to_string(&credentials).map(Secret::new).map_err(Error::Json)?;
    // Authorities count accounts: one that the disk does not take is not made again.
    keep(folder, kept.insert(text))?;
    tracing::info!("certificates: there is an account now, and it is kept");
    Ok(account)
}

fn keep(folder: &Folder, account: &Secret) -> Result<(), Fault> {
    folder.keep_account(account).map_err(|error| {
        let path = folder.account_path();
        Fault::Ours(format!("{} cannot be written: {error}; free the disk", path.display()))
    })
}

/// A certificate for all hosts. Proofs are shown for as long as it takes.
pub(super) async fn order(
    account: &Account,
    hosts: &[String],
    served: &ServedTls,
) -> Result<Issued, Fault> {
    let identifiers: Vec<_> = hosts.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let proofs = proofs(&mut order).await?;
    let has_proofs = !proofs.is_empty();
    let proven = async {
        served.show(proofs).await.map_err(Fault::Ours)?;
        prove(&mut order).await.map_err(Fault::counted)
    };
    let proven = proven.await;
    if has_proofs {
        // The attempt goes on without the shards' word for it: nobody asks for these any more.
        let _ = served.show(Vec::new()).await;
    }
    proven?;
    let issued = async {
        let key = Secret::new(order.finalize().await?);
        let chain = order.poll_certificate(&PATIENCE).await?;
        Ok(Issued { chain, key })
    };
    issued.await.map_err(|error: Error| Fault::from(error).counted())
}

/// What the authority wants to see of hosts that it has not verified yet.
async fn proofs(order: &mut Order) -> Result<Vec<Challenge>, Fault> {
    let mut proofs = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let host = authorization.identifier().to_string();
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            other => return Err(Fault::Stalled(format!("the proof of {host} is {other:?}"))),
        }
        match authorization.challenge(ChallengeType::TlsAlpn01) {
            Some(challenge) => proofs.push(proof(&host, &challenge)?),
            None => return Err(Fault::NoChallenge(host)),
        }
    }
    Ok(proofs)
}

/// RFC 8737, 3: a certificate for the host alone, with the digest of the key authorization.
fn proof(host: &str, challenge: &ChallengeHandle<'_>) -> Result<Challenge, Fault> {
    let ours = |error: &dyn std::error::Error| {
        Fault::Ours(format!("no proof could be made for {host}: {}", causes(error)))
    };
    let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(|e| ours(&e))?;
    let digest = challenge.key_authorization().digest();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
    let key = KeyPair::generate().map_err(|e| ours(&e))?;
    let certificate = params.self_signed(&key).map_err(|e| ours(&e))?.der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Challenge::new(host, certificate, &key).map_err(|e| ours(&e))
}

/// Lets the authority look, and waits for what it says.
async fn prove(order: &mut Order) -> Result<(), Fault> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Pending
            && let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01)
        {
            challenge.set_ready().await?;
        }
    }
    match order.poll_ready(&PATIENCE).await {
        Ok(OrderStatus::Ready) => Ok(()),
        // The order says that it failed, its hosts say why.
        Ok(OrderStatus::Invalid) => {
            let silent = || Fault::Stalled("it does not say why".to_owned());
            Err(unproven(order).await?.unwrap_or_else(silent))
        }
        Err(Error::Api(problem)) => {
            Err(unproven(order).await.ok().flatten().unwrap_or(Fault::Refused(problem)))
        }
        Ok(status) => Err(Fault::Stalled(format!("the order is {status:?}"))),
        Err(error) => Err(error.into()),
    }
}

/// The hosts whose proof was not found, if it is that.
async fn unproven(order: &mut Order) -> Result<Option<Fault>, Fault> {
    let mut hosts = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let host = authorization.identifier().to_string();
        let state = authorization.refresh().await?;
        let failed = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        hosts.extend(failed.map(|problem| (host, problem.to_string())));
    }
    Ok(Some(hosts).filter(|hosts| !hosts.is_empty()).map(Fault::Unproven))
}

/// How an order is looked after.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(ACME_ORDER_TIMEOUT);

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: u16) -> Fault {
        let json = format!(
            r#"{{"type": "urn:ietf:params:acme:error:{kind}", "detail": "no", "status": {status}}}"#
        );
        Fault::Refused(serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn who_is_at_fault_decides_how_long_is_waited() {
        assert_eq!(problem("rateLimited", 429).kind(), Failure::Refused);
        assert_eq!(problem("serverInternal", 500).kind(), Failure::Unreachable);
        assert_eq!(Fault::from(Error::Timeout(None)).kind(), Failure::Refused);
        assert_eq!(Fault::from(Error::Str("nonce")).kind(), Failure::Unreachable);
        assert_eq!(Fault::from(Error::Str("nonce")).counted().kind(), Failure::Refused);
        assert_eq!(problem("serverInternal", 500).counted().kind(), Failure::Refused);
        assert_eq!(Fault::NoChallenge("one.example".to_owned()).kind(), Failure::Refused);
    }

    #[test]
    fn a_fault_says_what_to_do_and_is_not_endless() {
        let told = problem("rejectedIdentifier", 400).to_string();
        assert!(told.contains("host_whitelist") && told.contains("API error: no"), "{told}");
        assert!(problem("invalidContact", 400).to_string().contains("tls_autocert.email"));
        let long = Fault::Unreachable("x".repeat(100_000)).to_string();
        assert!(long.len() < 1_000, "{}", long.len());
        let hosts = vec![("one.example".to_owned(), "connection refused".to_owned())];
        let told = Fault::Unproven(hosts).to_string();
        assert!(told.contains("one.example: connection refused") && told.contains("443"), "{told}");
    }
}
