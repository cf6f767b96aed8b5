//! A client that outlives its server: every step may fail, and then it comes back.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use protocol::websocket::Opcode;
use protocol::websocket::client::{ClientFrame, ServerFrames, encode_masked_frame};

pub struct Link {
    stream: TcpStream,
    frames: ServerFrames,
    waiting: Vec<u8>,
}

impl Link {
    /// A session without a token.
    pub fn open(address: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        stream.write_all(
            b"GET /connection/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
              Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
              Sec-WebSocket-Version: 13\r\n\r\n",
        )?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(io::Error::other("not upgraded"));
        }
        let mut link = Self { stream, frames: ServerFrames::new(), waiting: Vec::new() };
        link.send(r#"{"id":1,"connect":{}}"#)?;
        let reply = link.text()?;
        assert!(reply.starts_with(r#"{"id":1,"connect":"#), "{reply}");
        Ok(link)
    }

    pub fn send(&mut self, text: &str) -> io::Result<()> {
        let mut out = Vec::new();
        let frame = ClientFrame::whole(Opcode::Text, [1, 2, 3, 4], text.as_bytes());
        encode_masked_frame(&frame, &mut out);
        self.stream.write_all(&out)
    }

    /// The next text that is no ping. An error once the server is gone.
    pub fn text(&mut self) -> io::Result<String> {
        loop {
            let mut input: &[u8] = &self.waiting;
            let found = self.frames.next(&mut input).expect("frames by the rules");
            let text = match found {
                Some(frame) if frame.opcode == Opcode::Text => {
                    Some(String::from_utf8(frame.payload.to_vec()).expect("UTF-8"))
                }
                Some(_) => return Err(io::ErrorKind::ConnectionReset.into()),
                None => None,
            };
            let used = self.waiting.len() - input.len();
            self.waiting.drain(..used);
            match text {
                Some(text) if text == "{}" => self.send("{}")?,
                Some(text) => return Ok(text),
                None => {
                    let mut buffer = [0; 65_536];
                    let count = self.stream.read(&mut buffer)?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.waiting.extend_from_slice(&buffer[..count]);
                }
            }
        }
    }
}

/// A call of the API on a connection that stays open.
pub struct Api {
    stream: TcpStream,
}

impl Api {
    pub fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// The body of the answer.
    pub fn call(&mut self, method: &str, body: &str) -> io::Result<serde_json::Value> {
        let length = body.len();
        let request = format!(
            "POST /api/{method} HTTP/1.1\r\nHost: x\r\nX-API-Key: key\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        let mut buffer = [0; 65_536];
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    let is_length = name.eq_ignore_ascii_case("content-length");
                    is_length.then(|| value.trim().parse::<usize>().expect("a length"))
                });
                if body.len() >= length.expect("answers have a length") {
                    // 503: the server has begun to listen and not to serve.
                    let answer = serde_json::from_str(body);
                    return answer.map_err(|_| io::ErrorKind::ConnectionReset.into());
                }
            }
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&buffer[..count]);
        }
    }
}

/// All of a channel's history, in order: offset and payload.
pub fn history(address: &str, channel: &str) -> Vec<(u64, serde_json::Value)> {
    let mut api = Api::open(address).expect("it listens");
    let mut all: Vec<(u64, serde_json::Value)> = Vec::new();
    loop {
        let since = all.last().map_or(0, |(offset, _)| *offset);
        let body = format!(
            r#"{{"channel":"{channel}","limit":-1,"since":{{"offset":{since},"epoch":""}}}}"#
        );
        let answer = api.call("history", &body).expect("it answers");
        let page = answer["result"]["publications"].as_array().expect("a page").clone();
        if page.is_empty() {
            assert!(answer["error"].is_null(), "{answer}");
            return all;
        }
        all.extend(
            page.into_iter()
                .map(|one| (one["offset"].as_u64().expect("an offset"), one["data"].clone())),
        );
    }
}
