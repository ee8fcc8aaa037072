use super::*;

fn zone() -> Zone {
    let mut zone = Zone::new("lab".parse().unwrap());
    zone.serial = 7;
    let one: Ipv6Addr = "fc12:3456::1".parse().unwrap();
    let two: Ipv6Addr = "fc99::2".parse().unwrap();
    zone.add(&"web-1".parse().unwrap(), one, vec![one.into()]);
    zone.add(&"web-2".parse().unwrap(), two, vec!["10.0.0.2".parse().unwrap(), two.into()]);
    zone
}

fn ask(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    // Unlike `from_str`, it leaves the case alone.
    message.add_query(Query::query(DomainName::from_ascii(name).unwrap(), kind));
    message
}

/// Return code, answers as text, and whether an SOA says how long nothing may be remembered.
fn told(name: &str, kind: RecordType) -> (ResponseCode, Vec<String>, bool) {
    let asked = ask(name, kind);
    let verdict = answer(&zone(), &asked.to_vec().unwrap(), Transport::Udp);
    let (Verdict::Answer(bytes) | Verdict::Foreign(bytes)) = verdict else { panic!("{name}") };
    let response = Message::from_vec(&bytes).unwrap();
    assert_eq!(response.metadata.id, asked.metadata.id);
    assert_eq!(response.queries, asked.queries);
    let is_refused = response.metadata.response_code == ResponseCode::Refused;
    assert_eq!(response.metadata.authoritative, !is_refused, "{name}");
    let answers = response.answers.iter().map(|record| {
        assert_eq!(record.ttl, TTL_SECONDS);
        format!("{} {}", record.name, record.data)
    });
    let has_soa = response.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
    (response.metadata.response_code, answers.collect(), has_soa)
}

#[test]
fn members_have_addresses_in_both_domains_and_any_case() {
    let some = |answers: &[&str]| {
        (ResponseCode::NoError, answers.iter().map(ToString::to_string).collect(), false)
    };
    let aaaa = RecordType::AAAA;
    assert_eq!(told("web-1.raptor.", aaaa), some(&["web-1.raptor. fc12:3456::1"]));
    assert_eq!(told("WEB-1.Lab.RAPTOR.", aaaa), some(&["WEB-1.Lab.RAPTOR. fc12:3456::1"]));
    assert_eq!(told("web-2.raptor.", RecordType::A), some(&["web-2.raptor. 10.0.0.2"]));
    assert_eq!(told("web-2.raptor.", RecordType::ANY).1.len(), 2);
    let reverse = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.5.4.3.2.1.c.f.ip6.arpa.";
    let pointer = format!("{reverse} web-1.raptor.");
    assert_eq!(told(reverse, RecordType::PTR), some(&[&pointer]));
    assert_eq!(told("raptor.", RecordType::SOA).1.len(), 1);
    assert_eq!(told("c.f.ip6.arpa.", RecordType::SOA).1.len(), 1);
}

#[test]
fn addresses_in_an_existing_network_have_their_members_names() {
    let mut zone = zone();
    let ygg: Ipv6Addr = "201:abcd::7".parse().unwrap();
    let mesh: Ipv6Addr = "fc77::7".parse().unwrap();
    zone.add(&"thief".parse().unwrap(), "fc76::7".parse().unwrap(), vec![mesh.into()]);
    zone.add(&"ygg".parse().unwrap(), mesh, vec![ygg.into()]);
    let both = vec![ygg.into(), mesh.into()];
    zone.add(&"liar".parse().unwrap(), "fc78::7".parse().unwrap(), both);
    let pointer = |address: IpAddr, kind| {
        let bytes = ask(&DomainName::from(address).to_string(), kind).to_vec().unwrap();
        match answer(&zone, &bytes, Transport::Udp) {
            Verdict::Answer(bytes) => Message::from_vec(&bytes).unwrap().answers,
            Verdict::Foreign(_) => panic!("{address} is for others"),
            Verdict::Drop => panic!("{address} is no question"),
        }
    };
    for (address, name) in [
        (ygg.into(), "ygg.raptor."),
        (mesh.into(), "ygg.raptor."),
        ("10.0.0.2".parse().unwrap(), "web-2.raptor."),
    ] {
        let found = pointer(address, RecordType::PTR);
        let names: Vec<String> = found.iter().map(|record| record.data.to_string()).collect();
        assert_eq!(names, [name], "{address}");
    }
    // What else is known of such an address, and of others beside it, others know.
    for (name, kind) in [
        (DomainName::from(IpAddr::from(ygg)).to_string(), RecordType::TXT),
        ("3.0.0.10.in-addr.arpa.".to_owned(), RecordType::PTR),
        ("0.0.10.in-addr.arpa.".to_owned(), RecordType::PTR),
        ("2.0.ip6.arpa.".to_owned(), RecordType::PTR),
    ] {
        let bytes = ask(&name, kind).to_vec().unwrap();
        let verdict = answer(&zone, &bytes, Transport::Udp);
        assert!(matches!(verdict, Verdict::Foreign(_)), "{name}");
    }
}

