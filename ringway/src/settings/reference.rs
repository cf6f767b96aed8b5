//! docs/CONFIGURATION.md, written from the table of options.

use std::fmt::Write as _;

use crate::settings::options::{self, Kind, OptionRow, Service};

/// The whole page.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Options\n\n");
    section(&mut page, options::all());
    page.push_str(CHANNELS);
    section(&mut page, options::of_channels().iter());
    page.push_str("\n## Options of Centrifugo that have no effect here\n\n");
    others(&mut page, |service| match service {
        Service::Ignored(why) => Some(why.to_owned()),
        _ => None,
    });
    page.push_str("\n## Options of Centrifugo of which one value is served\n\n");
    others(&mut page, |service| match service {
        Service::Fixed(allowed, why) => Some(format!("`\"{}\"`: {why}", allowed[0])),
        _ => None,
    });
    page.push_str(UNSUPPORTED);
    others(&mut page, |service| match service {
        Service::Unsupported(instead) => Some(instead.to_owned()),
        Service::Never(why) => Some(format!("refused, whatever is allowed: {why}")),
        _ => None,
    });
    page
}

fn section<'a>(page: &mut String, rows: impl Iterator<Item = &'a OptionRow>) {
    page.push_str("| option | expected | default | meaning | from | reload |\n");
    page.push_str("|---|---|---|---|---|---|\n");
    for row in rows.filter(|row| row.is_served()) {
        let from = if row.in_centrifugo { "Centrifugo" } else { "Ringway" };
        let reload = if row.needs_restart() { "restart" } else { "yes" };
        let default =
            if row.default.is_empty() { "empty".to_owned() } else { format!("`{}`", row.default) };
        line(
            page,
            &[&format!("`{}`", row.path), &expected(row.kind), &default, row.doc, from, reload],
        );
    }
}

fn expected(kind: Kind) -> String {
    match kind {
        Kind::Choice(choices) => format!("`{}`", choices.join("`, `")),
        Kind::Duration { min_ms: 0 } => "duration".to_owned(),
        Kind::Duration { min_ms } => format!("duration, at least {min_ms}ms"),
        Kind::Secret => "text, secret".to_owned(),
        Kind::File | Kind::SecretFile => "path of a file".to_owned(),
        Kind::Address => "IP address or `localhost`".to_owned(),
        Kind::SocketAddress => "address with port".to_owned(),
        other => other.to_string(),
    }
}

fn others(page: &mut String, reason: impl Fn(Service) -> Option<String>) {
    page.push_str("| option | reason |\n|---|---|\n");
    let global = options::all().map(|row| (row, ""));
    let channel = options::of_channels().iter().map(|row| (row, " of channels"));
    for (row, note) in global.chain(channel) {
        if let Some(reason) = reason(row.service) {
            line(page, &[&format!("`{}`{note}", row.path), &reason]);
        }
    }
}

fn line(page: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    writeln!(page, "| {} |", cells.join(" | ")).expect("a String takes everything");
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Written from ringway/src/settings/options. To write it again:
     UPDATE_REFERENCE=1 cargo test -p ringway --test reference_is_current -->

Ringway reads one file, TOML, YAML or JSON (by its extension; without one, by its first line),
named with `--config`. The environment overrides the file, and flags override the environment.
`ringway check-config` reports everything that is wrong, with line and column. Options that
Centrifugo v6 has keep its names and meanings, so its configuration files load.

* **Durations** are written `\"25s\"`, `\"1h30m\"`, `\"500ms\"`; a number without a unit is
  refused, except zero.
* **Environment**: the path in capitals, with `_` for dots:
  `RINGWAY_CLIENT_TOKEN_HMAC_SECRET_KEY`. Lists are separated by blanks.
  `RINGWAY_CHANNEL_NAMESPACES` is a JSON list; `RINGWAY_CHANNEL_NAMESPACES_CHAT_PRESENCE` sets one
  option of the namespace `chat`.
* **Files** named by an option are looked for from the folder of the configuration file. A secret
  loses the line ends behind it.
* **Development mode**: without a file, and without credentials in the environment, Ringway
  listens on `127.0.0.1` only, makes up a token secret and keys of both APIs, and lets clients
  subscribe, publish, and see presence and history in channels without a namespace. With
  `--data-dir` these are durable (`log`).
* **Reload**: SIGHUP reads everything again. Either all of it holds afterwards or nothing changes.
  Options marked `restart` wait for one.
";

const CHANNELS: &str = "
## Options of channels

Each of these stands in `channel.without_namespace` and in every table of the list
`channel.namespaces`, whose tables also have a `name`.

";

const UNSUPPORTED: &str = "
## Options of Centrifugo that are not served

A file that asks for one of these is refused, unless `--allow-unsupported` is given; then each is
a warning. What is switched off (`false`, `0`, empty, or a table with `enabled: false`) asks for
nothing. A name stands for everything below it.

";
