//! Goal: where some of it cannot be written, the rest is, it is said, and all of it goes back.
//! Method: a folder that stands for a host and changes between plan and apply. (To take away
//! permissions would not do: who runs the tests as root has all of them.)

mod support;

use std::fs;

use support::{CONNECTIONS, FakeHost, differences};
use tuning::driver::{STATE, applied, apply, revert};
use tuning::engine::Form;

const QUEUE: &str = "/proc/sys/net/core/somaxconn";

#[test]
fn a_value_that_cannot_be_written() {
    let host = FakeHost::bad();
    let before = host.tree();
    let plan = host.plan(CONNECTIONS, Form::Files).unwrap();
    fs::remove_file(host.at(QUEUE)).unwrap();
    fs::create_dir(host.at(QUEUE)).unwrap();
    let done = apply(&host.root(), &plan).unwrap();
    assert_eq!(done.failures.len(), 1, "{done:?}");
    let said = done.failures[0].to_string();
    assert!(said.starts_with(&format!("{QUEUE} cannot be written: ")), "{said}");
    assert_eq!(done.written_count, plan.live.len() + plan.files.len() - 1);
    fs::remove_dir(host.at(QUEUE)).unwrap();
    host.put(QUEUE, "128\n");
    assert!(revert(&host.root(), false).unwrap().is_complete());
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
}

#[test]
fn a_value_that_the_kernel_does_not_take() {
    let host = FakeHost::bad();
    let plan = host.plan(CONNECTIONS, Form::Files).unwrap();
    fs::remove_file(host.at(QUEUE)).unwrap();
    // It takes everything, and keeps nothing.
    std::os::unix::fs::symlink("/dev/null", host.at(QUEUE)).unwrap();
    let done = apply(&host.root(), &plan).unwrap();
    assert_eq!(done.failures.len(), 1, "{done:?}");
    let said = done.failures[0].to_string();
    assert_eq!(said, format!("{QUEUE} says nothing after 16384 was written to it"));
}

#[test]
fn a_file_that_cannot_be_written() {
    let host = FakeHost::bad();
    let before = host.tree();
    let plan = host.plan(CONNECTIONS, Form::Files).unwrap();
    host.put("/etc/sysctl.d", "no directory");
    let done = apply(&host.root(), &plan).unwrap();
    assert_eq!(done.failures.len(), 1, "{done:?}");
    assert!(done.failures[0].to_string().starts_with("/etc/sysctl.d/90-ringway.conf cannot"));
    // It is tried again, and works once nothing is in the way.
    assert!(host.plan(CONNECTIONS, Form::Files).is_err(), "what is in the way is named");
    fs::remove_file(host.at("/etc/sysctl.d")).unwrap();
    assert_eq!(host.apply().written_count, 1);
    assert!(revert(&host.root(), false).unwrap().is_complete());
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
}

#[test]
fn without_a_place_for_the_record_nothing_is_changed() {
    let host = FakeHost::bad();
    host.put("/var", "no directory");
    let before = host.tree();
    let plan = host.plan(CONNECTIONS, Form::Files).unwrap();
    let said = apply(&host.root(), &plan).unwrap_err().to_string();
    assert!(said.contains("nothing was changed"), "{said}");
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
}

#[test]
fn an_apply_that_ended_anywhere_goes_back() {
    let whole = FakeHost::bad();
    let steps = {
        let plan = whole.plan(CONNECTIONS, Form::Files).unwrap();
        plan.live.len() + plan.files.len()
    };
    for end in 0..=steps {
        let host = FakeHost::bad();
        let before = host.tree();
        let mut plan = host.plan(CONNECTIONS, Form::Files).unwrap();
        // The record has all of it; of the writes only the first so many are done.
        plan.files.truncate(end.saturating_sub(plan.live.len()));
        plan.live.truncate(end);
        let done = apply(&host.root(), &plan).unwrap();
        assert_eq!(done.written_count, end);
        if end > 0 {
            assert!(applied(&host.root()).unwrap().is_some());
            assert!(revert(&host.root(), false).unwrap().is_complete(), "ended after {end}");
        }
        assert_eq!(differences(&before, &host.tree()), Vec::<String>::new(), "after {end}");
    }
}

#[test]
fn what_an_interrupted_write_left_goes_as_well() {
    let host = FakeHost::bad();
    let before = host.tree();
    host.apply();
    host.put("/etc/sysctl.d/90-ringway.conf.ringway-new", "# Writ");
    host.put(&format!("{STATE}.ringway-new"), "{");
    assert!(revert(&host.root(), false).unwrap().is_complete());
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
}

#[test]
fn what_cannot_be_put_back_is_remembered() {
    let host = FakeHost::bad();
    let before = host.tree();
    host.apply();
    let queue = host.text(QUEUE);
    fs::remove_file(host.at(QUEUE)).unwrap();
    fs::create_dir(host.at(QUEUE)).unwrap();
    let reverted = revert(&host.root(), false).unwrap();
    assert!(!reverted.is_complete(), "{reverted:?}");
    fs::remove_dir(host.at(QUEUE)).unwrap();
    host.put(QUEUE, queue);
    assert!(revert(&host.root(), false).unwrap().is_complete());
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
}
