//! A cloud bucket in which sessions are kept.
//!
//! A file is sent in one request that fails if the name is taken: the service decides between
//! concurrent writers, and a broken connection leaves nothing behind.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::{Path, PathPart};
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, RetryConfig,
};
use tokio::runtime::{Builder, Runtime};

use super::shelf::{Placed, Shelf};

/// How often a failed request is retried, and for how long at most: someone is waiting at a
/// terminal.
const RETRIES: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);

/// The part of a bucket below a prefix.
pub(crate) struct Bucket {
    store: Box<dyn ObjectStore>,
    /// The prefix of all names.
    prefix: Path,
    url: String,
    runtime: Runtime,
}

impl Bucket {
    /// The bucket and prefix of `url`. Credentials come from the environment, read as the cloud's
    /// own tools read them; `options` override it.
    pub(crate) fn new(url: &str, options: &BTreeMap<String, String>) -> Result<Bucket> {
        let place = || format!("`{url}` is not a bucket");
        let parsed = url::Url::parse(url).with_context(place)?;
        check(parsed.scheme(), options)?;
        let prefix = Path::from_url_path(parsed.path()).with_context(place)?;
        let store = store(&parsed, environment().chain(options.clone())).with_context(place)?;
        Bucket::of(store, prefix, url)
    }

    fn of(store: Box<dyn ObjectStore>, prefix: Path, url: &str) -> Result<Bucket> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot prepare to talk to a bucket")?;
        Ok(Bucket { store, prefix, url: url.trim_end_matches('/').to_owned(), runtime })
    }

    fn path(&self, name: &str) -> Path {
        // Unchanged, so that listing returns the same name; only characters that no name may hold
        // are encoded.
        let part = |part| PathPart::parse(part).unwrap_or_else(|_| PathPart::from(part));
        self.prefix.parts().chain(name.split('/').map(part)).collect()
    }
}

/// The service behind `url`. Options of other clouds are ignored.
fn store(
    url: &url::Url,
    options: impl Iterator<Item = (String, String)>,
) -> Result<Box<dyn ObjectStore>, Error> {
    let retry =
        RetryConfig { max_retries: RETRIES, retry_timeout: PATIENCE, ..RetryConfig::default() };
    // The clouds' builders are alike but share no trait.
    macro_rules! built {
        ($builder:ty) => {{
            let builder = <$builder>::new().with_url(url.as_str()).with_retry(retry);
            let with = |builder: $builder, (key, value): (String, String)| match key.parse() {
                Ok(key) => builder.with_config(key, value),
                Err(_) => builder,
            };
            Box::new(options.fold(builder, with).build()?)
        }};
    }
    Ok(match url.scheme() {
        "s3" => built!(AmazonS3Builder),
        "gs" => built!(GoogleCloudStorageBuilder),
        _ => built!(MicrosoftAzureBuilder),
    })
}

/// Flattens an error of the library: each of its causes repeats the others, so only the outermost
/// and the root are kept.
fn plain(error: Error) -> anyhow::Error {
    let said = error.to_string();
    let root = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
    match root.last().map(ToString::to_string).filter(|root| !said.contains(root.as_str())) {
        Some(root) => anyhow!("{said}: {root}"),
        None => anyhow!("{said}"),
    }
}

/// Rejects options that this kind of bucket does not have: they would be ignored.
fn check(scheme: &str, options: &BTreeMap<String, String>) -> Result<()> {
    let is_known = |key: &String| match scheme {
        "s3" => key.parse::<AmazonS3ConfigKey>().is_ok(),
        "gs" => key.parse::<GoogleConfigKey>().is_ok(),
        _ => key.parse::<AzureConfigKey>().is_ok(),
    };
    match options.keys().find(|key| !is_known(key)) {
        Some(key) => bail!("`baselines/store.toml`: `{scheme}://` has no option `{key}`"),
        None => Ok(()),
    }
}

/// The cloud variables of the environment: credentials are kept there and belong in no file.
fn environment() -> impl Iterator<Item = (String, String)> {
    let clouds = ["AWS_", "GOOGLE_", "AZURE_"];
    std::env::vars_os().filter_map(move |(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        clouds.iter().any(|cloud| name.starts_with(cloud)).then(|| (name.to_lowercase(), value))
    })
}

impl Shelf for Bucket {
    fn list(&self) -> Result<Vec<String>> {
        use futures_util::TryStreamExt as _;
        let prefix = Some(&self.prefix).filter(|prefix| !prefix.is_root());
        let found = self.runtime.block_on(self.store.list(prefix).try_collect::<Vec<_>>());
        let found = found.map_err(plain).with_context(|| format!("cannot list `{}`", self.url))?;
        let name = |location: &Path| {
            let parts = location.prefix_match(&self.prefix)?;
            let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
            Some(parts.join("/"))
        };
        Ok(found.iter().filter_map(|object| name(&object.location)).collect())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let read = async { self.store.get(&self.path(name)).await?.bytes().await };
        let bytes = self.runtime.block_on(read);
        let bytes = bytes.map_err(plain);
        let bytes = bytes.with_context(|| format!("cannot read `{}`", self.place(name)))?;
        Ok(bytes.to_vec())
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Placed> {
        let (path, payload) = (self.path(name), PutPayload::from(bytes.to_vec()));
        let put = || {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            self.runtime.block_on(self.store.put_opts(&path, payload.clone(), options))
        };
        let is_there = || self.runtime.block_on(self.store.head(&path)).is_ok();
        let mut tries = 0;
        loop {
            tries += 1;
            match put() {
                Ok(_) => return Ok(Placed::Now),
                Err(Error::AlreadyExists { .. }) => return Ok(Placed::Before),
                // The connection broke. Some services refuse before reading everything and hang up,
                // which looks the same; repeating a create request does no harm.
                Err(Error::Generic { .. }) if is_there() => return Ok(Placed::Before),
                Err(Error::Generic { .. }) if tries <= RETRIES => (),
                Err(error) => {
                    let error = Err(plain(error));
                    return error.with_context(|| format!("cannot write `{}`", self.place(name)));
                }
            }
        }
    }

    fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::shelf::behaves;

    #[test]
    fn what_is_no_bucket_is_told() {
        let complaint = |url: &str| match Bucket::new(url, &BTreeMap::new()) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(complaint("s3://"), "`s3://` is not a bucket");
        assert_eq!(complaint("az://"), "`az://` is not a bucket");
        let options = [("regoin".to_owned(), "x".to_owned())].into();
        let unknown = Bucket::new("s3://team/x", &options).err().map(|error| error.to_string());
        let expected = "`baselines/store.toml`: `s3://` has no option `regoin`";
        assert_eq!(unknown.as_deref(), Some(expected));
    }

    #[test]
    fn a_bucket_behaves_as_a_shelf_does() {
        let store = Box::new(object_store::memory::InMemory::new());
        behaves(&Bucket::of(store, Path::from("base/lines"), "s3://team/base/lines").unwrap());
    }

    #[test]
    fn names_are_below_the_prefix() {
        let bucket = Bucket::new("s3://team/base/lines/", &BTreeMap::new()).unwrap();
        assert_eq!(bucket.path("a/b.jsonl").as_ref(), "base/lines/a/b.jsonl");
        assert_eq!(bucket.place("a/b.jsonl"), "s3://team/base/lines/a/b.jsonl");
    }
}
