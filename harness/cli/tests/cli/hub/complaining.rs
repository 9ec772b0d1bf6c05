//! What is told when a hub, a name, the cache or a setting stands in the way of a download.

use std::fs;

use super::server::{What, encrypted};
use super::{MODEL, NOWHERE, Place, model, weights};

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
fn a_connection_is_safe_or_there_is_none() {
    let place = Place::new();
    let (address, certificate) = encrypted();
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
