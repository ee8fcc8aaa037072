//! `slave` of ten hosts that are 50 ms away, beside ten bare connections that copy the same binary: at
//! most 1.3 x their time and 1.2 x the processor time of the client. Beside both, where they are
//! installed, Ansible and pyinfra doing the same copy and three commands (Ansible needs a python3 in
//! the hosts' image).

#![allow(clippy::unwrap_used, reason = "a measurement ends where it cannot go on")]

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use support::hosts::Hosts;
use support::user::User;
use support::{Aim, RAPTOR, Samples, in_parallel, print, print_beside, run, time};

const COUNT: usize = 3;
const MACHINES: usize = 10;

/// One way.
const DELAY: Duration = Duration::from_millis(25);

/// Pieces on their way; more wait for those before.
const PIECES_MAX: usize = 256;

/// What something took: of the clock, and of the client's processor.
struct Taken {
    wall: Vec<Duration>,
    processor: Vec<Duration>,
}

impl Taken {
    fn new() -> Self {
        Self { wall: Vec::new(), processor: Vec::new() }
    }

    fn add(&mut self, work: impl FnOnce()) {
        let before = processor_of_children();
        self.wall.push(time(work));
        self.processor.push(processor_of_children().saturating_sub(before));
    }

    fn print(self, name: &str) {
        print(name, &Samples::from(self.wall));
        print("  its processor time", &Samples::from(self.processor));
    }
}

fn main() {
    let (mut floor, mut raptor) = (Taken::new(), Taken::new());
    let (mut ansible, mut pyinfra) = (Taken::new(), Taken::new());
    for _ in 0..COUNT {
        let mut hosts = Hosts::prepare();
        hosts.boot(MACHINES);
        let ports: Vec<u16> = hosts.addresses.iter().map(|address| relay(address)).collect();
        floor.add(|| in_parallel(&ports, |port| copy(&hosts, *port)));
        raptor.add(|| slave(&hosts, &ports));
        if is_there("ansible-playbook") {
            ansible.add(|| play(&hosts, &ports));
        }
        if is_there("pyinfra") {
            pyinfra.add(|| deploy(&hosts, &ports));
        }
    }
    let bare = "10 bare connections that copy";
    let (wall, processor) = (Samples::from(floor.wall), Samples::from(floor.processor));
    print_beside("slave of 10, 50 ms", &Samples::from(raptor.wall), (bare, &wall), Aim::Ratio(1.3));
    let used = Samples::from(raptor.processor);
    print_beside("  its processor time", &used, (bare, &processor), Aim::Ratio(1.2));
    for (name, taken) in [("ansible", ansible), ("pyinfra", pyinfra)] {
        if taken.wall.is_empty() {
            println!("{name:<36} is not installed");
        } else {
            taken.print(name);
        }
    }
}

/// The user and system time of all children that were waited for, and theirs (`proc_pid_stat(5)`).
fn processor_of_children() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1;
    let ticks = |index: usize| -> u64 { fields.split(' ').nth(index).unwrap().parse().unwrap() };
    // Fields 16 and 17 of the whole line, in hundredths of a second on Linux.
    Duration::from_millis((ticks(13) + ticks(14)) * 10)
}

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A port of this computer behind which the sshd at `address` is, 25 ms away. Its threads end with
/// this program.
fn relay(address: &str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = address.to_owned();
    thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            // The three packets that open a connection take one way there and one back.
            let address = address.clone();
            thread::spawn(move || {
                thread::sleep(DELAY * 2);
                let Ok(far) = TcpStream::connect((address.as_str(), 22)) else { return };
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                carry(near.try_clone().unwrap(), far.try_clone().unwrap());
                carry(far, near);
            });
        }
    });
    port
}

/// Carries what is read from `from` to `to`, later.
fn carry(mut from: TcpStream, to: TcpStream) {
    let (sender, receiver): (SyncSender<(Instant, Vec<u8>)>, _) = sync_channel(PIECES_MAX);
    thread::spawn(move || deliver(&receiver, to));
    thread::spawn(move || {
        let mut piece = vec![0; 64 * 1024];
        // Nothing was read: the end, which comes as late as all else.
        while let Ok(length) = from.read(&mut piece) {
            let sent = sender.send((Instant::now() + DELAY, piece[..length].to_vec()));
            if length == 0 || sent.is_err() {
                break;
            }
        }
    });
}

