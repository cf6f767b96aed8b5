//! The next segment, made beside the commits so that none of them waits for it.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use crate::files::{Files, Pace};

type Making<File> = Pin<Box<dyn Future<Output = io::Result<File>>>>;

/// One segment that is ready, on its way, or wanted.
pub(super) struct Spare<F: Files> {
    files: F,
    /// Its number is nobody else's until it is taken or has failed.
    number: u64,
    /// Does somebody wait for it?
    hurries: Arc<AtomicBool>,
    state: State<F::File>,
}

enum State<File> {
    Missing,
    Making(Making<File>),
    Made(File),
}

impl<F: Files> Spare<F> {
    pub(super) fn new(files: F) -> Self {
        Self { files, number: 0, hurries: Arc::default(), state: State::Missing }
    }

    /// Is there none, and none on its way?
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.state, State::Missing)
    }

    /// Is there one that can be taken?
    pub(super) fn is_made(&self) -> bool {
        matches!(self.state, State::Made(_))
    }

    /// The pace of one that is not needed yet.
    pub(super) fn beside(&self) -> Pace {
        Pace::Beside(self.hurries.clone())
    }

    /// Begins to make segment `number`, with a name that survives. Nothing happens before
    /// [`Spare::advance`] or [`Spare::finish`].
    pub(super) fn begin(&mut self, number: u64, bytes: u64, pace: Pace) {
        debug_assert!(self.is_missing(), "one at a time");
        let files = self.files.clone();
        self.number = number;
        self.hurries.store(false, Ordering::Relaxed);
        self.state = State::Making(Box::pin(async move {
            let made = match files.create(number, bytes, pace).await {
                Ok(file) => files.sync_directory().await.map(|()| file),
                Err(error) => Err(error),
            };
            if made.is_err() {
                // The number is used again, and what may be left under its name replaced: a number
                // that was skipped would look like a lost segment to the next start.
                let _ = files.delete(number).await;
            }
            made
        }));
    }

    /// Goes on without waiting. `true`: it was made now.
    pub(super) fn advance(&mut self) -> io::Result<bool> {
        let State::Making(making) = &mut self.state else { return Ok(false) };
        match making.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Ok(false),
            Poll::Ready(made) => self.made(made).map(|()| true),
        }
    }

    /// Waits for one that is on its way. `true`: it was made now.
    pub(super) async fn finish(&mut self) -> io::Result<bool> {
        let State::Making(making) = &mut self.state else { return Ok(false) };
        self.hurries.store(true, Ordering::Relaxed);
        let made = making.as_mut().await;
        self.made(made).map(|()| true)
    }

    fn made(&mut self, made: io::Result<F::File>) -> io::Result<()> {
        match made {
            Ok(file) => self.state = State::Made(file),
            Err(error) => {
                self.state = State::Missing;
                return Err(error);
            }
        }
        Ok(())
    }

    /// The segment and its number, if one is made.
    pub(super) fn take(&mut self) -> Option<(u64, F::File)> {
        match std::mem::replace(&mut self.state, State::Missing) {
            State::Made(file) => Some((self.number, file)),
            other => {
                self.state = other;
                None
            }
        }
    }
}

impl<F: Files> fmt::Debug for Spare<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spare").field("number", &self.number).finish_non_exhaustive()
    }
}
