//! Plans and runs of a model of a hub, and what their records say of it.

use std::fs;
use std::process::Command;

use windtunnel_ledger::case::Source;
use windtunnel_ledger::record::{Failure, Outcome};

use super::server::COMMIT;
use super::{NOWHERE, Place};
use crate::sandbox::FAKE_PROBE;

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