fn deliver(pieces: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    while let Ok((due, piece)) = pieces.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if piece.is_empty() || to.write_all(&piece).is_err() {
            break;
        }
    }
    // It may be closed already.
    let _ = to.shutdown(Shutdown::Write);
}

/// One handshake, one copy.
fn copy(hosts: &Hosts, port: u16) {
    let command = hosts.ssh("127.0.0.1", "cat >/tmp/copy && chmod 755 /tmp/copy");
    let mut with_port = Command::new("ssh");
    with_port.arg("-p").arg(port.to_string()).args(command.get_args());
    let status = with_port.stdin(File::open(&*RAPTOR).unwrap()).stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "copy through {port}");
}

fn slave(hosts: &Hosts, ports: &[u16]) {
    // A server type without modules: what is measured is raptor, not a package mirror.
    let config = serde_json::json!({
        "ssh": {"identity_file": hosts.key()},
        "server_types": {"bare": {"modules": []}},
    });
    let user = User::with_config(&config);
    let mut command = user.raptor(&["slave", "--server-type", "bare"]);
    command.args(["--concurrent", &ports.len().to_string()]);
    command.args(ports.iter().map(|port| format!("root@127.0.0.1:{port}")));
    run(&mut command);
    // The machines go with their containers: giving them back is not what is measured.
    std::mem::forget(user);
}

fn play(hosts: &Hosts, ports: &[u16]) {
    let folder = tempfile::tempdir().unwrap();
    let lines = ports.iter().map(|port| {
        format!(
            "host-{port} ansible_host=127.0.0.1 ansible_port={port} ansible_user=root \
             ansible_python_interpreter=/usr/bin/python3\n"
        )
    });
    let inventory = folder.path().join("inventory");
    fs::write(&inventory, lines.collect::<String>()).unwrap();
    let playbook = folder.path().join("playbook.yml");
    let text = format!(
        "- hosts: all\n  gather_facts: false\n  tasks:\n  - copy: {{src: {:?}, dest: /tmp/ansible, \
         mode: '0755'}}\n  - command: /bin/true\n  - command: /bin/true\n  - command: /bin/true\n",
        RAPTOR.display().to_string()
    );
    fs::write(&playbook, text).unwrap();
    let mut command = Command::new("ansible-playbook");
    command.env("HOME", folder.path()).env("ANSIBLE_HOST_KEY_CHECKING", "False");
    command.env("ANSIBLE_PIPELINING", "True").env("LC_ALL", "C.UTF-8");
    command.args(["--forks", &ports.len().to_string(), "--private-key"]).arg(hosts.key());
    run(command.arg("-i").arg(&inventory).arg(&playbook));
}

fn deploy(hosts: &Hosts, ports: &[u16]) {
    let folder = tempfile::tempdir().unwrap();
    let key = hosts.key().display().to_string();
    let hosts = ports.iter().map(|port| {
        format!(
            "(\"host-{port}\", {{\"ssh_hostname\": \"127.0.0.1\", \"ssh_port\": {port}, \"ssh_user\": \
             \"root\", \"ssh_key\": {key:?}, \"ssh_strict_host_key_checking\": \"off\", \
             \"ssh_known_hosts_file\": \"/dev/null\"}}),\n"
        )
    });
    let inventory = format!("hosts = [\n{}]\n", hosts.collect::<String>());
    fs::write(folder.path().join("inventory.py"), inventory).unwrap();
    let operations = format!(
        "from pyinfra.operations import files, server\n\
         files.put(src={:?}, dest=\"/tmp/pyinfra\", mode=\"755\")\n\
         for number in range(3):\n    server.shell(name=str(number), commands=[\"/bin/true\"])\n",
        RAPTOR.display().to_string()
    );
    fs::write(folder.path().join("deploy.py"), operations).unwrap();
    let mut command = Command::new("pyinfra");
    command.env("HOME", folder.path()).env("LC_ALL", "C.UTF-8").current_dir(folder.path());
    run(command.args(["-y", "inventory.py", "deploy.py"]));
}
