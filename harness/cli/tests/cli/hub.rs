//! Models of a hub, and a hub that does not always do what it should.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use windtunnel_ledger::case::Source;
use windtunnel_ledger::record::{Failure, Outcome};

use crate::sandbox::{FAKE_PROBE, Said, Sandbox};

mod server;

use server::{COMMIT, Files, Server, What, git, sha256};

const MODEL: &str = "hub:someone/tiny";

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

/// Waits until `holds`, and fails after a minute.
fn wait_until(mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < patience, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_model_is_downloaded_in_the_layout_that_python_reads() {
    let place = Place::new();
    let said = place.fetch();
    insta::assert_snapshot!(place.redacted(&said.out), @"
    someone/tiny
      commit   0123456789abcdef0123456789abcdef01234567
      weights  1.91 MiB
      path     HOME/hub/models--someone--tiny/snapshots/0123456789abcdef0123456789abcdef01234567
    ");
    for (path, contents) in model() {
        let there = place.snapshot().join(path);
        match path {
            ".gitattributes" | "pytorch_model.bin" => assert!(!there.exists(), "{path}"),
            _ => {
                assert_eq!(fs::read(&there).unwrap(), contents, "{path}");
                assert!(fs::read_link(&there).unwrap().is_relative());
            }
        }
    }
    assert_eq!(fs::read_to_string(place.kept().join("refs/main")).unwrap(), COMMIT);
    let mut blobs: Vec<_> = fs::read_dir(place.kept().join("blobs")).unwrap().collect();
    assert_eq!(blobs.drain(..).filter(Result::is_ok).count(), 4);
    let tag = sha256(&weights());
    assert!(place.kept().join("blobs").join(tag).is_file());

    // What is in the cache is not requested again, whatever name is used.
    place.server.asked();
    place.fetch();
    for revision in [COMMIT, "v1"] {
        let said = place.run(&["-q", "fetch", &format!("{MODEL}@{revision}")], &[]);
        assert_eq!(said.code, 0, "{}", said.err);
    }
    let asked = place.server.asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked.iter().all(|asked| asked.path.starts_with("/api/")), "{asked:?}");
}

#[test]
fn what_goes_on_is_told_line_by_line_where_there_is_no_terminal() {
    let place = Place::new();
    let said = place.run(&["fetch", MODEL, "tiny-qwen3"], &[]);
    let mut lines: Vec<_> =
        said.err.lines().map(|line| line.replace(['1', '2', '3', '4'], "N")).collect();
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"), @"
    [N/N] N_Pooling/config.json (N7.0 B)
    [N/N] config.json (N.00 B)
    [N/N] model.safetensors (N.9N MiB)
    [N/N] tokenizer.json (NN.0 B)
    downloading someone/tiny at 0NNNN56789ab: N files, N.9N MiB
    tiny-qwenN is not from a hub: there is nothing to download
    ");
    assert_eq!(said.code, 0);
}

#[test]
fn files_that_python_has_downloaded_are_found_without_the_hub() {
    let place = Place::new();
    place.plant(&model());
    for variables in [("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", NOWHERE)] {
        let said = place.run(&["fetch", MODEL], &[variables]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.out.contains(COMMIT), "{}", said.out);
        let told = said.err.contains("cannot reach `http://127.0.0.1:")
            && said.err.contains(&format!("continuing with {COMMIT} from the cache"));
        assert_eq!(told, variables.0 == "HF_ENDPOINT", "{}", said.err);
    }
    assert_eq!(place.server.asked(), []);
}

/// An address where nobody answers. Its port is reserved for the superuser, so no server of another
/// test can get it.
const NOWHERE: &str = "http://127.0.0.1:9";

#[test]
fn a_cut_connection_goes_on_where_it_broke_off() {
    let place = Place::new();
    place.server.fail("/elsewhere/", What::Cut(700_000), 1).fail("/elsewhere/", What::Cut(1000), 1);
    place.fetch();
    let resumed = [None, Some("bytes=700000-".to_owned()), Some("bytes=701000-".to_owned())];
    assert_eq!(place.server.ranges("model.safetensors"), resumed);
    assert_eq!(fs::read(place.snapshot().join("model.safetensors")).unwrap(), weights());
}

#[test]
fn a_killed_download_goes_on_where_it_was() {
    let place = Place::new();
    place.server.fail("/elsewhere/", What::Hold(1_500_000), 1);
    let mut child = place.command(&["-q", "fetch", MODEL]).stdout(Stdio::null()).spawn().unwrap();
    let partial = place.partial(&weights());
    let come = || fs::metadata(&partial).map_or(0, |meta| meta.len());
    wait_until(|| come() == 1_500_000);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.snapshot().join("model.safetensors").exists());

    place.server.asked();
    place.fetch();
    assert_eq!(place.server.ranges("model.safetensors"), [Some("bytes=1500000-".to_owned())]);
    assert_eq!(fs::read(place.snapshot().join("model.safetensors")).unwrap(), weights());
    assert!(!partial.exists());
}

