//! The members that one core simulates.
//!
//! A packet travels for a step at least, so what happens within one of them at one member is no
//! other's business until it is over: all shares do the same step at a time, each its own members,
//! and then take what the others posted. What is due in a step is done in an order that follows
//! from for whom it is, when it is due and who sent it, and every member draws its packets' delays itself:
//! nothing depends on which core was faster, nor on how many there are.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Release;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use raptor::gossip::core::Gossip;
use raptor::gossip::core::Output;
use raptor::model::identity::NodeId;
use raptor::model::time::Moment;

/// One-way delays.
const DELAY_MS: std::ops::Range<u64> = STEP_MS..40;

/// How long all members are left to themselves. The longer, the more evenly the shares are busy.
const STEP_MS: u64 = 10;

/// Steps ahead for which there is a slot; what is due later waits in the last and is then put off.
const SLOTS: u64 = 1 << 10;

/// Looks at another share's clock, some 20 us, before the core is given to whoever else wants it: such a
/// share is as a rule one whose core was taken away.
const SPINS: u32 = 1_000;
const PAUSE: Duration = Duration::from_micros(50);

#[derive(PartialEq, Eq)]
enum Mail {
    Timeout,
    Packet(Vec<u8>),
    Request(Vec<u8>),
    Response(Vec<u8>),
}

/// Something due at one member.
#[derive(PartialEq, Eq)]
struct Event {
    due: Moment,
    to: usize,
    from: usize,
    /// How many the sender sent before.
    sequence: u64,
    mail: Mail,
}

impl Ord for Event {
    /// The greatest comes first out of a heap, so the earliest is the greatest. Of what is due in a step,
    /// all that one member is to do comes together, while its knowledge is in the core's cache.
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |event: &Self| (event.to, event.due, event.from, event.sequence);
        key(other).cmp(&key(self))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A clock on a cache line of its own.
#[repr(align(128))]
struct Clock(AtomicU64);

/// What all shares have in common.
pub(crate) struct Post {
    ids: Vec<NodeId>,
    numbers: HashMap<NodeId, usize>,
    /// What was sent to the members of each share by members of others.
    boxes: Vec<Mutex<Vec<Event>>>,
    /// The step that each share is in.
    clocks: Vec<Clock>,
}

impl Post {
    pub(crate) fn new(ids: Vec<NodeId>, shares: usize) -> Self {
        Self {
            numbers: ids.iter().copied().zip(0..).collect(),
            ids,
            boxes: (0..shares).map(|_| Mutex::default()).collect(),
            clocks: (0..shares).map(|_| Clock(AtomicU64::new(0))).collect(),
        }
    }

    pub(crate) fn id(&self, number: usize) -> NodeId {
        self.ids[number]
    }

    pub(crate) fn number(&self, id: NodeId) -> usize {
        self.numbers[&id]
    }

