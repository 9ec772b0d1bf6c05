//! A local hub with the paths and headers of the real one. Like that, it keeps large files on
//! another host; it records its requests, and fails on demand.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::json;

pub(super) const REPOSITORY: &str = "someone/tiny";
pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The contents of the hub: one repository at one commit, which is `main` and `v1`.
pub(super) type Files = Vec<(&'static str, Vec<u8>)>;

/// A hub that runs until the tests end.
pub(super) struct Server {
    pub(super) address: String,
    shared: Arc<Shared>,
}

struct Shared {
    files: Files,
    /// The address of large files.
    elsewhere: String,
    faults: Mutex<Vec<Fault>>,
    asked: Mutex<Vec<Asked>>,
    released: AtomicBool,
}

/// A request received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) elsewhere: bool,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) range: Option<String>,
    pub(super) authorization: Option<String>,
}

/// A fault in the next `times` answers to paths that contain `path`.
struct Fault {
    path: &'static str,
    what: What,
    times: usize,
}

#[derive(Clone, Copy)]
pub(super) enum What {
    /// The connection ends after this many bytes.
    Cut(usize),
    /// After this many bytes nothing comes until [`Server::release`].
    Hold(usize),
    /// No answer.
    Silence,
    /// This status, with these headers.
    Status(u16, &'static str),
    /// A range is requested, but the whole file is sent.
    Whole,
    /// The contents do not match their tags.
    Corrupt,
    /// This text instead.
    Text(&'static str),
    /// Large files claim to have this many bytes.
    Huge(&'static str),
}

impl Server {
    pub(super) fn start(files: Files) -> Server {
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = |of: &TcpListener| format!("http://{}", of.local_addr().unwrap());
        let shared = Arc::new(Shared {
            files,
            elsewhere: address(&elsewhere),
            faults: Mutex::default(),
            asked: Mutex::default(),
            released: AtomicBool::new(false),
        });
        let address = address(&hub);
        for (listener, elsewhere) in [(hub, false), (elsewhere, true)] {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || shared.answer(stream, elsewhere));
                }
            });
        }
        Server { address, shared }
    }

    /// Makes the next `times` answers to paths that contain `path` fail.
    pub(super) fn fail(&self, path: &'static str, what: What, times: usize) -> &Server {
        self.shared.faults.lock().unwrap().push(Fault { path, what, times });
        self
    }

    /// Ends all faults.
    pub(super) fn heal(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// Lets held answers continue.
    pub(super) fn release(&self) {
        self.shared.released.store(true, Ordering::Relaxed);
    }

    /// The requests since the last call.
    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }

    /// The ranges of all requests for the contents of `path` since the last call.
    pub(super) fn ranges(&self, path: &str) -> Vec<Option<String>> {
        let asked = self.asked().into_iter();
        let asked = asked.filter(|asked| asked.method == "GET" && asked.path.contains(path));
        // For a large file, the hub itself only answers with its address.
        let large = is_large(path);
        asked.filter(|asked| asked.elsewhere == large).map(|asked| asked.range).collect()
    }

    /// The address of large files.
    pub(super) fn elsewhere(&self) -> &str {
        &self.shared.elsewhere
    }
}

