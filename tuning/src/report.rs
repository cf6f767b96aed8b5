//! What `ringway tune` prints: for people, and as JSON.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use crate::engine::{Host, Plan, Setting, State, judge};

/// A host, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    kernel: String,
    cores_count: u64,
    memory_bytes: u64,
    connections: u64,
    /// All settings, what hurts most first.
    pub settings: Vec<Setting>,
}

impl Report {
    /// Judges a host.
    pub fn of(host: &Host, connections: u64) -> Self {
        Self {
            kernel: host.kernel.clone(),
            cores_count: host.cores_count(),
            memory_bytes: host.memory_bytes,
            connections,
            settings: judge(host, connections),
        }
    }

    /// Does nothing hurt?
    pub fn is_healthy(&self) -> bool {
        !self.settings.iter().any(Setting::hurts)
    }

    /// All of it, for programs.
    pub fn json(&self) -> Value {
        let settings: Vec<Value> = self.settings.iter().map(setting_json).collect();
        json!({
            "version": 1,
            "kernel": self.kernel,
            "cores": self.cores_count,
            "memory_bytes": self.memory_bytes,
            "connections": self.connections,
            "healthy": self.is_healthy(),
            "settings": settings,
        })
    }
}

fn setting_json(setting: &Setting) -> Value {
    let (state, pain, why) = match &setting.state {
        State::Ok => ("ok", None, None),
        State::Hurts(pain) => ("hurts", Some(pain.words()), None),
        State::Unknown(why) => ("unknown", None, Some(why.as_str())),
        State::NotApplicable(why) => ("not-applicable", None, Some(*why)),
    };
    json!({
        "id": setting.id,
        "state": state,
        "pain": pain,
        "why_not": why,
        "current": setting.current,
        "wanted": setting.wanted,
        "reason": setting.reason,
        "effect": setting.effect.text,
        "effect_source": setting.effect.source,
        "applied_by_ringway": setting.change.is_some(),
        "by_hand": setting.by_hand,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kernel, cores, mib) = (&self.kernel, self.cores_count, self.memory_bytes >> 20);
        writeln!(f, "Linux {kernel}, {cores} cores, {mib} MiB of memory")?;
        writeln!(f, "examined for {} connections", self.connections)?;
        let mut number = 0;
        for setting in &self.settings {
            if let State::Hurts(pain) = setting.state {
                number += 1;
                writeln!(f, "{number}. {} ({})", is_and_wanted(setting), pain.words())?;
                writeln!(f, "   why: {}", setting.reason)?;
                writeln!(f, "   effect: {} [{}]", setting.effect.text, setting.effect.source)?;
                if let Some(by_hand) = setting.by_hand {
                    writeln!(f, "   fix: {by_hand}")?;
                }
            }
        }
        if number == 0 {
            writeln!(f, "Nothing here will hurt.")?;
        }
        let rest = |heading: &str, f: &mut fmt::Formatter<'_>, lines: Vec<String>| {
            if lines.is_empty() {
                return Ok(());
            }
            writeln!(f, "{heading}")?;
            lines.iter().try_for_each(|line| writeln!(f, "   {line}"))
        };
        let lines = |pick: fn(&Setting) -> Option<String>| {
            self.settings.iter().filter_map(pick).collect::<Vec<_>>()
        };
        rest("not known:", f, lines(unknown_line))?;
        rest("in order:", f, lines(order_line))?;
        rest("left alone:", f, lines(alone_line))
    }
}

fn is_and_wanted(setting: &Setting) -> String {
    let current = setting.current.as_deref().unwrap_or("not set");
    let wanted = setting.wanted.as_deref().unwrap_or("nothing else");
    format!("{} is {current}, wanted is {wanted}", setting.id)
}

fn unknown_line(setting: &Setting) -> Option<String> {
    match &setting.state {
        State::Unknown(why) => Some(format!("{}: {why}", setting.id)),
        _ => None,
    }
}

fn order_line(setting: &Setting) -> Option<String> {
    (setting.state == State::Ok).then(|| is_and_wanted(setting))
}

fn alone_line(setting: &Setting) -> Option<String> {
    let State::NotApplicable(why) = setting.state else { return None };
    let current = setting.current.as_deref().map(|current| format!(" is {current}"));
    Some(format!("{}{}: {why}", setting.id, current.unwrap_or_default()))
}

/// What `apply` would do, for people.
pub fn plan_text(plan: &Plan) -> String {
    let mut text = String::new();
    for live in &plan.live {
        let _ = writeln!(text, "now:  {} from {} to {}", live.path, live.before, live.value);
    }
    for directory in &plan.directories {
        let _ = writeln!(text, "make: {directory}/");
    }
    for file in &plan.files {
        let verb = if file.replaces { "replace" } else { "write" };
        let _ = writeln!(text, "{verb}: {} ({:o})", file.path, file.mode);
        for line in file.contents.lines() {
            let _ = writeln!(text, "{}", format!("      | {line}").trim_end());
        }
    }
    for (id, what) in &plan.by_hand {
        let _ = writeln!(text, "by hand, {id}: {what}");
    }
    text
}
