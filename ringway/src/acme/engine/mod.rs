//! When a certificate is asked for: at once without one, with a third of its lifetime left, and
//! later each time that it does not come about.
//!
//! Owns: what is known of the certificate, and the failures since the last one.
//! Never: reads a clock, makes up a random number, asks anybody.
//! Times are seconds since 1970, because certificates have them; a random number is of all `u16`.

use crate::limits::{
    ACME_ISSUED_PARTS, ACME_JITTER_PARTS, ACME_REFUSED_SECONDS_MAX, ACME_REFUSED_SECONDS_MIN,
    ACME_RENEWAL_PARTS, ACME_RETRY_AFTER_SECONDS_MAX, ACME_UNREACHABLE_SECONDS_MAX,
    ACME_UNREACHABLE_SECONDS_MIN, ACME_WAIT_JITTER_PARTS,
};

/// A certificate that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) valid_from: u64,
    pub(crate) valid_until: u64,
    /// Is every host in it?
    pub(crate) is_complete: bool,
}

/// Whose fault it was that there is no new certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody answered, or nothing of use: it counts against no limit.
    Unreachable,
    /// The authority said no, or did not find its proof. Authorities count these.
    Refused,
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// When it is tried again.
    pub(crate) retry_at: u64,
    /// Before which no later process may try: who is restarted again and again must not use up
    /// what the authority permits, and who mended something must not wait for long.
    pub(crate) kept: Option<u64>,
}

/// When to ask.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    held: Option<Held>,
    /// Where between the earliest and the latest time the certificate is renewed.
    luck: u16,
    /// The last failure, and how many of its kind came one after the other.
    failed: Option<(Failure, u32)>,
    /// Not before this, after a failure.
    retry_at: u64,
}

impl Schedule {
    /// A start, at `now`, with what is there. `retry_at` is what was [kept](Wait::kept).
    pub(crate) fn new(held: Option<Held>, retry_at: Option<u64>, now: u64, luck: u16) -> Self {
        // A clock that was wrong once must not keep us from asking for ever.
        let retry_at = retry_at.filter(|at| *at <= now.saturating_add(WAIT_SECONDS_MAX));
        Self { held, luck, failed: None, retry_at: retry_at.unwrap_or(0) }
    }

    /// When a certificate is asked for; what has passed: now.
    pub(crate) fn due_at(&self) -> u64 {
        self.renewal_at().max(self.retry_at)
    }

    /// There is a new certificate, at `now`. Whatever the clock says about it, the next one is not
    /// asked for at once: authorities count what they issue.
    pub(crate) fn issued(&mut self, held: Held, now: u64, luck: u16) {
        let lifetime = held.valid_until.saturating_sub(held.valid_from);
        let retry_at = now.saturating_add(lifetime / ACME_ISSUED_PARTS);
        *self = Self { held: Some(held), luck, failed: None, retry_at };
    }

    /// There is none, at `now`. An authority may have said how many seconds it wants to be left
    /// alone.
    pub(crate) fn failed(
        &mut self,
        failure: Failure,
        retry_after: Option<u64>,
        now: u64,
        luck: u16,
    ) -> Wait {
        let before = self.failed.filter(|(kind, _)| *kind == failure).map_or(0, |(_, count)| count);
        self.failed = Some((failure, before.saturating_add(1)));
        let (least, most) = match failure {
            Failure::Unreachable => (ACME_UNREACHABLE_SECONDS_MIN, ACME_UNREACHABLE_SECONDS_MAX),
            Failure::Refused => (ACME_REFUSED_SECONDS_MIN, ACME_REFUSED_SECONDS_MAX),
        };
        let wait = least.saturating_mul(1 << before.min(DOUBLINGS_MAX)).min(most);
        let wait = wait + share(wait / ACME_WAIT_JITTER_PARTS, luck);
        let asked = retry_after.unwrap_or(0).min(ACME_RETRY_AFTER_SECONDS_MAX);
        self.retry_at = now.saturating_add(wait.max(asked));
        let kept = now.saturating_add(asked.max(ACME_REFUSED_SECONDS_MIN)).min(self.retry_at);
        let kept = Some(kept).filter(|_| failure == Failure::Refused);
        Wait { retry_at: self.retry_at, kept }
    }

