//! Models, as scenarios and users name them.

use super::*;

#[test]
fn a_folder_is_a_model_and_a_folder_of_folders_is_many() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["scenarios/gate/x.toml", "models/b/config.json", "models/a/config.json"] {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, of("load", "")).unwrap();
    }
    std::fs::create_dir(dir.path().join("models/empty")).unwrap();
    let workspace = Workspace::around(dir.path()).unwrap();
    let names = |own: &[&str]| -> Result<Vec<String>, String> {
        let own: Vec<String> = own.iter().map(ToString::to_string).collect();
        let scenarios = load(&workspace, &["gate/x".into()], &own).map_err(|e| e.to_string())?;
        Ok(scenarios[0].models.iter().map(|known| known.model.name.clone()).collect())
    };
    assert_eq!(names(&[]).unwrap(), ["tiny-qwen3"]);
    assert_eq!(names(&["models/b"]).unwrap(), ["b"]);
    assert_eq!(names(&["tiny-llama", "models/*", "models/b"]).unwrap(), ["tiny-llama", "a", "b"]);

    let complaint = |own: &str| {
        let root = workspace.root().display().to_string();
        names(&[own]).unwrap_err().replace(&root, "ROOT")
    };
    insta::assert_snapshot!(complaint("models/c"), @"`--models models/c`: there is no `ROOT/models/c/config.json`; a repository of Hugging Face is written `hub:models/c`");
    insta::assert_snapshot!(complaint("models/empty/*"), @"`--models models/empty/*`: no folder in `ROOT/models/empty` has a `config.json`");
    insta::assert_snapshot!(complaint("nowhere/*"), @"`--models nowhere/*`: cannot read the folder `ROOT/nowhere`: No such file or directory (os error 2)");
    insta::assert_snapshot!(complaint("tiny-lama"), @"`--models tiny-lama`: unknown model `tiny-lama`, did you mean `tiny-llama`? Models are described in `models.toml`.");
    insta::assert_snapshot!(complaint(""), @"`--models `: the name is empty: write that of a model, or leave this out");
    let far = complaint("zzz");
    assert!(far.starts_with("`--models zzz`: unknown model `zzz`; known: "), "{far}");
    assert!(far.ends_with(", tiny-starcoder2. Models are described in `models.toml`."), "{far}");
}