#[test]
fn a_server_without_ranges_gives_all_of_it_again() {
    let place = Place::new();
    let partial = place.partial(&weights());
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, &weights()[..1_000_000]).unwrap();
    place.server.fail("/elsewhere/", What::Whole, 1);
    place.fetch();
    assert_eq!(place.server.ranges("model.safetensors"), [Some("bytes=1000000-".to_owned())]);
    assert_eq!(fs::read(place.snapshot().join("model.safetensors")).unwrap(), weights());
}

#[test]
fn a_part_that_is_longer_than_the_file_is_no_part_of_it() {
    let place = Place::new();
    let partial = place.partial(&weights());
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, [weights(), weights()].concat()).unwrap();
    place.fetch();
    assert_eq!(place.server.ranges("model.safetensors"), [None]);
    assert_eq!(fs::read(place.snapshot().join("model.safetensors")).unwrap(), weights());
}

#[test]
fn a_part_that_is_all_of_the_file_is_only_checked() {
    let place = Place::new();
    let partial = place.partial(&weights());
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, weights()).unwrap();
    place.fetch();
    assert_eq!(place.server.ranges("model.safetensors"), []);
    assert_eq!(fs::read(place.snapshot().join("model.safetensors")).unwrap(), weights());
}

#[test]
fn what_breaks_off_again_and_again_is_told_and_kept() {
    let place = Place::new();
    place.server.fail("/elsewhere/", What::Cut(1_000_000), 1).fail("/elsewhere/", What::Cut(0), 99);
    insta::assert_snapshot!(place.complaint(MODEL, &[]), @"error: `model.safetensors` of `someone/tiny` breaks off after 977 KiB of 1.91 MiB, 5 times in a row: the part that came is kept, and the next try continues from there");
    let partial = place.partial(&weights());
    assert_eq!(fs::metadata(&partial).unwrap().len(), 1_000_000);
    place.server.heal();
    place.server.asked();
    place.fetch();
    assert_eq!(place.server.ranges("model.safetensors"), [Some("bytes=1000000-".to_owned())]);
}

#[test]
fn contents_that_are_not_what_was_promised_are_deleted_and_told() {
    let place = Place::new();
    place.server.fail("/elsewhere/model", What::Corrupt, 1);
    insta::assert_snapshot!(place.complaint(MODEL, &[]), @"error: `model.safetensors` of `someone/tiny` came with different contents than the hub promised (SHA-256 3b749a05a68e5538aed95aafc899bc05730c31ff52dc0e3e30ff6aff53428290 instead of 67e293d2f868ad1ced9a3296121eaa19d16fcac77425bc6a35a68bcd11a509a9): they were deleted, try again");
    assert!(!place.partial(&weights()).exists());
    place.fetch();
    let place = Place::new();
    place.server.fail("/tokenizer.json", What::Corrupt, 9);
    insta::assert_snapshot!(place.complaint(MODEL, &[]), @"error: `tokenizer.json` of `someone/tiny` came with different contents than the hub promised (git blob 5ca9f101dbb6976cac61aeb6842c712f2fa7fdb7 instead of 8c74a4a34a909633329fcb0bcf365f4568ee93b2): they were deleted, try again");
    place.server.heal();
    place.fetch();
}

#[test]
fn troubles_that_pass_are_waited_for() {
    let place = Place::new();
    place
        .server
        .fail("/api/", What::Status(503, ""), 1)
        .fail("/api/", What::Status(429, "Retry-After: 0\r\n"), 1)
        .fail("/resolve/", What::Status(500, ""), 1)
        .fail("/elsewhere/", What::Status(502, ""), 1);
    place.fetch();
}

