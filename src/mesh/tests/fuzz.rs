//! Arbitrary bytes and bent copies of valid ones.

use super::*;

#[test]
fn any_datagram_can_be_handled() {
    let mut sim = Sim::running(2, 40);
    sim.run(seconds(2));
    let mesh = sim.machines[0].mesh.take().unwrap();
    let mesh = std::sync::Mutex::new(mesh);
    let (now, source) = (sim.now, sim.machines[1].endpoint);
    bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
        let mut mesh = mesh.lock().unwrap();
        mesh.handle_datagram(now, source, &mut bytes.to_vec());
        assert_eq!(mesh.poll_output(), None);
    });
}

#[test]
fn bent_copies_of_valid_datagrams_do_nothing() {
    let mut sim = Sim::new(3, 41);
    sim.capture = Some(Vec::new());
    (0..3).for_each(|index| sim.start(index));
    sim.run(seconds(3));
    let captured = sim.capture.take().unwrap();
    let to_first: Vec<Sent> =
        captured.into_iter().filter(|sent| sent.destination == sim.machines[0].endpoint).collect();
    let mesh = std::sync::Mutex::new(sim.machines[0].mesh.take().unwrap());
    let now = sim.now;
    bolero::check!().with_iterations(2000).with_type::<(usize, usize, u8, bool)>().for_each(
        |(pick, place, bits, cut)| {
            let mut sent = to_first[pick % to_first.len()].clone();
            let place = place % sent.datagram.len();
            if *cut {
                sent.datagram.truncate(place);
            } else {
                sent.datagram[place] ^= bits;
            }
            let mut mesh = mesh.lock().unwrap();
            mesh.handle_datagram(now, sent.source, &mut sent.datagram);
            assert_eq!(mesh.poll_output(), None);
        },
    );
}

/// Past the encryption: whatever a member with a sound key says, nothing panics and what it
/// makes the mesh keep is bounded.
#[test]
fn any_frame_of_a_neighbour_can_be_handled() {
    let mut sim = Sim::running(3, 42);
    sim.run(seconds(2));
    let (first, second) = (sim.machines[0].id.address(), sim.machines[1].id.address());
    let now = sim.now;
    let mut machines = sim.machines.into_iter().filter_map(|machine| machine.mesh);
    let meshes = std::sync::Mutex::new((machines.next().unwrap(), machines.next().unwrap()));
    let endpoint = "10.0.0.2:4863".parse().unwrap();
    bolero::check!().with_iterations(2000).with_type::<(u8, Vec<u8>)>().for_each(
        |(kind, bytes)| {
            let mut meshes = meshes.lock().unwrap();
            let (receiver, sender) = &mut *meshes;
            let mut frame = vec![kind % 10];
            frame.extend_from_slice(&bytes[..bytes.len().min(1300)]);
            let Some(frame) = crate::mesh::wire::Frame::read(&frame) else { return };
            if frame == crate::mesh::wire::Frame::Close {
                return;
            }
            let Some(link) = sender.links.get_mut(&first) else { return };
            let Some((_, mut datagram)) = link.seal(&frame) else { return };
            receiver.handle_datagram(now, endpoint, &mut datagram);
            receiver.handle_timeout(now);
            while receiver.poll_output().is_some() {}
            assert!(receiver.links[&second].live.is_some());
            assert!(receiver.links[&second].live.as_ref().unwrap().confirmations.len() <= 8_192);
        },
    );
}
