//! What a ring remembers of each place in its table of direct descriptors.
//!
//! Owns: the generation of each slot, which operations are with the kernel, and the bytes being
//! sent.
//! Invariant: a slot is open from the completion of its accept until the completion of its close,
//! and its close is submitted only when no other operation of it is with the kernel.
//!
//! ```text
//!         accept            close()          nothing in flight     close completes
//!  free ─────────► open ─────────────► closing ─────────────► last ─────────────► free
//!                   ▲ receive, rest, pause, send                   (generation + 1)
//! ```

use protocol::ids::{Slot, next_generation};

use crate::io::SendBuffer;

/// Life of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Life {
    /// No socket.
    #[default]
    Free,
    /// A connection that may be used.
    Open,
    /// `close` was asked for; operations are still with the kernel.
    Closing,
    /// Only the close operation itself is with the kernel.
    Last,
}

/// The receive operation of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Receive {
    /// Not with the kernel.
    #[default]
    Idle,
    /// A multishot receive is armed.
    Armed,
    /// Ended for want of buffers; in the list of those to be armed again.
    Parked,
    /// A poll is armed: something to receive is reported, and then asked for.
    Watched,
    /// One receive that does not wait.
    Once,
}

#[derive(Debug, Default)]
pub(crate) struct SlotState {
    /// Bytes that the kernel may be reading: from the submission of a send to its completion.
    pub(crate) send: Option<SendBuffer>,
    pub(crate) generation: u32,
    pub(crate) life: Life,
    pub(crate) receive: Receive,
    /// Does the owner want to receive? An armed receive that nobody wants is being cancelled.
    pub(crate) wanted: bool,
    /// Does it expect little? Then it is watched instead.
    pub(crate) rests: bool,
    /// A cancellation of what is armed is with the kernel.
    pub(crate) cancelling: bool,
    /// Shutdowns with the kernel. It runs them on a worker thread, which looks the socket up by its
    /// slot: were the slot given to the next client meanwhile, that one would be shut down.
    pub(crate) shutdowns_count: u8,
}

impl SlotState {
    /// True if nothing but a close may still be with the kernel.
    pub(crate) fn is_quiet(&self) -> bool {
        let is_receiving = !matches!(self.receive, Receive::Idle | Receive::Parked);
        self.send.is_none() && !is_receiving && self.shutdowns_count == 0
    }
}

#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<SlotState>,
    open_count: u32,
}

impl Slots {
    /// Makes `slot` open under a new generation, which is returned.
    pub(crate) fn open(&mut self, slot: Slot) -> u32 {
        if self.slots.len() <= slot.index() {
            self.slots.resize_with(slot.index() + 1, SlotState::default);
        }
        let state = &mut self.slots[slot.index()];
        // The kernel may give a slot out again before we have seen the completion of its close, but
        // never while another operation of it is in flight: the close is submitted last.
        assert!(matches!(state.life, Life::Free | Life::Last), "an open slot was accepted again");
        assert!(state.is_quiet(), "a slot was accepted while the kernel still works on it");
        if state.life == Life::Free {
            self.open_count += 1;
        }
        *state = SlotState {
            generation: next_generation(state.generation),
            life: Life::Open,
            ..SlotState::default()
        };
        state.generation
    }

    /// Makes `slot` free, if `generation` is still the one in it. True if it was.
    pub(crate) fn free(&mut self, slot: Slot, generation: u32) -> bool {
        let Some(state) = self.slots.get_mut(slot.index()) else { return false };
        if state.generation != generation || state.life != Life::Last {
            return false;
        }
        state.life = Life::Free;
        self.open_count -= 1;
        true
    }

    /// The state of a connection, if `generation` is the one in the slot.
    pub(crate) fn get(&mut self, slot: Slot, generation: u32) -> Option<&mut SlotState> {
        self.slots
            .get_mut(slot.index())
            .filter(|state| state.generation == generation && state.life != Life::Free)
    }

    /// Bytes of memory that the table takes: its places were used once, whoever holds them now.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.len() * size_of::<SlotState>()
    }

    /// Slots that are not free.
    pub(crate) fn open_count(&self) -> u32 {
        self.open_count
    }

    /// Every slot that is not free.
    pub(crate) fn iter_open(&mut self) -> impl Iterator<Item = (Slot, &mut SlotState)> {
        self.slots
            .iter_mut()
            .enumerate()
            .filter(|(_, state)| state.life != Life::Free)
            .map(|(index, state)| (Slot(index as u32), state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_close_does_not_free_the_next_connection() {
        let mut slots = Slots::default();
        let first = slots.open(Slot(3));
        slots.get(Slot(3), first).unwrap().life = Life::Last;
        let second = slots.open(Slot(3));
        assert_ne!(first, second);
        assert!(!slots.free(Slot(3), first), "stale generation");
        assert!(slots.get(Slot(3), first).is_none());
        assert!(slots.get(Slot(3), second).is_some());
        assert_eq!(slots.open_count(), 1);
    }

    #[test]
    #[should_panic(expected = "an open slot was accepted again")]
    fn an_open_slot_cannot_be_accepted() {
        let mut slots = Slots::default();
        slots.open(Slot(0));
        slots.open(Slot(0));
    }
}