#[test]
fn troubles_that_do_not_pass_are_told() {
    let place = Place::new();
    let complaint = |path, what, variables: &[(&str, &str)]| {
        place.server.heal();
        place.server.fail(path, what, 99);
        place.complaint(MODEL, variables)
    };
    insta::assert_snapshot!(complaint("/api/", What::Status(503, ""), &[]), @"error: `HUB` answers 503, 5 times in a row: try again later");
    insta::assert_snapshot!(complaint("/api/", What::Status(429, "Retry-After: 3600\r\n"), &[]), @"error: `HUB` has had too many requests: wait 3600 s, or show it a token in `HF_TOKEN`");
    insta::assert_snapshot!(complaint("/api/", What::Status(429, "Retry-After: 3600\r\n"), &[("HF_TOKEN", "hf_x")]), @"error: `HUB` has had too many requests: wait 3600 s");
    insta::assert_snapshot!(complaint("/api/", What::Silence, &[("HF_HUB_DOWNLOAD_TIMEOUT", "0.2")]), @"error: cannot reach `HUB`: it said nothing for 0.2 s; check the connection and `HF_ENDPOINT`, or set `HF_HUB_OFFLINE=1` to use only what the cache holds");
    insta::assert_snapshot!(complaint("/api/", What::Text("<html>Sign in</html>"), &[]), @"error: `HUB/api/models/someone/tiny/revision/main` answers something other than a list of files: check `HF_ENDPOINT`, and proxies in between");
    insta::assert_snapshot!(complaint("/api/", What::Text("{\"sha\": \"../..\"}"), &[]), @"error: `HUB/api/models/someone/tiny/revision/main` answers with something other than a commit: check `HF_ENDPOINT`, and proxies in between");
    insta::assert_snapshot!(complaint("/api/", What::Text("{\"sha\": \"0123456789abcdef0123456789abcdef01234567\", \"siblings\": [{\"rfilename\": \"../../x\"}]}"), &[]), @"error: `HUB/api/models/someone/tiny/revision/main` answers with a file that would lie elsewhere, `../../x`: check `HF_ENDPOINT`, and proxies in between");
    insta::assert_snapshot!(complaint("/api/", What::Status(302, "Location: /api/models/a\r\n"), &[]), @"error: `HUB/api/models/a` answers with one redirect after the other: check `HF_ENDPOINT`, and proxies in between");
    insta::assert_snapshot!(complaint("/api/", What::Status(302, "Location: nowhere\r\n"), &[]), @"error: `HUB/api/models/someone/tiny/revision/main` answers with a redirect to nowhere: check `HF_ENDPOINT`, and proxies in between");
    insta::assert_snapshot!(complaint("/api/", What::Status(418, ""), &[]), @"error: `HUB/api/models/someone/tiny/revision/main` answers 418 I'm a teapot: check `HF_ENDPOINT`, and proxies in between");
    insta::assert_snapshot!(complaint("/tokenizer.json", What::Status(200, ""), &[]), @"error: `HUB/someone/tiny/resolve/0123456789abcdef0123456789abcdef01234567/tokenizer.json` answers without the tag and the length of the file: check `HF_ENDPOINT`, and proxies in between");
    insta::assert_snapshot!(complaint("/tokenizer.json", What::Status(404, "X-Error-Code: EntryNotFound\r\n"), &[]), @"error: `HUB/someone/tiny/resolve/0123456789abcdef0123456789abcdef01234567/tokenizer.json` is gone, though `someone/tiny` lists it: try again");
    insta::assert_snapshot!(complaint("/elsewhere/", What::Status(403, ""), &[]), @"error: `ELSEWHERE` answers 403, 5 times in a row: try again later");
}

#[test]
fn a_hub_that_cannot_be_reached_is_named_with_the_way_to_do_without() {
    let place = Place::new();
    let complaint = place.complaint(MODEL, &[("HF_ENDPOINT", NOWHERE)]).replace(NOWHERE, "NOWHERE");
    insta::assert_snapshot!(complaint, @"error: cannot reach `NOWHERE`: Connection refused (os error 111); check the connection and `HF_ENDPOINT`, or set `HF_HUB_OFFLINE=1` to use only what the cache holds");
}

