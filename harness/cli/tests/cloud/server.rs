//! A server that speaks as much of S3 as baselines need, and has bad days: it loses answers, may
//! stop in the middle of a body, and hangs up on callers that it refuses.
//!
//! It keeps the promises of S3: an object exists as a whole or not at all, and of several requests
//! to create an object only if its key is free, one succeeds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Barrier, Mutex};

/// Objects per page of a list.
const PAGE: usize = 7;
/// Once in this many uploads, the object is kept but the answer is lost.
const LOST: usize = 9;

/// The server's state.
#[derive(Default)]
pub(crate) struct State {
    /// Objects by bucket and key, `bucket/key`.
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    /// Conditional uploads that were refused because the key was taken.
    pub(crate) refused: usize,
    /// Uploads that ended before their last byte.
    pub(crate) broken_off: usize,
    uploads: usize,
}

/// How the server treats its callers.
pub(crate) struct Manners {
    /// The first lists wait for each other, so that their callers all see the same.
    pub(crate) together: Arc<Barrier>,
    /// How many lists have yet to wait.
    pub(crate) lists: Mutex<usize>,
    /// Larger bodies are read up to here, and no further until the caller is gone.
    pub(crate) stalls_at: usize,
    /// Is notified when that happens.
    pub(crate) stalled: Mutex<Sender<()>>,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    pub(crate) state: Arc<Mutex<State>>,
}

impl Server {
    /// Starts a server that ends with the process.
    pub(crate) fn start(manners: Manners) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, manners) = (state.clone(), Arc::new(manners));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, manners) = (shared.clone(), manners.clone());
                std::thread::spawn(move || serve(stream, &state, &manners));
            }
        });
        Server { endpoint, state }
    }
}

/// A request.
struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
}

/// Answers the requests of a connection until it ends.
fn serve(stream: TcpStream, state: &Mutex<State>, manners: &Manners) {
    let Ok(mut answers) = stream.try_clone() else { return };
    let mut requests = BufReader::new(stream);
    while let Some(request) = head(&mut requests) {
        if hangs_up(&request, &mut state.lock().unwrap()) {
            let _ = answers.write_all(b"HTTP/1.1 412 -\r\nContent-Length: 0\r\n\r\n");
            return;
        }
        let Some(body) = body(&mut requests, &request, manners) else {
            state.lock().unwrap().broken_off += 1;
            return;
        };
        let signed = request
            .headers
            .get("authorization")
            .is_some_and(|text| text.starts_with("AWS4-HMAC-SHA256 Credential=someone/"));
        let answer = match (signed, request.method.as_str()) {
            (false, _) => (403, String::new(), b"who is that?".to_vec()),
            (true, "PUT") => put(&request, body, &mut state.lock().unwrap()),
            (true, "GET") if request.query.contains_key("list-type") => {
                let answer = list(&request, &state.lock().unwrap());
                wait(manners);
                answer
            }
            (true, "HEAD") => {
                let (status, headers, body) = get(&request, &state.lock().unwrap());
                let size = body.len();
                let head =
                    format!("HTTP/1.1 {status} -\r\nContent-Length: {size}\r\n{headers}\r\n");
                if answers.write_all(head.as_bytes()).is_err() {
                    return;
                }
                continue;
            }
            (true, "GET") => get(&request, &state.lock().unwrap()),
            _ => (405, String::new(), Vec::new()),
        };
        let (status, headers, body) = answer;
        let head =
            format!("HTTP/1.1 {status} -\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        if answers.write_all(head.as_bytes()).and_then(|()| answers.write_all(&body)).is_err() {
            return;
        }
    }
}

/// Whether an upload to a taken key is refused unread: every second one is.
fn hangs_up(request: &Request, state: &mut State) -> bool {
    let is_taken = request.method == "PUT" && state.objects.contains_key(&request.path);
    let unread = is_taken && state.refused.is_multiple_of(2);
    state.refused += usize::from(unread);
    unread
}

type Answer = (u16, String, Vec<u8>);

fn put(request: &Request, body: Vec<u8>, state: &mut State) -> Answer {
    assert_eq!(request.headers.get("if-none-match").map(String::as_str), Some("*"));
    if state.objects.contains_key(&request.path) {
        state.refused += 1;
        return (412, String::new(), b"<Error><Code>PreconditionFailed</Code></Error>".to_vec());
    }
    state.objects.insert(request.path.clone(), body);
    state.uploads += 1;
    match state.uploads % LOST {
        0 => (503, String::new(), b"<Error><Code>SlowDown</Code></Error>".to_vec()),
        _ => (200, "ETag: \"one\"\r\n".into(), Vec::new()),
    }
}

fn get(request: &Request, state: &State) -> Answer {
    match state.objects.get(&request.path) {
        Some(object) => {
            let headers = "ETag: \"one\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
            (200, headers.into(), object.clone())
        }
        None => (404, String::new(), b"<Error><Code>NoSuchKey</Code></Error>".to_vec()),
    }
}

fn list(request: &Request, state: &State) -> Answer {
    let prefix = request.query.get("prefix").cloned().unwrap_or_default();
    let after = request.query.get("continuation-token").cloned().unwrap_or_default();
    let bucket = format!("{}/", request.path);
    let of_bucket = |(path, object): (&String, &Vec<u8>)| {
        Some((path.strip_prefix(&bucket)?.to_owned(), object.len()))
    };
    let all: Vec<(String, usize)> = state
        .objects
        .iter()
        .filter_map(of_bucket)
        .filter(|(key, _)| key.starts_with(&prefix) && *key > after)
        .collect();
    let mut xml = "<ListBucketResult>".to_owned();
    for (key, size) in all.iter().take(PAGE) {
        let _ = write!(
            xml,
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
             <ETag>\"one\"</ETag><Size>{size}</Size></Contents>"
        );
    }
    let next = all.get(PAGE).and_then(|_| all.get(PAGE - 1));
    let _ = write!(xml, "<IsTruncated>{}</IsTruncated>", next.is_some());
    if let Some((key, _)) = next {
        let _ = write!(xml, "<NextContinuationToken>{key}</NextContinuationToken>");
    }
    xml.push_str("</ListBucketResult>");
    (200, String::new(), xml.into_bytes())
}

/// Holds back the first lists until all expected callers have asked.
fn wait(manners: &Manners) {
    let mut lists = manners.lists.lock().unwrap();
    let is_one = *lists > 0;
    *lists = lists.saturating_sub(1);
    drop(lists);
    if is_one {
        manners.together.wait();
    }
}

fn head(requests: &mut impl BufRead) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        let read = requests.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(key)?, decoded(value)?))
    });
    let (path, query) = (decoded(path.trim_matches('/'))?, query.collect());
    let mut headers = BTreeMap::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Some(Request { method, path, query, headers })
}

/// The body of a request; none if it ended before its last byte.
fn body(requests: &mut impl Read, request: &Request, manners: &Manners) -> Option<Vec<u8>> {
    let length = request.headers.get("content-length").and_then(|text| text.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if body.len() > manners.stalls_at {
        requests.read_exact(&mut body[..manners.stalls_at]).ok()?;
        manners.stalled.lock().unwrap().send(()).ok()?;
        // A caller that waits for an answer gets none; one that is gone has sent no more than this.
        return requests.read_exact(&mut body[manners.stalls_at..]).ok().map(|()| body);
    }
    requests.read_exact(&mut body).ok()?;
    Some(body)
}

/// Decodes `%` escapes.
fn decoded(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(piece.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}
