//! Questions to the store, from any thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use protocol::link::{StoreAnswer, StoreQuestion};
use tokio::sync::{mpsc, oneshot};

use super::counters::Counters;
use super::shared::Clock;
use crate::limits::{QUESTION_AGE_MAX, QUESTIONS_WAITING_MAX};
use crate::store::StoreError;
use crate::store::read::Reader;

/// Called with the answer, by the store's thread: it must only pass it on.
pub type OnAnswer = Box<dyn FnOnce(Result<StoreAnswer, StoreError>) + Send>;

/// A question, for a store that is turned by hand.
pub struct AskedStore {
    /// About which channel.
    pub channel: Arc<str>,
    /// What.
    pub question: StoreQuestion,
    /// Takes the answer.
    pub on_answer: OnAnswer,
}

struct Question {
    channel: Arc<str>,
    question: StoreQuestion,
    on_answer: OnAnswer,
    asked_at: Instant,
}

/// Asks the store. Clones ask the same one.
#[derive(Clone)]
pub struct StoreReader {
    questions: mpsc::Sender<Question>,
    counters: Arc<Counters>,
}

/// The other end.
pub(crate) struct Questions {
    questions: mpsc::Receiver<Question>,
    counters: Arc<Counters>,
}

impl StoreReader {
    pub(crate) fn new(counters: Arc<Counters>) -> (Self, Questions) {
        let (sender, receiver) = mpsc::channel(QUESTIONS_WAITING_MAX);
        let questions = Questions { questions: receiver, counters: counters.clone() };
        (Self { questions: sender, counters }, questions)
    }

    /// Asks about a channel; never waits. `on_answer` is called once: from the store's thread, or
    /// within this call if too many questions wait or the store is closed.
    ///
    /// The answer is as of a moment at or behind the `stored` that the board showed when it was
    /// asked.
    pub fn ask(&self, channel: Arc<str>, question: StoreQuestion, on_answer: OnAnswer) {
        let asked_at = Instant::now();
        let asked = Question { channel, question, on_answer, asked_at };
        let refused = match self.questions.try_send(asked) {
            Ok(()) => return self.counters.questions.add(1),
            Err(refused) => refused,
        };
        self.counters.questions_refused.add(1);
        match refused {
            mpsc::error::TrySendError::Full(question) => {
                (question.on_answer)(Err(StoreError::Busy));
            }
            mpsc::error::TrySendError::Closed(question) => {
                (question.on_answer)(Err(StoreError::Closed));
            }
        }
    }
}

impl std::fmt::Debug for StoreReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreReader").finish_non_exhaustive()
    }
}

impl Questions {
    /// The next question, if one waits.
    pub(super) fn next(&mut self) -> Option<AskedStore> {
        let Question { channel, question, on_answer, .. } = self.questions.try_recv().ok()?;
        Some(AskedStore { channel, question, on_answer })
    }

    /// Answers until nobody can ask any more, or the store closes. A connection that failed is
    /// opened again for the next question.
    pub(crate) async fn serve(
        mut self,
        path: PathBuf,
        clock: Clock,
        mut closing: oneshot::Receiver<()>,
    ) {
        let (mut reader, mut is_failing) = (None, false);
        loop {
            let next = tokio::select! {
                next = self.questions.recv() => next,
                _ = &mut closing => None,
            };
            let Some(Question { channel, question, on_answer, asked_at }) = next else { break };
            if asked_at.elapsed() >= QUESTION_AGE_MAX {
                on_answer(Err(StoreError::Busy));
                continue;
            }
            let answer = match &mut reader {
                Some(open) => answer(open, &channel, &question, &clock).await,
                None => match Reader::open(&path).await {
                    Ok(opened) => {
                        let open = reader.insert(opened);
                        answer(open, &channel, &question, &clock).await
                    }
                    Err(error) => Err(error),
                },
            };
            if let Err(error @ StoreError::Database(_)) = &answer {
                reader = None;
                self.counters.store_failures.add(1);
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::error!(%error, "the store cannot be read; what asks it is refused");
                }
            } else if std::mem::take(&mut is_failing) {
                tracing::info!("the store can be read again");
            }
            on_answer(answer);
        }
        self.questions.close();
        while let Some(question) = self.questions.recv().await {
            (question.on_answer)(Err(StoreError::Closed));
        }
    }
}

async fn answer(
    reader: &mut Reader,
    channel: &str,
    question: &StoreQuestion,
    clock: &Clock,
) -> Result<StoreAnswer, StoreError> {
    reader.answer(channel, question, clock()).await
}
