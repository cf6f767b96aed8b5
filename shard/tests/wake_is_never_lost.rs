//! Goal: a message put in a queue while its reader falls asleep is never left lying.
//! Method: loom runs every interleaving of sender and sleeper, on the very source of `SleepFlag`.

#[path = "../src/sleep.rs"]
#[expect(unreachable_pub, dead_code, reason = "it is public in its own crate")]
mod sleep;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use sleep::SleepFlag;

#[test]
fn sender_wakes_or_sleeper_sees() {
    loom::model(|| {
        let flag = Arc::new(SleepFlag::default());
        let queue = Arc::new(AtomicU32::new(0));
        let (sender_flag, sender_queue) = (flag.clone(), queue.clone());
        let sender = loom::thread::spawn(move || {
            sender_queue.store(1, Ordering::Release);
            sender_flag.must_wake()
        });
        flag.announce();
        let seen = queue.load(Ordering::Acquire) == 1;
        let woken = sender.join().unwrap();
        assert!(seen || woken, "the message lies there and the reader sleeps");
        flag.retract();
    });
}

#[test]
fn two_senders_wake_at_most_once() {
    loom::model(|| {
        let flag = Arc::new(SleepFlag::default());
        flag.announce();
        let other = flag.clone();
        let sender = loom::thread::spawn(move || other.must_wake());
        let here = flag.must_wake();
        let there = sender.join().unwrap();
        assert!(here ^ there, "one announcement, one wake");
    });
}