#[test]
fn a_name_without_such_records_is_not_a_name_that_is_not_there() {
    let none = |code| (code, Vec::new(), true);
    for (name, kind) in [
        ("web-1.raptor.", RecordType::A),
        ("web-1.raptor.", RecordType::MX),
        ("lab.raptor.", RecordType::AAAA),
        ("raptor.", RecordType::AAAA),
        ("c.f.ip6.arpa.", RecordType::PTR),
        ("2.1.c.f.ip6.arpa.", RecordType::PTR),
    ] {
        assert_eq!(told(name, kind), none(ResponseCode::NoError), "{name}");
    }
    let aaaa = RecordType::AAAA;
    for (name, kind) in [
        ("web-9.raptor.", aaaa),
        ("web-1.other.raptor.", aaaa),
        ("a.web-1.lab.raptor.", aaaa),
        ("3.1.c.f.ip6.arpa.", RecordType::PTR),
        ("xy.1.c.f.ip6.arpa.", RecordType::PTR),
        (
            "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.5.4.3.2.1.c.f.ip6.arpa.",
            RecordType::PTR,
        ),
    ] {
        assert_eq!(told(name, kind), none(ResponseCode::NXDomain), "{name}");
    }
}

#[test]
fn other_names_are_for_others() {
    for name in ["example.org.", "raptor.org.", "xraptor.", ".", "d.f.ip6.arpa.", "in-addr.arpa."] {
        let bytes = ask(name, RecordType::AAAA).to_vec().unwrap();
        let verdict = answer(&zone(), &bytes, Transport::Udp);
        assert!(matches!(verdict, Verdict::Foreign(_)), "{name}");
        assert_eq!(told(name, RecordType::AAAA).0, ResponseCode::Refused, "{name}");
    }
}

#[test]
fn what_is_no_plain_question_is_told_so() {
    let code = |message: &Message| {
        let verdict = answer(&zone(), &message.to_vec().unwrap(), Transport::Udp);
        let Verdict::Answer(bytes) = verdict else { panic!("{verdict:?}") };
        Message::from_vec(&bytes).unwrap().metadata.response_code
    };
    let mut twice = ask("web-1.raptor.", RecordType::AAAA);
    twice.add_query(twice.queries[0].clone());
    assert_eq!(code(&twice), ResponseCode::FormErr);
    let mut update = ask("web-1.raptor.", RecordType::AAAA);
    update.metadata.op_code = OpCode::Notify;
    assert_eq!(code(&update), ResponseCode::NotImp);
    let mut later = ask("web-1.raptor.", RecordType::AAAA);
    let mut edns = Edns::new();
    edns.set_version(1);
    later.set_edns(edns);
    // Its number is also that of BADSIG (RFC 6895, section 2.3).
    assert_eq!(u16::from(code(&later)), u16::from(ResponseCode::BADVERS));
    let response = Message::response(7, OpCode::Query).to_vec().unwrap();
    assert_eq!(answer(&zone(), &response, Transport::Udp), Verdict::Drop);
    let cut = &ask("web-1.raptor.", RecordType::AAAA).to_vec().unwrap()[..20];
    assert!(matches!(answer(&zone(), cut, Transport::Udp), Verdict::Answer(_)));
    assert_eq!(answer(&zone(), &cut[..11], Transport::Udp), Verdict::Drop);
}

#[test]
fn an_answer_fits_what_its_asker_can_take() {
    let mut zone = Zone::new("lab".parse().unwrap());
    let many = (0..40u128).map(|host| IpAddr::from(Ipv6Addr::from(host)));
    zone.add(&"big".parse().unwrap(), "fc00::1".parse().unwrap(), many.collect());
    let asked = ask("big.raptor.", RecordType::AAAA).to_vec().unwrap();
    let Verdict::Answer(short) = answer(&zone, &asked, Transport::Udp) else { panic!() };
    assert!(short.len() <= UDP_LENGTH);
    assert!(Message::from_vec(&short).unwrap().metadata.truncation);
    let Verdict::Answer(whole) = answer(&zone, &asked, Transport::Tcp) else { panic!() };
    assert_eq!(Message::from_vec(&whole).unwrap().answers.len(), 40);
}

#[test]
fn any_bytes_can_come_as_a_question() {
    let zone = zone();
    bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
        let _ = answer(&zone, bytes, Transport::Udp);
        let head = ask("web-1.raptor.", RecordType::AAAA).to_vec().unwrap();
        let _ = answer(&zone, &[&head[..12], bytes].concat(), Transport::Tcp);
    });
}