    /// The clock was set back by so many seconds: what is waited for is as far away as before.
    pub(crate) fn set_back(&mut self, seconds: u64) {
        self.retry_at = self.retry_at.saturating_sub(seconds);
    }

    fn renewal_at(&self) -> u64 {
        let Some(held) = self.held.filter(|held| held.is_complete) else { return 0 };
        let lifetime = held.valid_until.saturating_sub(held.valid_from);
        let latest = held.valid_until - lifetime / ACME_RENEWAL_PARTS;
        latest - share(lifetime / ACME_JITTER_PARTS, self.luck)
    }
}

/// A part of `whole`: none of it without luck, nearly all with the most.
fn share(whole: u64, luck: u16) -> u64 {
    ((u128::from(whole) * u128::from(luck)) >> u16::BITS) as u64
}

/// Behind so many doublings every wait is as long as it gets.
const DOUBLINGS_MAX: u32 = 16;
/// The longest wait that [`Schedule::failed`] makes.
const WAIT_SECONDS_MAX: u64 = ACME_RETRY_AFTER_SECONDS_MAX;

const _: () = assert!(ACME_ISSUED_PARTS > ACME_RENEWAL_PARTS);
const _: () = assert!(ACME_REFUSED_SECONDS_MIN << DOUBLINGS_MAX >= ACME_REFUSED_SECONDS_MAX);
const _: () =
    assert!(ACME_UNREACHABLE_SECONDS_MIN << DOUBLINGS_MAX >= ACME_UNREACHABLE_SECONDS_MAX);
