use std::net::Ipv4Addr;
use std::net::UdpSocket;
use std::sync::Mutex;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::thread;

use super::*;

/// Generous: it ends a test that hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// The port that leads nowhere: nothing listens, and nothing is sent there.
const INNER: NonZeroU16 = NonZeroU16::new(4_863).unwrap();

/// What a router is asked by NAT-PMP: for how long it is to lead which outer port here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    outer: u16,
    seconds: u32,
}

/// A router that speaks NAT-PMP (RFC 6886, section 3) at a loopback address of its own.
struct Router {
    way: Way,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Router {
    /// Gives a port for at most `seconds`, and says that its address is `outer`.
    fn new(outer: Ipv4Addr, seconds: u32) -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let [high, low] =
            [std::process::id() >> 8, std::process::id()].map(|id| id.to_be_bytes()[3]);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let router = Ipv4Addr::new(127, 64 | number, high, low);
        let socket = UdpSocket::bind((router, crab_nat::GATEWAY_PORT)).unwrap();
        let (sender, asked) = mpsc::unbounded_channel();
        thread::spawn(move || serve(&socket, outer, seconds, &sender));
        Self { way: Way { router, client: Ipv4Addr::LOCALHOST }, asked }
    }

    async fn asked(&mut self) -> Asked {
        timeout(LIMIT, self.asked.recv()).await.unwrap().unwrap()
    }
}

fn serve(socket: &UdpSocket, outer: Ipv4Addr, seconds: u32, sender: &mpsc::UnboundedSender<Asked>) {
    const EPOCH: [u8; 4] = [0, 0, 0, 9];
    let mut buffer = [0; 1_500];
    while let Ok((length, source)) = socket.recv_from(&mut buffer) {
        let answer = match &buffer[..length] {
            [0, 0] => [&[0, 128, 0, 0][..], &EPOCH, &outer.octets()].concat(),
            [0, 1, _, _, inner @ .., o1, o2, s1, s2, s3, s4] => {
                let asked = Asked {
                    outer: u16::from_be_bytes([*o1, *o2]),
                    seconds: u32::from_be_bytes([*s1, *s2, *s3, *s4]),
                };
                let granted = asked.seconds.min(seconds).to_be_bytes();
                let answer = [&[0, 129, 0, 0], &EPOCH, inner, &[*o1, *o2], &granted].concat();
                if sender.send(asked).is_err() {
                    return;
                }
                answer
            }
            // A later version, which is PCP: not here (RFC 6886, section 3.5).
            [2, operation, ..] => [&[0, 128 | operation, 0, 1][..], &EPOCH].concat(),
            _ => continue,
        };
        socket.send_to(&answer, source).unwrap();
    }
}

async fn told(reports: &mut mpsc::Receiver<Inbox>) -> Result<SocketAddr, String> {
    match timeout(LIMIT, reports.recv()).await.unwrap().unwrap() {
        Inbox::PortMapped(word) => word,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_port_is_asked_for_again_before_its_time_is_over_and_given_back_at_the_end() {
    let mut router = Router::new([203, 0, 113, 7].into(), 2);
    let (report, mut reports) = mpsc::channel(4);
    let way = router.way;
    let mapping = PortMapping::through(move || Some(way), INNER, Arc::default(), report);
    assert_eq!(told(&mut reports).await, Ok("203.0.113.7:4863".parse().unwrap()));
    let first = router.asked().await;
    assert_eq!(first.outer, 4_863);
    assert!(first.seconds > 60, "{first:?}");
    assert_eq!(router.asked().await.outer, 4_863);
    assert!(router.asked().await.seconds > 0);
    mapping.end().await;
    while router.asked().await.seconds > 0 {}
    assert!(reports.recv().await.is_none(), "the same port is told once");
}

#[tokio::test]
async fn behind_another_router_another_port_is_asked_for() {
    let [mut home, mut hotel] = [7, 8].map(|last| Router::new([203, 0, 113, last].into(), 600));
    let way = Arc::new(Mutex::new(Some(home.way)));
    let (report, mut reports) = mpsc::channel(4);
    let (moved, seen) = (Arc::<Notify>::default(), Arc::clone(&way));
    let find = move || *seen.lock().unwrap();
    let mapping = PortMapping::through(find, INNER, Arc::clone(&moved), report);
    assert_eq!(told(&mut reports).await, Ok("203.0.113.7:4863".parse().unwrap()));
    home.asked().await;
    // Behind the same one nothing is asked.
    moved.notify_one();
    *way.lock().unwrap() = Some(hotel.way);
    moved.notify_one();
    assert_eq!(told(&mut reports).await, Ok("203.0.113.8:4863".parse().unwrap()));
    hotel.asked().await;
    *way.lock().unwrap() = None;
    moved.notify_one();
    assert!(told(&mut reports).await.unwrap_err().contains("no router"));
    mapping.end().await;
    assert!(home.asked.try_recv().is_err());
}

#[tokio::test]
async fn an_outer_address_that_means_nothing_to_others_is_not_told() {
    let router = Router::new([127, 0, 0, 1].into(), 600);
    let (report, mut reports) = mpsc::channel(4);
    let way = router.way;
    let mapping = PortMapping::through(move || Some(way), INNER, Arc::default(), report);
    let why = told(&mut reports).await.unwrap_err();
    assert!(why.contains("127.0.0.1:4863 to others, which nobody can dial"), "{why}");
    mapping.end().await;
}
