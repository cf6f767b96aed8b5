//! The modes: each decides what clients do and judges what they hear.

mod asked;
mod churn;
mod connect;
mod echo;
mod fanout;
mod mixed;
mod publish;
mod ramp;
mod storm;

use super::client::{Client, Event};
use super::outcome::Outcome;
use super::plan::{Mode, Plan};
use super::swarm::Swarm;
use super::wire::Wish;

pub(crate) use ramp::Ramp;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something is due at this time, or when a client hears something.
    Until(u64),
    /// It is over.
    Done,
}

/// A mode.
pub(crate) trait Load {
    /// What a client subscribes to as soon as it is connected.
    fn wish(&self, index: usize) -> Option<Wish>;

    /// A client heard something.
    fn on(&mut self, client: &mut Client, event: Event, now_ns: u64);

    /// Are the clients to be there before the measurement begins?
    fn needs_clients(&self) -> bool {
        true
    }

    /// The measurement begins at this time.
    fn begin(&mut self, swarm: &mut Swarm, start_ns: u64);

    /// Does what is due.
    fn act(&mut self, swarm: &mut Swarm, now_ns: u64) -> Step;

    /// How far the measurement is, from 0 to 1.
    fn progress(&self, now_ns: u64) -> f64;

    /// It is over, or was stopped: accounts for what was not answered. If it was stopped, what is
    /// under way is nobody's fault.
    fn finish(&mut self, swarm: &mut Swarm, now_ns: u64, is_stopped: bool);

    /// The results so far.
    fn outcome(&mut self) -> &mut Outcome;
}

/// Things that one turn sends at most, so that what comes is heard, too.
pub(crate) const SENDS_PER_TURN: usize = 1024;

/// The load of a plan.
pub(crate) fn of(plan: &Plan) -> Box<dyn Load> {
    match &plan.mode {
        Mode::Connect { hold_seconds } => Box::new(connect::Connect::new(plan, *hold_seconds)),
        Mode::Echo { request, channel, bytes, pace, seconds } => {
            let channel = channel.clone();
            let settings = echo::Settings {
                request: *request,
                channel,
                bytes: *bytes,
                pace: *pace,
                seconds: *seconds,
            };
            Box::new(echo::Echo::new(plan, settings))
        }
        Mode::Fanout(load) => Box::new(fanout::Fanout::new(plan, load)),
        Mode::Publish(load) => Box::new(publish::Publish::new(plan, load)),
        Mode::Storm { channel, room_clients, missed, limit_seconds } => {
            let settings = storm::Settings {
                channel: channel.clone(),
                room_clients: *room_clients,
                missed: *missed,
                limit_seconds: *limit_seconds,
            };
            Box::new(storm::Storm::new(plan, settings))
        }
        Mode::Churn { rate, seconds } => Box::new(churn::Churn::new(plan, *rate, *seconds)),
        Mode::Mixed(mixed) => Box::new(mixed::MixedLoad::new(plan, mixed)),
    }
}
