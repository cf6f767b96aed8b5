//! How many clients may come: limits of the process and of single addresses.
//!
//! All shards of a process share one [`Arrivals`], because connections of one address land on any
//! of them. It is asked once for each upgrade, only where a limit is set, and nobody waits for
//! anybody (docs/decisions/0011).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use protocol::time::Moment;
use shard::claims::{Allowance, Claim, Claims, Meter, Pace, Refusal};

use crate::engine::Rate;
use crate::limits::{ADDRESSES_MAX, ADDRESSES_MIN};

/// What an operator allows. By default, anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivalLimits {
    /// New connections of the process (`client.connection_rate_limit`).
    pub rate: Option<Rate>,
    /// Connections of one address at once (`client.address_connection_limit`). Zero: no limit.
    pub address_connections_max: u32,
    /// New connections of one address (`client.address_connection_rate`).
    pub address_rate: Option<Rate>,
    /// Leading bits of an IPv4 address that count as one address
    /// (`client.address_ipv4_prefix_length`), 8 to 32.
    pub ipv4_prefix_bits: u8,
    /// The same for IPv6 (`client.address_ipv6_prefix_length`), 16 to 64.
    pub ipv6_prefix_bits: u8,
}

impl Default for ArrivalLimits {
    fn default() -> Self {
        let (ipv4_prefix_bits, ipv6_prefix_bits) = (32, 64);
        Self {
            rate: None,
            address_connections_max: 0,
            address_rate: None,
            ipv4_prefix_bits,
            ipv6_prefix_bits,
        }
    }
}

impl ArrivalLimits {
    fn counts_addresses(&self) -> bool {
        self.address_connections_max > 0 || self.address_rate.is_some()
    }

    /// Is nothing limited?
    pub(crate) fn is_open(&self) -> bool {
        self.rate.is_none() && !self.counts_addresses()
    }

    /// What is counted for an address, never zero. IPv4 addresses have keys that as prefixes of
    /// IPv6 lie in 0000::/8, which RFC 4291 (2.4) keeps from clients, as has `::/64`.
    fn key_of(&self, address: IpAddr) -> u64 {
        let address = match address.to_canonical() {
            // RFC 6052, 2.1: clients of IPv4 behind a translator.
            IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
                IpAddr::V4(Ipv4Addr::from_bits(u128::from(v6) as u32))
            }
            address => address,
        };
        match address {
            IpAddr::V4(v4) => {
                let beyond = 32 - u32::from(self.ipv4_prefix_bits.clamp(1, 32));
                1 << 32 | u64::from(u32::from(v4) >> beyond << beyond)
            }
            IpAddr::V6(v6) => {
                let beyond = 64 - u32::from(self.ipv6_prefix_bits.clamp(1, 64));
                let prefix = (u128::from(v6) >> 64) as u64;
                (prefix >> beyond << beyond).max(1)
            }
        }
    }
}

/// What the shards of one process have counted together.
#[derive(Debug)]
pub struct Arrivals {
    process: Meter,
    /// Made when addresses are counted for the first time.
    addresses: OnceLock<Claims>,
    addresses_max: u32,
    seed: u64,
}

/// A client may come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// To be given back when it is gone.
    pub(crate) claim: Option<Claim>,
    /// Its address should have been counted and was not, for want of a place.
    pub(crate) is_uncounted: bool,
}

/// A client may not come now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// The shard has no room.
    Connections,
    /// Too many new connections of the process; the next one in so many nanoseconds.
    Rate(u64),
    /// Its address has as many connections as it may.
    AddressConnections,
    /// Too many new connections of its address; the next one in so many nanoseconds.
    AddressRate(u64),
}

impl Arrivals {
    /// For a process that holds at most `connections_max` connections. `seed` is random.
    pub fn new(connections_max: u32, seed: u64) -> Self {
        // Half of the places stay free, so that buckets seldom fill.
        let addresses_max = connections_max.saturating_mul(2).clamp(ADDRESSES_MIN, ADDRESSES_MAX);
        Self { process: Meter::default(), addresses: OnceLock::new(), addresses_max, seed }
    }

