//! An engine of its own, of which nothing is left when half of an image was sent to it.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Downloaded, Row, Trial, fetch};
use crate::current::{Engine, Store};
use crate::fetching::publish_layers;
use crate::harness::must;
use crate::web::Web;
use crate::workbench::{Bench, layered, noise};

/// Of each of two layers.
const LAYER: usize = 32 << 20;

/// A socket that leads to an engine, and does something once, when a request has brought so many bytes.
pub(crate) fn counting(
    folder: &Path,
    engine: PathBuf,
    most: usize,
    then: impl FnOnce() + Send + 'static,
) -> PathBuf {
    type Then = Box<dyn FnOnce() + Send>;
    let socket = folder.join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let then: Arc<Mutex<Option<Then>>> = Arc::new(Mutex::new(Some(Box::new(then))));
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (then, engine) = (Arc::clone(&then), engine.clone());
            std::thread::spawn(move || {
                let Ok(mut engine) = UnixStream::connect(engine) else { return };
                let (mut answers, mut to) = (engine.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = (std::io::copy(&mut answers, &mut to), to.shutdown(Shutdown::Both));
                });
                let (mut piece, mut passed) = (vec![0; 64 << 10], 0);
                while let Ok(read @ 1..) = client.read(&mut piece) {
                    if engine.write_all(&piece[..read]).is_err() {
                        break;
                    }
                    passed += read;
                    if passed > most
                        && let Some(then) = then.lock().unwrap().take()
                    {
                        then();
                    }
                }
                let _ = (engine.shutdown(Shutdown::Both), client.shutdown(Shutdown::Both));
            });
        }
    });
    socket
}

pub(super) fn killed() -> Row {
    let bench = Bench::new("t-fault-dockerd");
    let layers = [1, 2].map(|seed| layered(&bench.project, &[("data", noise(LAYER, seed))]));
    publish_layers(&bench, "1.0.0", 1, &layers);
    let web = Web::serve(&bench.home.path("store"));
    let engine = Arc::new(Mutex::new(Engine::start(Store::Classic)));
    let real = engine.lock().unwrap().socket();
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let victim = Arc::clone(&engine);
    // In the middle of the second layer.
    let socket = counting(folder.path(), real, LAYER + LAYER / 2, move || victim.lock().unwrap().kill());
    let command = || {
        let mut command = fetch(&bench, &web.url());
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        command
    };
    let trial = Trial {
        fault: "the engine is killed in the middle of a load, and started again",
        bench: &bench,
        sees: "the connection to the Docker Engine broke",
        code: "31",
        downloaded: Downloaded::Once,
    };
    let images = || must(&mut engine.lock().unwrap().docker(&["image", "ls", "-q"]));
    let before = std::cell::Cell::new(0);
    let mend = || {
        engine.lock().unwrap().begin(Store::Classic);
        assert_eq!(images(), "", "half an image");
        before.set(web.took().1);
    };
    let sent = || {
        // All of it was here before the engine was gone.
        assert_eq!(web.took().1, 0, "downloaded again");
        before.get()
    };
    let row = trial.run(command, mend, sent);
    assert_eq!(images().lines().count(), 1);
    row
}
