//! Names as DNS answers them, asked at the agent itself.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use rustix::process::Signal;

use super::text;
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

/// Asks once; an `Err` says that nobody answered.
fn ask(server: SocketAddr, name: &str, kind: RecordType) -> Result<Message, String> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket.connect(server).unwrap();
    socket.send(&message.to_vec().unwrap()).map_err(|error| error.to_string())?;
    let mut buffer = [0u8; 4096];
    let length = socket.recv(&mut buffer).map_err(|error| error.to_string())?;
    Ok(Message::from_vec(&buffer[..length]).unwrap())
}

/// What was answered, as text.
fn data(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn an_agent_answers_the_members_names_as_they_come_and_go() {
    let sandbox = Sandbox::new();
    let members = sandbox.spawn(2);
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let config = format!("{{\"dns\": {{\"enabled\": \"on\", \"listen\": \"{free}\"}}}}");
    let home = sandbox.machine("local-1");
    fs::write(home.join("mutable_config.json"), config).unwrap();
    sandbox.agent("local-1", "run").unwrap().signal(Signal::KILL);
    let aaaa = RecordType::AAAA;
    wait_until(CONVERGENCE_LIMIT, "an answer to local-2's name", || {
        let answer = ask(free, "local-2.raptor.", aaaa)?;
        if data(&answer) == [text(&members[1]["address"])] {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    });
    let own = ask(free, "Local-1.DEFAULT.raptor.", aaaa).unwrap();
    assert_eq!(data(&own), [text(&members[0]["address"])]);
    let address: std::net::Ipv6Addr = text(&members[1]["address"]).parse().unwrap();
    let reverse = Name::from(std::net::IpAddr::from(address)).to_string();
    let pointer = ask(free, &reverse, RecordType::PTR).unwrap();
    assert_eq!(data(&pointer), ["local-2.raptor."]);
    for (name, code) in [
        ("local-9.raptor.", ResponseCode::NXDomain),
        ("local-1.other.raptor.", ResponseCode::NXDomain),
        ("example.org.", ResponseCode::Refused),
    ] {
        let answer = ask(free, name, aaaa).unwrap();
        assert_eq!(answer.metadata.response_code, code, "{name}");
    }
    let status = sandbox.raptor_at("local-1", ["status", "-o", "json"]).success().stdout_json();
    assert!(text(&status["names"]).starts_with(&free.to_string()), "{status}");
    let other = sandbox.raptor_at("local-2", ["status"]).success();
    let line = "names     none: this machine shares its computer (dns.enabled)\n";
    assert!(other.stdout.contains(line), "{other:?}");

    sandbox.raptor(["evict", "local-2", "--yes"]).success();
    wait_until(CONVERGENCE_LIMIT, "no such name", || {
        let answer = ask(free, "local-2.raptor.", aaaa)?;
        let code = answer.metadata.response_code;
        if code == ResponseCode::NXDomain { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}
