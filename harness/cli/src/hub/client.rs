//! Requests to a hub. Redirects are followed manually, because the token must not go to another
//! host, and transient errors are retried.

use std::io::ErrorKind;
use std::time::Duration;

use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RANGE, RETRY_AFTER};
use ureq::http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::HubError;
use super::settings::Settings;

/// Sends requests to a hub, with a given patience.
pub(super) struct Client {
    pub(super) settings: Settings,
    pub(super) patience: Patience,
    agent: Agent,
}

/// How often to retry after transient errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all: somebody only wants information.
    Short,
    /// Several times.
    Long,
}

impl Patience {
    pub(super) const fn tries(self) -> u32 {
        match self {
            Patience::Short => 1,
            Patience::Long => 5,
        }
    }
}

/// What is asked for, so that a refusal can be explained.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) repository: &'a str,
    pub(super) about: About<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum About<'a> {
    /// The files of a revision.
    Revision(&'a str),
    /// A file of a revision.
    File,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Transient: worth retrying, after the time that the hub names if it does.
    Passing { error: Box<HubError>, after: Option<Duration> },
    /// Permanent.
    Lasting(Box<HubError>),
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Trouble {
        Trouble::Lasting(Box::new(error))
    }
}

impl Trouble {
    /// A transient error without a time to wait.
    pub(super) fn passing(error: HubError) -> Trouble {
        Trouble::Passing { error: Box::new(error), after: None }
    }
}

