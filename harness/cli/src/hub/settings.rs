//! Where the hub is, where its cache is, and which token to use: taken from the environment
//! variables of the `huggingface_hub` Python library, which are read here and nowhere else.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::Cache;
use ureq::Proxy;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, parse_pem};

use super::HubError;

/// What the environment says about the hub.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The base URL of the hub, without a trailing slash.
    pub(super) endpoint: String,
    /// Where downloads are kept, shared with everything else that uses the hub's cache.
    pub(super) cache: Cache,
    /// Whether the hub may be asked.
    pub(super) mode: Mode,
    /// The token to send, if there is one.
    pub(super) token: Option<Token>,
    /// Where a token was looked for, for messages.
    pub(super) token_places: String,
    /// How long a connection may be silent before it counts as lost.
    pub(super) silence: Duration,
    /// The root certificates to trust instead of the built-in ones.
    pub(super) authorities: Option<Vec<Certificate<'static>>>,
    /// The proxy between this machine and the hub.
    pub(super) proxy: Option<Proxy>,
}

/// Whether the hub may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It may.
    Online,
    /// It may not, so only the cache is used: `HF_HUB_OFFLINE`.
    Offline,
}

/// A secret, and where it was found. It is never displayed.
#[derive(Clone)]
pub(super) struct Token {
    secret: String,
    /// `HF_TOKEN`, or the path of a file.
    pub(super) found: String,
}

impl Token {
    /// The value of the authorization header.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from `{}`)", self.found)
    }
}

const ENDPOINT: &str = "https://huggingface.co";
const SILENCE: Duration = Duration::from_secs(10);
/// Nobody waits longer: a larger value is taken for a typing error.
const LONGEST_SILENCE: Duration = Duration::from_hours(24);

impl Settings {
    /// Reads them from the environment of this process.
    ///
    /// # Errors
    ///
    /// If they have an invalid address or token, no usable certificate, or no folder to keep
    /// downloads in.
    pub(super) fn here() -> Result<Settings, HubError> {
        Settings::of(|name| std::env::var_os(name), std::env::home_dir(), Proxy::try_from_env())
    }

    fn of(
        variable: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
        proxy: Option<Proxy>,
    ) -> Result<Settings, HubError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        let path = |name: &str| path_in(&variable, home.as_deref(), name);

        let file = match path("HF_TOKEN_PATH") {
            Some(file) => file,
            None => own_folder(&variable, home.as_deref())?.join("token"),
        };
        Ok(Settings {
            endpoint: endpoint(text("HF_ENDPOINT"))?,
            cache: Cache::new(cache_folder(&variable, home.as_deref())?),
            mode: match text("HF_HUB_OFFLINE").as_deref().map(str::to_uppercase).as_deref() {
                Some("1" | "ON" | "YES" | "TRUE") => Mode::Offline,
                _ => Mode::Online,
            },
            token: token(text("HF_TOKEN"), &file)?,
            token_places: format!("`HF_TOKEN` and `{}`", file.display()),
            silence: text("HF_HUB_DOWNLOAD_TIMEOUT")
                .and_then(|seconds| Duration::try_from_secs_f64(seconds.parse().ok()?).ok())
                .filter(|silence| !silence.is_zero() && *silence <= LONGEST_SILENCE)
                .unwrap_or(SILENCE),
            authorities: path("SSL_CERT_FILE").map(|file| certificates(&file)).transpose()?,
            proxy,
        })
    }
}

/// Where downloads are kept, according to the environment.
pub(super) fn cache_folder(
    variable: impl Fn(&str) -> Option<OsString>,
    home: Option<&Path>,
) -> Result<PathBuf, HubError> {
    let named = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"];
    match named.iter().find_map(|name| path_in(&variable, home, name)) {
        Some(cache) => Ok(std::path::absolute(&cache).unwrap_or(cache)),
        None => Ok(own_folder(&variable, home)?.join("hub")),
    }
}

