//! Models of a hub, and a hub that does not always do what it should.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::{Said, Sandbox};

mod complaining;
mod downloading;
mod running;
mod server;

use server::{COMMIT, Files, Server, git, sha256};

const MODEL: &str = "hub:someone/tiny";

/// An address where nobody answers. Its port is reserved for the superuser, so no server of another
/// test can get it.
const NOWHERE: &str = "http://127.0.0.1:9";

/// Environment variables that would change a download.
const VARIABLES: [&str; 20] = [
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HUB_OFFLINE",
    "HF_HUB_DOWNLOAD_TIMEOUT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY_AUTH",
    "HUGGING_FACE_HUB_TOKEN",
    "XDG_CACHE_HOME",
    "SSL_CERT_FILE",
];

/// A hub, and a home directory for its downloads.
struct Place {
    server: Server,
    home: tempfile::TempDir,
    sandbox: Sandbox,
}

impl Place {
    /// With a hub that has `files`.
    fn with(files: Files) -> Place {
        let sandbox = Sandbox::with(
            "workload = \"decode\"\nmodels = [\"hub:someone/tiny\"]\nrounds = 2\n\
             matrix = { attention = [\"fine\"], output = [4] }\n",
        );
        Place { server: Server::start(files), home: tempfile::tempdir().unwrap(), sandbox }
    }

    fn new() -> Place {
        Place::with(model())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.command(args);
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command.env("XDG_CACHE_HOME", self.sandbox.cache.path());
        command.env("HF_ENDPOINT", &self.server.address).env("HF_HOME", self.home.path());
        command
    }

    fn run(&self, args: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = self.command(args);
        command.envs(variables.iter().copied());
        Said::from(command.output().unwrap())
    }

    /// Downloads the model, which must succeed.
    fn fetch(&self) -> Said {
        let said = self.run(&["-q", "fetch", MODEL], &[]);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        said
    }

    /// The error of `fetch`, without what differs from run to run.
    fn complaint(&self, model: &str, variables: &[(&str, &str)]) -> String {
        let said = self.run(&["-q", "fetch", model], variables);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{}", said.err);
        self.redacted(&said.err)
    }

    fn redacted(&self, text: &str) -> String {
        text.replace(&self.server.address, "HUB")
            .replace(self.server.elsewhere(), "ELSEWHERE")
            .replace(self.home.path().to_str().unwrap(), "HOME")
    }

    fn kept(&self) -> PathBuf {
        self.home.path().join("hub/models--someone--tiny")
    }

    fn snapshot(&self) -> PathBuf {
        self.kept().join("snapshots").join(COMMIT)
    }

    /// The partial download of these contents.
    fn partial(&self, contents: &[u8]) -> PathBuf {
        self.kept().join(format!("blobs/{}.incomplete", sha256(contents)))
    }

    /// Puts files into the cache without the hub, as the Python library would.
    fn plant(&self, files: &Files) {
        for (path, contents) in files {
            let blob = self.kept().join("blobs").join(git(contents));
            let link = self.snapshot().join(path);
            fs::create_dir_all(blob.parent().unwrap()).unwrap();
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            fs::write(&blob, contents).unwrap();
            std::os::unix::fs::symlink(Path::new("../../blobs").join(git(contents)), &link)
                .unwrap();
        }
        fs::create_dir_all(self.kept().join("refs")).unwrap();
        fs::write(self.kept().join("refs/main"), COMMIT).unwrap();
    }
}

/// Two megabytes without repetition.
fn weights() -> Vec<u8> {
    (0..500_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn model() -> Files {
    vec![
        (".gitattributes", b"*.safetensors lfs".to_vec()),
        ("1_Pooling/config.json", b"{\"pooling\": true}".to_vec()),
        ("config.json", b"{}".to_vec()),
        ("model.safetensors", weights()),
        ("pytorch_model.bin", b"the same once more".to_vec()),
        ("tokenizer.json", b"{\"model\": {}}".to_vec()),
    ]
}