const _: () = assert!(
    ACME_REFUSED_SECONDS_MAX + ACME_REFUSED_SECONDS_MAX / ACME_WAIT_JITTER_PARTS
        <= WAIT_SECONDS_MAX
);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_312_000;
    const DAY: u64 = 24 * 3600;

    fn held(from: u64, until: u64) -> Held {
        Held { valid_from: from, valid_until: until, is_complete: true }
    }

    fn holding(held: Held, luck: u16) -> Schedule {
        Schedule::new(Some(held), None, NOW, luck)
    }

    #[test]
    fn a_certificate_is_renewed_with_a_third_left_or_a_little_earlier() {
        let ninety_days = held(NOW, NOW + 90 * DAY);
        assert_eq!(holding(ninety_days, 0).due_at(), NOW + 60 * DAY);
        let earliest = holding(ninety_days, u16::MAX).due_at();
        assert!((NOW + 55 * DAY..NOW + 56 * DAY).contains(&earliest), "{}", earliest - NOW);
        // One that is valid for half a minute, as in tests, and one that is none.
        assert_eq!(holding(held(NOW, NOW + 30), 0).due_at(), NOW + 20);
        assert_eq!(holding(held(NOW, NOW), u16::MAX).due_at(), NOW);
        assert!(holding(held(5, 3), 7).due_at() <= 3, "upside down: at once");
    }

    #[test]
    fn without_a_certificate_for_every_host_one_is_asked_for_at_once() {
        assert_eq!(Schedule::new(None, None, NOW, 9).due_at(), 0);
        let some = Held { is_complete: false, ..held(NOW, NOW + 90 * DAY) };
        assert_eq!(holding(some, 9).due_at(), 0);
    }

    #[test]
    fn waits_double_and_end_somewhere() {
        let waits = |failure, luck| {
            let mut schedule = Schedule::new(None, None, NOW, 0);
            (0..40).map(move |_| schedule.failed(failure, None, NOW, luck).retry_at - NOW)
        };
        let refused: Vec<u64> = waits(Failure::Refused, 0).collect();
        assert_eq!(refused[..4], [900, 1800, 3600, 7200]);
        assert_eq!(refused[39], 12 * 3600);
        let unreachable: Vec<u64> = waits(Failure::Unreachable, 0).collect();
        assert_eq!(unreachable[..4], [10, 20, 40, 80]);
        assert_eq!(unreachable[39], 3600);
        for (short, long) in refused.iter().zip(waits(Failure::Refused, u16::MAX)) {
            assert!((*short..*short + short / 4 + 1).contains(&long), "{short} {long}");
        }
    }

    #[test]
    fn no_authority_is_asked_five_times_an_hour_for_what_it_refuses() {
        // Let's Encrypt: five failed validations for a host in an hour. Also when the network
        // fails in between, which begins each kind of wait anew.
        let mut schedule = Schedule::new(None, None, NOW, 0);
        let (mut now, mut refused) = (NOW, 0);
        while now < NOW + 3600 {
            refused += 1;
            now = schedule.failed(Failure::Refused, None, now, 0).retry_at;
            now = schedule.failed(Failure::Unreachable, None, now, 0).retry_at;
        }
        assert!(refused < 5, "{refused}");
    }

    #[test]
    fn an_authority_may_ask_for_a_longer_wait_and_not_for_ever() {
        let mut schedule = Schedule::new(None, None, NOW, 0);
        let wait = schedule.failed(Failure::Refused, Some(DAY), NOW, 0);
        assert_eq!(wait, Wait { retry_at: NOW + DAY, kept: Some(NOW + DAY) });
        assert_eq!(schedule.due_at(), NOW + DAY);
        assert_eq!(schedule.failed(Failure::Refused, Some(1), NOW, 0).retry_at, NOW + 1800);
        let wait = schedule.failed(Failure::Refused, Some(u64::MAX), NOW, u16::MAX);
        let longest = NOW + 7 * DAY;
        assert_eq!(wait, Wait { retry_at: longest, kept: Some(longest) });
        // A restart does not forget it, unless the clock was wrong.
        assert_eq!(Schedule::new(None, Some(longest), NOW, 0).due_at(), longest);
        assert_eq!(Schedule::new(None, Some(longest + 1), NOW, 0).due_at(), 0);
    }

    #[test]
    fn a_clock_that_is_wrong_does_not_use_up_what_an_authority_issues() {
        // By this clock, the certificate is due for renewal as soon as it is there.
        let late = NOW + 80 * DAY;
        let mut schedule = Schedule::new(None, None, late, 0);
        schedule.issued(held(NOW, NOW + 90 * DAY), late, 0);
        assert_eq!(schedule.due_at(), late + 15 * DAY);
        schedule.issued(Held { is_complete: false, ..held(NOW, NOW + 90 * DAY) }, NOW, 0);
        assert_eq!(schedule.due_at(), NOW + 15 * DAY);
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_waiting() {
        let (ahead, mut schedule) = (NOW + 400 * DAY, Schedule::new(None, None, NOW, 0));
        schedule.failed(Failure::Unreachable, None, ahead, 0);
        schedule.set_back(ahead - NOW);
        assert_eq!(schedule.due_at(), NOW + 10);
        schedule.set_back(u64::MAX);
        assert_eq!(schedule.due_at(), 0);
    }

    #[test]
    fn a_restart_waits_for_a_quarter_of_an_hour_at_most() {
        let mut schedule = Schedule::new(None, None, NOW, 0);
        for _ in 0..10 {
            let wait = schedule.failed(Failure::Refused, None, NOW, 0);
            assert_eq!(wait.kept, Some(NOW + 900), "{wait:?}");
        }
        assert_eq!(schedule.failed(Failure::Unreachable, None, NOW, 0).kept, None);
    }

    #[test]
    fn a_new_certificate_ends_the_waiting() {
        let mut schedule = holding(held(NOW - 90 * DAY, NOW), 0);
        let retry_at = schedule.failed(Failure::Refused, None, NOW, 0).retry_at;
        assert_eq!(schedule.due_at(), retry_at, "the renewal is overdue, and waits");
        schedule.issued(held(NOW, NOW + 90 * DAY), NOW, 0);
        assert_eq!(schedule.due_at(), NOW + 60 * DAY);
        let wait = schedule.failed(Failure::Refused, None, NOW, 0);
        assert_eq!(wait.retry_at, NOW + 900, "from the first");
    }
}
