//! Other programs of this kind, each from its Debian package, with the settings it comes with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::world::{Running, inside, shell, shell_in, until};

/// One of them, running between `a` and `b` (and `c`, where it can relay).
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// Address of `b` as `a` says it.
    pub one_hop: String,
    /// Address of `c` as `a` says it, through `b`.
    pub two_hops: Option<String>,
    _running: Vec<Running>,
}

/// How one of them is started, given a folder of its own.
type Start = fn(&Path) -> Peer;

/// The first line with a number in it that a program says of its version.
fn version(line: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", &format!("PATH=$PATH:/usr/sbin:/sbin; {{ {line}; }} 2>&1 </dev/null")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines().filter(|line| line.contains(|sign: char| sign.is_ascii_digit()));
    lines.next().unwrap_or("of an unknown version").trim().to_owned()
}

/// Starts all that are installed, and says in which version; says which are not. Others than the
/// system's own are measured when `PATH` leads to them first.
pub fn start_all(folder: &Path) -> Vec<Peer> {
    let all: [(&str, &str, &str, Start); 4] = [
        ("wireguard-go", "wireguard-go", "wireguard-go --version", wireguard),
        ("yggdrasil", "yggdrasil", "yggdrasil -version | grep -i version", yggdrasil),
        ("nebula", "nebula", "nebula -version", nebula),
        ("tinc", "tincd", "tincd --version", tinc),
    ];
    let mut peers = Vec::new();
    for (name, program, asked, start) in all {
        let is_there = Command::new("sh")
            .args(["-c", &format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}")])
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success();
        if is_there {
            println!("{name}: {}", version(asked));
            let folder = folder.join(name);
            fs::create_dir_all(&folder).unwrap();
            peers.push(start(&folder));
        } else {
            println!("!!! MISSING: {name} is not installed (apt-get install {name}): not compared");
        }
    }
    peers
}

fn device_exists(namespace: &str, device: &str) -> bool {
    inside(namespace, "ip")
        .args(["link", "show", device])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

fn wireguard(folder: &Path) -> Peer {
    let mut running = Vec::new();
    let keys: Vec<(PathBuf, String)> = ["a", "b"]
        .map(|name| {
            let path = folder.join(name);
            shell(&format!("umask 077; wg genkey > {}", path.display()));
            let public = shell(&format!("wg pubkey < {}", path.display()));
            (path, public.trim().to_owned())
        })
        .into();
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        // The control sockets lie in one folder: the names must differ.
        let device = format!("wg{name}");
        let mut command = inside(name, "wireguard-go");
        command.args(["-f", &device]).env("WG_PROCESS_FOREGROUND", "1");
        running.push(Running::start(&mut command));
        let socket = PathBuf::from(format!("/var/run/wireguard/{device}.sock"));
        // The socket is there a moment before it is listened to: `wg` then looks for a kernel's
        // device of that name.
        let answers = || {
            let mut wg = inside(name, "wg");
            wg.args(["show", &device]).stdout(Stdio::null()).stderr(Stdio::null());
            wg.status().unwrap().success()
        };
        until("wireguard-go", || socket.exists() && device_exists(name, &device) && answers());
        let other = 1 - index;
        shell_in(
            name,
            &format!(
                "wg set {device} private-key {} listen-port 7100 peer {} allowed-ips fd81::{}/128 \
                 endpoint 10.81.0.{}:7100 && ip address add fd81::{}/64 dev {device} nodad && \
                 ip link set {device} up",
                keys[index].0.display(),
                keys[other].1,
                other + 1,
                other + 1,
                index + 1
            ),
        );
    }
    Peer { name: "wireguard-go", one_hop: "fd81::2".into(), two_hops: None, _running: running }
}

fn yggdrasil(folder: &Path) -> Peer {
    let mut running = Vec::new();
    let mut addresses = Vec::new();
    for (name, listen, peer) in [
        // Who is dialled first: a refused dialler waits long before it tries again.
        ("b", "tcp://0.0.0.0:7200", ""),
        ("a", "", "tcp://10.81.0.2:7200"),
        ("c", "", "tcp://10.82.0.1:7200"),
    ] {
        let path = folder.join(format!("{name}.conf"));
        let text = shell("yggdrasil -genconf -json");
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let list =
            |text: &str| serde_json::json!(if text.is_empty() { vec![] } else { vec![text] });
        config["Listen"] = list(listen);
        config["Peers"] = list(peer);
        config["MulticastInterfaces"] = serde_json::json!([]);
        config["AdminListen"] = "none".into();
        config["IfName"] = "ygg0".into();
        fs::write(&path, config.to_string()).unwrap();
        let address = shell(&format!("yggdrasil -useconffile {} -address", path.display()));
        addresses.push(address.trim().to_owned());
        let mut command = inside(name, "yggdrasil");
        running.push(Running::start(command.arg("-useconffile").arg(&path)));
        until("yggdrasil", || device_exists(name, "ygg0"));
    }
    Peer {
        name: "yggdrasil",
        one_hop: addresses[0].clone(),
        two_hops: Some(addresses[2].clone()),
        _running: running,
    }
}

fn nebula(folder: &Path) -> Peer {
    let at = folder.display();
    shell(&format!("cd {at} && nebula-cert ca -name bench"));
    let mut running = Vec::new();
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        let number = index + 1;
        shell(&format!("cd {at} && nebula-cert sign -name {name} -ip 10.91.0.{number}/24"));
        let other = 2 - index;
        let config = format!(
            "pki: {{ca: {at}/ca.crt, cert: {at}/{name}.crt, key: {at}/{name}.key}}\n\
             static_host_map: {{\"10.91.0.{other}\": [\"10.81.0.{other}:7300\"]}}\n\
             lighthouse: {{am_lighthouse: false}}\n\
             listen: {{host: 0.0.0.0, port: 7300}}\n\
             tun: {{dev: neb0, mtu: 1300}}\n\
             firewall:\n  outbound: [{{port: any, proto: any, host: any}}]\n  \
             inbound: [{{port: any, proto: any, host: any}}]\n"
        );
        let path = folder.join(format!("{name}.yml"));
        fs::write(&path, config).unwrap();
        let mut command = inside(name, "nebula");
        running.push(Running::start(command.arg("-config").arg(&path)));
        until("nebula", || device_exists(name, "neb0"));
    }
    Peer { name: "nebula", one_hop: "10.91.0.2".into(), two_hops: None, _running: running }
}

