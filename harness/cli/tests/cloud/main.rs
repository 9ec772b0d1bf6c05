//! Sessions in a bucket: the command against a server that speaks S3.

#![expect(clippy::disallowed_methods, reason = "these tests start the program that they test")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../cli/sandbox.rs"]
#[expect(dead_code, reason = "the other tests use more of it")]
mod sandbox;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use windtunnel_ledger::baseline::{Session, sessions_of};
use windtunnel_ledger::record::RunId;
use windtunnel_ledger::store::Contents;
use windtunnel_ledger::upstream::Hash;

use sandbox::{Said, Sandbox};
use server::{Manners, Server};

/// The number of concurrent uploaders.
const WRITERS: usize = 20;
/// How much the server reads of a larger body before it stalls, and the size of such a body, which
/// exceeds what the system buffers.
const STALLS_AT: usize = 1 << 20;
const LARGE: usize = 24 << 20;

/// A server that answers its first `together` lists at the same time.
fn server(together: usize) -> (Server, Receiver<()>) {
    let (stalled, stalls) = channel();
    let manners = Manners {
        together: Arc::new(Barrier::new(together.max(1))),
        lists: Mutex::new(together),
        stalls_at: STALLS_AT,
        stalled: Mutex::new(stalled),
    };
    (Server::start(manners), stalls)
}

/// The records that a fake probe left of one case.
fn measured() -> Contents {
    let sandbox = Sandbox::new(&["fine"]);
    assert_eq!(sandbox.measure().code, 0);
    sandbox.contents()
}

/// The session that the same measurement would have made at another time.
fn session(contents: &Contents, time: &str, command: &str) -> Session {
    let mut contents = contents.clone();
    contents.run.id = RunId(format!("{time}-test"));
    contents.run.command = command.to_owned();
    contents.records.iter_mut().for_each(|record| record.run = contents.run.id.clone());
    let upstream = Hash::try_from("aaaaaaaaa".to_owned()).unwrap();
    sessions_of(&contents, &contents.run.subjects[0], &upstream).remove(0)
}

/// A workspace with `sessions` that shares them through a bucket on `server`.
fn workspace(server: &Server, sessions: &[&Session]) -> Sandbox {
    let sandbox = Sandbox::new(&["fine"]);
    for session in sessions {
        let path = sandbox.path("baselines").join(session.key.to_string());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, session.text()).unwrap();
    }
    let endpoint = &server.endpoint;
    fs::create_dir_all(sandbox.path("baselines")).unwrap();
    fs::write(
        sandbox.path("baselines/store.toml"),
        format!(
            "url = \"s3://team/wind/tunnel\"\noptions = {{ endpoint = \"{endpoint}\", region = \"here\", allow_http = \"true\" }}\n"
        ),
    )
    .unwrap();
    sandbox
}

fn command(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.command(&[&["-q", "baseline"], args].concat());
    command.env("AWS_ACCESS_KEY_ID", "someone").env("AWS_SECRET_ACCESS_KEY", "secret");
    command
}

fn baseline(sandbox: &Sandbox, args: &[&str]) -> Said {
    Said::from(command(sandbox, args).output().unwrap())
}

