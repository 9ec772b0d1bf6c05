//! Stands in for a server with OpenAI's API: `fake-probe --serve PORT WORD…` answers every
//! completion with as many chunks as tokens are asked for. Words are delays in milliseconds,
//! `first=20 gap=5`, or faults: `early`, `garbage`, `refuse`, `loading`, `warming` (like loading,
//! but it lists its models meanwhile), `varies` (every server answers differently), `fails`,
//! `breaks`, `dies`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often a loading server answers that it is loading.
const LOADING: u32 = 3;

/// Serves until it is killed.
pub(crate) fn serve(port: u16, words: &[String]) {
    if words.iter().any(|word| word == "dies") {
        eprintln!("there is no such model");
        std::process::exit(7);
    }
    let asked = AtomicU32::new(0);
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            let asked = &asked;
            // If the client hung up, the answer is not needed.
            scope.spawn(move || drop(answer(stream, words, asked)));
        }
    });
}

fn answer(mut stream: TcpStream, words: &[String], asked: &AtomicU32) -> std::io::Result<()> {
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    let delay = |name: &str| {
        let found = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        Duration::from_millis(found.map_or(0, |number| number.parse().expect("a number")))
    };
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let plain = |stream: &mut TcpStream, status: &str, text: &str| {
        let length = text.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
        )
    };
    let is_warming = || has("warming") && asked.load(Ordering::Relaxed) < LOADING;
    if has("warming") && head.starts_with("GET /health ") {
        let status = if is_warming() { "503 Service Unavailable" } else { "200 OK" };
        asked.fetch_add(1, Ordering::Relaxed);
        return plain(&mut stream, status, "{}");
    }
    if is_warming() && head.starts_with("POST ") {
        return plain(&mut stream, "503 Service Unavailable", "loading");
    }
    if head.starts_with("GET ") {
        return match has("loading") && asked.fetch_add(1, Ordering::Relaxed) < LOADING {
            true => plain(&mut stream, "503 Service Unavailable", "loading"),
            false => plain(&mut stream, "200 OK", "{\"data\":[]}"),
        };
    }
    let body: serde_json::Value = serde_json::from_slice(&body)?;
    if has("refuse") {
        return plain(&mut stream, "400 Bad Request", "{\"error\":\"no model `tiny-qwen3`\"}");
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    )?;
    if has("garbage") {
        return write!(stream, "data: <html>\n\n");
    }
    let wanted = body["max_tokens"].as_u64().unwrap_or(0);
    let is_short = ["early", "fails", "breaks"].into_iter().any(has);
    let given = if is_short { wanted.min(2) } else { wanted };
    let own = if has("varies") { std::process::id().to_string() } else { String::new() };
    for token in 0..given {
        std::thread::sleep(delay(if token == 0 { "first" } else { "gap" }));
        let piece = serde_json::json!({ "choices": [{ "text": format!("word{token}{own} ") }] });
        write!(stream, "data: {piece}\n\n")?;
        stream.flush()?;
    }
    if has("fails") {
        return write!(stream, "data: {{\"error\":{{\"message\":\"out of memory\"}}}}\n\n");
    }
    if has("breaks") {
        return write!(stream, "error: {{\"code\":500}}\n\n");
    }
    let prompt = body["prompt"].as_str().unwrap_or("").split_whitespace().count();
    let usage = serde_json::json!({ "prompt_tokens": prompt, "completion_tokens": given });
    let last = serde_json::json!({ "choices": [], "usage": usage });
    write!(stream, "data: {last}\n\ndata: [DONE]\n\n")
}
