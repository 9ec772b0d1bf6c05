//! The doctor's diagnosis of the machine that runs these tests; as machines differ, only its frame
//! is checked.

use std::fs;

use crate::sandbox::Sandbox;

#[test]
fn a_folder_without_sources_and_probes_can_measure_nothing_and_one_with_a_probe_can() {
    let sandbox = Sandbox::new(&["fine"]);
    let said = sandbox.run(&["doctor", "--quick"]);
    assert_eq!(said.code, 4, "{}", said.out);
    assert!(said.out.contains("✗ stops     no sources of the probe"), "{}", said.out);
    let last = said.out.lines().last().unwrap();
    assert!(last.starts_with("1 stops, ") && last.contains(": nothing can be measured"), "{last}");
    assert_eq!(said.err, "", "nothing is measured, so nothing is waited for");

    assert_eq!(sandbox.measure().code, 0);
    let said = sandbox.run(&["doctor", "--quick"]);
    assert_eq!(said.code, 0, "{}", said.out);
    assert!(said.out.contains("1 probe of earlier runs: only ready probes"), "{}", said.out);
}

#[test]
fn where_records_cannot_be_written_nothing_can_be_measured() {
    let sandbox = Sandbox::new(&["fine"]);
    assert_eq!(sandbox.measure().code, 0);
    fs::write(sandbox.path("reports"), "a file in the place of the folder").unwrap();
    let said = sandbox.run(&["doctor", "--quick", "--json"]);
    assert_eq!(said.code, 4, "{}", said.out);
    let document: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&document["can_measure"], &document["noise"]), (&false.into(), &().into()));
    let worst = &document["findings"][0];
    assert_eq!((&worst["check"], &worst["severity"]), (&"reports".into(), &"stops".into()));
    assert!(worst["found"].as_str().unwrap().ends_with("is not a folder)"), "{worst}");
}

#[test]
fn the_cache_of_the_hub_is_where_downloads_go() {
    let sandbox = Sandbox::new(&["fine"]);
    let cache = sandbox.path("kept");
    fs::create_dir(&cache).unwrap();
    let mut command = sandbox.command(&["doctor", "--quick", "--json"]);
    // The variable's older name, which all other commands read too.
    command.env_remove("HF_HUB_CACHE").env("HUGGINGFACE_HUB_CACHE", &cache);
    let out = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(out.contains(&format!("hub cache `{}` (", cache.display())), "{out}");
}
