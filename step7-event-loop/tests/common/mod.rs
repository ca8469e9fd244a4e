//! What the tests of the loop share.

use std::cell::Cell;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use server::Listener;
use step7_event_loop::{ListenerId, Loop, StreamId};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// What happened, in order: the state of nearly all loops here.
pub(crate) type Log = Vec<String>;

/// Runs a loop that must come to its end. If it does not, the test's process aborts: nothing else can stop the loop.
pub(crate) fn run<S: 'static>(lp: &mut Loop<S>, state: &mut S) {
    let (done, is_done) = mpsc::channel::<()>();
    thread::spawn(move || {
        if is_done.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("the loop does not come to its end");
            std::process::abort();
        }
    });
    lp.run(state).unwrap();
    drop(done);
}

/// Listens on a free port.
pub(crate) fn listen<S: 'static>(
    lp: &mut Loop<S>,
    on_connection: impl FnMut(&mut Loop<S>, &mut S, StreamId) + 'static,
) -> (ListenerId, SocketAddr) {
    let listener = Listener::bind("127.0.0.1", 0, 1024).unwrap();
    let address = listener.local_address().unwrap();
    (lp.listen(listener, on_connection).unwrap(), address)
}

/// Listens, gives the first connection to `on_stream` and then stops listening. Returns the connection's other end.
pub(crate) fn with_one_stream<S: 'static>(
    lp: &mut Loop<S>,
    on_stream: impl FnOnce(&mut Loop<S>, &mut S, StreamId) + 'static,
) -> TcpStream {
    let id = Rc::new(Cell::new(None));
    let own = Rc::clone(&id);
    let mut on_stream = Some(on_stream);
    let (listener, address) = listen(lp, move |lp, state, stream| {
        if let Some(on_stream) = on_stream.take() {
            on_stream(lp, state, stream);
        }
        own.take().map(|listener| lp.close_listener(listener));
    });
    id.set(Some(listener));
    connect(address)
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}
