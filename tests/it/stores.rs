//! Stores, each against a real server: what arrives, what is refused, what goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imgforge::model::image::Blob;
use imgforge::step::store::{Access, Address, Conditions, Key, Put, Source, Store, StoreError};

use crate::bucket::{Break, Server, Wants};
use crate::workbench::wait;

const FILE: &str = "oracle-1.0.0-linux-amd64.tar.gz";

fn key(file: &str) -> Key {
    Key::file(&"p".parse().unwrap(), &"1.0.0".parse().unwrap(), file)
}

/// Bytes that repeat nowhere.
pub(crate) fn bytes(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn file(folder: &Path, size: usize) -> (PathBuf, Vec<u8>, Blob) {
    let (path, bytes) = (folder.join(FILE), bytes(size));
    fs::write(&path, &bytes).unwrap();
    let blob = Blob::of(&bytes);
    (path, bytes, blob)
}

fn put(store: &Store, path: &Path, blob: &Blob) -> Result<Put, StoreError> {
    wait(store.put(&key(FILE), blob, Source::File(path), &|_| {}))
}

const PART: usize = 16 << 20;

#[test]
fn a_large_object_arrives_in_equal_parts() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let store = server.store(folder.path().join("uploads"));
    let (path, bytes, blob) = file(folder.path(), 2 * PART + 5);
    assert_eq!(put(&store, &path, &blob).unwrap(), Put::New);
    assert_eq!(server.count(Wants::Part), 3);
    assert!(fs::read(server.object(&format!("a/p/releases/1.0.0/{FILE}"))).unwrap() == bytes);
    assert!(wait(store.get(&key(FILE), bytes.len())).unwrap() == bytes);

    // Again: looked at, not moved. With other bytes: refused before anything moves.
    server.forget();
    assert_eq!(put(&store, &path, &blob).unwrap(), Put::Same);
    fs::write(&path, b"other").unwrap();
    assert!(matches!(put(&store, &path, &Blob::of(b"other")), Err(StoreError::Conflict { .. })));
    assert_eq!(server.writes(), 0);
}

#[test]
fn a_file_that_changes_meanwhile_is_never_completed() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let store = server.store(folder.path().join("uploads"));
    let (path, _, blob) = file(folder.path(), PART + 5);
    let mut other = fs::read(&path).unwrap();
    other[7] ^= 1;
    fs::write(&path, other).unwrap();
    let error = put(&store, &path, &blob).unwrap_err();
    assert!(
        matches!(&error, StoreError::Io { source, .. } if source.to_string().contains("changed")),
        "{error:?}"
    );
    assert_eq!((server.count(Wants::Complete), server.count(Wants::Abort)), (0, 1));
}

#[test]
fn parts_and_answers_that_get_lost_are_tried_again() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let store = server.store(folder.path().join("uploads"));
    let (path, bytes, blob) = file(folder.path(), PART + 5);
    server.break_next(Wants::Part, 1, 2, Break::Status(503));
    server.break_next(Wants::Complete, 0, 1, Break::Status(500));
    assert_eq!(put(&store, &path, &blob).unwrap(), Put::New);
    assert_eq!((server.count(Wants::Part), server.count(Wants::Complete)), (4, 2));
    // A download that breaks goes on where it broke.
    server.break_next(Wants::Get, 0, 3, Break::Half);
    assert!(wait(store.get(&key(FILE), bytes.len())).unwrap() == bytes);
}

#[test]
fn a_server_in_trouble_can_be_tried_again() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let store = server.store(folder.path().join("uploads"));
    let (path, bytes, blob) = file(folder.path(), PART + 5);
    server.break_next(Wants::Complete, 0, 5, Break::Status(503));
    assert!(matches!(put(&store, &path, &blob), Err(StoreError::Unreachable { .. })));
    assert_eq!(server.count(Wants::Abort), 0, "what arrived stays for the next run");
    assert_eq!(put(&store, &path, &blob).unwrap(), Put::New);
    assert_eq!(server.count(Wants::Begin), 1, "the same upload went on");
    assert!(wait(store.get(&key(FILE), bytes.len())).unwrap() == bytes);
}

#[test]
fn where_parts_cannot_be_listed_an_upload_begins_anew() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let store = server.store(folder.path().join("uploads"));
    let (path, bytes, blob) = file(folder.path(), PART + 5);
    for status in [403, 400] {
        server.break_next(Wants::Complete, 0, 5, Break::Status(503));
        assert!(matches!(put(&store, &path, &blob), Err(StoreError::Unreachable { .. })));
        server.break_next(Wants::Parts, 0, 1, Break::Status(status));
        assert_eq!(put(&store, &path, &blob).unwrap(), Put::New);
        assert_eq!((server.count(Wants::Begin), server.count(Wants::Abort)), (2, 1), "{status}");
        assert!(wait(store.get(&key(FILE), bytes.len())).unwrap() == bytes);
        wait(store.remove(&key(FILE))).unwrap();
        server.forget();
    }
}

