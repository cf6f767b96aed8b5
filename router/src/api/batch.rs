//! Several calls in one request.

use serde_json::{Value, json};

use super::answers::ApiError;
use super::backend::Backend;
use super::methods::{call_one, parse};
use super::requests as ask;

/// Commands in one batch.
const COMMANDS_MAX: usize = 1000;

pub(super) async fn batch<B: Backend>(backend: &B, body: &[u8]) -> Result<Value, ApiError> {
    let ask::Batch { commands } = parse(body)?;
    let commands = commands.ok_or(ApiError::Missing("commands"))?;
    if commands.len() > COMMANDS_MAX {
        let why = format!("a batch has at most {COMMANDS_MAX} commands");
        return Err(ApiError::BadRequest(why));
    }
    let mut replies = Vec::with_capacity(commands.len());
    for command in commands {
        let mut entries = command.into_iter();
        let (Some((method, body)), None) = (entries.next(), entries.next()) else {
            let why = "each command has one method".to_owned();
            return Err(ApiError::BadRequest(why));
        };
        let called = call_one(backend, &method, body.get().as_bytes()).await;
        replies.push(match called {
            Some(Ok(result)) => json!({ method: { "result": result } }),
            Some(Err(error)) => json!({ method: { "error": error.to_json() } }),
            None => {
                let why = format!("there is no method {method:?} for a batch");
                return Err(ApiError::BadRequest(why));
            }
        });
    }
    Ok(json!({ "replies": replies }))
}
