//! Errors in one line.

/// An error and its causes, outermost first.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let rest = std::iter::successors(error.source(), |cause| cause.source());
    rest.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
