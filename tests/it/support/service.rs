//! Services on this computer's loopback, for connections that come through the mesh.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

/// A service: each connection is served by a thread of its own. It lasts as long as the test.
pub struct Service {
    pub port: u16,
}

impl Service {
    /// Serves connections by `serve`.
    pub fn new(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let serve = serve.clone();
                thread::spawn(move || serve(connection));
            }
        });
        Self { port }
    }

    /// Reads to the end, and only then answers with `before` and what was read.
    pub fn after_the_end(before: &'static str) -> Self {
        Self::new(move |mut connection| {
            let mut bytes = before.as_bytes().to_vec();
            connection.read_to_end(&mut bytes).unwrap();
            // A caller that went away is the test's own affair.
            let _ = connection.write_all(&bytes);
        })
    }

    /// Takes connections and never reads from them.
    pub fn that_never_reads() -> Self {
        Self::new(|connection| {
            thread::park();
            drop(connection);
        })
    }

    /// Answers every HTTP request with this text.
    pub fn http(text: &'static str) -> Self {
        Self::new(move |mut connection| {
            let mut head = BufReader::new(connection.try_clone().unwrap());
            let mut line = String::new();
            while head.read_line(&mut line).is_ok_and(|length| length > 2) {
                line.clear();
            }
            let length = text.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
            let _ = connection.write_all(answer.as_bytes());
            let _ = connection.shutdown(Shutdown::Write);
        })
    }
}

/// A port of loopback where nobody listens.
pub fn closed_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