    /// Makes the table that `limits` need, if it is not there. Called before any shard has these
    /// limits, by a thread that may take milliseconds.
    pub fn prepare(&self, limits: &ArrivalLimits) {
        if limits.counts_addresses() {
            self.addresses.get_or_init(|| Claims::new(self.addresses_max, self.seed));
        }
    }

    /// A client wants to come from `address`, to a shard that has room or not. Its own limits are
    /// asked first: who floods from one address uses up what that address may have, and not what
    /// all others share. Who is refused for the sake of all has used up nothing of its own.
    pub(crate) fn admit(
        &self,
        address: Option<IpAddr>,
        limits: &ArrivalLimits,
        has_room: bool,
        now: Moment,
    ) -> Result<Admitted, Excess> {
        let now_ns = now.as_nanos();
        let mut admitted = self.admit_address(address, limits, now_ns)?;
        let excess = match limits.rate {
            _ if !has_room => Some(Excess::Connections),
            Some(rate) => self.process.admit(pace_of(rate), now_ns).err().map(Excess::Rate),
            None => None,
        };
        if let Some(excess) = excess {
            if let Some(claim) = admitted.claim {
                self.addresses().withdraw(claim, limits.address_rate.map(pace_of));
            }
            return Err(excess);
        }
        if limits.address_connections_max == 0 {
            // Only its rate counts.
            admitted.claim.take().into_iter().for_each(|claim| self.release(claim));
        }
        Ok(admitted)
    }

    fn admit_address(
        &self,
        address: Option<IpAddr>,
        limits: &ArrivalLimits,
        now_ns: u64,
    ) -> Result<Admitted, Excess> {
        if !limits.counts_addresses() {
            return Ok(Admitted::default());
        }
        let uncounted = Admitted { claim: None, is_uncounted: true };
        let (Some(address), Some(addresses)) = (address, self.addresses.get()) else {
            return Ok(uncounted);
        };
        // Held until it is known whether the process has room, even if none is to be kept.
        let claims_max = match limits.address_connections_max {
            0 => u32::MAX,
            limit => limit,
        };
        let allowance = Allowance { claims_max, pace: limits.address_rate.map(pace_of) };
        match addresses.claim(limits.key_of(address), allowance, now_ns) {
            Ok(claim) => Ok(Admitted { claim: Some(claim), is_uncounted: false }),
            Err(Refusal::TooMany) => Err(Excess::AddressConnections),
            Err(Refusal::TooFast { wait_ns }) => Err(Excess::AddressRate(wait_ns)),
            // Whoever filled the table must not keep everybody else out.
            Err(Refusal::NoPlace) => Ok(uncounted),
        }
    }

    /// A client is gone.
    pub(crate) fn release(&self, claim: Claim) {
        self.addresses().release(claim);
    }

    fn addresses(&self) -> &Claims {
        self.addresses.get().expect("a claim comes from the table")
    }
}