#[test]
fn whoever_may_not_read_is_told_what_is_missing() {
    let place = Place::new();
    let token = ("HF_TOKEN", "hf_secret");
    insta::assert_snapshot!(place.complaint("hub:someone/secret", &[]), @"error: `someone/secret` does not exist at `HUB`, or is private: check the name, or store a token that may read it (none was found in `HF_TOKEN` and `HOME/token`)");
    insta::assert_snapshot!(place.complaint("hub:someone/secret", &[token]), @"error: there is no repository `someone/secret` at `HUB`: check owner and name");
    let denied = |status, code, variables: &[(&str, &str)]| {
        place.server.heal();
        place.server.fail("/api/", What::Status(status, code), 1);
        place.complaint(MODEL, variables)
    };
    insta::assert_snapshot!(denied(401, "", &[token]), @"error: `HUB` does not accept the token from `HF_TOKEN` for `someone/tiny`: check the name, or make a new token at `HUB/settings/tokens`");
    insta::assert_snapshot!(denied(401, "X-Error-Code: GatedRepo\r\n", &[]), @"error: `someone/tiny` is gated: ask for access at `HUB/someone/tiny`, and store a token of that account (none was found in `HF_TOKEN` and `HOME/token`)");
    insta::assert_snapshot!(denied(403, "X-Error-Code: GatedRepo\r\n", &[token]), @"error: `someone/tiny` is gated: ask for access at `HUB/someone/tiny` with the account whose token is in `HF_TOKEN`");
    fs::write(place.home.path().join("token"), "hf_secret\n").unwrap();
    insta::assert_snapshot!(denied(403, "", &[]), @"error: `someone/tiny` may not be read: ask for access at `HUB/someone/tiny` with the account whose token is in `HOME/token`");
}

#[test]
fn what_is_not_there_is_told_with_what_was_probably_meant() {
    let place = Place::new();
    insta::assert_snapshot!(place.complaint(&format!("{MODEL}@v2"), &[]), @"error: `someone/tiny` has no revision `v2`: `HUB/someone/tiny/commits/main` shows its commits");
    insta::assert_snapshot!(place.complaint(&format!("{MODEL}:tiny-q4.gguf"), &[]), @"error: no file of `someone/tiny` matches `tiny-q4.gguf`; it has `.gitattributes`, `1_Pooling/config.json`, `config.json`, `model.safetensors`, `pytorch_model.bin`, `tokenizer.json`");
    insta::assert_snapshot!(place.complaint("hub:someone", &[]), @"error: `someone` does not exist at `HUB`, or is private: check the name, or store a token that may read it (none was found in `HF_TOKEN` and `HOME/token`)");
    insta::assert_snapshot!(place.complaint("hub:some one/tiny", &[]), @"error: `fetch hub:some one/tiny`: `some one/tiny` is not the name of a repository: it is written `OWNER/NAME`, as the hub's address has it");
    insta::assert_snapshot!(place.complaint("someone/tiny", &[]).replace(place.sandbox.dir.path().canonicalize().unwrap().to_str().unwrap(), "DIR"), @"error: `fetch someone/tiny`: there is no `DIR/someone/tiny/config.json`; a repository of Hugging Face is written `hub:someone/tiny`");
    let files = vec![("tiny-q4_k_m.gguf", b"GGUF".to_vec()), ("README.md", b"#".to_vec())];
    let place = Place::with(files);
    insta::assert_snapshot!(place.complaint(&format!("{MODEL}:tiny-q4_0.gguf"), &[]), @"error: no file of `someone/tiny` matches `tiny-q4_0.gguf`, did you mean `tiny-q4_k_m.gguf`?");
    insta::assert_snapshot!(place.complaint(MODEL, &[]), @"error: `someone/tiny` holds no model that can be read: it has GGUF files, so name one of them, as in `hub:someone/tiny:tiny-q4_k_m.gguf` (there is `tiny-q4_k_m.gguf`)");
}

#[test]
fn offline_only_the_cache_counts() {
    let place = Place::new();
    let offline = [("HF_HUB_OFFLINE", "1")];
    insta::assert_snapshot!(place.complaint(MODEL, &offline), @"error: someone/tiny at main is not in the cache `HOME/hub`, and `HF_HUB_OFFLINE` is set: unset it, or download it elsewhere");
    place.plant(&model());
    fs::remove_file(place.snapshot().join("model.safetensors")).unwrap();
    insta::assert_snapshot!(place.complaint(MODEL, &offline), @"error: someone/tiny at main is not in the cache `HOME/hub` as a whole (`model.safetensors` is missing), and `HF_HUB_OFFLINE` is set: unset it, or download it elsewhere");
    assert_eq!(place.server.asked(), []);
}

