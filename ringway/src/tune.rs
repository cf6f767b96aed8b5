//! `ringway tune`: what this host's settings should be, and writing them if the operator says so.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tuning::driver::{self, Applied, Reverted, Root, STATE};
use tuning::engine::{Form, Plan, SERVICE, TUNED};
use tuning::{Report, plan_text};

use crate::limits::{CONNECTIONS_EXPECTED, DOCTOR_CONNECTIONS_MAX};

/// What to do about the host's settings.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TuneCommand {
    /// Say how each setting stands, what hurts most first. Changes nothing. Exits with 0 if nothing
    /// hurts, and with 1 otherwise.
    Check(CheckArguments),
    /// Show what would be changed, and change it if that is confirmed. Exits with 0 if all of it is
    /// done or there was nothing to do, and with 1 otherwise.
    Apply(ApplyArguments),
    /// Put back what was there before the first `apply`. Exits with 0 if all of it is, and with 1
    /// otherwise.
    Revert(RevertArguments),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct HostArguments {
    /// Connections that the host is for.
    #[arg(long, value_name = "N", default_value_t = CONNECTIONS_EXPECTED,
          value_parser = clap::value_parser!(u64).range(1..=DOCTOR_CONNECTIONS_MAX))]
    connections: u64,
    /// A folder that stands for the host: everything is read and written below it.
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    host: HostArguments,
    /// Print a JSON object with every setting.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ApplyArguments {
    #[command(flatten)]
    host: HostArguments,
    /// Change it without a question.
    #[arg(long)]
    yes: bool,
    /// Leave this setting as it is, by its name in `check`. May be given more than once.
    #[arg(long, value_name = "SETTING")]
    except: Vec<String>,
    /// Write a profile of tuned in place of sysctl.d and tmpfiles.d.
    #[arg(long)]
    tuned: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RevertArguments {
    /// Taken as the others take it, and not needed: what was applied is reverted, whatever it was.
    #[arg(long, value_name = "N")]
    connections: Option<u64>,
    /// A folder that stands for the host: everything is read and written below it.
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
    /// Put back also what somebody else has changed since.
    #[arg(long)]
    force: bool,
}

/// Did everything work? What does not is on standard error already, or is the error.
pub(crate) fn run(command: &TuneCommand) -> Result<bool, String> {
    match command {
        TuneCommand::Check(arguments) => Ok(check(arguments)),
        TuneCommand::Apply(arguments) => apply(arguments),
        TuneCommand::Revert(arguments) => revert(arguments),
    }
}

fn check(arguments: &CheckArguments) -> bool {
    let report = arguments.host.report();
    if arguments.json {
        println!("{:#}", report.json());
    } else {
        print!("{report}");
    }
    report.is_healthy()
}

fn apply(arguments: &ApplyArguments) -> Result<bool, String> {
    let root = Root::new(&arguments.host.root);
    let connections = arguments.host.connections;
    let host = driver::read(&root);
    let mut settings = Report::of(&host, connections).settings;
    let is_known = |name: &String| settings.iter().any(|setting| setting.id == *name);
    if let Some(unknown) = arguments.except.iter().find(|name| !is_known(name)) {
        return Err(format!("there is no setting {unknown}; `ringway tune check` names them"));
    }
    settings.retain(|setting| !arguments.except.contains(&setting.id));
    let form = if arguments.tuned { Form::Tuned } else { Form::Files };
    let plan = driver::plan(&root, &host, (&settings, connections), form);
    let plan = plan.map_err(|failure| failure.to_string())?;
    print!("{}", plan_text(&plan));
    if plan.is_empty() {
        println!("There is nothing to change.");
        return Ok(plan.by_hand.is_empty());
    }
    if !arguments.yes && !is_confirmed() {
        return Err("nothing was changed; --yes does what is shown".to_owned());
    }
    let applied = driver::apply(&root, &plan).map_err(|failure| failure.to_string())?;
    Ok(told(&applied, &plan) & arguments.is_healthy_now())
}

/// Asks at a terminal. Elsewhere nobody can answer.
fn is_confirmed() -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    print!("Change this? [y/N] ");
    let mut answer = String::new();
    // Without an answer, for whatever reason, nothing is confirmed.
    let is_asked =
        io::stdout().flush().is_ok() && io::stdin().lock().read_line(&mut answer).is_ok();
    is_asked && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn told(applied: &Applied, plan: &Plan) -> bool {
    for failure in &applied.failures {
        eprintln!("error: {failure}");
    }
    let written = applied.written_count;
    println!("{written} values and files were written; {STATE} has what was there before.");
    let writes = |path: &str| plan.files.iter().any(|file| file.path == path);
    let has_drop_in = writes(SERVICE);
    if has_drop_in {
        println!("next: `systemctl daemon-reload`");
    }
    if has_drop_in || plan.live.iter().any(|live| live.id == "net.core.somaxconn") {
        println!("next: restart ringway, which takes its limits and somaxconn at its start");
    }
    if writes(TUNED) {
        println!("next: `tuned-adm profile ringway`, so that it holds after the next start");
    }
    if applied.failures.is_empty() {
        return true;
    }
    eprintln!(
        "error: {} of {} could not be written; `ringway tune revert` puts back what was",
        applied.failures.len(),
        written + applied.failures.len()
    );
    false
}

fn revert(arguments: &RevertArguments) -> Result<bool, String> {
    let root = Root::new(&arguments.root);
    let reverted: Reverted =
        driver::revert(&root, arguments.force).map_err(|failure| failure.to_string())?;
    println!("{} values and files were put back.", reverted.restored_count);
    let has = |path: &str| reverted.files.iter().any(|one| one == path);
    if has(SERVICE) {
        println!("next: `systemctl daemon-reload`, and restart ringway");
    }
    if has(TUNED) {
        println!("next: `tuned-adm profile NAME`, if ringway is the active profile: it is gone");
    }
    for gone in &reverted.gone {
        println!("{gone} is not there any more, and needs nothing");
    }
    for interrupt in &reverted.other_boots {
        println!("{interrupt} was set in an earlier start of the machine, and is left alone");
    }
    for foreign in &reverted.foreign {
        eprintln!("error: {foreign}; left alone, --force puts back what was before");
    }
    for failure in &reverted.failures {
        eprintln!("error: {failure}");
    }
    if !reverted.is_complete() {
        eprintln!("error: {STATE} keeps what is not put back; run `ringway tune revert` again");
    }
    Ok(reverted.is_complete())
}

impl HostArguments {
    fn report(&self) -> Report {
        Report::of(&driver::read(&Root::new(&self.root)), self.connections)
    }
}

impl ApplyArguments {
    /// Is the host as it should be, now that it was changed? What still hurts is named.
    fn is_healthy_now(&self) -> bool {
        let settings = self.host.report().settings.into_iter();
        let hurting = settings.filter(|one| one.hurts() && !self.except.contains(&one.id));
        let hurting: Vec<_> = hurting.collect();
        for setting in &hurting {
            let current = setting.current.as_deref().unwrap_or("not set");
            eprintln!("warning: {} still hurts: it is {current}", setting.id);
        }
        hurting.is_empty()
    }
}