impl Shared {
    fn answer(&self, stream: TcpStream, elsewhere: bool) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
        let first = lines.next()?.ok()?;
        let (method, path) = first.split_once(' ')?;
        let (path, _) = path.rsplit_once(' ')?;
        let mut asked = Asked {
            elsewhere,
            method: method.to_owned(),
            path: path.to_owned(),
            range: None,
            authorization: None,
        };
        for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
            match name.to_ascii_lowercase().as_str() {
                "range" => asked.range = Some(value.to_owned()),
                "authorization" => asked.authorization = Some(value.to_owned()),
                _ => (),
            }
        }
        self.asked.lock().unwrap().push(asked.clone());
        let reply = Reply { stream, fault: self.fault(path), head: method == "HEAD" };
        match reply.fault {
            Some(What::Silence) => self.hold(),
            Some(What::Status(status, headers)) => reply.send(status, headers, b"", self)?,
            Some(What::Text(text)) => reply.send(200, "", text.as_bytes(), self)?,
            _ => self.serve(reply, &asked)?,
        }
        Some(())
    }

    /// The fault of this answer, if any.
    fn fault(&self, path: &str) -> Option<What> {
        let mut faults = self.faults.lock().unwrap();
        let fault = faults.iter_mut().find(|fault| path.contains(fault.path) && fault.times > 0)?;
        fault.times -= 1;
        Some(fault.what)
    }

    fn hold(&self) {
        while !self.released.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn serve(&self, reply: Reply, asked: &Asked) -> Option<()> {
        let path = asked.path.split('?').next().unwrap_or_default();
        let file = |name: &str| self.files.iter().find(|(path, _)| *path == name);
        if let Some(name) = path.strip_prefix("/elsewhere/") {
            return reply.send_range(
                &file(name)?.1,
                asked,
                "ETag: \"of-this-host-alone\"\r\n",
                self,
            );
        }
        if asked.path.contains("someone/renamed") {
            let location = asked.path.replace("someone/renamed", REPOSITORY);
            return reply.send(307, &format!("Location: {location}\r\n"), b"", self);
        }
        if let Some(rest) = path.strip_prefix("/api/models/") {
            return match rest.split_once("/revision/") {
                Some((REPOSITORY, "main" | "v1" | COMMIT)) => {
                    reply.send(200, "", self.listing().as_bytes(), self)
                }
                Some((REPOSITORY, _)) => {
                    reply.send(404, "X-Error-Code: RevisionNotFound\r\n", b"", self)
                }
                // Without a token, a private repository looks like one that does not exist.
                _ if asked.authorization.is_none() => {
                    reply.send(401, "X-Error-Code: RepoNotFound\r\n", b"", self)
                }
                _ => reply.send(404, "X-Error-Code: RepoNotFound\r\n", b"", self),
            };
        }
        let name = path.strip_prefix(&format!("/{REPOSITORY}/resolve/{COMMIT}/"))?;
        let Some((_, contents)) = file(name) else {
            return reply.send(404, "X-Error-Code: EntryNotFound\r\n", b"", self);
        };
        match is_large(name) {
            false => {
                let headers = format!("ETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\n", git(contents));
                reply.send_range(contents, asked, &headers, self)
            }
            true => {
                let size = match reply.fault {
                    Some(What::Huge(size)) => size.to_owned(),
                    _ => contents.len().to_string(),
                };
                let headers = format!(
                    "Location: {}/elsewhere/{name}?Signature=a-secret\r\nX-Repo-Commit: {COMMIT}\r\n\
                     X-Linked-Etag: \"{}\"\r\nX-Linked-Size: {size}\r\n",
                    self.elsewhere,
                    hex(digest(&SHA256, contents).as_ref()),
                );
                reply.send(302, &headers, b"", self)
            }
        }
    }

    fn listing(&self) -> String {
        let siblings: Vec<_> = self
            .files
            .iter()
            .map(|(path, contents)| json!({ "rfilename": path, "size": contents.len() }))
            .collect();
        json!({ "id": REPOSITORY, "sha": COMMIT, "siblings": siblings }).to_string()
    }
}

struct Reply {
    stream: TcpStream,
    fault: Option<What>,
    head: bool,
}

impl Reply {
    fn send_range(
        self,
        contents: &[u8],
        asked: &Asked,
        headers: &str,
        shared: &Shared,
    ) -> Option<()> {
        let corrupt: Vec<u8>;
        let contents = match self.fault {
            Some(What::Corrupt) => {
                corrupt = contents.iter().map(|byte| byte ^ 1).collect();
                &corrupt
            }
            _ => contents,
        };
        let from = asked.range.as_deref().and_then(|range| {
            range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
        });
        match from {
            Some(from) if from < contents.len() && !matches!(self.fault, Some(What::Whole)) => {
                let total = contents.len();
                let headers =
                    format!("{headers}Content-Range: bytes {from}-{}/{total}\r\n", total - 1);
                self.send(206, &headers, &contents[from..], shared)
            }
            _ => self.send(200, headers, contents, shared),
        }
    }

    fn send(mut self, status: u16, headers: &str, body: &[u8], shared: &Shared) -> Option<()> {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes()).ok()?;
        if self.head {
            return Some(());
        }
        match self.fault {
            Some(What::Cut(at)) => self.stream.write_all(&body[..at.min(length)]).ok()?,
            Some(What::Hold(at)) => {
                let at = at.min(length);
                self.stream.write_all(&body[..at]).ok()?;
                shared.hold();
                self.stream.write_all(&body[at..]).ok()?;
            }
            _ => self.stream.write_all(body).ok()?,
        }
        Some(())
    }
}

/// The address of a TLS hub without repositories, and its certificate.
pub(super) fn encrypted() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("localhost:0").unwrap();
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(rustls::StreamOwned::new(connection, stream));
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let answer = "HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            // A client that does not trust us has disconnected already.
            let stream = stream.get_mut();
            let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
        }
    });
    (address, made.cert.pem())
}

/// Whether the hub keeps a file on the other host.
fn is_large(path: &str) -> bool {
    path.ends_with(".safetensors") || path.ends_with(".gguf")
}

/// git's hash of a blob with these contents.
pub(super) fn git(contents: &[u8]) -> String {
    let blob = [format!("blob {}\0", contents.len()).as_bytes(), contents].concat();
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &blob).as_ref())
}

pub(super) fn sha256(contents: &[u8]) -> String {
    hex(digest(&SHA256, contents).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
