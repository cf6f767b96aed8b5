//! What the tests of the program share: files in a folder of their own, and the program itself.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use ringway::settings::{Flags, Loaded, Refusal, Settings, Sources};

/// A folder that goes away with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringway-test-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file and says where it is.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server that clients can use, so that nothing needs a warning.
pub const MINIMAL: &str = r#"{"client":{"token":{"hmac_secret_key":
    "s3cret of thirty-two bytes or more"}},"http_api":{"key":"k3y of twenty-two bytes or more"}}"#;

/// The sources of one file.
pub fn sources(file: &Path) -> Sources {
    Sources { file: Some(file.to_owned()), ..Sources::default() }
}

/// Loads a text as a file of this name.
pub fn load_text(name: &str, text: &str) -> Result<Loaded, Refusal> {
    let folder = Folder::new();
    let file = folder.file(name, text);
    Settings::load(&sources(&file))
}

/// The same with `--allow-unsupported`.
pub fn load_unsupported(name: &str, text: &str) -> Result<Loaded, Refusal> {
    let folder = Folder::new();
    let file = folder.file(name, text);
    Settings::load(&Sources { allows_unsupported: true, ..sources(&file) })
}

/// Problems of a text, as the operator sees them, with the folder cut off.
pub fn problems_of(name: &str, text: &str) -> Vec<String> {
    let refusal = load_text(name, text).expect_err("there should be problems");
    let lines = refusal.problems.iter().map(|problem| {
        let line = problem.to_string();
        line.split_once(&format!("/{name}"))
            .map_or(line.clone(), |(_, rest)| format!("{name}{rest}"))
    });
    lines.collect()
}

/// Sources without a file, with these variables.
pub fn environment(variables: &[(&str, &str)]) -> Sources {
    let environment =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { environment, ..Sources::default() }
}

/// No flags but these.
pub fn flags(address: Option<&str>, port: Option<&str>) -> Flags {
    let (address, port) = (address.map(str::to_owned), port.map(str::to_owned));
    Flags { address, port, ..Flags::default() }
}

/// Runs the program with these arguments and no configuration from the environment.
pub fn ringway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway")).args(arguments).env_clear().output().unwrap()
}

/// What it wrote to standard error.
pub fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What it wrote to standard output.
pub fn answer(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}