/// The folder for everything of Hugging Face's.
fn own_folder(
    variable: impl Fn(&str) -> Option<OsString>,
    home: Option<&Path>,
) -> Result<PathBuf, HubError> {
    let folder = path_in(&variable, home, "HF_HOME")
        .or_else(|| Some(path_in(&variable, home, "XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| Some(home?.join(".cache/huggingface")))
        .ok_or(HubError::NoHome)?;
    // Absolute, because a probe starts in another folder.
    Ok(std::path::absolute(&folder).unwrap_or(folder))
}

/// The path in a variable; none if it is unset or empty.
fn path_in(
    variable: impl Fn(&str) -> Option<OsString>,
    home: Option<&Path>,
    name: &str,
) -> Option<PathBuf> {
    let value = variable(name).filter(|value| !value.is_empty())?;
    Some(under(home, value.into()))
}

/// Expands a leading `~`: usually the shell's job, but often found in files that set variables.
fn under(home: Option<&Path>, path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

fn endpoint(set: Option<String>) -> Result<String, HubError> {
    let endpoint = set.unwrap_or_else(|| ENDPOINT.to_owned());
    let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
    let uri: Option<Uri> = endpoint.parse().ok();
    let scheme = uri.as_ref().and_then(Uri::scheme_str);
    match (scheme, uri.as_ref().and_then(Uri::authority)) {
        (Some("http" | "https"), Some(authority)) if !authority.as_str().contains('@') => {
            Ok(endpoint)
        }
        _ => Err(HubError::BadEndpoint),
    }
}

/// The certificates in a file.
fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>, HubError> {
    let text = std::fs::read(file).unwrap_or_default();
    let found = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    match found.is_empty() {
        true => Err(HubError::NoCertificate { file: file.to_owned() }),
        false => Ok(found),
    }
}

/// The token in the variable, or else the one in the file.
fn token(set: Option<String>, file: &Path) -> Result<Option<Token>, HubError> {
    let (secret, found) = match set {
        Some(secret) => (secret, "HF_TOKEN".to_owned()),
        None => match std::fs::read_to_string(file) {
            Ok(secret) => (secret, file.display().to_string()),
            Err(_) => return Ok(None),
        },
    };
    let secret = secret.trim().to_owned();
    match secret.bytes().all(|b| b.is_ascii_graphic()) {
        true if secret.is_empty() => Ok(None),
        true => Ok(Some(Token { secret, found })),
        false => Err(HubError::BadToken { found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        let find = |name: &str| {
            let set = variables.iter().find(|(set, _)| *set == name);
            set.map(|(_, value)| OsString::from(value))
        };
        Settings::of(find, Some("/home/someone".into()), None)
    }

    #[test]
    fn the_cache_lies_where_python_looks_for_it() {
        let cache = |variables: &[(&str, &str)]| of(variables).unwrap().cache.path().clone();
        assert_eq!(cache(&[]), Path::new("/home/someone/.cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(
            cache(&[("HF_HOME", "~/hf"), ("XDG_CACHE_HOME", "/x")]),
            Path::new("/home/someone/hf/hub")
        );
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/c")]), Path::new("/c"));
        assert!(cache(&[("HF_HOME", "relative")]).is_absolute());
        let homeless = Settings::of(|_| None, None, None).unwrap_err();
        insta::assert_snapshot!(homeless, @"there is no home folder to keep downloads in: set `HF_HOME` to a folder");
    }

    #[test]
    fn a_token_is_set_or_lies_in_a_file_and_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let (home, other) = (dir.path().to_str().unwrap(), dir.path().join("other"));
        std::fs::write(dir.path().join("token"), "hf_file\n").unwrap();
        std::fs::write(&other, " hf_other ").unwrap();
        let bearer = |variables: &[(&str, &str)]| {
            let settings = of(&[variables, &[("HF_HOME", home)]].concat()).unwrap();
            assert!(!format!("{settings:?}").contains("hf_"), "{settings:?}");
            settings.token.map(|token| token.bearer())
        };
        assert_eq!(bearer(&[]).unwrap(), "Bearer hf_file");
        assert_eq!(bearer(&[("HF_TOKEN", "hf_set")]).unwrap(), "Bearer hf_set");
        assert_eq!(
            bearer(&[("HF_TOKEN_PATH", other.to_str().unwrap())]).unwrap(),
            "Bearer hf_other"
        );
        assert_eq!(bearer(&[("HF_TOKEN_PATH", "/no such file")]), None);
        let two_lines = of(&[("HF_TOKEN", "hf_a\nhf_b")]).unwrap_err();
        insta::assert_snapshot!(two_lines, @"what `HF_TOKEN` holds is not a token: it must be one line without spaces");
    }

    #[test]
    fn an_endpoint_is_an_address_without_secrets() {
        let endpoint = |set: &str| of(&[("HF_ENDPOINT", set)]).map(|settings| settings.endpoint);
        assert_eq!(endpoint("").unwrap(), "https://huggingface.co");
        assert_eq!(endpoint("http://localhost:80/hf/").unwrap(), "http://localhost:80/hf");
        for wrong in ["huggingface.co", "ftp://mirror", "https://me:secret@mirror"] {
            insta::allow_duplicates! {
                insta::assert_snapshot!(endpoint(wrong).unwrap_err(), @"`HF_ENDPOINT` is not the address of a hub: it is written `https://HOST`, and a token goes in `HF_TOKEN`");
            }
        }
    }

    #[test]
    fn offline_is_said_in_the_words_that_python_knows() {
        let mode = |set: &str| of(&[("HF_HUB_OFFLINE", set)]).unwrap().mode;
        for on in ["1", "on", "YES", "True"] {
            assert_eq!(mode(on), Mode::Offline);
        }
        assert_eq!((mode("0"), mode("")), (Mode::Online, Mode::Online));
    }
}