#[test]
fn of_many_publishers_one_wins() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let store = server.store(folder.path().join("uploads"));
    let won = wait(async {
        let tries = (0..3).map(|n| {
            let store = store.clone();
            async move {
                let text = format!("{n}");
                let bytes = text.as_bytes();
                store.put(&key("SHA256SUMS"), &Blob::of(bytes), Source::Bytes(bytes), &|_| {}).await
            }
        });
        futures_util::future::join_all(tries).await
    });
    assert_eq!(won.iter().filter(|put| matches!(put, Ok(Put::New))).count(), 1, "{won:?}");
    let lost = won.iter().filter(|put| matches!(put, Err(StoreError::Conflict { .. }))).count();
    assert_eq!(lost, 2, "{won:?}");
}

#[test]
fn a_pointer_is_replaced_only_as_it_was_read() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    for store in [server.store(folder.path().join("uploads")), Store::Directory(folder.path().join("store"))]
    {
        let key = Key::channel(&"p".parse().unwrap(), &"stable".parse().unwrap());
        wait(store.replace(&key, None, b"1")).unwrap();
        assert!(matches!(wait(store.replace(&key, None, b"2")), Err(StoreError::Conflict { .. })));
        wait(store.replace(&key, Some(b"1"), b"2")).unwrap();
        assert!(matches!(wait(store.replace(&key, Some(b"1"), b"3")), Err(StoreError::Conflict { .. })));
        assert_eq!(wait(store.get(&key, 9)).unwrap(), b"2");
        assert_eq!(wait(store.channels(&"p".parse().unwrap())).unwrap(), ["stable".parse().unwrap()]);
        assert_eq!(wait(store.conditions(&"p".parse().unwrap())).unwrap(), Conditions::Kept);
        wait(store.remove(&key)).unwrap();
        assert!(matches!(wait(store.get(&key, 9)), Err(StoreError::Missing { .. })));
    }
}

#[test]
fn a_link_reads_one_object_for_a_while() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let store = server.store(folder.path().join("uploads"));
    let (path, bytes, blob) = file(folder.path(), 1000);
    put(&store, &path, &blob).unwrap();
    let link = wait(store.link(&key(FILE), Duration::from_secs(5))).unwrap();
    let get = |link: &str| {
        wait(async {
            let answer = reqwest::get(link).await.unwrap();
            (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
        })
    };
    assert!(get(&link) == (200, bytes));
    assert_eq!(get(&link.replace(FILE, "SHA256SUMS")).0, 403);
    assert_eq!(wait(reqwest::Client::new().delete(&link).send()).unwrap().status().as_u16(), 403);
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(get(&link).0, 403, "it expired");
}

#[test]
fn a_stranger_is_denied() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let mut access = server.access(folder.path().join("uploads"));
    let address: Address = "s3://images/a".parse().unwrap();
    access.credentials.as_mut().unwrap().secret = "wrong".to_owned().into();
    let store = Store::open(&address, &access).unwrap();
    assert!(matches!(wait(store.get(&key(FILE), 9)), Err(StoreError::Denied { .. })));
    assert!(Store::open(&address, &Access::default()).is_err());
}

/// Runs until the server freezes, and is killed there: nothing of it goes on.
pub(crate) fn killed(server: &Server, work: impl Future) {
    wait(async {
        let frozen = async {
            while !server.is_frozen() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = work => panic!("it ended before it was killed"),
            () = frozen => {}
        }
    });
}

#[test]
fn an_upload_killed_at_any_request_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes, blob) = file(folder.path(), PART + 5);
    // Begin, two parts, complete.
    for writes in 0..4 {
        for how in [Break::FreezeBefore, Break::FreezeAfter] {
            let server = Server::start();
            let uploads = folder.path().join("uploads").join(server.endpoint().replace(['/', ':'], "-"));
            server.freeze(writes, how);
            let store = server.store(uploads.clone());
            killed(&server, store.put(&key(FILE), &blob, Source::File(&path), &|_| {}));
            server.forget();
            let store = server.store(uploads);
            let put = put(&store, &path, &blob).unwrap();
            let completed = writes == 3 && matches!(how, Break::FreezeAfter);
            assert_eq!(put, if completed { Put::Same } else { Put::New }, "{writes} {how:?}");
            assert!(wait(store.get(&key(FILE), bytes.len())).unwrap() == bytes, "{writes} {how:?}");
        }
    }
}