fn start(sandbox: &Sandbox, args: &[&str]) -> Child {
    command(sandbox, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The objects below the bucket's prefix, with their bytes.
fn objects(server: &Server) -> BTreeMap<String, Vec<u8>> {
    let state = server.state.lock().unwrap();
    let own = |(path, bytes): (&String, &Vec<u8>)| {
        (path.strip_prefix("team/wind/tunnel/").unwrap().to_owned(), bytes.clone())
    };
    state.objects.iter().map(own).collect()
}

#[test]
fn twenty_writers_and_a_kill_lose_nothing_and_double_nothing() {
    let contents = measured();
    let (server, stalls) = server(WRITERS);
    let shared: Vec<Session> =
        (0..5).map(|n| session(&contents, &format!("20260105T00000000{n}Z"), "shared")).collect();
    let own: Vec<Vec<Session>> = (0..WRITERS)
        .map(|writer| {
            let of = |n| session(&contents, &format!("20260102T0000{writer:02}00{n}Z"), "own");
            (0..3).map(of).collect()
        })
        .collect();
    // First in order of names: the process is killed while sending it, before sending anything
    // else.
    let large = session(&contents, "20260101T000000000Z", &"x".repeat(LARGE));
    let workspaces: Vec<Sandbox> = own
        .iter()
        .enumerate()
        .map(|(writer, own)| {
            let large = (writer == 0).then_some(&large);
            workspace(&server, &own.iter().chain(&shared).chain(large).collect::<Vec<_>>())
        })
        .collect();

    let mut writers: Vec<Child> = workspaces.iter().map(|one| start(one, &["push"])).collect();
    stalls.recv_timeout(Duration::from_secs(120)).unwrap();
    let mut killed = writers.remove(0);
    killed.kill().unwrap();
    killed.wait().unwrap();
    for writer in writers {
        let said = Said::from(writer.wait_with_output().unwrap());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    }

    let text = |session: &Session| (session.key.to_string(), session.text().into_bytes());
    let survivors = own[1..].iter().flatten().chain(&shared);
    let expected: BTreeMap<String, Vec<u8>> = survivors.map(text).collect();
    assert_eq!(expected.len(), 19 * 3 + 5);
    assert!(
        objects(&server) == expected,
        "each is there once, whole, and no half of the large one"
    );
    let refused = server.state.lock().unwrap().refused;
    assert!(
        refused >= 18 * 5,
        "nineteen asked for the place of each shared one: {refused} refusals"
    );

    // The killed upload is repeated, without the object that made it take so long.
    fs::remove_file(workspaces[0].path("baselines").join(large.key.to_string())).unwrap();
    let said = baseline(&workspaces[0], &["push"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let expected: BTreeMap<String, Vec<u8>> =
        own.iter().flatten().chain(&shared).map(text).collect();
    assert!(objects(&server) == expected);

    let newcomer = workspace(&server, &[]);
    let said = baseline(&newcomer, &["pull"]);
    assert!(said.out.starts_with("65 sessions copied from"), "{}{}", said.out, said.err);
    let verified = baseline(&newcomer, &["verify"]);
    assert!(verified.out.starts_with("65 sessions with"), "{}{}", verified.out, verified.err);
    let again = baseline(&newcomer, &["push"]);
    assert!(again.out.starts_with("0 sessions copied to"), "{}", again.out);
}

#[test]
fn a_killed_upload_leaves_no_half_of_an_object() {
    let contents = measured();
    let (server, stalls) = server(0);
    let large = session(&contents, "20260101T000000000Z", &"x".repeat(LARGE));
    let sandbox = workspace(&server, &[&large]);
    let mut child = start(&sandbox, &["push"]);
    stalls.recv_timeout(Duration::from_secs(120)).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let patience = std::time::Instant::now() + Duration::from_secs(60);
    while server.state.lock().unwrap().broken_off == 0 && std::time::Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.state.lock().unwrap().broken_off, 1, "the server saw the end of it");
    assert!(objects(&server).is_empty());
}

#[test]
fn what_a_bucket_holds_is_read_page_by_page_and_damage_is_left_there() {
    let contents = measured();
    let (server, _stalls) = server(0);
    let sessions: Vec<Session> =
        (0..30).map(|n| session(&contents, &format!("20260101T0000000{n:02}Z"), "one")).collect();
    let sandbox = workspace(&server, &sessions.iter().collect::<Vec<_>>());
    let said = baseline(&sandbox, &["push"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_eq!(objects(&server).len(), 30);
    let victim = format!("team/wind/tunnel/{}", sessions[3].key);
    server.state.lock().unwrap().objects.insert(victim, b"{}\n".to_vec());
    let other = workspace(&server, &[]);
    let said = baseline(&other, &["pull"]);
    assert_eq!(said.code, 2, "{}", said.out);
    assert!(
        said.out.contains("29 sessions copied") && said.out.contains("1 damaged"),
        "{}",
        said.out
    );
    let place = format!("`s3://team/wind/tunnel/{}`, line 1: ", sessions[3].key);
    assert!(said.err.contains(&place), "{}", said.err);
}

#[test]
fn a_place_that_refuses_is_told_and_what_is_here_stays() {
    let contents = measured();
    let (server, _stalls) = server(0);
    let one = session(&contents, "20260101T000000000Z", "one");
    let sandbox = workspace(&server, &[&one]);
    let mut push = command(&sandbox, &["push"]);
    let said = Said::from(push.env("AWS_ACCESS_KEY_ID", "nobody").output().unwrap());
    assert_eq!(said.code, 2, "{}", said.out);
    assert!(said.err.starts_with("error: cannot list `s3://team/wind/tunnel`: "), "{}", said.err);
    assert_eq!(said.err.matches("who is that?").count(), 1, "it is said once: {}", said.err);
    assert_eq!(baseline(&sandbox, &["verify"]).code, 0);
    let names: BTreeSet<String> = objects(&server).into_keys().collect();
    assert!(names.is_empty());
}
