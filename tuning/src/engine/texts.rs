//! The files that `apply` writes: readable, each with who wrote it, why, and how to undo it.

use std::fmt::Write as _;

use super::Lasting;
use super::plan::Form;
use super::record::{Record, SettingRecord};

pub(super) const SYSCTL: &str = "/etc/sysctl.d/90-ringway.conf";
pub(super) const BOOT: &str = "/etc/tmpfiles.d/90-ringway.conf";
/// The profile of tuned.
pub const TUNED: &str = "/etc/tuned/ringway/tuned.conf";
/// The drop-in of the service's unit.
pub const SERVICE: &str = "/etc/systemd/system/ringway.service.d/90-ringway.conf";
pub(super) const QUEUES: &str = "/etc/ringway/queues.sh";

const PLAIN: u32 = 0o644;
const EXECUTABLE: u32 = 0o755;
/// Longest line of a comment.
const COLUMNS: usize = 96;

/// Path, contents and permission bits of each file that a record asks for.
pub(super) fn render(record: &Record) -> Vec<(&'static str, String, u32)> {
    let mut files = Vec::new();
    let mut add = |path, text: Option<String>, mode| {
        files.extend(text.map(|text| (path, text, mode)));
    };
    match record.form {
        Form::Files => {
            add(SYSCTL, sysctl(record), PLAIN);
            add(BOOT, boot(record), PLAIN);
        }
        Form::Tuned => add(TUNED, tuned(record), PLAIN),
    }
    add(QUEUES, queues(record), EXECUTABLE);
    add(SERVICE, service(record), PLAIN);
    files
}

/// The file that a line is in.
pub(super) fn file_of(lasting: &Lasting, form: Form) -> &'static str {
    match (lasting, form) {
        (Lasting::Sysctl(..), Form::Files) => SYSCTL,
        (Lasting::Boot(..), Form::Files) => BOOT,
        (Lasting::Sysctl(..) | Lasting::Boot(..), Form::Tuned) => TUNED,
        (Lasting::Service(..), _) => SERVICE,
        (Lasting::Queue(_), _) => QUEUES,
    }
}

fn header(record: &Record, what: &str) -> String {
    let connections = record.connections;
    format!(
        "# Written by `ringway tune apply` for {connections} connections. {what}\n\
         # `ringway tune revert` puts back what was there before, and leaves this file alone if\n\
         # it was changed by hand.\n"
    )
}

/// Settings with lines of one kind, with these lines.
fn sections<'a, T>(
    record: &'a Record,
    pick: impl Fn(&'a Lasting) -> Option<T>,
) -> Vec<(&'a SettingRecord, Vec<T>)> {
    let of = |setting: &'a SettingRecord| -> Vec<T> {
        setting.lasting.iter().filter_map(&pick).collect()
    };
    let all = record.settings.iter().map(|setting| (setting, of(setting)));
    all.filter(|(_, lines)| !lines.is_empty()).collect()
}

/// Why, in comments that are not too wide, and what it was.
fn why(setting: &SettingRecord) -> String {
    let mut text = String::new();
    let mut line = format!("# {}:", setting.id);
    for word in setting.reason.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS {
            text.push_str(&line);
            text.push('\n');
            line = "#".to_owned();
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(text, "{line}.");
    for live in &setting.live {
        let _ = writeln!(text, "# Before, {}: {}", live.path, live.format.normal(&live.before));
    }
    text
}

fn pair(lasting: &Lasting) -> Option<(&str, &str)> {
    match lasting {
        Lasting::Sysctl(name, value) => Some((name, value)),
        _ => None,
    }
}

fn boot_pair(lasting: &Lasting) -> Option<(&str, &str)> {
    match lasting {
        Lasting::Boot(path, value) => Some((path, value)),
        _ => None,
    }
}

fn sysctl(record: &Record) -> Option<String> {
    let sections = sections(record, pair);
    let mut text = header(record, "Read at every start by systemd-sysctl.");
    text.push_str("# A leading \"-\" lets the others go on where the kernel does not have one.\n");
    for (setting, lines) in &sections {
        let _ = write!(text, "\n{}", why(setting));
        for (name, value) in lines {
            let _ = writeln!(text, "-{name} = {value}");
        }
    }
    (!sections.is_empty()).then_some(text)
}

fn boot(record: &Record) -> Option<String> {
    let sections = sections(record, boot_pair);
    let mut text = header(record, "Read at every start by systemd-tmpfiles.");
    for (setting, lines) in &sections {
        let _ = write!(text, "\n{}", why(setting));
        for (path, value) in lines {
            let _ = writeln!(text, "w {path} - - - - {value}");
        }
    }
    (!sections.is_empty()).then_some(text)
}

fn tuned(record: &Record) -> Option<String> {
    let (sysctls, boots) = (sections(record, pair), sections(record, boot_pair));
    let mut text = header(record, "In use after `tuned-adm profile ringway`.");
    text.push_str("\n[main]\nsummary=Many WebSocket connections (ringway)\n");
    if !sysctls.is_empty() {
        text.push_str("\n[sysctl]\n");
    }
    for (setting, lines) in &sysctls {
        text.push_str(&why(setting));
        for (name, value) in lines {
            let _ = writeln!(text, "{name}={value}");
        }
    }
    for (setting, lines) in &boots {
        // tuned has words of its own for both things of sysfs that are ever wanted.
        let section = match setting.id.as_str() {
            "transparent_hugepage" => "[vm]\ntransparent_hugepages",
            _ => "[cpu]\ngovernor",
        };
        for (_, value) in lines {
            let _ = writeln!(text, "\n{}{section}={value}", why(setting));
        }
    }
    (!sysctls.is_empty() || !boots.is_empty()).then_some(text)
}

fn service(record: &Record) -> Option<String> {
    let sections = sections(record, |lasting| match lasting {
        Lasting::Service(name, value) => Some((name, value)),
        _ => None,
    });
    let mut text = header(record, "Read by systemd with ringway.service.");
    text.push_str("\n[Service]\n");
    for (setting, lines) in &sections {
        text.push_str(&why(setting));
        for (name, value) in lines {
            let _ = writeln!(text, "{name}={value}");
        }
    }
    let has_queues = queues(record).is_some();
    if has_queues {
        text.push_str("# Queues of network interfaces, as root, and no reason not to start.\n");
        let _ = writeln!(text, "ExecStartPre=-+{QUEUES}");
    }
    (has_queues || !sections.is_empty()).then_some(text)
}

fn queues(record: &Record) -> Option<String> {
    let sections = sections(record, |lasting| match lasting {
        Lasting::Queue(line) => Some(line),
        _ => None,
    });
    let mut text = "#!/bin/sh\n".to_owned();
    text.push_str(&header(record, "Run before ringway.service starts, by its drop-in."));
    text.push_str(
        "\nput() { if [ -w \"$1\" ]; then echo \"$2\" > \"$1\"; fi; }\n\
         # Numbers of interrupts may change with every start of the machine; names do not.\n\
         pin() {\n  \
         for number in $(awk -v name=\"$1\" \
         '$NF == name { sub(\":\", \"\", $1); print $1 }' /proc/interrupts); do\n    \
         put \"/proc/irq/$number/smp_affinity_list\" \"$2\"\n  done\n}\n",
    );
    for (setting, lines) in &sections {
        let _ = write!(text, "\n{}", why(setting));
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
    }
    (!sections.is_empty()).then_some(text)
}