#[test]
fn a_model_of_a_hub_is_described_by_repository_revision_and_files() {
    let models = |described: &str, own: &[&str]| -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("scenarios")).unwrap();
        std::fs::write(dir.path().join("scenarios/models.toml"), described).unwrap();
        let workspace = Workspace::around(dir.path()).unwrap();
        let own: Vec<String> = own.iter().map(ToString::to_string).collect();
        let found = super::models(&workspace, &own).map_err(|error| error.to_string())?;
        let shown = found.into_iter().map(|model| {
            format!("{}: {}", model.name, serde_json::to_string(&model.source).unwrap())
        });
        Ok(shown.collect())
    };
    let described = "[a]\nrepository = \"someone/tiny\"\n\
                     [b]\nrepository = \"gpt2\"\nrevision = \"v1\"\nfiles = [\"*.json\"]\n\
                     [c]\nrepository = \"someone/tiny\"\ngguf = \"q4.gguf\"\n";
    let own = ["a", "b", "c", "hub:someone/tiny@v1", "hub:gpt2:q/4.gguf"];
    insta::assert_snapshot!(models(described, &own).unwrap().join("\n"), @r#"
    a: {"hub":{"repository":"someone/tiny","revision":"main","files":{"matching":["*.json","*.jinja","model*.safetensors","*_Dense/*.safetensors"]}}}
    b: {"hub":{"repository":"gpt2","revision":"v1","files":{"matching":["*.json"]}}}
    c: {"hub":{"repository":"someone/tiny","revision":"main","files":{"gguf":"q4.gguf"}}}
    someone/tiny@v1: {"hub":{"repository":"someone/tiny","revision":"v1","files":{"matching":["*.json","*.jinja","model*.safetensors","*_Dense/*.safetensors"]}}}
    gpt2:q/4.gguf: {"hub":{"repository":"gpt2","revision":"main","files":{"gguf":"q/4.gguf"}}}
    "#);

    let complaint = |described: &str| models(described, &["a"]).unwrap_err();
    insta::assert_snapshot!(complaint("[a]\nrepository = \"some one/tiny\"\n"), @r#"
    `scenarios/models.toml`, line 2: `some one/tiny` is not the name of a repository: it is written `OWNER/NAME`, as the hub's address has it
      |
    2 | repository = "some one/tiny"
      |              ^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(complaint("[a]\nrepository = \"someone/tiny\"\nrevision = \"../x\"\n"), @r#"
    `scenarios/models.toml`, line 3: `../x` is not a revision: it is a branch, a tag or the hash of a commit
      |
    3 | revision = "../x"
      |            ^^^^^^
    "#);
    insta::assert_snapshot!(complaint("[a]\nrepository = \"someone/tiny\"\nfiles = []\n"), @"
    `scenarios/models.toml`, line 3: `files` names no file: leave it out for all that a model needs
      |
    3 | files = []
      |         ^^
    ");
    insta::assert_snapshot!(complaint("[a]\nrepository = \"someone/tiny\"\ngguf = \"../q4.gguf\"\n"), @r#"
    `scenarios/models.toml`, line 3: `../q4.gguf` is not a GGUF file of a repository: it is written `NAME.gguf` or `FOLDER/NAME.gguf`
      |
    3 | gguf = "../q4.gguf"
      |        ^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(complaint("[a]\nrepository = \"someone/tiny\"\ngguf = \"q4.gguf\"\nfiles = [\"*\"]\n"), @r#"
    `scenarios/models.toml`, line 4: `gguf` is the one file: leave out `files`
      |
    4 | files = ["*"]
      |         ^^^^^
    "#);
    insta::assert_snapshot!(complaint("[a]\nfolder = \"f\"\nrevision = \"v1\"\n"), @"
    `scenarios/models.toml`, line 1: model `a` has `revision` but no `repository` for it to belong to
      |
    1 | [a]
      |  ^
    ");
    insta::assert_snapshot!(complaint("[a]\nrepository = \"someone/tiny\"\nfolder = \"f\"\n"), @"
    `scenarios/models.toml`, line 1: model `a` needs one of `preset`, `folder`, `gguf` and `repository`
      |
    1 | [a]
      |  ^
    ");
    insta::assert_snapshot!(complaint("[a]\nrepositry = \"someone/tiny\"\n"), @r#"
    `scenarios/models.toml`, line 2: unknown key `repositry`, did you mean `repository`?
      |
    2 | repositry = "someone/tiny"
      | ^^^^^^^^^
    "#);
    insta::assert_snapshot!(models("", &["hub:x/y/z"]).unwrap_err(), @"`fetch hub:x/y/z`: `x/y/z` is not the name of a repository: it is written `OWNER/NAME`, as the hub's address has it");
}

#[test]
fn two_folders_of_one_name_are_no_two_models() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["scenarios/gate/x.toml", "a/final/config.json", "b/final/config.json"] {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, of("load", "")).unwrap();
    }
    let workspace = Workspace::around(dir.path()).unwrap();
    let own = ["a/final".to_owned(), "b/final".to_owned()];
    let error = load(&workspace, &["gate/x".into()], &own).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"`--models b/final`: another model is called `final` too: rename a folder");
}

#[test]
fn a_skip_of_a_model_that_the_user_has_replaced_leaves_nothing_out() {
    let skip = "matrix = { batch = [1, 2] }\n\
                skip = [{ when = { model = \"tiny-qwen3\", batch = 2 }, reason = \"r\" }]";
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("scenarios/gate")).unwrap();
    std::fs::write(dir.path().join("scenarios/gate/x.toml"), of("prefill", skip)).unwrap();
    let workspace = Workspace::around(dir.path()).unwrap();
    let cases = |own: &[String]| {
        expand(&load(&workspace, &["gate/x".into()], own).unwrap(), &[], None).cases.len()
    };
    assert_eq!((cases(&[]), cases(&["tiny-llama".into()])), (1, 2));
}
