//! A table of things with names, at places that do not move.
//!
//! Owns: the things, each in a box of its own, and a hash table of places.
//! Invariant: a name is in the table at most once, and a place is either taken or free.
//!
//! The hash table holds places of four bytes and reads the name from the thing itself, so that
//! naming a thing costs about seven bytes rather than the thirty of a map from names.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

/// Something that is found by its name, which does not change while it is in a [`NamedSlab`].
pub trait Named {
    /// Its name.
    fn name(&self) -> &str;
}

/// Things by name and by place. Places are used again, the one freed last first.
#[derive(Debug)]
pub struct NamedSlab<T> {
    places: Vec<Option<Box<T>>>,
    free: Vec<u32>,
    by_name: HashTable<u32>,
    /// Random, because names come from users.
    seed: RandomState,
}

impl<T> Default for NamedSlab<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            by_name: HashTable::new(),
            seed: RandomState::default(),
        }
    }
}

impl<T: Named> NamedSlab<T> {
    /// Things in it.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// True if nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Bytes of memory that the table and its things take, without what the things own elsewhere.
    pub fn memory_bytes(&self) -> usize {
        self.places.len() * size_of::<Option<Box<T>>>()
            + self.free.len() * size_of::<u32>()
            + self.by_name.allocation_size()
            + self.len() * size_of::<T>()
    }

    /// Places, taken and free: all places in use are below this number.
    pub fn places_count(&self) -> usize {
        self.places.len()
    }

    /// The place of what has this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        let is_it = |&place: &u32| self.at(place as usize).name() == name;
        self.by_name.find(self.seed.hash_one(name), is_it).map(|&place| place as usize)
    }

    /// What is at a place, if it is taken.
    pub fn get(&self, place: usize) -> Option<&T> {
        self.places.get(place)?.as_deref()
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.places.get_mut(place)?.as_deref_mut()
    }

    /// What is at a place that is taken.
    ///
    /// # Panics
    ///
    /// It is free.
    pub fn at(&self, place: usize) -> &T {
        self.get(place).expect("a place is held only while it is taken")
    }

    /// The same, to change it.
    ///
    /// # Panics
    ///
    /// It is free.
    pub fn at_mut(&mut self, place: usize) -> &mut T {
        self.get_mut(place).expect("a place is held only while it is taken")
    }

    /// Everything from the place `from` to the place before `end`.
    pub fn between(&self, from: usize, end: usize) -> impl Iterator<Item = &T> {
        let end = end.min(self.places.len());
        self.places[from.min(end)..end].iter().flatten().map(|thing| &**thing)
    }

    /// Puts a thing in; returns its place.
    ///
    /// # Panics
    ///
    /// Its name is there, or 2³² things are.
    pub fn insert(&mut self, thing: T) -> usize {
        assert!(self.find(thing.name()).is_none(), "a name is in the table once");
        let hash = self.seed.hash_one(thing.name());
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).expect("below 2^32 things")
        });
        self.places[place as usize] = Some(Box::new(thing));
        let Self { places, by_name, seed, .. } = self;
        let rehash = |&place: &u32| {
            let thing = places[place as usize].as_ref().expect("what is in the table has a place");
            seed.hash_one(thing.name())
        };
        by_name.insert_unique(hash, place, rehash);
        self.check_invariants();
        place as usize
    }

    /// Takes out what is at a place, if it is taken.
    pub fn remove(&mut self, place: usize) -> Option<Box<T>> {
        let thing = self.places.get_mut(place)?.take()?;
        let hash = self.seed.hash_one(thing.name());
        let entry = self.by_name.find_entry(hash, |&other| other as usize == place);
        entry.expect("what has a place is in the table").remove();
        self.free.push(place as u32);
        self.check_invariants();
        Some(thing)
    }

    fn check_invariants(&self) {
        debug_assert_eq!(
            self.by_name.len() + self.free.len(),
            self.places.len(),
            "every place is either named or free"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Thing(String);

    impl Named for Thing {
        fn name(&self) -> &str {
            &self.0
        }
    }

    #[test]
    fn places_do_not_move_and_are_used_again() {
        let mut slab = NamedSlab::default();
        let places: Vec<_> = (0..100).map(|n| slab.insert(Thing(n.to_string()))).collect();
        assert!((0..100).all(|n| slab.find(&n.to_string()) == Some(places[n])));
        assert_eq!(slab.remove(places[7]), Some(Box::new(Thing("7".into()))));
        assert_eq!(slab.remove(places[7]), None);
        assert_eq!(slab.find("7"), None);
        assert_eq!(slab.insert(Thing("other".into())), places[7]);
        assert_eq!((slab.len(), slab.places_count()), (100, 100));
    }

    #[test]
    #[should_panic(expected = "a name is in the table once")]
    fn a_name_is_taken_once() {
        let mut slab = NamedSlab::default();
        slab.insert(Thing("a".into()));
        slab.insert(Thing("a".into()));
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(
            steps in prop::collection::vec((0..40u8, any::<bool>()), 1..400),
        ) {
            let (mut slab, mut map) = (NamedSlab::default(), HashMap::new());
            for (number, adds) in steps {
                let name = number.to_string();
                match (map.get(&name).copied(), adds) {
                    (None, true) => drop(map.insert(name.clone(), slab.insert(Thing(name)))),
                    (Some(place), false) => {
                        map.remove(&name);
                        prop_assert_eq!(slab.remove(place), Some(Box::new(Thing(name))));
                    }
                    (known, _) => prop_assert_eq!(slab.find(&name), known),
                }
                prop_assert_eq!(slab.len(), map.len());
                prop_assert_eq!(slab.is_empty(), map.is_empty());
                let all = slab.between(0, slab.places_count());
                prop_assert!(all.map(|thing| &thing.0).all(|name| map.contains_key(name)));
            }
        }
    }
}