/// The tries left, and the pause before the next one.
pub(super) struct Tries {
    patience: Patience,
    left: u32,
    pause: Duration,
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// If the hub asks for a longer wait, it is not retried.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const MOST_REDIRECTS: u32 = 10;

impl Tries {
    pub(super) fn of(patience: Patience) -> Tries {
        Tries { patience, left: patience.tries(), pause: FIRST_PAUSE }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    ///
    /// If the trouble is permanent, no tries are left, or the wait is too long.
    pub(super) fn again(&mut self, trouble: Trouble) -> Result<(), HubError> {
        match trouble {
            Trouble::Lasting(error) => Err(*error),
            Trouble::Passing { error, after } => {
                self.left = self.left.saturating_sub(1);
                let pause = after.unwrap_or(self.pause);
                if self.left == 0 || pause > LONGEST_PAUSE {
                    return Err(*error);
                }
                std::thread::sleep(pause);
                self.pause = self.pause.saturating_mul(2);
                Ok(())
            }
        }
    }

    /// Resets the tries after progress: the next error is a new one.
    pub(super) fn start_over(&mut self) {
        *self = Tries::of(self.patience);
    }
}

impl Client {
    pub(super) fn new(settings: Settings, patience: Patience) -> Client {
        let silence = Some(settings.silence);
        let roots = match &settings.authorities {
            Some(own) => RootCerts::new_with_certs(own),
            None => RootCerts::WebPki,
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("windtunnel/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(silence)
            .timeout_per_read(silence)
            .timeout_per_write(silence)
            .timeout_recv_response(silence)
            .proxy(settings.proxy.clone())
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build()
            .new_agent();
        Client { settings, patience, agent }
    }

    /// The URL of `path` at the hub.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.settings.endpoint)
    }

    /// Retries until there is an answer or no point in retrying.
    pub(super) fn patiently<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<T, HubError> {
        let mut tries = Tries::of(self.patience);
        loop {
            match attempt() {
                Ok(answer) => return Ok(answer),
                Err(trouble) => tries.again(trouble)?,
            }
        }
    }

    /// The contents of `url` from byte `from` on, following redirects to any host.
    pub(super) fn get(
        &self,
        url: &str,
        from: u64,
        question: Question<'_>,
    ) -> Result<Response<Body>, Trouble> {
        let mut url = parsed(url)?;
        for _ in 0..MOST_REDIRECTS {
            let answer = self.once(&Method::GET, &url, from, question)?;
            match redirect(&url, &answer) {
                None => return Ok(answer),
                Some(next) => url = next?,
            }
        }
        Err(no_hub(&url, "with one redirect after the other").into())
    }

    /// The hub's own answer about the file at `url`, before it redirects to another host.
    pub(super) fn head(
        &self,
        url: &str,
        question: Question<'_>,
    ) -> Result<Response<Body>, Trouble> {
        let mut url = parsed(url)?;
        for _ in 0..MOST_REDIRECTS {
            let answer = self.once(&Method::HEAD, &url, 0, question)?;
            match redirect(&url, &answer).transpose()? {
                Some(next) if self.is_hub(&next) && !answer.headers().contains_key(LINKED_TAG) => {
                    url = next;
                }
                _ => return Ok(answer),
            }
        }
        Err(no_hub(&url, "with one redirect after the other").into())
    }

    /// Sends one request; returns its answer if it is a success or a redirect.
    fn once(
        &self,
        method: &Method,
        url: &Uri,
        from: u64,
        question: Question<'_>,
    ) -> Result<Response<Body>, Trouble> {
        // With compression, the length would not be that of the file.
        let request =
            Request::builder().method(method).uri(url).header(ACCEPT_ENCODING, "identity");
        let request = match from {
            0 => request,
            from => request.header(RANGE, format!("bytes={from}-")),
        };
        let request = match &self.settings.token {
            Some(token) if self.is_hub(url) => request.header(AUTHORIZATION, token.bearer()),
            _ => request,
        };
        let request = request.body(()).map_err(|e| no_hub(url, &e.to_string()))?;
        let answer = self.agent.run(request).map_err(|error| self.unanswered(url, &error))?;
        match answer.status() {
            // The range starts beyond the end of the file: the caller handles this.
            status if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE => {
                Ok(answer)
            }
            status if status.is_redirection() => Ok(answer),
            status => Err(self.refused(url, status, answer.headers(), question)),
        }
    }

    /// Whether a URL is on the hub itself, which alone is sent the token.
    fn is_hub(&self, url: &Uri) -> bool {
        let endpoint: Option<Uri> = self.settings.endpoint.parse().ok();
        endpoint.is_some_and(|endpoint| origin(&endpoint) == origin(url))
    }

    fn unanswered(&self, url: &Uri, error: &ureq::Error) -> Trouble {
        let untrusted = match error {
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
            ureq::Error::Io(cause) => cause.kind() == ErrorKind::InvalidData,
            _ => false,
        };
        if untrusted {
            let cause = match error {
                ureq::Error::Io(cause) => cause.to_string(),
                other => other.to_string(),
            };
            return HubError::Untrusted { host: host(url), cause }.into();
        }
        let cause = match error {
            ureq::Error::Io(cause) => cause.to_string(),
            ureq::Error::HostNotFound => "its name is not known".to_owned(),
            ureq::Error::Timeout(_) => {
                format!("it said nothing for {} s", self.settings.silence.as_secs_f64())
            }
            other => other.to_string(),
        };
        Trouble::passing(HubError::Unreachable { endpoint: host(url), cause })
    }

    fn refused(
        &self,
        url: &Uri,
        status: StatusCode,
        headers: &HeaderMap,
        question: Question<'_>,
    ) -> Trouble {
        let Question { repository, about } = question;
        let (repository, endpoint) = (repository.to_owned(), self.settings.endpoint.clone());
        let shown = self.settings.token.as_ref().map(|token| token.found.clone());
        let places = self.settings.token_places.clone();
        let after = seconds(headers);
        let code = headers.get("x-error-code").and_then(|code| code.to_str().ok());
        let passing = |error| Trouble::Passing { error: Box::new(error), after };
        match (status.as_u16(), code, about) {
            // A host to which the hub redirected refuses for its own reasons; the next try gets a
            // new redirect.
            (status, _, _) if !self.is_hub(url) => {
                passing(HubError::Failing { host: host(url), status, tries: self.patience.tries() })
            }
            (401 | 403, Some("GatedRepo"), _) | (403, _, _) => {
                let gated = code == Some("GatedRepo");
                let why = if gated { "is gated" } else { "may not be read" };
                HubError::Denied { repository, why, endpoint, shown, places }.into()
            }
            (401, _, _) => match shown {
                Some(found) => HubError::TokenRefused { repository, endpoint, found }.into(),
                None => HubError::TokenMissing { repository, endpoint, places }.into(),
            },
            (404, Some("RevisionNotFound"), About::Revision(revision)) => {
                let revision = revision.to_owned();
                HubError::NoRevision { repository, revision, endpoint }.into()
            }
            (404, _, About::Revision(_)) => HubError::NoRepository { repository, endpoint }.into(),
            (404, _, About::File) => HubError::Gone { repository, url: shown_url(url) }.into(),
            (429, _, _) => {
                let wait = after.map_or_else(
                    || "some minutes".to_owned(),
                    |after| format!("{} s", after.as_secs()),
                );
                let instead = match shown {
                    Some(_) => "",
                    None => ", or show it a token in `HF_TOKEN`",
                };
                passing(HubError::TooMany { endpoint, wait, instead })
            }
            (status @ (408 | 500..), _, _) => {
                passing(HubError::Failing { host: host(url), status, tries: self.patience.tries() })
            }
            _ => no_hub(url, &status.to_string()).into(),
        }
    }
}

/// The header with the tag of a large file, which the hub sends along with the redirect to the
/// file.
pub(super) const LINKED_TAG: &str = "x-linked-etag";

/// Where an answer redirects to, if it does.
fn redirect(from: &Uri, answer: &Response<Body>) -> Option<Result<Uri, HubError>> {
    if !answer.status().is_redirection() {
        return None;
    }
    let location = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("");
    let scheme = from.scheme_str().unwrap_or("https");
    let to = match location {
        path if path.starts_with("//") => format!("{scheme}:{path}"),
        path if path.starts_with('/') => format!("{}{path}", host(from)),
        url => url.to_owned(),
    };
    Some(parsed(&to).map_err(|_| no_hub(from, "with a redirect to nowhere")))
}

fn parsed(url: &str) -> Result<Uri, HubError> {
    let whole =
        |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some();
    let complaint = || HubError::NoHub { url: url.to_owned(), what: "at no address".to_owned() };
    url.parse().ok().filter(whole).ok_or_else(complaint)
}

fn origin(url: &Uri) -> (Option<&str>, Option<String>, Option<u16>) {
    let port = match url.scheme_str() {
        Some("http") => 80,
        _ => 443,
    };
    let host = url.host().map(str::to_ascii_lowercase);
    (url.scheme_str(), host, url.port_u16().or(Some(port)))
}

/// Scheme, host and port of an address.
fn host(url: &Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    // Whatever precedes the `@` may be a secret.
    let authority = authority.rsplit('@').next().unwrap_or_default();
    format!("{}://{authority}", url.scheme_str().unwrap_or("https"))
}

/// A URL without its query, which may contain a signature.
fn shown_url(url: &Uri) -> String {
    format!("{}{}", host(url), url.path())
}

pub(super) fn no_hub(url: &Uri, what: &str) -> HubError {
    HubError::NoHub { url: shown_url(url), what: what.to_owned() }
}

/// How long the hub asks to wait before the next try.
fn seconds(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_left_out_is_that_of_the_scheme() {
        let same = |a: &str, b: &str| origin(&a.parse().unwrap()) == origin(&b.parse().unwrap());
        assert!(same("https://Hub.example/a", "https://hub.example:443/b"));
        for other in ["http://hub.example", "https://hub.example:8443", "https://cdn.hub.example"] {
            assert!(!same("https://hub.example", other), "{other}");
        }
    }

    #[test]
    fn an_address_is_shown_without_signatures_and_passwords() {
        let url: Uri = "https://me:secret@cdn.example/a/b?Signature=secret".parse().unwrap();
        assert_eq!(shown_url(&url), "https://cdn.example/a/b");
    }
}