#[test]
fn a_full_disk_is_told_before_and_while_files_come() {
    let place = Place::new();
    place.server.fail("/resolve/", What::Huge("4000000000000000000"), 99);
    let complaint = place.complaint(MODEL, &[]);
    let (before, after) = complaint.split_once(" are to come, ").unwrap();
    insta::assert_snapshot!(before, @"error: the disk of `HOME/hub` is full: 3637979 TiB");
    let (_, after) = after.split_once(" are free").unwrap();
    insta::assert_snapshot!(after, @"; make room, or set `HF_HOME` to another disk");
    assert_eq!(place.server.ranges("model.safetensors"), []);

    place.server.heal();
    let partial = place.partial(&weights());
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
    let complaint = place.complaint(MODEL, &[]);
    assert!(complaint.starts_with("error: the disk of `HOME/hub/models--someone--tiny/blobs` is full: 1.91 MiB are to come"), "{complaint}");
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let place = Place::new();
    fs::write(place.home.path().join("hub"), "no folder").unwrap();
    insta::assert_snapshot!(place.complaint(MODEL, &[]), @"error: cannot write `HOME/hub/models--someone--tiny/blobs`: Not a directory (os error 20)");
}

#[test]
fn settings_that_make_no_sense_are_told() {
    let place = Place::new();
    insta::assert_snapshot!(place.complaint(MODEL, &[("HF_ENDPOINT", "huggingface.co")]), @"error: `HF_ENDPOINT` is not the address of a hub: it is written `https://HOST`, and a token goes in `HF_TOKEN`");
    insta::assert_snapshot!(place.complaint(MODEL, &[("HF_TOKEN", "hf_ secret")]), @"error: what `HF_TOKEN` holds is not a token: it must be one line without spaces");
}

#[test]
fn a_token_is_shown_to_the_hub_alone_and_to_nobody_else() {
    let place = Place::new();
    let token = ("HF_TOKEN", "hf_very_secret");
    let args = ["run", "test/fake", "--probe", FAKE_PROBE, "--out", "run.jsonl"];
    let said = place.run(&args, &[token]);
    assert_eq!(said.code, 0, "{}", said.err);
    let asked = place.server.asked();
    let (elsewhere, hub): (Vec<_>, Vec<_>) = asked.into_iter().partition(|asked| asked.elsewhere);
    assert_eq!((elsewhere.len(), hub.len()), (1, 9), "{hub:?}");
    assert!(
        hub.iter().all(|asked| asked.authorization.as_deref() == Some("Bearer hf_very_secret"))
    );
    assert!(elsewhere.iter().all(|asked| asked.authorization.is_none()));

    let mut said = said.out + &said.err;
    for file in ["run.jsonl", "run.log", "report.html"] {
        said += &fs::read_to_string(place.sandbox.path(file)).unwrap();
    }
    assert!(!said.contains("hf_very_secret") && !said.contains("a-secret"));
}

