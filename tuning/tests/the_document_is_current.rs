//! Goal: docs/TUNING.md names every setting with its reason and what is known of its effect.
//! Method: writes the list anew and compares. To write it into the document:
//! `UPDATE_REFERENCE=1 cargo test -p tuning --test the_document_is_current`.

mod support;

use std::fmt::Write as _;
use std::path::Path;

use support::FakeHost;
use tuning::engine::{Lasting, Setting, State};

const BEGIN: &str = "<!-- settings: written by tuning/tests/the_document_is_current.rs -->\n";
const END: &str = "<!-- end of settings -->\n";

/// Each setting once, as it is where it matters, in the order of pain.
fn settings() -> Vec<Setting> {
    let host = FakeHost::bad();
    host.put("/run/irqbalance.pid", "1\n");
    let mut all = host.check().settings;
    host.put("/proc/sys/net/ipv4/tcp_congestion_control", "bbr\n");
    host.put("/proc/sys/net/core/default_qdisc", "pfifo_fast\n");
    let paced = host.setting("net.core.default_qdisc");
    let place = all.iter().position(|one| one.id == paced.id).expect("every setting is judged");
    all.remove(place);
    let hurting = all.iter().filter(|setting| setting.hurts()).count();
    all.insert(hurting, paced);
    all
}

fn line(setting: &Setting) -> String {
    let id = setting.id.replace(" eth0", " INTERFACE");
    let mut line = format!("* **{id}**");
    let wanted = setting.wanted.as_deref().unwrap_or_default();
    match (&setting.state, &setting.change) {
        (State::NotApplicable(why), _) => {
            let _ = write!(line, ", left alone: {why}");
        }
        (_, Some(change)) => {
            let places = match change.lasting.first() {
                Some(Lasting::Sysctl(..)) => "sysctl.d",
                Some(Lasting::Boot(..)) => "tmpfiles.d",
                Some(Lasting::Service(..)) => "the drop-in",
                Some(Lasting::Queue(..)) | None => "the script",
            };
            let _ = write!(line, ", wanted `{wanted}`, by {places}");
        }
        (_, None) => {
            let _ = write!(line, ", wanted `{wanted}`, by hand");
        }
    }
    let effect = setting.effect;
    let _ = write!(line, ". *Why:* {}. *Effect:* {} ", setting.reason, effect.text);
    let _ = writeln!(line, "[{}].", effect.source);
    line
}

#[test]
fn every_setting_is_in_the_document() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/TUNING.md");
    let text = std::fs::read_to_string(&path).expect("the document is there");
    let (before, rest) = text.split_once(BEGIN).expect("the list has a beginning");
    let (_, after) = rest.split_once(END).expect("the list has an end");
    let list: String = settings().iter().map(line).collect();
    let wanted = format!("{before}{BEGIN}{list}{END}{after}");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &wanted).expect("the document can be written");
    }
    assert!(
        text == wanted || std::env::var_os("UPDATE_REFERENCE").is_some(),
        "docs/TUNING.md is not what the settings say; run UPDATE_REFERENCE=1 cargo test -p tuning \
         --test the_document_is_current"
    );
}