fn pace_of(rate: Rate) -> Pace {
    Pace { interval_ns: rate.interval_ns(), tolerance_ns: rate.tolerance_ns() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_millis(1_000);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_of_one_prefix_are_one() {
        let limits = ArrivalLimits::default();
        let key = |text| limits.key_of(ip(text));
        assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff::2"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("192.0.2.1"), key("64:ff9b::192.0.2.1"));
        for (one, other) in [("0.0.0.0", "::1"), ("::1", "0.0.0.1"), ("0.0.0.1", "255.0.0.0")] {
            assert!(key(one) != 0 && key(one) != key(other), "{one} {other}");
        }
        let wide = ArrivalLimits { ipv4_prefix_bits: 24, ipv6_prefix_bits: 48, ..limits };
        assert_eq!(wide.key_of(ip("192.0.2.1")), wide.key_of(ip("192.0.2.255")));
        assert_ne!(wide.key_of(ip("192.0.2.1")), wide.key_of(ip("192.0.3.1")));
        assert_eq!(wide.key_of(ip("2001:db8:0:1::")), wide.key_of(ip("2001:db8:0:ff::")));
        assert_ne!(wide.key_of(ip("2001:db8:0::")), wide.key_of(ip("2001:db8:1::")));
    }

    #[test]
    fn one_address_does_not_use_up_what_all_share() {
        let rate = Some(Rate::new(10, 10));
        let limits = ArrivalLimits { rate, address_connections_max: 2, ..ArrivalLimits::default() };
        let arrivals = Arrivals::new(1000, 7);
        arrivals.prepare(&limits);
        let mut claims = Vec::new();
        for _ in 0..1000 {
            let admitted = arrivals.admit(Some(ip("192.0.2.1")), &limits, true, NOW);
            claims.extend(admitted.ok().and_then(|admitted| admitted.claim));
        }
        assert_eq!(claims.len(), 2);
        for host in 2..10 {
            let address = IpAddr::from([192, 0, 2, host]);
            let admitted =
                arrivals.admit(Some(address), &limits, true, NOW).expect("there is room");
            claims.extend(admitted.claim);
        }
        let wait_ns = 100_000_000;
        let excess = arrivals.admit(Some(ip("192.0.2.99")), &limits, true, NOW).unwrap_err();
        assert_eq!(excess, Excess::Rate(wait_ns));
        claims.into_iter().for_each(|claim| arrivals.release(claim));
        // Whom the process refused holds nothing.
        let only_addresses = ArrivalLimits { rate: None, ..limits };
        for _ in 0..2 {
            let admitted = arrivals.admit(Some(ip("192.0.2.99")), &only_addresses, true, NOW);
            assert!(admitted.expect("there is room").claim.is_some());
        }
    }

    #[test]
    fn whom_all_others_keep_out_has_used_up_nothing() {
        let (own, all) = (Some(Rate::new(2, 2)), Some(Rate::new(1, 1)));
        for address_connections_max in [0, 5] {
            let open = ArrivalLimits { address_connections_max, ..ArrivalLimits::default() };
            let limits = ArrivalLimits { rate: all, address_rate: own, ..open };
            let arrivals = Arrivals::new(1000, 7);
            arrivals.prepare(&limits);
            let come = |address: &str, limits: &ArrivalLimits, has_room| {
                arrivals.admit(Some(ip(address)), limits, has_room, NOW)
            };
            let first = come("192.0.2.1", &limits, true).expect("the first");
            for _ in 0..10 {
                assert!(matches!(come("192.0.2.2", &limits, true), Err(Excess::Rate(_))));
                assert_eq!(come("192.0.2.2", &limits, false), Err(Excess::Connections));
            }
            let alone = ArrivalLimits { rate: None, ..limits };
            let mut claims: Vec<_> = first.claim.into_iter().collect();
            for _ in 0..2 {
                claims.extend(come("192.0.2.2", &alone, true).expect("its own rate").claim);
            }
            assert!(matches!(come("192.0.2.2", &alone, true), Err(Excess::AddressRate(_))));
            claims.into_iter().for_each(|claim| arrivals.release(claim));
        }
    }

    #[test]
    fn a_full_table_keeps_nobody_out() {
        let limits = ArrivalLimits { address_connections_max: 1, ..ArrivalLimits::default() };
        let arrivals = Arrivals::new(0, 7);
        arrivals.prepare(&limits);
        let uncounted = (0..2 * ADDRESSES_MIN).filter(|number| {
            let address = IpAddr::from(number.to_be_bytes());
            arrivals
                .admit(Some(address), &limits, true, NOW)
                .expect("none comes twice")
                .is_uncounted
        });
        assert!((ADDRESSES_MIN..2 * ADDRESSES_MIN).contains(&(uncounted.count() as u32)));
    }

    #[test]
    fn who_cannot_be_counted_is_let_in_and_told_of() {
        let limits = ArrivalLimits { address_connections_max: 1, ..ArrivalLimits::default() };
        let arrivals = Arrivals::new(1000, 7);
        let uncounted = Admitted { claim: None, is_uncounted: true };
        assert_eq!(arrivals.admit(Some(ip("::1")), &limits, true, NOW).as_ref(), Ok(&uncounted));
        arrivals.prepare(&limits);
        assert_eq!(arrivals.admit(None, &limits, true, NOW), Ok(uncounted));
    }
}