#[test]
fn a_repository_that_was_renamed_is_followed_with_the_token() {
    let place = Place::new();
    let token = ("HF_TOKEN", "hf_secret");
    let said = place.run(&["-q", "fetch", "hub:someone/renamed"], &[token]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let asked = place.server.asked();
    let shown = |asked: &server::Asked| asked.authorization.is_some();
    assert!(asked.iter().all(|asked| asked.elsewhere || shown(asked)), "{asked:?}");
    let there = place.home.path().join("hub/models--someone--renamed/snapshots").join(COMMIT);
    assert_eq!(fs::read(there.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn a_connection_is_safe_or_there_is_none() {
    let place = Place::new();
    let (address, certificate) = server::encrypted();
    let file = place.home.path().join("authority.pem");
    fs::write(&file, certificate).unwrap();
    let complaint = |variables: &[(&str, &str)]| {
        let variables = [variables, &[("HF_ENDPOINT", &address)]].concat();
        place.complaint(MODEL, &variables).replace(&address, "SAFE-HUB")
    };
    insta::assert_snapshot!(complaint(&[]), @"error: no safe connection to `SAFE-HUB`: invalid peer certificate: UnknownIssuer; if a proxy intercepts TLS, set `SSL_CERT_FILE` to the certificates of its owner");
    // With a trusted certificate the hub's answer arrives.
    let trusted = [("SSL_CERT_FILE", file.to_str().unwrap())];
    insta::assert_snapshot!(complaint(&trusted), @"error: there is no repository `someone/tiny` at `SAFE-HUB`: check owner and name");
    insta::assert_snapshot!(complaint(&[("SSL_CERT_FILE", "/dev/null")]), @"error: `/dev/null`, which `SSL_CERT_FILE` names, holds no certificate: it must be a PEM file");
}

#[test]
fn two_processes_download_a_file_once() {
    let place = Place::new();
    place.server.fail("/elsewhere/", What::Hold(1_000_000), 1);
    let fetch = || {
        place
            .command(&["fetch", MODEL])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let first = fetch();
    let partial = place.partial(&weights());
    wait_until(|| fs::metadata(&partial).is_ok_and(|meta| meta.len() == 1_000_000));
    let mut second = fetch();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(second.stderr.take().unwrap()));
    assert!(
        lines
            .by_ref()
            .flatten()
            .any(|line| line == "waiting for model.safetensors, which another process downloads")
    );
    place.server.release();
    for line in lines {
        line.unwrap();
    }
    let codes = [first.wait_with_output().unwrap().status, second.wait().unwrap()];
    assert!(codes.iter().all(|code| code.success()));
    assert_eq!(place.server.ranges("model.safetensors"), [None]);
    assert_eq!(fs::read(place.snapshot().join("model.safetensors")).unwrap(), weights());
}

#[test]
fn a_split_file_is_downloaded_with_all_its_parts() {
    let part = |no: u8| vec![no; 1000];
    let names = ["q/tiny-00001-of-00002.gguf", "q/tiny-00002-of-00002.gguf"];
    let place =
        Place::with(vec![(names[0], part(1)), (names[1], part(2)), ("other.gguf", part(3))]);
    let said = place.run(&["-q", "fetch", &format!("{MODEL}@v1:{}", names[0])], &[]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(place.redacted(&said.out), @"
    someone/tiny@v1:q/tiny-00001-of-00002.gguf
      commit   0123456789abcdef0123456789abcdef01234567
      weights  1.95 KiB
      path     HOME/hub/models--someone--tiny/snapshots/0123456789abcdef0123456789abcdef01234567/q/tiny-00001-of-00002.gguf
    ");
    for (name, no) in names.iter().zip(1..) {
        assert_eq!(fs::read(place.snapshot().join(name)).unwrap(), part(no));
    }
    assert!(!place.snapshot().join("other.gguf").exists());
}

#[test]
fn a_record_names_the_commit_and_a_probe_is_handed_the_folder() {
    let place = Place::new();
    let run = |out: &str, extra: &[&str]| {
        let args = ["-q", "run", "test/fake", "--probe", FAKE_PROBE, "--out", out];
        place.run(&[&args[..], extra].concat(), &[])
    };
    assert_eq!(run("run.jsonl", &[]).code, 0);
    let contents = place.sandbox.contents();
    assert_eq!(contents.records.len(), 2);
    let cases = contents.records.iter().map(|record| &record.case);
    for case in cases.chain(contents.run.cases.iter().map(|planned| &planned.case)) {
        assert_eq!(case.id.as_str(), "test/fake/someone/tiny/attention=fine,output=4");
        assert_eq!((case.scenario(), case.axes()), ("test/fake", "attention=fine,output=4"));
        let Source::Hub(snapshot) = &case.model.source else { panic!("{:?}", case.model) };
        assert_eq!(
            (snapshot.repository.as_str(), snapshot.revision.as_str()),
            ("someone/tiny", COMMIT)
        );
    }

    let report = fs::read_to_string(place.sandbox.path("report.html")).unwrap();
    assert!(report.contains("someone/tiny at 0123456789ab"));

    // The shell line that repeats a round needs neither hub nor variables.
    let command = &contents.records[0].command;
    let folder = place.snapshot().display().to_string();
    assert!(command.contains(&format!("\"source\":{{\"folder\":\"{folder}\"}}")), "{command}");
    let output = Command::new("sh")
        .arg("-c")
        .arg(command)
        .current_dir(place.sandbox.dir.path())
        .output()
        .unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("{\"end\":"));

    let told_where = "workload = \"decode\"\nmodels = [\"mine\", \"file\"]\nrounds = 1\n\
                      matrix = { attention = [\"told-where\"] }\n";
    fs::write(place.sandbox.path("scenarios/test/fake.toml"), told_where).unwrap();
    let models = format!(
        "[mine]\nrepository = \"someone/tiny\"\nrevision = \"v1\"\nfiles = [\"config.json\", \"*.safetensors\"]\n\
         [file]\nfolder = \"{folder}\"\n"
    );
    fs::write(place.sandbox.path("scenarios/models.toml"), models).unwrap();
    assert_eq!(run("other.jsonl", &[]).code, 5);
    let contents = windtunnel_ledger::store::read(&place.sandbox.path("other.jsonl")).unwrap();
    for record in contents.records {
        let Outcome::Failed(Failure::Engine { error }) = record.outcome else { panic!() };
        assert_eq!(error, format!("Folder({folder:?})"));
    }
}

#[test]
fn a_plan_tells_what_is_still_to_come_and_downloads_nothing() {
    let place = Place::new();
    let list = |variables: &[(&str, &str)]| {
        let said = place.run(&["list", "test/fake"], variables);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        place.redacted(&said.out)
    };
    insta::assert_snapshot!(list(&[]), @"
      case                                             rounds      time      memory
    ─────────────────────────────────────────────────────────────────────────────────
      test/fake/someone/tiny/attention=fine,output=4        2   unknown   ~1.91 MiB

    models of the hub:
      someone/tiny at 0123456789ab: not downloaded yet, 1.91 MiB to come

    1 case, 0 skipped, 0 left out by the filter. Time unknown, memory ~1.91 MiB at most.
    ");
    assert_eq!(place.server.asked().len(), 1);
    assert!(!place.home.path().join("hub").exists());
    insta::assert_snapshot!(list(&[("HF_ENDPOINT", NOWHERE)]).replace(NOWHERE, "NOWHERE"), @"
      case                                             rounds      time    memory
    ───────────────────────────────────────────────────────────────────────────────
      test/fake/someone/tiny/attention=fine,output=4        2   unknown   unknown

    models of the hub:
      someone/tiny at main: cannot reach `NOWHERE`: Connection refused (os error 111); check the connection and `HF_ENDPOINT`, or set `HF_HUB_OFFLINE=1` to use only what the cache holds

    1 case, 0 skipped, 0 left out by the filter. Time unknown, memory unknown.
    ");
    place.fetch();
    insta::assert_snapshot!(list(&[]), @"
      case                                             rounds      time      memory
    ─────────────────────────────────────────────────────────────────────────────────
      test/fake/someone/tiny/attention=fine,output=4        2   unknown   ~1.91 MiB

    models of the hub:
      someone/tiny at 0123456789ab: downloaded, 1.91 MiB of weights

    1 case, 0 skipped, 0 left out by the filter. Time unknown, memory ~1.91 MiB at most.
    ");
    assert_eq!(list(&[("HF_HUB_OFFLINE", "1")]), list(&[]));
}

#[test]
fn a_run_that_goes_on_finds_its_commit_again() {
    let place = Place::new();
    let args = ["-q", "run", "test/fake", "--probe", FAKE_PROBE, "--out", "run.jsonl"];
    assert_eq!(place.run(&args, &[]).code, 0);
    // As if it had been killed before its last round, and the cache emptied since.
    let text = fs::read_to_string(place.sandbox.path("run.jsonl")).unwrap();
    let (before, _) = text.trim_end().rsplit_once('\n').unwrap();
    fs::write(place.sandbox.path("run.jsonl"), format!("{before}\n")).unwrap();
    fs::remove_dir_all(place.home.path().join("hub")).unwrap();
    place.server.asked();
    let said = place.run(&["-q", "run", "--resume", "run.jsonl"], &[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(place.sandbox.contents().records.len(), 2);
    let asked = place.server.asked();
    assert!(asked[0].path.contains(&format!("/revision/{COMMIT}")), "{asked:?}");
    assert!(place.snapshot().join("model.safetensors").exists());
}