    /// Returns when no share is before `step` any more.
    fn wait_for_all(&self, step: u64) {
        for clock in &self.clocks {
            let mut spins = 0;
            while clock.0.load(Acquire) < step {
                spins += 1;
                if spins < SPINS {
                    std::hint::spin_loop();
                } else {
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }
}

struct Member {
    gossip: Option<Gossip>,
    armed: Option<Moment>,
    delays: SmallRng,
    sent: u64,
}

pub(crate) struct Share {
    number: usize,
    members: Vec<Member>,
    /// What is due in each step.
    slots: Vec<Vec<Event>>,
    /// What is due in this step.
    present: BinaryHeap<Event>,
    /// The step that it is, or the next when none is.
    step: u64,
    pub(crate) delivered: u64,
}

fn step(moment: Moment) -> u64 {
    u64::try_from(moment.elapsed().as_millis()).unwrap() / STEP_MS
}

impl Share {
    pub(crate) fn new(number: usize) -> Self {
        Self {
            number,
            members: Vec::new(),
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            present: BinaryHeap::new(),
            step: 0,
            delivered: 0,
        }
    }

    pub(crate) fn add(&mut self, delays: SmallRng) {
        self.members.push(Member { gossip: None, armed: None, delays, sent: 0 });
    }

    pub(crate) fn gossip(&self, number: usize, shares: usize) -> Option<&Gossip> {
        self.members[number / shares].gossip.as_ref()
    }

    /// Sets what the member is from now on; none for a dead one.
    pub(crate) fn set(&mut self, post: &Post, now: Moment, number: usize, gossip: Option<Gossip>) {
        let member = &mut self.members[number / post.boxes.len()];
        (member.gossip, member.armed) = (gossip, None);
        self.flush(post, now, number);
    }

    pub(crate) fn run(&mut self, post: &Post, from: Moment, until: Moment) {
        for step in step(from)..step(until) {
            post.wait_for_all(step);
            self.step = step;
            let sent = std::mem::take(&mut *post.boxes[self.number].lock().unwrap());
            for event in sent {
                self.plan(event);
            }
            self.present.extend(self.slots[slot(step)].drain(..));
            while let Some(event) = self.present.pop() {
                self.handle(post, event);
            }
            post.clocks[self.number].0.store(step + 1, Release);
        }
        self.step = step(until);
    }

    fn plan(&mut self, event: Event) {
        let due = step(event.due);
        if due <= self.step {
            self.present.push(event);
        } else {
            self.slots[slot(due.min(self.step + SLOTS - 1))].push(event);
        }
    }

    fn send(&mut self, post: &Post, now: Moment, from: usize, to: usize, mail: Mail) {
        let shares = post.boxes.len();
        let member = &mut self.members[from / shares];
        member.sent += 1;
        let due = now + Duration::from_millis(member.delays.random_range(DELAY_MS));
        let event = Event { due, to, from, sequence: member.sent, mail };
        if to % shares == self.number {
            self.plan(event);
        } else {
            post.boxes[to % shares].lock().unwrap().push(event);
        }
    }

    fn handle(&mut self, post: &Post, event: Event) {
        if step(event.due) > self.step {
            self.plan(event);
            return;
        }
        let (now, number, from) = (event.due, event.to, event.from);
        let member = &mut self.members[number / post.boxes.len()];
        let Some(gossip) = &mut member.gossip else { return };
        let source = post.ids[from];
        self.delivered += u64::from(event.mail != Mail::Timeout);
        let answer = match event.mail {
            Mail::Timeout => {
                if member.armed != Some(now) {
                    return;
                }
                member.armed = None;
                if gossip.poll_timeout().is_some_and(|due| due <= now) {
                    gossip.handle_timeout(now);
                }
                None
            }
            Mail::Packet(packet) => {
                gossip.handle_packet(now, source, &packet);
                None
            }
            Mail::Request(request) => {
                let answered = gossip.handle_exchange_request(now, source, &request);
                answered.ok().map(Mail::Response)
            }
            Mail::Response(response) => {
                let next = gossip.handle_exchange_response(now, source, &response);
                next.ok().flatten().map(Mail::Request)
            }
        };
        if let Some(mail) = answer {
            self.send(post, now, number, from, mail);
        }
        self.flush(post, now, number);
    }

    fn flush(&mut self, post: &Post, now: Moment, number: usize) {
        let place = number / post.boxes.len();
        loop {
            let Some(gossip) = &mut self.members[place].gossip else { return };
            let (to, mail) = match gossip.poll_output() {
                Some(Output::Send { to, packet }) => (to, Mail::Packet(packet)),
                Some(Output::WantExchange { with }) => {
                    (with, Mail::Request(gossip.exchange_request()))
                }
                Some(_) => continue,
                None => break,
            };
            self.send(post, now, number, post.number(to), mail);
        }
        let member = &mut self.members[place];
        let due = member.gossip.as_ref().and_then(Gossip::poll_timeout);
        if let Some(due) = due.map(|due| due.max(now))
            && member.armed.is_none_or(|armed| due < armed)
        {
            member.armed = Some(due);
            self.plan(Event { due, to: number, from: number, sequence: 0, mail: Mail::Timeout });
        }
    }
}

fn slot(step: u64) -> usize {
    usize::try_from(step % SLOTS).unwrap()
}
