//! All members, and what is asked of them between two stretches of time.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use raptor::gossip::core::Gossip;
use raptor::gossip::settings::GossipSettings;
use raptor::model::identity::NodeId;
use raptor::model::member::Role;
use raptor::model::member::Status;
use raptor::model::rule::FleetLimits;
use raptor::model::rule::Rule;
use raptor::model::time::Moment;
use raptor::model::time::Timestamp;
use raptor::reconcile::fleet::reconcile;
use raptor::reconcile::fleet::view::FleetView;
use raptor::reconcile::fleet::view::SeenMember;

use crate::MEMBERS;
use crate::share::Post;
use crate::share::Share;

const EPOCH_MILLIS: u64 = 1_795_246_200_000;

pub(crate) struct World {
    post: Post,
    members: BTreeSet<NodeId>,
    shares: Vec<Share>,
    now: Moment,
    random: SmallRng,
}

impl World {
    pub(crate) fn new(ids: Vec<NodeId>, threads: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(7);
        let members = ids.iter().copied().collect();
        let delays = || SmallRng::seed_from_u64(random.random());
        let delays: Vec<SmallRng> = std::iter::repeat_with(delays).take(ids.len()).collect();
        let post = Post::new(ids, threads);
        let mut shares: Vec<Share> = (0..threads).map(Share::new).collect();
        for (number, delays) in delays.into_iter().enumerate() {
            shares[number % threads].add(delays);
        }
        let mut world = Self { post, members, shares, now: Moment::START, random };
        for number in 0..MEMBERS {
            world.start(number);
        }
        world
    }

    pub(crate) fn start(&mut self, number: usize) {
        let started_at = self.wall();
        let (id, seed) = (self.post.id(number), self.random.random());
        let mut gossip = Gossip::new(id, started_at, GossipSettings::default(), seed);
        gossip.set_members(self.now, &self.members);
        self.set(number, Some(gossip));
    }

    pub(crate) fn kill(&mut self, number: usize) {
        self.set(number, None);
    }

    fn set(&mut self, number: usize, gossip: Option<Gossip>) {
        let threads = self.shares.len();
        self.shares[number % threads].set(&self.post, self.now, number, gossip);
    }

    fn gossip(&self, number: usize) -> Option<&Gossip> {
        self.shares[number % self.shares.len()].gossip(number, self.shares.len())
    }

    fn wall(&self) -> Timestamp {
        let millis = u64::try_from(self.now.elapsed().as_millis()).unwrap();
        Timestamp::from_millis(EPOCH_MILLIS + millis)
    }

    /// Lets whole steps pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let (post, from, until) = (&self.post, self.now, self.now + time);
        std::thread::scope(|scope| {
            for share in &mut self.shares {
                scope.spawn(move || share.run(post, from, until));
            }
        });
        self.now = until;
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.shares.iter().map(|share| share.delivered).sum()
    }

    /// What a member would plan; how many machines it would get.
    pub(crate) fn planned(&self, number: usize) -> usize {
        let Some(gossip) = self.gossip(number) else { return 0 };
        let members = gossip.statuses().into_iter().map(|(node, (status, since))| {
            let seen = SeenMember {
                name: format!("m-{}", self.post.number(node)).parse().unwrap(),
                role: Role::Full,
                status,
                status_for: self.now.since(since),
                added_at: Timestamp::from_millis(EPOCH_MILLIS),
                intent: None,
                compute_type: "cloud".to_owned(),
                server_type: "headless".to_owned(),
                labels: BTreeMap::new(),
                drives: Some(BTreeMap::from([("cloud".to_owned(), "cloud".to_owned())])),
            };
            (node, seen)
        });
        let most = u32::try_from(MEMBERS).unwrap();
        let rule = Rule { min: most, compute_types: vec!["cloud".to_owned()], ..Rule::default() };
        let view = FleetView {
            me: self.post.id(number),
            now: self.wall(),
            rules: BTreeMap::from([("default".to_owned(), rule)]),
            limits: FleetLimits { max: 2 * most, ..FleetLimits::default() },
            default_compute_type: "cloud".to_owned(),
            default_server_type: "headless".to_owned(),
            machines: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            members: members.collect(),
            lease_known_for: BTreeMap::new(),
            mark_known_for: BTreeMap::new(),
            listings: BTreeMap::new(),
            busy: BTreeSet::new(),
            settled_for: Duration::ZERO,
            half_knowledge: None,
        };
        reconcile(&view).actions.len()
    }

    /// How many of the living call `subject` so.
    pub(crate) fn calling(&self, subject: usize, status: Status) -> usize {
        let living = (0..MEMBERS).filter_map(|number| self.gossip(number));
        living.filter(|gossip| gossip.status(self.post.id(subject)) == Some(status)).count()
    }
}
