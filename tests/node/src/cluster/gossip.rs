//! Who is there: the SWIM protocol, by datagrams.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use foca::{
    AccumulatingRuntime, Config as Swim, Foca, NoCustomBroadcast, OwnedNotification, PeriodicParams, PostcardCodec,
    State, Timer,
};
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use stemedb_metrics::{Cluster as Figures, Direction, NodeState};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::{Config, View};

/// How often a node is asked whether it is there.
const PROBE: Duration = Duration::from_secs(1);
/// How long it has for an answer, until others are asked to ask it.
const ANSWER: Duration = Duration::from_millis(300);
/// How long one that does not answer is suspect before it is dead.
const SUSPECT: Duration = Duration::from_secs(3);
/// How often those are called that are not there.
const CALL: Duration = Duration::from_secs(2);
/// Bytes of a datagram, which fit into one packet (RFC 8085).
const DATAGRAM: usize = 1_400;

/// A node in one of its lives. The later life of an address wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Id {
    address: SocketAddr,
    life: u64,
}

impl foca::Identity for Id {
    type Addr = SocketAddr;

    fn renew(&self) -> Option<Self> {
        Some(Self { address: self.address, life: self.life + 1 })
    }

    fn addr(&self) -> SocketAddr {
        self.address
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        self.life > other.life
    }
}

type Protocol = Foca<Id, PostcardCodec, StdRng, NoCustomBroadcast>;

fn protocol(config: &Config, life: u64) -> Protocol {
    let size = u32::try_from(config.peers.len() + 1).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let all = NonZeroUsize::new(config.peers.len()).unwrap_or(NonZeroUsize::MIN);
    let swim = Swim {
        probe_period: PROBE,
        probe_rtt: ANSWER,
        suspect_to_down_after: SUSPECT,
        max_packet_size: NonZeroUsize::new(DATAGRAM).unwrap_or(NonZeroUsize::MIN),
        periodic_announce_to_down_members: Some(PeriodicParams { frequency: CALL, num_members: all }),
        ..Swim::new_lan(size)
    };
    Foca::new(Id { address: config.node.address, life }, swim, rand::make_rng(), PostcardCodec)
}

/// One node's gossip.
struct Gossip {
    protocol: Protocol,
    runtime: AccumulatingRuntime<Id>,
    socket: UdpSocket,
    timers: mpsc::UnboundedSender<Timer<Id>>,
    config: Config,
    view: Arc<View>,
    figures: Figures,
}

/// Gossips until the runtime ends, in a life that is later than all before.
pub(super) async fn run(socket: UdpSocket, life: u64, config: Config, view: Arc<View>, figures: Figures) {
    let (timers, mut due) = mpsc::unbounded_channel();
    let runtime = AccumulatingRuntime::new();
    let mut gossip = Gossip { protocol: protocol(&config, life), runtime, socket, timers, config, view, figures };
    let mut call = tokio::time::interval(CALL);
    let mut datagram = [0; DATAGRAM + 1];
    loop {
        let done = tokio::select! {
            received = gossip.socket.recv_from(&mut datagram) => match received {
                Ok((length, _)) => {
                    gossip.figures.gossip(Direction::Received).inc();
                    gossip.protocol.handle_data(&datagram[..length], &mut gossip.runtime)
                }
                // Of a datagram that was sent before: nobody is there.
                Err(error) => { log::debug!("gossip: {error}"); Ok(()) }
            },
            Some(timer) = due.recv() => gossip.protocol.handle_timer(timer, &mut gossip.runtime),
            _ = call.tick() => gossip.call(),
        };
        if let Err(error) = done {
            log::debug!("gossip: {error}");
        }
        gossip.act().await;
        gossip.measure();
    }
}

impl Gossip {
    /// Says to those that are not there that this node is.
    fn call(&mut self) -> Result<(), foca::Error> {
        for peer in self.view.peers() {
            if peer.state == NodeState::Dead {
                self.protocol.announce(Id { address: peer.address, life: 0 }, &mut self.runtime)?;
            }
        }
        Ok(())
    }

    /// Does what the protocol wants done.
    async fn act(&mut self) {
        while let Some((to, data)) = self.runtime.to_send() {
            match self.socket.send_to(&data, to.address).await {
                Ok(_) => self.figures.gossip(Direction::Sent).inc(),
                Err(error) => log::debug!("gossip to {}: {error}", to.address),
            }
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            let timers = self.timers.clone();
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                // Nobody waits for it at the end.
                let _ = timers.send(timer);
            });
        }
        while let Some(notification) = self.runtime.to_notify() {
            match notification {
                OwnedNotification::MemberUp(id) => {
                    log::info!("{} has joined", self.name_of(id.address));
                    self.figures.joined();
                }
                OwnedNotification::MemberDown(id) => log::warn!("{} is dead", self.name_of(id.address)),
                OwnedNotification::Rejoin(_) => {
                    log::warn!("the others thought that this node is dead; it has joined anew");
                }
                _ => {}
            }
        }
    }

    /// Tells how the nodes are.
    fn measure(&self) {
        for peer in &self.config.peers {
            let known = self.protocol.iter_membership_state().find(|member| member.id().address == peer.address);
            let state = match known.map(foca::Member::state) {
                Some(State::Alive) => NodeState::Alive,
                Some(State::Suspect) => NodeState::Suspect,
                // Of one that has never been there nothing is known.
                Some(State::Down) | None => NodeState::Dead,
            };
            self.view.change(&peer.name, |peer| peer.state = state);
        }
        let peers = self.view.peers();
        let itself = |state| usize::from(state == NodeState::Alive);
        let count = |state| peers.iter().filter(|peer| peer.state == state).count() + itself(state);
        self.figures.members(count, peers.len() + 1);
    }

    fn name_of(&self, address: SocketAddr) -> String {
        let known = self.config.peers.iter().find(|peer| peer.address == address);
        known.map_or_else(|| address.to_string(), |peer| peer.name.clone())
    }
}
