//! A real server on a free port, and a client that is not ours in anything but its frames.
//!
//! DRIVER_OF_TESTS names what drives its sockets, as `--io` takes it (default: what the server
//! chooses).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::websocket::Opcode;
use protocol::websocket::client::{ClientFrame, ServerFrames, encode_masked_frame};

/// A server that ends with the test.
pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub address: String,
    pub operators: String,
    pub started_in: Duration,
    config: PathBuf,
    log: Arc<Mutex<String>>,
}

static FILES: AtomicU32 = AtomicU32::new(0);

/// Writes a configuration to a file of its own.
pub fn config_file(json: &str) -> PathBuf {
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let name = format!("ringway-test-{}-{number}.json", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, json).expect("the temporary folder takes a file");
    path
}

/// A free port that no client is given by chance while the server is away: a connection from a port
/// to itself succeeds.
pub fn port_of_our_own() -> String {
    let first = 10_000 + (std::process::id() % 10_000) as u16;
    let free = (first..30_000).find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok());
    free.expect("a free port").to_string()
}

/// Runs the binary to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

/// Arguments that choose the driver.
fn driver() -> Vec<String> {
    let name = std::env::var("DRIVER_OF_TESTS").ok().filter(|name| !name.is_empty());
    name.map_or(Vec::new(), |name| vec!["--io".to_owned(), name])
}

impl Server {
    /// Starts a server; `json` is its configuration without addresses.
    pub fn start(json: &str) -> Self {
        Self::start_on(json, "0")
    }

    /// Starts a server on this port.
    pub fn start_on(json: &str, port: &str) -> Self {
        let driver = driver();
        Self::launch(json, port, &driver.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Starts a server with further arguments, whatever the driver of the other tests.
    pub fn start_with(json: &str, more: &[&str]) -> Self {
        Self::launch(json, "0", more)
    }

    fn launch(json: &str, port: &str, more: &[&str]) -> Self {
        let config = config_file(json);
        let started = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["serve", "--config", config.to_str().expect("UTF-8"), "--port", port])
            .args(more)
            .env("RINGWAY_METRICS_ADDRESS", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, kept) = (child.stderr.take().expect("piped"), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("{line}");
                let mut log = kept.lock().expect("no holder panics");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let address = after(&mut stdout, "listens on ");
        let (_, address) = address.split_once("://").expect("http or https");
        let address = address.to_owned();
        let started_in = started.elapsed();
        let operators = after(&mut stdout, "http://");
        let operators = operators.trim_end_matches("/metrics").to_owned();
        Self { child, stdout, address, operators, started_in, config, log }
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no holder panics").clone()
    }

    /// Waits until the log has this; all of it.
    pub fn log_until(&self, mark: &str) -> String {
        let give_up = Instant::now() + Duration::from_secs(10);
        loop {
            let log = self.log();
            if log.contains(mark) {
                return log;
            }
            assert!(Instant::now() < give_up, "no {mark:?} in the log:\n{log}");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Rewrites the configuration and asks for a reload.
    pub fn reload(&self, json: &str) {
        std::fs::write(&self.config, json).expect("the file is ours");
        self.signal("HUP");
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.expect("kill is there").success());
    }

    /// Ends it as a crash would, and waits for that.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Waits for the end.
    pub fn wait(&mut self, at_most: Duration) -> ExitStatus {
        let pid = self.child.id().to_string();
        let (ended, told) = std::sync::mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            let is_late = told.recv_timeout(at_most) == Err(RecvTimeoutError::Timeout);
            is_late.then(|| Command::new("kill").args(["-KILL", &pid]).status())
        });
        let status = self.child.wait().expect("it is our child");
        drop(ended);
        let killed = watch.join().expect("it only waits");
        assert!(killed.is_none(), "the server does not end");
        status
    }

    /// Whatever the server printed to stdout after it started. Only once it has ended.
    pub fn rest_of_stdout(&mut self) -> String {
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).expect("UTF-8");
        text
    }

    /// A request by HTTP/1.1; status and body.
    pub fn http(&self, address: &str, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("it takes a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers and closes");
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.expect("a status line"), body.to_owned())
    }

    pub fn get(&self, address: &str, path: &str) -> (u16, String) {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        self.http(address, &request)
    }

    pub fn api(&self, method: &str, key: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request = format!(
            "POST /api/{method} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.http(&self.address, &request)
    }
}

fn after(stdout: &mut impl BufRead, mark: &str) -> String {
    for _ in 0..16 {
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the server prints UTF-8");
        if let Some((_, rest)) = line.split_once(mark) {
            return rest.trim().to_owned();
        }
    }
    panic!("the server does not print {mark:?}")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}

/// What a client received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Text(String),
    Close(u16),
    /// The connection ended without a close frame.
    Ended,
}

/// A WebSocket client.
pub struct Client {
    stream: TcpStream,
    frames: ServerFrames,
    waiting: Vec<u8>,
    /// Bytes read behind the upgrade.
    pub bytes_read: u64,
}

impl Client {
    pub fn open(server: &Server, path: &str) -> Self {
        let mut stream = TcpStream::connect(&server.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it takes a request");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("a response head");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("UTF-8");
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Self { stream, frames: ServerFrames::new(), waiting: Vec::new(), bytes_read: 0 }
    }

    pub fn send(&mut self, text: &str) {
        let mut out = Vec::new();
        let frame = ClientFrame::whole(Opcode::Text, [1, 2, 3, 4], text.as_bytes());
        encode_masked_frame(&frame, &mut out);
        self.stream.write_all(&out).expect("the server reads");
    }

    pub fn receive(&mut self) -> Received {
        loop {
            if let Some(received) = self.receive_some(4096) {
                return received;
            }
        }
    }

    /// What is there already, or one read of at most so many bytes. `None`: no whole frame yet.
    pub fn receive_some(&mut self, at_most: u64) -> Option<Received> {
        if let Some(received) = self.next_frame() {
            return Some(received);
        }
        let mut buffer = [0; 4096];
        let length = at_most.clamp(1, 4096) as usize;
        match self.stream.read(&mut buffer[..length]) {
            Ok(0) => return Some(Received::Ended),
            Ok(count) => {
                self.bytes_read += count as u64;
                self.waiting.extend_from_slice(&buffer[..count]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Some(Received::Ended);
            }
            Err(error) => panic!("nothing came: {error}"),
        }
        self.next_frame()
    }

    fn next_frame(&mut self) -> Option<Received> {
        let mut input: &[u8] = &self.waiting;
        let found = self.frames.next(&mut input).expect("frames by the rules");
        let received = found.map(|frame| match frame.opcode {
            Opcode::Close => {
                let code = frame.payload.get(..2).map(|two| [two[0], two[1]]);
                Received::Close(code.map_or(1005, u16::from_be_bytes))
            }
            _ => Received::Text(String::from_utf8_lossy(frame.payload).into_owned()),
        });
        let left = input.to_vec();
        self.waiting = left;
        received
    }

    /// The next text that is no ping, which is answered; anything else is a failure.
    pub fn text(&mut self) -> String {
        loop {
            match self.receive() {
                Received::Text(text) if text == "{}" => self.send("{}"),
                Received::Text(text) => return text,
                other => panic!("a text was expected, not {other:?}"),
            }
        }
    }

    /// Connects a session without a token.
    pub fn connected(server: &Server) -> Self {
        let mut client = Self::open(server, "/connection/websocket");
        client.send(r#"{"id":1,"connect":{}}"#);
        let reply = client.text();
        assert!(reply.starts_with(r#"{"id":1,"connect":{"client":""#), "{reply}");
        client
    }
}
