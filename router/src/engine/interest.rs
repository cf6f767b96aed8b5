//! Which gateways listen to one channel.
//!
//! Owns: a count of subscriptions per gateway, and whether the gateway was left behind.
//! Invariant: a gateway is listed while it has at least one subscription.

use protocol::link::GatewayId;
use smallvec::SmallVec;

#[derive(Debug, Default)]
pub(super) struct Interest {
    /// Most channels have one or two, which lie here.
    gateways: SmallVec<[Listener; 2]>,
}

#[derive(Debug)]
struct Listener {
    gateway: GatewayId,
    subscriptions_count: u32,
    /// A publication was refused on its way; the gateway will be told to fetch.
    lagging: bool,
    /// A join or leave was refused on its way.
    presence_lagging: bool,
}

/// What did not get to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lag {
    /// Publications: they can be fetched.
    Publications,
    /// Joins or leaves.
    Presence,
}

impl Listener {
    fn lag(&mut self, lag: Lag) -> &mut bool {
        match lag {
            Lag::Publications => &mut self.lagging,
            Lag::Presence => &mut self.presence_lagging,
        }
    }
}

impl Interest {
    pub(super) fn add(&mut self, gateway: GatewayId) {
        match self.find(gateway) {
            Some(listener) => listener.subscriptions_count += 1,
            None => self.gateways.push(Listener {
                gateway,
                subscriptions_count: 1,
                lagging: false,
                presence_lagging: false,
            }),
        }
    }

    /// False if the gateway had no subscription, which only a confused gateway can cause.
    pub(super) fn remove(&mut self, gateway: GatewayId) -> bool {
        let Some(index) = self.gateways.iter().position(|listener| listener.gateway == gateway)
        else {
            return false;
        };
        self.gateways[index].subscriptions_count -= 1;
        if self.gateways[index].subscriptions_count == 0 {
            self.gateways.swap_remove(index);
            if self.gateways.is_empty() {
                self.gateways = SmallVec::new();
            }
        }
        true
    }

    /// Marks a gateway as left behind. True if it was not before and still listens.
    pub(super) fn mark_lagging(&mut self, gateway: GatewayId, lag: Lag) -> bool {
        self.find(gateway).is_some_and(|listener| !std::mem::replace(listener.lag(lag), true))
    }

    /// The gateway is being told.
    pub(super) fn clear_lagging(&mut self, gateway: GatewayId, lag: Lag) {
        if let Some(listener) = self.find(gateway) {
            *listener.lag(lag) = false;
        }
    }

    fn find(&mut self, gateway: GatewayId) -> Option<&mut Listener> {
        self.gateways.iter_mut().find(|listener| listener.gateway == gateway)
    }

    pub(super) fn gateways(&self) -> impl Iterator<Item = GatewayId> + '_ {
        self.gateways.iter().map(|listener| listener.gateway)
    }

    pub(super) fn subscriptions_count(&self) -> u32 {
        self.gateways.iter().map(|listener| listener.subscriptions_count).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gateways.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_listens_until_its_last_subscription_ends() {
        let mut interest = Interest::default();
        interest.add(GatewayId(3));
        interest.add(GatewayId(3));
        interest.add(GatewayId(4));
        assert_eq!(interest.subscriptions_count(), 3);
        assert!(interest.remove(GatewayId(3)));
        assert_eq!(interest.gateways().count(), 2);
        assert!(interest.remove(GatewayId(3)));
        assert!(!interest.remove(GatewayId(3)), "it is not listed any more");
        assert!(interest.mark_lagging(GatewayId(4), Lag::Publications));
        assert!(!interest.mark_lagging(GatewayId(4), Lag::Publications), "once is enough");
        assert!(interest.mark_lagging(GatewayId(4), Lag::Presence));
        assert!(interest.remove(GatewayId(4)));
        assert!(interest.is_empty());
    }
}
