//! What a download leaves in the cache, and how one that breaks off goes on.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::server::{Asked, COMMIT, What, sha256};
use super::{MODEL, NOWHERE, Place, model, weights};

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
fn a_repository_that_was_renamed_is_followed_with_the_token() {
    let place = Place::new();
    let token = ("HF_TOKEN", "hf_secret");
    let said = place.run(&["-q", "fetch", "hub:someone/renamed"], &[token]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let asked = place.server.asked();
    let shown = |asked: &Asked| asked.authorization.is_some();
    assert!(asked.iter().all(|asked| asked.elsewhere || shown(asked)), "{asked:?}");
    let there = place.home.path().join("hub/models--someone--renamed/snapshots").join(COMMIT);
    assert_eq!(fs::read(there.join("model.safetensors")).unwrap(), weights());
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

/// Waits until `holds`, and fails after a minute.
fn wait_until(mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < patience, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}
