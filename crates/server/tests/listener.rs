//! What can go wrong before the first peer comes.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use server::{Listener, sys};

#[test]
fn port_0_is_a_free_port() {
    let listener = Listener::bind("127.0.0.1", 0, 16).unwrap();
    assert_ne!(listener.local_address().unwrap().port(), 0);
}

#[test]
fn a_taken_port_is_named() {
    let first = Listener::bind("127.0.0.1", 0, 16).unwrap();
    let address = first.local_address().unwrap();
    let error = Listener::bind("127.0.0.1", address.port(), 16).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address}: Address already in use"));
}

#[test]
fn an_unresolvable_host_is_named() {
    let error = Listener::bind("no.such.host.invalid", 0, 16).unwrap_err();
    assert!(error.to_string().starts_with("cannot resolve no.such.host.invalid: "), "{error}");
}

#[test]
fn a_name_with_several_addresses_takes_the_first_that_can_be_bound() {
    let listener = Listener::bind("localhost", 0, 16).unwrap();
    assert!(listener.local_address().unwrap().ip().is_loopback());
}

#[test]
fn ipv6_peers_are_accepted() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let mut listener = Listener::bind("::1", 0, 16).unwrap();
    let client = TcpStream::connect(listener.local_address().unwrap()).unwrap();
    let stream = listener.accept().unwrap().expect("a peer waits");
    let SocketAddr::V6(address) = client.local_addr().unwrap() else { panic!("an IPv6 peer") };
    assert_eq!(stream.name().to_string(), format!("(::1, {})", address.port()));
}

#[test]
fn a_nonblocking_listener_says_that_nobody_waits() {
    let mut listener = Listener::bind("127.0.0.1", 0, 16).unwrap();
    listener.set_nonblocking().unwrap();
    assert!(listener.accept().unwrap().is_none());
}

#[test]
fn what_a_nonblocking_listener_accepts_is_nonblocking_too() {
    let mut listener = Listener::bind("127.0.0.1", 0, 16).unwrap();
    listener.set_nonblocking().unwrap();
    let _client = TcpStream::connect(listener.local_address().unwrap()).unwrap();
    let mut stream = loop {
        match listener.accept().unwrap() {
            Some(stream) => break stream,
            None => sys::sleep(Duration::from_millis(1)),
        }
    };
    let error = std::io::Read::read(&mut stream, &mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}