fn tinc(folder: &Path) -> Peer {
    let mut running = Vec::new();
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        let home = folder.join(name);
        fs::create_dir_all(home.join("hosts")).unwrap();
        let number = index + 1;
        let connect = if name == "a" { "ConnectTo = b\n" } else { "" };
        fs::write(
            home.join("tinc.conf"),
            format!("Name = {name}\nInterface = tinc0\nPort = 7400\nAutoConnect = no\n{connect}"),
        )
        .unwrap();
        let host =
            format!("Address = 10.81.0.{number}\nSubnet = 10.92.0.{number}/32\nPort = 7400\n");
        fs::write(home.join("hosts").join(name), host).unwrap();
        let up = home.join("tinc-up");
        let script = format!(
            "#!/bin/sh\nip link set $INTERFACE up\nip address add 10.92.0.{number}/24 dev $INTERFACE\n"
        );
        fs::write(&up, script).unwrap();
        shell(&format!(
            "chmod 755 {0} && tincd -c {1} -K2048 </dev/null",
            up.display(),
            home.display()
        ));
    }
    let at = folder.display();
    shell(&format!("cp {at}/a/hosts/a {at}/b/hosts/; cp {at}/b/hosts/b {at}/a/hosts/"));
    for name in ["b", "a"] {
        let home = folder.join(name);
        let pid = home.join("pid");
        let mut command = inside(name, "tincd");
        command.arg("-c").arg(&home).arg("-D").arg(format!("--pidfile={}", pid.display()));
        running.push(Running::start(&mut command));
        until("tinc", || device_exists(name, "tinc0"));
    }
    Peer { name: "tinc", one_hop: "10.92.0.2".into(), two_hops: None, _running: running }
}
