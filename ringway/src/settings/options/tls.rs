//! Options of TLS on the client port.

use gateway::limits::TLS_HANDSHAKES_DEFAULT;

use super::{Kind, OptionRow, Service};

const NO_CLIENT_CERTIFICATES: &str = "clients show tokens, and no certificates";
const OF_CLIENTS: &str = "it is for programs that connect elsewhere, and the port only listens";

/// `http_server.tls`.
pub(super) const TABLE: &[OptionRow] = &[
    OptionRow::new(
        "http_server.tls.enabled",
        Kind::Flag,
        "false",
        "Speak TLS on the client port, and nothing else.",
    )
    .restart(),
    OptionRow::new(
        "http_server.tls.cert_pem",
        Kind::Text,
        "",
        "Certificate chain, the server's own first: the path of a file, PEM, or PEM in base64.",
    ),
    OptionRow::new(
        "http_server.tls.key_pem",
        Kind::Secret,
        "",
        "Private key of the certificate: the path of a file, PEM, or PEM in base64.",
    ),
    OptionRow::new(
        "http_server.tls.sni_cert_files",
        Kind::Texts,
        "",
        "Files of further chains, each for clients that name one of its hosts.",
    )
    .ours(),
    OptionRow::new(
        "http_server.tls.sni_key_files",
        Kind::Texts,
        "",
        "Files of their keys, in the same order.",
    )
    .ours(),
    OptionRow::new(
        "http_server.tls.min_version",
        Kind::Choice(&["1.2", "1.3"]),
        "1.3",
        "Oldest version of TLS that is spoken.",
    )
    .ours(),
    OptionRow::new(
        "http_server.tls.ticket_secret",
        Kind::Secret,
        "",
        "Nodes with the same secret resume each other's sessions. Empty: made up at start.",
    )
    .ours(),
    OptionRow::new(
        "http_server.tls.ticket_secret_file",
        Kind::SecretFile,
        "",
        "A file with the secret, instead of the option itself.",
    )
    .ours(),
    OptionRow::new(
        "http_server.tls.hsts_max_age",
        Kind::DURATION,
        "24h",
        "Browsers come to this host by TLS only for so long (HSTS). Zero: not asked for.",
    )
    .ours(),
    OptionRow::new(
        "http_server.tls.handshake_limit",
        Kind::integer(1, 1_000_000, ""),
        HANDSHAKES,
        "Most handshakes of one shard that are under way, 24 KiB each at most.",
    )
    .ours(),
    OptionRow::new(
        "http_server.tls.record_layer",
        Kind::Choice(&["own", "rustls"]),
        "own",
        "Who encrypts after a handshake of TLS 1.3: `rustls` costs some KiB for each connection.",
    )
    .ours(),
    OptionRow::unsupported("http_server.tls.client_ca_pem", NO_CLIENT_CERTIFICATES),
    OptionRow::unsupported("http_server.tls.server_ca_pem", OF_CLIENTS),
    OptionRow::unsupported("http_server.tls.server_name", OF_CLIENTS),
    OptionRow::unsupported("http_server.tls.insecure_skip_verify", OF_CLIENTS),
];

const AUTOCERT_HTTP: &str =
    "hosts are proven on the client port (TLS-ALPN-01); let port 443 lead there";

/// `http_server.tls_autocert`.
pub(super) const AUTOCERT: &[OptionRow] = &[
    OptionRow::new(
        "http_server.tls_autocert.enabled",
        Kind::Flag,
        "false",
        "Speak TLS on the client port with a certificate that is fetched by ACME (RFC 8555), and \
         renewed when a third of its lifetime is left. Port 443 of every host must lead to the \
         client port. It agrees to the terms of service of the authority.",
    )
    .restart(),
    OptionRow::new(
        "http_server.tls_autocert.host_whitelist",
        Kind::Hosts,
        "",
        "Hosts that the certificate is for, 100 at most: a list, or a text with commas.",
    )
    .restart(),
    OptionRow::new(
        "http_server.tls_autocert.cache_dir",
        Kind::Text,
        "",
        "Directory of the account's key and the certificate, beside the file if it is relative. \
         Made with mode 700 if it is not there; others must not have access to it.",
    )
    .restart(),
    OptionRow::new(
        "http_server.tls_autocert.email",
        Kind::Text,
        "",
        "Where the authority may write to, from when the account is made. Empty: nowhere.",
    )
    .restart(),
    OptionRow::new(
        "http_server.tls_autocert.directory",
        Kind::Text,
        "https://acme-v02.api.letsencrypt.org/directory",
        "The authority: URL of its directory. Each has an account and a certificate of its own.",
    )
    .restart()
    .ours(),
    OptionRow::new(
        "http_server.tls_autocert.directory_ca_pem",
        Kind::Text,
        "",
        "Certificates that the directory's own is trusted by: the path of a file, PEM, or PEM in \
         base64. Empty: the roots that browsers trust.",
    )
    .restart()
    .ours(),
    OptionRow::new("http_server.tls_autocert.server_name", Kind::Text, "", "")
        .serving(Service::Ignored("who names no host is shown the first certificate")),
    OptionRow::unsupported("http_server.tls_autocert.http", AUTOCERT_HTTP),
    OptionRow::ignored("http_server.tls_autocert.http_addr", AUTOCERT_HTTP),
];

const HANDSHAKES: &str = "4096";
const _: () = assert!(TLS_HANDSHAKES_DEFAULT == 4096);
